"""Quotes, and what Stripe says of their payments, as commands."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from tests.support.model import Payment

from credit_payments.domain.clawback import Policies
from credit_payments.domain.quoting import KeepQuote, LinkIntent
from credit_payments.domain.records import Quote
from credit_payments.domain.stripe_facts import (
    ChargeFacts,
    DisputeFacts,
    PaymentIntentFacts,
    RefundFacts,
)
from credit_payments.settlement import Messenger, ReportDispute, ReportPayment, ReportRefund

LONG_AGO = 1_700_000_000


def keep_quote(payment: Payment) -> KeepQuote:
    lasts = payment.lasts
    quote = Quote(
        quote_id=f"quote_{payment.name}",
        user_id=payment.user,
        amount_minor=payment.paid,
        currency="usd",
        credits=payment.credits,
        package_id=None,
        customer_id=None,
        rule="rate",
        expires_seconds=None if lasts is None else int(lasts.total_seconds()),
        fingerprint="f",
        payment_intent_id=None,
        created_at="",
    )
    return KeepQuote(quote=quote)


def link_intent(payment: Payment) -> LinkIntent:
    facts = _intent(payment, "requires_payment_method")
    return LinkIntent(quote_id=f"quote_{payment.name}", facts=facts)


def payment_report(
    payment: Payment, status: str, event: str | None, policies: Policies
) -> ReportPayment:
    messenger = event and Messenger(event_id=event, type=f"payment_intent.{status}")
    return ReportPayment(
        facts=_intent(payment, status), messenger=messenger or None, policies=policies
    )


def _intent(payment: Payment, status: str) -> PaymentIntentFacts:
    fields = {
        "id": payment.name,
        "status": status,
        "amount": payment.paid,
        "amount_received": payment.paid if status == "succeeded" else 0,
        "currency": "usd",
        "created": LONG_AGO,
        "metadata": {"user_id": payment.user, "quote_id": f"quote_{payment.name}"},
    }
    return msgspec.convert(fields, PaymentIntentFacts)


def refund_report(
    payment: Payment, refund: str, amount: int, status: str, event: str, policies: Policies
) -> ReportRefund:
    fields = {"id": refund, "amount": amount, "currency": "usd", "status": status}
    return ReportRefund(
        facts=msgspec.convert(fields, RefundFacts),
        payment_intent_id=payment.name,
        messenger=Messenger(event_id=event, type="refund.updated"),
        policies=policies,
    )


def charge_report(payment: Payment, refunded: int, event: str, policies: Policies) -> ReportRefund:
    fields = {"id": f"ch_{payment.name}", "currency": "usd", "amount_refunded": refunded}
    return ReportRefund(
        facts=msgspec.convert(fields, ChargeFacts),
        payment_intent_id=payment.name,
        messenger=Messenger(event_id=event, type="charge.refunded"),
        policies=policies,
    )


def dispute_report(
    payment: Payment,
    dispute: str,
    amount: int,
    status: str,
    movements: Mapping[str, int],
    event_type: str,
    event: str,
    policies: Policies,
) -> ReportDispute:
    fields = {
        "id": dispute,
        "amount": amount,
        "currency": "usd",
        "reason": "fraudulent",
        "status": status,
        "created": LONG_AGO,
        "payment_intent": payment.name,
        "balance_transactions": [{"id": name, "amount": size} for name, size in movements.items()],
    }
    return ReportDispute(
        facts=msgspec.convert(fields, DisputeFacts),
        created_at="2024-01-01T00:00:00.000000Z",
        messenger=Messenger(event_id=event, type=f"charge.dispute.{event_type}"),
        policies=policies,
    )
