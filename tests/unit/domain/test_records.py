"""The rows are described well enough for any storage to keep them."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from credit_payments.domain.records import RECORDS, Record


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
def test_what_a_record_says_about_itself_is_true(kind: type[Record]) -> None:
    fields = kind.__struct_fields__
    hints = get_type_hints(kind)
    assert hints[kind.KEY] is str
    assert {hints[name] for name in fields} <= {str, int, str | None, int | None}
    named = {*kind.MUTABLE, *(name for group in (*kind.UNIQUE, *kind.INDEXES) for name in group)}
    assert named <= set(fields)
    assert kind.KEY not in kind.MUTABLE
    # What orders or identifies a row never changes under a listing, except a status listed by.
    ordering = {name for group in kind.INDEXES for name in group[1:]}
    assert not ordering & set(kind.MUTABLE)
    assert not {name for group in kind.UNIQUE for name in group} & set(kind.MUTABLE)


def test_every_record_has_a_table_of_its_own() -> None:
    assert len({kind.TABLE for kind in RECORDS}) == len(RECORDS)
    direct = set(Record.__subclasses__())
    assert direct == set(RECORDS)


@pytest.mark.parametrize(
    "table", ["credit_purchases", "failed_payments", "disputes", "stripe_customers"]
)
def test_the_documented_collections_exist(table: str) -> None:
    assert table in {kind.TABLE for kind in RECORDS}
