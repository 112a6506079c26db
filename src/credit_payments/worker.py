"""Workers: they apply what was stored, deliver notifications, and post what is due in wallets."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import attrs
import msgspec

from credit_payments import intake, leases, logs
from credit_payments.domain import events, ids, inbox, instants
from credit_payments.domain.clawback import Policies
from credit_payments.domain.decision import Command, Range
from credit_payments.domain.records import Event
from credit_payments.errors import CreditPaymentsError, TryAgain
from credit_payments.event_log import EventLog
from credit_payments.intake import Handlers
from credit_payments.ports.clock import Clock
from credit_payments.ports.gateway import PaymentGateway
from credit_payments.ports.storage import Storage, Watch
from credit_payments.ports.telemetry import Silent, Telemetry
from credit_payments.posting import PostingQueue
from credit_payments.settlement import Messenger, Settlement
from credit_payments.settlement.intake import (
    ApplyEvent,
    FailEvent,
    FinishEvent,
    Lease,
    LeaseEvent,
)
from credit_payments.sweeping import Sweep
from credit_payments.waking import Bell

LEASE_SECONDS = 60.0
BATCH = 128
"""Events that are applied together, as many as share a transaction by default, and notifications
that are delivered between two looks."""
SHARE = 16
"""How many of each lane are taken where little is due: of all lanes about a batch."""
IDLE_SECONDS_MAX = 1.0
"""The longest pause between two looks where nobody wakes the worker."""
_IDLE_SECONDS_MIN = 0.02
ROUNDS_MAX = 10_000
"""So that draining ends, however fast events come."""

_log = logs.logger(__name__)


@attrs.frozen(kw_only=True)
class Work:
    """How many events and notifications a worker has tried, and how many due postings it made."""

    events: int = 0
    notifications: int = 0
    postings: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            events=self.events + other.events,
            notifications=self.notifications + other.notifications,
            postings=self.postings + other.postings,
        )

    def __bool__(self) -> bool:
        return bool(self.events or self.notifications or self.postings)


class Delivers(Protocol):
    """Delivers the notifications that are due."""

    def tries(self, limit: int = ...) -> Iterator[bool]:
        """Try one after the other, as long as the next is asked for; of each, whether it was."""
        ...


class Worker:
    """Drains what waits in the database; any number of them, on any number of machines.

    What the library applies itself is one transaction with its mark, so that whoever dies with it
    changes nothing. An event for the host's handlers is leased before they are called: where its
    worker died, or was too slow, another follows when the lease has ended.

    Args:
        storage: where what waits is read.
        queue: through which it is leased and applied.
        clock: tells what is due.
        gateway: where the host's events are fetched: nothing of them is kept here.
        handlers: the host's own, for events that the library does not apply itself.
        policies: what becomes of credits that are to be taken back and are spent already.
        notifications: delivers those that are due; None leaves them to others.
        lease_seconds: how long a worker that died is waited for; a live one renews its leases.
        telemetry: counts what is done.
        jitter: spreads retries: a number from 0 to 1.
    """

    def __init__(
        self,
        storage: Storage,
        queue: PostingQueue,
        clock: Clock,
        *,
        gateway: PaymentGateway,
        handlers: Handlers | None = None,
        policies: Policies | None = None,
        notifications: Delivers | None = None,
        lease_seconds: float = LEASE_SECONDS,
        telemetry: Telemetry | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._clock = clock
        self._gateway = gateway
        self._handlers = handlers or Handlers()
        self._policies = policies or Policies()
        self._notifications = notifications
        self._lease_seconds = lease_seconds
        self._log = EventLog(_log, telemetry or Silent())
        self._jitter = jitter
        self._stopping = False
        self._lane = ""
        self._found_some = False
        self._bell = Bell()
        self._sweep = Sweep(storage, queue, clock)

    def run(self) -> None:
        """Work until `stop` is called; a database that is down is waited for."""
        pause = _IDLE_SECONDS_MIN
        with self._watching():
            while not self._stopping:
                if self._look():
                    pause = _IDLE_SECONDS_MIN
                    continue
                # Longer and longer while there is nothing to do.
                rung = self._bell.wait(pause)
                pause = _IDLE_SECONDS_MIN if rung else min(2 * pause, IDLE_SECONDS_MAX)

    def stop(self) -> None:
        """Have `run` end after what is in hand; safe in a signal's handler, and to call twice."""
        self._stopping = True
        self._bell.ring()

    def drain(self, *, rounds_max: int = ROUNDS_MAX) -> Work:
        """Do what is due now, and what becomes due meanwhile; how much that was.

        Args:
            rounds_max: so many steps at most, however fast events come.

        Raises:
            TryAgain: the database is busy or down; what was leased is tried again later.
        """
        done = Work()
        self._sweep.restart()
        for _ in range(rounds_max):
            work = self.step()
            done += work
            if self._stopping or not (work or self._found_some or self._sweep.is_midway):
                break
        return done

    def step(self) -> Work:
        """Do some of what is due now: a bounded piece of everything.

        Raises:
            TryAgain: the database is busy or down.
        """
        return Work(
            events=self._apply_some(),
            notifications=0 if self._stopping else self._deliver_some(),
            postings=self._sweep.post(),
        )

    def apply(self, event_id: str) -> bool:
        """Apply one stored event, if it is due; whether there was anything to do.

        Raises:
            InvalidRequest: not an id; whoever can write to a job queue may send anything.
            TryAgain: the database is busy or down.
        """
        event = self._storage.get(Event, ids.check_required_text(event_id, param="event_id"))
        if event is None or event.status != inbox.DUE or event.due_at > self._now():
            return False
        return self._apply_one(event)

    # -- events --------------------------------------------------------------------------------

    def _apply_some(self) -> int:
        """Ours together; of the host's one, whose handlers may take long, or end the process.

        So nobody waits for an event that is only in hand, and one that kills whoever tries it costs
        no other event a try.
        """
        due = self._due(inbox.LANES, SHARE)
        self._found_some = bool(due)
        taken = [*due.pop(inbox.HOSTS, []), *self._next(due)]
        applied = self._apply_ours([event for event in taken if event.type in events.READ])
        for event in taken:
            if self._stopping:
                break
            if event.type not in events.READ and self._apply_one(event):
                return applied + 1
        return applied

    def _next(self, due: Mapping[str, list[Event]]) -> list[Event]:
        """What to take next of ours: some of every lane, and much of one where much is due.

        A worker stays in its lane until that is empty, so that several keep out of each other's
        way; what is due in a lane with little never waits for the turn of that lane.
        """
        full = [lane for lane, some in due.items() if len(some) == SHARE]
        taken = [event for lane, some in due.items() if lane not in full for event in some]
        if not full:
            return taken
        if self._lane not in full:
            self._lane = full[int(self._jitter() * len(full)) % len(full)]
        return taken + self._due((self._lane,), BATCH).get(self._lane, [])

    def _due(self, lanes: Sequence[str], limit: int) -> dict[str, list[Event]]:
        """The first events that are due in each lane that has any."""
        now = self._now()
        found = self._storage.first([Range(inbox.due(lane), limit) for lane in lanes])
        due: dict[str, list[Event]] = {}
        for rows in found.values():
            for event in rows:
                if isinstance(event, Event) and event.due_at <= now:
                    due.setdefault(event.lane, []).append(event)
        return due

    def _apply_one(self, event: Event) -> bool:
        if event.type in events.READ:
            return bool(self._apply_ours([event]))
        lease = self._new_lease()
        leased = self._queue.submit(LeaseEvent(event_id=event.event_id, lease=lease))
        if leased is None:
            self._tell_if_buried(event)
            return False
        self._hand_over(leased, lease)
        return True

    def _apply_ours(self, due: Sequence[Event]) -> int:
        """As one batch, and without leases: applying them takes nothing but one transaction.

        Who dies with it leaves them as they were, and of two workers that have read the same event
        the second finds it done.
        """
        commands: list[tuple[Event, Command[Settlement | None]]] = []
        for event in due:
            try:
                commands.append((event, self._command(event)))
            except msgspec.MsgspecError:
                self._fail(event, "what was kept of it cannot be read", leased=False)
            except Exception as error:  # noqa: BLE001 - it is this event's own
                self._failed(event, error)
        outcomes = self._queue.submit_all([command for _, command in commands])
        tried = len(due) - len(commands)
        for (event, _), outcome in zip(commands, outcomes, strict=True):
            if outcome is None:
                continue  # somebody else was faster
            tried += 1
            if isinstance(outcome, Exception):
                self._failed(event, outcome)
            else:
                self._done(event, outcome.outcome)
        return tried

    def _command(self, event: Event) -> ApplyEvent:
        messenger = Messenger(event_id=event.event_id, type=event.type, created_at=event.created_at)
        command = intake.command_of(inbox.unpack(event.payload), messenger, self._policies)
        return ApplyEvent(event_id=event.event_id, token=event.lease, command=command)

    def _hand_over(self, event: Event, lease: Lease) -> None:
        """To the host's handlers."""
        if event.type not in self._handlers:
            problem: str | None = f"this process has no handler for {event.type}"
        else:
            with leases.renewed(self._queue, event.event_id, lease):
                problem = self._handled(event)
        if problem is None:
            finish = FinishEvent(event_id=event.event_id, token=lease.token)
            if self._queue.submit(finish):
                self._done(event, "applied")
        else:
            self._fail(event, problem)

    def _handled(self, event: Event) -> str | None:
        try:
            data = self._gateway.retrieve_event(event.event_id, account=event.payload or None)
            told = events.from_object(data)
        except CreditPaymentsError as error:
            return f"it could not be fetched from Stripe: {error.message}"
        return self._handlers.run(intake.stripe_event(told, data["data"], event.attempts))

    def _failed(self, event: Event, error: Exception) -> None:
        if isinstance(error, TryAgain):
            self._fail(event, error.message, leased=False, counts=False)
        elif isinstance(error, CreditPaymentsError):
            self._fail(event, error.message, leased=False)
        else:
            self._log.raised(event, error)
            self._fail(event, f"applying it raised {type(error).__name__}", leased=False)

    def _fail(
        self, event: Event, problem: str, *, leased: bool = True, counts: bool = True
    ) -> None:
        status = self._queue.submit(
            FailEvent(
                event_id=event.event_id,
                token=event.lease,
                attempts=event.attempts,
                problem=problem,
                jitter=self._jitter(),
                leased=leased,
                counts=counts,
            )
        )
        if status is None:
            return  # somebody else has it by now
        if not counts:
            self._log.put_off(event, problem)
            return
        tried = event if leased else msgspec.structs.replace(event, attempts=event.attempts + 1)
        self._log.failed(tried, status, problem)

    def _tell_if_buried(self, event: Event) -> None:
        """Of one that could not be leased; those whose tries were used up became dead by it."""
        if event.attempts >= inbox.ATTEMPTS_MAX:
            self._log.failed(event, inbox.DEAD, event.problem or "nobody has come to its end")

    def _done(self, event: Event, outcome: str) -> None:
        waited = self._clock.now() - instants.from_text(event.received_at)
        self._log.applied(event, outcome, waited_seconds=waited.total_seconds())

    def _now(self) -> str:
        return instants.to_text(self._clock.now())

    def _new_lease(self) -> Lease:
        return Lease(uuid.uuid4().hex, self._lease_seconds)

    # -- notifications -------------------------------------------------------------------------

    def _deliver_some(self) -> int:
        """Until there is an event to apply: the host's handlers may take long."""
        tried = 0
        if self._notifications is None:
            return tried
        for _ in self._notifications.tries(BATCH):
            tried += 1
            if self._stopping or self._due(inbox.LANES, 1):
                break
        return tried

    # -- waiting -------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Do something; whether there was anything, and nothing went wrong."""
        try:
            return bool(self.step())
        except CreditPaymentsError as error:
            _log.warning("The worker waits: %s", error)
        except Exception:  # noqa: BLE001 - it goes on, whatever it was
            _log.exception("The worker waits.")
        return False

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Be woken when an event is stored; without that, looking finds it."""
        watch: Watch | None = None
        try:
            watch = self._storage.watch(Event, self._bell.ring)
        except Exception:  # noqa: BLE001 - without it they are found a moment later
            _log.warning("Events are looked for every second.", exc_info=True)
        try:
            yield
        finally:
            if watch is not None:
                watch.close()
