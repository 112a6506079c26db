"""Identifiers are checked before they reach a query, a URL or Stripe."""

from __future__ import annotations

from typing import Any

import pytest

from credit_payments.domain import ids
from credit_payments.errors import InvalidRequest, NotFound


@pytest.mark.parametrize("value", ["a", "a b", "ada@example.com", "שלום", "\U0001f4b3", "a" * 255])
def test_a_user_id_may_be_of_any_script(value: str) -> None:
    assert ids.check_user_id(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "a ", " a", "a\u00a0", "\u3000a", "a\tb", "a\x00", "a\x7f",
        "\u200b", "\u202e", "\ufeff",
        "\ud800", "a" * 256, None, 1, b"a", ["a"], {"$gt": ""},
    ],
    ids=ascii,
)  # fmt: skip
def test_a_user_id_that_could_deceive_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ids.check_user_id(value, param="owner")
    assert caught.value.param == "owner"


def test_a_key_leaves_room_for_the_prefix_that_stripe_counts_too() -> None:
    assert ids.check_key("k" * 200)
    with pytest.raises(InvalidRequest):
        ids.check_key("k" * 201)


def test_free_text_may_be_missing_but_not_empty() -> None:
    assert ids.check_text(None, param="reason") is None
    assert ids.check_text("x" * 500, param="reason") == "x" * 500
    for value in ("", "x" * 501, 7):
        with pytest.raises(InvalidRequest):
            ids.check_text(value, param="reason")


@pytest.mark.parametrize("value", ["pi_1", "pi_3NqAbC_secret", "pi_" + "a" * 240])
def test_a_stripe_id_is_recognised(value: str) -> None:
    assert ids.check_stripe_id(value, "pi_", param="id") == value


@pytest.mark.parametrize(
    "value",
    [
        "", "pi_", "pi", "PI_1", "cus_1", " pi_1", "pi_1 ", "pi_1\n", "pi_1/../x", "pi_1?x=1",
        "pi_é",
        "pi_\u0661", "pi_" + "a" * 241, "xpi_1", "pi_$gt",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_no_object_can_be_called_is_not_found(value: str) -> None:
    with pytest.raises(NotFound) as caught:
        ids.check_stripe_id(value, "pi_", param="id")
    assert str(caught.value) == "No such id"


@pytest.mark.parametrize("value", [None, 1, b"pi_1", ["pi_1"], {"$ne": None}])
def test_a_stripe_id_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ids.check_stripe_id(value, "pi_", param="id")
    assert not isinstance(caught.value, NotFound)
