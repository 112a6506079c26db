"""The simulator's own clock: real time by default, and movable in both cases."""

from __future__ import annotations

import threading
import time
from datetime import datetime

__all__ = ["SimulatedClock"]


class SimulatedClock:
    """Seconds since 1970 as Stripe's side of the wire sees them.

    Without a start the clock runs with the machine's, so that webhook verifiers accept the
    signatures of a simulator that nobody moved. With a start it stands still until told to move,
    which makes every timestamp of a test predictable.

    Args:
        start: where to begin, as seconds since 1970 or an aware ``datetime``; ``None`` follows the
            machine's clock.

    Raises:
        ValueError: if ``start`` is a ``datetime`` without a time zone.

    Example:
        >>> clock = SimulatedClock(1_700_000_000)
        >>> clock.advance(seconds=60)
        1700000060
        >>> clock.now()
        1700000060
    """

    def __init__(self, start: int | datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._start = _seconds(start)
        self._advanced_seconds = 0

    def now(self) -> int:
        """Return the simulated time in whole seconds since 1970."""
        with self._lock:
            return self._now()

    def advance(self, seconds: int) -> int:
        """Move the clock forward and return the new time.

        Raises:
            ValueError: if ``seconds`` is negative; Stripe's time never runs backwards.
        """
        if seconds < 0:
            raise ValueError("the clock can only move forward")
        with self._lock:
            self._advanced_seconds += int(seconds)
            return self._now()

    def reset(self) -> None:
        """Go back to the start (or to the machine's time)."""
        with self._lock:
            self._advanced_seconds = 0

    def _now(self) -> int:
        base = int(time.time()) if self._start is None else self._start
        return base + self._advanced_seconds


def _seconds(start: int | datetime | None) -> int | None:
    if not isinstance(start, datetime):
        return start
    if start.tzinfo is None:
        raise ValueError("a start time needs a time zone")
    return int(start.timestamp())
