"""Taking part in a transaction of a connection that the host hands in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from credit_payments.adapters.sqlite_errors import translated
from credit_payments.domain.migrations import Applied
from credit_payments.domain.records import RECORDS
from credit_payments.errors import InvalidRequest

_DURABLE = 2  # https://www.sqlite.org/pragma.html#pragma_synchronous
_TABLES = ", ".join(f"'{kind.TABLE}'" for kind in RECORDS)
_SHADOWS = f"SELECT count(*) FROM sqlite_temp_master WHERE name IN ({_TABLES})"  # noqa: S608


class PlainRows:
    """A connection whose rows may be anything, as one whose rows are tuples."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """As the connection's own."""
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor.execute(statement, values)

    def one(self, statement: str) -> Any:
        """The one value of the one row."""
        return self.execute(statement).fetchone()[0]


@contextmanager
def within_host(connection: Any, path: str, steps: Sequence[Applied]) -> Iterator[PlainRows]:
    """A savepoint in the host's transaction; of a new one, if it has none.

    Args:
        connection: the host's.
        path: of our file.
        steps: the migrations that it has taken, with their instants: no two files have the same.

    Raises:
        InvalidRequest: what was handed in cannot be used.
    """
    if not isinstance(connection, sqlite3.Connection):
        raise InvalidRequest("connection must be one of sqlite3", param="connection")
    rows = PlainRows(connection)
    with translated():
        begins = not connection.in_transaction
        _check(connection, rows, path, steps)
        if begins:
            rows.execute("BEGIN IMMEDIATE")
        changes = connection.total_changes
        try:
            with _savepoint(rows):
                yield rows
        finally:
            # Who was refused, or has only read, does not expect to hold the write lock.
            if begins and connection.total_changes == changes and connection.in_transaction:
                rows.execute("ROLLBACK")


@contextmanager
def _savepoint(rows: PlainRows) -> Iterator[None]:
    rows.execute("SAVEPOINT credit_payments")
    try:
        yield
    except BaseException:
        rows.execute("ROLLBACK TO credit_payments")
        raise
    finally:
        rows.execute("RELEASE credit_payments")


def _check(
    connection: sqlite3.Connection, rows: PlainRows, path: str, steps: Sequence[Applied]
) -> None:
    """Whatever would part what is answered from what is kept."""
    try:
        files = rows.execute("PRAGMA database_list").fetchall()
    except sqlite3.Error as error:
        raise InvalidRequest(f"connection: {error}", param="connection") from error
    file = next((file for _, name, file in files if name == "main"), "")
    if not file or Path(file).resolve() != Path(path).resolve() or _steps(rows) != list(steps):
        raise InvalidRequest("connection is to another database", param="connection")
    for is_wrong, what in (
        (
            not connection.in_transaction and not _begins_by_itself(connection),
            "begin a transaction first, or leave that to the connection",
        ),
        (connection.text_factory is not str, "it must read text as str"),
        (rows.one("PRAGMA synchronous") < _DURABLE, "it must commit with PRAGMA synchronous=FULL"),
        (
            rows.one(_SHADOWS),
            "it has temporary tables of our names",
        ),
    ):
        if is_wrong:
            raise InvalidRequest(f"connection: {what}", param="connection")


def _begins_by_itself(connection: sqlite3.Connection) -> bool:
    """Whether its `commit` will end what we begin; in autocommit modes it would not."""
    # Python 3.12 has a second way to say it: https://docs.python.org/3/library/sqlite3.html
    return (
        connection.isolation_level is not None and getattr(connection, "autocommit", 0) is not True
    )


def _steps(rows: PlainRows) -> list[Applied]:
    """What the host's connection reads there; with a converter for numbers it reads no numbers."""
    try:
        found = rows.execute(
            "SELECT version, name, checksum, applied_at FROM main.credit_payments_migrations "
            "ORDER BY version"
        )
        return [Applied(*row) for row in found if type(row[0]) is int and type(row[1]) is str]
    except sqlite3.Error:
        return []
