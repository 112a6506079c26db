"""Tasks of huey in an SQLite file of its own, with the payloads of our webhooks and nothing to do.

`SqliteHuey` as its documentation has it, with `fsync=True`, since an acknowledged webhook must not
be lost: write-ahead log, `synchronous=FULL`. Each worker is a process that runs the loop of its own
consumer, which takes one task and executes it; nothing is kept of a task that returns nothing. One
thread enqueues: several share a lock, and are slower.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from benchmarks.consumers import Drained, Order, Work, now, ready
from benchmarks.copies import fresh_copy, remove_database
from benchmarks.delivering import Turn
from benchmarks.measure import WrongResult
from benchmarks.writing import run_all

PACKAGE = "huey"


def installed() -> bool:
    """Whether it can be measured here."""
    return any(metadata.distributions(name=PACKAGE))


def name() -> str:
    """As rows call it."""
    return f"{PACKAGE} {metadata.version(PACKAGE)}"


def turn(bodies: Sequence[bytes], workers: int, folder: Path) -> Turn:
    """Enqueue all one by one, and drain them, in an empty file."""
    template = folder / "peers-huey.db"
    _open(template)[0].storage.close()
    try:
        with fresh_copy(template) as path, ready(workers, _consumer, path) as consumers:
            huey, task = _open(path)
            stored = run_all([partial(_enqueue, task, body) for body in bodies], 1)
            drained = consumers.drain(len(bodies))
            if left := len(huey):
                raise WrongResult(f"{left} tasks of {PACKAGE} were left.")
            huey.storage.close()
    finally:
        remove_database(template)
    return Turn(stored, drained)


def _open(path: Path) -> tuple[Any, Any]:
    """An instance, and the task that does nothing."""
    huey = import_module("huey").SqliteHuey(filename=str(path), fsync=True)
    return huey, huey.task()(_nothing)


def _nothing(body: bytes) -> None:
    pass


def _enqueue(task: Any, body: bytes) -> None:
    task(body)


# -- in processes of their own ----------------------------------------------------------------


@contextmanager
def _consumer(path: Path) -> Iterator[Work]:
    logging.getLogger("huey").setLevel(logging.CRITICAL)  # that the file was busy is no failure
    huey, _ = _open(path)
    huey.storage.queue_size()  # opens the file
    yield partial(_drain, huey)
    huey.storage.close()


def _drain(huey: Any, _order: Order) -> Drained:
    flag = _Idle()
    worker = import_module("huey.consumer").Worker(huey, flag, 0.1, 10.0, 1.15)
    began = ended = now()
    while not flag.is_idle or huey.storage.queue_size():
        flag.is_idle = False
        done = worker.task_count
        worker.loop()
        if worker.task_count > done:
            ended = now()
    return Drained(began, ended, worker.task_count)


class _Idle(threading.Event):
    """The flag on which a worker sleeps that has found nothing: instead it says so."""

    is_idle = False

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - part of the interface
        self.is_idle = True
        return False
