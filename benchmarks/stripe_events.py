"""Events as Stripe sends them: every field of the object, indented, about 3.9 KB.

The shape is that of https://docs.stripe.com/api/payment_intents/object; names and values are made
up. Signing is written here once more, so that a mistake in the library's own does not cancel out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time

WEBHOOK_SECRET = "whsec_benchmark"
CREATED = 1_767_225_600
ADDRESS = {
    "city": "Springfield",
    "country": "US",
    "line1": "1 Example Street",
    "line2": None,
    "postal_code": "00000",
    "state": "CA",
}

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def stripe_id(prefix: str, number: int) -> str:
    """The id of an object made `number` seconds after the first one.

    Stripe's ids begin with a version and a part that grows with time, go on with the account, and
    end at random. For a B-tree that order matters: new rows arrive at one end of the index.
    """
    moment = _base62(62**5 * 26 + number, 6)
    tail = _base62(int.from_bytes(hashlib.sha256(f"{prefix}{number}".encode()).digest()[:6]), 8)
    return f"{prefix}_3{moment}BenchAcct{tail}"


def payment_succeeded(number: int, *, user_id: str, quote_id: str, amount_minor: int) -> bytes:
    """The body of a `payment_intent.succeeded` event."""
    return event(
        number,
        "payment_intent.succeeded",
        _intent(number, user_id, quote_id, amount_minor),
        request={"id": "req_BenchRequest01", "idempotency_key": f"intent:{quote_id}"},
    )


def event(
    number: int, kind: str, about: dict[str, object], *, request: dict[str, str | None]
) -> bytes:
    """The body of an event of a kind about an object of the same number."""
    body = {
        "id": stripe_id("evt", number),
        "object": "event",
        "api_version": "2023-10-16",
        "created": CREATED + number + 2,
        "data": {"object": about},
        "livemode": False,
        "pending_webhooks": 1,
        "request": request,
        "type": kind,
    }
    return json.dumps(body, indent=2).encode()


def sign(body: bytes) -> str:
    """The `Stripe-Signature` header of a delivery made now."""
    timestamp = int(time.time())
    signed = b"%d.%b" % (timestamp, body)
    return f"t={timestamp},v1={hmac.digest(WEBHOOK_SECRET.encode(), signed, 'sha256').hex()}"


def _intent(number: int, user_id: str, quote_id: str, amount_minor: int) -> dict[str, object]:
    intent_id = stripe_id("pi", number)
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount_minor,
        "amount_capturable": 0,
        "amount_details": {"tip": {}, "shipping": {"amount": 0, "from_postal_code": None}},
        "amount_received": amount_minor,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_{'n0tASecret' * 2}12345",
        "confirmation_method": "automatic",
        "created": CREATED + number,
        "currency": "usd",
        "customer": "cus_BenchCustomer1",
        "description": "100 credits for the render farm, to be used within the workspace",
        "excluded_payment_method_types": None,
        "invoice": None,
        "last_payment_error": None,
        "latest_charge": stripe_id("ch", number),
        "livemode": False,
        "metadata": {
            "user_id": user_id,
            "quote_id": quote_id,
            "package_id": "starter",
            "credits": "100",
            "workspace": "ws_7d0e1c52b0f94a6f",
            "campaign": "winter-2026/newsletter-03/variant-b",
            "order_url": "https://shop.example/orders/2026/01/01/7d0e1c52b0f94a6f",
            "terms_accepted_at": "2026-01-01T00:00:00Z",
        },
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": stripe_id("pm", number),
        "payment_method_configuration_details": {
            "id": "pmc_1BenchConfiguration0000",
            "parent": None,
        },
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            },
            "cashapp": {},
            "klarna": {"preferred_locale": None},
            "link": {"persistent_token": None},
            "us_bank_account": {
                "financial_connections": {
                    "filters": {"account_subcategories": ["checking", "savings"]},
                    "permissions": ["payment_method"],
                    "prefetch": [],
                },
                "mandate_options": {},
                "verification_method": "automatic",
            },
        },
        "payment_method_types": ["card", "klarna", "link", "us_bank_account", "cashapp"],
        "presentment_details": {
            "presentment_amount": amount_minor,
            "presentment_currency": "usd",
        },
        "processing": None,
        "receipt_email": "customer@example.com",
        "review": None,
        "setup_future_usage": "off_session",
        "shipping": {
            "address": ADDRESS,
            "carrier": None,
            "name": "A Customer",
            "phone": "+15555550100",
            "tracking_number": None,
        },
        "source": None,
        "statement_descriptor": "RENDER FARM CREDITS",
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": f"group_{intent_id}",
    }


def _base62(number: int, length: int) -> str:
    letters = ""
    for _ in range(length):
        number, rest = divmod(number, 62)
        letters = _DIGITS[rest] + letters
    return letters
