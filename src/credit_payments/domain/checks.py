"""Arguments of calls about wallets, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from credit_payments.domain import instants
from credit_payments.domain.lots import PRIORITY_MAX, PRIORITY_MIN
from credit_payments.domain.records import CREDITS_MAX, NEVER
from credit_payments.errors import InvalidRequest

METADATA_BYTES_MAX = 4_096
TTL_SECONDS_MIN = 0.001
TTL_SECONDS_MAX = 30 * 24 * 3600
"""A hold is for work that runs. What waits longer is a purchase."""


def credits(value: object) -> int:
    """A number of credits, at least 1.

    Raises:
        InvalidRequest: anything else.
    """
    if type(value) is not int or not 1 <= value <= CREDITS_MAX:
        raise InvalidRequest(f"credits must be an integer from 1 to {CREDITS_MAX}", param="credits")
    return value


def priority(value: object) -> int:
    """In which order lots are spent.

    Raises:
        InvalidRequest: not an integer within the bounds.
    """
    if type(value) is not int or not PRIORITY_MIN <= value <= PRIORITY_MAX:
        raise InvalidRequest(
            f"priority must be an integer from {PRIORITY_MIN} to {PRIORITY_MAX}", param="priority"
        )
    return value


def expires_at(value: object) -> str:
    """An instant as it is stored; None means never.

    Raises:
        InvalidRequest: not a datetime with a time zone.
    """
    return NEVER if value is None else instant(value, param="expires_at")


def instant(value: object, *, param: str) -> str:
    """An instant as it is stored.

    Raises:
        InvalidRequest: not a datetime with a time zone.
    """
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidRequest(f"{param} must be a datetime with a time zone", param=param)
    try:
        return instants.to_text(value)
    except OverflowError:
        raise InvalidRequest(f"{param} is out of range", param=param) from None


def ttl(value: object) -> float:
    """A time to live in seconds.

    Raises:
        InvalidRequest: not a number of seconds or a timedelta, or out of bounds.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidRequest("ttl must be seconds or a timedelta", param="ttl")
    if not TTL_SECONDS_MIN <= seconds <= TTL_SECONDS_MAX:
        raise InvalidRequest(
            f"ttl must be from {TTL_SECONDS_MIN} to {TTL_SECONDS_MAX} seconds", param="ttl"
        )
    return float(seconds)


def metadata(value: Mapping[str, object] | None) -> str | None:
    """Metadata as JSON text.

    Raises:
        InvalidRequest: not a mapping, not what JSON can hold, or too long.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidRequest("metadata must be a mapping", param="metadata")
    try:
        text = msgspec.json.encode(dict(value), order="deterministic")
        kept_whole = msgspec.json.decode(text) == dict(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        kept_whole = False
    if not kept_whole:  # NaN, for one, would come back as null
        raise InvalidRequest("metadata must be what JSON can hold", param="metadata")
    if len(text) > METADATA_BYTES_MAX:
        raise InvalidRequest(
            f"metadata must be at most {METADATA_BYTES_MAX} bytes of JSON", param="metadata"
        )
    return text.decode()
