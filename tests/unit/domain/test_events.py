"""Reading a signed body: bounded, strict, and in time that grows with its length only."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_payments.domain import events
from credit_payments.domain.stripe_facts import ChargeFacts, ref_id
from credit_payments.errors import InvalidPayload


def body(**given: object) -> bytes:
    fields = {"id": "evt_1", "type": "x.y", "created": 1, "data": {"object": {}}}
    return json.dumps({**fields, **given}).encode()


def nested(depth: int) -> bytes:
    """An event whose deepest bracket is that deep."""
    inside = "[" * (depth - 1) + "]" * (depth - 1)
    return body(other=0).replace(b'"other": 0', b'"other": ' + inside.encode())


def test_nesting_up_to_the_bound_is_read_and_beyond_it_refused() -> None:
    assert events.read_event(nested(events.DEPTH_MAX)).id == "evt_1"
    with pytest.raises(InvalidPayload, match="deep"):
        events.read_event(nested(events.DEPTH_MAX + 1))


def test_many_shallow_brackets_are_no_depth() -> None:
    assert events.read_event(body(other=[[{}] * 3] * 500)).id == "evt_1"


@pytest.mark.parametrize(
    "text", ["[" * 200, '\\"' * 40 + "[" * 200, "\\", "\\\\[" * 200, "é[" * 99]
)
def test_brackets_within_text_are_text(text: str) -> None:
    assert events.read_event(body(other=text)).id == "evt_1"


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 80 + b'"' + b'\\"' * 400_000,
        b"[" * 80 + b'"' * 800_001,
        b'{"a":' * 160_000,
        b"[" * 80 + b'"' + b"\\" * 800_001,
    ],
    ids=["escaped quotes", "quotes", "objects", "backslashes"],
)
def test_no_body_takes_longer_than_its_length_warrants(text: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(InvalidPayload):
        events.read_event(text)
    assert time.perf_counter() - start < 2


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_invalid(given_bytes: bytes) -> None:
    with pytest.raises(InvalidPayload):
        events.read_event(given_bytes)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_any_object_of_a_known_type_is_read_or_invalid(value: object) -> None:
    text = body(type="payment_intent.succeeded", data={"object": value})
    with pytest.raises(InvalidPayload):
        events.read_event(text)


CHARGE = {
    "id": "ch_1",
    "object": "charge",
    "amount": 1_000,
    "amount_refunded": 300,
    "currency": "usd",
    "payment_intent": {"id": "pi_1", "object": "payment_intent"},
    "refunded": False,
    "refunds": {"object": "list", "data": []},
}


@pytest.mark.parametrize("name", ["ch_1", "py_1"])
def test_what_a_charge_says_of_its_refunds_is_read(name: str) -> None:
    text = body(type="charge.refunded", data={"object": {**CHARGE, "id": name}})
    facts = events.read_event(text).facts
    assert isinstance(facts, ChargeFacts)
    assert (facts.id, facts.amount_refunded, facts.currency) == (name, 300, "usd")
    assert ref_id(facts.payment_intent) == "pi_1"


@pytest.mark.parametrize(
    "changes",
    [
        {"object": "refund"},
        {"id": "re_1"},
        {"id": "pi_1"},
        {"amount_refunded": -1},
        {"amount_refunded": "300"},
        {"amount_refunded": 1.5},
        {"currency": None},
        {"payment_intent": 7},
    ],
    ids=str,
)
def test_a_charge_that_cannot_be_right_is_invalid(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidPayload):
        events.read_event(body(type="charge.refunded", data={"object": {**CHARGE, **changes}}))


def test_other_events_about_charges_are_not_read() -> None:
    for name in ("charge.succeeded", "charge.updated", "charge.captured"):
        assert events.read_event(body(type=name, data={"object": CHARGE})).facts is None


def test_an_object_of_another_type_is_not_read() -> None:
    assert events.read_event(body()).facts is None
