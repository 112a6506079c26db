"""Webhooks to this library, inline and queued: how many a second, and how soon each is a credit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import msgspec

from benchmarks import stripe_events
from benchmarks.consumers import SECONDS_MAX, Drained, Order, Work, now, ready
from benchmarks.measure import WrongResult, prepared
from benchmarks.writing import CALLERS, Command, Webhooks, open_system, run_all
from credit_payments.adapters.databases import Opening, open_storage
from credit_payments.bootstrap import connect
from credit_payments.system import System
from credit_payments.worker import Worker

_LOOK_SECONDS = 0.05
_HEAD_START_SECONDS = 0.1


class Turn(msgspec.Struct, frozen=True):
    """What was measured in one turn, each as a rate a second.

    Attributes:
        stored: webhooks, or jobs, that were acknowledged.
        drained: those that were done afterwards.
        stored_in_batches: of a peer that is handed a hundred jobs at once.
    """

    stored: float
    drained: float
    stored_in_batches: float | None = None

    @property
    def together(self) -> float:
        """The rate of both, one after the other."""
        return 1 / (1 / self.stored + 1 / self.drained)


class _Stored(Webhooks):
    outcome = "queued"


def inline(url: str, webhooks: int) -> float:
    """Apply so many as they arrive; how many a second."""
    return Webhooks(webhooks).run(open_storage(url, Opening()), CALLERS)


def queued(url: str, webhooks: int, workers: int) -> Turn:
    """Store so many, and drain them by so many processes."""
    case = _Stored(webhooks)
    with ready(workers, _drainer, url) as consumers, _opened(url, case) as system:
        stored = run_all(case.prepare(system), CALLERS)
        drained = consumers.drain(webhooks)
        _check(case, system)
    return Turn(stored, drained)


def seconds_inline(url: str, webhooks: int, per_second: float) -> list[float]:
    """How long each takes from its delivery to the commit of its credit, at that load."""
    case = Webhooks(webhooks)
    with _opened(url, case) as system:
        offered = _Offered(case, system, per_second)
        offered.run()
        _check(case, system)
    return [offered.answered[number] - due for number, due in offered.due.items()]


def seconds_queued(url: str, webhooks: int, workers: int, per_second: float) -> list[float]:
    """The same, by workers that wait for what is stored."""
    case = _Stored(webhooks)
    with ready(workers, _waiting_worker, url) as consumers, _opened(url, case) as system:
        offered = _Offered(case, system, per_second)
        consumers.begin()
        offered.run()
        _wait_until_nothing_waits(system)
        consumers.end()
        applied: dict[str, float] = {}
        for times in consumers.answers():
            applied |= times
        _check(case, system)
    if len(applied) != webhooks:
        raise WrongResult(f"{len(applied)} events were seen to be applied, of {webhooks}.")
    return [applied[stripe_events.stripe_id("evt", n)] - due for n, due in offered.due.items()]


@contextmanager
def _opened(url: str, case: Webhooks) -> Iterator[System]:
    mode = "queued" if isinstance(case, _Stored) else "inline"
    with open_system(open_storage(url, Opening()), mode) as system:
        yield system


def _check(case: Webhooks, system: System) -> None:
    inbox = system.health().inbox
    if inbox is None or inbox.waiting or inbox.dead:
        raise WrongResult(f"Events were left: {inbox}")
    case.check(system)


def _wait_until_nothing_waits(system: System) -> None:
    deadline = now() + SECONDS_MAX
    while (inbox := system.health().inbox) is None or inbox.waiting:
        if now() > deadline:
            raise WrongResult(f"Events are left: {inbox}")
        time.sleep(_LOOK_SECONDS)


class _Offered:
    """Webhooks that come at their own pace, however long the last ones take.

    Each is timed from the instant at which it was to be delivered: one that had to wait because
    every caller was busy has waited all the same.
    """

    def __init__(self, case: Webhooks, system: System, per_second: float) -> None:
        self._commands = case.prepare(system)
        self._per_second = per_second
        self.due: Mapping[int, float] = {}
        self.answered: dict[int, float] = {}

    def run(self) -> None:
        """Deliver all."""
        start = now() + _HEAD_START_SECONDS
        numbers = range(len(self._commands))
        self.due = {number: start + number / self._per_second for number in numbers}
        callers = [threading.Thread(target=self._call, args=(n,)) for n in range(CALLERS)]
        with prepared():
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join(SECONDS_MAX)
        if len(self.answered) != len(self._commands):
            raise WrongResult(f"{len(self.answered)} webhooks were answered.")

    def _call(self, first: int) -> None:
        for number in range(first, len(self._commands), CALLERS):
            deliver: Command = self._commands[number]
            time.sleep(max(0.0, self.due[number] - now()))
            deliver()
            self.answered[number] = now()


# -- in processes of their own ----------------------------------------------------------------


@contextmanager
def _drainer(url: str) -> Iterator[Work]:
    with connect(database=url) as system:
        worker = system.worker()
        worker.drain()  # nothing: it only opens what it needs
        yield partial(_drain, worker)


def _drain(worker: Worker, _order: Order) -> Drained:
    began = ended = now()
    done = 0
    while work := worker.drain():
        ended = now()
        done += work.events
    return Drained(began, ended, done)


@contextmanager
def _waiting_worker(url: str) -> Iterator[Work]:
    with connect(database=url) as system:
        worker = system.worker()
        worker.drain()
        yield partial(_run, worker)


def _run(worker: Worker, order: Order) -> dict[str, float]:
    """Work until told to end; when each event was applied."""
    times = _Times()
    logger = logging.getLogger("credit_payments.worker")
    logger.setLevel(logging.INFO)
    logger.addHandler(times)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    order.wait_for_end()
    worker.stop()
    thread.join(SECONDS_MAX)
    return times.applied


class _Times(logging.Handler):
    """A worker says of each event that it was applied, after the commit."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "outcome", None) == "applied":
            self.applied[record.__dict__["event_id"]] = now()
