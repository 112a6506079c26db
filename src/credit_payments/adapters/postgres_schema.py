"""The schema of a PostgreSQL database, and the steps that lead to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.rows import tuple_row

from credit_payments.adapters.migration_files import migrations
from credit_payments.adapters.postgres_connections import connect, split_url
from credit_payments.adapters.postgres_errors import of_error
from credit_payments.adapters.postgres_joined import Identity, identity_statements
from credit_payments.domain.migrations import COMMAND, Applied, Migration
from credit_payments.domain.records import RECORDS
from credit_payments.errors import ConfigurationError, StorageUnavailable

LOCK_SECONDS_MAX = 60
"""Of a migration that waits for what others do with a table, or for another migration."""

_LOCK_KEY = 0x6372_6564_6974_7300  # "credits", so that it is not anybody's 1
_MIGRATIONS_TABLE = (
    "CREATE TABLE IF NOT EXISTS credit_payments_migrations (version bigint NOT NULL PRIMARY KEY, "
    'name text COLLATE "C" NOT NULL, checksum text COLLATE "C" NOT NULL, '
    'applied_at text COLLATE "C" NOT NULL)'
)
# Wherever on the path it is: a schema that was put before it later must not hide it. And not by
# `to_regclass`, which may answer from what this session has remembered since before it waited for
# another one that made the table.
_FIND_SCHEMA = (
    "SELECT nspname FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace "
    "WHERE relname = 'credit_payments_migrations' AND nspname = ANY(current_schemas(false)) "
    "ORDER BY array_position(current_schemas(false), nspname) LIMIT 1"
)
_FIND_NAMES = (
    "SELECT relname FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace "
    "WHERE nspname = current_schema() AND relname = ANY(%s) ORDER BY relname"
)
# Temporary tables come last, or one of our names would stand before ours.
_PIN = "SELECT set_config('search_path', quote_ident(%s) || ', pg_temp', false)"
_TIMEOUTS = (
    "SELECT set_config('lock_timeout', '10s', false), set_config('statement_timeout', '10s', false)"
)
_SAFE = ("fsync", "full_page_writes")
_TAKEN = (errors.DuplicateTable, errors.DuplicateObject, errors.UndefinedColumn)
_ELSEWHERE = (
    "give the ledger a schema of its own (CREATE SCHEMA credits) and name it in the database's "
    "URL: postgresql://…?options=-csearch_path%3Dcredits"
)


class PostgresSchema:
    """See the port `Schema`.

    The tables are those of the first schema in the connection's `search_path`.

    Args:
        url: of the database, as libpq reads it.

    Raises:
        ConfigurationError: the server refuses the connection, or the database keeps no UTF-8.
        StorageUnavailable: no server answers.
    """

    migrations: Sequence[Migration] = migrations("postgres")
    elsewhere = _ELSEWHERE

    def __init__(self, url: str) -> None:
        conninfo, _ = split_url(url)
        self._connection = connect(conninfo)
        # Whatever the role's defaults: under a stricter level the steps that another session has
        # taken meanwhile would not be seen.
        self._connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        self._connection.read_only = False
        try:
            with _translated():
                self._rows(_TIMEOUTS)
                self._check_database()
        except BaseException:
            self.close()
            raise

    def foreign(self) -> list[str]:
        """See the port; in the schema where the first step would make our tables."""
        with _translated():
            found = self._rows(_FIND_NAMES, [kind.TABLE for kind in RECORDS])
            return [name for (name,) in found]

    def applied(self) -> list[Applied]:
        """See the port."""
        with _translated():
            found = self._rows(_FIND_SCHEMA)
            if not found:
                return []
            self._rows(_PIN, found[0][0])
            try:
                rows = self._rows(
                    "SELECT version, name, checksum, applied_at FROM credit_payments_migrations "
                    "ORDER BY version"
                )
            except errors.InsufficientPrivilege:
                raise ConfigurationError(
                    "The database's user may not read which schema it has: "
                    "GRANT SELECT ON credit_payments_migrations, and on the tables what "
                    "`credit-payments doctor` then names.",
                    param="database",
                ) from None
            return [Applied(*row) for row in rows]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See the port."""
        with _translated(), self._connection.transaction():
            self._rows(f"SELECT set_config('lock_timeout', '{LOCK_SECONDS_MAX}s', true)")
            self._rows("SELECT set_config('statement_timeout', '0', true)")
            self._rows("SELECT pg_advisory_xact_lock(%s)", _LOCK_KEY)
            yield

    def apply(self, migration: Migration, at: str) -> None:
        """See the port."""
        with _translated():
            self._connection.execute(_MIGRATIONS_TABLE)
            self._connection.execute(migration.text.encode())
            self._connection.execute(
                "INSERT INTO credit_payments_migrations (version, name, checksum, applied_at) "
                "VALUES (%s, %s, %s, %s)",
                (migration.version, migration.name, migration.checksum, at),
            )

    def path(self) -> str:
        """The search path on which our tables, and no others, are found."""
        with _translated():
            return str(self._one("SELECT current_setting('search_path')"))

    def identity(self) -> Identity:
        """By what a connection of the host's is known to be to this database."""
        with _translated():
            table, created = (self._rows(statement)[0] for statement in identity_statements())
        return Identity(*table, *created)

    def unsafe_settings(self) -> list[str]:
        """Settings of the server under which a commit does not survive power loss."""
        with _translated():
            return [name for name in _SAFE if self._one(f"SHOW {name}") == "off"]

    def close(self) -> None:
        """See the port."""
        self._connection.close()

    def _check_database(self) -> None:
        encoding = self._one("SHOW server_encoding")
        if encoding != "UTF8":
            raise ConfigurationError(
                f"The database keeps text as {encoding}: create one with ENCODING 'UTF8'.",
                param="database",
            )
        if self._one("SELECT current_schema()") is None:
            raise ConfigurationError(
                "The connection's search_path names no schema that exists and may be used.",
                param="database",
            )

    def _one(self, statement: str, *values: object) -> Any:
        return self._rows(statement, *values)[0][0]

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor(row_factory=tuple_row)
        return cursor.execute(statement.encode(), values or None).fetchall()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"The database's user may not change the schema: run `{COMMAND} --database …` with "
            "the URL of one that may.",
            param="database",
        ) from error
    except _TAKEN as error:
        raise ConfigurationError(
            f"The database has something else of that name: {error.diag.message_primary}; "
            f"{_ELSEWHERE}.",
            param="database",
        ) from error
    except errors.LockNotAvailable:
        raise StorageUnavailable("Somebody else migrates the database, or locks it.") from None
    except psycopg.Error as error:
        raise of_error(error) from None
