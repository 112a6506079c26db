"""Workers: they apply what was stored, deliver notifications, and post what is due in wallets."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import attrs
import msgspec

from credit_payments import intake
from credit_payments.domain import events, inbox, instants
from credit_payments.domain.clawback import Policies
from credit_payments.domain.decision import Command, Range
from credit_payments.domain.records import Event, Wallet
from credit_payments.domain.spending import PostDue
from credit_payments.errors import CreditPaymentsError, TryAgain
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
    LeaseEvents,
    RenewLeases,
)

LEASE_SECONDS = 60.0
BATCH = 100
"""Events that one lease covers, and wallets that one sweep looks at."""
IDLE_SECONDS_MAX = 1.0
"""The longest pause between two looks where nobody wakes the worker."""
_IDLE_SECONDS_MIN = 0.02
SWEEP_SECONDS = 1.0
"""How often is looked for wallets in which something has expired or lapsed."""
ROUNDS_MAX = 10_000
"""So that draining ends, however fast events come."""
HANDLING_SECONDS_MAX = 3_600.0
_BEATS_PER_LEASE = 3

_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Work:
    """What a worker has done: how many events, notifications and due postings."""

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

    def deliver(self, limit: int = ...) -> int:
        """How many were delivered."""
        ...


class Worker:
    """Drains what waits in the database; any number of them, on any number of machines.

    Each event is leased before it is applied, so that two workers do not do the same work; where a
    lease was too short, or its worker died, another follows, and the effects are there once.

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
        self._telemetry = telemetry or Silent()
        self._jitter = jitter
        self._stopping = False
        self._wake = threading.Event()
        self._swept_at = float("-inf")
        self._swept_to: tuple[str, str] | None = None

    def run(self) -> None:
        """Work until `stop` is called; a database that is down is waited for."""
        pause = _IDLE_SECONDS_MIN
        with self._watching():
            while not self._stopping:
                if self._look():
                    pause = _IDLE_SECONDS_MIN
                    continue
                # Longer and longer while there is nothing to do.
                self._wake.wait(pause)
                woken, pause = self._wake.is_set(), min(2 * pause, IDLE_SECONDS_MAX)
                self._wake.clear()
                if woken:
                    pause = _IDLE_SECONDS_MIN

    def stop(self) -> None:
        """Have `run` end after what is in hand; safe in a signal's handler, and to call twice."""
        self._stopping = True
        self._wake.set()

    def drain(self) -> Work:
        """Do what is due now, and what becomes due meanwhile; how much that was.

        Raises:
            TryAgain: the database is busy or down; what was leased is tried again later.
        """
        done = Work()
        self._swept_at = float("-inf")
        for _ in range(ROUNDS_MAX):
            work = self.step()
            done += work
            if not work or self._stopping:
                break
        return done

    def step(self) -> Work:
        """Do some of what is due now: a bounded piece of everything.

        Raises:
            TryAgain: the database is busy or down.
        """
        delivered = self._notifications.deliver(BATCH) if self._notifications else 0
        return Work(
            events=self._apply_some(), notifications=delivered, postings=self._post_what_is_due()
        )

    def apply(self, event_id: str) -> bool:
        """Apply one stored event, if it is due; whether there was anything to do.

        Raises:
            TryAgain: the database is busy or down.
        """
        lease = self._new_lease()
        event = self._queue.submit(LeaseEvent(event_id=event_id, lease=lease))
        if event is None:
            return False
        self._apply([event], lease)
        return True

    # -- events --------------------------------------------------------------------------------

    def _apply_some(self) -> int:
        for lane in self._lanes_due():
            lease = self._new_lease()
            leased = self._queue.submit(LeaseEvents(lane=lane, lease=lease, limit=BATCH))
            if leased:
                self._apply(leased, lease)
                return len(leased)
        return 0

    def _lanes_due(self) -> list[str]:
        """The lanes in which something is due, in an order of this worker's own."""
        now = instants.to_text(self._clock.now())
        ranges = [Range(inbox.due(lane), 1) for lane in inbox.LANES]
        found = self._storage.first(ranges)
        due = [
            asked.series.group
            for asked, rows in found.items()
            if rows and getattr(rows[0], "due_at", now) <= now
        ]
        return sorted(due, key=lambda _lane: self._jitter())

    def _apply(self, leased: Sequence[Event], lease: Lease) -> None:
        ours = [event for event in leased if event.type in events.READ]
        self._apply_ours(ours, lease)
        others = [event for event in leased if event.type not in events.READ]
        if others:
            with self._heartbeat(others, lease):
                for event in others:
                    self._hand_over(event, lease)

    def _apply_ours(self, leased: Sequence[Event], lease: Lease) -> None:
        """As one batch: applying them takes nothing but the database."""
        commands: list[tuple[Event, Command[Settlement]]] = []
        for event in leased:
            try:
                commands.append((event, self._command(event, lease)))
            except msgspec.MsgspecError:
                self._fail(event, lease, "what was kept of it cannot be read")
        outcomes = self._queue.submit_all([command for _, command in commands])
        for (event, _), outcome in zip(commands, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._failed(event, lease, outcome)
            else:
                self._done(event, outcome.outcome)

    def _command(self, event: Event, lease: Lease) -> ApplyEvent:
        messenger = Messenger(event_id=event.event_id, type=event.type, created_at=event.created_at)
        command = intake.command_of(inbox.unpack(event.payload), messenger, self._policies)
        return ApplyEvent(event_id=event.event_id, token=lease.token, command=command)

    def _hand_over(self, event: Event, lease: Lease) -> None:
        """To the host's handlers, one event at a time: they may take long."""
        if event.type not in self._handlers:
            problem: str | None = f"this process has no handler for {event.type}"
        else:
            problem = self._handled(event)
        if problem is None:
            finish = FinishEvent(event_id=event.event_id, token=lease.token)
            if self._queue.submit(finish):
                self._done(event, "applied")
        else:
            self._fail(event, lease, problem)

    def _handled(self, event: Event) -> str | None:
        try:
            data = self._gateway.retrieve_event(event.event_id)
            told = events.from_object(data)
        except CreditPaymentsError as error:
            return f"it could not be fetched from Stripe: {error.message}"
        return self._handlers.run(intake.stripe_event(told, data["data"], event.attempts))

    def _failed(self, event: Event, lease: Lease, error: Exception) -> None:
        if isinstance(error, TryAgain):
            self._fail(event, lease, error.message, counts=False)
        elif isinstance(error, CreditPaymentsError):
            self._fail(event, lease, error.message)
        else:
            _log.error("%s cannot be applied.", event.event_id, exc_info=error, extra=_extra(event))
            self._fail(event, lease, f"applying it raised {type(error).__name__}")

    def _fail(self, event: Event, lease: Lease, problem: str, *, counts: bool = True) -> None:
        status = self._queue.submit(
            FailEvent(
                event_id=event.event_id,
                token=lease.token,
                problem=problem,
                jitter=self._jitter(),
                counts=counts,
            )
        )
        if status is None:
            return  # somebody else has it by now
        self._telemetry.count("credit_payments.events.failed", type=event.type)
        if status == inbox.DEAD:
            self._telemetry.count("credit_payments.events.dead", type=event.type)
        _log.log(
            logging.ERROR if status == inbox.DEAD else logging.WARNING,
            "%s %s failed at attempt %d, and is %s: %s",
            event.type,
            event.event_id,
            event.attempts,
            "a dead letter" if status == inbox.DEAD else "tried again",
            problem,
            extra=_extra(event),
        )

    def _done(self, event: Event, outcome: str) -> None:
        self._telemetry.count("credit_payments.events", type=event.type, outcome=outcome)
        waited = self._clock.now() - instants.from_text(event.received_at)
        self._telemetry.took("credit_payments.events.wait", waited.total_seconds())
        _log.info(
            "%s %s: %s",
            event.type,
            event.event_id,
            outcome,
            extra={**_extra(event), "outcome": outcome},
        )

    def _new_lease(self) -> Lease:
        return Lease(uuid.uuid4().hex, self._lease_seconds)

    @contextmanager
    def _heartbeat(self, held: Sequence[Event], lease: Lease) -> Iterator[None]:
        """Renew leases while the host's code runs, for an hour at most: it may hang for ever."""
        ended = threading.Event()
        renew = RenewLeases(event_ids=tuple(event.event_id for event in held), lease=lease)
        times = int(HANDLING_SECONDS_MAX / lease.seconds * _BEATS_PER_LEASE)

        def beat() -> None:
            for _ in range(times):
                if ended.wait(lease.seconds / _BEATS_PER_LEASE):
                    return
                try:
                    self._queue.submit(renew)
                except CreditPaymentsError as error:
                    _log.warning("Leases could not be renewed: %s", error)

        thread = threading.Thread(target=beat, name="credit-payments-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(lease.seconds)

    # -- wallets -------------------------------------------------------------------------------

    def _post_what_is_due(self) -> int:
        """Have holds lapse and lots expire, of some wallets; how many entries that made.

        Nobody's balance waits for this: what is due counts from its instant on, and is posted by
        whoever touches the wallet first. This is for the books, and for who is told.
        """
        if time.monotonic() - self._swept_at < SWEEP_SECONDS:
            return 0
        now = instants.to_text(self._clock.now())
        wallets = self._storage.page(
            Wallet,
            {},
            order=("due_at", "user_id"),
            after=self._swept_to,
            limit=BATCH,
            ending="due_at",
        )
        due = [wallet for wallet in wallets if wallet.due_at <= now]
        if len(due) == BATCH:  # there are more, behind those that may fail
            self._swept_to = (due[-1].due_at, due[-1].user_id)
        else:
            self._swept_to = None
            self._swept_at = time.monotonic()
        posted = 0
        outcomes = self._queue.submit_all([PostDue(user_id=wallet.user_id) for wallet in due])
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                _log.error("What is due in a wallet cannot be posted.", exc_info=outcome)
            else:
                posted += outcome
        return posted

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
            watch = self._storage.watch(Event, self._wake.set)
        except Exception:  # noqa: BLE001 - without it they are found a moment later
            _log.warning("Events are looked for every second.", exc_info=True)
        try:
            yield
        finally:
            if watch is not None:
                watch.close()


def _extra(event: Event) -> dict[str, object]:
    return {
        "event_id": event.event_id,
        "event_type": event.type,
        "payment_intent_id": event.subject if event.subject.startswith("pi_") else None,
        "attempt": event.attempts,
    }
