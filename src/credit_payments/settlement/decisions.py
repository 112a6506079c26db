"""What a person decides about what was filed: whose a payment is, or that nothing is to be done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from credit_payments.domain import ledger, money, payment
from credit_payments.domain.book import Book
from credit_payments.domain.clawback import Policies
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import Incident, Payment, Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.errors import Conflict, NotFound, PaymentNotSuccessful
from credit_payments.settlement.outcomes import closed_incident, needs_of
from credit_payments.settlement.payments import credit


class ResolvePayment(msgspec.Struct, frozen=True, kw_only=True):
    """A person has decided whose a payment in quarantine is, and how many credits it buys.

    They are posted under the payment's own cause, so that whoever reports it afterwards finds it
    credited. `expires_seconds` counts where neither a payment nor a quote says how long they last.
    """

    payment_intent_id: str
    user_id: str
    credits: int
    actor: str
    reason: str
    expires_seconds: int | None = None
    policies: Policies = Policies()

    def keys(self) -> Iterator[Ask]:
        """The payment, and what was filed about it."""
        yield Payment, self.payment_intent_id
        yield Incident, payment.cause(self.payment_intent_id)
        yield Incident, payment.early_incident(self.payment_intent_id)

    def keys_after(self, view: View) -> Iterator[Ask]:
        """The quote where no payment is recorded; and what crediting it needs."""
        filed = view.get(Incident, payment.cause(self.payment_intent_id))
        if filed is None:
            return
        facts = payment.kept_facts(filed)
        quote_id, quote = facts.metadata.get("quote_id"), None
        if view.get(Payment, facts.id) is None and quote_id:
            yield Quote, quote_id
            quote = view.peek(Quote, quote_id)
        yield from needs_of(view, self._decided(view, facts, quote, ""))

    def decide(self, view: View, now: str) -> Decision[Payment]:
        """Post the credits, once; the same decision again changes nothing.

        Raises:
            NotFound: nothing is known of the payment.
            PaymentNotSuccessful: no money has arrived (yet).
            Conflict: it was credited already; nothing is filed about it; or the wallet cannot hold
                the credits.
        """
        known = view.get(Payment, self.payment_intent_id)
        filed = view.get(Incident, payment.cause(self.payment_intent_id))
        if known is not None and known.credited:
            if filed is not None and filed.decision == self._decision():
                return Decision(known)
            raise Conflict(f"{self.payment_intent_id} was credited already.")
        early = view.get(Incident, payment.early_incident(self.payment_intent_id))
        facts = facts_to_decide(self.payment_intent_id, known, filed, early)
        quote_id = facts.metadata.get("quote_id")
        quote = view.get(Quote, quote_id) if known is None and quote_id else None
        decided = self._decided(view, facts, quote, now)
        if not ledger.fits(Book(view, self.user_id, now).wallet, self.credits):
            raise Conflict("The wallet cannot hold the credits.")
        settled, changes = credit(view, decided, self.policies, now, self.reason)
        changes += closed_incident(view, payment.early_incident(self.payment_intent_id))
        if filed is not None:
            changes.append(
                msgspec.structs.replace(filed, status="resolved", decision=self._decision())
            )
        return Decision(settled, [*changes, settled])

    def _decided(
        self, view: View, facts: PaymentIntentFacts, quote: Quote | None, now: str
    ) -> Payment:
        known = view.get(Payment, facts.id)
        early = view.get(Incident, payment.early_incident(facts.id))
        if known is None and quote is not None:
            known = payment.from_quote(quote, facts, early, now)
        elif known is None:
            known = payment.without_quote(facts, self.user_id, self.expires_seconds, early, now)
        return payment.decided(
            known, facts, user_id=self.user_id, credits=self.credits, actor=self.actor, now=now
        )

    def _decision(self) -> str:
        return f"{self.credits} credits to {self.user_id}, by {self.actor}: {self.reason}"


def facts_to_decide(
    payment_intent_id: str,
    known: Payment | None,
    filed: Incident | None,
    early: Incident | None,
) -> PaymentIntentFacts:
    """What was filed about a payment, if there is anything to decide about it.

    Args:
        payment_intent_id: the payment.
        known: its row.
        filed: what was filed about it.
        early: what was filed about refunds and disputes of it.

    Raises:
        NotFound: nothing is known of it.
        PaymentNotSuccessful: no money has arrived (yet).
        Conflict: nothing is filed about it.
        InvalidCurrency: it came in a currency of which not even the digits are known.
    """
    if known is None and filed is None and early is None:
        raise NotFound(f"Nothing is known of {payment_intent_id}", param="payment_intent_id")
    if filed is None or filed.status == "resolved":
        raise Conflict(f"Nothing is filed of {payment_intent_id} that waits for a person.")
    facts = payment.kept_facts(filed)
    if not payment.has_arrived(facts):
        raise PaymentNotSuccessful(facts.status)
    money.currency(facts.currency)
    return facts


class DismissIncident(msgspec.Struct, frozen=True, kw_only=True):
    """A person has decided that nothing is to be done about what was filed."""

    incident_id: str
    actor: str
    reason: str

    def keys(self) -> Iterator[Ask]:
        """The incident."""
        yield Incident, self.incident_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[Incident]:  # noqa: ARG002 - of the protocol
        """Put it away, with the reason; the same facts open it no more.

        Raises:
            NotFound: no such incident.
            Conflict: it was resolved.
        """
        filed = view.get(Incident, self.incident_id)
        if filed is None:
            raise NotFound(f"No incident {self.incident_id}", param="incident_id")
        if filed.status == "resolved":
            raise Conflict(f"{self.incident_id} was resolved already.")
        if filed.status == "dismissed":
            return Decision(filed)
        decision = f"dismissed by {self.actor}: {self.reason}"
        put_away = msgspec.structs.replace(filed, status="dismissed", decision=decision)
        return Decision(put_away, (put_away,))
