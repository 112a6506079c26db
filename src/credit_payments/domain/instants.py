"""Instants as text: one form everywhere, sortable, exact, the same in every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def to_text(instant: datetime) -> str:
    """ISO 8601 in UTC with six decimals and `Z`; raises ValueError for a naive datetime.

    >>> to_text(datetime(2024, 1, 1, tzinfo=UTC))
    '2024-01-01T00:00:00.000000Z'
    """
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def from_text(text: str) -> datetime:
    """The instant that `to_text` wrote.

    >>> from_text("2024-01-01T00:00:00.000000Z")
    datetime.datetime(2024, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    return datetime.fromisoformat(text)


def from_unix(seconds: int) -> str:
    """The text of an instant that Stripe gave in Unix seconds.

    >>> from_unix(1_704_067_200)
    '2024-01-01T00:00:00.000000Z'
    """
    return to_text(datetime.fromtimestamp(seconds, tz=UTC))


def later(text: str, seconds: float) -> str:
    """The instant so many seconds after another one, as text; the last one there is at most.

    >>> later("2024-01-01T00:00:00.000000Z", 90)
    '2024-01-01T00:01:30.000000Z'
    """
    try:
        return to_text(from_text(text) + timedelta(seconds=seconds))
    except OverflowError:
        return to_text(datetime.max.replace(tzinfo=UTC))
