"""The same rows, written by hand on SQLite: sqlite3, one thread.

See `recording` for where they come from. Either as most programs would, one transaction a command
and one statement a row; or sixty-four commands a transaction, with `executemany`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.measure import WrongResult, prepared
from benchmarks.recording import Change, Script, Values, by_statement, in_batches, recorded
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.adapters.sqlite_connections import CHECKPOINT_PAGES
from credit_payments.domain.records import RECORDS, key_of
from credit_payments.ports.storage import Transaction

BATCH = 64
"""How many commands share one transaction, where they do: as many as there are callers."""


class RecordingStorage(SqliteStorage):
    """Keeps what each transaction writes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.script: Script = []

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        with recorded(super().transaction(patient=patient), self.script) as transaction:
            yield transaction


def replay(path: Path, script: Script) -> float:
    """Run the transactions one by one; how many of them a second."""
    ready = [[_statement(change) for change in changes] for changes in script]
    with prepared(), _connected(path) as connection:
        execute = connection.execute
        start = time.perf_counter()
        for statements in ready:
            execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                execute(statement, values)
            execute("COMMIT")
        return len(script) / (time.perf_counter() - start)


def replay_batched(path: Path, script: Script) -> float:
    """Run sixty-four of them as one; how many of the former a second."""
    ready = [by_statement(changes, _statement) for changes in in_batches(script, BATCH)]
    with prepared(), _connected(path) as connection:
        start = time.perf_counter()
        for batch in ready:
            connection.execute("BEGIN IMMEDIATE")
            for statement, rows in batch.items():
                connection.executemany(statement, rows)
            connection.execute("COMMIT")
        return len(script) / (time.perf_counter() - start)


def _statement(change: Change) -> tuple[str, Values]:
    (kind, key), columns = key_of(change.row), change.columns
    if change.before is None:
        places = ", ".join("?" * len(columns))
        return f"INSERT INTO {kind.TABLE} VALUES ({places})", tuple(columns.values())
    changes = ", ".join(f"{name} = ?" for name in columns)
    statement = f"UPDATE {kind.TABLE} SET {changes} WHERE {kind.KEY} = ?"
    return statement, (*columns.values(), key)


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        yield connection


def check_same_rows(path: Path, reference: Path) -> None:
    """Compare two databases, table by table.

    Raises:
        WrongResult: they differ.
    """
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(reference)) as other:
        for kind in RECORDS:
            query = f"SELECT * FROM {kind.TABLE} ORDER BY {kind.KEY}"
            if one.execute(query).fetchall() != other.execute(query).fetchall():
                raise WrongResult(f"The table {kind.TABLE} differs from what the library wrote.")
