"""The machine's clock."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """The `Clock` of every system that is not under test.

    >>> from datetime import timedelta
    >>> SystemClock().now().utcoffset() == timedelta(0)
    True
    """

    def now(self) -> datetime:
        """The present instant, aware and in UTC."""
        return datetime.now(UTC)

    def __repr__(self) -> str:
        return "SystemClock()"
