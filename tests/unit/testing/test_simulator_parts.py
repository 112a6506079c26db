"""The simulator's pure parts: decoding, checking, naming, signing, listing."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_payments.testing.simulator.account import Account
from credit_payments.testing.simulator.cards import BY_NAME, BY_NUMBER, DECLINES, passes_luhn
from credit_payments.testing.simulator.changes import merge_metadata, previous_attributes
from credit_payments.testing.simulator.clock import SimulatedClock
from credit_payments.testing.simulator.currencies import check_amount, check_currency
from credit_payments.testing.simulator.expansion import expanded
from credit_payments.testing.simulator.faults import Faults
from credit_payments.testing.simulator.form import decode_form
from credit_payments.testing.simulator.idempotency import IdempotencyKeys, Stored
from credit_payments.testing.simulator.ids import IdFactory
from credit_payments.testing.simulator.inprocess import form_pairs
from credit_payments.testing.simulator.listing import list_page, matches
from credit_payments.testing.simulator.params import Schema, hash_of, integer, metadata, string
from credit_payments.testing.simulator.problems import BadParameter, Problem
from credit_payments.testing.simulator.signing import signature_header
from credit_payments.testing.simulator.table import Table


def test_nested_form_parameters_become_hashes_and_lists() -> None:
    text = "a[b][c]=1&list[]=x&list[]=y&rows[1][k]=b&rows[0][k]=a&metadata[0]=zero&empty="
    assert decode_form(text) == {
        "a": {"b": {"c": "1"}},
        "list": ["x", "y"],
        "rows": [{"k": "a"}, {"k": "b"}],
        "metadata": {"0": "zero"},
        "empty": "",
    }


@pytest.mark.parametrize(
    "text",
    ["a[=1", "[a]=1", "a=1&a[b]=2", "a]b=1", "a" + "[b]" * 9 + "=1", "&".join(["a=1"] * 2001)],
)
def test_malformed_form_parameters_are_refused(text: str) -> None:
    with pytest.raises(BadParameter):
        decode_form(text)


@given(st.text(max_size=200))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    with suppress(BadParameter):
        assert isinstance(decode_form(text), dict)


def test_a_schema_names_nested_parameters_in_full() -> None:
    schema = Schema("amount", amount=integer(1), card=hash_of("number", number=string()))
    assert schema.read({"amount": "5"}) == {"amount": 5}
    for raw, code, param in (
        ({}, "parameter_missing", "amount"),
        ({"amount": "5", "card": {"x": "1"}}, "parameter_unknown", "card[x]"),
        ({"amount": "5", "card": {}}, "parameter_missing", "card[number]"),
        ({"amount": ""}, "parameter_invalid_integer", "amount"),
        ({"amount": "1.0"}, "parameter_invalid_integer", "amount"),
        ({"amount": "\u0661"}, "parameter_invalid_integer", "amount"),
    ):
        with pytest.raises(BadParameter) as caught:
            schema.read(raw)
        assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    "raw",
    [
        {"k" * 41: "v"},
        {"k": "v" * 501},
        {str(n): "v" for n in range(51)},
        {"k": {"nested": "v"}},
        "text",
    ],
)
def test_metadata_has_stripes_limits(raw: Any) -> None:
    with pytest.raises(BadParameter):
        metadata()(raw, "metadata")


def test_metadata_merges_deletes_and_clears() -> None:
    assert merge_metadata({"a": "1", "b": "2"}, {"b": "", "c": "3"}) == {"a": "1", "c": "3"}
    assert merge_metadata({"a": "1"}, None) == {}


def test_previous_attributes_hold_the_old_values_of_what_differs() -> None:
    before = {"a": 1, "same": 2, "m": {"x": "1", "y": "2"}}
    after = {"a": 2, "same": 2, "m": {"x": "1", "y": "3", "z": "4"}}
    assert previous_attributes(before, after) == {"a": 1, "m": {"y": "2", "z": None}}


def test_each_kind_of_id_counts_for_itself() -> None:
    one, other = IdFactory(3), IdFactory(3)
    one.new("cus")
    assert one.new("pi") == other.new("pi") != one.new("pi")
    assert one.new("cus").startswith("cus_")


def test_the_clock_moves_forward_only() -> None:
    clock = SimulatedClock(datetime(2026, 1, 1, tzinfo=UTC))
    began = clock.now()
    assert clock.advance(60) == began + 60
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)
    clock.reset()
    assert clock.now() == began
    with pytest.raises(ValueError, match="time zone"):
        SimulatedClock(datetime(2026, 1, 1))  # noqa: DTZ001


def test_every_test_card_is_a_card_number_with_a_known_outcome() -> None:
    for card in [*BY_NAME.values(), *BY_NUMBER.values()]:
        assert passes_luhn(card.number), card
        assert card.decline is None or card.decline in DECLINES


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (50, "usd", None),
        (49, "usd", "amount_too_small"),
        (29, "gbp", "amount_too_small"),
        (50, "jpy", None),
        (99_999_999, "usd", None),
        (100_000_000, "usd", "amount_too_large"),
        (1005, "kwd", "invalid_charge_amount"),
        (150, "isk", "invalid_charge_amount"),
    ],
)
def test_amounts_have_the_bounds_of_their_currency(
    amount: int, currency: str, code: str | None
) -> None:
    if code is None:
        check_amount(amount, currency)
        return
    with pytest.raises(BadParameter) as caught:
        check_amount(amount, currency)
    assert caught.value.code == code


def test_currencies_are_lower_cased_and_known() -> None:
    assert check_currency("USD") == "usd"
    with pytest.raises(BadParameter):
        check_currency("xyz")


def test_a_signature_is_an_hmac_over_time_and_body() -> None:
    expected = hmac.new(b"whsec_x", b"12.{}", hashlib.sha256).hexdigest()
    assert signature_header(b"{}", secret="whsec_x", timestamp=12) == f"t=12,v1={expected}"


def test_pages_end_where_the_rows_end() -> None:
    table = Table("thing")
    for number in range(5):
        table.add({"id": str(number), "created": number})

    def page(**params: Any) -> tuple[list[str], bool]:
        found = list_page(table, params, url="/v1/x", where=lambda _row: True)
        return [row["id"] for row in found["data"]], found["has_more"]

    assert page(limit=5) == (["4", "3", "2", "1", "0"], False)
    assert page(limit=2, starting_after="2") == (["1", "0"], False)
    assert page(limit=1, starting_after="2") == (["1"], True)
    assert page(limit=2, ending_before="1") == (["3", "2"], True)
    assert page(limit=3, ending_before="1") == (["4", "3", "2"], False)
    assert page(created={"gt": 1, "lte": 3}) == (["3", "2"], False)
    assert page(created={"gte": 1, "lt": 2}) == (["1"], False)
    for params in ({"starting_after": "9"}, {"starting_after": "1", "ending_before": "3"}):
        with pytest.raises(Problem):
            page(**params)


@given(
    created=st.lists(st.integers(0, 9), max_size=12),
    bounds=st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.integers(0, 9)),
    only=st.sampled_from([None, "a", "b", "none"]),
    limit=st.integers(1, 5),
    direction=st.sampled_from([None, "starting_after", "ending_before"]),
    data=st.data(),
)
def test_a_page_is_what_a_search_through_everything_finds(
    created: list[int],
    bounds: dict[str, int],
    only: str | None,
    limit: int,
    direction: str | None,
    data: st.DataObject,
) -> None:
    # A clock that was set back is among these, as is a cursor outside of the filter.
    table = Table("thing", "owner")
    for number, moment in enumerate(created):
        table.add({"id": str(number), "created": moment, "owner": "ab"[number % 2]})
    params: dict[str, Any] = {"limit": limit, "created": bounds}
    if only is not None:
        params["owner"] = only
    newest = list(table.newest_first())
    if direction is not None and newest:
        params[direction] = data.draw(st.sampled_from(newest))["id"]
        cut = next(n for n, row in enumerate(newest) if row["id"] == params[direction])
        newest = newest[cut + 1 :] if direction == "starting_after" else newest[:cut]
    compare = {"gt": int.__gt__, "gte": int.__ge__, "lt": int.__lt__, "lte": int.__le__}
    found = [
        row
        for row in newest
        if only in (None, row["owner"])
        and all(compare[name](row["created"], moment) for name, moment in bounds.items())
    ]
    expected = found[-limit:] if "ending_before" in params else found[:limit]
    page = list_page(table, params, url="/v1/x", where=matches(params, "owner"))
    assert page["data"] == expected
    assert page["has_more"] == (len(found) > limit)


def test_a_table_that_forgets_its_oldest_finds_the_others() -> None:
    table = Table("thing", "owner")
    for number in range(6):
        table.add({"id": str(number), "created": number, "owner": "ab"[number % 2]})
    table.remove("5")
    table.keep_newest(3)
    assert [row["id"] for row in table.newest_first()] == ["4", "3", "2"]
    assert [row["id"] for row in table.of("owner", "a")] == ["4", "2"]
    page = list_page(table, {"starting_after": "4"}, url="/v1/x", where=lambda _row: True)
    assert [row["id"] for row in page["data"]] == ["3", "2"]
    with pytest.raises(Problem, match="No such thing"):
        list_page(table, {"starting_after": "1"}, url="/v1/x", where=lambda _row: True)


def test_parameters_are_flattened_as_they_are_read() -> None:
    params = {"a": {"b": [1, {"c": None}]}, "yes": True, "metadata": {"k": "v&="}}
    assert decode_form(urlencode(list(form_pairs(params)))) == {
        "a": {"b": ["1", {"c": ""}]},
        "yes": "true",
        "metadata": {"k": "v&="},
    }


def test_expanding_replaces_ids_and_refuses_plain_fields() -> None:
    account = Account(seed=0, clock=SimulatedClock(1), api_version="2023-10-16")
    account.customers.add({"id": "cus_1", "object": "customer", "created": 1})
    row = {"object": "payment_intent", "customer": "cus_1", "amount": 5, "latest_charge": None}
    assert expanded(account, row, ["customer"])["customer"]["object"] == "customer"
    assert expanded(account, row, ["latest_charge.customer"]) == row
    assert row["customer"] == "cus_1"
    for path in ("amount", "nothing", "customer.x", "a.b.c.d.e"):
        with pytest.raises(Problem):
            expanded(account, row, [path])


def test_idempotency_keys_are_scoped_and_freed_when_nothing_began() -> None:
    keys = IdempotencyKeys()
    assert keys.begin("", "k", "request", now=0) is None
    assert keys.begin("acct_other", "k", "another", now=0) is None
    with pytest.raises(Problem, match="in progress"):
        keys.begin("", "k", "request", now=0)
    keys.finish("", "k", None)
    assert keys.begin("", "k", "another", now=0) is None
    answer = Stored(200, b"{}", "req_1")
    keys.finish("", "k", answer)
    assert keys.begin("", "k", "another", now=24 * 3600 - 1) is answer
    assert keys.begin("", "k", "third", now=24 * 3600) is None


def test_faults_wait_for_the_request_they_were_planned_for() -> None:
    faults = Faults()
    faults.next(500, times=2, method="post", path="/v1/refunds*")
    faults.next(429)
    assert faults.take("GET", "/v1/refunds").problem.status == 429  # type: ignore[union-attr]
    assert faults.take("GET", "/v1/refunds") is None
    for _ in range(2):
        assert faults.take("POST", "/v1/refunds").problem.status == 500  # type: ignore[union-attr]
    assert faults.take("POST", "/v1/refunds") is None
    with pytest.raises(ValueError, match="not an error"):
        faults.next(200)
    with pytest.raises(ValueError, match="times"):
        faults.next(500, times=0)
