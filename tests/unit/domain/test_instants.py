"""Instants as text: exact, sortable, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_payments.domain import instants

moments = st.datetimes(timezones=st.just(UTC))


@given(moments, moments)
def test_text_sorts_as_time_does_and_comes_back_exactly(one: datetime, other: datetime) -> None:
    texts = instants.to_text(one), instants.to_text(other)
    assert (texts[0] < texts[1]) is (one < other)
    assert instants.from_text(texts[0]) == one
    assert len(texts[0]) == len("2024-01-01T00:00:00.000000Z")


def test_another_zone_is_turned_into_utc() -> None:
    instant = datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert instants.to_text(instant) == "2024-01-01T00:00:00.000000Z"


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        instants.to_text(datetime(2024, 1, 1))  # noqa: DTZ001


def test_unix_seconds_become_text() -> None:
    assert instants.from_unix(0) == "1970-01-01T00:00:00.000000Z"
    assert instants.from_unix(253_402_300_799) == "9999-12-31T23:59:59.000000Z"
