"""Cursors lead back to the row they were made from, and nothing else is one."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_payments.domain import cursors
from credit_payments.domain.records import Event
from credit_payments.errors import InvalidRequest

ORDER = ("received_at", "event_id")

KEPT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=200)


@given(KEPT, KEPT)
def test_a_cursor_leads_back_to_its_row(instant: str, name: str) -> None:
    try:
        (instant + name).encode()
    except UnicodeEncodeError:
        return
    cursor = cursors.encode(Event(name, "t", "", "", instant), ORDER)
    assert cursors.decode(cursor, [str, str]) == [instant, name]
    assert cursor.isascii()
    assert not set(cursor) & set("+/=& ")


def test_no_cursor_is_the_beginning() -> None:
    assert cursors.decode(None, [str]) is None


@given(st.one_of(st.text(), st.binary(), st.integers(), st.none()))
def test_anything_else_is_refused_or_has_the_right_columns(value: object) -> None:
    try:
        position = cursors.decode(value, [int])
    except InvalidRequest:
        return
    assert position is None or isinstance(position[0], int)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_a_number_that_no_column_holds_is_refused(number: int) -> None:
    cursor = base64.urlsafe_b64encode(msgspec.json.encode([number])).decode()
    with pytest.raises(InvalidRequest):
        cursors.decode(cursor, [int])


def test_a_nul_is_in_no_position() -> None:
    with pytest.raises(InvalidRequest):
        cursors.decode(cursors.of_position(["a\0"]), [str])


def test_a_page_has_a_cursor_only_where_more_was_found() -> None:
    rows = [Event(f"evt_{number}", "t", "", "", "now") for number in range(3)]
    assert cursors.split(rows, 3, ORDER) == (rows, None)
    shown, cursor = cursors.split(rows, 2, ORDER)
    assert shown == rows[:2]
    assert cursors.decode(cursor, [str, str]) == ["now", "evt_1"]
    assert cursors.split([], 2, ORDER) == ([], None)
