"""Stripe against the ledger: what differs, told from an object, our rows, and the settlement.

What a report of an object would change is decided by the settlement alone. Here it is only told
which of those changes somebody would miss, and what is here that Stripe does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from credit_payments.domain import ledger, payment, reversal
from credit_payments.domain.differences import Difference, Finding, Kind
from credit_payments.domain.records import (
    Dispute,
    Entry,
    FailedPayment,
    Incident,
    Payment,
    Purchase,
    Quote,
    Record,
    StripeCustomer,
)
from credit_payments.domain.reversed_money import (
    disputed,
    one_of,
    only,
    refunded,
    shows_movements,
    without,
)
from credit_payments.domain.stripe_facts import (
    DisputeFacts,
    PaymentIntentFacts,
    RefundFacts,
    ref_id,
)

R = TypeVar("R", bound=Record)

_OPEN = "open"


class Kept(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The rows that are here about a payment; `incident` is what was filed about the object."""

    payment: Payment | None = None
    quote: Quote | None = None
    purchase: Purchase | None = None
    entry: Entry | None = None
    dispute: Dispute | None = None
    incident: Incident | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the settlement would make of a report: its outcome, and rows before and after."""

    outcome: str
    reason: str | None = None
    changes: tuple[tuple[Record | None, Record], ...] = ()

    def new(self, kind: type[R]) -> R | None:
        """The row of a kind that would be new."""
        return next((row for old, row in self.changes if old is None and type(row) is kind), None)

    def after(self, kind: type[R], before: R | None) -> R | None:
        """The row of a kind as it would be."""
        return next((row for _, row in self.changes if type(row) is kind), before)


def is_ours(facts: PaymentIntentFacts) -> bool:
    """Whether an intent says that it was made here, in an account that others may share."""
    return bool(facts.metadata.get("user_id") or facts.metadata.get("quote_id"))


def of_payment(facts: PaymentIntentFacts, kept: Kept, told: Told) -> Iterator[Finding]:
    """What differs about a payment intent."""
    known = kept.payment
    if known is None and not is_ours(facts):
        return
    user_id = known.user_id if known else facts.metadata.get("user_id")
    tell = _Teller(facts.id, facts.id, user_id)
    if known is not None and known.credited:
        yield from _of_credited(facts, known, kept, tell)
        return
    if kept.entry is not None:  # crediting it would post the same cause again
        posted = f"{_posted(kept.entry)} credits posted"
        if known is None:
            yield tell(Kind.MISSING_RECORD, f"{posted}, and no payment here")
        else:
            yield tell(Kind.DIFFERING_CREDITS, f"{posted}, 0 in the payment's row")
        return
    if facts.status == payment.SUCCEEDED:
        yield from _of_uncredited(facts, kept, told, tell)
        return
    if kept.incident is not None and kept.incident.status == _OPEN:
        yield tell(Kind.QUARANTINED, kept.incident.reason)
    if told.outcome == "quarantined":
        return  # no money has come: it is filed when it does
    if told.new(Payment):
        quoted = f"{facts.amount} {facts.currency}"
        yield tell(
            Kind.MISSING_RECORD,
            f"an intent over {quoted} at Stripe ({facts.status}), no payment here",
            mends=True,
        )
    elif known and facts.status == payment.CANCELED and known.status != payment.CANCELED:
        yield tell(
            Kind.MISSING_EVENT,
            f"its status is {facts.status!r} at Stripe, {known.status!r} here",
            mends=True,
        )
    if facts.status in (payment.CANCELED, payment.REQUIRES_PAYMENT_METHOD):
        yield from of_event(facts.id, told)


def of_refund(facts: RefundFacts, kept: Kept, told: Told) -> Iterator[Finding]:
    """What differs about a refund of a payment that is recorded here."""
    known = kept.payment
    if known is None or is_missing(known):
        return
    tell = _Teller(facts.id, known.payment_intent_id, known.user_id)
    what = f"a refund of {facts.amount} {facts.currency} is {facts.status!r} at Stripe"
    if told.outcome == "quarantined":
        yield from _of_filed(what, kept, told, tell)
        return
    after = reversal.merge_refund(known.refunds, facts)
    yield from _of_reversal(what, refunded(known.refunds), refunded(after), tell)
    there = reversal.merge_refund(without(after, facts.id), facts)
    if refunded(there) != refunded(after):
        amount, status = one_of(after, facts.id)[:2]
        yield tell(Kind.DIFFERING_AMOUNT, f"{what}, one of {amount} is {status!r} here")


def of_refunds(refunds: Sequence[RefundFacts], known: Payment) -> Iterator[Finding]:
    """What differs about the refunds of a payment of which at most their charge has told.

    It tells what was refunded of it in all, so that only all of them together tell whether that is
    what there is.
    """
    after = known.refunds
    for facts in refunds:
        after = reversal.merge_refund(after, facts)
    last = max(refunds, key=lambda facts: (facts.created, facts.id))
    tell = _Teller(last.id, known.payment_intent_id, known.user_id)
    what = "all refunds at Stripe together"
    yield from _of_reversal(what, refunded(known.refunds), refunded(after), tell)


def of_dispute(facts: DisputeFacts, kept: Kept, told: Told) -> Iterator[Finding]:
    """What differs about a dispute of a payment that is recorded here."""
    known = kept.payment
    if known is None or is_missing(known):
        return
    tell = _Teller(facts.id, known.payment_intent_id, known.user_id)
    what = f"a dispute over {facts.amount} {facts.currency} is {facts.status!r} at Stripe"
    if told.outcome == "quarantined":
        yield from _of_filed(what, kept, told, tell)
        return
    before = only(known.disputes, facts.id)
    after = reversal.merge_dispute(before, facts)
    found = [*_of_reversal(what, disputed(before), disputed(after), tell)]
    if kept.dispute is None and not found:
        found.append(tell(Kind.MISSING_RECORD, f"{what}, no dispute here", mends=True))
    row = told.after(Dispute, kept.dispute)
    if kept.dispute and row and row.status != kept.dispute.status and not found:
        here = f"{kept.dispute.status!r} here"
        found.append(tell(Kind.MISSING_EVENT, f"{what}, {here}", mends=True))
    yield from found
    there = reversal.merge_dispute(reversal.NOTHING, facts)
    if shows_movements(facts) and disputed(there) != disputed(after):
        amount, status = one_of(after, facts.id)[:2]
        yield tell(Kind.DIFFERING_AMOUNT, f"{what}, one over {amount} is {status!r} here")


def of_event(subject: str, told: Told, user_id: str | None = None) -> Iterator[Finding]:
    """What an event, or the last attempt to pay, tells that nothing else does.

    A failed attempt is named after its charge, by whichever of the two it is found.
    """
    if failure := told.new(FailedPayment):
        intent_id, _, attempt = failure.failure_id.partition(":")
        tell = _Teller(
            attempt if "_" in attempt else intent_id, intent_id, failure.user_id or user_id
        )
        yield tell(Kind.MISSING_EVENT, "an attempt to pay failed; it is not recorded", mends=True)
    if (filed := told.new(Incident)) and filed.incident_id.startswith("fraud:"):
        facts = msgspec.json.decode(filed.facts)
        tell = _Teller(subject, facts.get("payment_intent"), user_id)
        yield tell(Kind.MISSING_EVENT, f"{filed.reason}; it is not filed", mends=True)
    for before, row in told.changes:
        # Encrypting the same again gives another text, so the instant tells whether it is new.
        if (
            isinstance(row, StripeCustomer)
            and isinstance(before, StripeCustomer)
            and row.as_of != before.as_of
        ):
            tell = _Teller(subject, None, row.user_id)
            yield tell(Kind.MISSING_EVENT, "a customer's change is not recorded", mends=True)


def extra_payment(known: Payment) -> Difference:
    """A payment that Stripe does not have."""
    paid = f"{known.received_minor} {known.currency}"
    detail = f"{known.credited} credits for {paid} here, no such intent at Stripe"
    return _Teller(known.payment_intent_id, known.payment_intent_id, known.user_id)(
        Kind.EXTRA_PAYMENT, detail
    ).difference


def extra_reversal(known: Payment, subject: str) -> Difference:
    """A refund or a dispute that Stripe does not have."""
    both = one_of(known.refunds, subject) or one_of(known.disputes, subject)
    detail = f"{both[0]} {known.currency} {both[1]!r} here, no such object at Stripe"
    return _Teller(subject, known.payment_intent_id, known.user_id)(
        Kind.EXTRA_REVERSAL, detail
    ).difference


class _Teller(NamedTuple):
    """Makes findings about one object."""

    subject: str
    payment_intent_id: str | None
    user_id: str | None

    def __call__(self, kind: Kind, detail: str, *, mends: bool = False) -> Finding:
        difference = Difference(
            kind=kind,
            subject=self.subject,
            payment_intent_id=self.payment_intent_id,
            user_id=self.user_id or None,
            detail=detail,
        )
        return Finding(difference, mends)


def _of_uncredited(
    facts: PaymentIntentFacts, kept: Kept, told: Told, tell: _Teller
) -> Iterator[Finding]:
    """Money that has arrived."""
    received = f"Stripe received {facts.amount_received} {facts.currency}"
    if told.outcome == "quarantined":
        yield from _of_filed(received, kept, told, tell)
        return
    after = told.after(Payment, kept.payment)
    credits = after.credited if after else 0
    detail = f"{received}, worth {credits} credits; none were posted"
    yield tell(Kind.MISSING_PAYMENT, detail, mends=True)


def _of_filed(what: str, kept: Kept, told: Told, tell: _Teller) -> Iterator[Finding]:
    """What a person has to decide about, unless one has."""
    filed = told.after(Incident, None)
    detail = f"{what}: {told.reason}"
    if kept.incident is None or (filed is not None and kept.incident.status != _OPEN):
        if filed is not None:
            yield tell(Kind.UNATTRIBUTED, detail, mends=True)
    elif kept.incident.status == _OPEN:
        yield tell(Kind.QUARANTINED, detail)


def _of_credited(
    facts: PaymentIntentFacts, known: Payment, kept: Kept, tell: _Teller
) -> Iterator[Finding]:
    """A payment whose credits are posted: whether it is the one that Stripe has."""
    here = f"{known.received_minor} {known.currency}"
    if facts.status != payment.SUCCEEDED:
        detail = f"{known.credited} credits for {here} here; it is {facts.status!r} at Stripe"
        yield tell(Kind.EXTRA_PAYMENT, detail)
    elif (facts.amount_received, facts.currency.lower()) != (known.received_minor, known.currency):
        detail = f"Stripe received {facts.amount_received} {facts.currency}, recorded here: {here}"
        yield tell(Kind.DIFFERING_AMOUNT, detail)
    for name, row in (("entry", kept.entry), ("purchase", kept.purchase), ("quote", kept.quote)):
        if row is None and (name != "quote" or (known.quote_id and not known.decided_by)):
            yield tell(Kind.MISSING_RECORD, f"{known.credited} credits, and no {name} here")
    if problem := _problem_of_credits(known, kept):
        yield tell(Kind.DIFFERING_CREDITS, problem)
    if kept.incident is not None and kept.incident.status == _OPEN:
        yield tell(Kind.QUARANTINED, kept.incident.reason)


def _problem_of_credits(known: Payment, kept: Kept) -> str | None:
    """Where our own rows disagree about what a payment brought, and what of it is left."""
    quote = None if known.decided_by else kept.quote
    if quote and quote.credits != known.credited:
        return f"{quote.credits} credits quoted, {known.credited} credited"
    if quote and quote.user_id != known.user_id:
        return f"quoted to {quote.user_id!r}, credited to {known.user_id!r}"
    if kept.purchase and kept.purchase.credits_purchased != known.credited:
        return f"{kept.purchase.credits_purchased} credits sold, {known.credited} credited"
    if kept.entry and (posted := _posted(kept.entry)) != known.credited:
        return f"{posted} credits posted, {known.credited} in the payment's row"
    due = reversal.due(
        known.refunds, known.disputes, granted=known.credited, paid_minor=known.received_minor
    )
    taken = known.refunded_credits + known.disputed_credits
    if (due.refunded, due.disputed) != (known.refunded_credits, known.disputed_credits):
        return f"{due.refunded + due.disputed} credits are to be taken back, {taken} were"
    return None


def _of_reversal(
    what: str, before: reversal.Due, after: reversal.Due, tell: _Teller
) -> Iterator[Finding]:
    """Money that has moved, counted as money: a part may be too small to be worth a credit.

    And as if there were no end to the payment's own: what is beyond it counts once another part
    has come back.
    """
    was, is_now = before.refunded + before.disputed, after.refunded + after.disputed
    if (was, before.locked) == (is_now, after.locked):
        return
    is_less = (is_now, after.locked) < (was, before.locked)
    kind = Kind.MISSING_RETURN if is_less else Kind.MISSING_REVERSAL
    detail = f"{what}: {is_now} is to be reversed, {was} is here"
    if is_now == was:
        detail = f"{what}: {'still' if before.locked else 'not'} frozen here"
    yield tell(kind, detail, mends=True)


def is_missing(known: Payment) -> bool:
    """Whether it is the payment itself that is missing; what was reversed of it is so with it."""
    return not known.credited and not known.quarantined


def _posted(entry: Entry) -> int:
    """The credits that an entry brought in."""
    try:
        return -ledger.legs_of(entry).get(ledger.Contra.PURCHASES, 0)
    except msgspec.MsgspecError:
        return 0


def intent_of(facts: PaymentIntentFacts | RefundFacts | DisputeFacts) -> str | None:
    """The payment intent that an object is about."""
    return facts.id if isinstance(facts, PaymentIntentFacts) else ref_id(facts.payment_intent)
