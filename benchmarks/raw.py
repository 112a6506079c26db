"""The same rows, written by hand: sqlite3, one thread, one transaction a command.

Which rows a command writes is not guessed. They are recorded while the library runs the commands
once, and replayed here as ready-made statements: no decision, no reading, no hashing is left in
the timed part. So this is a bound that a program with the same promises cannot reach, since it
has to look before it writes.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from benchmarks.measure import WrongResult, prepared
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.adapters.sqlite_connections import CHECKPOINT_PAGES
from credit_payments.domain.decision import Range
from credit_payments.domain.records import RECORDS, Key, Record, key_of
from credit_payments.ports.storage import Loaded, Transaction

Statement: TypeAlias = tuple[str, tuple[Any, ...]]
Script: TypeAlias = list[list[Statement]]
"""The statements of each transaction."""


class RecordingStorage(SqliteStorage):
    """Keeps, as statements, what each transaction writes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.script: Script = []

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        with super().transaction(patient=patient) as inner:
            recording = _Recording(inner)
            yield recording
        self.script.append(recording.statements)


class _Recording:
    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.statements: list[Statement] = []
        self._loaded: dict[Key, Record] = {}

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        found = self._inner.load(keys)
        self._loaded.update(found)
        return found

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        found = self._inner.first(ranges)
        self._loaded.update((key_of(row), row) for rows in found.values() for row in rows)
        return found

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        return Loaded(self.load(keys), self.first(ranges))

    def write(self, inserts: Sequence[Record], updates: Sequence[Record]) -> None:
        self._inner.write(inserts, updates)
        self.statements += map(_insert, inserts)
        self.statements += (_update(row, self._loaded[key_of(row)]) for row in updates)


def _insert(record: Record) -> Statement:
    row = msgspec.structs.astuple(record)
    return f"INSERT INTO {record.TABLE} VALUES ({', '.join('?' * len(row))})", row


def _update(record: Record, before: Record) -> Statement:
    """Only the columns that change, as by hand nobody would write more."""
    names = [n for n in record.MUTABLE if getattr(record, n) != getattr(before, n)]
    changes = ", ".join(f"{name} = ?" for name in names)
    values = (getattr(record, name) for name in (*names, record.KEY))
    return f"UPDATE {record.TABLE} SET {changes} WHERE {record.KEY} = ?", tuple(values)


def replay(path: Path, script: Script) -> float:
    """Run the transactions one by one; how many of them a second."""
    with prepared(), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        execute = connection.execute
        start = time.perf_counter()
        for statements in script:
            execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                execute(statement, values)
            execute("COMMIT")
        return len(script) / (time.perf_counter() - start)


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
