"""Fresh copies of a database, one for each turn."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.measure import WrongResult
from credit_payments.adapters.sqlite_connections import CHECKPOINT_PAGES

_copies = itertools.count()


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


def remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
