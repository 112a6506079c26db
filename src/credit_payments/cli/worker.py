"""A worker as a process: whose system it works on, what it says, and what ends it."""

from __future__ import annotations

import logging
import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import click

from credit_payments import logs
from credit_payments.cli.systems import chosen, told
from credit_payments.errors import StorageUnavailable
from credit_payments.system import System
from credit_payments.worker import Worker

_PAUSE_SECONDS_MIN, _PAUSE_SECONDS_MAX = 0.5, 15.0
"""Between two tries to open the system."""

_log = logs.logger("credit_payments.cli.worker")


def run(database: str | None, app: str | None, *, drain: bool) -> None:
    """Work until a signal ends it, or only do what is due; exits with 2 where that fails.

    A database that does not answer yet is waited for, unless it is only drained: whoever starts
    this again and again gives up at some time.
    """
    with told(), _stopped_by_signals() as stop, ExitStack() as stack:
        system = _open(stack, stop, database, app, patient=not drain)
        _log_to_stderr()  # unless the host has its own way, which it set up by now
        if system is None:
            return
        worker = system.worker()
        stop.ends(worker)
        if drain:
            _drain(worker)
            return
        _log.info("The worker has started.")
        worker.run()
    _log.info("The worker has ended; nothing is left in its hands.")


def _open(
    stack: ExitStack, stop: _Stop, database: str | None, app: str | None, *, patient: bool
) -> System | None:
    """The system, when its database answers; None where a signal comes before."""
    pause = _PAUSE_SECONDS_MIN
    while True:
        try:
            return stack.enter_context(chosen(database, app))
        except StorageUnavailable as error:
            if not patient:
                raise
            # Not by a log: the host has not set up its own yet.
            click.echo(f"The worker waits for its database: {error}", err=True)
        if stop.comes_within(pause * random.uniform(0.5, 1.0)):  # noqa: S311 - not a secret
            return None
        pause = min(2 * pause, _PAUSE_SECONDS_MAX)


def _drain(worker: Worker) -> None:
    work = worker.drain()
    click.echo(
        f"{work.events} events, {work.notifications} notifications, {work.postings} due postings"
    )


# -- signals and logs -------------------------------------------------------------------------


class _Stop:
    """What a signal asks for: an end of the wait for a database, and then of the worker."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._worker: Worker | None = None

    def ask(self) -> None:
        """End what is under way."""
        self._asked.set()
        if self._worker is not None:
            self._worker.stop()

    def ends(self, worker: Worker) -> None:
        """Have it end this worker, from now on and if it was asked already."""
        self._worker = worker
        if self._asked.is_set():
            worker.stop()

    def comes_within(self, seconds: float) -> bool:
        """Wait so long for it."""
        return self._asked.wait(seconds)


@contextmanager
def _stopped_by_signals() -> Iterator[_Stop]:
    """The first SIGTERM or SIGINT lets what is in hand be finished; a second ends it at once."""
    before: dict[int, Any] = {}
    stop = _Stop()

    def ask(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        stop.ask()

    for one in (signal.SIGTERM, signal.SIGINT):
        before[one] = signal.signal(one, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ours = logging.getLogger("credit_payments")
    if ours.level == logging.NOTSET:
        ours.setLevel(logging.INFO)
