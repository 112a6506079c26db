"""How many credits a refund takes back: a pure function of the refunds, in any order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_payments.domain import reversal
from credit_payments.domain.stripe_facts import RefundFacts

STATUSES = ("pending", "requires_action", "succeeded", "failed", "canceled")


def merged(*reports: tuple[str, int, str | None]) -> str:
    text = "{}"
    for name, amount, status in reports:
        text = reversal.merge_refund(text, RefundFacts(name, amount, "usd", status))
    return text


def taken_back(text: str, granted: int = 100, paid_minor: int = 1_000) -> int:
    return reversal.credits_reversed(text, granted=granted, paid_minor=paid_minor)


@pytest.mark.parametrize("end", ["failed", "canceled"])
def test_a_refund_that_failed_takes_nothing_in_whatever_order_it_is_told(end: str) -> None:
    for order in itertools.permutations([("re_1", 500, s) for s in ("pending", "succeeded", end)]):
        assert taken_back(merged(*order)) == 0


@pytest.mark.parametrize("status", ["pending", "requires_action", "succeeded", None, "new_word"])
def test_a_refund_on_its_way_counts(status: str | None) -> None:
    assert taken_back(merged(("re_1", 500, status))) == 50


def test_a_refund_told_twice_counts_once() -> None:
    assert taken_back(merged(*[("re_1", 500, "succeeded")] * 3)) == 50


def test_more_than_was_paid_takes_all_and_no_more() -> None:
    assert taken_back(merged(("re_1", 900, "succeeded"), ("re_2", 900, "succeeded"))) == 100
    assert taken_back(merged(("re_1", 900, "succeeded")), paid_minor=0) == 0


reports = st.tuples(
    st.sampled_from(["re_1", "re_2", "re_3"]), st.just(300), st.sampled_from(STATUSES)
)


@given(st.lists(reports, max_size=8).flatmap(lambda r: st.tuples(st.just(r), st.permutations(r))))
@settings(max_examples=200, deadline=None)
def test_any_order_takes_back_the_same(
    orders: tuple[list[tuple[str, int, str]], list[tuple[str, int, str]]],
) -> None:
    one, other = orders
    assert taken_back(merged(*one)) == taken_back(merged(*other))
    assert taken_back(merged(*one, *one)) == taken_back(merged(*one))


@given(st.integers(1, 10**12), st.integers(1, 10**9), st.integers(0, 10**9))
def test_the_share_is_exact_and_rounded_down(granted: int, paid: int, refunded: int) -> None:
    back = taken_back(merged(("re_1", refunded, "succeeded")), granted, paid)
    assert 0 <= back <= granted
    if refunded >= paid:
        assert back == granted
    else:
        assert back * paid <= granted * refunded < (back + 1) * paid
