"""The rows are described well enough for any storage to keep them."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from credit_payments.domain import inbox, lots
from credit_payments.domain.decision import Series
from credit_payments.domain.records import RECORDS, Event, Hold, Lot, Notification, Record

MOVING: dict[type[Record], set[str]] = {
    Lot: {"open"},
    Hold: {"open", "lapses_at"},
    Notification: {"status", "due_at"},
    Event: {"status", "due_at"},
}
"""What may change although rows are found by it: their groups are read in a transaction, where
nobody else changes them. Of these kinds only open lots are listed, and `open` does not order."""


def every_index(kind: type[Record]) -> list[tuple[str, ...]]:
    return [*kind.INDEXES, *(index for _, index in kind.SPARSE)]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
def test_what_a_record_says_about_itself_is_true(kind: type[Record]) -> None:
    fields = kind.__struct_fields__
    hints = get_type_hints(kind)
    assert hints[kind.KEY] is str
    assert {hints[name] for name in fields} <= {str, int, str | None, int | None}
    indexes = every_index(kind)
    named = {*kind.MUTABLE, *(name for group in (*kind.UNIQUE, *indexes) for name in group)}
    assert named <= set(fields)
    for column, index in kind.SPARSE:
        assert hints[column] is str
        assert column in index
    assert kind.KEY not in kind.MUTABLE
    # What orders or identifies a row never changes under a listing, except a status listed by.
    ordering = {name for group in indexes for name in group[1:]}
    assert ordering & set(kind.MUTABLE) == MOVING.get(kind, set())
    assert not {name for group in kind.UNIQUE for name in group} & set(kind.MUTABLE)


@pytest.mark.parametrize(
    "kind", [kind for kind in RECORDS if kind.GROUP], ids=lambda kind: kind.TABLE
)
def test_the_rows_of_a_group_are_found_by_an_index_of_their_kind(kind: type[Record]) -> None:
    assert kind.GROUP is not None
    assert get_type_hints(kind)[kind.GROUP] is str
    assert kind.GROUP in {index[0] for index in every_index(kind)}
    assert kind.GROUP not in kind.MUTABLE


@pytest.mark.parametrize(
    "series",
    [lots.to_spend("ada"), lots.to_expire("ada"), lots.to_lapse("ada"), inbox.due("0")],
    ids=str,
)
def test_every_series_that_is_asked_for_has_an_index(series: Series) -> None:
    columns = (series.kind.GROUP, *(name for name, _ in series.equals), *series.order)
    if series.ending is None:
        assert columns in series.kind.INDEXES
    else:
        assert (series.ending, columns) in series.kind.SPARSE


def test_every_record_has_a_table_of_its_own() -> None:
    assert len({kind.TABLE for kind in RECORDS}) == len(RECORDS)
    direct = set(Record.__subclasses__())
    assert direct == set(RECORDS)


@pytest.mark.parametrize(
    "table", ["credit_purchases", "failed_payments", "disputes", "stripe_customers"]
)
def test_the_documented_collections_exist(table: str) -> None:
    assert table in {kind.TABLE for kind in RECORDS}
