"""The objects of one kind in the order of their creation, and the ways to find a page of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from ._types import Json
from .problems import resource_missing

__all__ = ["Series", "Table"]


class Series:
    """Ids in the order of creation, each with its place, so that no cursor has to be searched."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._created: list[int] = []
        self._places: dict[str, int] = {}
        # A clock that follows the machine's may be set back, and then nothing can be bisected.
        self._in_order = True

    def append(self, object_id: str, created: int) -> None:
        """Put a new id at the end."""
        if self._created and created < self._created[-1]:
            self._in_order = False
        self._places[object_id] = len(self._ids)
        self._ids.append(object_id)
        self._created.append(created)

    def place(self, object_id: str) -> int | None:
        """Return where an id is, ``None`` if it never was here."""
        return self._places.get(object_id)

    def older(self, place: int | None, span: tuple[int, int]) -> Iterator[str]:
        """Iterate from before a place (from the end without one) to the oldest."""
        low, high = self._between(span)
        high = high if place is None else min(high, place)
        return (self._ids[index] for index in range(high - 1, low - 1, -1))

    def newer(self, place: int, span: tuple[int, int]) -> Iterator[str]:
        """Iterate from after a place to the newest."""
        low, high = self._between(span)
        return (self._ids[index] for index in range(max(low, place + 1), high))

    def _between(self, span: tuple[int, int]) -> tuple[int, int]:
        """Narrow down to the ids that can lie in a span of seconds, both ends included."""
        if not self._in_order:
            return 0, len(self._ids)
        return bisect_left(self._created, span[0]), bisect_right(self._created, span[1])


class Table:
    """The objects of one kind by id.

    Args:
        kind: how Stripe's "No such …" message calls them.
        indexed: fields that lists are often narrowed by, and that never change.
    """

    def __init__(self, kind: str, *indexed: str) -> None:
        self.kind = kind
        self.rows: dict[str, Json] = {}
        self.everything = Series()
        self._indexes: dict[str, dict[Any, Series]] = {name: {} for name in indexed}

    def get(self, object_id: str, param: str = "id") -> Json:
        """Return the object.

        Raises:
            Problem: ``resource_missing``.
        """
        found = self.rows.get(object_id)
        if found is None:
            raise resource_missing(self.kind, object_id, param)
        return found

    def add(self, row: Json) -> Json:
        """Keep a new object and return it."""
        self.rows[row["id"]] = row
        self._list(row)
        return row

    def put(self, row: Json) -> None:
        """Put another object in the place of the one with its id."""
        self.rows[row["id"]] = row

    def remove(self, object_id: str) -> None:
        """Forget an object; its place stays empty."""
        del self.rows[object_id]

    def keep_newest(self, count: int) -> None:
        """Forget all but the newest, and the places of everything that is gone."""
        kept = list(self.rows.values())[-count:]
        self.rows = {row["id"]: row for row in kept}
        self.everything = Series()
        self._indexes = {name: {} for name in self._indexes}
        for row in kept:
            self._list(row)

    def newest_first(self) -> Iterator[Json]:
        """Iterate the way lists answer."""
        return reversed(self.rows.values())

    def narrowed(self, params: Json) -> Series:
        """Return the shortest series that holds everything the parameters can ask for."""
        for name, series in self._indexes.items():
            if name in params:
                return series.get(params[name], Series())
        return self.everything

    def of(self, name: str, value: Any) -> list[Json]:
        """Return the objects with that value in an indexed field, newest first."""
        series = self._indexes[name].get(value, Series())
        ids = series.older(None, (0, 2**62))
        return [self.rows[object_id] for object_id in ids if object_id in self.rows]

    def _list(self, row: Json) -> None:
        object_id, created = row["id"], row["created"]
        self.everything.append(object_id, created)
        for name, by_value in self._indexes.items():
            by_value.setdefault(row[name], Series()).append(object_id, created)
