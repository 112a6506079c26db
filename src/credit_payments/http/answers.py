"""Writes the documented JSON: exactly the documented keys, amounts with their currency's digits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from credit_payments.domain.packages import CreditPackage
from credit_payments.domain.values import (
    Balance,
    Customer,
    Delivery,
    Entry,
    Page,
    PaymentIntent,
    PaymentMethod,
    PaymentStatus,
    Receipt,
    Refund,
)
from credit_payments.domain.vitals import Health
from credit_payments.errors import CardDeclined, CreditPaymentsError, PaymentNotSuccessful
from credit_payments.http.messages import Response

Answer = dict[str, Any]

RETRY_AFTER_SECONDS: Final = 1

# A Decimal leaves as the JSON number that its text is: 10.00 keeps both zeros.
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")

# What is answered belongs to one caller; RFC 9111 lets shared caches keep a 200 otherwise.
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
}


def success_response(answer: Answer) -> Response:
    """200 with `success` before whatever the route answers."""
    return _response(200, {"success": True, **answer})


def error_response(error: CreditPaymentsError) -> Response:
    """The documented error JSON, with the status that the error carries.

    Example:
        >>> from credit_payments.errors import NotFound
        >>> error_response(NotFound("No such payment intent")).status
        404
    """
    answer: Answer = {
        "success": False,
        "error": _headline(error),
        "error_code": error.error_code,
    }
    if isinstance(error, CardDeclined) and error.decline_code is not None:
        answer["decline_code"] = error.decline_code
    if error.param is not None:
        answer["param"] = error.param
    answer["message"] = error.message
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.retryable else {}
    return _response(error.http_status, answer, retry)


def internal_error_response() -> Response:
    """What the caller learns about an error that nobody foresaw: that there was one."""
    return _response(
        500,
        {
            "success": False,
            "error": "Internal server error",
            "error_code": "internal_error",
            "message": "Something went wrong on our side.",
        },
    )


def health_response(health: Health, answer: Answer) -> Response:
    """The status before whatever the route tells; 503 while the database does not answer.

    It takes monitors and load balancers as they are: they look at the status code.
    """
    is_up = health.status != "down"
    return _response(200 if is_up else 503, {"success": is_up, "status": health.status, **answer})


def _response(status: int, answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        status=status, body=_ENCODER.encode(answer), headers={**_HEADERS, **(headers or {})}
    )


def _headline(error: CreditPaymentsError) -> str:
    if isinstance(error, PaymentNotSuccessful):
        return error.message
    if isinstance(error, CardDeclined) and error.status is not None:
        # The documented words for a confirmation whose payment was declined.
        return str(PaymentNotSuccessful(error.status))
    return error.title


def intent_answer(intent: PaymentIntent) -> Answer:
    """An intent that waits to be paid."""
    return {
        "client_secret": intent.client_secret,
        "payment_intent_id": intent.payment_intent_id,
        "amount": intent.amount,
        "currency": intent.currency,
    }


def receipt_answer(receipt: Receipt) -> Answer:
    """A payment that was credited."""
    return {
        "message": "Payment confirmed and credits added",
        "data": {
            "transaction_id": receipt.transaction_id,
            "credits_purchased": receipt.credits_purchased,
            "amount_paid": receipt.amount_paid,
            "payment_intent_id": receipt.payment_intent_id,
        },
    }


def package_object(package: CreditPackage) -> Answer:
    """A package; the documented `price_usd` names its currency, so only dollars use it."""
    price: Answer = (
        {"price_usd": package.price}
        if package.currency == "usd"
        else {"price": package.price, "currency": package.currency}
    )
    return {
        "id": package.id,
        "name": package.name,
        "credits": package.credits,
        **price,
        "description": package.description,
    }


def status_answer(status: PaymentStatus) -> Answer:
    """Where a payment is."""
    return {
        "status": status.status,
        "amount": status.amount,
        "currency": status.currency,
        "created": status.created,
    }


def created_customer_answer(customer: Customer) -> Answer:
    """A customer that was just created."""
    return {"customer_id": customer.id, "email": customer.email, "created": customer.created}


def customer_object(customer: Customer) -> Answer:
    """A customer in full."""
    return {
        "id": customer.id,
        "email": customer.email,
        "name": customer.name,
        "phone": customer.phone,
        "created": customer.created,
        "metadata": dict(customer.metadata),
    }


def listed_payment_method(method: PaymentMethod) -> Answer:
    """A payment method in its customer's list, where `customer` would say nothing new."""
    answer: Answer = {"id": method.id, "type": method.type}
    if method.card is not None:
        answer["card"] = {
            "brand": method.card.brand,
            "last4": method.card.last4,
            "exp_month": method.card.exp_month,
            "exp_year": method.card.exp_year,
        }
    answer["created"] = method.created
    return answer


def payment_method_object(method: PaymentMethod) -> Answer:
    """A payment method on its own."""
    answer = listed_payment_method(method)
    created = answer.pop("created")
    return {**answer, "customer": method.customer, "created": created}


def refund_object(refund: Refund) -> Answer:
    """A refund, and the credits that were taken back for it so far."""
    return {
        "id": refund.refund_id,
        "payment_intent_id": refund.payment_intent_id,
        "amount": refund.amount,
        "currency": refund.currency,
        "status": refund.status,
        "credits_reversed": refund.credits_reversed,
    }


def balance_object(balance: Balance) -> Answer:
    """What a wallet holds; instants are ISO 8601 in UTC."""
    return {
        "available": balance.available,
        "held": balance.held,
        "frozen": balance.frozen,
        "debt": balance.debt,
        "expires_next": balance.expires_next,
    }


def transactions_answer(page: Page[Entry]) -> Answer:
    """A page of a wallet's history; `next_cursor` is null on the last one."""
    return {
        "transactions": [
            {
                "transaction_id": entry.transaction_id,
                "type": entry.kind,
                "credits": entry.credits,
                "balance_after": entry.balance_after,
                "reason": entry.reason,
                "created_at": entry.created_at,
            }
            for entry in page
        ],
        "next_cursor": page.cursor,
    }


def delivery_answer(delivery: Delivery) -> Answer:
    """What became of a webhook."""
    return {"event_id": delivery.event_id, "type": delivery.type, "outcome": delivery.outcome}


def stripe_health(health: Health) -> Answer:
    """Stripe's side of a health, in numbers only; null where the database does not answer."""
    inbox, quarantine, found = health.inbox, health.quarantine, health.conversions
    last, lag, reconciled = health.last_event, health.delivery_lag, health.last_reconciliation
    return {
        "stripe": {
            "configured": health.stripe.configured,
            "livemode": health.stripe.livemode,
            "webhooks_configured": health.stripe.webhooks_configured,
            "webhook_mode": health.stripe.webhook_mode,
        },
        "last_event": last
        and {
            "type": last.type,
            "received_at": last.received_at,
            "seconds_ago": last.seconds_ago,
        },
        "delivery_lag": lag
        and {
            "events": lag.events,
            "median_seconds": lag.median_seconds,
            "max_seconds": lag.max_seconds,
        },
        "dead_letters": inbox and inbox.dead,
        "quarantined": quarantine and quarantine.open,
        "conversions": found and {"checked": found.checked, "accurate": found.accurate},
        "last_reconciliation": reconciled
        and {"ended_at": reconciled.ended_at, "seconds_ago": reconciled.seconds_ago},
    }


def transactions_health(health: Health) -> Answer:
    """The database's side of a health, in numbers only; null where it does not answer."""
    inbox, notifications = health.inbox, health.notifications
    return {
        "queue": {
            "commands_waiting": health.queue.commands_waiting,
            "commands_max": health.queue.commands_max,
            "oldest_seconds": health.queue.oldest_seconds,
        },
        "database": {
            "answers": health.database.answers,
            "schema_version": health.database.schema_version,
        },
        "inbox": inbox and {"waiting": inbox.waiting, "oldest_seconds": inbox.oldest_seconds},
        "notifications": notifications
        and {"waiting": notifications.waiting, "dead": notifications.dead},
    }
