"""What a payment means for a wallet."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from credit_payments.domain import clawback, ids, instants, ledger, lots, payment, reversal
from credit_payments.domain.book import Book
from credit_payments.domain.clawback import Policies
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import (
    NEVER,
    Event,
    FailedPayment,
    Incident,
    Payment,
    Quote,
    Record,
    Wallet,
)
from credit_payments.domain.stripe_facts import (
    PaymentIntentFacts,
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
    was_dismissed,
)


class ReportPayment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
        is_new = known is None
        quote_id = self.facts.metadata.get("quote_id")
        if known is None and quote_id:
            yield Quote, quote_id
            yield Incident, payment.early_incident(self.facts.id)
            known = self._payment_from_quote(view, "")
        if known is not None:
            yield from needs_of(view, known)
        # Of a new one it may be filed already, whoever else of the batch has loaded its quote.
        if is_new or known is None or known.quarantined or self._may_be_filed(view, known):
            yield Incident, self._incident_id()

    def decide(self, view: View, now: str) -> Decision[Settlement]:
        """Merge the report; when the money has arrived, post its credits, once."""
        known = view.get(Payment, self.facts.id) or self._payment_from_quote(view, now)
        if is_done(view, self.messenger):
            return Decision(Settlement(outcome="duplicate", payment=known))
        if known is None:
            return self._unattributed(view, now)
        if problem := self._problem(view, known, now):
            return self._quarantine(view, known, problem, now)
        reported = payment.received(known, self.facts, now)
        changes: list[Record] = []
        if reported.status == payment.SUCCEEDED and not known.credited:
            settled, changes = credit(view, reported, self.policies, now)
        else:
            settled = reported
        is_settled = self._is_settled(view, known, settled)
        if settled.quarantined == is_settled:
            quarantined = int(not is_settled)
            settled = msgspec.structs.replace(settled, quarantined=quarantined, updated_at=now)
        changes += self._new_failure(view, known.user_id, now)
        outcome: Outcome = "applied" if changes or settled is not known else "duplicate"
        if is_settled:
            changes += closed_incident(view, self._incident_id())
        changes += handled(view, self.messenger, self.facts.id, outcome, now)
        before = view.get(Payment, self.facts.id)
        if before is None:
            changes += closed_incident(view, payment.early_incident(self.facts.id))
        if settled is not before:
            changes.append(settled)
        return Decision(Settlement(outcome=outcome, payment=settled), changes)

    def _incident_id(self) -> str:
        return payment.cause(self.facts.id)

    def _stored(self) -> str:
        return msgspec.json.encode(payment.facts_to_keep(self.facts)).decode()

    def _payment_from_quote(self, view: View, now: str) -> Payment | None:
        """The payment that was about to be recorded when its process died."""
        quote_id = self.facts.metadata.get("quote_id")
        quote = view.peek(Quote, quote_id) if quote_id else None
        filed = view.peek(Incident, payment.early_incident(self.facts.id))
        return payment.from_quote(quote, self.facts, filed, now) if quote else None

    def _may_be_filed(self, view: View, known: Payment) -> bool:
        """Whether there may be a problem, as far as that can be told before all is loaded."""
        wallet = view.peek(Wallet, known.user_id)
        return bool(payment.mismatch(known, self.facts)) or not ledger.fits(wallet, known.credits)

    def _problem(self, view: View, known: Payment, now: str) -> str | None:
        """Why a person must look at it before any credit is posted."""
        if mismatch := payment.mismatch(known, self.facts):
            return mismatch
        if self.facts.status != payment.SUCCEEDED or known.credited:
            return None
        filed = view.peek(Incident, self._incident_id())
        if filed is not None and was_dismissed(filed, self._stored()):
            return "a person has decided not to credit it"
        if ledger.fits(view.get(Wallet, known.user_id), known.credits):
            return None
        # What has expired by now may make room.
        book = Book(view, known.user_id, now)
        fits = ledger.fits(book.wallet, known.credits)
        return None if fits else "the wallet cannot hold the credits"

    def _is_settled(self, view: View, known: Payment, settled: Payment) -> bool:
        """Whether what was filed is: what tells of money is by crediting it alone."""
        filed = view.peek(Incident, self._incident_id())
        if filed is None or not self._is_about_money(view):
            return True
        if not known.credited:
            return bool(settled.credited)
        # What was filed after the credit differs still, whatever an older report says.
        differs = payment.mismatch(settled, payment.kept_facts(filed)) is not None
        return filed.status != "open" or not differs

    def _is_about_money(self, view: View) -> bool:
        """Whether what is filed about the payment says that money has arrived."""
        incident = view.peek(Incident, self._incident_id())
        if incident is None or incident.status == "resolved":
            return False
        return payment.kept_facts(incident).status == payment.SUCCEEDED

    def _new_failure(self, view: View, user_id: str, now: str) -> list[Record]:
        failure = payment.failure_of(self.facts, user_id, now)
        if failure is None or view.get(FailedPayment, failure.failure_id):
            return []
        return [failure]

    def _unattributed(self, view: View, now: str) -> Decision[Settlement]:
        """An intent that none of our quotes asked for: of interest once money has arrived."""
        if self.facts.status == payment.SUCCEEDED:
            return self._quarantine(view, None, "no quote is known for this payment", now)
        user_id = self.facts.metadata.get("user_id", "")
        # What nobody here can be called is another's metadata; no index takes it if it is long.
        changes = self._new_failure(view, user_id, now) if ids.is_user_id(user_id) else []
        outcome: Outcome = "applied" if changes else "ignored"
        if changes:
            changes += handled(view, self.messenger, self.facts.id, outcome, now)
        return Decision(Settlement(outcome=outcome), changes)

    def _quarantine(
        self, view: View, known: Payment | None, reason: str, now: str
    ) -> Decision[Settlement]:
        """File it where a person will find it; no money is guessed about."""
        stored = self._stored()
        if self.facts.status != payment.SUCCEEDED and self._is_about_money(view):
            filed = view.get(Incident, self._incident_id())
            if filed is not None:  # an older report, which knows less
                stored, reason = filed.facts, filed.reason
        return file(
            view, self._incident_id(), self.facts.id, self.messenger, reason, stored, known, now
        )


def credit(
    view: View, paid: Payment, policies: Policies, now: str, reason: str | None = None
) -> tuple[Payment, list[Record]]:
    """Post a payment's credits, and take back what was reversed before this report came.

    `reason` is that of the person who has decided about it, if one had to.
    """
    book = Book(view, paid.user_id, now)
    expires_at = NEVER
    if paid.expires_seconds is not None:
        expires_at = instants.later(book.now, paid.expires_seconds)
    terms = payment.Terms(paid.received_minor, paid.currency, expires_at)
    effect = ledger.Effect(
        kind=ledger.Kind.PAYMENT,
        cause=payment.cause(paid.payment_intent_id),
        actor=paid.decided_by,
        reason=reason,
        metadata=terms.write(),
    )
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
