"""The frozen migrations of SQLite against the records, and against other pasts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import get_type_hints

import pytest

from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.adapters.sqlite_schema import SqliteSchema
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.records import RECORDS, Record
from credit_payments.errors import ConfigurationError, SchemaMismatch
from credit_payments.migrating import migrate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "credits.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def _migrate(path: Path) -> list[str]:
    with closing(SqliteSchema(path)) as schema:
        return [step.name for step in migrate(schema, SystemClock())]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
def test_the_migrations_end_at_the_columns_of_the_records(
    path: Path, connection: sqlite3.Connection, kind: type[Record]
) -> None:
    _migrate(path)
    hints = get_type_hints(kind)
    types = {
        str: ("TEXT", 1),
        int: ("INTEGER", 1),
        str | None: ("TEXT", 0),
        int | None: ("INTEGER", 0),
    }
    expected = [(name, *types[hints[name]]) for name in kind.__struct_fields__]
    found = connection.execute(f"PRAGMA table_info({kind.TABLE})").fetchall()
    assert [(name, type_, not_null) for _, name, type_, not_null, _, _ in found] == expected
    assert [row[1] for row in found if row[5]] == [kind.KEY]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
def test_the_migrations_end_at_the_indexes_of_the_records(
    path: Path, connection: sqlite3.Connection, kind: type[Record]
) -> None:
    _migrate(path)
    found = {
        (tuple(row[2] for row in connection.execute(f"PRAGMA index_info({name})")), unique, partial)
        for _, name, unique, origin, partial in connection.execute(
            f"PRAGMA index_list({kind.TABLE})"
        )
        if origin == "c"
    }
    assert found == {
        *((columns, 1, 0) for columns in kind.UNIQUE),
        *((columns, 0, 0) for columns in kind.INDEXES),
        *((columns, 0, 1) for _, columns in kind.SPARSE),
    }


def test_migrating_twice_does_nothing_the_second_time(path: Path) -> None:
    assert _migrate(path) == [step.name for step in SqliteSchema.migrations]
    assert _migrate(path) == []


def test_a_dry_run_says_what_is_left_and_leaves_no_file(path: Path) -> None:
    with closing(SqliteSchema(path)) as schema:
        left = migrate(schema, SystemClock(), dry_run=True)
    assert left == list(SqliteSchema.migrations)
    assert not path.exists()


def test_two_who_migrate_at_once_take_each_step_once(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        taken = [name for names in threads.map(_migrate, [path] * 8) for name in names]
    assert taken == [step.name for step in SqliteSchema.migrations]


def test_a_step_that_fails_leaves_nothing(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE users (name TEXT)")
    connection.execute("CREATE INDEX entries_by_user_id_sequence ON users (name)")
    with pytest.raises(ConfigurationError, match="entries_by_user_id_sequence already exists"):
        _migrate(path)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert tables == [("users",)]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_table_of_the_hosts_with_one_of_our_names_is_refused_before_the_first_step(
    path: Path, connection: sqlite3.Connection, *, dry_run: bool
) -> None:
    connection.execute("CREATE TABLE Payments (mine TEXT)")
    connection.execute("CREATE VIEW events AS SELECT mine FROM Payments")
    connection.execute("CREATE TABLE users (name TEXT)")
    before = path.read_bytes()
    refused = pytest.raises(ConfigurationError, match=r"Payments, events; .* a file of its own")
    with closing(SqliteSchema(path)) as schema, refused as caught:
        migrate(schema, SystemClock(), dry_run=dry_run)
    assert caught.value.param == "database"
    assert path.read_bytes() == before


def test_a_database_of_the_host_becomes_ours_only_when_told(
    path: Path, connection: sqlite3.Connection
) -> None:
    connection.execute("CREATE TABLE users (name TEXT)")
    with pytest.raises(SchemaMismatch, match=r"no schema yet.*credit-payments migrate"):
        SqliteStorage(path)
    _migrate(path)
    SqliteStorage(path).close()
    assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("INSERT INTO credit_payments_migrations VALUES (99, 'later', 'x', '2030')", "newer"),
        (
            "UPDATE credit_payments_migrations SET checksum = 'x' WHERE version = 1",
            "another migration 1",
        ),
        (
            "DELETE FROM credit_payments_migrations WHERE version > 1",
            "credit-payments migrate",
        ),
    ],
)
def test_a_database_with_another_schema_is_refused(
    path: Path, connection: sqlite3.Connection, change: str, message: str
) -> None:
    _migrate(path)
    connection.execute(change)
    before = connection.execute("SELECT * FROM credit_payments_migrations").fetchall()
    with pytest.raises(SchemaMismatch, match=message):
        SqliteStorage(path)
    assert connection.execute("SELECT * FROM credit_payments_migrations").fetchall() == before
