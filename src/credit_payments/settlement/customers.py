"""What Stripe says of a customer means for the encrypted copy that is kept of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from credit_payments.domain.customers import ChangedCustomer
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import Event, Record, StripeCustomer
from credit_payments.settlement.outcomes import Messenger, Outcome, Settlement, handled, is_done


class ReportCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer was changed at Stripe, or deleted."""

    facts: ChangedCustomer
    messenger: Messenger

    def keys(self) -> Iterator[Ask]:
        """The customer and the event."""
        yield Event, self.messenger.event_id
        yield StripeCustomer, self.facts.customer_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """Keep what is newer than what is kept; of a customer that is gone, only whose it was."""
        known = view.get(StripeCustomer, self.facts.customer_id)
        if is_done(view, self.messenger):
            return Decision(Settlement(outcome="duplicate"))
        if known is None:
            return Decision(Settlement(outcome="ignored"))
        told = self.facts.put_into(known)
        changes: list[Record] = [] if told == known else [told]
        outcome: Outcome = "applied" if changes else "ignored"
        changes += handled(view, self.messenger, self.facts.customer_id, outcome, now)
        return Decision(Settlement(outcome=outcome), changes)
