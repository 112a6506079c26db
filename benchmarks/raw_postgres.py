"""The same rows, written by hand on PostgreSQL: psycopg, one thread, no decision and no reading.

As in `raw`, the rows are recorded while the library runs the commands once. They are replayed in
two ways: one transaction a command, as most programs would; and a hundred commands in a
transaction, with `executemany`, which psycopg sends through a pipeline.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, TypeAlias

import msgspec
import psycopg
from psycopg import sql

from benchmarks.measure import WrongResult, prepared
from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.domain.decision import Range
from credit_payments.domain.records import RECORDS, Key, Record, key_of
from credit_payments.ports.storage import Loaded, Transaction

BATCH = 100
"""How many commands share one transaction, where they do."""


class Change(NamedTuple):
    """A row that is new, or the columns of one that change."""

    kind: type[Record]
    key: str
    is_new: bool
    values: dict[str, Any]


Script: TypeAlias = list[list[Change]]
"""What each transaction writes."""


class RecordingStorage(PostgresStorage):
    """Keeps what each transaction writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.script: Script = []

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        with super().transaction(patient=patient) as inner:
            recording = _Recording(inner)
            yield recording
        self.script.append(recording.changes)


class _Recording:
    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.changes: list[Change] = []
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
        for row in inserts:
            kind, key = key_of(row)
            self.changes.append(Change(kind, key, is_new=True, values=msgspec.structs.asdict(row)))
        for row in updates:
            kind, key = key_of(row)
            before = self._loaded[kind, key]
            # Only the columns that change, as by hand nobody would write more.
            values = {
                name: getattr(row, name)
                for name in kind.MUTABLE
                if getattr(row, name) != getattr(before, name)
            }
            self.changes.append(Change(kind, key, is_new=False, values=values))


def replay(url: str, script: Script) -> float:
    """Run the transactions one by one; how many of them a second."""
    ready = [[_statement(change) for change in changes] for changes in script]
    with prepared(), _connected(url) as connection:
        execute = connection.cursor().execute
        start = time.perf_counter()
        for statements in ready:
            execute("BEGIN")
            for statement, values in statements:
                execute(statement, values, prepare=True)
            execute("COMMIT")
        return len(script) / (time.perf_counter() - start)


def replay_batched(url: str, script: Script) -> float:
    """Run a hundred commands in each transaction; how many commands a second."""
    batches = [_batch(script[start : start + BATCH]) for start in range(0, len(script), BATCH)]
    with prepared(), _connected(url) as connection:
        cursor = connection.cursor()
        start = time.perf_counter()
        for batch in batches:
            cursor.execute("BEGIN")
            for statement, rows in batch.items():
                cursor.executemany(statement, rows)
            cursor.execute("COMMIT")
        return len(script) / (time.perf_counter() - start)


def _batch(script: Script) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of each statement; a row that changes several times is written once."""
    last: dict[Key, Change] = {}
    for changes in script:
        for change in changes:
            before = last.get((change.kind, change.key))
            values = {**before.values, **change.values} if before else change.values
            is_new = before.is_new if before else change.is_new
            last[change.kind, change.key] = change._replace(values=values, is_new=is_new)
    batch: dict[str, list[tuple[Any, ...]]] = {}
    for change in last.values():
        statement, values_of_row = _statement(change)
        batch.setdefault(statement, []).append(values_of_row)
    return batch


def _statement(change: Change) -> tuple[str, tuple[Any, ...]]:
    kind, key, is_new, values = change
    names = list(values)
    if is_new:
        places = ", ".join(_place(kind, name) for name in names)
        statement = f"INSERT INTO {kind.TABLE} ({', '.join(names)}) VALUES ({places})"
        return statement, tuple(values.values())
    changes = ", ".join(f"{name} = {_place(kind, name)}" for name in names)
    return f"UPDATE {kind.TABLE} SET {changes} WHERE {kind.KEY} = %s", (*values.values(), key)


def _place(kind: type[Record], name: str) -> str:
    return "%s::numeric" if name in kind.DECIMALS else "%s"


def check_same_rows(url: str, reference: str) -> None:
    """Compare two databases, table by table.

    Raises:
        WrongResult: they differ.
    """
    with _connected(url) as one, _connected(reference) as other:
        for kind in RECORDS:
            query = f"SELECT * FROM {kind.TABLE} ORDER BY {kind.KEY}"
            if one.execute(query).fetchall() != other.execute(query).fetchall():
                raise WrongResult(f"The table {kind.TABLE} differs from what the library wrote.")


@contextmanager
def fresh_database(admin_url: str, template: str | None = None) -> Iterator[str]:
    """The URL of a database of its own: empty, or a copy of that one, which nobody may use."""
    name = f"benchmark_{secrets.token_hex(6)}"
    copied = _name(template) if template else "template0"
    with _connected(admin_url) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8'").format(
                sql.Identifier(name), sql.Identifier(copied)
            )
        )
        connection.execute("CHECKPOINT")  # or the first commits would pay for the copy
    try:
        yield _with_name(admin_url, name)
    finally:
        with _connected(admin_url) as connection:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(name)))


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def _with_name(url: str, name: str) -> str:
    front, question_mark, query = url.partition("?")
    return f"{front.rpartition('/')[0]}/{name}{question_mark}{query}"


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


class Postgres:
    """A server whose databases are copied, as `servers` wants it."""

    name = "PostgreSQL"
    tool = "psycopg"
    open = staticmethod(PostgresStorage)
    record = staticmethod(RecordingStorage)
    replay = staticmethod(replay)
    replay_batched = staticmethod(replay_batched)
    check_same = staticmethod(check_same_rows)

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url

    def copy(self, template: str | None = None) -> AbstractContextManager[str]:
        """The URL of a database of its own."""
        return fresh_database(self._admin_url, template)
