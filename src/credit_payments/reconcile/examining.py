"""Looking at Stripe's objects, a second time at those that differ, and mending what may be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Generic, TypeVar

import attrs

from credit_payments.domain import inbox
from credit_payments.domain.clawback import Policies
from credit_payments.domain.decision import Command
from credit_payments.domain.differences import Difference, Finding, Kind
from credit_payments.domain.events import Event
from credit_payments.domain.reconciling import (
    Kept,
    intent_of,
    is_missing,
    is_ours,
    of_refunds,
)
from credit_payments.domain.reversed_money import only_by_charge
from credit_payments.domain.stripe_facts import CustomerFacts, PaymentIntentFacts, RefundFacts
from credit_payments.errors import NotFound, TryAgain
from credit_payments.posting import PostingQueue
from credit_payments.reconcile import walks
from credit_payments.reconcile.checkpoints import State
from credit_payments.reconcile.foreseeing import Foresee, Foreseen
from credit_payments.reconcile.walks import F, Stripe, Walk
from credit_payments.settlement import Settlement

A = TypeVar("A")

FOREIGN_MAX = 100_000
"""How many ids of foreign intents are remembered; others are asked for again."""
_REVERSALS = (Kind.MISSING_REVERSAL, Kind.MISSING_RETURN, Kind.MISSING_RECORD, Kind.MISSING_EVENT)


@attrs.frozen
class Looked(Generic[F]):
    """An object, what is here about it, what differs, and the command that reports it."""

    facts: F
    kept: Kept
    findings: tuple[Finding, ...]
    command: Command[Settlement]

    @property
    def mends(self) -> bool:
        """Whether the command mends any of it."""
        return any(finding.mends for finding in self.findings)


class Examiner:
    """Tells what differs about objects, and mends it where that is wanted.

    Args:
        queue: asks what reports would change, and runs them.
        stripe: where objects are asked for again.
        state: where findings are noted.
        policies: those of the settlement.
        recent_since: about what Stripe has told something since then (in Unix seconds), a webhook
            may be under way, or be faster than the page that was read.
    """

    def __init__(
        self,
        queue: PostingQueue,
        stripe: Stripe,
        state: State,
        *,
        policies: Policies,
        recent_since: int,
    ) -> None:
        self._queue = queue
        self._stripe = stripe
        self._state = state
        self._recent_since = recent_since
        self._recent: set[str] = set()
        self._foreign: set[str] = set()
        self._by_charge: dict[str, dict[str, RefundFacts]] = {}
        self._noted = {(one.kind, one.subject) for one in state.differences}
        self._garbled = {one.subject for one in state.differences if one.kind == Kind.UNREADABLE}
        self.policies = policies
        self.met = {*self._garbled}
        self.payment_intents = walks.payment_intents(stripe, policies)
        self.refunds = walks.refunds(stripe, policies)
        self.disputes = walks.disputes(stripe, policies)

    def examine(
        self, walk: Walk[F], items: Sequence[F], again: Callable[[], Iterable[F]] | None = None
    ) -> int:
        """Note what differs about objects; how many of them are none of ours.

        Only what differs still, once the objects and our rows were read a second time, and about
        which Stripe has told nothing of late: a webhook may come between any two reads.
        """
        first = self._look(walk, items)
        self.met.update(
            one.facts.id for one in first if one.kept.payment and self._is_met(one.facts)
        )
        suspects = {one.facts.id for one in first if one.findings}
        foreign = sum(intent_of(facts) is None for facts in items)
        for one in first:
            if not _may_be_of_missing(one):
                continue
            if self._is_ours(one.facts):
                if self._state.repair:
                    suspects.add(one.facts.id)  # what is of a payment that is recorded only now
            elif one.kept.payment is None:
                foreign += 1
        if suspects:
            fresh = {facts.id: facts for facts in again()} if again else {}
            # A page moves on where objects were added to it.
            gone = [one.facts.id for one in first if one.facts.id in suspects - fresh.keys()]
            fresh |= {facts.id: facts for facts in self.fresh(walk, gone)}
            self._settle(
                self._look(walk, [facts for name, facts in fresh.items() if name in suspects])
            )
        return foreign

    def settle_by_charge(self) -> None:
        """Look at the refunds that were put by, all those of a payment together."""
        put_by, self._by_charge = self._by_charge, {}
        if put_by:
            self._complete(put_by)
        for refunds in put_by.values():
            if any(one.findings for one in self._together([*refunds.values()])):
                self._settle(self._together([*self.fresh(self.refunds, refunds)]))
        self._by_charge = {}

    def _complete(self, put_by: dict[str, dict[str, RefundFacts]]) -> None:
        """Add what was refunded of these payments before the span, and behind it.

        With a part of them missing, the others would not sum up to what their charge has told.
        """
        intents = [self.intent(name) for name in put_by if name not in self.met]
        created = [intent.created for intent in intents if intent]
        for refund in self._stripe.refunds_since(min(created, default=self._stripe.until)):
            if (name := intent_of(refund)) in put_by:
                put_by[name][refund.id] = refund

    def fresh(self, walk: Walk[F], names: Collection[str]) -> Iterable[F]:
        """Objects as they are now, as far as they are there, and can be read."""
        for name in names:
            if name in self._garbled:  # asking for it would end the run, and every later one
                continue
            try:
                yield walk.retrieve(name)
            except NotFound:
                continue

    def foresee(self, commands: Sequence[Foresee]) -> list[Foreseen | Exception]:
        """What commands would change.

        Raises:
            TryAgain: the database failed.
        """
        return _checked(self._queue.submit_all(commands))

    def mend(
        self, commands: Sequence[Command[Settlement]]
    ) -> Sequence[Settlement | Exception | None]:
        """Report for good; nothing where only a look is wanted.

        Raises:
            TryAgain: the database failed.
        """
        if not self._state.repair:
            return [None] * len(commands)
        return _checked(self._queue.submit_all(commands))

    def note(self, difference: Difference) -> None:
        """One more difference, unless it is known."""
        key = (difference.kind, difference.subject)
        if key not in self._noted:
            self._noted.add(key)
            self._state.note(difference)

    def note_unreadable(self, subjects: Iterable[str], why: str) -> None:
        """Objects that nothing can be said about."""
        for subject in subjects:
            self.note(Difference(kind=Kind.UNREADABLE, subject=subject, detail=why))

    def note_garbled(self, subjects: Collection[str]) -> None:
        """Objects that cannot be read, and so need not be asked for by their names."""
        self.note_unreadable(subjects, "it is not what Stripe documents")
        self._garbled.update(subjects)
        self.met.update(subjects)

    def is_recent(self, subject: str | None) -> bool:
        """Whether Stripe has told something of a payment, or of another object, of late."""
        return subject in self._recent

    def look_for_recent(self) -> None:
        """Ask what Stripe has told since it was asked last."""
        for event in self._stripe.events_since(self._recent_since):
            self._recent.add(_subject(event))
            self._recent_since = max(self._recent_since, event.created)

    def intent(self, name: str) -> PaymentIntentFacts | None:
        """An intent of ours; None where it is foreign, or there is none."""
        if name in self._foreign:
            return None
        for facts in self.fresh(self.payment_intents, [name]):
            if is_ours(facts):
                return facts
        self._remember_foreign(name)
        return None

    def _look(self, walk: Walk[F], items: Sequence[F]) -> list[Looked[F]]:
        """What differs about each, as far as the settlement can tell."""
        asked = [(facts, foresee) for facts in items if (foresee := walk.foresee(facts))]
        looked: list[Looked[F]] = []
        for (facts, asks), foreseen in zip(
            asked, self.foresee([foresee for _, foresee in asked]), strict=True
        ):
            if isinstance(foreseen, Exception):
                self.note_unreadable([facts.id], f"deciding it raised {type(foreseen).__name__}")
                continue
            kept, told = foreseen.kept, foreseen.told
            put_by = told.outcome != "quarantined" and self._put_by(facts, kept)
            findings = () if put_by else walk.compare(facts, kept, told)
            looked.append(Looked(facts, kept, tuple(findings), asks.command))
        return looked

    def _put_by(self, facts: Any, kept: Kept) -> bool:
        """Put a refund by that only shows together with others what it changes."""
        if not isinstance(facts, RefundFacts) or kept.payment is None:
            return False
        if is_missing(kept.payment) or not only_by_charge(kept.payment, facts.id):
            return False
        self._by_charge.setdefault(kept.payment.payment_intent_id, {})[facts.id] = facts
        return True

    def _together(self, refunds: Sequence[RefundFacts]) -> list[Looked[RefundFacts]]:
        """All refunds of a payment, those that failed last, and what differs with the last."""
        looked = self._look(
            self.refunds, sorted(refunds, key=lambda facts: facts.status == "failed")
        )
        known = looked[-1].kept.payment if looked else None
        if known is None or is_missing(known):
            return []
        findings = tuple(of_refunds([one.facts for one in looked], known))
        return [attrs.evolve(one, findings=findings) for one in looked]

    def _settle(self, looked: Sequence[Looked[F]]) -> None:
        """Mend what may be mended of what differs still, and note it."""
        if not looked:
            return
        self.look_for_recent()
        settled = [
            one for one in looked if not self.is_recent(intent_of(one.facts) or one.facts.id)
        ]
        mending = [one for one in settled if one.mends or _is_early(one)]
        outcomes = dict(
            zip(
                [one.facts.id for one in mending],
                self.mend([one.command for one in mending]),
                strict=True,
            )
        )
        for one in settled:
            outcome = outcomes.get(one.facts.id)
            for difference, mends in one.findings:
                if not self._is_part(one, difference):
                    repaired = mends and is_mended(difference, outcome)
                    self.note(attrs.evolve(difference, repaired=repaired))

    def _is_part(self, one: Looked[F], difference: Difference) -> bool:
        """Whether it belongs to a payment that was missing, and was posted since this run began."""
        purchase = one.kept.purchase
        return (
            not isinstance(one.facts, PaymentIntentFacts)
            and difference.kind in _REVERSALS
            and purchase is not None
            and purchase.created_at >= self._state.started_at
        )

    def _is_met(self, facts: Any) -> bool:
        """Whether a walk meets it; an intent that none meets has refunds that none does."""
        return not isinstance(facts, PaymentIntentFacts) or self._stripe.covers(facts.created)

    def _is_ours(self, facts: F) -> bool:
        """Whether an object is ours although its payment is not recorded, or not credited.

        A payment that the walk along the intents does not meet is looked at here.
        """
        if isinstance(facts, PaymentIntentFacts):
            if not is_ours(facts):
                self._remember_foreign(facts.id)
            return is_ours(facts)
        intent_id = intent_of(facts)
        intent = self.intent(intent_id) if intent_id else None
        if intent is not None and not self._stripe.covers(intent.created):
            self.examine(self.payment_intents, [intent])
            self._by_charge.setdefault(intent.id, {})  # what was refunded of it before
        return intent is not None

    def _remember_foreign(self, name: str) -> None:
        if len(self._foreign) < FOREIGN_MAX:
            self._foreign.add(name)


def is_mended(difference: Difference, outcome: Settlement | Exception | None) -> bool:
    """Whether a report had the effect whose absence it was a difference."""
    if outcome is None or isinstance(outcome, Exception):
        return False
    return outcome.outcome != "quarantined" or difference.kind == Kind.UNATTRIBUTED


def _may_be_of_missing(one: Looked[F]) -> bool:
    """Whether an intent is unknown; or an object is of one that is, or of one not credited yet."""
    known = one.kept.payment
    if isinstance(one.facts, PaymentIntentFacts) or known is None:
        return known is None
    return is_missing(known)


def _is_early(one: Looked[F]) -> bool:
    """Whether it is of a payment that is not recorded: it is filed for whoever records that."""
    return one.kept.payment is None and not isinstance(one.facts, PaymentIntentFacts)


def _checked(outcomes: list[A | Exception]) -> list[A | Exception]:
    for outcome in outcomes:
        if isinstance(outcome, TryAgain):
            raise outcome
    return outcomes


def _subject(event: Event) -> str:
    """What an event is about: a payment, where it is about one."""
    facts = event.facts
    if facts is None or isinstance(facts, CustomerFacts):
        return facts.id if facts else event.id
    return inbox.subject_of(facts)
