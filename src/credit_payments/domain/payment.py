"""What is known of a payment, and what follows from it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from credit_payments.domain import money, reversal
from credit_payments.domain.records import Entry, FailedPayment, Incident, Payment, Purchase, Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts, ref_id

SUCCEEDED = "succeeded"
CANCELED = "canceled"
REQUIRES_CONFIRMATION = "requires_confirmation"
REQUIRES_PAYMENT_METHOD = "requires_payment_method"

_FINAL = {CANCELED: 1, SUCCEEDED: 2}
"""Events come in any order: a final state is never left, and money received outweighs all."""

NO_QUOTE = ""
"""The quote of a payment that none was kept for."""

_facts_decoder = msgspec.json.Decoder(PaymentIntentFacts)


def cause(payment_intent_id: str) -> str:
    """The name of the one effect that a payment has."""
    return f"payment:{payment_intent_id}"


def merge_status(known: str, reported: str) -> str:
    """The status after a report that may be older than what is known.

    >>> merge_status("succeeded", "requires_action"), merge_status("processing", "succeeded")
    ('succeeded', 'succeeded')
    """
    return known if _FINAL.get(known, 0) > _FINAL.get(reported, 0) else reported


def early_incident(payment_intent_id: str) -> str:
    """Under what name refunds and disputes are filed that came before their payment."""
    return f"reversals:{payment_intent_id}"


class Early(msgspec.Struct, frozen=True, kw_only=True):
    """What was filed about a payment before it was recorded: facts as its row will hold them."""

    refunds: str = reversal.NOTHING
    disputes: str = reversal.NOTHING

    @classmethod
    def read(cls, filed: Incident | None) -> Early:
        """What an incident holds."""
        return msgspec.json.decode(filed.facts, type=cls) if filed else cls()

    def write(self) -> str:
        """As an incident keeps it."""
        return msgspec.json.encode(self).decode()


def from_quote(
    quote: Quote, facts: PaymentIntentFacts, filed: Incident | None, now: str
) -> Payment:
    """The payment of an intent that was created for a quote, with what was filed for it."""
    promised = Promise(quote.amount_minor, quote.currency, quote.credits, quote.expires_seconds)
    return _created(facts.id, quote.user_id, quote.quote_id, promised, filed, now)


class Promise(NamedTuple):
    """What an amount in minor units buys, and for how many seconds its credits last."""

    amount_minor: int
    currency: str
    credits: int
    expires_seconds: int | None


def _created(
    payment_intent_id: str,
    user_id: str,
    quote_id: str,
    promised: Promise,
    filed: Incident | None,
    now: str,
) -> Payment:
    early = Early.read(filed)
    return Payment(
        payment_intent_id=payment_intent_id,
        user_id=user_id,
        quote_id=quote_id,
        status="created",
        quarantined=0,
        amount_minor=promised.amount_minor,
        currency=promised.currency,
        credits=promised.credits,
        expires_seconds=promised.expires_seconds,
        received_minor=0,
        credited=0,
        refunded_credits=0,
        disputed_credits=0,
        locked=0,
        reversals=0,
        refunds=early.refunds,
        disputes=early.disputes,
        clawback="{}",
        created_at=now,
        updated_at=now,
    )


def without_quote(
    facts: PaymentIntentFacts,
    user_id: str,
    expires_seconds: int | None,
    filed: Incident | None,
    now: str,
) -> Payment:
    """The payment of an intent that no quote asked for: nothing is promised yet."""
    promised = Promise(facts.amount_received, facts.currency.lower(), 0, expires_seconds)
    return _created(facts.id, user_id, NO_QUOTE, promised, filed, now)


def decided(
    known: Payment,
    facts: PaymentIntentFacts,
    *,
    user_id: str,
    credits: int,
    actor: str,
    now: str,
) -> Payment:
    """A payment whose money has arrived, as a person has decided about it."""
    return msgspec.structs.replace(
        known,
        user_id=user_id,
        status=SUCCEEDED,
        quarantined=0,
        amount_minor=facts.amount_received,
        currency=facts.currency.lower(),
        credits=credits,
        received_minor=facts.amount_received,
        updated_at=now,
        decided_by=actor,
    )


def mismatch(payment: Payment, facts: PaymentIntentFacts) -> str | None:
    """Why what Stripe reports is not what was quoted; None when it is.

    Whose a payment is, is no question any more once a person has decided it; amount and currency
    are then those that the decision was about.
    """
    user_id = facts.metadata.get("user_id")
    is_decided = payment.decided_by is not None
    if user_id is not None and user_id != payment.user_id and not is_decided:
        return "the intent's metadata names another user than its quote"
    if facts.currency.lower() != payment.currency:
        return f"paid in {facts.currency!r}, quoted in {payment.currency!r}"
    if facts.status == SUCCEEDED and facts.amount_received != payment.amount_minor:
        return f"received {facts.amount_received}, quoted {payment.amount_minor} minor units"
    return None


def failure_of(facts: PaymentIntentFacts, user_id: str, now: str) -> FailedPayment | None:
    """The failed attempt that an intent tells of, named after its charge; None without one."""
    error = facts.last_payment_error
    if error is None or facts.status == SUCCEEDED:
        return None
    attempt = ref_id(error.charge) or ref_id(facts.latest_charge) or "uncharged"
    return FailedPayment(
        failure_id=f"{facts.id}:{attempt}",
        user_id=user_id,
        payment_intent_id=facts.id,
        status="failed",
        failure_reason=_one_line(error.message or error.code or error.type),
        decline_code=error.decline_code,
        created_at=now,
    )


def _one_line(text: str) -> str:
    """Text from outside, fit for every database: no control characters, not endless."""
    return "".join(char if char.isprintable() else " " for char in text[:500])


def purchase_of(payment: Payment, entry: Entry, now: str) -> Purchase:
    """The sale that a succeeded payment is."""
    usd = payment.currency == "usd"
    return Purchase(
        payment_intent_id=payment.payment_intent_id,
        user_id=payment.user_id,
        sequence=entry.sequence,
        transaction_id=entry.transaction_id,
        amount_minor=payment.received_minor,
        currency=payment.currency,
        amount_usd=money.to_text(payment.received_minor, "usd") if usd else None,
        credits_purchased=payment.credits,
        status="completed",
        payment_method="stripe",
        stripe_payment_intent=payment.payment_intent_id,
        created_at=now,
    )


class Terms(msgspec.Struct, frozen=True):
    """What the entry of a payment says of the sale, so that its hash covers that, too."""

    amount_minor: int
    currency: str
    expires_at: str

    @classmethod
    def read(cls, metadata: str | None) -> Terms | None:
        """The terms in an entry's metadata, if they can be read."""
        try:
            return msgspec.json.decode(metadata or "", type=cls)
        except msgspec.MsgspecError:
            return None

    def write(self) -> str:
        """As metadata."""
        return msgspec.json.encode(self).decode()


def received(payment: Payment, facts: PaymentIntentFacts, now: str) -> Payment:
    """The payment with a report merged into it; the same object when nothing is new.

    What was received is what a success says, which was held against the quote. No other report
    adds to it, whatever it claims and whenever it comes: credits are taken back in proportion.
    """
    status = merge_status(payment.status, facts.status)
    received_minor = facts.amount_received
    if facts.status != SUCCEEDED:
        received_minor = (
            payment.received_minor
            if payment.status == SUCCEEDED
            else max(payment.received_minor, facts.amount_received)
        )
    if status == payment.status and received_minor == payment.received_minor:
        return payment
    return msgspec.structs.replace(
        payment, status=status, received_minor=received_minor, updated_at=now
    )


def reversed_credits(payment: Payment) -> int:
    """How many of its credits were taken back so far."""
    return payment.refunded_credits + payment.disputed_credits


def facts_to_keep(facts: PaymentIntentFacts) -> dict[str, object]:
    """What a person needs to decide about a payment; no secret, nothing personal."""
    ours = ("user_id", "quote_id")
    return {
        "id": facts.id,
        "status": facts.status,
        "amount": facts.amount,
        "amount_received": facts.amount_received,
        "currency": facts.currency,
        "created": facts.created,
        "metadata": {name: facts.metadata[name] for name in ours if name in facts.metadata},
    }


def kept_facts(filed: Incident) -> PaymentIntentFacts:
    """What is filed about a payment, as it was reported; see `facts_to_keep`."""
    return _facts_decoder.decode(filed.facts)


def has_arrived(facts: PaymentIntentFacts) -> bool:
    """Whether there is money to decide about."""
    return facts.status == SUCCEEDED and facts.amount_received > 0
