"""Where a listing goes on: the position of the last row seen, as opaque text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from credit_payments.domain.records import Record
from credit_payments.errors import InvalidRequest

R = TypeVar("R", bound=Record)

LIMIT_MAX = 100
_CURSOR_CHARACTERS_MAX = 2_000
_Column = str | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a database's column can be compared with."""


def encode(record: Record, order: Sequence[str]) -> str:
    """The cursor behind a row, in a listing ordered by those columns."""
    return of_position([getattr(record, column) for column in order])


def of_position(position: Sequence[str | int]) -> str:
    """The cursor behind a position."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode(cursor: object, kinds: Sequence[type]) -> list[str | int] | None:
    """The position in a cursor, whose columns are of those types.

    Raises:
        InvalidRequest: not a cursor of such a listing.
    """
    if cursor is None:
        return None
    position = _read(cursor) if isinstance(cursor, str) else None
    if (
        position is None
        or [type(value) for value in position] != list(kinds)
        or any(isinstance(value, str) and "\0" in value for value in position)  # nor PostgreSQL
    ):
        raise InvalidRequest("The cursor is not one that a listing gave", param="cursor")
    return position


def _read(cursor: str) -> list[str | int] | None:
    if len(cursor) > _CURSOR_CHARACTERS_MAX:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        return msgspec.json.decode(raw, type=list[_Column])
    except (ValueError, msgspec.DecodeError):
        return None


def split(rows: Sequence[R], limit: int, order: Sequence[str]) -> tuple[Sequence[R], str | None]:
    """The rows of a page, and the cursor behind them where a row more than `limit` was found."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode(rows[limit - 1], order)


def check_limit(limit: object) -> int:
    """How many items a page has at most.

    Raises:
        InvalidRequest: not an integer from 1 to 100.
    """
    if type(limit) is not int or not 1 <= limit <= LIMIT_MAX:
        raise InvalidRequest(f"limit must be an integer from 1 to {LIMIT_MAX}", param="limit")
    return limit
