"""Keeping what an amount buys before it is charged, as commands of the database queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from credit_payments.domain import ids, ledger, money, payment
from credit_payments.domain.credits import CreditCalculator
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import Incident, Payment, Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.errors import IdempotencyConflict, InvalidAmount


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks an intent for, checked by itself: no price has been looked at yet."""

    user_id: str
    amount_minor: int | None
    currency: money.Currency
    package_id: str | None
    customer_id: str | None

    @classmethod
    def read(
        cls,
        user_id: str,
        amount: money.Amount | None,
        currency: str,
        package_id: str | None,
        customer_id: str | None,
    ) -> Asked:
        """Check the arguments.

        Raises:
            InvalidRequest: one of them cannot be right; `param` names it.
        """
        ids.check_user_id(user_id)
        ids.check_text(package_id, param="package_id")
        unit = money.currency(currency)
        if amount is not None or package_id is None:
            minor = money.parse_amount(amount, unit)
            money.check_chargeable(minor, unit)
        else:
            minor = None
        return cls(
            user_id=user_id,
            amount_minor=minor,
            currency=unit,
            package_id=package_id,
            customer_id=customer_id,
        )

    def fingerprint(self) -> str:
        """Tells calls under one idempotency key apart, whatever prices have become meanwhile."""
        return ledger.fingerprint(
            self.user_id,
            self.amount_minor,
            self.currency.code,
            self.package_id,
            self.customer_id,
        )


def check_repetition(kept: Quote, fingerprint: str) -> None:
    """Accept a call under a key that was used before only if it is the same call.

    Raises:
        IdempotencyConflict: it is another one.
    """
    if kept.fingerprint != fingerprint:
        raise IdempotencyConflict(
            "The idempotency key was used before with other arguments.", param="idempotency_key"
        )


def make_quote(
    calculator: CreditCalculator,
    asked: Asked,
    *,
    quote_id: str,
    expires_seconds: int | None = None,
) -> Quote:
    """What is asked for, priced; its credits will expire so long after they came.

    Raises:
        InvalidRequest: the package is unknown or has another price, or the amount buys nothing.
    """
    minor = asked.amount_minor
    if minor is None:
        minor = calculator.package(asked.package_id or "").price_minor
    conversion = calculator.quote(minor, asked.currency.code, asked.package_id)
    if conversion.credits == 0:
        raise InvalidAmount("The amount is too small to buy a credit.", param="amount")
    return Quote(
        quote_id=quote_id,
        user_id=asked.user_id,
        amount_minor=minor,
        currency=asked.currency.code,
        credits=conversion.credits,
        package_id=asked.package_id,
        customer_id=asked.customer_id,
        rule=conversion.rule,
        expires_seconds=expires_seconds,
        fingerprint=asked.fingerprint(),
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

    def keys(self) -> Iterator[Ask]:
        """The quote."""
        yield Quote, self.quote.quote_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
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
        check_repetition(known, self.quote.fingerprint)
        return Decision(known)


class LinkIntent(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe has made the intent that a quote was kept for."""

    quote_id: str
    facts: PaymentIntentFacts

    def keys(self) -> Iterator[Ask]:
        """The quote and the payment."""
        yield Quote, self.quote_id
        yield Payment, self.facts.id
        yield Incident, payment.early_incident(self.facts.id)
        yield Incident, payment.cause(self.facts.id)

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
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
        filed = view.get(Incident, payment.early_incident(self.facts.id))
        created = payment.from_quote(quote, self.facts, filed, now)
        incident = view.get(Incident, payment.cause(self.facts.id))
        if incident is not None and incident.status != "resolved":
            created = msgspec.structs.replace(created, quarantined=1)
        changes = (linked, payment.received(created, self.facts, now))
        if filed is None:
            return Decision(None, changes)
        return Decision(None, (*changes, msgspec.structs.replace(filed, status="resolved")))
