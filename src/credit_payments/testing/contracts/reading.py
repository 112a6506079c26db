# ruff: noqa: D102, FBT001, PT012, S101 - the names of the tests are their documentation
"""Reading in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
import pytest

from credit_payments.domain.records import (
    NEVER,
    Entry,
    Event,
    Hold,
    Incident,
    Lot,
    Notification,
    Purchase,
    Record,
    Wallet,
)
from credit_payments.ports.storage import Storage
from credit_payments.testing.contracts.tools import (
    UNUSUAL_NUMBERS,
    UNUSUAL_TEXTS,
    a_hold,
    a_lot,
    a_row,
    names_of,
    put,
)

R = TypeVar("R", bound=Record)

PAGES_MAX = 100


class ReadingContract:
    """Pages, counts and scans."""

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_pages_hold_every_row_once_and_in_order(
        self, storage: Storage, limit: int, descending: bool
    ) -> None:
        order = ("created_at", "payment_intent_id")
        mine = [
            a_row(
                Purchase, f"pi_{number:02}", user_id="ada", created_at=f"2024-01-0{1 + number % 3}"
            )
            for number in range(12)
        ]
        put(storage, *mine, a_row(Purchase, "pi_x", user_id="adam", created_at="2024-01-01"))
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
            put(storage, a_row(Purchase, f"pi_new{len(seen)}", user_id="ada", created_at=edge))
        expected = sorted(
            mine, key=lambda row: (row.created_at, row.payment_intent_id), reverse=descending
        )
        assert seen == expected

    def test_all_rows_of_a_kind_are_paged_by_their_key(self, storage: Storage) -> None:
        put(storage, *(a_row(Wallet, key) for key in UNUSUAL_TEXTS))
        seen: list[str] = []
        while page := storage.page(
            Wallet, {}, order=("user_id",), after=seen[-1:] or None, limit=5
        ):
            seen += [row.user_id for row in page]
        assert seen == sorted(UNUSUAL_TEXTS)

    def test_a_page_of_nothing_is_empty(self, storage: Storage) -> None:
        put(storage, a_row(Entry, "txn_1", user_id="ada", sequence=1))
        find = storage.page
        assert find(Entry, {"user_id": "bob"}, order=("sequence",), limit=9) == []
        assert find(Entry, {"user_id": "ada"}, order=("sequence",), after=(1,), limit=9) == []

    def test_integers_are_ordered_as_numbers(self, storage: Storage) -> None:
        for number in (10, 9, 2, 1, 100):
            put(storage, a_row(Entry, f"txn_{number}", user_id="ada", sequence=number))
        page = storage.page(Entry, {"user_id": "ada"}, order=("sequence",), after=(2,), limit=9)
        assert [row.sequence for row in page] == [9, 10, 100]

    def test_text_is_ordered_by_code_point_in_every_database(self, storage: Storage) -> None:
        put(storage, *(a_row(Wallet, key) for key in UNUSUAL_TEXTS))
        scanned = [row.user_id for row in storage.scan(Wallet, order=("user_id",))]
        assert scanned == sorted(UNUSUAL_TEXTS)

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_pages_of_what_ends_leave_out_what_never_does(
        self, storage: Storage, limit: int, descending: bool
    ) -> None:
        due = [a_row(Wallet, f"due{n:02}", due_at=f"2024-01-0{1 + n % 3}") for n in range(12)]
        last = a_row(Wallet, "last", due_at="9999-12-31T23:59:59.999998Z")
        never = [a_row(Wallet, name, due_at=NEVER) for name in ("", "due05x", "zoe")]
        put(storage, *never, *due[::-1], last)
        rows = walk(
            storage,
            Wallet,
            {},
            order=("due_at", "user_id"),
            limit=limit,
            descending=descending,
            ending="due_at",
        )
        in_order = [*sorted(due, key=lambda row: (row.due_at, row.user_id)), last]
        assert rows == (in_order[::-1] if descending else in_order)

    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_of_what_ends_hold_only_rows_whose_columns_equal(
        self, storage: Storage, descending: bool
    ) -> None:
        mine = [a_lot(n, expires_at=f"2024-01-{9 + n // 2:02}") for n in range(9)]
        others = [
            a_lot(20, user_id="adam", expires_at="2024-01-10"),
            a_lot(21, open=0, expires_at="2024-01-10"),
            a_lot(22, expires_at=NEVER),
        ]
        put(storage, *others, *mine)
        rows = walk(
            storage,
            Lot,
            {"user_id": "ada", "open": 1},
            order=("expires_at", "sequence"),
            limit=2,
            descending=descending,
            ending="expires_at",
        )
        assert rows == (mine[::-1] if descending else mine)

    def test_a_position_at_never_does_not_bring_in_what_never_ends(self, storage: Storage) -> None:
        due, never = a_row(Wallet, "due", due_at="2024"), a_row(Wallet, "never", due_at=NEVER)
        put(storage, due, never)
        for order, after in (
            (("due_at",), ("9999-12-32",)),
            (("due_at", "user_id"), (NEVER, "zoe")),
        ):
            page = storage.page(
                Wallet, {}, order=order, after=after, limit=9, descending=True, ending="due_at"
            )
            assert page == [due]
            assert not storage.page(Wallet, {}, order=order, after=after, limit=9, ending="due_at")

    def test_rows_of_all_groups_are_paged_in_one_order(self, storage: Storage) -> None:
        events = [
            a_row(Event, f"evt_{n}", lane=str(n % 3), received_at=f"2024-01-0{1 + n % 2}")
            for n in range(9)
        ]
        put(storage, *events)
        order = ("received_at", "event_id")
        expected = sorted(events, key=lambda row: (row.received_at, row.event_id))
        assert walk(storage, Event, {}, order=order, limit=2) == expected
        backwards = walk(storage, Event, {}, order=order, limit=2, descending=True)
        assert backwards == expected[::-1]

    def test_a_column_that_is_equal_and_ends_is_both(self, storage: Storage) -> None:
        put(storage, a_hold("h1", lapses_at="2024"), a_hold("h2", lapses_at=NEVER))
        where: dict[str, str | int] = {"user_id": "ada", "open": 1}
        for instant, expected in (("2024", ["h1"]), (NEVER, [])):
            equal = where | {"lapses_at": instant}
            page = storage.page(Hold, equal, order=("hold_id",), limit=9, ending="lapses_at")
            assert names_of(page) == expected
            assert storage.count(Hold, equal, limit=9, ending="lapses_at") == len(expected)

    @pytest.mark.parametrize("limit", [1, 2, 6, 7, 8, 1_000])
    def test_rows_are_counted_no_further_than_the_limit(self, storage: Storage, limit: int) -> None:
        put(
            storage,
            *(a_row(Incident, f"open{n}", status="open") for n in range(7)),
            *(a_row(Incident, f"resolved{n}", status="resolved") for n in range(3)),
        )
        with storage.snapshot() as reader:
            for read in (storage, reader):
                assert read.count(Incident, {"status": "open"}, limit=limit) == min(limit, 7)
                assert read.count(Incident, {"status": "resolved"}, limit=limit) == min(limit, 3)
                assert read.count(Incident, {"status": "gone"}, limit=limit) == 0
                assert read.count(Incident, {}, limit=limit) == min(limit, 10)

    def test_nothing_is_counted_where_nothing_is(self, storage: Storage) -> None:
        with storage.snapshot() as reader:
            for read in (storage, reader):
                assert read.count(Wallet, {}, limit=1) == 0
                assert read.count(Wallet, {}, limit=1, ending="due_at") == 0
                where: dict[str, str | int] = {"type": "credits", "status": "due"}
                assert read.count(Notification, where, limit=9) == 0
                assert type(read.count(Notification, where, limit=9)) is int

    @pytest.mark.parametrize("limit", [1, 3, 4, 5])
    def test_only_what_ends_is_counted_where_that_is_asked_for(
        self, storage: Storage, limit: int
    ) -> None:
        def event(name: str, due_at: str, lane: str = "1", status: str = "due") -> Event:
            return a_row(Event, name, lane=lane, status=status, due_at=due_at)

        due = [event(f"due{n}", f"2024-01-0{n}") for n in range(1, 4)]
        last = event("last", "9999-12-31T23:59:59.999998Z")
        never = [event(f"never{n}", NEVER) for n in range(2)]
        put(storage, *due, last, *never, event("other", "2024", "10"), event("dead", "2", "1", "d"))
        where = {"lane": "1", "status": "due"}
        with storage.snapshot() as reader:
            for read in (storage, reader):
                assert read.count(Event, where, limit=limit, ending="due_at") == min(limit, 4)
                assert read.count(Event, {}, limit=limit, ending="due_at") == min(limit, 6)
                assert read.count(Event, where, limit=limit + 1) == min(limit + 1, 6)

    def test_a_count_takes_text_and_numbers_for_nothing_but_themselves(
        self, storage: Storage
    ) -> None:
        numbers = [n for n in UNUSUAL_NUMBERS if n != 1]
        put(
            storage,
            *(a_hold(f"h{n}", user_id=text) for n, text in enumerate(UNUSUAL_TEXTS)),
            *(a_hold(f"n{n}", user_id="numbers", open=n) for n in numbers),
        )
        for text in (*UNUSUAL_TEXTS, "$$ROOT", "$user_id"):
            page = storage.page(
                Hold, {"user_id": text}, order=("open", "lapses_at", "hold_id"), limit=9
            )
            assert len(page) == (text in UNUSUAL_TEXTS)
            assert storage.count(Hold, {"user_id": text}, limit=9) == len(page)
            assert storage.count(Hold, {"user_id": text, "open": 1}, limit=9) == len(page)
            assert storage.count(Hold, {"user_id": text, "open": 0}, limit=9) == 0
        for number in numbers:
            assert storage.count(Hold, {"user_id": "numbers", "open": number}, limit=9) == 1

    def test_a_row_that_is_changed_is_counted_as_what_it_is_now(self, storage: Storage) -> None:
        def counts() -> list[int]:
            due = {"type": "credits", "status": "due"}
            taken = due | {"status": "delivered"}
            return [
                storage.count(Notification, due, limit=9),
                storage.count(Notification, due, limit=9, ending="due_at"),
                storage.count(Notification, taken, limit=9),
                storage.count(Notification, {}, limit=9),
            ]

        one, two, three = (
            a_row(Notification, name, type="credits", status="due", due_at=due_at)
            for name, due_at in (("n1", "2024"), ("n2", NEVER), ("n3", "2024"))
        )
        put(storage, one)
        assert counts() == [1, 1, 0, 1]
        with storage.transaction() as transaction:
            transaction.load([(Notification, "n1")])
            transaction.write([two], [msgspec.structs.replace(one, status="delivered")])
        assert counts() == [1, 0, 1, 2]
        with pytest.raises(ZeroDivisionError), storage.transaction() as transaction:
            transaction.write([three], [])
            raise ZeroDivisionError
        assert counts() == [1, 0, 1, 2]

    def test_a_scan_is_ordered_by_all_its_columns(self, storage: Storage) -> None:
        rows = [
            a_row(Entry, f"txn_{user}{number}", user_id=user, sequence=number)
            for number in (3, 1, 2)
            for user in ("bob", "ada")
        ]
        put(storage, *rows)
        scanned = [
            (row.user_id, row.sequence)
            for row in storage.scan(Entry, order=("user_id", "sequence"))
        ]
        assert scanned == [(user, number) for user in ("ada", "bob") for number in (1, 2, 3)]

    def test_a_scan_may_be_left_in_the_middle(self, storage: Storage) -> None:
        put(storage, *(a_row(Wallet, f"user{number:03}") for number in range(100)))
        scan = storage.scan(Wallet, order=("user_id",))
        assert next(iter(scan)).user_id == "user000"
        put(storage, a_row(Wallet, "zoe"))
        del scan
        assert storage.get(Wallet, "zoe") is not None

    def test_what_it_rests_on_is_told_and_nothing_is_amiss(self, storage: Storage) -> None:
        put(storage, a_row(Wallet, "ada"))
        traits = storage.inspect()
        assert traits.kind
        assert traits.is_writable
        assert [setting for setting in traits.settings if not setting.fits] == []
        assert not any((traits.missing_indexes, traits.missing_rights, traits.unchecked))
        assert storage.inspect() == traits
        put(storage, a_row(Wallet, "bob"))


def walk(
    storage: Storage,
    kind: type[R],
    where: Mapping[str, str | int],
    *,
    order: Sequence[str],
    limit: int,
    descending: bool = False,
    ending: str | None = None,
) -> list[R]:
    """All rows of a listing, page by page; whoever holds a snapshot sees the same pages."""
    seen: list[R] = []
    after: tuple[str | int, ...] | None = None
    with storage.snapshot() as reader:
        for _ in range(PAGES_MAX):
            page, again = (
                read.page(
                    kind,
                    where,
                    order=order,
                    after=after,
                    limit=limit,
                    descending=descending,
                    ending=ending,
                )
                for read in (storage, reader)
            )
            assert page == again
            assert len(page) <= limit
            if not page:
                return seen
            seen += page
            after = tuple(getattr(page[-1], name) for name in order)
    raise AssertionError("the pages never end")
