"""List objects: cursor pagination and ``created`` filters as every Stripe list has them.

Source: https://docs.stripe.com/api/pagination
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from ._types import Json
from .problems import Problem, resource_missing
from .table import Series, Table

__all__ = ["list_page", "matches"]

_LIMIT = 10
_LATEST = 2**62


def list_page(table: Table, params: Json, *, url: str, where: Callable[[Json], bool]) -> Json:
    """Return one page of the rows that fulfil ``where``, newest first.

    Rows of the same second are in the reverse order of their creation, on every page. A cursor has
    to exist, but need not fulfil the filters itself.

    Raises:
        Problem: if a cursor names an object that does not exist, or both cursors are given.
    """
    after, before = params.get("starting_after"), params.get("ending_before")
    if after is not None and before is not None:
        raise Problem("You can only use one of starting_after and ending_before.")
    limit: int = params.get("limit", _LIMIT)
    span = _span(params.get("created", {}))
    series = table.narrowed(params)
    chosen: Iterator[Json]
    if before is not None:
        series, place = _cursor(table, series, before, "ending_before")
        chosen = _rows(table, series.newer(place, span), span, where)
    elif after is not None:
        series, place = _cursor(table, series, after, "starting_after")
        chosen = _rows(table, series.older(place, span), span, where)
    else:
        chosen = _rows(table, series.older(None, span), span, where)
    # One more than was asked for tells whether there are more.
    found = list(islice(chosen, limit + 1))
    page, more = found[:limit], len(found) > limit
    if before is not None:
        page.reverse()
    return {"object": "list", "data": page, "has_more": more, "url": url}


def matches(params: Json, *names: str) -> Callable[[Json], bool]:
    """Return a filter that compares the named fields with the parameters of the same names."""
    wanted = [(name, params[name]) for name in names if name in params]
    return lambda row: all(row.get(name) == value for name, value in wanted)


def _cursor(table: Table, series: Series, object_id: str, param: str) -> tuple[Series, int]:
    """Return where to go on, and in which series: a cursor outside the filter is in the whole."""
    for candidate in (series, table.everything):
        place = candidate.place(object_id)
        if place is not None and object_id in table.rows:
            return candidate, place
    raise resource_missing(table.kind, object_id, param)


def _rows(
    table: Table, ids: Iterable[str], span: tuple[int, int], where: Callable[[Json], bool]
) -> Iterator[Json]:
    first, last = span
    for object_id in ids:
        row = table.rows.get(object_id)
        if row is not None and where(row) and first <= row["created"] <= last:
            yield row


def _span(created: Json) -> tuple[int, int]:
    """Return the first and the last second that a ``created`` filter lets pass."""
    first = max(created.get("gte", 0), created.get("gt", -1) + 1)
    last = min(created.get("lte", _LATEST), created.get("lt", _LATEST + 1) - 1)
    return first, last
