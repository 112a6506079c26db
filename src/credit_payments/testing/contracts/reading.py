# ruff: noqa: D102, FBT001, S101 - the names of the tests are their documentation
"""Reading in order."""

from __future__ import annotations

import pytest

from credit_payments.domain.records import (
    Entry,
    Purchase,
    Wallet,
)
from credit_payments.ports.storage import Storage
from credit_payments.testing.contracts.tools import (
    UNUSUAL_TEXTS,
    a_row,
    put,
)


class ReadingContract:
    """Pages and scans."""

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
