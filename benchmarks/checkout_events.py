"""The event by which gringotts-api credits, as Stripe sends it: every field of the session.

The shape is that of https://docs.stripe.com/api/checkout/sessions/object; names and values are made
up, but for the metadata, by which the purchase is recognised.
"""

from __future__ import annotations

from benchmarks.stripe_events import ADDRESS, CREATED, event, stripe_id

_BUY_PAGE = "https://shop.example/gringotts/buy"
_NULL = (
    *("after_expiration", "allow_promotion_codes", "billing_address_collection", "client_secret"),
    *("consent", "consent_collection", "currency_conversion", "customer", "customer_email"),
    *("invoice", "locale", "origin_context", "payment_link", "permissions", "recovered_from"),
    *("payment_method_configuration_details", "presentment_details", "setup_intent"),
    *("saved_payment_method_options", "shipping_address_collection", "shipping_cost"),
    *("submit_type", "subscription", "url", "wallet_options"),
)
"""The fields of a Checkout session that a plain purchase leaves empty."""


def checkout_completed(
    number: int, *, user_id: int, order_id: str, amount_minor: int, credits: int
) -> bytes:
    """The body of a `checkout.session.completed` event."""
    metadata = {
        "gringotts_order_id": order_id,
        "gringotts_user_id": str(user_id),
        "credits": str(credits),
    }
    return event(
        number,
        "checkout.session.completed",
        _session(number, order_id, amount_minor, metadata),
        request={"id": None, "idempotency_key": None},
    )


def _session(
    number: int, order_id: str, amount_minor: int, metadata: dict[str, str]
) -> dict[str, object]:
    return {
        "id": stripe_id("cs", number),
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": True},
        "amount_subtotal": amount_minor,
        "amount_total": amount_minor,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": f"{_BUY_PAGE}?status=cancelled",
        "client_reference_id": order_id,
        "collected_information": {"business_name": None, "shipping_details": None},
        "created": CREATED + number,
        "currency": "usd",
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer_creation": "if_required",
        "customer_details": {
            "address": ADDRESS,
            "email": "customer@example.com",
            "name": "A Customer",
            "phone": None,
            "tax_exempt": "none",
            "tax_ids": [],
        },
        "discounts": [],
        "expires_at": CREATED + number + 86_400,
        "invoice_creation": {
            "enabled": False,
            "invoice_data": {
                "account_tax_ids": None,
                "custom_fields": None,
                "description": None,
                "footer": None,
                "issuer": None,
                "metadata": {},
                "rendering_options": None,
            },
        },
        "livemode": False,
        "metadata": metadata,
        "mode": "payment",
        "payment_intent": stripe_id("pi", number),
        "payment_method_collection": "if_required",
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card", "klarna", "link", "us_bank_account", "cashapp"],
        "payment_status": "paid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "complete",
        "success_url": f"{_BUY_PAGE}?status=success",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted",
        **dict.fromkeys(_NULL),
    }
