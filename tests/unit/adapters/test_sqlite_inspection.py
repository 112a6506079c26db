"""What is observed of an SQLite file: well, and with each thing amiss."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from credit_payments.adapters import sqlite_connections
from credit_payments.adapters.sql_indexes import create_index
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.adapters.sqlite_inspection import inspected
from credit_payments.domain.traits import Index, indexes
from credit_payments.errors import StorageUnavailable

DROPPABLE = [index for index in indexes() if len(index.columns) > 1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "credits.db"
    SqliteStorage(path).close()
    return path


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def missing(path: Path) -> list[tuple[Index, str]]:
    with closing(SqliteStorage(path)) as storage:
        return [(one.index, one.remedy) for one in storage.inspect().missing_indexes]


def test_an_index_that_was_dropped_is_missed_and_its_remedy_brings_it_back(path: Path) -> None:
    for index in DROPPABLE:
        run(path, f"DROP INDEX {index.name}")
        ((found, remedy),) = missing(path)
        assert found == index
        run(path, remedy)
    assert missing(path) == []


@pytest.mark.parametrize(
    "instead",
    [
        "CREATE INDEX other ON entries (user_id, sequence)",  # not unique
        "CREATE UNIQUE INDEX other ON entries (sequence, user_id)",
        "CREATE UNIQUE INDEX other ON entries (user_id, sequence) WHERE kind = 'grant'",
        "CREATE UNIQUE INDEX other ON entries (user_id, sequence, hash)",
    ],
)
def test_an_index_that_does_not_do_the_same_does_not_count(path: Path, instead: str) -> None:
    run(path, "DROP INDEX entries_by_user_id_sequence", instead)
    ((found, _),) = missing(path)
    assert found == Index("entries", ("user_id", "sequence"), unique=True)


def test_an_index_by_another_name_counts(path: Path) -> None:
    run(path, "DROP INDEX entries_by_user_id_sequence")
    run(path, "CREATE UNIQUE INDEX other ON entries (user_id, sequence)")
    assert missing(path) == []


def test_a_table_that_was_dropped_is_missed(path: Path) -> None:
    run(path, "DROP TABLE quarantine", "DROP TABLE events")
    with closing(SqliteStorage(path)) as storage:
        assert storage.inspect().missing_tables == ("events", "quarantine")


def test_settings_that_are_not_durable_do_not_fit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(path: str, **options: float) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_connections, "connect", careless)
        with closing(SqliteStorage(path)) as storage:
            settings = storage.inspect().settings
    assert [(one.name, one.value, one.wanted, one.fits) for one in settings] == [
        ("journal_mode", "delete", "wal", False),
        ("synchronous", "NORMAL", "FULL", False),
    ]


def test_a_file_that_can_only_be_read_is_not_writable(path: Path) -> None:
    uri = f"{path.as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        assert not inspected(connection).is_writable


def test_whoever_holds_the_write_lock_for_too_long_is_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connections, "BUSY_SECONDS_MAX", 0.05)
    with (
        closing(SqliteStorage(path)) as storage,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable):
            storage.inspect()
        other.execute("ROLLBACK")
        assert storage.inspect().is_writable


def test_after_closing_it_is_unavailable(path: Path) -> None:
    storage = SqliteStorage(path)
    storage.close()
    with pytest.raises(StorageUnavailable):
        storage.inspect()


def test_the_statements_are_those_of_the_migrations() -> None:
    folder = Path(sqlite_connections.__file__).parent / "migrations" / "sqlite"
    text = "".join(file.read_text() for file in folder.glob("*.sql"))
    for index in DROPPABLE:
        assert create_index(index) in text
