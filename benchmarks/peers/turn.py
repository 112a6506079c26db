"""What a turn of either side is made of: a fresh database, a warm-up, and callers."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.measure import WrongResult, prepared
from benchmarks.writing import CALLERS, remove_database, run_all
from credit_payments.adapters.sqlite_connections import CHECKPOINT_PAGES

WALLET = "user-0000"
WARM_UP = CALLERS
"""Operations before the timed ones in every turn: they open connections, start the threads of an
application, and fill the other's cache of compiled statements, which each engine begins anew."""

Operation: TypeAlias = Callable[[int], None]
"""The n-th grant or spend; raises `WrongResult` when it is answered wrongly."""
Task: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""One operation in an event loop."""
Turn: TypeAlias = Callable[[int, int], float]
"""So many operations by so many callers on a fresh database; how many a second."""

_copies = itertools.count()


def key(number: int) -> str:
    """By which the n-th operation is known."""
    return f"job-{number:08d}"


def by_threads(operation: Operation, operations: int, callers: int) -> float:
    """The rate at which threads get through all but the warm-up."""
    commands = [partial(operation, number) for number in range(WARM_UP + operations)]
    run_all(commands[:WARM_UP], callers)
    return run_all(commands[WARM_UP:], callers)


def by_tasks(tasks: Sequence[Task], callers: int) -> float:
    """The rate at which callers in one event loop get through all but the warm-up."""

    async def call(own: Sequence[Task]) -> None:
        for task in own:
            await task()

    async def run(some: Sequence[Task]) -> float:
        start = time.perf_counter()
        await asyncio.gather(*(call(some[first::callers]) for first in range(callers)))
        return len(some) / (time.perf_counter() - start)

    async def main() -> float:
        await run(tasks[:WARM_UP])
        with prepared():
            return await run(tasks[WARM_UP:])

    return asyncio.run(main())


@contextmanager
def fresh_copy(template: Path) -> Iterator[Path]:
    """A copy of a database for one turn."""
    path = template.with_stem(f"{template.stem}-{next(_copies)}")
    shutil.copyfile(template, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())  # so that nobody's first commit pays for the copy
    try:
        # Open during the turn, since the last connection that closes takes the log with it.
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            _grow_log(connection)
            yield path
    finally:
        remove_database(path)


def _grow_log(connection: sqlite3.Connection) -> None:
    """Leave a write-ahead log as it is in a process that has run for a while: long, and empty.

    A commit that makes the file longer waits almost twice as long for the disk as one that writes
    over what a checkpoint has saved. Few operations would all be of the first kind, and how many
    there are would decide.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("CREATE TABLE padding (bytes)")
    connection.execute("INSERT INTO padding VALUES (zeroblob(?))", (CHECKPOINT_PAGES * 4_096,))
    connection.execute("DROP TABLE padding")
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    if busy:
        raise WrongResult("The write-ahead log could not be prepared.")
