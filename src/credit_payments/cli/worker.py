"""A worker as a process: whose system it works on, what it says, and what ends it."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from credit_payments import logs
from credit_payments.cli.systems import hosts, opened, told
from credit_payments.worker import Worker

_log = logs.logger("credit_payments.cli.worker")


def run(database: str | None, app: str | None, *, drain: bool) -> None:
    """Work until a signal ends it, or only do what is due; exits with 2 where that fails."""
    with told(), hosts(app) if app is not None else opened(database) as system:
        _log_to_stderr()  # unless the host has its own way, which it set up by now
        worker = system.worker()
        with _stopping_at_signals(worker):
            if drain:
                _drain(worker)
                return
            _log.info("The worker has started.")
            worker.run()
    _log.info("The worker has ended; nothing is left in its hands.")


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
