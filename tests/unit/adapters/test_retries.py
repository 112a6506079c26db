from __future__ import annotations

from collections.abc import Callable

import pytest

from credit_payments.adapters.retries import RetryPolicy


class Flaky(Exception):
    """An error that names how long to wait, or that nothing helps."""

    def __init__(self, least_wait_seconds: float | None = 0.0) -> None:
        super().__init__("flaky")
        self.least_wait_seconds = least_wait_seconds


def least_wait_seconds(error: Exception) -> float | None:
    return error.least_wait_seconds if isinstance(error, Flaky) else None


def failing(*errors: Exception) -> Callable[[], str]:
    waiting = list(errors)

    def function() -> str:
        if waiting:
            raise waiting.pop(0)
        return "done"

    return function


def test_a_call_that_succeeds_does_not_wait() -> None:
    waits: list[float] = []
    policy = RetryPolicy(sleep=waits.append)
    assert policy.call(failing(), least_wait_seconds=least_wait_seconds) == "done"
    assert waits == []


def test_waits_double_with_jitter_and_stay_below_the_maximum() -> None:
    waits: list[float] = []
    policy = RetryPolicy(attempts=6, wait_seconds_initial=1, wait_seconds_max=5, sleep=waits.append)
    policy.call(failing(*[Flaky()] * 5), least_wait_seconds=least_wait_seconds)
    assert len(waits) == 5
    assert 1 <= waits[0] <= 2
    assert 2 <= waits[1] <= 3
    assert 4 <= waits[2] <= 5
    assert waits[3:] == [5, 5]


def test_the_last_error_comes_out_unchanged_when_the_attempts_are_used_up() -> None:
    errors = [Flaky(), Flaky(), Flaky()]
    with pytest.raises(Flaky) as caught:
        RetryPolicy.immediate(attempts=2).call(
            failing(*errors), least_wait_seconds=least_wait_seconds
        )
    assert caught.value is errors[1]


def test_a_final_error_is_not_repeated() -> None:
    with pytest.raises(Flaky):
        RetryPolicy.immediate().call(
            failing(Flaky(least_wait_seconds=None)), least_wait_seconds=least_wait_seconds
        )


def test_an_error_that_nobody_knows_is_not_repeated() -> None:
    with pytest.raises(ZeroDivisionError):
        RetryPolicy.immediate().call(
            failing(ZeroDivisionError()), least_wait_seconds=least_wait_seconds
        )


def test_a_longer_wait_that_the_other_side_names_is_kept() -> None:
    waits: list[float] = []
    policy = RetryPolicy(wait_seconds_max=1, sleep=waits.append)
    policy.call(failing(Flaky(20.0)), least_wait_seconds=least_wait_seconds)
    assert waits == [20.0]


def test_a_wait_beyond_the_total_time_is_not_begun() -> None:
    waits: list[float] = []
    policy = RetryPolicy(total_seconds_max=30, sleep=waits.append)
    with pytest.raises(Flaky):
        policy.call(failing(Flaky(31.0)), least_wait_seconds=least_wait_seconds)
    assert waits == []


def test_the_policy_for_tests_never_waits_whatever_the_other_side_names() -> None:
    policy = RetryPolicy.immediate(attempts=3)
    function = failing(Flaky(3600.0), Flaky(3600.0))
    assert policy.call(function, least_wait_seconds=least_wait_seconds) == "done"


def test_the_log_names_the_kind_of_error_and_not_its_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="credit_payments.retries")
    RetryPolicy.immediate().call(failing(Flaky()), least_wait_seconds=least_wait_seconds)
    assert "attempt 1 failed (Flaky)" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"wait_seconds_initial": 0},
        {"wait_seconds_max": -1},
        {"total_seconds_max": 0},
    ],
)
def test_a_policy_without_bounds_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)  # type: ignore[arg-type]
