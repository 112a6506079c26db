"""What a payment and a refund mean for a wallet: the one place that decides it.

Confirming, every webhook and any later repair hand the facts they have to these commands. An
effect is named after its cause (`payment:pi_…`), not after the message that told of it, so it
does not matter who tells first, or how often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

from credit_payments.domain import clawback, instants, ledger, lots, payment, reversal
from credit_payments.domain.book import Book, needs_credits, needs_due, needs_lots
from credit_payments.domain.clawback import Policies
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import (
    NEVER,
    Dispute,
    Event,
    FailedPayment,
    Incident,
    Lot,
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
    policies: Policies = Policies()

    def keys(self) -> Iterator[Ask]:
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

    def keys_after(self, view: View) -> Iterator[Ask]:
        """The quote of an intent that is not known yet, its wallet, what was filed about it."""
        known = view.get(Payment, self.facts.id)
        quote_id = self.facts.metadata.get("quote_id")
        if known is None and quote_id:
            yield Quote, quote_id
            yield Incident, payment.early_incident(self.facts.id)
            known = self._payment_from_quote(view, "")
        if known is not None:
            yield from _needs_of(view, known)
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
            settled, changes = _credit(view, reported, self.policies, now)
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
            changes += _closed_incident(view, payment.early_incident(self.facts.id))
        if settled is not before:
            changes.append(settled)
        return Decision(Settlement(outcome=outcome, payment=settled), changes)

    def _incident_id(self) -> str:
        return payment.cause(self.facts.id)

    def _payment_from_quote(self, view: View, now: str) -> Payment | None:
        """The payment that was about to be recorded when its process died."""
        quote_id = self.facts.metadata.get("quote_id")
        quote = view.peek(Quote, quote_id) if quote_id else None
        filed = view.peek(Incident, payment.early_incident(self.facts.id))
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
    policies: Policies = Policies()

    def keys(self) -> Iterator[Ask]:
        """The payment and the event."""
        yield Payment, self.payment_intent_id
        yield Incident, payment.early_incident(self.payment_intent_id)
        if self.messenger:
            yield Event, self.messenger.event_id

    def keys_after(self, view: View) -> Iterator[Ask]:
        """The wallet that the payment went to."""
        known = view.get(Payment, self.payment_intent_id)
        return _needs_of(view, known) if known else iter(())

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """Merge the refund, and post the difference to what was taken back already."""
        known = view.get(Payment, self.payment_intent_id)
        if _is_done(view, self.messenger):
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
        refunds = reversal.merge_refund(known.refunds, self.facts)
        reported = msgspec.structs.replace(known, refunds=refunds)
        settled, changes = _settle(view, known, reported, self.policies, now)
        outcome: Outcome = "applied" if changes else "duplicate"
        changes += _closed_incident(view, payment.early_incident(self.payment_intent_id))
        changes += _handled(view, self.messenger, self.facts.id, outcome, now)
        return Decision(Settlement(outcome=outcome, payment=settled), changes)


class ReportDispute(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe says how a dispute stands, and what of its money has moved."""

    facts: DisputeFacts
    created_at: str
    messenger: Messenger
    policies: Policies = Policies()

    def keys(self) -> Iterator[Ask]:
        """The dispute, the event, and the payment."""
        yield Dispute, self.facts.id
        yield Event, self.messenger.event_id
        if intent_id := ref_id(self.facts.payment_intent):
            yield Payment, intent_id
            yield Incident, payment.early_incident(intent_id)
        else:
            yield Incident, f"dispute:{self.facts.id}"

    def keys_after(self, view: View) -> Iterator[Ask]:
        """The wallet that the payment went to."""
        intent_id = ref_id(self.facts.payment_intent)
        known = view.get(Payment, intent_id) if intent_id else None
        return _needs_of(view, known) if known else iter(())

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """Keep the dispute as it stands; freeze, take back or give back what follows from it."""
        if _is_done(view, self.messenger):
            return Decision(Settlement(outcome="duplicate"))
        intent_id = ref_id(self.facts.payment_intent)
        if intent_id is None:
            return self._unattributed(view, now)
        known = view.get(Payment, intent_id)
        record = self._record(view.get(Dispute, self.facts.id))
        if known is None:
            early = _early(view, intent_id)
            disputes = reversal.merge_dispute(early.disputes, self.facts, self.messenger.type)
            early = msgspec.structs.replace(early, disputes=disputes)
            return _file_early(
                view, intent_id, self.facts.id, self.messenger, early, now, also=record
            )
        disputes = reversal.merge_dispute(known.disputes, self.facts, self.messenger.type)
        reported = msgspec.structs.replace(known, disputes=disputes)
        settled, changes = _settle(view, known, reported, self.policies, now)
        changes += record
        outcome: Outcome = "applied" if changes else "duplicate"
        changes += _closed_incident(view, payment.early_incident(intent_id))
        changes += _handled(view, self.messenger, self.facts.id, outcome, now)
        return Decision(Settlement(outcome=outcome, payment=settled), changes)

    def _unattributed(self, view: View, now: str) -> Decision[Settlement]:
        """Money of a payment that is not an intent: for a person to look at."""
        stored = msgspec.json.encode({"dispute": self.facts.id, "amount": self.facts.amount})
        filed = _file(
            view,
            f"dispute:{self.facts.id}",
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
            payment_intent_id=ref_id(self.facts.payment_intent),
            amount=max(self.facts.amount, known.amount) if known else self.facts.amount,
            currency=self.facts.currency,
            reason=self.facts.reason,
            status=reversal.later_status(known.status, status) if known else status,
            created_at=known.created_at if known else self.created_at,
        )
        return [reported] if reported != known else []


def _needs_of(view: View, known: Payment) -> Iterator[Ask]:
    """What posting about a payment needs: its wallet, and what is due there.

    Where something may be taken back, also its lot, those that gave, and those that may have to.
    """
    yield Wallet, known.user_id
    if known.refunds != reversal.NOTHING or known.disputes != reversal.NOTHING or known.credited:
        if known.credited:
            yield Lot, payment.cause(known.payment_intent_id)
        yield from needs_lots(take for take in lots.read(known.clawback) if ":" in take.lot_id)
        yield from needs_credits(view, known.user_id, known.credits)
    if view.knows((Wallet, known.user_id)):
        yield from needs_due(view, known.user_id)


def _credit(
    view: View, paid: Payment, policies: Policies, now: str
) -> tuple[Payment, list[Record]]:
    """Post a payment's credits, and take back what was reversed before this report came."""
    book = Book(view, paid.user_id, now)
    effect = ledger.Effect(
        kind=ledger.Kind.PAYMENT,
        cause=payment.cause(paid.payment_intent_id),
        metadata=payment.what_was_paid(paid.received_minor, paid.currency),
    )
    expires_at = NEVER
    if paid.expires_seconds is not None:
        expires_at = instants.later(book.now, paid.expires_seconds)
    entry = book.credit(
        effect,
        paid.credits,
        ledger.Contra.PURCHASES,
        source=lots.Source.PURCHASE,
        expires_at=expires_at,
    )
    settled = msgspec.structs.replace(paid, credited=paid.credits, updated_at=book.now)
    purchase = payment.purchase_of(settled, entry, book.now)
    if settled.refunds != reversal.NOTHING or settled.disputes != reversal.NOTHING:
        settled = clawback.settle(book, settled, policies)
    return settled, [purchase, *book.changes()]


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
    filed = _file(view, incident_id, subject, messenger, reason, early.write(), None, now)
    return Decision(filed.answer, [*filed.changes, *also])


def _closed_incident(view: View, incident_id: str) -> list[Record]:
    """What was filed about these facts is settled now."""
    incident = view.peek(Incident, incident_id)
    if incident is None or incident.status == "resolved":
        return []
    return [msgspec.structs.replace(incident, status="resolved")]
