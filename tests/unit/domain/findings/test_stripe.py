"""What is made of the key, the clock and the versions: each decision by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from credit_payments.domain.findings import stripe
from credit_payments.domain.traits import Access, ClockReading

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def reading(ahead: float, *, round_trip: float = 0.0, said_late: float = 0.0) -> ClockReading:
    """Of a clock that is so far ahead, asked half of a round trip before the answer was made."""
    ours = NOON + timedelta(seconds=ahead + said_late)
    half = timedelta(seconds=round_trip / 2)
    return ClockReading(said=NOON, asked_at=ours - half, answered_at=ours + half)


def level(clock: ClockReading) -> str:
    return stripe.of_clock(clock, tolerance_seconds=300).level


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "ok"), (30, "ok"), (32, "warning"), (300, "warning"), (302, "problem"), (1e6, "problem")],
)
def test_a_clock_that_is_off_is_told_and_one_beyond_the_tolerance_is_a_problem(
    sign: int, seconds: float, expected: str
) -> None:
    assert level(reading(sign * seconds, said_late=0.5)) == expected


def test_which_way_and_how_far_is_told() -> None:
    ahead = stripe.of_clock(reading(400, said_late=0.5), tolerance_seconds=300)
    behind = stripe.of_clock(reading(-31, said_late=0.5), tolerance_seconds=20)
    assert ahead.said.startswith("this machine's clock is 400 seconds ahead of Stripe's")
    assert behind.said.startswith("this machine's clock is 31 seconds behind Stripe's")
    assert behind.level == "problem", "the tolerance is that of the settings"
    assert "NTP" in str(ahead.advice)


@pytest.mark.parametrize("said_late", [0.0, 0.5, 0.999])
def test_neither_a_slow_answer_nor_a_date_without_fractions_accuses_the_clock(
    said_late: float,
) -> None:
    assert level(reading(0, round_trip=200, said_late=said_late)) == "ok"
    assert level(reading(29, round_trip=1, said_late=said_late)) == "ok"
    assert level(reading(40, round_trip=1, said_late=said_late)) == "warning"


def test_a_slow_answer_does_not_hide_a_clock_that_is_certainly_wrong() -> None:
    assert level(reading(500, round_trip=60)) == "problem"


@pytest.mark.parametrize(
    ("access", "expected", "advice"),
    [
        ("granted", "ok", "None"),
        ("forbidden", "problem", "write for Customers, PaymentIntents and Refunds"),
        ("refused", "problem", "https://dashboard.stripe.com/apikeys"),
        ("rejected", "problem", "stripe_api_version"),
        ("unavailable", "problem", "https://status.stripe.com"),
    ],
)
def test_a_key_that_does_not_do_comes_with_advice(
    access: Access, expected: str, advice: str
) -> None:
    found = stripe.of_key(access, False)
    assert (found.name, found.level) == ("stripe.key", expected)
    assert advice in str(found.advice)


def test_where_stripe_cannot_be_reached_the_server_is_named_that_is_asked() -> None:
    found = stripe.of_key("unavailable", False, "http://127.0.0.1:12111")
    assert "http://127.0.0.1:12111 can be reached" in str(found.advice)
    assert "https://api.stripe.com can" in str(stripe.of_key("unavailable", False).advice)


def test_the_mode_of_the_key_is_told() -> None:
    live, test, none = (stripe.of_mode(mode, None) for mode in (True, False, None))
    assert (live.level, live.said) == ("ok", "live: real money moves")
    assert (test.level, test.said) == ("ok", "test: no real money moves")
    assert (none.level, "wallets work" in none.said) == ("warning", True)
    assert "http://127.0.0.1:1 stands for" in stripe.of_mode(False, "http://127.0.0.1:1").said


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2023-10-16", "ok"),
        ("2024-06-20", "ok"),
        ("2025-03-31.basil", "ok"),
        ("2026-10-28.endive", "ok"),
        ("2022-11-15", "warning"),
        ("2027-01-01.fig", "warning"),
    ],
)
def test_versions_that_are_not_tested_are_a_warning(version: str, expected: str) -> None:
    assert stripe.of_version(version, is_pinned=True).level == expected
    assert stripe.of_endpoint_version(version).level == expected


def test_who_chose_the_version_is_told() -> None:
    assert "pinned by stripe_api_version" in stripe.of_version("2024-06-20", is_pinned=True).said
    assert "that of the SDK" in stripe.of_version("2024-06-20", is_pinned=False).said
    assert stripe.of_endpoint_version(None).said == "that of the Stripe account"
