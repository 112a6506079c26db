"""What a report would change, and what is here about its payment, without changing anything."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from credit_payments.domain import payment
from credit_payments.domain.decision import Ask, Command, Decision, View
from credit_payments.domain.reconciling import Kept, Told
from credit_payments.domain.records import (
    Dispute,
    Entry,
    Incident,
    Payment,
    Purchase,
    Quote,
    Record,
    key_of,
)
from credit_payments.settlement import Settlement


class Foreseen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The rows as they are, and what the settlement would make of the report."""

    kept: Kept
    told: Told


class Foresee(msgspec.Struct, frozen=True, kw_only=True):
    """Have a command decide, and change nothing.

    Through the queue, because a batch of it loads what a hundred commands need in as many reads as
    one of them, and all of them see the same instant.
    """

    command: Command[Settlement]
    payment_intent_id: str | None = None
    incident_id: str | None = None
    dispute_id: str | None = None

    def keys(self) -> Iterator[Ask]:
        """What the command names, and what is kept about the payment."""
        yield from self.command.keys()
        if self.payment_intent_id:
            yield Payment, self.payment_intent_id
            yield Purchase, self.payment_intent_id
            yield Entry, payment.cause(self.payment_intent_id)
        if self.incident_id:
            yield Incident, self.incident_id
        if self.dispute_id:
            yield Dispute, self.dispute_id

    def keys_after(self, view: View) -> Iterator[Ask]:
        """What the command names, and the payment's quote."""
        yield from self.command.keys_after(view)
        known = view.peek(Payment, self.payment_intent_id or "")
        if known is not None and known.quote_id:
            yield Quote, known.quote_id

    def decide(self, view: View, now: str) -> Decision[Foreseen]:
        """Tell what the command decides."""
        decision = self.command.decide(view, now)
        changes = tuple((_before(view, row), row) for row in decision.changes)
        settlement = decision.answer
        told = Told(outcome=settlement.outcome, reason=settlement.reason, changes=changes)
        return Decision(Foreseen(kept=self._kept(view), told=told))

    def _kept(self, view: View) -> Kept:
        intent_id = self.payment_intent_id or ""
        known = view.peek(Payment, intent_id)
        return Kept(
            payment=known,
            quote=view.peek(Quote, known.quote_id) if known else None,
            purchase=view.peek(Purchase, intent_id),
            entry=view.peek(Entry, payment.cause(intent_id)),
            dispute=view.peek(Dispute, self.dispute_id or ""),
            incident=view.peek(Incident, self.incident_id or ""),
        )


def _before(view: View, row: Record) -> Record | None:
    return view.peek(*key_of(row))
