# ruff: noqa: D102, S101 - the names of the tests are their documentation
"""Rows come back as they were written; and the end."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest

from credit_payments.domain.decision import Range, Series
from credit_payments.domain.records import (
    RECORDS,
    Incident,
    Key,
    Quote,
    Record,
    Wallet,
)
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.storage import Storage
from credit_payments.testing.contracts.tools import (
    UNUSUAL_LINES,
    UNUSUAL_NUMBERS,
    UNUSUAL_TEXTS,
    a_row,
    first,
    load,
    order_within_group,
    put,
    types_of,
)


class RowContract:
    """What one row is promised, and what closing is."""

    @pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
    def test_a_row_comes_back_as_it_was_written(self, storage: Storage, kind: type[Record]) -> None:
        full, bare = a_row(kind, "full", optional="given"), a_row(kind, "bare", optional=None)
        put(storage, full, bare)
        assert storage.get(kind, "full") == full
        assert storage.get(kind, "bare") == bare
        assert load(storage, [(kind, "bare"), (kind, "full")]) == {
            (kind, "full"): full,
            (kind, "bare"): bare,
        }

    @pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
    def test_a_row_that_was_never_written_is_not_there(
        self, storage: Storage, kind: type[Record]
    ) -> None:
        assert storage.get(kind, "nobody") is None
        assert load(storage, [(kind, "nobody")]) == {}
        assert list(storage.scan(kind, order=(kind.KEY,))) == []

    def test_unusual_keys_stay_apart_and_come_back(self, storage: Storage) -> None:
        rows = [a_row(Wallet, key, head=key) for key in UNUSUAL_TEXTS]
        put(storage, *rows)
        assert [storage.get(Wallet, row.user_id) for row in rows] == rows
        found = load(storage, [(Wallet, row.user_id) for row in rows])
        assert found == {(Wallet, row.user_id): row for row in rows}
        for row in rows:
            assert storage.page(Wallet, {"head": row.head}, order=("user_id",), limit=9) == [row]

    def test_text_with_line_breaks_and_control_characters_comes_back(
        self, storage: Storage
    ) -> None:
        row = a_row(Incident, "payment:pi_1", reason=UNUSUAL_LINES, facts=UNUSUAL_LINES)
        put(storage, row)
        assert storage.get(Incident, row.incident_id) == row
        assert load(storage, [(Incident, row.incident_id)]) == {(Incident, row.incident_id): row}

    @pytest.mark.parametrize("number", UNUSUAL_NUMBERS)
    def test_integers_keep_every_digit(self, storage: Storage, number: int) -> None:
        row = a_row(Wallet, "ada", available=number)
        put(storage, row)
        assert storage.get(Wallet, "ada") == row
        assert load(storage, [(Wallet, "ada")]) == {(Wallet, "ada"): row}

    @pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
    @pytest.mark.parametrize("number", [0, 1, 2**31, 2**53 + 1, -(2**63)])
    def test_whatever_way_a_row_is_read_it_holds_plain_text_and_numbers(
        self, storage: Storage, kind: type[Record], number: int
    ) -> None:
        row = a_row(kind, "key", optional="given", numbers=number)
        put(storage, row)
        order = (kind.KEY,)
        with storage.snapshot() as reader:
            read = [
                storage.get(kind, "key"),
                *load(storage, [(kind, "key")]).values(),
                *storage.page(kind, {}, order=order, limit=2),
                *storage.scan(kind, order=order),
                *reader.scan(kind, order=order),
            ]
        if kind.GROUP:
            asked = Range(Series(kind, getattr(row, kind.GROUP), (), order_within_group(kind)), 2)
            read += first(storage, asked)[asked]
        found = [one for one in read if one is not None]
        assert found == [row] * len(read)
        assert types_of(found) <= {int, str, type(None)}

    @pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 1_000])
    def test_any_number_of_rows_is_written_and_loaded_at_once(
        self, storage: Storage, count: int
    ) -> None:
        rows = [a_row(Wallet, f"user{number}", entries=number) for number in range(count)]
        put(storage, *rows)
        keys: list[Key] = [(Wallet, row.user_id) for row in rows]
        missing: list[Key] = [(Wallet, f"nobody{number}") for number in range(count)]
        asked = [key for pair in zip(missing, keys, strict=True) for key in pair] + keys
        assert load(storage, asked) == {(Wallet, row.user_id): row for row in rows}
        changed = [msgspec.structs.replace(row, available=-row.entries) for row in rows]
        with storage.transaction() as transaction:
            transaction.load(keys)
            transaction.write([], changed)
        assert load(storage, keys) == {(Wallet, row.user_id): row for row in changed}

    def test_nothing_asked_and_nothing_written_is_fine(self, storage: Storage) -> None:
        with storage.transaction() as transaction:
            assert transaction.load([]) == {}
            assert transaction.first([]) == {}
            transaction.write([], [])

    def test_an_update_changes_the_mutable_columns_and_no_other(self, storage: Storage) -> None:
        before = a_row(Quote, "quote_1", optional=None, user_id="ada", credits=100)
        put(storage, before)
        after = msgspec.structs.replace(
            before, payment_intent_id="pi_1", user_id="eve", credits=10**6
        )
        with storage.transaction() as transaction:
            transaction.load([(Quote, "quote_1")])
            transaction.write([], [after])
        kept = msgspec.structs.replace(before, payment_intent_id="pi_1")
        assert storage.get(Quote, "quote_1") == kept

    def test_closing_twice_is_safe(self, storage: Storage) -> None:
        put(storage, a_row(Wallet, "ada"))
        storage.close()
        storage.close()

    def test_after_closing_a_call_works_or_says_that_the_storage_is_unavailable(
        self, storage: Storage
    ) -> None:
        storage.close()
        with suppress(StorageUnavailable):
            storage.get(Wallet, "ada")
        with suppress(StorageUnavailable):
            put(storage, a_row(Wallet, "ada"))
        storage.close()
