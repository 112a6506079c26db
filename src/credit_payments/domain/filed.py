"""What was filed in the quarantine, as a person gets it, whichever kind of incident it is."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from credit_payments.domain import instants, money, payment, values
from credit_payments.domain.records import Dispute, Incident, Payment, Quote


class Filed(msgspec.Struct, frozen=True, kw_only=True):
    """What an incident says of what it is about; the amount in minor units."""

    payment_intent_id: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    metadata: dict[str, str] = {}


def read(row: Incident, dispute: Dispute | None = None) -> Filed:
    """The facts of an incident; of one about a dispute, that dispute's row knows some of them.

    >>> row = Incident("reversals:pi_1", "open", "early", None, "{}", "")
    >>> read(row).payment_intent_id
    'pi_1'
    """
    kind, _, name = row.incident_id.partition(":")
    if kind == "payment":
        facts = payment.kept_facts(row)
        return Filed(
            payment_intent_id=facts.id,
            amount_minor=facts.amount_received if payment.has_arrived(facts) else facts.amount,
            currency=facts.currency.lower(),
            metadata=facts.metadata,
        )
    if kind == "reversals":
        return Filed(payment_intent_id=name)
    told = msgspec.json.decode(row.facts)
    intent_id = told.get("payment") or told.get("payment_intent")
    return Filed(
        payment_intent_id=intent_id or (dispute.payment_intent_id if dispute else None),
        amount_minor=told.get("amount"),
        currency=told.get("currency") or (dispute.currency if dispute else None),
    )


def public(
    row: Incident, told: Filed, known: Payment | None, quote: Quote | None
) -> values.Quarantined:
    """An incident, beside what is known of its payment and was promised for it."""
    return values.Quarantined(
        incident_id=row.incident_id,
        status=row.status,
        reason=row.reason,
        payment_intent_id=told.payment_intent_id,
        amount=_major(told.amount_minor, told.currency),
        currency=told.currency,
        user_id=told.metadata.get("user_id") or (known.user_id if known else None),
        quoted_user_id=quote.user_id if quote else None,
        quoted_amount=_major(quote.amount_minor, quote.currency) if quote else None,
        quoted_currency=quote.currency if quote else None,
        quoted_credits=quote.credits if quote else None,
        event_id=row.event_id,
        decision=row.decision,
        created_at=instants.from_text(row.created_at),
    )


def _major(minor: int | None, currency: str | None) -> Decimal | None:
    """An amount in major units; None where it is not told, or the currency is new to us."""
    if minor is None or currency is None or currency.lower() not in money.CURRENCIES:
        return None
    return money.to_decimal(minor, currency)
