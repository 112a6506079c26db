"""Stored rows and Stripe's facts as the values that the public methods answer with."""

from __future__ import annotations

import msgspec

from credit_payments.domain import instants, ledger, money, payment, values
from credit_payments.domain.records import NEVER, Entry, Lot, Payment, Purchase
from credit_payments.domain.stripe_facts import CustomerFacts, PaymentMethodFacts, ref_id

_STATES = ledger.LotChange._fields[1:]


def receipt(paid: Payment) -> values.Receipt:
    """What a credited payment brought."""
    return values.Receipt(
        transaction_id=ledger.transaction_id(payment.cause(paid.payment_intent_id)),
        credits_purchased=paid.credits,
        amount_paid=money.to_decimal(paid.received_minor, paid.currency),
        currency=paid.currency,
        payment_intent_id=paid.payment_intent_id,
    )


def purchase(row: Purchase) -> values.Purchase:
    """A sale, as it is listed."""
    return values.Purchase(
        payment_intent_id=row.payment_intent_id,
        transaction_id=row.transaction_id,
        user_id=row.user_id,
        credits_purchased=row.credits_purchased,
        amount_paid=money.to_decimal(row.amount_minor, row.currency),
        currency=row.currency,
        status=row.status,
        created_at=instants.from_text(row.created_at),
    )


def customer(facts: CustomerFacts) -> values.Customer:
    """A customer, as Stripe has it."""
    return values.Customer(
        id=facts.id,
        email=facts.email,
        name=facts.name,
        phone=facts.phone,
        created=facts.created,
        metadata=facts.metadata,
    )


def payment_method(facts: PaymentMethodFacts) -> values.PaymentMethod:
    """A payment method, with what may be shown of its card."""
    card = facts.card
    return values.PaymentMethod(
        id=facts.id,
        type=facts.type,
        card=values.Card(
            brand=card.brand, last4=card.last4, exp_month=card.exp_month, exp_year=card.exp_year
        )
        if card
        else None,
        customer=ref_id(facts.customer),
        created=facts.created,
    )


def lot(row: Lot) -> values.Lot:
    """A lot, as it is listed."""
    return values.Lot(
        lot_id=row.lot_id,
        user_id=row.user_id,
        source=row.source,
        credits=row.credits,
        available=row.available,
        held=row.held,
        frozen=row.frozen,
        priority=row.priority,
        expires_at=None if row.expires_at == NEVER else instants.from_text(row.expires_at),
        created_at=instants.from_text(row.created_at),
    )


def entry(row: Entry) -> values.Entry:
    """A change of a wallet, as it is listed."""
    return values.Entry(
        transaction_id=row.transaction_id,
        user_id=row.user_id,
        kind=row.kind,
        cause=row.cause,
        credits=row.credits,
        balance_after=row.balance_after,
        held_after=row.held_after,
        frozen_after=row.frozen_after,
        debt_after=row.debt_after,
        legs=ledger.legs_of(row),
        lots={
            change.lot_id: {
                state: moved for state, moved in zip(_STATES, change[1:], strict=True) if moved
            }
            for change in ledger.lots_of(row)
        },
        actor=row.actor,
        reason=row.reason,
        metadata=msgspec.json.decode(row.metadata) if row.metadata else {},
        created_at=instants.from_text(row.created_at),
    )
