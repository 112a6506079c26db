"""Taking part in a transaction of the host's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row
from tests.support.postgres import ADA, BOB, add_one, administrator, available

from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.domain.decision import Range
from credit_payments.domain.records import Notification, Payment, Record, Wallet
from credit_payments.errors import CreditPaymentsError, InvalidRequest
from credit_payments.ports.storage import Joined, WriteConflict
from credit_payments.testing.contracts.tools import a_lot, a_row, put, spending

Host = psycopg.Connection[Any]


@pytest.fixture
def storage(postgres_database: str) -> Iterator[PostgresStorage]:
    with closing(PostgresStorage(postgres_database)) as storage:
        yield storage


@pytest.fixture
def host(storage: PostgresStorage, postgres_database: str) -> Iterator[Host]:
    with administrator(postgres_database) as owner:
        owner.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    # Nothing of the host's own taste must matter.
    with psycopg.connect(
        postgres_database, row_factory=dict_row, cursor_factory=psycopg.ClientCursor
    ) as host:
        yield host


def orders(url: str) -> int:
    with administrator(url) as owner:
        return len(owner.execute("SELECT * FROM orders").fetchall())


def spend(joined: Joined, amount: int = 1) -> None:
    row = joined.load([(Wallet, "ada")])[Wallet, "ada"]
    assert isinstance(row, Wallet)
    joined.write([], [msgspec.structs.replace(row, available=row.available - amount)])


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_both_commit_together(
    storage: PostgresStorage, host: Host, postgres_database: str, begun: bool, in_pipeline: bool
) -> None:
    put(storage, ADA)

    def work() -> None:
        if begun:
            host.execute("INSERT INTO orders VALUES (1)")
        with storage.joined(host) as joined:
            spend(joined)
            joined.write([a_row(Notification, "n1")], [])
        host.execute("INSERT INTO orders VALUES (2)")

    if in_pipeline:
        with host.pipeline():
            work()
    else:
        work()
    assert available(storage, "ada") == 1, "nothing is committed for the host"
    host.commit()
    assert available(storage, "ada") == 0
    assert orders(postgres_database) == 1 + begun


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_both_are_rolled_back_together(
    storage: PostgresStorage, host: Host, postgres_database: str, in_pipeline: bool
) -> None:
    put(storage, ADA)
    host.execute("INSERT INTO orders VALUES (1)")
    if in_pipeline:
        with host.pipeline(), storage.joined(host) as joined:
            spend(joined)
    else:
        with storage.joined(host) as joined:
            spend(joined)
    host.rollback()
    assert available(storage, "ada") == 1
    assert orders(postgres_database) == 0


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_when_the_block_raises_only_its_own_rows_are_undone(
    storage: PostgresStorage, host: Host, postgres_database: str, in_pipeline: bool
) -> None:
    put(storage, ADA)

    def work() -> None:
        host.execute("INSERT INTO orders VALUES (1)")
        with pytest.raises(ZeroDivisionError), storage.joined(host) as joined:  # noqa: PT012
            spend(joined)
            raise ZeroDivisionError
        with pytest.raises(WriteConflict), storage.joined(host) as joined:
            joined.write([ADA], [])
        with storage.joined(host) as joined:
            joined.write([BOB], [])

    if in_pipeline:
        with host.pipeline():
            work()
    else:
        work()
    host.commit()
    assert available(storage, "ada") == 1
    assert available(storage, "bob") == 1
    assert orders(postgres_database) == 1


def test_a_transaction_that_the_host_began_in_autocommit_mode_is_joined(
    storage: PostgresStorage, postgres_database: str
) -> None:
    put(storage, ADA)
    with administrator(postgres_database) as host, host.transaction():
        with storage.joined(host) as joined:
            spend(joined)
        assert available(storage, "ada") == 1
    assert available(storage, "ada") == 0


def test_what_the_host_wrote_is_read(storage: PostgresStorage, host: Host) -> None:
    lots = [a_lot(number) for number in range(3)]
    with storage.joined(host) as joined:
        joined.write([ADA, *lots], [])
    with storage.joined(host) as joined:
        assert joined.get(Wallet, "ada") == ADA
        assert joined.page(Wallet, {}, order=("user_id",), limit=9) == [ADA]
        assert list(joined.scan(Wallet, order=("user_id",))) == [ADA]
        assert list(joined.scan(Wallet, order=("user_id",))) == [ADA]
        asked = Range(spending("ada"), 2)
        assert joined.first([asked]) == {asked: lots[:2]}
        joined.load([(Wallet, "ada")])
        assert joined.first([asked]) == {asked: lots[:2]}
    assert storage.get(Wallet, "ada") is None


@pytest.mark.parametrize(
    "level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE]
)
def test_in_a_stricter_transaction_a_row_that_has_changed_is_a_conflict(
    storage: PostgresStorage, host: Host, level: psycopg.IsolationLevel
) -> None:
    put(storage, ADA)
    host.isolation_level = level
    host.execute("SELECT * FROM orders")
    add_one(storage, "ada")
    with pytest.raises(WriteConflict), storage.joined(host) as joined:
        spend(joined)
    host.rollback()
    with storage.joined(host) as joined:
        spend(joined)
    host.commit()
    assert available(storage, "ada") == 1


def test_in_a_stricter_transaction_absence_cannot_be_relied_on(
    storage: PostgresStorage, host: Host
) -> None:
    host.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with pytest.raises(InvalidRequest, match="read committed"), storage.joined(host) as joined:
        joined.load([(Payment, "pi_1")])


def test_the_hosts_commit_is_durable(storage: PostgresStorage, host: Host) -> None:
    host.execute("SET synchronous_commit = off")
    host.commit()
    with storage.joined(host) as joined:
        joined.write([ADA], [])
    assert host.execute("SHOW synchronous_commit").fetchone() == {"synchronous_commit": "on"}
    host.commit()
    assert host.execute("SHOW synchronous_commit").fetchone() == {"synchronous_commit": "off"}


def test_a_row_that_is_refused_leaves_the_transaction_usable(
    storage: PostgresStorage, host: Host
) -> None:
    with pytest.raises(CreditPaymentsError) as told, storage.joined(host) as joined:
        joined.write([msgspec.structs.replace(ADA, head="\0")], [])
    assert told.value.error_code == "row_refused"
    with storage.joined(host) as joined:
        joined.write([ADA], [])
    host.commit()
    assert storage.get(Wallet, "ada") == ADA


def test_what_cannot_be_joined_is_refused(
    storage: PostgresStorage, host: Host, postgres_database: str
) -> None:
    def refused(connection: object, message: str) -> None:
        with pytest.raises(InvalidRequest, match=message), storage.joined(connection):
            raise AssertionError("joined")

    refused("connection", "psycopg")
    with administrator(postgres_database) as automatic:
        refused(automatic, "autocommit")
        with automatic.pipeline():
            refused(automatic, "autocommit")
    refused(automatic, "closed")
    with pytest.raises(psycopg.Error):
        host.execute("SELECT nothing")
    refused(host, "failed")
    host.rollback()
    host.execute("SET LOCAL search_path = pg_catalog")
    refused(host, "another database")


def test_another_ledger_is_refused_and_its_transaction_goes_on(
    storage: PostgresStorage, postgres_url: str, postgres_database: str
) -> None:
    with administrator(postgres_database) as owner:
        owner.execute("CREATE SCHEMA another")
    url = f"{postgres_database}?options=-csearch_path%3Danother"
    with closing(PostgresStorage(url)) as another, psycopg.connect(url) as host:
        host.execute("CREATE TABLE another.orders (id int)")
        with pytest.raises(InvalidRequest), storage.joined(host):
            raise AssertionError("joined")
        host.commit()
        with another.joined(host) as joined:
            joined.write([ADA], [])
    with (
        psycopg.connect(postgres_url) as elsewhere,
        pytest.raises(InvalidRequest),
        storage.joined(elsewhere),
    ):
        raise AssertionError("joined")


def test_joined_after_its_end_refuses_to_go_on(storage: PostgresStorage, host: Host) -> None:
    with storage.joined(host) as joined:
        pass
    with pytest.raises(CreditPaymentsError):
        joined.get(Wallet, "ada")
    rows: list[Record] = [ADA]
    with pytest.raises(CreditPaymentsError):
        joined.write(rows, [])
