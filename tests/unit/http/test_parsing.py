from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_payments.errors import InvalidRequest
from credit_payments.http.parsing import BODY_BYTES_MAX, Field, read_body, read_query

JSON = {"content-type": "application/json"}
FIELDS = (Field("user_id", required=True), Field("amount", "amount"))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else_happens(body: bytes) -> None:
    try:
        values = read_body(body, JSON, FIELDS)
    except InvalidRequest:
        return
    assert isinstance(values["user_id"], str)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["user_id", "amount", "other"]), JSON_VALUES))
def test_what_passes_has_the_documented_names_and_types(sent: dict[str, object]) -> None:
    try:
        values = read_body(json.dumps(sent).encode(), JSON, FIELDS)
    except InvalidRequest as error:
        json.dumps([error.message, error.param]).encode()
        return
    assert values.keys() <= {"user_id", "amount"}
    assert isinstance(values["user_id"], str)
    assert type(values.get("amount", 0)) in (int, Decimal)


@given(st.decimals(min_value=0, max_value=10**9, places=2))
def test_an_amount_keeps_every_digit(amount: Decimal) -> None:
    body = f'{{"user_id": "u", "amount": {amount}}}'.encode()
    assert str(read_body(body, JSON, FIELDS)["amount"]) == str(amount)


@given(st.binary(max_size=100))
def test_any_query_string_is_read_or_refused_and_nothing_else_happens(query: bytes) -> None:
    try:
        values = read_query(query, (Field("a"),))
    except InvalidRequest:
        return
    assert values.keys() <= {"a"}


def test_a_route_that_reads_no_query_takes_any() -> None:
    assert read_query(b"name[]=%ff", ()) == {}
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_query(b"name[]=%ff", (Field("a"),))


def test_a_body_of_exactly_the_bound_is_read() -> None:
    frame = b'{"user_id": "u"}'
    body = frame + b" " * (BODY_BYTES_MAX - len(frame))
    assert read_body(body, JSON, FIELDS) == {"user_id": "u"}
    with pytest.raises(InvalidRequest):
        read_body(body + b" ", JSON, FIELDS)


def test_text_has_a_bound_that_is_counted_in_characters() -> None:
    text = "\N{GRINNING FACE}" * 512
    assert read_body(json.dumps({"user_id": text}).encode(), JSON, FIELDS)["user_id"] == text
    with pytest.raises(InvalidRequest, match="at most 512") as caught:
        read_body(json.dumps({"user_id": text + "x"}).encode(), JSON, FIELDS)
    assert caught.value.param == "user_id"


def test_an_error_about_the_body_does_not_carry_the_body() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(b'{"email": "user@example.com"', JSON, FIELDS)
    error: BaseException | None = caught.value
    assert error is not None
    assert "example.com" not in str(error)
    assert error.__cause__ is None


def test_a_long_unknown_name_is_shortened_before_it_is_said_back() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(json.dumps({"x" * 5_000: 1}).encode(), JSON, FIELDS)
    assert caught.value.param == "x" * 64
