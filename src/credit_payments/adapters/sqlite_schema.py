"""The schema of an SQLite file, and the steps that lead to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from credit_payments.adapters.migration_files import migrations
from credit_payments.adapters.sqlite_connections import connect
from credit_payments.domain.migrations import Applied, Migration
from credit_payments.errors import ConfigurationError, StorageUnavailable

_STRICT_SINCE = (3, 37, 0)
_MIGRATIONS_TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER NOT NULL PRIMARY KEY, "
    "name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at TEXT NOT NULL)"
)


class SqliteSchema:
    """See the port `Schema`.

    Args:
        database: the path of a file, which is created by what is first done; or a connection to
            it, which then stays with whoever opened it.
    """

    migrations = migrations("sqlite")

    def __init__(self, database: str | Path | sqlite3.Connection) -> None:
        self._path = None if isinstance(database, sqlite3.Connection) else Path(database)
        self._opened = database if isinstance(database, sqlite3.Connection) else None

    def is_blank(self) -> bool:
        """Whether nothing at all is in the database yet."""
        found = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return bool(found[0] == 0)

    def applied(self) -> list[Applied]:
        """See the port."""
        known = "SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'"
        with _translated():
            if self._path and not self._path.exists():  # looking should not create it
                return []
            if not self._connection.execute(known).fetchone():
                return []
            rows = self._connection.execute(
                "SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version"
            )
            return [Applied(*row) for row in rows]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See the port: one transaction, so that all steps are taken or none."""
        with _translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def apply(self, migration: Migration, at: str) -> None:
        """See the port."""
        with _translated():
            self._connection.execute(_MIGRATIONS_TABLE)
            for statement in _statements(migration.text):
                self._connection.execute(statement)
            self._connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)",
                (migration.version, migration.name, migration.checksum, at),
            )

    def close(self) -> None:
        """See the port."""
        if self._path and self._opened:
            self._opened.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = connect(self._path or "")
        return self._opened


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


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StorageUnavailable(f"The SQLite database is busy: {error}") from error
        raise _unusable(error) from error
    except sqlite3.Error as error:
        raise _unusable(error) from error


def _unusable(error: sqlite3.Error) -> ConfigurationError:
    return ConfigurationError(f"The SQLite database cannot be used: {error}", param="database")
