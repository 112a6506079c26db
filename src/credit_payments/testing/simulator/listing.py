"""List objects: cursor pagination and ``created`` filters as every Stripe list has them.

Source: https://docs.stripe.com/api/pagination
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from ._types import Json
from .problems import Problem

__all__ = ["list_page", "matches"]

_LIMIT = 10


def list_page(
    rows: Iterable[Json], params: Json, *, url: str, where: Callable[[Json], bool]
) -> Json:
    """Return one page of the rows (given newest first) that fulfil ``where``.

    Raises:
        Problem: if a cursor names an object that is not in this list, or both cursors are given.
    """
    after, before = params.get("starting_after"), params.get("ending_before")
    if after is not None and before is not None:
        raise Problem("Only one of 'starting_after' and 'ending_before' can be used.")
    limit = params.get("limit", _LIMIT)
    chosen = (row for row in rows if where(row) and _in_range(row, params.get("created")))
    if before is not None:
        newer = _until(chosen, before)
        page, more = newer[-limit:], len(newer) > limit
    else:
        if after is not None:
            _until(chosen, after, param="starting_after")
        page = list(islice(chosen, limit + 1))
        page, more = page[:limit], len(page) > limit
    return {"object": "list", "data": page, "has_more": more, "url": url}


def matches(params: Json, *names: str) -> Callable[[Json], bool]:
    """Return a filter that compares the named fields with the parameters of the same names."""
    wanted = [(name, params[name]) for name in names if name in params]
    return lambda row: all(row.get(name) == value for name, value in wanted)


def _until(rows: Iterable[Json], cursor: str, param: str = "ending_before") -> list[Json]:
    seen: list[Json] = []
    for row in rows:
        if row["id"] == cursor:
            return seen
        seen.append(row)
    raise Problem(f"No such object in this list: '{cursor}'", code="resource_missing", param=param)


def _in_range(row: Json, created: Json | None) -> bool:
    if created is None:
        return True
    moment: int = row["created"]
    return bool(
        moment > created.get("gt", moment - 1)
        and moment >= created.get("gte", moment)
        and moment < created.get("lt", moment + 1)
        and moment <= created.get("lte", moment)
    )
