"""A worker as a process: whose system it works on, what it says, and what ends it."""

from __future__ import annotations

import logging
import random
import signal
import sys
import time
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
    with told(), ExitStack() as stack:
        system = _open(stack, database, app, patient=not drain)
        _log_to_stderr()  # unless the host has its own way, which it set up by now
        worker = system.worker()
        with _stopping_at_signals(worker):
            if drain:
                _drain(worker)
                return
            _log.info("The worker has started.")
            worker.run()
    _log.info("The worker has ended; nothing is left in its hands.")


def _open(stack: ExitStack, database: str | None, app: str | None, *, patient: bool) -> System:
    pause = _PAUSE_SECONDS_MIN
    while True:
        try:
            return stack.enter_context(chosen(database, app))
        except StorageUnavailable as error:
            if not patient:
                raise
            _log_to_stderr()
            _log.warning("The worker waits for its database: %s", error)
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
        pause = min(2 * pause, _PAUSE_SECONDS_MAX)


def _drain(worker: Worker) -> None:
    work = worker.drain()
    click.echo(
        f"{work.events} events, {work.notifications} notifications, {work.postings} due postings"
    )


# -- signals and logs -------------------------------------------------------------------------


@contextmanager
def _stopping_at_signals(worker: Worker) -> Iterator[None]:
    """The first SIGTERM or SIGINT lets what is in hand be finished; a second ends it at once."""
    before: dict[int, Any] = {}

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        worker.stop()

    for one in (signal.SIGTERM, signal.SIGINT):
        before[one] = signal.signal(one, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ours = logging.getLogger("credit_payments")
    if ours.level == logging.NOTSET:
        ours.setLevel(logging.INFO)
