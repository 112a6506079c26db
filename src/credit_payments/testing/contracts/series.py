# ruff: noqa: D102, PT012, S101 - the names of the tests are their documentation
"""The first rows of a series."""

from __future__ import annotations

import msgspec
import pytest

from credit_payments.domain.decision import Range, Series
from credit_payments.domain.records import (
    NEVER,
    Entry,
    Hold,
    Key,
    Lot,
    Record,
    Wallet,
)
from credit_payments.ports.storage import Storage
from credit_payments.testing.contracts.tools import (
    GROUPED,
    UNUSUAL_LINES,
    UNUSUAL_NUMBERS,
    UNUSUAL_TEXTS,
    a_hold,
    a_lot,
    a_row,
    first,
    lapsing,
    names_of,
    order_within_group,
    put,
    spending,
    take_first,
    together,
    until_written,
)


class SeriesContract:
    """What `first` promises."""

    @pytest.mark.parametrize("limit", [1, 2, 3, 11, 12, 13, 1_000])
    def test_the_first_rows_of_a_series_come_in_its_order(
        self, storage: Storage, limit: int
    ) -> None:
        mine = [
            a_lot(number, priority=number % 2 - 1, expires_at=f"2024-01-{9 + number % 3:02}")
            for number in (10, 9, 2, 1, 100, 0, 8, 7, 3, 6, 5, 4)
        ]
        put(storage, *mine, a_lot(11, user_id="adam", priority=-9), a_lot(12, open=0, priority=-9))
        in_order = sorted(mine, key=lambda lot: (lot.priority, lot.expires_at, lot.sequence))
        asked = Range(spending("ada"), limit)
        assert first(storage, asked) == {asked: in_order[:limit]}

    @pytest.mark.parametrize("kind", GROUPED, ids=lambda kind: kind.TABLE)
    def test_a_series_of_every_kind_gives_its_rows_as_they_were_written(
        self, storage: Storage, kind: type[Record]
    ) -> None:
        group, order = str(kind.GROUP), order_within_group(kind)
        lines = a_row(kind, "4 lines", optional=UNUSUAL_LINES, texts=UNUSUAL_LINES)
        rows = [
            a_row(kind, "1 full", optional="given"),
            a_row(kind, "2 bare", optional=None),
            *(a_row(kind, f"3 {number:020}", numbers=number) for number in UNUSUAL_NUMBERS),
            msgspec.structs.replace(lines, **{group: group}),
        ]
        put(storage, *rows)
        rows.sort(key=lambda row: tuple(getattr(row, name) for name in order))
        for limit in (len(rows), 100):
            asked = Range(Series(kind, group, (), order), limit)
            assert first(storage, asked) == {asked: rows}

    def test_only_rows_whose_columns_equal_are_of_a_series(self, storage: Storage) -> None:
        for number in range(4):
            put(storage, a_lot(number, open=number % 2, priority=number // 2))
        order = ("expires_at", "sequence")
        opens, closed = (Range(spending("ada", is_open), 9) for is_open in (1, 0))
        narrow = Range(Series(Lot, "ada", (("open", 1), ("priority", 1)), order), 9)
        wide = Range(Series(Lot, "ada", (), ("open", "priority", *order)), 9)
        found = first(storage, opens, closed, narrow, wide)
        assert {asked: names_of(rows) for asked, rows in found.items()} == {
            opens: ["grant:1", "grant:3"],
            closed: ["grant:0", "grant:2"],
            narrow: ["grant:3"],
            wide: ["grant:0", "grant:2", "grant:1", "grant:3"],
        }

    def test_of_a_series_that_ends_only_rows_whose_instant_comes(self, storage: Storage) -> None:
        never = [a_lot(number, expires_at=NEVER) for number in range(3)]
        ends = [a_lot(number, expires_at=f"2024-01-{number:02}") for number in (12, 11, 10)]
        put(storage, *never, *ends)
        series = Series(Lot, "ada", (("open", 1),), ("expires_at", "sequence"), "expires_at")
        asked = Range(series, 2)
        assert first(storage, asked) == {asked: [ends[2], ends[1]]}
        all_of_them = Range(series, 9)
        assert first(storage, all_of_them) == {all_of_them: ends[::-1]}

    def test_several_groups_kinds_orders_and_limits_are_answered_at_once(
        self, storage: Storage
    ) -> None:
        for user in ("ada", "bob", "eve"):
            numbers = {"ada": (1, 2, 3), "bob": (4, 5), "eve": (6,)}[user]
            put(storage, *(a_lot(n, user_id=user, expires_at=str(9 - n)) for n in numbers))
        put(storage, a_hold("h2", user_id="ada"), a_hold("h1", user_id="ada"), a_hold("h3", open=0))
        expected = {
            Range(spending("bob"), 8): ["grant:5", "grant:4"],
            Range(spending("ada"), 8): ["grant:3", "grant:2", "grant:1"],
            Range(spending("ada"), 1): ["grant:3"],
            Range(spending("bob"), 1): ["grant:5"],
            Range(spending("nobody"), 8): [],
            Range(spending("eve"), 8): ["grant:6"],
            Range(Series(Lot, "ada", (("open", 1),), ("expires_at", "sequence")), 2): [
                "grant:3",
                "grant:2",
            ],
            Range(lapsing("ada"), 8): ["h1", "h2"],
            Range(lapsing("bob"), 8): [],
        }
        found = first(storage, *expected)
        assert {asked: names_of(rows) for asked, rows in found.items()} == expected

    def test_rows_and_series_are_loaded_together_as_they_are_apart(self, storage: Storage) -> None:
        wallets = [a_row(Wallet, user) for user in ("ada", "bob", "eve")]
        lots = [a_lot(number, user_id=("ada", "bob")[number % 2]) for number in range(40)]
        put(storage, *wallets, *lots, a_hold("h1"))
        keys: list[Key] = [(Wallet, user) for user in ("ada", "bob", "eve", "nobody")]
        keys += [(Lot, "grant:7"), (Lot, "grant:none"), (Hold, "h1"), (Entry, "none")]
        few = [Range(spending(user), 2) for user in ("ada", "bob", "eve")]
        ranges = [*few, Range(spending("ada"), 64), Range(lapsing("ada"), 2)]
        with storage.transaction() as transaction:
            rows, series = transaction.load_both(keys, ranges)
            assert rows == transaction.load(keys)
            assert series == transaction.first(ranges)
        assert set(rows) == {*keys[:3], keys[4], keys[6]}
        assert [len(series[asked]) for asked in ranges] == [2, 2, 0, 20, 1]
        with storage.transaction() as transaction:
            assert transaction.load_both([], []) == ({}, {})
            assert transaction.load_both(keys[:1], []) == ({keys[0]: wallets[0]}, {})
            assert transaction.load_both([], few[2:]) == ({}, {few[2]: []})

    def test_a_series_of_nothing_is_empty(self, storage: Storage) -> None:
        asked = Range(spending("ada"), 8)
        assert first(storage, asked) == {asked: []}
        put(storage, a_lot(1, user_id="adam"), a_lot(2, open=0))
        assert first(storage, asked) == {asked: []}

    def test_a_series_is_ordered_by_code_point_and_its_groups_stay_apart(
        self, storage: Storage
    ) -> None:
        put(storage, *(a_hold(text) for text in UNUSUAL_TEXTS))
        running = Range(lapsing("ada"), 100)
        assert names_of(first(storage, running)[running]) == sorted(UNUSUAL_TEXTS)
        lots = [a_lot(number, user_id=text) for number, text in enumerate(UNUSUAL_TEXTS)]
        put(storage, *(lot for lot in lots if lot.user_id != "ada"), a_lot(-1))
        asked = [Range(spending(text), 100) for text in UNUSUAL_TEXTS]
        expected = {
            one: [lot if lot.user_id != "ada" else a_lot(-1)]
            for one, lot in zip(asked, lots, strict=True)
        }
        assert first(storage, *asked) == expected

    @pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 1_000])
    def test_any_number_of_series_is_read_at_once(self, storage: Storage, count: int) -> None:
        lots = [a_lot(number, user_id=f"user{number // 2}") for number in range(2 * count)]
        put(storage, *lots)
        asked = [Range(spending(f"user{number}"), 8) for number in range(count)]
        missing = [Range(spending(f"nobody{number}"), 8) for number in range(count)]
        mixed = [one for pair in zip(missing, asked, strict=True) for one in pair]
        found = first(storage, *mixed)
        assert found == {
            one: lots[2 * number : 2 * number + 2] for number, one in enumerate(asked)
        } | {one: [] for one in missing}

    @pytest.mark.parametrize("count", [1, 30])
    def test_no_user_id_means_anything_but_itself(self, storage: Storage, count: int) -> None:
        users = ("ada", "$abc", "$$ROOT", "$$NOW", "$", "$$", "$user_id", "{}", "' OR 1=1 --", "%")
        lots = {
            user: [a_lot(number * 100 + place, user_id=user) for number in range(count)]
            for place, user in enumerate(users)
        }
        put(storage, *(lot for some in lots.values() for lot in some))
        asked = {user: Range(spending(user), 2) for user in users}
        expected = {asked[user]: lots[user][:2] for user in users}
        assert first(storage, *asked.values()) == expected
        for user in users[1:]:
            pair = (asked["ada"], asked[user])
            assert first(storage, *pair) == {one: expected[one] for one in pair}
            with storage.transaction() as transaction:
                assert transaction.first(pair) == {one: expected[one] for one in pair}

    def test_a_row_that_is_changed_joins_and_leaves_series(self, storage: Storage) -> None:
        opens, closed = (Range(spending("ada", is_open), 8) for is_open in (1, 0))
        one, two = a_lot(1), a_lot(2)
        put(storage, one, two)
        assert first(storage, opens, closed) == {opens: [one, two], closed: []}
        spent = msgspec.structs.replace(one, open=0, available=0)
        with storage.transaction() as transaction:
            transaction.first([opens])
            transaction.write([], [spent])
        assert first(storage, opens, closed) == {opens: [two], closed: [spent]}
        with pytest.raises(ZeroDivisionError), storage.transaction() as transaction:
            transaction.first([opens])
            transaction.write([a_lot(3)], [msgspec.structs.replace(two, open=0)])
            raise ZeroDivisionError
        assert first(storage, opens, closed) == {opens: [two], closed: [spent]}

    def test_two_threads_that_take_from_one_series_take_each_row_once(
        self, storage: Storage
    ) -> None:
        lots = [a_lot(number) for number in range(100)]
        put(storage, a_row(Wallet, "ada", available=len(lots)), *lots)
        taken: list[str] = []

        def take() -> None:
            for _ in range(len(lots) // 2):
                until_written(lambda: taken.append(take_first(storage)))

        together(take, take)
        assert sorted(taken) == sorted(lot.lot_id for lot in lots)
        assert storage.get(Wallet, "ada") == a_row(Wallet, "ada", available=0)
