"""Dead letters and the quarantine: what waits for a person, and what a person decides about it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any

from credit_payments import logs
from credit_payments.domain import (
    answers,
    checks,
    cursors,
    filed,
    ids,
    instants,
    payment,
    values,
)
from credit_payments.domain.clawback import Policies
from credit_payments.domain.credits import CreditCalculator
from credit_payments.domain.inbox import DEAD, DISCARDED, DONE, DUE, LANES
from credit_payments.domain.looking import PAGES_MAX
from credit_payments.domain.records import NEVER, Dispute, Event, Incident, Payment, Quote
from credit_payments.errors import Conflict, InvalidAmount, InvalidRequest, NotFound
from credit_payments.ports.clock import Clock
from credit_payments.ports.jobs import DatabaseJobs, Jobs
from credit_payments.ports.storage import Reader, Storage
from credit_payments.ports.users import AnyUser, Users
from credit_payments.posting import PostingQueue
from credit_payments.settlement.decisions import DismissIncident, ResolvePayment, facts_to_decide
from credit_payments.settlement.intake import DiscardEvent, ReplayEvent

STATUSES = (DUE, DONE, DEAD, DISCARDED)
INCIDENT_STATUSES = ("open", "resolved", "dismissed")
REPLAYED_MAX = 10_000
"""How many dead letters one call replays at most."""

_BY_TIME = ("received_at", "event_id")
_BY_DUE = ("due_at", "event_id")
_BY_CREATION = ("created_at", "incident_id")

_log = logs.logger(__name__)


class Inbox:
    """Events that were stored, dead letters among them; and what was filed in the quarantine.

    Args:
        storage: where they are read.
        queue: through which decisions are written.
        clock: tells what was dead when a replay of all began.
        calculator: what a payment buys for which no quote holds.
        users: whom a payment may be given to.
        policies: what becomes of credits that are to be taken back and are spent already.
        expires_seconds: how long credits last of a payment without a quote; for ever when None.
        jobs: has a worker look soon for what is to be tried again.
    """

    def __init__(
        self,
        storage: Storage,
        queue: PostingQueue,
        clock: Clock,
        calculator: CreditCalculator,
        *,
        users: Users | None = None,
        policies: Policies | None = None,
        expires_seconds: int | None = None,
        jobs: Jobs | None = None,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._clock = clock
        self._calculator = calculator
        self._users = users or AnyUser()
        self._policies = policies or Policies()
        self._expires_seconds = expires_seconds
        self._jobs = jobs or DatabaseJobs()

    # -- events --------------------------------------------------------------------------------

    def list(
        self, status: str | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> values.Page[values.KeptEvent]:
        """Events, page by page: those that are due or dead oldest first, all others newest first.

        A page of those that are done or discarded may hold fewer than `limit`, or none, and yet
        have a cursor: they are looked for among all, two thousand at a time.

        Args:
            status: one of `"due"`, `"done"`, `"dead"` and `"discarded"`; None for all.
            limit: from 1 to 100.
            cursor: that of the page before.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            StorageUnavailable: the database failed.
        """
        cursors.check_limit(limit)
        if status is not None and status not in STATUSES:
            raise InvalidRequest(f"status must be one of {STATUSES}", param="status")
        after = cursors.decode(cursor, [str, str])
        if status in (DUE, DEAD):
            return self._waiting(str(status), limit, after)
        return self._recent(status, limit, after)

    def get(self, event_id: str) -> values.KeptEvent:
        """One event.

        Raises:
            NotFound: no such event.
            InvalidRequest: not an id.
            StorageUnavailable: the database failed.
        """
        row = self._storage.get(Event, ids.check_required_text(event_id, param="event_id"))
        if row is None:
            raise NotFound(f"No event {event_id}", param="event_id")
        return _kept(row)

    def replay(self, event_id: str) -> values.KeptEvent:
        """Have an event tried again by the next worker, from the first attempt on.

        Raises:
            NotFound: no such event.
            Conflict: it was applied; or somebody works on it.
            InvalidRequest: not an id.
            TryAgain: the database is busy or down.
        """
        ids.check_required_text(event_id, param="event_id")
        row = self._queue.submit(ReplayEvent(event_id=event_id))
        self._have_looked([row.event_id])
        return _kept(row)

    def replay_all(self) -> int:
        """Have every dead letter tried again that is there now, ten thousand at most; how many.

        Raises:
            TryAgain: the database is busy or down; some may be replayed already.
        """
        began = instants.to_text(self._clock.now())
        replayed: list[str] = []
        for _ in range(REPLAYED_MAX // cursors.LIMIT_MAX):
            first = self._first(DEAD, cursors.LIMIT_MAX, None)
            # What dies again meanwhile is dead since later, and so left alone.
            dead = [row for row in first if row.due_at <= began]
            if not dead:
                break
            outcomes = self._queue.submit_all([ReplayEvent(event_id=row.event_id) for row in dead])
            for outcome in outcomes:
                # Somebody else was faster.
                if isinstance(outcome, Exception) and not isinstance(outcome, Conflict):
                    raise outcome
            replayed += [outcome.event_id for outcome in outcomes if isinstance(outcome, Event)]
        self._have_looked(replayed)
        return len(replayed)

    def discard(self, event_id: str, *, reason: str, actor: str) -> values.KeptEvent:
        """Put an event away that is not to be applied; it stays, with the reason.

        A second time changes nothing. It can be replayed later.

        Raises:
            NotFound: no such event.
            Conflict: it was applied; or somebody works on it.
            InvalidRequest: an argument cannot be right; `param` names it.
            TryAgain: the database is busy or down.
        """
        command = DiscardEvent(
            event_id=ids.check_required_text(event_id, param="event_id"),
            reason=ids.check_required_text(reason, param="reason"),
            actor=ids.check_required_text(actor, param="actor"),
        )
        return _kept(self._queue.submit(command))

    # -- quarantine ----------------------------------------------------------------------------

    def quarantine(
        self, status: str = "open", *, limit: int = 50, cursor: str | None = None
    ) -> values.Page[values.Quarantined]:
        """What was filed for a person, oldest first, page by page.

        Args:
            status: `"open"`, `"resolved"` or `"dismissed"`.
            limit: from 1 to 100.
            cursor: that of the page before.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            StorageUnavailable: the database failed.
        """
        cursors.check_limit(limit)
        if status not in INCIDENT_STATUSES:
            raise InvalidRequest(f"status must be one of {INCIDENT_STATUSES}", param="status")
        after = cursors.decode(cursor, [str, str])
        with self._storage.snapshot() as reader:
            rows = reader.page(
                Incident, {"status": status}, order=_BY_CREATION, after=after, limit=limit + 1
            )
            shown, following = cursors.split(rows, limit, _BY_CREATION)
            items = tuple(_quarantined(reader, row) for row in shown)
        return values.Page(items=items, cursor=following)

    def incident(self, incident_id: str) -> values.Quarantined:
        """One of them.

        Raises:
            NotFound: no such incident.
            InvalidRequest: not an id.
            StorageUnavailable: the database failed.
        """
        ids.check_cause(incident_id, param="incident_id")
        with self._storage.snapshot() as reader:
            row = reader.get(Incident, incident_id)
            if row is None:
                raise NotFound(f"No incident {incident_id}", param="incident_id")
            return _quarantined(reader, row)

    def credits_for(self, payment_intent_id: str) -> int:
        """How many credits `resolve` posts for a payment when it is told no number.

        Those of the quote if what was received is what was quoted; otherwise what the amount buys
        at today's prices.

        Raises:
            NotFound: nothing is known of the payment.
            PaymentNotSuccessful: no money has arrived (yet).
            Conflict: nothing is filed about it.
            InvalidCurrency: credits are not sold in what it was paid in.
            InvalidAmount: it buys no credit, or too many.
            StorageUnavailable: the database failed.
        """
        ids.check_stripe_id(payment_intent_id, "pi_", param="payment_intent_id")
        with self._storage.snapshot() as reader:
            known = reader.get(Payment, payment_intent_id)
            waits = reader.get(Incident, payment.cause(payment_intent_id))
            early = reader.get(Incident, payment.early_incident(payment_intent_id))
            if known is not None and known.credited:
                return known.credited
            facts = facts_to_decide(payment_intent_id, known, waits, early)
            quote = _quote(reader, known, facts.metadata)
        received = facts.amount_received, facts.currency.lower()
        if quote is not None and (quote.amount_minor, quote.currency) == received:
            return quote.credits
        credits = self._calculator.credits_for_minor(*received)
        if not credits:
            raise InvalidAmount("The amount is too small to buy a credit.", param="amount")
        return credits

    def resolve(
        self,
        payment_intent_id: str,
        *,
        user_id: str,
        credits: int | None = None,
        actor: str,
        reason: str,
    ) -> values.Receipt:
        """Decide whose a payment in quarantine is, and credit it.

        Whatever is reported of it later finds it credited: a webhook that is delivered again, a
        confirmation, a late link to its quote. Refunds and disputes take back what was decided here
        in proportion. The same decision a second time gives the same receipt.

        Args:
            payment_intent_id: the payment; its money must have arrived.
            user_id: who gets the credits.
            credits: how many; see `credits_for` for what is taken when left out.
            actor: who decides.
            reason: why; it stands in the wallet's history.

        Raises:
            NotFound: nothing is known of the payment; or the host knows no such user.
            PaymentNotSuccessful: no money has arrived (yet).
            Conflict: it was credited already, nothing is filed about it, or the wallet cannot hold
                so many credits.
            InvalidRequest: an argument cannot be right; `param` names it.
            TryAgain: the database is busy or down.
        """
        ids.check_stripe_id(payment_intent_id, "pi_", param="payment_intent_id")
        ids.check_user_id(user_id)
        ids.check_required_text(actor, param="actor")
        ids.check_required_text(reason, param="reason")
        bought = self.credits_for(payment_intent_id) if credits is None else checks.credits(credits)
        if not self._users.exists(user_id):
            raise NotFound("No such user", param="user_id")
        paid = self._queue.submit(
            ResolvePayment(
                payment_intent_id=payment_intent_id,
                user_id=user_id,
                credits=bought,
                actor=actor,
                reason=reason,
                expires_seconds=self._expires_seconds,
                policies=self._policies,
            )
        )
        return answers.receipt(paid)

    def dismiss(self, incident_id: str, *, actor: str, reason: str) -> values.Quarantined:
        """Decide that nothing is to be done; the same facts, told again, ask nobody any more.

        A payment that was dismissed is not credited, unless it is resolved later, or Stripe reports
        something else of it. A second time changes nothing.

        Raises:
            NotFound: no such incident.
            Conflict: it was resolved.
            InvalidRequest: an argument cannot be right; `param` names it.
            TryAgain: the database is busy or down.
        """
        command = DismissIncident(
            incident_id=ids.check_cause(incident_id, param="incident_id"),
            actor=ids.check_required_text(actor, param="actor"),
            reason=ids.check_required_text(reason, param="reason"),
        )
        return _quarantined(self._storage, self._queue.submit(command))

    # -- reading -------------------------------------------------------------------------------

    def _waiting(self, status: str, limit: int, after: Any) -> values.Page[values.KeptEvent]:
        shown, following = cursors.split(self._first(status, limit + 1, after), limit, _BY_DUE)
        return values.Page(items=tuple(map(_kept, shown)), cursor=following)

    def _first(self, status: str, limit: int, after: Any) -> tuple[Event, ...]:
        """The first of all lanes together."""
        lanes = [
            self._storage.page(
                Event,
                {"lane": lane, "status": status},
                order=_BY_DUE,
                after=after,
                limit=limit,
                ending="due_at",
            )
            for lane in LANES
        ]
        merged = heapq.merge(*lanes, key=attrgetter(*_BY_DUE))
        return tuple(row for row, _ in zip(merged, range(limit), strict=False))

    def _recent(self, status: str | None, limit: int, after: Any) -> values.Page[values.KeptEvent]:
        """No index leads to those that are done: they are most of all there are."""
        found: tuple[Event, ...] = ()
        for _ in range(PAGES_MAX):
            rows = self._storage.page(
                Event, {}, order=_BY_TIME, after=after, limit=cursors.LIMIT_MAX, descending=True
            )
            found += tuple(row for row in rows if status in (None, row.status))
            if len(found) > limit:
                shown, following = cursors.split(found, limit, _BY_TIME)
                return values.Page(items=tuple(map(_kept, shown)), cursor=following)
            if len(rows) < cursors.LIMIT_MAX:
                return values.Page(items=tuple(map(_kept, found)))
            after = [rows[-1].received_at, rows[-1].event_id]
        return values.Page(items=tuple(map(_kept, found)), cursor=cursors.of_position(after))

    def _have_looked(self, event_ids: Iterable[str]) -> None:
        for event_id in event_ids:
            try:
                self._jobs.enqueue(event_id)
            except Exception as error:  # noqa: BLE001 - it is due: workers find it by themselves
                _log.warning("No worker could be told of %s: %s", event_id, type(error).__name__)
                return  # or each of ten thousand would wait for a broker that is down


def _kept(row: Event) -> values.KeptEvent:
    return values.KeptEvent(
        event_id=row.event_id,
        type=row.type,
        subject=row.subject,
        status=row.status,
        outcome=row.outcome,
        attempts=row.attempts,
        due_at=None if row.due_at == NEVER or row.status == DEAD else _instant(row.due_at),
        problem=row.problem,
        created_at=_instant(row.created_at) if row.created_at else None,
        received_at=_instant(row.received_at),
    )


def _instant(text: str) -> datetime:
    return instants.from_text(text)


def _quarantined(reader: Reader, row: Incident) -> values.Quarantined:
    kind, _, name = row.incident_id.partition(":")
    dispute = reader.get(Dispute, name) if kind == "dispute" else None
    told = filed.read(row, dispute)
    known = reader.get(Payment, told.payment_intent_id) if told.payment_intent_id else None
    return filed.public(row, told, known, _quote(reader, known, told.metadata))


def _quote(reader: Reader, known: Payment | None, metadata: Mapping[str, str]) -> Quote | None:
    """What was promised, whatever has been decided since."""
    quote_id = known.quote_id if known is not None else metadata.get("quote_id")
    return reader.get(Quote, quote_id) if quote_id else None
