"""Which rows PostgreSQL locks, in which order, and what becomes of those who wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec
import pytest
from tests.support.postgres import (
    ADA,
    BOB,
    WAIT_SECONDS_MAX,
    add_one,
    administrator,
    available,
    is_waiting,
    until,
)

from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.domain.decision import Range, Series
from credit_payments.domain.records import (
    Entry,
    Incident,
    Notification,
    Payment,
    Record,
    Wallet,
)
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.storage import WriteConflict
from credit_payments.testing.contracts.tools import a_row, put

DUE = Range(
    Series(Notification, "sold", (("status", "due"),), ("due_at", "notification_id")), limit=1
)


@pytest.fixture
def storage(postgres_database: str) -> Iterator[PostgresStorage]:
    with closing(PostgresStorage(postgres_database)) as storage:
        yield storage


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def test_a_writer_waits_for_the_row_and_then_sees_what_became_of_it(
    storage: PostgresStorage, postgres_database: str, threads: ThreadPoolExecutor
) -> None:
    put(storage, ADA)
    with storage.transaction() as transaction:
        transaction.load([(Wallet, "ada")])
        other = threads.submit(add_one, storage, "ada")
        until(lambda: is_waiting(postgres_database))
        transaction.write([], [msgspec.structs.replace(ADA, available=10)])
    other.result(WAIT_SECONDS_MAX)
    assert available(storage, "ada") == 11


def test_a_deadlock_ends_soon_and_all_succeed_in_the_end(
    storage: PostgresStorage, threads: ThreadPoolExecutor
) -> None:
    put(storage, ADA, BOB)
    both_hold_one = threading.Barrier(2)
    conflicts: list[str] = []

    def add_to_both(first: str, second: str) -> None:
        with storage.transaction() as transaction:
            rows = [transaction.load([(Wallet, first)])[Wallet, first]]
            if not conflicts:
                both_hold_one.wait(WAIT_SECONDS_MAX)
            # What a later pass of a batch names may be anything.
            rows.append(transaction.load([(Wallet, second)])[Wallet, second])
            more = [msgspec.structs.replace(row, available=row.available + 1) for row in rows]  # type: ignore[attr-defined]
            transaction.write([], more)

    def add_patiently(first: str, second: str) -> None:
        try:
            add_to_both(first, second)
        except WriteConflict:
            conflicts.append(first)
            add_to_both(first, second)  # the second time, both are locked at once

    started = time.monotonic()
    works = [threads.submit(add_patiently, *pair) for pair in (("ada", "bob"), ("bob", "ada"))]
    for work in works:
        work.result(WAIT_SECONDS_MAX)
    assert conflicts == ["bob"], "it is who goes back in the order that waits in vain"
    assert time.monotonic() - started < 1
    assert [available(storage, "ada"), available(storage, "bob")] == [3, 3]


def test_after_a_conflict_all_that_it_was_led_to_is_locked_at_once(
    storage: PostgresStorage, threads: ThreadPoolExecutor, postgres_database: str
) -> None:
    put(storage, ADA, BOB)

    tries = 0

    def load_both() -> None:
        nonlocal tries
        tries += 1
        with storage.transaction() as transaction:
            found = transaction.load([(Wallet, "bob")])
            assert list(found) == [(Wallet, "bob")], "what is locked ahead is not answered"
            transaction.load([(Wallet, "ada")])

    def load_both_twice() -> None:
        with pytest.raises(WriteConflict):
            load_both()
        load_both()

    with administrator(postgres_database) as host, host.transaction():
        host.execute("SELECT * FROM wallets WHERE user_id = 'ada' FOR UPDATE")
        loading = threads.submit(load_both_twice)
        until(lambda: tries == 2 and is_waiting(postgres_database))
        # It waits for the first one, and holds nothing meanwhile.
        host.execute("SELECT * FROM wallets WHERE user_id = 'bob' FOR UPDATE NOWAIT")
    loading.result(WAIT_SECONDS_MAX)


def test_of_two_who_find_a_guarded_row_missing_the_second_waits_and_then_sees_the_first(
    storage: PostgresStorage, postgres_database: str, threads: ThreadPoolExecutor
) -> None:
    incident = a_row(Incident, "early:pi_1")
    keys = [(Payment, "pi_1"), (Incident, incident.incident_id)]

    def create() -> bool:
        """Whether what was filed before was seen."""
        with storage.transaction() as transaction:
            found = transaction.load(keys)  # type: ignore[arg-type]
            transaction.write([a_row(Payment, "pi_1")], [])
            return (Incident, incident.incident_id) in found

    with storage.transaction() as transaction:
        assert transaction.load(keys) == {}  # type: ignore[arg-type]
        other = threads.submit(create)
        until(lambda: is_waiting(postgres_database))
        transaction.write([incident], [])
    assert other.result(WAIT_SECONDS_MAX)


def test_who_waited_for_a_guarded_row_that_was_missing_sees_it(
    storage: PostgresStorage, postgres_database: str, threads: ThreadPoolExecutor
) -> None:
    payment = a_row(Payment, "pi_1")

    def look() -> Record | None:
        with storage.transaction() as transaction:
            return transaction.load([(Payment, "pi_1")]).get((Payment, "pi_1"))

    with storage.transaction() as transaction:
        transaction.load([(Payment, "pi_1")])
        other = threads.submit(look)
        until(lambda: is_waiting(postgres_database))
        transaction.write([payment], [])
    assert other.result(WAIT_SECONDS_MAX) == payment


def test_two_workers_take_different_notifications(
    storage: PostgresStorage, postgres_database: str, threads: ThreadPoolExecutor
) -> None:
    put(storage, *(a_row(Notification, f"n{n}", type="sold", status="due") for n in (1, 2)))

    def take() -> str:
        with storage.transaction() as transaction:
            (row,) = transaction.first([DUE])[DUE]
            assert isinstance(row, Notification)
            if row.notification_id == "n1":
                until(lambda: is_waiting(postgres_database))
            transaction.write([], [msgspec.structs.replace(row, status="delivered")])
            return row.notification_id

    works = [threads.submit(take) for _ in range(2)]
    taken = [work.result(WAIT_SECONDS_MAX) for work in works]
    assert sorted(taken) == ["n1", "n2"]


def test_a_lock_behind_others_is_not_awaited_for_long(
    storage: PostgresStorage, postgres_database: str
) -> None:
    put(storage, ADA, BOB)
    with administrator(postgres_database) as host, host.transaction():
        host.execute("SELECT * FROM wallets WHERE user_id = 'ada' FOR UPDATE")
        started = time.monotonic()
        with pytest.raises(WriteConflict), storage.transaction() as transaction:  # noqa: PT012
            transaction.load([(Wallet, "bob")])
            transaction.load([(Wallet, "ada")])
        assert time.monotonic() - started < 2
    add_one(storage, "ada")


def test_rows_that_never_change_are_not_locked(
    storage: PostgresStorage, postgres_database: str
) -> None:
    entry = a_row(Entry, "grant:1", user_id="ada", sequence=1)
    put(storage, entry)
    with administrator(postgres_database) as host, host.transaction():
        host.execute("SELECT * FROM entries FOR UPDATE")
        with storage.transaction() as transaction:
            assert transaction.load([(Entry, "grant:1")]) == {(Entry, "grant:1"): entry}


def test_a_reader_waits_for_no_writer(storage: PostgresStorage) -> None:
    put(storage, ADA)
    with storage.transaction() as transaction:
        transaction.load([(Wallet, "ada")])
        assert storage.get(Wallet, "ada") == ADA
        assert list(storage.scan(Wallet, order=("user_id",))) == [ADA]


def test_a_reader_who_waits_for_a_whole_table_is_told_to_try_again(
    storage: PostgresStorage, postgres_database: str
) -> None:
    put(storage, ADA)
    with administrator(postgres_database) as host:
        name = host.info.dbname
        host.execute(f'ALTER DATABASE "{name}" SET lock_timeout = 200'.encode())
        with closing(PostgresStorage(postgres_database)) as impatient, host.transaction():
            host.execute("LOCK TABLE wallets")
            with pytest.raises(StorageUnavailable):
                impatient.get(Wallet, "ada")
            with pytest.raises(StorageUnavailable):
                list(impatient.scan(Wallet, order=("user_id",)))


def test_a_foreign_key_of_the_host_waits_for_no_writer(
    storage: PostgresStorage, postgres_database: str
) -> None:
    put(storage, ADA)
    with administrator(postgres_database) as host:
        host.execute("CREATE TABLE orders (user_id text REFERENCES wallets)")
        host.execute("SET lock_timeout = '1s'")
        with storage.transaction() as transaction:
            transaction.load([(Wallet, "ada")])
            host.execute("INSERT INTO orders VALUES ('ada')")


def test_a_writer_that_falls_asleep_loses_its_locks(
    storage: PostgresStorage, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, ADA)
    with pytest.raises(StorageUnavailable), storage.transaction() as transaction:  # noqa: PT012
        transaction.load([(Wallet, "ada")])
        with administrator(postgres_database) as host:
            # As the server does by itself after `idle_in_transaction_session_timeout`.
            host.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE state = 'idle in transaction' AND datname = current_database()"
            )
        add_one(storage, "ada")
        transaction.write([], [msgspec.structs.replace(ADA, available=100)])
    assert available(storage, "ada") == 2
