"""The database queue: every write of the library passes through it.

Callers hand in a command and wait. Whoever finds nobody writing leads: it takes all commands that
wait (a bounded batch, no timer), runs them as one database transaction and wakes the others, as
databases do group commit. So a caller that is alone pays no hand-over between threads, sixty-four
share one commit, and there is no writer thread that could die or be lost in a fork.

A rejected command answers its own caller and leaves no trace. When the database fails, the whole
batch runs again (decisions are pure, and every effect has a unique key, so a repetition after an
unknown commit finds what the first run left); what still fails is halved until the command at
fault stands alone.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Generic, TypeVar, cast

import attrs

from credit_payments.domain import instants
from credit_payments.domain.decision import Command, NotLoaded, View
from credit_payments.domain.records import Key, Record
from credit_payments.errors import QueueFull, StorageUnavailable
from credit_payments.ports.clock import Clock
from credit_payments.ports.storage import Storage, Transaction, WriteConflict

A = TypeVar("A")

STALL_SECONDS_MAX = 1.0
"""How long a queue that somebody should lead may stand still before another takes the lead."""
LOAD_PASSES_MAX = 4
"""How far a row may be from those that a command names: an event, its payment, its quote, the
wallet."""


@attrs.frozen(kw_only=True)
class QueueHealth:
    """How much waits, and for how long the oldest command has."""

    commands_waiting: int
    oldest_seconds: float


class PostingQueue:
    """One queue per process and storage.

    Args:
        storage: where the rows are.
        clock: gives each batch its one instant.
        commands_max: how many commands may wait before `QueueFull`.
        batch_max: how many commands share one transaction at most.
        attempts_max: how often a batch is tried as a whole before it is halved.
        wait_seconds_max: how long a caller waits for its answer, and a batch tries.
        sleep: waits between two tries; tests hand in one that does not.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        commands_max: int = 10_000,
        batch_max: int = 128,
        attempts_max: int = 5,
        wait_seconds_max: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._commands_max = commands_max
        self._batch_max = batch_max
        self._attempts_max = attempts_max
        self._wait_seconds_max = wait_seconds_max
        self._sleep = sleep
        self._reset()
        _queues.add(self)

    def _reset(self) -> None:
        """Start empty; also in a forked child, where the parent's waiting threads do not exist."""
        self._mutex = threading.Lock()
        self._waiting: deque[_Ticket[Any]] = deque()
        self._led = False
        self._led_since = 0.0
        self._running = False
        self._closed = False
        self._idle = threading.Condition(self._mutex)

    def submit(self, command: Command[A]) -> A:
        """Run a command and answer once its changes are durable.

        Raises:
            QueueFull: too many commands wait already.
            StorageUnavailable: the database failed, or did not answer in time; whether the
                command took effect is told by running it again.
            CreditPaymentsError: whatever the command was rejected with.
        """
        ticket: _Ticket[A] = _Ticket(command)
        try:
            leads = self._enter(ticket)
            while not ticket.done:
                if leads or self._wait(ticket):
                    self._lead(ticket)
                leads = False
        except BaseException:  # KeyboardInterrupt: this thread will be there for nobody
            self._leave(ticket)
            raise
        return ticket.result()

    def _enter(self, ticket: _Ticket[Any]) -> bool:
        """Take a place in the queue; True when nobody leads, and this thread is to."""
        with self._mutex:
            if self._closed:
                raise StorageUnavailable("The database queue is closed.")
            if len(self._waiting) >= self._commands_max:
                raise QueueFull(f"{self._commands_max} writes wait already; try again.")
            self._waiting.append(ticket)
            if self._led:
                return False
            self._led = ticket.leads = True
            self._led_since = ticket.since
            return True

    def health(self) -> QueueHealth:
        """How long the queue is now."""
        with self._mutex:
            oldest = self._waiting[0].since if self._waiting else time.monotonic()
            return QueueHealth(
                commands_waiting=len(self._waiting), oldest_seconds=time.monotonic() - oldest
            )

    def close(self) -> None:
        """Take nothing new, and return when everything that waited has its answer."""
        with self._mutex:
            self._closed = True
            self._idle.wait_for(lambda: not self._led, timeout=self._wait_seconds_max)

    def _wait(self, ticket: _Ticket[Any]) -> bool:
        """Wait for the answer; True when this thread is to lead instead."""
        deadline = ticket.since + self._wait_seconds_max
        turn_seconds = min(STALL_SECONDS_MAX, self._wait_seconds_max)
        while not ticket.woken.acquire(timeout=turn_seconds):
            with self._mutex:
                if ticket.done or ticket.leads:
                    break
                if self._is_stalled():
                    ticket.leads = True
                    self._led_since = time.monotonic()
                    return True
                if time.monotonic() >= deadline:
                    self._give_up(ticket)
                    break
        return ticket.leads and not ticket.done

    def _is_stalled(self) -> bool:
        """Whether the leader was lost before it could begin, or while it handed on.

        An exception from a signal handler can end a thread between any two steps, also those that
        are there to clean up after one.
        """
        return not self._running and time.monotonic() - self._led_since > STALL_SECONDS_MAX

    def _give_up(self, ticket: _Ticket[Any]) -> None:
        """Answer a caller who waited too long, with the mutex held."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            ticket.fail(QueueFull("The write waited too long for its turn; try again."))
        else:
            ticket.fail(StorageUnavailable("The database did not answer in time."))

    def _leave(self, ticket: _Ticket[Any]) -> None:
        """Leave the queue without an answer, and the lead to somebody else."""
        successor = None
        with self._mutex:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            if ticket.leads:
                successor = self._hand_on()
        if successor is not None:
            successor.woken.release()

    def _hand_on(self) -> _Ticket[Any] | None:
        """Name the next leader, with the mutex held; the caller wakes it."""
        self._running = False
        if not self._waiting:
            self._led = False
            self._idle.notify_all()
            return None
        successor = self._waiting[0]
        successor.leads = True
        self._led_since = time.monotonic()
        return successor

    def _lead(self, own: _Ticket[Any]) -> None:
        """Run one batch, the commands that have waited longest, and hand on."""
        with self._mutex:
            size = min(len(self._waiting), self._batch_max)
            batch = [self._waiting.popleft() for _ in range(size)]
            self._running = True
        try:
            self._run(batch, time.monotonic() + self._wait_seconds_max / 2)
        finally:
            # Whatever ended the run, nobody is left waiting. Commands without an answer go back
            # to the head of the queue, which is safe even after a commit: their effects are keyed.
            others = [ticket for ticket in batch if ticket is not own]
            with self._mutex:
                own.leads = False
                self._waiting.extendleft(t for t in reversed(others) if not t.done)
                successor = self._hand_on()
            if successor is not None:
                successor.woken.release()
            for ticket in others:
                if ticket.done:
                    ticket.woken.release()

    def _run(self, batch: Sequence[_Ticket[Any]], deadline: float) -> None:
        error = self._try(batch, self._attempts_max, deadline)
        if error is None:
            return
        if len(batch) == 1 or time.monotonic() >= deadline:
            for ticket in batch:
                # Each caller's own: raising one error in many threads would mix up their traces.
                ticket.fail(copy(error))
            return
        middle = len(batch) // 2
        self._run(batch[:middle], deadline)
        self._run(batch[middle:], deadline)

    def _try(
        self, batch: Sequence[_Ticket[Any]], attempts: int, deadline: float
    ) -> Exception | None:
        """Transact, again after a failure; the last failure when all attempts did."""
        failure: Exception | None = None
        for attempt in range(attempts):
            if attempt:
                # Full jitter: two processes that collided once should not meet again.
                self._sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - not a secret
            try:
                strays = self._transact(batch)
            except (WriteConflict, StorageUnavailable) as error:
                failure = (
                    error
                    if isinstance(error, StorageUnavailable)
                    else StorageUnavailable("Other writers kept getting ahead; try again.")
                )
            except Exception as error:  # noqa: BLE001 - it belongs to one of the callers
                return error
            else:
                for ticket in strays:
                    self._run([ticket], deadline)
                return None
            if time.monotonic() >= deadline:
                break
        return failure

    def _transact(self, batch: Sequence[_Ticket[Any]]) -> list[_Ticket[Any]]:
        """Load, decide, write, commit, answer.

        Returns the commands that a decision of their own batch led to rows they had not named:
        they run again, alone, on what is then committed.
        """
        now = instants.to_text(self._clock.now())
        with self._storage.transaction() as transaction:
            rows = _load(transaction, [ticket.command for ticket in batch])
            existing = {key for key, row in rows.items() if row is not None}
            answers, changed, strays = _decide(batch, rows, now)
            if changed:
                transaction.write(
                    [record for key, record in changed.items() if key not in existing],
                    [record for key, record in changed.items() if key in existing],
                )
        for ticket, answer, rejection in answers:
            if rejection is None:
                ticket.succeed(answer)
            else:
                ticket.fail(rejection)
        return strays


def _load(transaction: Transaction, commands: Sequence[Command[Any]]) -> dict[Key, Record | None]:
    """The rows that the commands name, and then those that these point to."""
    rows: dict[Key, Record | None] = {}
    view = View(rows)
    asked = dict.fromkeys(key for command in commands for key in command.keys())  # noqa: SIM118
    for _ in range(LOAD_PASSES_MAX):
        rows.update(asked)
        rows.update(transaction.load(list(asked)))
        asked = {
            key: None for command in commands for key in command.keys_after(view) if key not in rows
        }
        if not asked:
            break
    return rows


def _decide(
    batch: Sequence[_Ticket[Any]], rows: dict[Key, Record | None], now: str
) -> tuple[list[tuple[_Ticket[Any], Any, Exception | None]], dict[Key, Record], list[_Ticket[Any]]]:
    """Each command in turn, on the rows as those before it left them."""
    view = View(rows)
    answers: list[tuple[_Ticket[Any], Any, Exception | None]] = []
    changed: dict[Key, Record] = {}
    strays: list[_Ticket[Any]] = []
    for ticket in batch:
        try:
            decision = ticket.command.decide(view, now)
        except NotLoaded as error:
            if len(batch) == 1:
                answers.append((ticket, None, error))
            else:
                strays.append(ticket)
        except Exception as error:  # noqa: BLE001 - a rejection, or a bug, of this command alone
            answers.append((ticket, None, error))
        else:
            for record in decision.changes:
                key: Key = (type(record), getattr(record, record.KEY))
                rows[key] = changed[key] = record
            answers.append((ticket, decision.answer, None))
    return answers, changed, strays


class _Ticket(Generic[A]):
    """A command on its way through the queue, and where its caller waits."""

    __slots__ = ("answer", "command", "done", "error", "leads", "since", "woken")

    def __init__(self, command: Command[A]) -> None:
        self.command = command
        self.answer: A | None = None
        self.error: Exception | None = None
        self.done = False
        self.leads = False
        self.since = time.monotonic()
        # A bare lock, taken at birth, is the cheapest thing a thread can wait for.
        self.woken = threading.Lock()
        self.woken.acquire()

    def succeed(self, answer: A) -> None:
        self.answer = answer
        self.done = True

    def fail(self, error: Exception) -> None:
        self.error = error
        self.done = True

    def result(self) -> A:
        if self.error is not None:
            raise self.error
        return cast("A", self.answer)


_queues: weakref.WeakSet[PostingQueue] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for queue in list(_queues):
        queue._reset()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
