"""What an early fraud warning means: somebody has to decide whether to refund."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import Event, Incident, Payment
from credit_payments.domain.stripe_facts import FraudWarningFacts, ref_id
from credit_payments.settlement.outcomes import Messenger, Settlement, handled, is_done


class ReportFraudWarning(msgspec.Struct, frozen=True, kw_only=True):
    """An issuer believes that a payment was fraudulent; a dispute may follow.

    A refund in time spares the fee (https://docs.stripe.com/disputes/measuring#early-fraud-warnings).
    Which it is to be is a person's decision, so it is filed and changes no wallet.
    """

    facts: FraudWarningFacts
    messenger: Messenger

    def keys(self) -> Iterator[Ask]:
        """The event, what was filed, and the payment."""
        yield Event, self.messenger.event_id
        yield Incident, self._incident_id()
        if intent_id := ref_id(self.facts.payment_intent):
            yield Payment, intent_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """File it once."""
        intent_id = ref_id(self.facts.payment_intent)
        known = view.get(Payment, intent_id) if intent_id else None
        if is_done(view, self.messenger):
            return Decision(Settlement(outcome="duplicate", payment=known))
        if view.get(Incident, self._incident_id()):
            seen = handled(view, self.messenger, self.facts.id, "duplicate", now)
            return Decision(Settlement(outcome="duplicate", payment=known), seen)
        incident = Incident(
            incident_id=self._incident_id(),
            status="open",
            reason=f"an early fraud warning: {self.facts.fraud_type[:100]}",
            event_id=self.messenger.event_id,
            facts=msgspec.json.encode(
                {
                    "id": self.facts.id,
                    "payment_intent": intent_id,
                    "charge": ref_id(self.facts.charge),
                    "fraud_type": self.facts.fraud_type[:100],
                    "actionable": self.facts.actionable,
                }
            ).decode(),
            created_at=now,
        )
        changes = [incident, *handled(view, self.messenger, self.facts.id, "applied", now)]
        return Decision(Settlement(outcome="applied", payment=known), changes)

    def _incident_id(self) -> str:
        return f"fraud:{self.facts.id}"
