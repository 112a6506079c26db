"""One page of a list at Stripe: what is asked for, and what is read of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from credit_payments.domain.stripe_facts import storable
from credit_payments.errors import InvalidRequest
from credit_payments.ports.gateway import Listed

T = TypeVar("T")
F = TypeVar("F", bound=msgspec.Struct)

OBJECTS_MAX = 100
"""The longest page: https://docs.stripe.com/api/pagination"""

EVENT_TYPES_MAX = 20
"""How many types one list of events filters by: https://docs.stripe.com/api/events/list"""


_Objects: TypeAlias = Annotated[list[Any], msgspec.Meta(max_length=OBJECTS_MAX)]


class Page(msgspec.Struct, frozen=True):
    """A list's answer, its objects not yet read."""

    object: Literal["list"]
    data: _Objects
    has_more: bool


class _Named(msgspec.Struct, frozen=True):
    """All that is needed of an object to report it, or to go on behind it."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,255}\Z")]


def asked(since: int, until: int | None, cursor: str | None) -> Any:
    """The parameters that every list shares.

    Any, because the SDK has a type for each list, which differ in nothing that is asked here.
    """
    created = {"gte": since} if until is None else {"gte": since, "lt": until}
    params: dict[str, Any] = {"limit": OBJECTS_MAX, "created": created}
    if cursor is not None:
        params["starting_after"] = cursor
    return params


def check_types(types: Sequence[str]) -> list[str]:
    """The event types of one request.

    Raises:
        InvalidRequest: none, which Stripe would take for all, or more than 20.
    """
    if isinstance(types, str) or not 1 <= len(types) <= EVENT_TYPES_MAX:
        raise InvalidRequest(
            f"Events are listed by 1 to {EVENT_TYPES_MAX} types at a time.", param="types"
        )
    return list(types)


def reader(kind: type[F]) -> Callable[[Any], F]:
    """Reads one object of a list as those facts.

    By way of its bytes, where a text that no database could keep (half a surrogate pair, which the
    SDK lets through) is refused.
    """
    decoder = msgspec.json.Decoder(kind)
    return lambda data: storable(decoder.decode(msgspec.json.encode(data)))


def read_page(page: Page, read: Callable[[Any], T], cursor: str | None) -> Listed[T]:
    """What could be read of a page that was asked for behind `cursor`.

    Raises:
        ValueError: more is said to follow, but the page does not lead on to it; or an object that
            cannot be read has no id either.
    """
    items: list[T] = []
    unreadable: list[str] = []
    for data in page.data:
        try:
            items.append(read(data))
        except ValueError:  # all that can be wrong with JSON data; InvalidPayload is one too
            unreadable.append(_id(data))
    if not page.has_more:
        return Listed(items=tuple(items), unreadable=tuple(unreadable))
    last = _id(page.data[-1]) if page.data else cursor
    if last == cursor:  # a walk that went on from here would never end
        raise ValueError("the page does not lead on")
    return Listed(items=tuple(items), cursor=last, unreadable=tuple(unreadable))


def _id(data: Any) -> str:
    return msgspec.convert(data, type=_Named).id
