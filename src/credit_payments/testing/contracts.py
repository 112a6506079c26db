# ruff: noqa: D102, FBT001, PLR2004, PT012, S101 - the names of the tests are their documentation
"""What every adapter must keep, as tests that anybody can run against their own.

Example:
    A storage proves itself by one class in a test module; pytest runs all that it inherits::

        import pytest
        from credit_payments.testing.contracts import StorageContract

        class TestMyStorage(StorageContract):
            @pytest.fixture
            def storage(self, tmp_path):
                storage = MyStorage(tmp_path / "rows")
                yield storage
                storage.close()

    The fixture gives a new, empty storage each time. The class uses nothing of it but the port
    (`credit_payments.ports.storage.Storage`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, get_type_hints

import msgspec
import pytest

from credit_payments.domain.decision import Range, Series
from credit_payments.domain.records import (
    CREDITS_MAX,
    RECORDS,
    Entry,
    Event,
    Hold,
    Incident,
    Key,
    Lot,
    Purchase,
    Quote,
    Record,
    Wallet,
    key_of,
)
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.storage import Storage, WriteConflict

__all__ = ["StorageContract"]

R = TypeVar("R", bound=Record)

_WAIT_SECONDS_MAX = 30.0
_TRIES_MAX = 1_000
_GROUPED = tuple(kind for kind in RECORDS if kind.GROUP)
_UNUSUAL_NUMBERS = (0, -1, CREDITS_MAX, -CREDITS_MAX, 2**53 + 1, 2**63 - 1, -(2**63))
_UNUSUAL_LINES = 'line\nbreak\r\n\ttab \x7f \x1b \u2028 \u200f \ufeff \U0001f4b3 "quoted" \\n'

_UNUSUAL_TEXTS = (
    "a" * 255,
    "\U0001f4b3" * 255,
    "שלום عليكم",
    "e\u0301",
    "\u00e9",
    "Ada",
    "ada",
    "7",
    "007",
    "1e3",
    "1000",
    "0x10",
    "true",
    "null",
    "None",
    "[]",
    '{"$gt": ""}',
    "$where",
    "a.b.c",
    "_id",
    "'; DROP TABLE wallets; --",
    '" OR 1=1 --',
    "100%_",
    "back\\slash",
    "\\u0041",
    "%s %(a)s {0} ? :a $1",
    "\uffff\ue000",
    "\U00010000",
)


class StorageContract:
    """Proves that a storage keeps the promises of `credit_payments.ports.storage.Storage`.

    Override the fixture `storage`; see the module's example.
    """

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """A new and empty storage, closed afterwards."""
        raise NotImplementedError("override the fixture `storage`")

    # -- rows ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
    def test_a_row_comes_back_as_it_was_written(self, storage: Storage, kind: type[Record]) -> None:
        full, bare = _row(kind, "full", optional="given"), _row(kind, "bare", optional=None)
        _put(storage, full, bare)
        assert storage.get(kind, "full") == full
        assert storage.get(kind, "bare") == bare
        assert _load(storage, [(kind, "bare"), (kind, "full")]) == {
            (kind, "full"): full,
            (kind, "bare"): bare,
        }

    @pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
    def test_a_row_that_was_never_written_is_not_there(
        self, storage: Storage, kind: type[Record]
    ) -> None:
        assert storage.get(kind, "nobody") is None
        assert _load(storage, [(kind, "nobody")]) == {}
        assert list(storage.scan(kind, order=(kind.KEY,))) == []

    def test_unusual_keys_stay_apart_and_come_back(self, storage: Storage) -> None:
        rows = [_row(Wallet, key, head=key) for key in _UNUSUAL_TEXTS]
        _put(storage, *rows)
        assert [storage.get(Wallet, row.user_id) for row in rows] == rows
        found = _load(storage, [(Wallet, row.user_id) for row in rows])
        assert found == {(Wallet, row.user_id): row for row in rows}
        for row in rows:
            assert storage.page(Wallet, {"head": row.head}, order=("user_id",), limit=9) == [row]

    def test_text_with_line_breaks_and_control_characters_comes_back(
        self, storage: Storage
    ) -> None:
        row = _row(Incident, "payment:pi_1", reason=_UNUSUAL_LINES, facts=_UNUSUAL_LINES)
        _put(storage, row)
        assert storage.get(Incident, row.incident_id) == row
        assert _load(storage, [(Incident, row.incident_id)]) == {(Incident, row.incident_id): row}

    @pytest.mark.parametrize("number", _UNUSUAL_NUMBERS)
    def test_integers_keep_every_digit(self, storage: Storage, number: int) -> None:
        row = _row(Wallet, "ada", available=number)
        _put(storage, row)
        assert storage.get(Wallet, "ada") == row
        assert _load(storage, [(Wallet, "ada")]) == {(Wallet, "ada"): row}

    @pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 1_000])
    def test_any_number_of_rows_is_written_and_loaded_at_once(
        self, storage: Storage, count: int
    ) -> None:
        rows = [_row(Wallet, f"user{number}", entries=number) for number in range(count)]
        _put(storage, *rows)
        keys: list[Key] = [(Wallet, row.user_id) for row in rows]
        missing: list[Key] = [(Wallet, f"nobody{number}") for number in range(count)]
        asked = [key for pair in zip(missing, keys, strict=True) for key in pair] + keys
        assert _load(storage, asked) == {(Wallet, row.user_id): row for row in rows}
        changed = [msgspec.structs.replace(row, available=-row.entries) for row in rows]
        with storage.transaction() as transaction:
            transaction.load(keys)
            transaction.write([], changed)
        assert _load(storage, keys) == {(Wallet, row.user_id): row for row in changed}

    def test_nothing_asked_and_nothing_written_is_fine(self, storage: Storage) -> None:
        with storage.transaction() as transaction:
            assert transaction.load([]) == {}
            assert transaction.first([]) == {}
            transaction.write([], [])

    def test_an_update_changes_the_mutable_columns_and_no_other(self, storage: Storage) -> None:
        before = _row(Quote, "quote_1", optional=None, user_id="ada", credits=100)
        _put(storage, before)
        after = msgspec.structs.replace(
            before, payment_intent_id="pi_1", user_id="eve", credits=10**6
        )
        with storage.transaction() as transaction:
            transaction.load([(Quote, "quote_1")])
            transaction.write([], [after])
        kept = msgspec.structs.replace(before, payment_intent_id="pi_1")
        assert storage.get(Quote, "quote_1") == kept

    # -- atomicity ----------------------------------------------------------------------------

    def test_an_exception_in_the_block_leaves_nothing(self, storage: Storage) -> None:
        _put(storage, _row(Wallet, "ada", available=1))
        with pytest.raises(ZeroDivisionError), storage.transaction() as transaction:
            transaction.load([(Wallet, "ada")])
            transaction.write([_row(Wallet, "bob")], [_row(Wallet, "ada", available=2)])
            raise ZeroDivisionError
        assert storage.get(Wallet, "ada") == _row(Wallet, "ada", available=1)
        assert storage.get(Wallet, "bob") is None

    def test_an_interrupt_in_the_block_leaves_nothing_and_holds_nothing_up(
        self, storage: Storage
    ) -> None:
        with pytest.raises(KeyboardInterrupt), storage.transaction() as transaction:
            transaction.write([_row(Wallet, "bob")], [])
            raise KeyboardInterrupt
        assert storage.get(Wallet, "bob") is None
        _put(storage, _row(Wallet, "bob"))

    @pytest.mark.parametrize("position", [0, 1, 70])
    def test_a_key_that_exists_is_a_conflict_and_nothing_of_the_write_is_kept(
        self, storage: Storage, position: int
    ) -> None:
        taken = _row(Event, "evt_taken")
        _put(storage, taken)
        rows: list[Record] = [_row(Event, f"evt_{number}") for number in range(80)]
        rows.insert(position, msgspec.structs.replace(taken, type="another"))
        with pytest.raises(WriteConflict):
            _put(storage, _row(Wallet, "ada"), *rows)
        assert list(storage.scan(Event, order=("event_id",))) == [taken]
        assert storage.get(Wallet, "ada") is None
        _put(storage, _row(Wallet, "ada"))

    def test_the_same_key_twice_in_one_write_is_a_conflict(self, storage: Storage) -> None:
        with pytest.raises(WriteConflict):
            _put(storage, _row(Event, "evt_1"), _row(Event, "evt_1"))
        assert storage.get(Event, "evt_1") is None

    def test_unique_columns_that_exist_are_a_conflict(self, storage: Storage) -> None:
        first = _row(Entry, "txn_1", user_id="ada", sequence=1)
        _put(storage, first)
        with pytest.raises(WriteConflict):
            _put(
                storage,
                _row(Entry, "txn_2", user_id="ada", sequence=2),
                _row(Entry, "txn_3", user_id="ada", sequence=1),
            )
        assert list(storage.scan(Entry, order=("cause",))) == [first]
        _put(storage, _row(Entry, "txn_2", user_id="ada", sequence=2))
        _put(storage, _row(Entry, "txn_3", user_id="bob", sequence=1))

    def test_unique_columns_of_a_write_that_failed_are_free_again(self, storage: Storage) -> None:
        row = _row(Entry, "txn_1", user_id="ada", sequence=1)
        with pytest.raises(ZeroDivisionError), storage.transaction() as transaction:
            transaction.write([row], [])
            raise ZeroDivisionError
        _put(storage, row)

    # -- concurrency --------------------------------------------------------------------------

    def test_two_threads_that_count_in_one_row_lose_no_count(self, storage: Storage) -> None:
        _put(storage, _row(Wallet, "ada", available=0), _row(Wallet, "bob", available=0))

        def count(keys: Sequence[Key]) -> None:
            for _ in range(200):
                _until_written(lambda: _add_one(storage, keys))

        # In opposite orders, so that a storage that locks in the order of the call deadlocks.
        ada_and_bob: list[Key] = [(Wallet, "ada"), (Wallet, "bob")]
        _together(lambda: count(ada_and_bob), lambda: count(ada_and_bob[::-1]))
        assert storage.get(Wallet, "ada") == _row(Wallet, "ada", available=400)
        assert storage.get(Wallet, "bob") == _row(Wallet, "bob", available=400)

    def test_of_threads_that_add_the_same_key_one_succeeds(self, storage: Storage) -> None:
        added: list[str] = []

        def add(name: str) -> None:
            for number in range(20):
                try:
                    _put(storage, _row(Event, f"evt_{number}", type=name))
                except (WriteConflict, StorageUnavailable):
                    continue
                added.append(f"evt_{number} {name}")

        _together(*(lambda name=name: add(name) for name in ("one", "two", "three")))
        rows = storage.scan(Event, order=("event_id",))
        assert sorted(f"{row.event_id} {row.type}" for row in rows) == sorted(added)
        assert len(added) == 20

    def test_what_is_not_committed_is_not_read(self, storage: Storage) -> None:
        _put(storage, _row(Wallet, "ada", available=1))
        with storage.transaction() as transaction:
            transaction.load([(Wallet, "ada")])
            transaction.write([_row(Wallet, "bob")], [_row(Wallet, "ada", available=2)])
            with ThreadPoolExecutor(1) as other:
                ada = other.submit(storage.get, Wallet, "ada").result(_WAIT_SECONDS_MAX)
                bob = other.submit(storage.get, Wallet, "bob").result(_WAIT_SECONDS_MAX)
        assert ada == _row(Wallet, "ada", available=1)
        assert bob is None
        assert storage.get(Wallet, "ada") == _row(Wallet, "ada", available=2)

    def test_a_snapshot_sees_one_instant(self, storage: Storage) -> None:
        _put(storage, _row(Wallet, "ada", available=1))
        with storage.snapshot() as reader:
            first = reader.get(Wallet, "ada")
            with storage.transaction() as transaction:
                transaction.load([(Wallet, "ada")])
                transaction.write([_row(Wallet, "bob")], [_row(Wallet, "ada", available=2)])
            assert reader.get(Wallet, "ada") == first
            assert reader.get(Wallet, "bob") is None
            assert list(reader.scan(Wallet, order=("user_id",))) == [first]
            assert reader.page(Wallet, {}, order=("user_id",), limit=9) == [first]
        with storage.snapshot() as reader:
            assert len(list(reader.scan(Wallet, order=("user_id",)))) == 2

    # -- reading in order ---------------------------------------------------------------------

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_pages_hold_every_row_once_and_in_order(
        self, storage: Storage, limit: int, descending: bool
    ) -> None:
        order = ("created_at", "payment_intent_id")
        mine = [
            _row(
                Purchase, f"pi_{number:02}", user_id="ada", created_at=f"2024-01-0{1 + number % 3}"
            )
            for number in range(12)
        ]
        _put(storage, *mine, _row(Purchase, "pi_x", user_id="adam", created_at="2024-01-01"))
        seen: list[Purchase] = []
        after: tuple[str, str] | None = None
        for _ in range(len(mine) + 1):
            page = storage.page(
                Purchase,
                {"user_id": "ada"},
                order=order,
                after=after,
                limit=limit,
                descending=descending,
            )
            assert len(page) <= limit
            seen += page
            if not page:
                break
            after = (page[-1].created_at, page[-1].payment_intent_id)
            # A row that sorts before the position must not move what follows.
            edge = "2023-01-01" if not descending else "2025-01-01"
            _put(storage, _row(Purchase, f"pi_new{len(seen)}", user_id="ada", created_at=edge))
        expected = sorted(
            mine, key=lambda row: (row.created_at, row.payment_intent_id), reverse=descending
        )
        assert seen == expected

    def test_a_page_of_nothing_is_empty(self, storage: Storage) -> None:
        _put(storage, _row(Entry, "txn_1", user_id="ada", sequence=1))
        find = storage.page
        assert find(Entry, {"user_id": "bob"}, order=("sequence",), limit=9) == []
        assert find(Entry, {"user_id": "ada"}, order=("sequence",), after=(1,), limit=9) == []

    def test_integers_are_ordered_as_numbers(self, storage: Storage) -> None:
        for number in (10, 9, 2, 1, 100):
            _put(storage, _row(Entry, f"txn_{number}", user_id="ada", sequence=number))
        page = storage.page(Entry, {"user_id": "ada"}, order=("sequence",), after=(2,), limit=9)
        assert [row.sequence for row in page] == [9, 10, 100]

    def test_text_is_ordered_by_code_point_in_every_database(self, storage: Storage) -> None:
        _put(storage, *(_row(Wallet, key) for key in _UNUSUAL_TEXTS))
        scanned = [row.user_id for row in storage.scan(Wallet, order=("user_id",))]
        assert scanned == sorted(_UNUSUAL_TEXTS)

    def test_a_scan_is_ordered_by_all_its_columns(self, storage: Storage) -> None:
        rows = [
            _row(Entry, f"txn_{user}{number}", user_id=user, sequence=number)
            for number in (3, 1, 2)
            for user in ("bob", "ada")
        ]
        _put(storage, *rows)
        scanned = [
            (row.user_id, row.sequence)
            for row in storage.scan(Entry, order=("user_id", "sequence"))
        ]
        assert scanned == [(user, number) for user in ("ada", "bob") for number in (1, 2, 3)]

    def test_a_scan_may_be_left_in_the_middle(self, storage: Storage) -> None:
        _put(storage, *(_row(Wallet, f"user{number:03}") for number in range(100)))
        scan = storage.scan(Wallet, order=("user_id",))
        assert next(iter(scan)).user_id == "user000"
        _put(storage, _row(Wallet, "zoe"))
        del scan
        assert storage.get(Wallet, "zoe") is not None

    # -- the first rows of a series -----------------------------------------------------------

    @pytest.mark.parametrize("limit", [1, 2, 3, 11, 12, 13, 1_000])
    def test_the_first_rows_of_a_series_come_in_its_order(
        self, storage: Storage, limit: int
    ) -> None:
        mine = [
            _lot(number, priority=number % 2 - 1, expires_at=f"2024-01-{9 + number % 3:02}")
            for number in (10, 9, 2, 1, 100, 0, 8, 7, 3, 6, 5, 4)
        ]
        _put(storage, *mine, _lot(11, user_id="adam", priority=-9), _lot(12, open=0, priority=-9))
        in_order = sorted(mine, key=lambda lot: (lot.priority, lot.expires_at, lot.sequence))
        asked = Range(_spending("ada"), limit)
        assert _first(storage, asked) == {asked: in_order[:limit]}

    @pytest.mark.parametrize("kind", _GROUPED, ids=lambda kind: kind.TABLE)
    def test_a_series_of_every_kind_gives_its_rows_as_they_were_written(
        self, storage: Storage, kind: type[Record]
    ) -> None:
        group, order = str(kind.GROUP), kind.INDEXES[0][1:]
        lines = _row(kind, "4 lines", optional=_UNUSUAL_LINES, texts=_UNUSUAL_LINES)
        rows = [
            _row(kind, "1 full", optional="given"),
            _row(kind, "2 bare", optional=None),
            *(_row(kind, f"3 {number:020}", numbers=number) for number in _UNUSUAL_NUMBERS),
            msgspec.structs.replace(lines, **{group: group}),
        ]
        _put(storage, *rows)
        rows.sort(key=lambda row: tuple(getattr(row, name) for name in order))
        for limit in (len(rows), 100):
            asked = Range(Series(kind, group, (), order), limit)
            assert _first(storage, asked) == {asked: rows}

    def test_only_rows_whose_columns_equal_are_of_a_series(self, storage: Storage) -> None:
        for number in range(4):
            _put(storage, _lot(number, open=number % 2, priority=number // 2))
        order = ("expires_at", "sequence")
        opens, closed = (Range(_spending("ada", is_open), 9) for is_open in (1, 0))
        narrow = Range(Series(Lot, "ada", (("open", 1), ("priority", 1)), order), 9)
        wide = Range(Series(Lot, "ada", (), ("open", "priority", *order)), 9)
        found = _first(storage, opens, closed, narrow, wide)
        assert {asked: _names(rows) for asked, rows in found.items()} == {
            opens: ["grant:1", "grant:3"],
            closed: ["grant:0", "grant:2"],
            narrow: ["grant:3"],
            wide: ["grant:0", "grant:2", "grant:1", "grant:3"],
        }

    def test_several_groups_kinds_orders_and_limits_are_answered_at_once(
        self, storage: Storage
    ) -> None:
        for user in ("ada", "bob", "eve"):
            numbers = {"ada": (1, 2, 3), "bob": (4, 5), "eve": (6,)}[user]
            _put(storage, *(_lot(n, user_id=user, expires_at=str(9 - n)) for n in numbers))
        _put(storage, _hold("h2", user_id="ada"), _hold("h1", user_id="ada"), _hold("h3", open=0))
        expected = {
            Range(_spending("bob"), 8): ["grant:5", "grant:4"],
            Range(_spending("ada"), 8): ["grant:3", "grant:2", "grant:1"],
            Range(_spending("ada"), 1): ["grant:3"],
            Range(_spending("bob"), 1): ["grant:5"],
            Range(_spending("nobody"), 8): [],
            Range(_spending("eve"), 8): ["grant:6"],
            Range(Series(Lot, "ada", (("open", 1),), ("expires_at", "sequence")), 2): [
                "grant:3",
                "grant:2",
            ],
            Range(_lapsing("ada"), 8): ["h1", "h2"],
            Range(_lapsing("bob"), 8): [],
        }
        found = _first(storage, *expected)
        assert {asked: _names(rows) for asked, rows in found.items()} == expected

    def test_a_series_of_nothing_is_empty(self, storage: Storage) -> None:
        asked = Range(_spending("ada"), 8)
        assert _first(storage, asked) == {asked: []}
        _put(storage, _lot(1, user_id="adam"), _lot(2, open=0))
        assert _first(storage, asked) == {asked: []}

    def test_a_series_is_ordered_by_code_point_and_its_groups_stay_apart(
        self, storage: Storage
    ) -> None:
        _put(storage, *(_hold(text) for text in _UNUSUAL_TEXTS))
        running = Range(_lapsing("ada"), 100)
        assert _names(_first(storage, running)[running]) == sorted(_UNUSUAL_TEXTS)
        lots = [_lot(number, user_id=text) for number, text in enumerate(_UNUSUAL_TEXTS)]
        _put(storage, *(lot for lot in lots if lot.user_id != "ada"), _lot(-1))
        asked = [Range(_spending(text), 100) for text in _UNUSUAL_TEXTS]
        expected = {
            one: [lot if lot.user_id != "ada" else _lot(-1)]
            for one, lot in zip(asked, lots, strict=True)
        }
        assert _first(storage, *asked) == expected

    @pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 1_000])
    def test_any_number_of_series_is_read_at_once(self, storage: Storage, count: int) -> None:
        lots = [_lot(number, user_id=f"user{number // 2}") for number in range(2 * count)]
        _put(storage, *lots)
        asked = [Range(_spending(f"user{number}"), 8) for number in range(count)]
        missing = [Range(_spending(f"nobody{number}"), 8) for number in range(count)]
        mixed = [one for pair in zip(missing, asked, strict=True) for one in pair]
        found = _first(storage, *mixed)
        assert found == {
            one: lots[2 * number : 2 * number + 2] for number, one in enumerate(asked)
        } | {one: [] for one in missing}

    def test_a_row_that_is_changed_joins_and_leaves_series(self, storage: Storage) -> None:
        opens, closed = (Range(_spending("ada", is_open), 8) for is_open in (1, 0))
        first, second = _lot(1), _lot(2)
        _put(storage, first, second)
        assert _first(storage, opens, closed) == {opens: [first, second], closed: []}
        spent = msgspec.structs.replace(first, open=0, available=0)
        with storage.transaction() as transaction:
            transaction.first([opens])
            transaction.write([], [spent])
        assert _first(storage, opens, closed) == {opens: [second], closed: [spent]}
        with pytest.raises(ZeroDivisionError), storage.transaction() as transaction:
            transaction.first([opens])
            transaction.write([_lot(3)], [msgspec.structs.replace(second, open=0)])
            raise ZeroDivisionError
        assert _first(storage, opens, closed) == {opens: [second], closed: [spent]}

    def test_two_threads_that_take_from_one_series_take_each_row_once(
        self, storage: Storage
    ) -> None:
        lots = [_lot(number) for number in range(100)]
        _put(storage, _row(Wallet, "ada", available=len(lots)), *lots)
        taken: list[str] = []

        def take() -> None:
            for _ in range(len(lots) // 2):
                _until_written(lambda: taken.append(_take_first(storage)))

        _together(take, take)
        assert sorted(taken) == sorted(lot.lot_id for lot in lots)
        assert storage.get(Wallet, "ada") == _row(Wallet, "ada", available=0)

    # -- the end ------------------------------------------------------------------------------

    def test_closing_twice_is_safe(self, storage: Storage) -> None:
        _put(storage, _row(Wallet, "ada"))
        storage.close()
        storage.close()

    def test_after_closing_a_call_works_or_says_that_the_storage_is_unavailable(
        self, storage: Storage
    ) -> None:
        storage.close()
        with suppress(StorageUnavailable):
            storage.get(Wallet, "ada")
        with suppress(StorageUnavailable):
            _put(storage, _row(Wallet, "ada"))
        storage.close()


def _names(rows: Iterable[Record]) -> list[str]:
    return [key_of(row)[1] for row in rows]


def _row(
    kind: type[R],
    key: str,
    *,
    optional: str | None = None,
    numbers: int = 0,
    texts: str | None = None,
    **given: Any,
) -> R:
    """A row of any kind: what is not given is filled with something of its type."""
    filled: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for name in kind.__struct_fields__:
        if name == kind.KEY:
            filled[name] = key
        elif hints[name] is int:
            filled[name] = numbers
        elif hints[name] is str:
            # Different for each row, so that no unique columns meet by chance.
            filled[name] = f"{name}:{key}" if _is_unique(kind, name) else texts or name
        elif hints[name] == int | None:
            filled[name] = None if optional is None else len(optional)
        else:
            filled[name] = optional
    return kind(**{**filled, **given})


def _lot(number: int, **given: Any) -> Lot:
    fields = {"user_id": "ada", "sequence": number, "open": 1, "available": 1, **given}
    return _row(Lot, f"grant:{number}", **fields)


def _hold(key: str, **given: Any) -> Hold:
    return _row(Hold, key, **{"user_id": "ada", "open": 1, **given})


def _spending(user_id: str, is_open: int = 1) -> Series:
    return Series(Lot, user_id, (("open", is_open),), ("priority", "expires_at", "sequence"))


def _is_unique(kind: type[Record], name: str) -> bool:
    return any(name in columns for columns in kind.UNIQUE)


def _lapsing(user_id: str) -> Series:
    return Series(Hold, user_id, (("open", 1),), ("lapses_at", "hold_id"))


def _put(storage: Storage, *rows: Record) -> None:
    with storage.transaction() as transaction:
        transaction.write(rows, [])


def _load(storage: Storage, keys: Iterable[Key]) -> dict[Key, Record]:
    with storage.transaction() as transaction:
        return dict(transaction.load(keys))


def _first(storage: Storage, *ranges: Range) -> dict[Range, list[Record]]:
    with storage.transaction() as transaction:
        found = transaction.first(ranges)
        return {asked: list(rows) for asked, rows in found.items()}


def _take_first(storage: Storage) -> str:
    """Close the first open lot of a user, as a spend does; its name."""
    asked = Range(_spending("ada"), 1)
    with storage.transaction() as transaction:
        wallet = transaction.load([(Wallet, "ada")])[Wallet, "ada"]
        assert isinstance(wallet, Wallet)
        lot = transaction.first([asked])[asked][0]
        assert isinstance(lot, Lot)
        updates = [
            msgspec.structs.replace(wallet, available=wallet.available - lot.available),
            msgspec.structs.replace(lot, open=0, available=0),
        ]
        transaction.write([], updates)
    return lot.lot_id


def _add_one(storage: Storage, keys: Sequence[Key]) -> None:
    with storage.transaction() as transaction:
        loaded = transaction.load(keys)
        updates = []
        for key in keys:
            wallet = loaded[key]
            assert isinstance(wallet, Wallet)
            updates.append(msgspec.structs.replace(wallet, available=wallet.available + 1))
        transaction.write([], updates)


def _until_written(write: Callable[[], None]) -> None:
    """As the database queue does it: another writer may be first, some times in a row."""
    for _ in range(_TRIES_MAX):
        try:
            write()
        except WriteConflict:
            continue
        return
    raise AssertionError("other writers kept getting ahead")


def _together(*works: Callable[[], None]) -> None:
    """Run in one thread each, started at once; what one of them raises is raised here."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        start.wait(_WAIT_SECONDS_MAX)
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(run, work) for work in works]:
            future.result(_WAIT_SECONDS_MAX)
