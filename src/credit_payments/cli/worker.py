"""A worker as a process: whose system it works on, what it says, and what ends it."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from credit_payments.bootstrap import System
from credit_payments.cli.systems import opened, told
from credit_payments.worker import Worker

_log = logging.getLogger("credit_payments.cli.worker")


def run(database: str | None, app: str | None, *, drain: bool) -> None:
    """Work until a signal ends it, or only do what is due; exits with 2 where that fails."""
    with opened(database) if app is None else _hosts(app) as system:
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


# -- the host's system ------------------------------------------------------------------------


@contextmanager
def _hosts(app: str) -> Iterator[System]:
    with told():
        found = _find(app)
        system = found() if callable(found) else found
        if not isinstance(system, System):
            raise click.BadParameter(
                f"{app} is neither a credit_payments System nor a function that returns one",
                param_hint="--app",
            )
        with system:
            yield system


def _find(app: str) -> object:
    """What `module:attribute` names; modules are looked for in the working directory, too."""
    module, _, path = app.partition(":")
    if not module or not path:
        raise click.BadParameter("give it as module:attribute", param_hint="--app")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: object = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the host's own code wants
        raise click.BadParameter(f"there is no module {module}", param_hint="--app") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise click.BadParameter(f"{module} has no {path}", param_hint="--app") from error
    return found


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
