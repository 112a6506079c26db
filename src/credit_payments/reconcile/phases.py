"""The phases of a run, each in steps of one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from credit_payments import intake
from credit_payments.domain import inbox, reconciling, reversed_money
from credit_payments.domain.decision import Command
from credit_payments.domain.differences import Finding
from credit_payments.domain.events import Event
from credit_payments.domain.records import Dispute, Incident, Payment
from credit_payments.domain.stripe_facts import (
    ChargeFacts,
    DisputeFacts,
    FraudWarningFacts,
    PaymentIntentFacts,
    RefundFacts,
    ref_id,
)
from credit_payments.errors import NotFound
from credit_payments.ports.encryption import FieldCipher
from credit_payments.ports.gateway import Listed
from credit_payments.ports.storage import Storage
from credit_payments.reconcile.checkpoints import State
from credit_payments.reconcile.examining import Examiner, is_mended
from credit_payments.reconcile.foreseeing import Foresee, Foreseen
from credit_payments.reconcile.walks import F, Stripe, Walk, pages
from credit_payments.settlement import Settlement

ROWS = 500
"""How many of our payments are read at once."""
PROCESSING = "processing"
"""The status of a payment whose money is on its way, for days with some methods of payment."""


@attrs.frozen
class Told:
    """An event of ours, and the command that applies it."""

    event: Event
    facts: inbox.Kept
    command: Command[Settlement]


class Phases:
    """What a run does, step by step.

    Args:
        storage: where our own payments are read.
        stripe: what Stripe has.
        state: where the run is; its phase says which step is next.
        examiner: tells what differs.
        cipher: encrypts what is personal in events about customers.
    """

    def __init__(
        self,
        storage: Storage,
        stripe: Stripe,
        state: State,
        examiner: Examiner,
        *,
        cipher: FieldCipher | None,
    ) -> None:
        self._storage = storage
        self._stripe = stripe
        self._state = state
        self._examiner = examiner
        self._cipher = cipher
        # A run that goes on has not met what the one before it has.
        self._has_met_all = state.cursor is None and not state.looked_at
        self.share = 0.0

    def step(self, cursor: str | None) -> str | None:
        """Look at one page, and say where the next one begins; None at the end of the phase.

        Raises:
            NotFound: with the parameter "starting_after", when Stripe has lost the cursor's object.
            TryAgain: Stripe or the database did not answer.
        """
        examiner = self._examiner
        self.share = 0.0
        match self._state.phase:
            case "payment_intents":
                return self._walk(examiner.payment_intents, cursor)
            case "refunds":
                return self._walk(examiner.refunds, cursor)
            case "disputes":
                return self._walk(examiner.disputes, cursor)
            case "events":
                return self._walk_events(cursor)
            case _:
                return self._walk_payments(cursor)

    def _walk(self, walk: Walk[F], cursor: str | None) -> str | None:
        page = walk.page(cursor)
        foreign = self._examiner.examine(walk, page.items, lambda: walk.page(cursor).items)
        self._examiner.note_garbled(page.unreadable)
        self._state.count(len(page.items) + len(page.unreadable), foreign)
        if page.items:
            self.share = self._stripe.share(page.items[-1].created)
        if page.cursor is None:
            self._examiner.settle_by_charge()
        return page.cursor

    # -- events --------------------------------------------------------------------------------

    def _walk_events(self, cursor: str | None) -> str | None:
        """What no object tells: failed attempts, warnings, customers, and objects of long ago."""
        page = self._stripe.events(cursor)
        told = [one for event in page.items if (one := self._told(event))]
        foreseen = self._foresee(told)
        self._look_behind(foreseen)
        self._settle([one for one, _, findings in foreseen if findings])
        self._examiner.note_garbled(page.unreadable)
        self._state.count(len(page.items) + len(page.unreadable))
        if page.items:
            self.share = self._stripe.share(page.items[-1].created)
        if page.cursor is None:
            self._examiner.settle_by_charge()
        return page.cursor

    def _told(self, event: Event) -> Told | None:
        """An event that may tell something that no object has told; None for all others."""
        facts = intake.kept_facts(event, self._cipher)
        if facts is None or isinstance(facts, ChargeFacts):
            return None  # what a charge says of refunds, the refunds have said
        if isinstance(facts, PaymentIntentFacts):
            is_new = facts.last_payment_error is not None or not self._is_covered(facts)
        elif isinstance(facts, RefundFacts | DisputeFacts):
            is_new = not self._is_covered(facts)
        else:
            is_new = True
        messenger = intake.messenger_of(event)
        command = intake.command_of(facts, messenger, self._examiner.policies)
        return Told(event, facts, command) if is_new and command else None

    def _is_covered(self, facts: PaymentIntentFacts | RefundFacts | DisputeFacts) -> bool:
        return self._stripe.covers(facts.created)

    def _foresee(self, told: Sequence[Told]) -> list[tuple[Told, Foreseen, list[Finding]]]:
        commands = [
            Foresee(command=one.command, payment_intent_id=_intent_of(one.facts)) for one in told
        ]
        found: list[tuple[Told, Foreseen, list[Finding]]] = []
        for one, foreseen in zip(told, self._examiner.foresee(commands), strict=True):
            if isinstance(foreseen, Exception):
                why = f"deciding it raised {type(foreseen).__name__}"
                self._examiner.note_unreadable([one.event.id], why)
            else:
                found.append((one, foreseen, self._findings(one, foreseen)))
        return found

    def _findings(self, one: Told, foreseen: Foreseen) -> list[Finding]:
        """What only the event tells."""
        if isinstance(one.facts, PaymentIntentFacts):
            is_ours = foreseen.kept.payment is not None or reconciling.is_ours(one.facts)
            if not is_ours or foreseen.told.outcome == "quarantined":
                return []
        known = foreseen.kept.payment
        return [
            *reconciling.of_event(one.event.id, foreseen.told, known.user_id if known else None)
        ]

    def _look_behind(self, foreseen: Sequence[tuple[Told, Foreseen, list[Finding]]]) -> None:
        """Look at the objects, as they are now, of events about what was created long ago."""
        examiner = self._examiner
        names: dict[type, dict[str, None]] = {}
        for one, seen, _ in foreseen:
            facts = one.facts
            if not isinstance(facts, PaymentIntentFacts | RefundFacts | DisputeFacts):
                continue
            if not self._is_covered(facts) and self._may_differ(facts, seen):
                names.setdefault(type(facts), {})[facts.id] = None
        for kind, walk in (
            (PaymentIntentFacts, examiner.payment_intents),
            (RefundFacts, examiner.refunds),
            (DisputeFacts, examiner.disputes),
        ):
            self._examine_by_name(walk, [*names.get(kind, ())])

    def _examine_by_name(self, walk: Walk[Any], names: Sequence[str]) -> None:
        self._examiner.examine(walk, [*self._examiner.fresh(walk, names)])

    def _may_differ(
        self, facts: PaymentIntentFacts | RefundFacts | DisputeFacts, seen: Foreseen
    ) -> bool:
        """Whether an event tells of something that is not here: most tell of what is."""
        if seen.kept.payment is None:
            intent_id = reconciling.intent_of(facts)
            return intent_id is not None and self._examiner.intent(intent_id) is not None
        return any(isinstance(row, Payment | Incident | Dispute) for _, row in seen.told.changes)

    def _settle(self, told: Sequence[Told]) -> None:
        """Mend what events tell, and note it: what is not here still, a moment later."""
        examiner = self._examiner
        differing = []
        for one, foreseen, findings in self._foresee(told):
            if findings and self._is_about_ours(one, foreseen):
                differing.append((one, findings))
        outcomes = examiner.mend([one.command for one, _ in differing])
        for (_, findings), outcome in zip(differing, outcomes, strict=True):
            for difference, _ in findings:
                repaired = is_mended(difference, outcome)
                examiner.note(attrs.evolve(difference, repaired=repaired))

    def _is_about_ours(self, one: Told, foreseen: Foreseen) -> bool:
        """Whether a warning is about one of our payments."""
        if not isinstance(one.facts, FraudWarningFacts) or foreseen.kept.payment is not None:
            return True
        intent_id = _intent_of(one.facts)
        return intent_id is not None and self._examiner.intent(intent_id) is not None

    # -- our own -------------------------------------------------------------------------------

    def _walk_payments(self, cursor: str | None) -> str | None:
        """Payments that are here: what of them the walks have not met is asked for by its name."""
        if not self._has_met_all:
            self._meet()
        rows = self._storage.page(
            Payment,
            {},
            order=("payment_intent_id",),
            after=None if cursor is None else (cursor,),
            limit=ROWS,
        )
        looked_at = 0
        for row in rows:
            if self._state.since <= row.created_at < self._state.until:
                self._look_for(row)
                looked_at += 1
            elif row.created_at < self._state.since:
                looked_at += self._look_for_what_is_under_way(row)
        self._examiner.settle_by_charge()
        self._state.count(looked_at)
        return rows[-1].payment_intent_id if len(rows) == ROWS else None

    def _look_for(self, known: Payment) -> None:
        examiner = self._examiner
        if known.credited and known.payment_intent_id not in examiner.met:
            facts = self._retrieved(examiner.payment_intents, known.payment_intent_id)
            if facts is None:
                examiner.note(reconciling.extra_payment(known))
                return
            examiner.examine(examiner.payment_intents, [facts])
        self._look_for_reversals(known, *reversed_money.reversal_ids(known))

    def _look_for_what_is_under_way(self, known: Payment) -> bool:
        """Of a payment of before, what had no end yet when it was last told of; whether any had.

        Its object is older than the span, and Stripe may have the event of its end no more.
        """
        examiner = self._examiner
        refunds, disputes = reversed_money.reversal_ids(known, under_way=True)
        is_paying = known.status == PROCESSING and known.payment_intent_id not in examiner.met
        if is_paying:
            self._examine_by_name(examiner.payment_intents, [known.payment_intent_id])
        self._look_for_reversals(known, refunds, disputes)
        return bool(is_paying or refunds or disputes)

    def _look_for_reversals(
        self, known: Payment, refunds: Sequence[str], disputes: Sequence[str]
    ) -> None:
        self._look_for_each(self._examiner.refunds, known, refunds)
        self._look_for_each(self._examiner.disputes, known, disputes)

    def _look_for_each(self, walk: Walk[Any], known: Payment, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._examiner.met:
                facts = self._retrieved(walk, name)
                if facts is None or reconciling.intent_of(facts) != known.payment_intent_id:
                    self._examiner.note(reconciling.extra_reversal(known, name))
                else:
                    self._examiner.examine(walk, [facts])

    def _retrieved(self, walk: Walk[F], name: str) -> F | None:
        try:
            return walk.retrieve(name)
        except NotFound:
            return None

    def _meet(self) -> None:
        """Walk by the ids alone, so that nothing that was met is asked for one by one."""
        examiner = self._examiner
        for walk in (examiner.payment_intents, examiner.refunds, examiner.disputes):
            self._meet_all(pages(walk.page))
        self._has_met_all = True

    def _meet_all(self, found: Iterator[Listed[Any]]) -> None:
        for page in found:
            self._examiner.met.update(facts.id for facts in page.items)
            self._examiner.met.update(page.unreadable)


def _intent_of(facts: inbox.Kept) -> str | None:
    """The payment intent that an event is about."""
    if isinstance(facts, PaymentIntentFacts):
        return facts.id
    if isinstance(facts, RefundFacts | DisputeFacts | FraudWarningFacts | ChargeFacts):
        return ref_id(facts.payment_intent)
    return None
