"""Running the commands that wait: as one transaction, again after a failure, halved at last."""

from __future__ import annotations

import os
import random
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, TypeVar

from credit_payments.domain import instants
from credit_payments.domain.decision import Command
from credit_payments.errors import QueueFull, StorageUnavailable
from credit_payments.ports.clock import Clock
from credit_payments.ports.storage import Storage, WriteConflict
from credit_payments.ports.telemetry import Telemetry
from credit_payments.posting import batch as batches
from credit_payments.posting.batch import Observer
from credit_payments.posting.joining import HostTransaction
from credit_payments.posting.line import Line, QueueHealth, Ticket

A = TypeVar("A")

PAUSE_SECONDS_MAX = 0.25
"""Between two tries."""
CONFLICTS_MAX = 2
"""How often a batch is tried while other writers are ahead, before it is halved."""


class Overtaken(StorageUnavailable):
    """Other writers were ahead of a command, or still are."""


class PostingQueue:
    """One queue per process and storage.

    Args:
        storage: where the rows are.
        clock: gives each batch its one instant.
        commands_max: how many commands may wait before `QueueFull`.
        batch_max: how many commands share one transaction at most.
        attempts_max: how often a batch is tried as a whole before it is halved.
        overtaken_max: how often a command that others are ahead of gets into the line again; by
            default for about five seconds.
        wait_seconds_max: how long a caller waits for its answer, and a batch tries.
        sleep: waits between two tries; tests hand in one that does not.
        observer: adds rows to what the commands change.
        telemetry: counts batches and their commands, and times them; None for nobody.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        commands_max: int = 10_000,
        batch_max: int = 128,
        attempts_max: int = 5,
        overtaken_max: int = 40,
        wait_seconds_max: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
        observer: Observer | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._attempts_max = attempts_max
        self._overtaken_max = overtaken_max
        self._run_seconds_max = wait_seconds_max / 2
        self._sleep = sleep
        self._observer = observer
        self._telemetry = telemetry
        self._line = Line(
            commands_max=commands_max, batch_max=batch_max, wait_seconds_max=wait_seconds_max
        )
        _lines.add(self._line)

    def submit(self, command: Command[A]) -> A:
        """Run a command and answer once its changes are durable.

        Raises:
            QueueFull: too many commands wait already.
            StorageUnavailable: the database failed, or did not answer in time; whether the
                command took effect is told by running it again.
            CreditPaymentsError: whatever the command was rejected with.
        """
        deadline = time.monotonic() + 2 * self._run_seconds_max
        for overtaken in range(self._overtaken_max + 1):
            ticket = Ticket(command, apart=overtaken > 0)
            self._pass_through(ticket)
            if not isinstance(ticket.error, Overtaken):
                return ticket.result()
            if time.monotonic() >= deadline:
                break
            # Outside of the line, so that nobody else waits with it.
            self._pause(overtaken + 1)
        raise StorageUnavailable("Other writers kept getting ahead; try again.")

    def submit_all(self, commands: Sequence[Command[A]]) -> list[A | Exception]:
        """Run many commands, in as few transactions as they fit in; what became of each.

        They are decided in their order, unless something fails. What a command was rejected with,
        or what `submit` would raise, takes the place of its answer.
        """
        tickets: list[Ticket[A]] = [Ticket(command) for command in commands]
        self._pass_together(tickets)
        outcomes: list[A | Exception] = []
        for ticket in tickets:
            outcome = self._outcome(ticket)
            outcomes.append(outcome)
        return outcomes

    def _outcome(self, ticket: Ticket[A]) -> A | Exception:
        if not isinstance(ticket.error, Overtaken):
            return ticket.outcome()
        try:
            return self.submit(ticket.command)
        except Exception as error:  # noqa: BLE001 - the caller looks at it
            return error

    def _pass_through(self, ticket: Ticket[Any]) -> None:
        try:
            self._see_through(ticket, leads=self._line.enter(ticket))
        except BaseException:  # KeyboardInterrupt: this thread will be there for nobody
            self._line.leave(ticket)
            raise

    def _pass_together(self, tickets: Sequence[Ticket[Any]]) -> None:
        """Stand in line with all of them at once.

        They are answered in their order, so to wait for one after the other is to wait for all;
        and each hands on the waking that woke it.
        """
        waiting: deque[tuple[Ticket[Any], bool]] = deque()
        try:
            for ticket in tickets:
                try:
                    waiting.append((ticket, self._line.enter(ticket)))
                except (QueueFull, StorageUnavailable) as error:
                    ticket.fail(error)
            while waiting:
                ticket, leads = waiting[0]
                self._see_through(ticket, leads=leads)
                waiting.popleft()
        except BaseException:  # KeyboardInterrupt: this thread will be there for none of them
            for ticket, _ in waiting:
                self._line.leave(ticket)
            raise

    def _see_through(self, ticket: Ticket[Any], *, leads: bool) -> None:
        """Lead and wait until a ticket has its answer.

        Who does not lead waits to be woken even when the answer is there by now: whoever woke it
        relies on it to wake the next.
        """
        while True:
            if leads:
                self._lead(ticket)
                if ticket.done:
                    return
            leads = self._line.wait(ticket)
            if ticket.done and not leads:
                return

    def within(self, connection: Any) -> HostTransaction:
        """Who runs commands inside of a transaction of the host's, instead of in the queue."""
        return HostTransaction(self._storage, connection, self._clock, self._observer)

    def health(self) -> QueueHealth:
        """How long the queue is now."""
        return self._line.health()

    def close(self) -> None:
        """Take nothing new, and return when everything that waited has its answer."""
        self._line.close()

    def _lead(self, own: Ticket[Any]) -> None:
        batch: list[Ticket[Any]] = []
        try:
            self._line.take(own, batch)
            if batch:  # none, where another took the lead over
                deadline = time.monotonic() + self._run_seconds_max
                self._run(batch, deadline, patient=not batch[0].apart)
        finally:
            self._line.finish(own, batch)

    def _run(self, batch: Sequence[Ticket[Any]], deadline: float, *, patient: bool) -> None:
        error = self._try(batch, deadline, patient=patient)
        if error is None:
            return
        if len(batch) == 1 or time.monotonic() >= deadline:
            for ticket in batch:
                # Each caller's own: raising one error in many threads would mix up their traces.
                ticket.fail(error if len(batch) == 1 else copy(error))
            return
        middle = len(batch) // 2
        # It has been waited for those ahead: now they are only to be found.
        patient = patient and not isinstance(error, Overtaken)
        self._run(batch[:middle], deadline, patient=patient)
        self._run(batch[middle:], deadline, patient=patient)

    def _try(
        self, batch: Sequence[Ticket[Any]], deadline: float, *, patient: bool
    ) -> Exception | None:
        """Transact, again after a failure; the last failure when all attempts did."""
        conflicts = failures = 0
        while True:
            began = time.perf_counter()
            try:
                strays = self._transact(batch, patient=patient)
            except WriteConflict:
                conflicts += 1
                failure: Exception = Overtaken()
                self._count("credit_payments.queue.conflicts")
            except StorageUnavailable as error:
                failures += 1
                failure = error
                self._count("credit_payments.queue.failures")
            except Exception as error:  # noqa: BLE001 - it belongs to one of the callers
                return error
            else:
                if self._telemetry is not None:
                    self._tell(len(batch), time.perf_counter() - began)
                for ticket in strays:
                    self._run([ticket], deadline, patient=patient)
                return None
            is_over = conflicts >= CONFLICTS_MAX or failures >= self._attempts_max
            if is_over or time.monotonic() >= deadline:
                return failure
            self._pause(conflicts + failures)

    def _tell(self, commands: int, seconds: float) -> None:
        self._count("credit_payments.queue.batches")
        self._count("credit_payments.queue.commands", commands)
        if self._telemetry is not None:
            self._telemetry.took("credit_payments.queue.transaction", seconds)

    def _count(self, name: str, by: int = 1) -> None:
        if self._telemetry is not None:
            self._telemetry.count(name, by)

    def _pause(self, number: int) -> None:
        """Full jitter: two processes that collided once should not meet again."""
        pause_max = min(PAUSE_SECONDS_MAX, 0.01 * 2**number)
        self._sleep(random.uniform(0, pause_max))  # noqa: S311 - not a secret

    def _transact(self, batch: Sequence[Ticket[Any]], *, patient: bool) -> list[Ticket[Any]]:
        """Load, decide, write, commit, answer.

        Returns the strays of the batch, which run again on what is then committed.
        """
        now = instants.to_text(self._clock.now())
        with self._storage.transaction(patient=patient) as transaction:
            view = batches.load(transaction, [ticket.command for ticket in batch], now)
            outcome = batches.decide(batch, view, self._observer)
            if outcome.new or outcome.replaced:
                transaction.write([*outcome.new.values()], [*outcome.replaced.values()])
        for ticket, answer, rejection in outcome.answers:
            if rejection is None:
                ticket.succeed(answer)
            else:
                ticket.fail(rejection)
        if outcome.observed and self._observer is not None:
            self._observer.committed()
        return outcome.strays


_lines: weakref.WeakSet[Line] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for line in list(_lines):
        line.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
