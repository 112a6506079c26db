"""What a refund and a dispute mean for a wallet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from credit_payments.domain import clawback, payment, reversal
from credit_payments.domain.book import Book
from credit_payments.domain.clawback import Policies
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import (
    Dispute,
    Event,
    Incident,
    Payment,
    Record,
)
from credit_payments.domain.stripe_facts import (
    ChargeFacts,
    DisputeFacts,
    RefundFacts,
    ref_id,
)
from credit_payments.settlement.outcomes import (
    Messenger,
    Outcome,
    Settlement,
    closed_incident,
    file,
    handled,
    is_done,
    needs_of,
)


class ReportRefund(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe says how a refund stands, or how much of a charge was refunded in all."""

    facts: RefundFacts | ChargeFacts
    payment_intent_id: str
    messenger: Messenger | None = None
    policies: Policies = Policies()

    def keys(self) -> Iterator[Ask]:
        """The payment and the event."""
        yield Payment, self.payment_intent_id
        yield Incident, payment.early_incident(self.payment_intent_id)
        yield Incident, self._incident_id()
        if self.messenger:
            yield Event, self.messenger.event_id

    def keys_after(self, view: View) -> Iterator[Ask]:
        """The wallet that the payment went to."""
        known = view.get(Payment, self.payment_intent_id)
        return needs_of(view, known) if known else iter(())

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """Merge the refund, and post the difference to what was taken back already."""
        known = view.get(Payment, self.payment_intent_id)
        if is_done(view, self.messenger):
            return Decision(Settlement(outcome="duplicate", payment=known))
        if known is None:
            early = _early(view, self.payment_intent_id)
            refunds = reversal.merge_refund(early.refunds, self.facts)
            return _file_early(
                view,
                self.payment_intent_id,
                self.facts.id,
                self.messenger,
                msgspec.structs.replace(early, refunds=refunds),
                now,
            )
        if self.facts.currency.lower() != known.currency:
            return _file_currency(view, self._incident_id(), self.facts, known, self.messenger, now)
        refunds = reversal.merge_refund(known.refunds, self.facts)
        reported = msgspec.structs.replace(known, refunds=refunds)
        settled, changes = _settle(view, known, reported, self.policies, now)
        outcome: Outcome = "applied" if changes else "duplicate"
        changes += closed_incident(view, payment.early_incident(self.payment_intent_id))
        changes += closed_incident(view, self._incident_id())
        changes += handled(view, self.messenger, self.facts.id, outcome, now)
        return Decision(Settlement(outcome=outcome, payment=settled), changes)

    def _incident_id(self) -> str:
        return f"refund:{self.facts.id}"


class ReportDispute(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe says how a dispute stands, and what of its money has moved."""

    facts: DisputeFacts
    created_at: str
    messenger: Messenger | None = None
    policies: Policies = Policies()

    def keys(self) -> Iterator[Ask]:
        """The dispute, the event, and the payment."""
        yield Dispute, self.facts.id
        yield Incident, self._incident_id()
        if self.messenger:
            yield Event, self.messenger.event_id
        if intent_id := ref_id(self.facts.payment_intent):
            yield Payment, intent_id
            yield Incident, payment.early_incident(intent_id)

    def keys_after(self, view: View) -> Iterator[Ask]:
        """The wallet that the payment went to."""
        intent_id = ref_id(self.facts.payment_intent)
        known = view.get(Payment, intent_id) if intent_id else None
        return needs_of(view, known) if known else iter(())

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """Keep the dispute as it stands; freeze, take back or give back what follows from it."""
        if is_done(view, self.messenger):
            return Decision(Settlement(outcome="duplicate"))
        intent_id = ref_id(self.facts.payment_intent)
        if not intent_id:
            return self._unattributed(view, now)
        known = view.get(Payment, intent_id)
        record = self._record(view.get(Dispute, self.facts.id))
        if known is None:
            early = _early(view, intent_id)
            disputes = reversal.merge_dispute(early.disputes, self.facts, self._event_type())
            early = msgspec.structs.replace(early, disputes=disputes)
            return _file_early(
                view, intent_id, self.facts.id, self.messenger, early, now, also=record
            )
        if self.facts.currency.lower() != known.currency:
            return _file_currency(
                view, self._incident_id(), self.facts, known, self.messenger, now, also=record
            )
        disputes = reversal.merge_dispute(known.disputes, self.facts, self._event_type())
        reported = msgspec.structs.replace(known, disputes=disputes)
        settled, changes = _settle(view, known, reported, self.policies, now)
        changes += record
        outcome: Outcome = "applied" if changes else "duplicate"
        changes += closed_incident(view, payment.early_incident(intent_id))
        changes += closed_incident(view, self._incident_id())
        changes += handled(view, self.messenger, self.facts.id, outcome, now)
        return Decision(Settlement(outcome=outcome, payment=settled), changes)

    def _incident_id(self) -> str:
        return f"dispute:{self.facts.id}"

    def _event_type(self) -> str:
        """What kind of event told of it; the dispute as it is now came without one."""
        return self.messenger.type if self.messenger else ""

    def _unattributed(self, view: View, now: str) -> Decision[Settlement]:
        """Money of a payment that is not an intent: for a person to look at."""
        stored = msgspec.json.encode({"dispute": self.facts.id, "amount": self.facts.amount})
        filed = file(
            view,
            self._incident_id(),
            self.facts.id,
            self.messenger,
            "a dispute that names no payment intent",
            stored.decode(),
            None,
            now,
        )
        record = self._record(view.get(Dispute, self.facts.id))
        return Decision(filed.answer, [*filed.changes, *record])

    def _record(self, known: Dispute | None) -> list[Record]:
        """The dispute's own row, where it changes."""
        status = self.facts.status
        reported = Dispute(
            dispute_id=self.facts.id,
            payment_intent_id=ref_id(self.facts.payment_intent)
            or (known.payment_intent_id if known else None),
            amount=max(self.facts.amount, known.amount) if known else self.facts.amount,
            currency=self.facts.currency,
            reason=self.facts.reason,
            status=reversal.later_status(known.status, status) if known else status,
            created_at=known.created_at if known else self.created_at,
        )
        return [reported] if reported != known else []


def _settle(
    view: View, known: Payment, reported: Payment, policies: Policies, now: str
) -> tuple[Payment, list[Record]]:
    """Post what follows from what is new about a payment; nothing where nothing is."""
    if reported == known:
        return known, []
    reported = msgspec.structs.replace(reported, updated_at=now)
    if not known.credited:  # the report of its success will find the facts
        return reported, [reported]
    book = Book(view, known.user_id, now)
    settled = clawback.settle(book, reported, policies)
    return settled, [settled, *book.changes()]


def _early(view: View, payment_intent_id: str) -> payment.Early:
    """What is filed about a payment that is not recorded yet."""
    return payment.Early.read(view.get(Incident, payment.early_incident(payment_intent_id)))


def _file_early(
    view: View,
    payment_intent_id: str,
    subject: str,
    messenger: Messenger | None,
    early: payment.Early,
    now: str,
    also: Iterable[Record] = (),
) -> Decision[Settlement]:
    """Keep what was reported about a payment for whoever records it."""
    reason = "a refund or dispute of a payment that is not recorded"
    incident_id = payment.early_incident(payment_intent_id)
    filed = file(view, incident_id, subject, messenger, reason, early.write(), None, now)
    return Decision(filed.answer, [*filed.changes, *also])


def _file_currency(
    view: View,
    incident_id: str,
    facts: RefundFacts | ChargeFacts | DisputeFacts,
    known: Payment,
    messenger: Messenger | None,
    now: str,
    also: Iterable[Record] = (),
) -> Decision[Settlement]:
    """Money of another currency than the payment's: nobody can say how many credits it is."""
    reason = f"in {facts.currency!r}, the payment was in {known.currency!r}"
    amount = facts.amount_refunded if isinstance(facts, ChargeFacts) else facts.amount
    stored = {
        "id": facts.id,
        "amount": amount,
        "currency": facts.currency,
        "payment": known.payment_intent_id,
    }
    filed = file(
        view,
        incident_id,
        facts.id,
        messenger,
        reason,
        msgspec.json.encode(stored).decode(),
        None,
        now,
    )
    answer = msgspec.structs.replace(filed.answer, payment=known)
    return Decision(answer, [*filed.changes, *also])
