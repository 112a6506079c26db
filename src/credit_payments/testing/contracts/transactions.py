# ruff: noqa: D102, PLR2004, PT012, S101 - the names of the tests are their documentation
"""All or nothing, whoever else writes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from credit_payments.domain.decision import Range
from credit_payments.domain.records import (
    Entry,
    Event,
    Key,
    Lot,
    Record,
    Wallet,
)
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.storage import Storage, WriteConflict
from credit_payments.testing.contracts.tools import (
    WAIT_SECONDS_MAX,
    a_lot,
    a_row,
    add_one,
    put,
    spending,
    together,
    until_written,
)


class TransactionContract:
    """Atomicity and concurrency."""

    def test_an_exception_in_the_block_leaves_nothing(self, storage: Storage) -> None:
        put(storage, a_row(Wallet, "ada", available=1))
        with pytest.raises(ZeroDivisionError), storage.transaction() as transaction:
            transaction.load([(Wallet, "ada")])
            transaction.write([a_row(Wallet, "bob")], [a_row(Wallet, "ada", available=2)])
            raise ZeroDivisionError
        assert storage.get(Wallet, "ada") == a_row(Wallet, "ada", available=1)
        assert storage.get(Wallet, "bob") is None

    def test_an_interrupt_in_the_block_leaves_nothing_and_holds_nothing_up(
        self, storage: Storage
    ) -> None:
        with pytest.raises(KeyboardInterrupt), storage.transaction() as transaction:
            transaction.write([a_row(Wallet, "bob")], [])
            raise KeyboardInterrupt
        assert storage.get(Wallet, "bob") is None
        put(storage, a_row(Wallet, "bob"))

    @pytest.mark.parametrize("position", [0, 1, 70])
    def test_a_key_that_exists_is_a_conflict_and_nothing_of_the_write_is_kept(
        self, storage: Storage, position: int
    ) -> None:
        taken = a_row(Event, "evt_taken")
        put(storage, taken)
        rows: list[Record] = [a_row(Event, f"evt_{number}") for number in range(80)]
        rows.insert(position, msgspec.structs.replace(taken, type="another"))
        with pytest.raises(WriteConflict):
            put(storage, a_row(Wallet, "ada"), *rows)
        assert list(storage.scan(Event, order=("event_id",))) == [taken]
        assert storage.get(Wallet, "ada") is None
        put(storage, a_row(Wallet, "ada"))

    def test_the_same_key_twice_in_one_write_is_a_conflict(self, storage: Storage) -> None:
        with pytest.raises(WriteConflict):
            put(storage, a_row(Event, "evt_1"), a_row(Event, "evt_1"))
        assert storage.get(Event, "evt_1") is None

    def test_unique_columns_that_exist_are_a_conflict(self, storage: Storage) -> None:
        first = a_row(Entry, "txn_1", user_id="ada", sequence=1)
        put(storage, first)
        with pytest.raises(WriteConflict):
            put(
                storage,
                a_row(Entry, "txn_2", user_id="ada", sequence=2),
                a_row(Entry, "txn_3", user_id="ada", sequence=1),
            )
        assert list(storage.scan(Entry, order=("cause",))) == [first]
        put(storage, a_row(Entry, "txn_2", user_id="ada", sequence=2))
        put(storage, a_row(Entry, "txn_3", user_id="bob", sequence=1))

    def test_unique_columns_of_a_write_that_failed_are_free_again(self, storage: Storage) -> None:
        row = a_row(Entry, "txn_1", user_id="ada", sequence=1)
        with pytest.raises(ZeroDivisionError), storage.transaction() as transaction:
            transaction.write([row], [])
            raise ZeroDivisionError
        put(storage, row)

    def test_two_threads_that_count_in_one_row_lose_no_count(self, storage: Storage) -> None:
        put(storage, a_row(Wallet, "ada", available=0), a_row(Wallet, "bob", available=0))

        def count(keys: Sequence[Key]) -> None:
            for _ in range(200):
                until_written(lambda: add_one(storage, keys))

        # In opposite orders, so that a storage that locks in the order of the call deadlocks.
        ada_and_bob: list[Key] = [(Wallet, "ada"), (Wallet, "bob")]
        together(lambda: count(ada_and_bob), lambda: count(ada_and_bob[::-1]))
        assert storage.get(Wallet, "ada") == a_row(Wallet, "ada", available=400)
        assert storage.get(Wallet, "bob") == a_row(Wallet, "bob", available=400)

    def test_of_threads_that_add_the_same_key_one_succeeds(self, storage: Storage) -> None:
        added: list[str] = []

        def add(name: str) -> None:
            for number in range(20):
                try:
                    put(storage, a_row(Event, f"evt_{number}", type=name))
                except (WriteConflict, StorageUnavailable):
                    continue
                added.append(f"evt_{number} {name}")

        together(*(lambda name=name: add(name) for name in ("one", "two", "three")))
        rows = storage.scan(Event, order=("event_id",))
        assert sorted(f"{row.event_id} {row.type}" for row in rows) == sorted(added)
        assert len(added) == 20

    def test_what_is_not_committed_is_not_read(self, storage: Storage) -> None:
        put(storage, a_row(Wallet, "ada", available=1))
        with storage.transaction() as transaction:
            transaction.load([(Wallet, "ada")])
            transaction.write([a_row(Wallet, "bob")], [a_row(Wallet, "ada", available=2)])
            with ThreadPoolExecutor(1) as other:
                ada = other.submit(storage.get, Wallet, "ada").result(WAIT_SECONDS_MAX)
                bob = other.submit(storage.get, Wallet, "bob").result(WAIT_SECONDS_MAX)
        assert ada == a_row(Wallet, "ada", available=1)
        assert bob is None
        assert storage.get(Wallet, "ada") == a_row(Wallet, "ada", available=2)

    def test_a_snapshot_sees_one_instant(self, storage: Storage) -> None:
        put(storage, a_row(Wallet, "ada", available=1))
        with storage.snapshot() as reader:
            first = reader.get(Wallet, "ada")
            with storage.transaction() as transaction:
                transaction.load([(Wallet, "ada")])
                transaction.write([a_row(Wallet, "bob")], [a_row(Wallet, "ada", available=2)])
            assert reader.get(Wallet, "ada") == first
            assert reader.get(Wallet, "bob") is None
            assert list(reader.scan(Wallet, order=("user_id",))) == [first]
            assert reader.page(Wallet, {}, order=("user_id",), limit=9) == [first]
            assert reader.count(Wallet, {}, limit=9) == 1
        with storage.snapshot() as reader:
            assert reader.count(Wallet, {}, limit=9) == 2
            assert len(list(reader.scan(Wallet, order=("user_id",)))) == 2

    def test_a_snapshot_sees_one_instant_of_all_kinds(self, storage: Storage) -> None:
        """Also of those that it looks at only later: whoever verifies compares them."""
        wallet, lots = a_row(Wallet, "ada"), Range(spending("ada"), 9)
        put(storage, wallet)
        with storage.snapshot() as reader:
            assert reader.get(Wallet, "ada") == wallet
            put(storage, a_lot(1), a_row(Entry, "txn_1", user_id="ada", sequence=1))
            assert reader.first([lots]) == {lots: []}
            assert list(reader.scan(Lot, order=("lot_id",))) == []
            assert reader.page(Entry, {"user_id": "ada"}, order=("sequence",), limit=9) == []
            assert reader.get(Entry, "txn_1") is None
        assert storage.first([lots]) == {lots: [a_lot(1)]}
