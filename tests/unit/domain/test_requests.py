"""A named request, step by step, against a model that fits on one screen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.table import Table

from credit_payments.domain import instants
from credit_payments.domain.records import KeptRequest
from credit_payments.domain.requests import (
    CLOCKS_DIFFER_SECONDS_MAX,
    LEASE_SECONDS,
    REDO_SECONDS_MAX,
    BeginRequest,
    Begun,
    FinishRequest,
    KeptAnswer,
    ReleaseRequest,
    outcome_unknown,
    payload_fingerprint,
    request_id,
)
from credit_payments.errors import Conflict, IdempotencyConflict, RequestInProgress

START = "2024-01-01T00:00:00.000000Z"


@attrs.define
class Model:
    """One request: who has it until when, and what was answered."""

    payload: str | None = None
    holder: str | None = None
    until: float = 0.0
    answer: KeptAnswer | None = None

    def begin(self, who: str, payload: str, now: float) -> object:
        self.payload = self.payload or payload
        if payload != self.payload:
            return IdempotencyConflict
        if self.answer is not None:
            return self.answer
        if self.holder not in (None, who) and now < self.until:
            return RequestInProgress
        self.holder, self.until = who, now + LEASE_SECONDS
        return Begun("r", who)

    def finish(self, who: str, answer: KeptAnswer) -> object:
        if self.answer is None and self.holder == who:
            self.answer, self.holder = answer, None
        return self.answer or RequestInProgress

    def release(self, who: str) -> object:
        if self.holder == who:
            self.holder = None
        return None


def _outcome(table: Table, command: Any, seconds: float) -> object:
    try:
        return table.run(command, instants.later(START, seconds))
    except (IdempotencyConflict, RequestInProgress) as error:
        return type(error)


names = st.sampled_from(["a", "b", "c"])
steps = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "finish", "release"]),
        names,
        st.sampled_from(["f", "f", "f", "g"]),
        st.sampled_from([0.0, 1.0, 59.999999, 60.0, 61.0]),
    ),
    max_size=25,
)


@given(steps)
def test_whatever_happens_a_request_is_where_the_model_has_it(steps: list[Any]) -> None:
    table, model = Table(), Model()
    now = 0.0
    told: set[object] = set()
    for number, (step, who, payload, pause) in enumerate(steps):
        now = round(now + pause, 6)
        if step == "begin":
            command: Any = BeginRequest(request_id="r", fingerprint=payload, lease=who)
            expected = model.begin(who, payload, now)
        elif model.payload is None:
            continue  # nobody finishes what nobody has begun
        elif step == "finish":
            answer = KeptAnswer(200, str(number))
            command = FinishRequest(request_id="r", lease=who, answer=answer)
            expected = model.finish(who, answer)
        else:
            command = ReleaseRequest(request_id="r", lease=who)
            expected = model.release(who)
        assert _outcome(table, command, now) == expected
        told |= {expected} if isinstance(expected, KeptAnswer) else set()
    assert len(told) <= 1


def _begin(table: Table, lease: str, seconds: float = 0) -> object:
    command = BeginRequest(request_id="r", fingerprint="f", lease=lease)
    return _outcome(table, command, seconds)


def _row(table: Table) -> KeptRequest:
    row = table.rows[KeptRequest, "r"]
    assert isinstance(row, KeptRequest)
    return row


def test_the_reply_to_a_begin_may_be_lost_and_to_a_finish_too() -> None:
    table = Table()
    assert _begin(table, "a") == _begin(table, "a") == ("r", "a")
    finish = FinishRequest(request_id="r", lease="a", answer=KeptAnswer(200, "{}"))
    assert _outcome(table, finish, 1) == _outcome(table, finish, 2) == (200, "{}")
    assert (_row(table).status, _row(table).lease) == ("answered", "")


def test_who_was_followed_keeps_no_second_answer_and_takes_that_of_the_other() -> None:
    table = Table()
    _begin(table, "slow")
    assert _begin(table, "b", LEASE_SECONDS - 0.000001) is RequestInProgress
    assert _begin(table, "b", LEASE_SECONDS) == ("r", "b")
    late = FinishRequest(request_id="r", lease="slow", answer=KeptAnswer(200, '"late"'))
    assert _outcome(table, late, 61) is RequestInProgress
    assert _row(table).answer is None
    table.run(FinishRequest(request_id="r", lease="b", answer=KeptAnswer(200, '"b"')))
    assert _outcome(table, late, 62) == (200, '"b"')


def test_who_is_only_slow_and_was_not_followed_may_still_finish() -> None:
    table = Table()
    _begin(table, "a")
    answer = KeptAnswer(200, "{}")
    finish = FinishRequest(request_id="r", lease="a", answer=answer)
    assert _outcome(table, finish, 10 * LEASE_SECONDS) == answer


def test_a_release_gives_only_ones_own_away() -> None:
    table = Table()
    _begin(table, "a")
    table.run(ReleaseRequest(request_id="r", lease="b"))
    assert _begin(table, "c", 1) is RequestInProgress
    table.run(ReleaseRequest(request_id="r", lease="a"))
    assert _begin(table, "c", 1) == ("r", "c")
    table.run(ReleaseRequest(request_id="unknown", lease="a"))
    assert len(table.rows) == 1


def test_a_lease_from_a_clock_that_was_far_ahead_keeps_nobody_out() -> None:
    table = Table()
    _begin(table, "a", 10 * 365 * 86_400)
    assert _begin(table, "b", 0) == ("r", "b")
    # One that is ahead a little, as clocks are, does.
    assert _begin(table, "c", -LEASE_SECONDS) is RequestInProgress
    assert _begin(table, "c", -LEASE_SECONDS - 1) == ("r", "c")


# -- requests that move money, once Stripe has forgotten them -------------------------------------


def _refund(table: Table, lease: str, seconds: float) -> object:
    command = BeginRequest(
        request_id="r", fingerprint="f", lease=lease, redo_seconds_max=REDO_SECONDS_MAX
    )
    try:
        return table.run(command, instants.later(START, seconds))
    except Conflict as error:
        return error.error_code
    except RequestInProgress:
        return RequestInProgress


def test_what_moves_money_is_not_done_again_once_stripe_may_have_forgotten_it() -> None:
    table = Table()
    _refund(table, "a", 0)
    table.run(ReleaseRequest(request_id="r", lease="a"))
    assert _refund(table, "b", REDO_SECONDS_MAX - 1) == ("r", "b")
    assert _refund(table, "c", REDO_SECONDS_MAX) is RequestInProgress
    assert _refund(table, "c", REDO_SECONDS_MAX + LEASE_SECONDS) == "request_outcome_unknown"
    # It was not taken from who has it: that one's answer is kept, however late.
    answer = KeptAnswer(200, "{}")
    finish = FinishRequest(request_id="r", lease="b", answer=answer)
    assert _outcome(table, finish, 2 * REDO_SECONDS_MAX) == answer
    assert _refund(table, "c", 3 * REDO_SECONDS_MAX) == answer
    assert not outcome_unknown().retryable


def test_a_refund_that_was_released_is_not_done_again_either_when_it_is_old() -> None:
    table = Table()
    _refund(table, "a", 0)
    table.run(ReleaseRequest(request_id="r", lease="a"))
    assert _refund(table, "b", REDO_SECONDS_MAX) == "request_outcome_unknown"


def test_what_moves_money_and_was_begun_in_the_future_is_of_unknown_age() -> None:
    table = Table()
    _refund(table, "a", CLOCKS_DIFFER_SECONDS_MAX)
    table.run(ReleaseRequest(request_id="r", lease="a"))
    assert _refund(table, "b", -1) == "request_outcome_unknown"
    assert _refund(table, "b", 0) == ("r", "b")


def test_what_moves_no_money_may_be_done_again_at_any_age() -> None:
    table = Table()
    _begin(table, "a")
    assert _begin(table, "b", 100 * REDO_SECONDS_MAX) == ("r", "b")


def test_what_was_never_begun_cannot_be_finished() -> None:
    finish = FinishRequest(request_id="r", lease="a", answer=KeptAnswer(200, "{}"))
    with pytest.raises(LookupError, match="not begun"):
        Table().run(finish)


# -- names and fingerprints -----------------------------------------------------------------------

texts = st.text(max_size=12)


@given(st.tuples(texts, texts, texts.filter(str.isascii)), st.tuples(texts, texts, texts))
def test_requests_are_one_only_if_route_caller_and_key_are(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assert request_id(*one) == request_id(*one)
    try:
        theirs = request_id(*other)
    except UnicodeEncodeError:  # a route or a key, which are never so
        return
    assert (request_id(*one) == theirs) == (one == other)


def test_a_caller_may_have_any_id_that_a_string_can_hold() -> None:
    callers = ["\ud800", "\udfff", "\\ud800", "'\\ud800'", "a\0", "ä", "a\u0308"]
    assert len({request_id("refund", caller, "k") for caller in callers}) == len(callers)


numbers = st.integers(-(10**31), 10**31) | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9
)


@given(numbers, numbers)
def test_amounts_are_one_if_they_are_equal_and_only_then(
    one: int | Decimal, other: int | Decimal
) -> None:
    prints = [payload_fingerprint("k", {"amount": number}) for number in (one, other)]
    assert (prints[0] == prints[1]) == (one == other)


@pytest.mark.parametrize("number", [10, Decimal("10.0"), Decimal("10.00"), Decimal("1E+1")])
def test_an_amount_may_be_written_otherwise(number: int | Decimal) -> None:
    assert payload_fingerprint("k", {"amount": number}) == payload_fingerprint("k", {"amount": 10})


def test_no_digit_of_an_amount_is_lost() -> None:
    long, rounded = Decimal("0." + "1" * 29), Decimal("0." + "1" * 28)
    assert payload_fingerprint("k", {"a": long}) != payload_fingerprint("k", {"a": rounded})
    assert payload_fingerprint("k", {"a": 10**31}) != payload_fingerprint("k", {"a": 10**31 + 1})


OTHERS: dict[str, dict[str, str | int]] = {
    "another amount": {"user_id": "ada", "amount": 11},
    "another user": {"user_id": "bob", "amount": 10},
    "a default that is written out": {"user_id": "ada", "amount": 10, "currency": "usd"},
    "less": {"amount": 10},
    "a number as text in another field": {"user_id": "ada", "package_id": "10"},
    "shifted": {"user_id": "ada1", "amount": 0},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_payload_has_another_fingerprint(other: dict[str, str | int]) -> None:
    payload: dict[str, str | int] = {"user_id": "ada", "amount": 10}
    assert payload_fingerprint("k", payload) != payload_fingerprint("k", other)


def test_the_order_of_the_fields_makes_no_difference() -> None:
    payload: dict[str, str | int] = {"user_id": "ada", "amount": 10}
    backwards = dict(reversed(payload.items()))
    assert payload_fingerprint("k", payload) == payload_fingerprint("k", backwards)


def test_who_does_not_know_the_key_cannot_guess_what_was_asked() -> None:
    payload = {"email": "ada@example.com"}
    assert payload_fingerprint("k1", payload) != payload_fingerprint("k2", payload)
