"""What a payment and a refund mean for a wallet: the one place that decides it.

Confirming, every webhook and any later repair hand the facts they have to these commands. An
effect is named after its cause (`payment:pi_…`), not after the message that told of it, so it
does not matter who tells first, or how often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

from credit_payments.domain import ledger, payment, reversal
from credit_payments.domain.decision import Decision, View
from credit_payments.domain.records import (
    Dispute,
    Event,
    FailedPayment,
    Incident,
    Key,
    Payment,
    Quote,
    Record,
    Wallet,
)
from credit_payments.domain.stripe_facts import (
    DisputeFacts,
    PaymentIntentFacts,
    RefundFacts,
    ref_id,
)

Outcome: TypeAlias = Literal["applied", "duplicate", "ignored", "quarantined"]


class Messenger(msgspec.Struct, frozen=True, kw_only=True):
    """The event that told of the facts; a confirmation has none."""

    event_id: str
    type: str


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a report, and how the payment stands after it."""

    outcome: Outcome
    payment: Payment | None = None
    reason: str | None = None


class ReportPayment(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe says how a payment intent stands."""

    facts: PaymentIntentFacts
    messenger: Messenger | None = None

    def keys(self) -> Iterator[Key]:
        """The payment, the wallet that the intent names, the messenger, a failed attempt."""
        yield Payment, self.facts.id
        if user_id := self.facts.metadata.get("user_id"):
            yield Wallet, user_id
        if self.messenger:
            yield Event, self.messenger.event_id
        else:
            yield Incident, self._incident_id()
        if failure := payment.failure_of(self.facts, "", ""):
            yield FailedPayment, failure.failure_id

    def keys_after(self, view: View) -> Iterator[Key]:
        """The quote of an intent that is not known yet, its wallet, what was filed about it."""
        known = view.get(Payment, self.facts.id)
        quote_id = self.facts.metadata.get("quote_id")
        if known is None and quote_id:
            yield Quote, quote_id
            yield Incident, payment.refunds_incident(self.facts.id)
            known = self._payment_from_quote(view, "")
        if known is not None:
            yield Wallet, known.user_id
        if known is None or known.quarantined or self._problem(view, known):
            yield Incident, self._incident_id()

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """Merge the report; when the money has arrived, post its credits, once."""
        known = view.get(Payment, self.facts.id) or self._payment_from_quote(view, now)
        if _is_done(view, self.messenger):
            return Decision(Settlement(outcome="duplicate", payment=known))
        if known is None:
            return self._unattributed(view, now)
        if problem := self._problem(view, known):
            return self._quarantine(view, known, problem, now)
        reported = payment.received(known, self.facts, now)
        changes: list[Record] = []
        if reported.status == payment.SUCCEEDED and not known.credited:
            settled, changes = _credit(view, reported, now)
        else:
            settled = reported
        if settled.quarantined:
            settled = msgspec.structs.replace(settled, quarantined=0, updated_at=now)
        changes += self._new_failure(view, known.user_id, now)
        outcome: Outcome = "applied" if changes or settled is not known else "duplicate"
        changes += _closed_incident(view, self._incident_id())
        changes += _handled(view, self.messenger, self.facts.id, outcome, now)
        before = view.get(Payment, self.facts.id)
        if before is None:
            changes += _closed_incident(view, payment.refunds_incident(self.facts.id))
        if settled is not before:
            changes.append(settled)
        return Decision(Settlement(outcome=outcome, payment=settled), changes)

    def _incident_id(self) -> str:
        return payment.cause(self.facts.id)

    def _payment_from_quote(self, view: View, now: str) -> Payment | None:
        """The payment that was about to be recorded when its process died."""
        quote_id = self.facts.metadata.get("quote_id")
        quote = view.peek(Quote, quote_id) if quote_id else None
        filed = view.peek(Incident, payment.refunds_incident(self.facts.id))
        return payment.from_quote(quote, self.facts, filed, now) if quote else None

    def _problem(self, view: View, known: Payment) -> str | None:
        """Why a person must look at it before any credit is posted."""
        if mismatch := payment.mismatch(known, self.facts):
            return mismatch
        is_due = self.facts.status == payment.SUCCEEDED and not known.credited
        if is_due and not ledger.fits(view.peek(Wallet, known.user_id), known.credits):
            return "the wallet cannot hold the credits"
        return None

    def _new_failure(self, view: View, user_id: str, now: str) -> list[Record]:
        failure = payment.failure_of(self.facts, user_id, now)
        if failure is None or view.get(FailedPayment, failure.failure_id):
            return []
        return [failure]

    def _unattributed(self, view: View, now: str) -> Decision[Settlement]:
        """An intent that none of our quotes asked for: of interest once money has arrived."""
        if self.facts.status == payment.SUCCEEDED:
            return self._quarantine(view, None, "no quote is known for this payment", now)
        user_id = self.facts.metadata.get("user_id")
        changes = self._new_failure(view, user_id, now) if user_id else []
        outcome: Outcome = "applied" if changes else "ignored"
        if changes:
            changes += _handled(view, self.messenger, self.facts.id, outcome, now)
        return Decision(Settlement(outcome=outcome), changes)

    def _quarantine(
        self, view: View, known: Payment | None, reason: str, now: str
    ) -> Decision[Settlement]:
        """File it where a person will find it; no money is guessed about."""
        stored = msgspec.json.encode(payment.facts_to_keep(self.facts)).decode()
        return _file(
            view, self._incident_id(), self.facts.id, self.messenger, reason, stored, known, now
        )


class ReportRefund(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe says how a refund stands."""

    facts: RefundFacts
    payment_intent_id: str
    messenger: Messenger | None = None

    def keys(self) -> Iterator[Key]:
        """The payment and the event."""
        yield Payment, self.payment_intent_id
        yield Incident, self._incident_id()
        if self.messenger:
            yield Event, self.messenger.event_id

    def keys_after(self, view: View) -> Iterable[Key]:
        """The wallet that the payment went to."""
        known = view.get(Payment, self.payment_intent_id)
        return [(Wallet, known.user_id)] if known else []

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """Merge the refund, and post the difference to what was taken back already."""
        known = view.get(Payment, self.payment_intent_id)
        if _is_done(view, self.messenger):
            return Decision(Settlement(outcome="duplicate", payment=known))
        if known is None:
            reason = "a refund of a payment that is not recorded"
            filed = view.get(Incident, self._incident_id())
            stored = reversal.merge_refund(filed.facts if filed else "{}", self.facts)
            return _file(
                view, self._incident_id(), self.facts.id, self.messenger, reason, stored, None, now
            )
        refunds = reversal.merge_refund(known.refunds, self.facts)
        settled, changes = known, list[Record]()
        if refunds != known.refunds:
            settled = msgspec.structs.replace(known, refunds=refunds, updated_at=now)
            settled, wallet, changes = _reverse(view.get(Wallet, known.user_id), settled, now)
            changes += [settled, *([wallet] if wallet else [])]
        outcome: Outcome = "applied" if changes else "duplicate"
        changes += _closed_incident(view, self._incident_id())
        changes += _handled(view, self.messenger, self.facts.id, outcome, now)
        return Decision(Settlement(outcome=outcome, payment=settled), changes)

    def _incident_id(self) -> str:
        return payment.refunds_incident(self.payment_intent_id)


class ReportDispute(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe says how a dispute stands."""

    facts: DisputeFacts
    created_at: str
    messenger: Messenger

    def keys(self) -> Iterator[Key]:
        """The dispute and the event."""
        yield Dispute, self.facts.id
        yield Event, self.messenger.event_id

    def keys_after(self, view: View) -> Iterable[Key]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """Keep the dispute as Stripe describes it now."""
        if _is_done(view, self.messenger):
            return Decision(Settlement(outcome="duplicate"))
        known = view.get(Dispute, self.facts.id)
        reported = Dispute(
            dispute_id=self.facts.id,
            payment_intent_id=ref_id(self.facts.payment_intent),
            amount=self.facts.amount,
            currency=self.facts.currency,
            reason=self.facts.reason,
            status=self.facts.status,
            created_at=known.created_at if known else self.created_at,
        )
        if known and _is_outdated(known, self.facts, self.messenger):
            reported = known
        changes: list[Record] = [reported] if reported != known else []
        outcome: Outcome = "applied" if changes else "duplicate"
        changes += _handled(view, self.messenger, self.facts.id, outcome, now)
        return Decision(Settlement(outcome=outcome), changes)


def _credit(view: View, paid: Payment, now: str) -> tuple[Payment, list[Record]]:
    """Post a payment's credits, and take back what was refunded before this report came."""
    effect = ledger.Effect(
        user_id=paid.user_id,
        kind=ledger.Kind.PAYMENT,
        cause=payment.cause(paid.payment_intent_id),
        contra=ledger.Contra.PURCHASES,
        now=now,
    )
    wallet, entry = ledger.add(view.get(Wallet, paid.user_id), paid.credits, effect)
    settled = msgspec.structs.replace(paid, credited=paid.credits, updated_at=now)
    changes: list[Record] = [entry, payment.purchase_of(settled, entry, now)]
    reversed_wallet = None
    if paid.refunds != "{}":
        settled, reversed_wallet, entries = _reverse(wallet, settled, now)
        changes += entries
    return settled, [*changes, reversed_wallet or wallet]


def _reverse(
    wallet: Wallet | None, paid: Payment, now: str
) -> tuple[Payment, Wallet | None, list[Record]]:
    """Post what the payment's refunds ask for beyond what was posted; nothing where they agree."""
    due = reversal.credits_reversed(
        paid.refunds, granted=paid.credited, paid_minor=paid.received_minor
    )
    difference = due - paid.reversed_credits
    if difference == 0:
        return paid, None, []
    effect = ledger.Effect(
        user_id=paid.user_id,
        kind=ledger.Kind.REVERSAL,
        cause=f"reversal:{paid.payment_intent_id}:{paid.reversals + 1}",
        contra=ledger.Contra.REFUNDS,
        now=now,
    )
    if difference > 0:
        after, entry = ledger.take(wallet, difference, effect, into_debt=True)
    else:
        after, entry = ledger.add(wallet, -difference, effect)
    reversed_payment = msgspec.structs.replace(
        paid, reversed_credits=due, reversals=paid.reversals + 1, updated_at=now
    )
    return reversed_payment, after, [entry]


def _is_done(view: View, messenger: Messenger | None) -> bool:
    """Whether this very event was applied; one in quarantine is decided again."""
    event = view.get(Event, messenger.event_id) if messenger else None
    return event is not None and event.outcome != "quarantined"


def _handled(
    view: View, messenger: Messenger | None, subject: str, outcome: Outcome, now: str
) -> list[Record]:
    """The event's own row, which commits together with its effects."""
    if messenger is None:
        return []
    known = view.get(Event, messenger.event_id)
    if known is not None:
        return [msgspec.structs.replace(known, outcome=outcome)]
    return [Event(messenger.event_id, messenger.type, subject, outcome, now)]


def _file(
    view: View,
    incident_id: str,
    subject: str,
    messenger: Messenger | None,
    reason: str,
    facts: str,
    known: Payment | None,
    now: str,
) -> Decision[Settlement]:
    earlier = view.get(Incident, incident_id)
    incident = Incident(
        incident_id=incident_id,
        status="open",
        reason=reason,
        event_id=messenger.event_id if messenger else None,
        facts=facts,
        created_at=earlier.created_at if earlier else now,
    )
    changes = [incident, *_handled(view, messenger, subject, "quarantined", now)]
    if known is not None and view.get(Payment, known.payment_intent_id) is not None:
        # So that whoever settles it later knows that there is something to close.
        known = msgspec.structs.replace(known, quarantined=1, updated_at=now)
        changes.append(known)
    return Decision(Settlement(outcome="quarantined", payment=known, reason=reason), changes)


def _closed_incident(view: View, incident_id: str) -> list[Record]:
    """What was filed about these facts is settled now."""
    incident = view.peek(Incident, incident_id)
    if incident is None or incident.status == "resolved":
        return []
    return [msgspec.structs.replace(incident, status="resolved")]


_DISPUTE_CLOSED = frozenset({"won", "lost", "warning_closed", "prevented"})
"""https://docs.stripe.com/api/disputes/object#dispute_object-status"""


def _is_outdated(known: Dispute, facts: DisputeFacts, messenger: Messenger) -> bool:
    """Whether a report came later than one that it preceded."""
    reopens = known.status in _DISPUTE_CLOSED and facts.status not in _DISPUTE_CLOSED
    return reopens or messenger.type == "charge.dispute.created"
