"""The schema of an SQLite file, and the steps that lead to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from credit_payments.adapters.migration_files import migrations
from credit_payments.adapters.sqlite_connections import BUSY_SECONDS_MAX, check_safe_here
from credit_payments.adapters.sqlite_errors import translated_at_start
from credit_payments.domain.migrations import Applied, Migration
from credit_payments.domain.records import RECORDS

_STRICT_SINCE = (3, 37, 0)
_MIGRATIONS_TABLE = (
    "CREATE TABLE IF NOT EXISTS credit_payments_migrations (version INTEGER NOT NULL PRIMARY KEY, "
    "name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at TEXT NOT NULL)"
)


class SqliteSchema:
    """See the port `Schema`.

    Nothing of a file is changed by looking, not even how it is journaled.

    Args:
        path: of the file, which is created by the first step.
    """

    migrations = migrations("sqlite")
    elsewhere = "give the ledger a file of its own, such as sqlite:///credits.db"

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._opened: sqlite3.Connection | None = None

    def is_blank(self) -> bool:
        """Whether nothing at all is in the database yet."""
        with translated_at_start(self._path):
            if not self._path.exists():
                return True
            found = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return bool(found[0] == 0)

    def foreign(self) -> list[str]:
        """See the port; names are the same in upper and lower case."""
        ours = {kind.TABLE for kind in RECORDS}
        with translated_at_start(self._path):
            if not self._path.exists():
                return []
            names = self._connection.execute(
                "SELECT name FROM sqlite_master WHERE type <> 'trigger' ORDER BY name"
            )
            return [name for (name,) in names if name.lower() in ours]

    def applied(self) -> list[Applied]:
        """See the port."""
        known = "SELECT 1 FROM sqlite_master WHERE name = 'credit_payments_migrations'"
        with translated_at_start(self._path):
            if not self._path.exists():
                return []
            if not self._connection.execute(known).fetchone():
                return []
            rows = self._connection.execute(
                "SELECT version, name, checksum, applied_at FROM credit_payments_migrations "
                "ORDER BY version"
            )
            return [Applied(*row) for row in rows]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See the port: one transaction, so that all steps are taken or none."""
        with translated_at_start(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def apply(self, migration: Migration, at: str) -> None:
        """See the port."""
        with translated_at_start(self._path):
            self._connection.execute(_MIGRATIONS_TABLE)
            for statement in _statements(migration.text):
                self._connection.execute(statement)
            self._connection.execute(
                "INSERT INTO credit_payments_migrations VALUES (?, ?, ?, ?)",
                (migration.version, migration.name, migration.checksum, at),
            )

    def close(self) -> None:
        """See the port."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            check_safe_here(self._path)
            self._opened = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS_MAX, isolation_level=None
            )
        return self._opened


@contextmanager
def opened(path: str | Path) -> Iterator[SqliteSchema]:
    """The schema of a file, closed afterwards."""
    schema = SqliteSchema(path)
    try:
        yield schema
    finally:
        schema.close()


def _statements(text: str) -> Iterator[str]:
    """One by one, since `executescript` would commit what runs."""
    if sqlite3.sqlite_version_info < _STRICT_SINCE:
        text = text.replace(") STRICT;", ");")
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
