"""What the contract cannot ask: files, other people's databases, and what SQLite is told."""

from __future__ import annotations

import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from credit_payments.adapters import sqlite_connections
from credit_payments.adapters import sqlite_statements as statements
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.domain.records import NEVER, RECORDS, FailedPayment, Wallet
from credit_payments.errors import ConfigurationError, StorageUnavailable
from credit_payments.ports.storage import Storage

ADA = Wallet("ada", available=1, updated_at="now")


def put(storage: Storage, *rows: Wallet) -> None:
    with storage.transaction() as transaction:
        transaction.write(rows, [])


def _connection(storage: SqliteStorage) -> sqlite3.Connection:
    with storage._connections.writer() as connection:
        return connection


def test_what_was_written_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "credits.db"
    for number in range(3):
        storage = SqliteStorage(path)
        assert len(list(storage.scan(Wallet, order=("user_id",)))) == number
        put(storage, Wallet(f"user{number}", available=1))
        storage.close()
    assert {file.name for file in tmp_path.iterdir()} == {"credits.db"}


def test_every_commit_is_synced(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    connection = _connection(storage)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    storage.close()


def test_columns_are_strict_and_have_the_documented_names(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    connection = _connection(storage)
    for kind in RECORDS:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({kind.TABLE})")]
        assert columns == list(kind.__struct_fields__)
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value"):
        connection.execute(
            "INSERT INTO wallets VALUES ('a', 'text', 0, 0, 0, 0, 0, '', 'never', 'now')"
        )
    storage.close()


def test_listings_are_answered_from_an_index(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    connection = _connection(storage)
    for kind in RECORDS:
        for index in (*kind.INDEXES, *kind.UNIQUE):
            statement = statements.select_page(
                kind, index[:1], index[1:], behind=True, descending=True
            )
            values = ("", *("" for _ in index[1:]), 1)
            plan = " ".join(
                row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            )
            assert "USING INDEX" in plan
            assert "TEMP B-TREE" not in plan
    storage.close()


def test_what_ends_is_listed_and_counted_by_the_index_of_what_ends(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    connection = _connection(storage)
    for kind in RECORDS:
        for ending, index in kind.SPARSE:
            where = index[: index.index(ending)]
            order = index[len(where) :]
            for descending in (False, True):
                select = statements.select_page(
                    kind, where, order, behind=True, descending=descending, ending=ending
                )
                values = ("",) * len(index)
                rows = connection.execute(f"EXPLAIN QUERY PLAN {select}", (*values, 1))
                plan = " ".join(row[3] for row in rows)
                # Entered at the position, not at the end of what ends.
                assert f"{')<(?' if descending else ')>(?'}" in plan
                assert "TEMP B-TREE" not in plan
            count = statements.count(kind, where, ending)
            rows = connection.execute(f"EXPLAIN QUERY PLAN {count}", (*("" for _ in where), 1))
            assert "USING COVERING INDEX" in " ".join(row[3] for row in rows)
    storage.close()


def test_the_first_rows_of_a_series_are_found_by_an_index(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    connection = _connection(storage)
    for kind in (kind for kind in RECORDS if kind.GROUP):
        indexes = [(None, index) for index in kind.INDEXES if index[0] == kind.GROUP]
        for ending, index in (*indexes, *kind.SPARSE):
            # What ends is listed by when: nobody asks for those that end at one instant.
            last = index.index(ending) if ending else len(index) - 1
            for cut in range(1, last + 1):
                equals, order = index[1:cut], index[cut:]
                select = statements.select_first(kind, equals, order, ending)
                values = (*(0 for _ in equals), 8, "[]")
                rows = connection.execute(f"EXPLAIN QUERY PLAN {select}", values)
                plan = " ".join(row[3] for row in rows)
                assert f"SEARCH {kind.TABLE} USING INDEX" in plan
                assert "TEMP B-TREE" not in plan
    storage.close()


def test_what_never_ends_is_in_no_index_of_what_ends(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    rows = _connection(storage).execute("SELECT sql FROM sqlite_master WHERE type = 'index'")
    partial = [sql for (sql,) in rows if sql and " WHERE " in sql]
    assert len(partial) == sum(len(kind.SPARSE) for kind in RECORDS)
    endings = {f" WHERE {column} < '{NEVER}'" for kind in RECORDS for column, _ in kind.SPARSE}
    assert {sql[sql.index(" WHERE ") :] for sql in partial} == endings
    storage.close()


def test_loading_searches_by_key(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    for kind in RECORDS:
        explain = f"EXPLAIN QUERY PLAN {statements.select_many(kind)}"
        plan = " ".join(row[3] for row in _connection(storage).execute(explain, ("[]",)))
        assert f"SEARCH {kind.TABLE} USING INDEX" in plan
    storage.close()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be one" * 50])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "credits.db"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        SqliteStorage(path)
    assert caught.value.param == "database"
    assert str(path) in caught.value.message
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "credits.db"
    with pytest.raises(ConfigurationError) as caught:
        SqliteStorage(path)
    assert str(path) in caught.value.message


def test_a_column_that_does_not_exist_never_reaches_a_statement(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    for where, order in (({"1=1; --": "x"}, ("user_id",)), ({}, ("user_id; --",))):
        with pytest.raises(ValueError, match="no column"):
            storage.page(Wallet, where, order=order, limit=1)
    storage.close()


def test_a_foreign_writer_that_holds_the_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "credits.db"
    storage = SqliteStorage(path)
    foreign = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    foreign.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, lambda: foreign.execute("ROLLBACK"))
    release.start()
    put(storage, ADA)
    release.join()
    foreign.close()
    assert storage.get(Wallet, "ada") == ADA
    storage.close()


def test_a_writer_looks_often_while_another_has_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credits.db"
    storage = SqliteStorage(path)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            foreign.execute("COMMIT")

    monkeypatch.setattr("credit_payments.adapters.sqlite_connections.time.sleep", pause)
    put(storage, ADA)
    monkeypatch.undo()
    assert len(pauses) == 20
    assert max(pauses) <= 0.001
    foreign.close()
    storage.close()


def test_a_foreign_writer_that_never_ends_makes_it_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.sqlite_connections.BUSY_SECONDS_MAX", 0.1)
    path = tmp_path / "credits.db"
    storage = SqliteStorage(path)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable):
        put(storage, ADA)
    assert storage.get(Wallet, "ada") is None  # readers are not held up
    foreign.execute("ROLLBACK")
    foreign.close()
    put(storage, ADA)
    storage.close()


def test_a_database_that_cannot_be_opened_any_more_is_unavailable(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    storage = SqliteStorage(folder / "credits.db")
    storage.close()
    (folder / "credits.db").unlink()
    folder.rmdir()
    with pytest.raises(StorageUnavailable):
        storage.get(Wallet, "ada")
    with pytest.raises(StorageUnavailable):
        put(storage, ADA)
    storage.close()


def test_no_message_holds_a_value(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    put(storage, Wallet("secret person", available=1))
    with pytest.raises(Exception, match="wallets") as caught:
        put(storage, Wallet("secret person", available=1))
    assert "secret" not in str(caught.value)
    storage.close()


def test_a_nul_character_in_free_text_comes_back(tmp_path: Path) -> None:
    row = FailedPayment("pi_1:ch_1", "ada", "pi_1", "failed", "cut\x00here", None, "now")
    storage = SqliteStorage(tmp_path / "credits.db")
    with storage.transaction() as transaction:
        transaction.write([row], [])
    assert storage.get(FailedPayment, row.failure_id) == row
    with storage.transaction() as transaction:
        loaded = transaction.load([(FailedPayment, row.failure_id)])
    assert loaded == {(FailedPayment, row.failure_id): row}
    storage.close()


def test_many_readers_at_once_leave_no_more_than_a_few_connections(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "credits.db")
    put(storage, ADA)
    start = threading.Barrier(32)

    def read(_: int) -> Wallet | None:
        with storage.snapshot() as reader:
            start.wait(10)
            return reader.get(Wallet, "ada")

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(read, range(32), timeout=20)) == [ADA] * 32
    assert len(storage._connections._idle_readers) <= 8
    storage.close()


def test_a_signal_while_the_lock_is_waited_for_leaves_no_transaction_open(tmp_path: Path) -> None:
    path = tmp_path / "credits.db"
    storage = SqliteStorage(path)
    foreign = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    foreign.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.3, lambda: foreign.execute("COMMIT"))
    end.start()

    def ring(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(InterruptedError):
            put(storage, ADA)
    finally:
        signal.signal(signal.SIGALRM, before)
    end.join()
    foreign.execute("BEGIN IMMEDIATE")  # nobody holds the lock
    foreign.execute("ROLLBACK")
    foreign.close()
    put(storage, ADA)
    storage.close()


def test_who_opens_a_file_while_another_recovers_its_log_waits_for_that() -> None:
    tries: list[str] = []

    class Recovered:
        def execute(self, statement: str) -> None:
            tries.append(statement)
            if len(tries) < 3:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = 261  # SQLITE_BUSY_RECOVERY
                raise error

    connection: Any = Recovered()
    sqlite_connections._use_wal(connection)
    assert tries == ["PRAGMA journal_mode=WAL"] * 3
