"""How many credits refunds and disputes take back: a pure function of the facts, in any order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_payments.domain import reversal
from credit_payments.domain.stripe_facts import (
    ChargeFacts,
    DisputeFacts,
    MovementFacts,
    RefundFacts,
)

STATUSES = ("pending", "requires_action", "succeeded", "failed", "canceled")


def merged(*reports: tuple[str, int, str | None]) -> str:
    text = "{}"
    for name, amount, status in reports:
        text = reversal.merge_refund(text, RefundFacts(name, amount, "usd", status))
    return text


def taken_back(text: str, granted: int = 100, paid_minor: int = 1_000) -> int:
    due = reversal.due(text, reversal.NOTHING, granted=granted, paid_minor=paid_minor)
    assert (due.disputed, due.locked) == (0, False)
    return due.refunded


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


def test_refunds_that_came_to_nothing_are_counted() -> None:
    assert reversal.failed_refunds(reversal.NOTHING) == 0
    known = merged(("re_1", 1, "failed"), ("re_2", 1, "canceled"), ("re_3", 1, "succeeded"))
    assert reversal.failed_refunds(known) == 2


# -- what a charge says of all of its refunds ---------------------------------------------------


def charged(*amounts: int, text: str = "{}", name: str = "ch_1") -> str:
    for amount in amounts:
        text = reversal.merge_refund(text, ChargeFacts(name, "usd", amount))
    return text


def test_a_refund_is_counted_though_only_its_charge_tells_of_it() -> None:
    assert taken_back(charged(500)) == 50
    assert taken_back(charged(0)) == 0
    assert taken_back(charged(5_000)) == 100


def test_the_most_that_a_charge_ever_said_counts_once() -> None:
    for order in itertools.permutations([300, 700, 500]):
        assert charged(*order) == charged(*order, *order) == '{"ch_1":[700,"charge"]}'


def test_a_refund_that_is_told_by_itself_and_by_its_charge_counts_once() -> None:
    for told in (500, 300):
        both = merged(("re_1", 500, "succeeded"))
        assert taken_back(charged(told, text=both)) == 50
    assert taken_back(charged(700, text=merged(("re_1", 500, "pending")))) == 70
    assert (
        taken_back(charged(700, text=merged(("re_1", 500, "succeeded"), ("re_2", 900, None))))
        == 100
    )


def test_a_refund_that_failed_is_taken_off_what_its_charge_said() -> None:
    failed = merged(("re_1", 500, "failed"))
    assert taken_back(charged(500, text=failed)) == 0
    assert taken_back(charged(700, text=failed)) == 20
    assert taken_back(charged(300, text=failed)) == 0
    assert taken_back(charged(800, text=merged(("re_1", 500, "failed"), ("re_2", 300, None)))) == 30
    assert reversal.failed_refunds(charged(700, text=failed)) == 1


@given(
    st.permutations(
        [("re_1", 300, "succeeded"), ("re_2", 400, "pending"), ("re_2", 400, "failed"), 300, 700]
    )
)
def test_any_order_of_refunds_and_charges_takes_back_the_same(order: list[Any]) -> None:
    text = "{}"
    for told in order:
        if isinstance(told, int):
            text = charged(told, text=text)
        else:
            text = reversal.merge_refund(text, RefundFacts(told[0], told[1], "usd", told[2]))
    assert taken_back(text) == 30


# -- disputes ---------------------------------------------------------------------------------

WITHDRAWN, REINSTATED = "charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated"
UPDATED = "charge.dispute.updated"
TAKEN, GIVEN_BACK = MovementFacts("txn_1", -500), MovementFacts("txn_2", 500)
Telling = tuple[str, str, list[MovementFacts | str]]
"""An event's type, and the dispute's status and balance transactions in it."""


def disputed(*told: Telling, amount: int = 500, name: str = "dp_1", text: str = "{}") -> str:
    for event_type, status, movements in told:
        facts = DisputeFacts(
            name, amount, "usd", "general", status, 1, balance_transactions=movements
        )
        text = reversal.merge_dispute(text, facts, event_type)
    return text


def due(disputes: str, refunds: str = reversal.NOTHING) -> reversal.Due:
    return reversal.due(refunds, disputes, granted=100, paid_minor=1_000)


@pytest.mark.parametrize(
    "status",
    ["needs_response", "under_review", "warning_needs_response", "warning_under_review", "new"],
)
def test_an_open_dispute_freezes_until_its_money_is_withdrawn(status: str) -> None:
    assert due(disputed((UPDATED, status, []))) == (0, 0, True)
    assert due(disputed((UPDATED, status, ["txn_1"]))) == (0, 0, True)
    assert due(disputed((UPDATED, status, [TAKEN]))) == (0, 50, False)
    assert due(disputed((WITHDRAWN, status, []))) == (0, 50, False)


@pytest.mark.parametrize("status", ["won", "warning_closed", "prevented"])
def test_a_dispute_that_ended_well_takes_and_freezes_nothing(status: str) -> None:
    opened: Telling = (UPDATED, "needs_response", [])
    assert due(disputed(opened, (UPDATED, status, []))) == (0, 0, False)
    assert due(disputed(opened, (WITHDRAWN, status, []), (REINSTATED, status, []))).disputed == 0
    both: Telling = (UPDATED, status, [TAKEN, GIVEN_BACK])
    assert due(disputed(opened, both)) == (0, 0, False)


def test_a_lost_dispute_takes_back_even_when_nobody_told_of_its_money() -> None:
    assert due(disputed((UPDATED, "lost", []))) == (0, 50, False)
    assert due(disputed((UPDATED, "lost", [TAKEN, GIVEN_BACK]))) == (0, 0, False)


def test_money_in_the_currency_of_the_account_counts_by_its_proportion() -> None:
    taken = MovementFacts("txn_1", -463)
    half = MovementFacts("txn_2", 231)
    assert due(disputed((UPDATED, "lost", [taken]))).disputed == 50
    assert due(disputed((UPDATED, "lost", [taken, half]))).disputed == 25


@pytest.mark.parametrize("back", [1, 450, 463, 480])
def test_what_came_back_of_a_dispute_that_was_won_is_all_of_it(back: int) -> None:
    """The rate may have moved: https://docs.stripe.com/currencies/disputes-refunds."""
    taken, given_back = MovementFacts("txn_1", -463), MovementFacts("txn_2", back)
    told: list[Telling] = [
        (WITHDRAWN, "needs_response", [taken]),
        (REINSTATED, "under_review", [taken, given_back]),
        (UPDATED, "won", [taken]),
    ]
    for order in itertools.permutations(told):
        assert due(disputed(*order)) == (0, 0, False)
    assert due(disputed((UPDATED, "won", [taken]))).disputed == 50, "nothing came back yet"


def test_a_dispute_and_refunds_take_back_no_more_than_everything() -> None:
    lost: Telling = (UPDATED, "lost", [])
    assert due(disputed(lost, amount=1_000), merged(("re_1", 300, "succeeded"))) == (30, 70, False)
    assert due(disputed(lost), merged(("re_1", 1_000, "succeeded"))) == (100, 0, False)
    two = disputed(lost, name="dp_2", amount=900, text=disputed(lost, amount=900))
    assert due(two) == (0, 100, False)


def test_a_part_that_is_no_whole_credit_is_rounded_once_and_down() -> None:
    refunds = merged(("re_1", 5, "succeeded"))
    assert due(disputed((UPDATED, "lost", []), amount=5), refunds) == (0, 1, False)


def test_of_a_payment_without_money_a_dispute_takes_nothing() -> None:
    asked = disputed((UPDATED, "needs_response", [TAKEN]), name="dp_1")
    opened = disputed((UPDATED, "needs_response", []))
    for disputes, locked in ((asked, False), (opened, True)):
        unpaid = reversal.due("{}", disputes, granted=100, paid_minor=0)
        assert unpaid == (0, 0, locked)


tellings = st.tuples(
    st.sampled_from([UPDATED, WITHDRAWN, REINSTATED]),
    st.sampled_from(["warning_needs_response", "needs_response", "under_review", "lost", "won"]),
    st.sampled_from([[], ["txn_1"], [TAKEN], [TAKEN, GIVEN_BACK]]),
)


@given(st.lists(tellings, max_size=8).flatmap(lambda t: st.tuples(st.just(t), st.permutations(t))))
@settings(max_examples=200, deadline=None)
def test_any_order_of_what_is_told_of_a_dispute_ends_the_same(
    orders: tuple[list[Telling], list[Telling]],
) -> None:
    one, other = orders
    assert disputed(*one) == disputed(*other)
    assert disputed(*one, *one) == disputed(*one)
