"""Keeping what an amount buys before it is charged, as commands of the database queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from credit_payments.domain import ids, ledger, money, payment
from credit_payments.domain.credits import CreditCalculator
from credit_payments.domain.decision import Decision, View
from credit_payments.domain.records import Incident, Key, Payment, Quote, StripeCustomer
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.errors import IdempotencyConflict, InvalidAmount


def make_quote(
    calculator: CreditCalculator,
    user_id: str,
    amount: money.Amount | None,
    currency: str,
    *,
    package_id: str | None,
    customer_id: str | None,
    quote_id: str,
) -> Quote:
    """What is asked for, checked whole before anything is kept or sent.

    Raises:
        InvalidRequest: an argument cannot be right, or the amount buys nothing.
    """
    ids.check_user_id(user_id)
    if package_id is not None:
        package = calculator.package(package_id)
        amount = package.price if amount is None else amount
    unit = money.currency(currency)
    minor = money.parse_amount(amount, unit)
    money.check_chargeable(minor, unit)
    conversion = calculator.quote(minor, unit.code, package_id)
    if conversion.credits == 0:
        raise InvalidAmount("The amount is too small to buy a credit.", param="amount")
    return Quote(
        quote_id=quote_id,
        user_id=user_id,
        amount_minor=minor,
        currency=unit.code,
        credits=conversion.credits,
        package_id=package_id,
        customer_id=customer_id,
        rule=conversion.rule,
        # Not the credits: a repetition after a price change is still the same call.
        fingerprint=ledger.fingerprint(user_id, minor, unit.code, package_id, customer_id),
        payment_intent_id=None,
        created_at="",
    )


def intent_metadata(quote: Quote) -> dict[str, str]:
    """What an intent carries, so that its webhook finds its quote whatever happened here."""
    metadata = {
        "user_id": quote.user_id,
        "quote_id": quote.quote_id,
        "credits": str(quote.credits),
    }
    if quote.currency == "usd":
        metadata["amount_usd"] = money.to_text(quote.amount_minor, "usd")
    return metadata


class KeepQuote(msgspec.Struct, frozen=True, kw_only=True):
    """A price is promised; the quote's `created_at` is filled in when it is kept."""

    quote: Quote

    def keys(self) -> Iterator[Key]:
        """The quote."""
        yield Quote, self.quote.quote_id

    def keys_after(self, view: View) -> Iterable[Key]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[Quote]:
        """Keep it once; a repetition under the same idempotency key gets the first one.

        Raises:
            IdempotencyConflict: the key named a call with other arguments.
        """
        known = view.get(Quote, self.quote.quote_id)
        if known is None:
            kept = msgspec.structs.replace(self.quote, created_at=now)
            return Decision(kept, (kept,))
        if known.fingerprint != self.quote.fingerprint:
            raise IdempotencyConflict(
                "The idempotency key was used before with other arguments.",
                param="idempotency_key",
            )
        return Decision(known)


class LinkIntent(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe has made the intent that a quote was kept for."""

    quote_id: str
    facts: PaymentIntentFacts

    def keys(self) -> Iterator[Key]:
        """The quote and the payment."""
        yield Quote, self.quote_id
        yield Payment, self.facts.id
        yield Incident, payment.refunds_incident(self.facts.id)

    def keys_after(self, view: View) -> Iterable[Key]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[None]:
        """Record the payment, unless a webhook was faster."""
        quote = view.get(Quote, self.quote_id)
        if quote is None:
            raise LookupError(f"quote {self.quote_id} was not kept")
        linked = msgspec.structs.replace(quote, payment_intent_id=self.facts.id)
        known = view.get(Payment, self.facts.id)
        if known is not None:
            return Decision(None, () if quote == linked else (linked,))
        filed = view.get(Incident, payment.refunds_incident(self.facts.id))
        created = payment.from_quote(quote, self.facts, filed, now)
        changes = (linked, payment.received(created, self.facts, now))
        if filed is None:
            return Decision(None, changes)
        return Decision(None, (*changes, msgspec.structs.replace(filed, status="resolved")))


class KeepCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """A Stripe customer belongs to one of our users."""

    customer_id: str
    user_id: str

    def keys(self) -> Iterator[Key]:
        """The customer."""
        yield StripeCustomer, self.customer_id

    def keys_after(self, view: View) -> Iterable[Key]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[None]:
        """Keep it once."""
        if view.get(StripeCustomer, self.customer_id):
            return Decision(None)
        return Decision(None, (StripeCustomer(self.customer_id, self.user_id, None, None, now),))
