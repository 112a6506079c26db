"""Writes the documented JSON: exactly the documented keys, amounts with their currency's digits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

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
from credit_payments.http import shapes
from credit_payments.http.messages import Response
from credit_payments.http.shapes import Answer

_OK: Final = 200
_UNAVAILABLE: Final = 503
RETRY_AFTER_SECONDS: Final = 1
REPLAYED_HEADER: Final = "Idempotent-Replayed"
"""Says that an answer was given before, and nothing was done now."""

# A Decimal leaves as the JSON number that its text is: 10.00 keeps both zeros.
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")

# What is answered belongs to one caller; RFC 9111 lets shared caches keep a 200 otherwise.
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
}


def success_response(answer: Answer) -> Response:
    """200, unless it tells of a system that is down: monitors look at the status code."""
    return _response(_OK if answer.success else _UNAVAILABLE, answer)


def error_response(error: CreditPaymentsError) -> Response:
    """The documented error JSON, with the status that the error carries.

    Example:
        >>> from credit_payments.errors import NotFound
        >>> error_response(NotFound("No such payment intent")).status
        404
    """
    decline_code = error.decline_code if isinstance(error, CardDeclined) else None
    problem = shapes.Problem(
        error=_headline(error),
        error_code=error.error_code,
        decline_code=UNSET if decline_code is None else decline_code,
        param=UNSET if error.param is None else error.param,
        message=error.message,
    )
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.retryable else {}
    return _response(error.http_status, problem, retry)


def replayed_response(status: int, body: bytes) -> Response:
    """An answer that was given before, byte for byte."""
    return Response(status=status, body=body, headers={**_HEADERS, REPLAYED_HEADER: "true"})


def internal_error_response() -> Response:
    """What the caller learns about an error that nobody foresaw: that there was one."""
    return _response(
        500,
        shapes.Problem(
            error="Internal server error",
            error_code="internal_error",
            message="Something went wrong on our side.",
        ),
    )


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


def intent_answer(intent: PaymentIntent) -> shapes.PaymentIntent:
    """An intent that waits to be paid."""
    return shapes.PaymentIntent(
        client_secret=intent.client_secret,
        payment_intent_id=intent.payment_intent_id,
        amount=intent.amount,
        currency=intent.currency,
    )


def receipt_answer(receipt: Receipt) -> shapes.Confirmation:
    """A payment that was credited."""
    return shapes.Confirmation(
        message="Payment confirmed and credits added",
        data=shapes.Receipt(
            transaction_id=receipt.transaction_id,
            credits_purchased=receipt.credits_purchased,
            amount_paid=receipt.amount_paid,
            payment_intent_id=receipt.payment_intent_id,
        ),
    )


def packages_answer(packages: Iterable[CreditPackage]) -> shapes.CreditPackages:
    """The price list."""
    return shapes.CreditPackages(packages=[_package(package) for package in packages])


def _package(package: CreditPackage) -> shapes.CreditPackage:
    # The documented `price_usd` names its currency, so only dollars use it.
    is_usd = package.currency == "usd"
    return shapes.CreditPackage(
        id=package.id,
        name=package.name,
        credits=package.credits,
        price_usd=package.price if is_usd else UNSET,
        price=UNSET if is_usd else package.price,
        currency=UNSET if is_usd else package.currency,
        description=package.description,
    )


def status_answer(status: PaymentStatus) -> shapes.PaymentStatus:
    """Where a payment is."""
    return shapes.PaymentStatus(
        status=status.status,
        amount=status.amount,
        currency=status.currency,
        created=status.created,
    )


def created_customer_answer(customer: Customer) -> shapes.CreatedCustomer:
    """A customer that was just created."""
    return shapes.CreatedCustomer(
        customer_id=customer.id, email=customer.email, created=customer.created
    )


def customer_answer(customer: Customer) -> shapes.OneCustomer:
    """A customer in full."""
    return shapes.OneCustomer(
        customer=shapes.Customer(
            id=customer.id,
            email=customer.email,
            name=customer.name,
            phone=customer.phone,
            created=customer.created,
            metadata=dict(customer.metadata),
        )
    )


def payment_methods_answer(methods: Iterable[PaymentMethod]) -> shapes.PaymentMethods:
    """A customer's payment methods; in their list `customer` would say nothing new."""
    return shapes.PaymentMethods(
        payment_methods=[
            shapes.ListedPaymentMethod(
                id=method.id, type=method.type, card=_card(method), created=method.created
            )
            for method in methods
        ]
    )


def payment_method_answer(method: PaymentMethod) -> shapes.OnePaymentMethod:
    """A payment method on its own."""
    return shapes.OnePaymentMethod(
        payment_method=shapes.PaymentMethod(
            id=method.id,
            type=method.type,
            card=_card(method),
            customer=method.customer,
            created=method.created,
        )
    )


def _card(method: PaymentMethod) -> shapes.Card | UnsetType:
    card = method.card
    if card is None:
        return UNSET
    return shapes.Card(
        brand=card.brand, last4=card.last4, exp_month=card.exp_month, exp_year=card.exp_year
    )


def refund_answer(refund: Refund) -> shapes.OneRefund:
    """A refund, and the credits that were taken back for it so far."""
    return shapes.OneRefund(
        refund=shapes.Refund(
            id=refund.refund_id,
            payment_intent_id=refund.payment_intent_id,
            amount=refund.amount,
            currency=refund.currency,
            status=refund.status,
            credits_reversed=refund.credits_reversed,
        )
    )


def balance_answer(balance: Balance) -> shapes.OneBalance:
    """What a wallet holds; instants are ISO 8601 in UTC."""
    return shapes.OneBalance(
        balance=shapes.Balance(
            available=balance.available,
            held=balance.held,
            frozen=balance.frozen,
            debt=balance.debt,
            expires_next=balance.expires_next,
        )
    )


def transactions_answer(page: Page[Entry]) -> shapes.Transactions:
    """A page of a wallet's history; `next_cursor` is null on the last one."""
    return shapes.Transactions(
        transactions=[
            shapes.Transaction(
                transaction_id=entry.transaction_id,
                type=entry.kind,
                credits=entry.credits,
                balance_after=entry.balance_after,
                reason=entry.reason,
                created_at=entry.created_at,
            )
            for entry in page
        ],
        next_cursor=page.cursor,
    )


def delivery_answer(delivery: Delivery) -> shapes.Delivery:
    """What became of a webhook."""
    return shapes.Delivery(event_id=delivery.event_id, type=delivery.type, outcome=delivery.outcome)


def stripe_health(health: Health) -> shapes.StripeHealth:
    """Stripe's side of a health, in numbers only; null where the database does not answer."""
    inbox, quarantine, found = health.inbox, health.quarantine, health.conversions
    last, lag, reconciled = health.last_event, health.delivery_lag, health.last_reconciliation
    return shapes.StripeHealth(
        success=_is_up(health),
        status=health.status,
        stripe=shapes.StripeSetup(
            configured=health.stripe.configured,
            livemode=health.stripe.livemode,
            webhooks_configured=health.stripe.webhooks_configured,
            webhook_mode=health.stripe.webhook_mode,
        ),
        last_event=None
        if last is None
        else shapes.LastEvent(
            type=last.type, received_at=last.received_at, seconds_ago=last.seconds_ago
        ),
        delivery_lag=None
        if lag is None
        else shapes.DeliveryLag(
            events=lag.events, median_seconds=lag.median_seconds, max_seconds=lag.max_seconds
        ),
        dead_letters=None if inbox is None else inbox.dead,
        quarantined=None if quarantine is None else quarantine.open,
        conversions=None
        if found is None
        else shapes.Conversions(checked=found.checked, accurate=found.accurate),
        last_reconciliation=None
        if reconciled is None
        else shapes.LastReconciliation(
            ended_at=reconciled.ended_at, seconds_ago=reconciled.seconds_ago
        ),
    )


def transactions_health(health: Health) -> shapes.TransactionsHealth:
    """The database's side of a health, in numbers only; null where it does not answer."""
    queue, inbox, told = health.queue, health.inbox, health.notifications
    return shapes.TransactionsHealth(
        success=_is_up(health),
        status=health.status,
        queue=shapes.QueueLength(
            commands_waiting=queue.commands_waiting,
            commands_max=queue.commands_max,
            oldest_seconds=queue.oldest_seconds,
        ),
        database=shapes.DatabaseState(
            answers=health.database.answers, schema_version=health.database.schema_version
        ),
        inbox=None
        if inbox is None
        else shapes.Inbox(waiting=inbox.waiting, oldest_seconds=inbox.oldest_seconds),
        notifications=None
        if told is None
        else shapes.NotificationBacklog(waiting=told.waiting, dead=told.dead),
    )


def _is_up(health: Health) -> bool:
    return health.status != "down"
