"""The one place where calls to the outside are repeated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from credit_payments import logs

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

logger = logs.logger("credit_payments.retries")


def _positive(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if value <= 0:
        raise ValueError(f"{attribute.name} must be greater than zero")


def _not_negative(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if value < 0:
        raise ValueError(f"{attribute.name} must not be negative")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often, how fast and for how long a failed call is repeated.

    The wait before attempt n + 1 grows as 2^(n-1) times `wait_seconds_initial` up to
    `wait_seconds_max`, with jitter, so that many processes do not come back in step. Where the
    other side names a longer wait (`Retry-After`), that one holds. No attempt begins later than
    `total_seconds_max` after the first: a wait that would end later is not begun, and the last
    error is raised at once.

    `wait_seconds_max=0` switches all waiting off, what the other side names included: the setting
    for tests, which then see the same number of attempts without their delays.

    Args:
        attempts: calls at most, the first one included.
        wait_seconds_initial: the first wait, in seconds.
        wait_seconds_max: the longest wait of our own choosing, in seconds; 0 for tests.
        total_seconds_max: seconds after which no further attempt begins.
        sleep: how to wait; a test may hand in a list's `append`.

    >>> RetryPolicy.immediate(attempts=5)
    RetryPolicy(attempts=5, wait_seconds_initial=0.5, wait_seconds_max=0, total_seconds_max=30.0)
    """

    attempts: int = attrs.field(default=3, validator=_positive)
    wait_seconds_initial: float = attrs.field(default=0.5, validator=_positive)
    wait_seconds_max: float = attrs.field(default=8.0, validator=_not_negative)
    total_seconds_max: float = attrs.field(default=30.0, validator=_positive)
    sleep: Callable[[float], None] = attrs.field(default=time.sleep, repr=False, eq=False)

    @classmethod
    def immediate(cls, attempts: int = 3) -> RetryPolicy:
        """The policy for tests: the same attempts with no wait between them."""
        return cls(attempts=attempts, wait_seconds_max=0)

    def call(
        self, function: Callable[[], T], *, least_wait_seconds: Callable[[Exception], float | None]
    ) -> T:
        """Call `function` until it returns, its error is final, or the policy is exhausted.

        Args:
            function: what to do; it must be safe to repeat.
            least_wait_seconds: given an error, None when repeating cannot help, otherwise the
                least number of seconds to wait before (0 where the other side named none).

        Returns:
            What `function` returned.

        Raises:
            Exception: the error of the last attempt, unchanged.
        """
        # Imported late: tenacity brings asyncio along, and most processes import us to do neither.
        import tenacity  # noqa: PLC0415

        backoff = tenacity.wait_exponential(
            multiplier=self.wait_seconds_initial, max=self.wait_seconds_max
        ) + tenacity.wait_random(0, self.wait_seconds_initial)

        def worth_repeating(error: BaseException) -> bool:
            return isinstance(error, Exception) and least_wait_seconds(error) is not None

        def wait_seconds(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            if self.wait_seconds_max == 0 or not isinstance(error, Exception):
                return 0.0
            own_wait = min(backoff(state), self.wait_seconds_max)
            return max(own_wait, least_wait_seconds(error) or 0.0)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(worth_repeating),
            wait=wait_seconds,
            stop=tenacity.stop_after_attempt(self.attempts)
            | tenacity.stop_before_delay(self.total_seconds_max),
            sleep=self.sleep,
            before_sleep=_tell,
            reraise=True,
        )
        return retrying(function)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    # Only the kind of error: the text of a vendor's error may hold what must not be logged.
    logger.info(
        "attempt %d failed (%s), the next one follows in %.2f s",
        state.attempt_number,
        type(error).__name__,
        state.upcoming_sleep,
    )
