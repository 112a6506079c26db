"""Who waits, who leads, and how callers are woken."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, cast

import attrs

from credit_payments.domain.decision import Command
from credit_payments.errors import QueueFull, StorageUnavailable

A = TypeVar("A")

STALL_SECONDS_MAX = 1.0
"""How long a line that somebody should lead may stand still before another takes the lead."""


@attrs.frozen(kw_only=True)
class QueueHealth:
    """How much waits, and for how long the oldest command has."""

    commands_waiting: int
    oldest_seconds: float


class Ticket(Generic[A]):
    """A command on its way through the queue, and where its caller waits.

    One that is `apart` shares its transaction with nobody: others were ahead of it before.
    """

    __slots__ = ("answer", "apart", "chain", "command", "done", "error", "gone", "since", "woken")

    def __init__(self, command: Command[A], *, apart: bool = False) -> None:
        self.command = command
        self.apart = apart
        self.answer: A | None = None
        self.error: Exception | None = None
        self.done = False
        self.gone = False
        self.chain: Chain | None = None
        self.since = time.monotonic()
        # A bare lock, taken at birth, is the cheapest thing a thread can wait for.
        self.woken = threading.Lock()
        self.woken.acquire()

    def succeed(self, answer: A) -> None:
        """Keep the answer for the caller."""
        self.answer = answer
        self.done = True

    def fail(self, error: Exception) -> None:
        """Keep the error for the caller."""
        self.error = error
        self.done = True

    def outcome(self) -> A | Exception:
        """The answer, or the error."""
        return self.error if self.error is not None else cast("A", self.answer)

    def result(self) -> A:
        """The answer, or the error raised."""
        if self.error is not None:
            raise self.error
        return cast("A", self.answer)


class Chain:
    """Answered callers who are still asleep, and whose batch they were in."""

    __slots__ = ("leader", "sleepers")

    def __init__(self, leader: Ticket[Any], sleepers: Iterable[Ticket[Any]]) -> None:
        self.leader = leader
        self.sleepers = deque(sleepers)


class Line:
    """Callers that wait with their tickets; at most one of them leads at a time.

    A leader takes what waits, and at the end of its batch wakes one of those it answered, who
    wakes the next before anything else, and so on; the last one names the next leader. Waking all
    at once would set them fighting over the interpreter, each put to sleep a second time: one
    after the other they cost half. And the next leader begins when they have had their turn,
    undisturbed, and finds in the line what they have brought meanwhile.
    """

    def __init__(self, *, commands_max: int, batch_max: int, wait_seconds_max: float) -> None:
        self._commands_max = commands_max
        self._batch_max = batch_max
        self._wait_seconds_max = wait_seconds_max
        self._turn_seconds = min(STALL_SECONDS_MAX, wait_seconds_max)
        self.reset()

    def reset(self) -> None:
        """Start empty; also in a forked child, where the parent's waiting threads do not exist."""
        self._mutex = threading.Lock()
        self._idle = threading.Condition(self._mutex)
        self._waiting: deque[Ticket[Any]] = deque()
        self._closed = False
        self._leader: Ticket[Any] | None = None
        self._led_since = 0.0
        self._running = False
        self._led_by = 0

    def enter(self, ticket: Ticket[Any]) -> bool:
        """Take a place; True when nobody leads, and this thread is to.

        Raises:
            QueueFull: too many wait already.
            StorageUnavailable: the line is closed.
        """
        with self._mutex:
            if self._closed:
                raise StorageUnavailable("The database queue is closed.")
            if len(self._waiting) >= self._commands_max:
                raise QueueFull(f"{self._commands_max} writes wait already; try again.")
            self._waiting.append(ticket)
            if self._leader is not None:
                return False
            self._leader = ticket
            self._led_since = ticket.since
            return True

    def wait(self, ticket: Ticket[Any]) -> bool:
        """Wait for the answer; True when this thread is to lead instead."""
        deadline = ticket.since + self._wait_seconds_max
        while not ticket.woken.acquire(timeout=self._turn_seconds):
            with self._mutex:
                if not ticket.done and self._is_stalled():
                    self._leader = ticket
                    self._led_since = time.monotonic()
                if self._leader is ticket:
                    return True
                if not ticket.done and time.monotonic() >= deadline:
                    self._give_up(ticket)
            if ticket.done:
                self._step_out(ticket)
                return False
        if ticket.chain is not None:
            self._wake_next(ticket.chain)
        return self._leader is ticket

    def take(self, own: Ticket[Any], batch: list[Ticket[Any]]) -> None:
        """Fill the batch of who leads with those that have waited longest."""
        with self._mutex:
            if self._leader is not own:  # it was so slow to begin that another took over
                return
            self._running = True
            self._led_by = threading.get_ident()
            for _ in range(min(len(self._waiting), self._batch_max)):
                if batch and (batch[0].apart or self._waiting[0].apart):
                    return
                batch.append(self._waiting.popleft())

    def finish(self, own: Ticket[Any], batch: list[Ticket[Any]]) -> None:
        """End the lead, whatever ended the batch: nobody of it is left waiting.

        Commands without an answer go back to the head of the line, which is safe even after a
        commit: their effects are keyed. None may be in neither place in between.
        """
        if len(batch) == 1 and batch[0] is own:  # alone: nobody to answer
            with self._mutex:
                if self._leader is own:
                    self._running = False
                    self._hand_on()
            return
        others = [ticket for ticket in batch if ticket is not own]
        with self._mutex:
            if self._leader is own:
                self._running = False
            self._waiting.extendleft(t for t in reversed(others) if not t.done)
        self._wake_next(Chain(own, (ticket for ticket in others if ticket.done)))

    def leave(self, ticket: Ticket[Any]) -> None:
        """Go without an answer, and leave the lead to somebody else."""
        with self._mutex:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            if self._leader is ticket:
                self._running = False
                self._hand_on()
        self._step_out(ticket)

    def health(self) -> QueueHealth:
        """How long the line is now."""
        with self._mutex:
            now = time.monotonic()
            oldest = self._waiting[0].since if self._waiting else now
            return QueueHealth(commands_waiting=len(self._waiting), oldest_seconds=now - oldest)

    def close(self) -> None:
        """Take nobody new, and return when all that waited have their answers."""
        deadline = time.monotonic() + self._wait_seconds_max
        with self._mutex:
            self._closed = True
            while self._leader is not None and time.monotonic() < deadline:
                if self._is_stalled() and not self._waiting:
                    return
                if self._running and self._led_by == threading.get_ident():
                    return  # a signal's handler closes in the midst of its own thread's batch
                self._idle.wait(timeout=STALL_SECONDS_MAX)

    def _is_stalled(self) -> bool:
        """Whether a leader was lost before it began, or the chain while it was handed along.

        An exception from a signal handler can end a thread between any two steps, also those that
        are there to clean up after one.
        """
        if self._leader is None or self._running:
            return False
        return time.monotonic() - self._led_since > STALL_SECONDS_MAX

    def _give_up(self, ticket: Ticket[Any]) -> None:
        """Answer a caller who waited too long, with the mutex held."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            ticket.fail(QueueFull("The write waited too long for its turn; try again."))
        else:
            ticket.fail(StorageUnavailable("The database did not answer in time."))

    def _step_out(self, ticket: Ticket[Any]) -> None:
        """Leave without having waited to be woken."""
        with self._mutex:
            ticket.gone = True
        if ticket.chain is not None:  # it was woken in this very moment
            self._wake_next(ticket.chain)

    def _wake_next(self, chain: Chain) -> None:
        """Wake who comes next in a chain; at its end hand on, if its lead was not taken over."""
        with self._mutex:
            if self._leader is chain.leader:
                self._led_since = time.monotonic()
            while chain.sleepers:
                ticket = chain.sleepers.popleft()
                if not ticket.gone:
                    ticket.chain = chain  # from now on it is this one who has to go on with it
                    _wake(ticket)
                    return
            if self._leader is chain.leader:
                self._hand_on()

    def _hand_on(self) -> None:
        """Name and wake the next leader, with the mutex held."""
        if not self._waiting:
            self._leader = None
            self._idle.notify_all()
            return
        self._leader = self._waiting[0]
        self._led_since = time.monotonic()
        _wake(self._leader)


def _wake(ticket: Ticket[Any]) -> None:
    """Once is enough: who was named leader and then taken over is woken by its answer, too."""
    if ticket.woken.locked():
        ticket.woken.release()
