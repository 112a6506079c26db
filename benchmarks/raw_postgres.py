"""The same rows, written by hand on PostgreSQL: psycopg, one thread, no decision and no reading.

See `recording` for where they come from. They are replayed in two ways: one transaction a command,
as most programs would; and a hundred commands in a transaction, with `executemany`, which psycopg
sends through a pipeline.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.measure import WrongResult, prepared
from benchmarks.recording import Change, Script, Values, by_statement, in_batches, recorded
from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.domain.records import RECORDS, Record, key_of
from credit_payments.ports.storage import Transaction

BATCH = 100
"""How many commands share one transaction, where they do."""


class RecordingStorage(PostgresStorage):
    """Keeps what each transaction writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.script: Script = []

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        with recorded(super().transaction(patient=patient), self.script) as transaction:
            yield transaction


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
    ready = [by_statement(changes, _statement) for changes in in_batches(script, BATCH)]
    with prepared(), _connected(url) as connection:
        cursor = connection.cursor()
        start = time.perf_counter()
        for batch in ready:
            cursor.execute("BEGIN")
            for statement, rows in batch.items():
                cursor.executemany(statement, rows)
            cursor.execute("COMMIT")
        return len(script) / (time.perf_counter() - start)


def _statement(change: Change) -> tuple[str, Values]:
    (kind, key), columns = key_of(change.row), change.columns
    if change.before is None:
        places = ", ".join(_place(kind, name) for name in columns)
        statement = f"INSERT INTO {kind.TABLE} ({', '.join(columns)}) VALUES ({places})"
        return statement, tuple(columns.values())
    changes = ", ".join(f"{name} = {_place(kind, name)}" for name in columns)
    return f"UPDATE {kind.TABLE} SET {changes} WHERE {kind.KEY} = %s", (*columns.values(), key)


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
