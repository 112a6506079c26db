"""Connections that break, answers that are lost, servers that restart, processes that fork."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import msgspec
import pytest
from tests.support.postgres import (
    ADA,
    WAIT_SECONDS_MAX,
    add_one,
    administrator,
    available,
    port_of,
    system,
    terminate_all,
    through_port,
    until,
)
from tests.support.proxy import Proxy
from tests.support.servers.postgres import PostgresServer

import credit_payments as cp
from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.domain.records import Event, Wallet
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.storage import WriteConflict
from credit_payments.testing.contracts.tools import a_row, put, until_written


@pytest.fixture
def storage(postgres_database: str) -> Iterator[PostgresStorage]:
    with closing(PostgresStorage(postgres_database)) as storage:
        yield storage


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(port_of(postgres_url)) as proxy:
        yield proxy


def test_sessions_that_were_ended_while_idle_are_not_noticed(
    storage: PostgresStorage, postgres_database: str
) -> None:
    put(storage, ADA)
    assert storage.get(Wallet, "ada") == ADA
    for _ in range(3):
        assert terminate_all(postgres_database) > 0
        assert storage.get(Wallet, "ada") == ADA
        add_one(storage, "ada")
        put(storage, a_row(Event, os.urandom(4).hex()))
        storage_row = storage.get(Wallet, "ada")
        assert storage_row is not None
        with storage.transaction() as transaction:
            transaction.load([(Wallet, "ada")])
            transaction.write([], [ADA])


def test_a_session_that_is_ended_in_a_transaction_leaves_nothing(
    storage: PostgresStorage, postgres_database: str
) -> None:
    put(storage, ADA)
    with pytest.raises(StorageUnavailable), storage.transaction() as transaction:  # noqa: PT012
        transaction.load([(Wallet, "ada")])
        terminate_all(postgres_database)
        transaction.write([a_row(Event, "evt_1")], [msgspec.structs.replace(ADA, available=9)])
    assert storage.get(Wallet, "ada") == ADA
    assert storage.get(Event, "evt_1") is None


def test_a_snapshot_and_a_scan_whose_session_is_ended_say_so(
    storage: PostgresStorage, postgres_database: str
) -> None:
    put(storage, *(a_row(Wallet, f"user{number:05}") for number in range(2_500)))
    with pytest.raises(StorageUnavailable), storage.snapshot() as reader:  # noqa: PT012
        scan = reader.scan(Wallet, order=("user_id",))
        next(scan)
        terminate_all(postgres_database)
        list(scan)
    assert len(list(storage.scan(Wallet, order=("user_id",)))) == 2_500


def test_a_lost_answer_to_a_commit_is_unavailable_and_the_rows_are_there(
    storage: PostgresStorage, postgres_database: str, proxy: Proxy
) -> None:
    with closing(PostgresStorage(through_port(postgres_database, proxy.port))) as distant:
        put(distant, ADA)
        with pytest.raises(StorageUnavailable), distant.transaction() as transaction:  # noqa: PT012
            transaction.load([(Wallet, "ada")])
            transaction.write([], [msgspec.structs.replace(ADA, available=9)])
            proxy.swallow_next_answer()
        assert available(distant, "ada") == 9


def test_commands_whose_answers_are_lost_take_effect_once(
    storage: PostgresStorage, postgres_database: str, proxy: Proxy
) -> None:
    """The queue runs them again under their keys."""
    randomly = random.Random(7)
    with system(PostgresStorage(through_port(postgres_database, proxy.port))) as distant:
        for number in range(60):
            if randomly.random() < 0.4:
                proxy.swallow_next_answer()
            entry = distant.wallets.grant("ada", 1, key=f"key{number}", reason="test")
            assert entry.credits == 1
        assert distant.wallets.balance("ada").available == 60
        report = distant.verify()
        assert report.ok
        assert report.entries == 60


def test_many_threads_through_a_line_that_breaks_post_each_key_once(
    storage: PostgresStorage, postgres_database: str, proxy: Proxy
) -> None:
    broken = threading.Event()

    def break_it() -> None:
        while not broken.wait(0.05):
            proxy.cut()

    def grant(key: str) -> None:
        for _ in range(50):
            with suppress(cp.StorageUnavailable):
                distant.wallets.grant("ada", 1, key=key, reason="test")
                return
        raise TimeoutError(key)

    with (
        system(PostgresStorage(through_port(postgres_database, proxy.port))) as distant,
        ThreadPoolExecutor(8) as threads,
    ):
        breaking = threading.Thread(target=break_it)
        breaking.start()
        try:
            list(threads.map(grant, (f"key{number % 200}" for number in range(400))))
        finally:
            broken.set()
            breaking.join()
    with system(PostgresStorage(postgres_database)) as near:
        assert near.wallets.balance("ada").available == 200
        assert near.verify().ok


def test_a_server_that_restarts_is_used_again_and_has_lost_nothing() -> None:
    with (
        PostgresServer() as server,
        server.database() as url,
        system(PostgresStorage(url)) as running,
    ):
        running.wallets.grant("ada", 5, key="one", reason="test")
        server.process.kill()
        with pytest.raises(StorageUnavailable):
            running.wallets.balance("ada")
        server.process.start()
        until(lambda: _answers(lambda: running.wallets.balance("ada")))
        running.wallets.grant("ada", 5, key="two", reason="test")
        assert running.wallets.balance("ada").available == 10


def _answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except StorageUnavailable:
        return False
    return True


def test_a_server_that_falls_silent_is_not_awaited_for_ever(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.postgres_connections.ANSWER_SECONDS_MAX", 0.1)
    with closing(PostgresStorage(postgres_database)) as storage:
        put(storage, ADA)
        with administrator(postgres_database) as host, host.transaction():
            host.execute("LOCK TABLE wallets")
            started = time.monotonic()
            with pytest.raises(StorageUnavailable, match="in time"):
                add_one(storage, "ada")
            assert time.monotonic() - started < 4
        until(lambda: _answers(lambda: add_one(storage, "ada")))


def test_neither_is_one_that_falls_silent_in_the_middle_of_a_report(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "credit_payments.adapters.postgres_connections.SCAN_ANSWER_SECONDS_MAX", 0.1
    )
    with closing(PostgresStorage(postgres_database)) as storage:
        put(storage, ADA)
        with administrator(postgres_database) as host, host.transaction():
            host.execute("LOCK TABLE wallets")
            with (
                pytest.raises(StorageUnavailable, match="in time"),
                storage.snapshot() as reader,
            ):
                list(reader.scan(Wallet, order=("user_id",)))


def test_an_error_that_a_block_hides_is_not_committed(storage: PostgresStorage) -> None:
    put(storage, a_row(Event, "evt_1"))
    with pytest.raises(StorageUnavailable), storage.transaction() as transaction:  # noqa: PT012
        transaction.write([a_row(Event, "evt_2"), a_row(Event, "evt_1")], [])
        with pytest.raises(WriteConflict):
            transaction.load([(Wallet, "ada")])
    assert storage.get(Event, "evt_2") is None


def test_a_transaction_and_a_snapshot_that_have_ended_refuse_to_go_on(
    storage: PostgresStorage,
) -> None:
    put(storage, ADA)
    with storage.transaction() as transaction:
        pass
    with storage.snapshot() as reader:
        scan = reader.scan(Wallet, order=("user_id",))
    for late in (
        lambda: transaction.load([(Wallet, "ada")]),
        lambda: transaction.write([ADA], []),
        lambda: reader.get(Wallet, "ada"),
        lambda: next(scan),
    ):
        with pytest.raises(StorageUnavailable, match="ended"):
            late()


def test_all_connections_in_use_is_unavailable_and_not_for_ever(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.postgres_connections.WAIT_SECONDS_MAX", 0.1)
    scans = [storage.scan(Wallet, order=("user_id",)) for _ in range(8)]
    put(storage, ADA)
    for scan in scans:
        next(scan)
    with pytest.raises(StorageUnavailable, match="in use"):
        storage.get(Wallet, "ada")
    scans.clear()
    del scan
    assert storage.get(Wallet, "ada") == ADA


def test_old_connections_are_replaced(
    storage: PostgresStorage, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def session() -> str:
        put(storage, a_row(Event, os.urandom(4).hex()))
        with administrator(postgres_database) as host:
            query = (
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'credit-payments' "
                "AND datname = current_database() ORDER BY backend_start DESC"
            )
            return str(host.execute(query).fetchone())

    monkeypatch.setattr("credit_payments.adapters.postgres_connections.LIFETIME_SECONDS", 0)
    before = session()
    assert session() != before
    monkeypatch.undo()
    before = session()
    assert session() == before


def test_connections_that_were_opened_at_once_are_not_replaced_at_once(
    storage: PostgresStorage,
) -> None:
    with ExitStack() as taken:
        ends = {taken.enter_context(storage._connections.reader()).expires_at for _ in range(4)}
        assert max(ends) - min(ends) > 1


# Forks


def in_child(work: Callable[[], None]) -> int:
    """Run it in a forked process; the status that it ended with."""
    child = os.fork()
    if child == 0:
        signal.alarm(int(WAIT_SECONDS_MAX))
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@forks
def test_parent_and_child_both_go_on(storage: PostgresStorage) -> None:
    put(storage, ADA)

    def work() -> None:
        for _ in range(20):
            add_one(storage, "ada")
            assert storage.get(Wallet, "ada") is not None
        storage.close()

    for _ in range(2):
        assert in_child(work) == 0
        add_one(storage, "ada")
    assert available(storage, "ada") == 43


@forks
def test_a_fork_in_the_middle_of_a_transaction_leaves_it_to_the_parent(
    storage: PostgresStorage,
) -> None:
    put(storage, ADA)
    transactions = storage.transaction()
    transaction = transactions.__enter__()
    transaction.load([(Wallet, "ada")])

    def work() -> None:
        with pytest.raises(StorageUnavailable):
            transaction.load([(Wallet, "ada")])
        with pytest.raises(StorageUnavailable):
            transactions.__exit__(None, None, None)
        put(storage, a_row(Event, "evt_child"))

    assert in_child(work) == 0
    transaction.write([], [msgspec.structs.replace(ADA, available=5)])
    transactions.__exit__(None, None, None)
    assert available(storage, "ada") == 5
    assert storage.get(Event, "evt_child") is not None


@forks
def test_a_fork_while_other_threads_read_and_write_harms_nobody(
    storage: PostgresStorage,
) -> None:
    put(storage, ADA)
    ended = threading.Event()

    def go_on() -> int:
        times = 0
        while not ended.is_set():
            until_written(lambda: add_one(storage, "ada"))
            assert storage.get(Wallet, "ada") is not None
            times += 1
        return times

    with ThreadPoolExecutor(2) as threads:
        working = [threads.submit(go_on) for _ in range(2)]
        try:
            for _ in range(10):
                assert in_child(lambda: until_written(lambda: add_one(storage, "ada"))) == 0
        finally:
            ended.set()
        times = sum(work.result(WAIT_SECONDS_MAX) for work in working)
    assert available(storage, "ada") == 1 + times + 10
