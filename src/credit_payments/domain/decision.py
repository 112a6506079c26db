"""How a command decides: a pure function from the rows it named to the rows that change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from credit_payments.domain.records import NEVER, Key, Record, key_of

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
R = TypeVar("R", bound=Record)

FIRST_ROWS = 2
"""How many rows of a series are loaded at first: most spends take from one lot."""
GROWTH = 8
"""By what factor more of them are loaded where those were not enough."""


_NOTHING: Mapping[str, Record] = {}


class NotLoaded(LookupError):
    """A decision asked for a row that its command did not name."""


class Series(NamedTuple):
    """The rows of a kind's group (see `Record.GROUP`) whose columns equal, in an order.

    With `ending`, only those for which the instant in that column ever comes.
    """

    kind: type[Record]
    group: str
    equals: tuple[tuple[str, str | int], ...]
    order: tuple[str, ...]
    ending: str | None = None


class Range(NamedTuple):
    """The first rows of a series."""

    series: Series
    limit: int


Ask: TypeAlias = Key | Range
"""What a command may name: a row by its key, or the first rows of a series."""


class _Reach(NamedTuple):
    """How far a series is loaded: to the position `last`, or to its end where that is None."""

    limit: int
    last: tuple[Any, ...] | None


class View:
    """The rows that a batch has loaded, as the commands decided before this one left them.

    `now` is the batch's instant.
    """

    __slots__ = ("_groups", "_reaches", "_rows", "now")

    def __init__(self, rows: Mapping[Key, Record | None] | None = None, now: str = "") -> None:
        self.now = now
        self._rows: dict[Key, Record | None] = {}
        self._groups: dict[tuple[type[Record], str], dict[str, None]] = {}
        self._reaches: dict[Series, _Reach] = {}
        for key, record in (rows or {}).items():
            self.put(key, record)

    def get(self, kind: type[R], key: str) -> R | None:
        """The row of that key, or None where there is none.

        Raises:
            NotLoaded: nobody named that key, so nothing is known about it.
        """
        try:
            return self._rows[kind, key]  # type: ignore[return-value]
        except KeyError:
            raise NotLoaded(kind.TABLE, key) from None

    def peek(self, kind: type[R], key: str) -> R | None:
        """The row of that key if it is loaded; None also when nothing is known about it yet."""
        return self._rows.get((kind, key))  # type: ignore[return-value]

    def first(
        self, series: Series, instead: Mapping[str, Record] = _NOTHING
    ) -> tuple[list[Any], bool]:
        """The rows of a series as far as it is loaded, as they are now; and whether that is all.

        Rows in `instead`, by their keys, stand in for what is loaded, and join it.

        Raises:
            NotLoaded: nobody named the series.
        """
        reach = self._reaches.get(series)
        if reach is None:
            raise NotLoaded(series.kind.TABLE, series.group)
        position = _position(series.order)
        found = []
        for row in self._members(series, instead):
            if series.ending is not None and getattr(row, series.ending) >= NEVER:
                continue
            for name, value in series.equals:
                if getattr(row, name) != value:
                    break
            else:
                if reach.last is None or position(row) <= reach.last:
                    found.append(row)
        if len(found) > 1:
            found.sort(key=position)
        return found, reach.last is None

    def _members(self, series: Series, instead: Mapping[str, Record]) -> Iterator[Record]:
        kind = series.kind
        for key in self._groups.get((kind, series.group), ()):
            row = instead.get(key) or self._rows[kind, key]
            if row is not None:
                yield row
        for key, row in instead.items():
            if (kind, key) not in self._rows:
                yield row

    def until(self, series: Series, suffice: Callable[[list[Any]], bool]) -> Iterator[Range]:
        """What to load so that a series reaches far enough, or to its end."""
        reach = self._reaches.get(series)
        if reach is None:
            yield Range(series, FIRST_ROWS)
        elif reach.last is not None and not suffice(self.first(series)[0]):
            yield Range(series, reach.limit * GROWTH)

    def reaches(self, series: Series) -> bool:
        """Whether anything of a series was loaded."""
        return series in self._reaches

    def knows(self, ask: Ask) -> bool:
        """Whether it was loaded already, be it that nothing was there."""
        if isinstance(ask, Range):
            reach = self._reaches.get(ask.series)
            return reach is not None and (reach.last is None or reach.limit >= ask.limit)
        return ask in self._rows

    def put(self, key: Key, record: Record | None) -> None:
        """A row as it was loaded, or as a decision leaves it."""
        self._rows[key] = record
        kind, name = key
        if kind.GROUP is not None and record is not None:
            group = kind, getattr(record, kind.GROUP)
            self._groups.setdefault(group, {})[name] = None

    def absorb(
        self, changes: Iterable[Record], new: dict[Key, Record], replaced: dict[Key, Record]
    ) -> None:
        """Rows as a decision leaves them, sorted into those that are new and those that were.

        The innermost loop of every write, and written accordingly.
        """
        rows = self._rows
        for record in changes:
            key = key_of(record)
            if rows.get(key) is None:
                new[key] = record
                if key[0].GROUP is not None:
                    self.put(key, record)
            elif key not in new:
                replaced[key] = record
            elif key[0].MUTABLE:
                new[key] = record
            else:
                raise AssertionError(f"two of {key[0].TABLE} are called {key[1]!r}")
            rows[key] = record

    def put_range(self, asked: Range, rows: Iterable[Record]) -> None:
        """The first rows of a series, as they were loaded; none that a decision has changed."""
        found = list(rows)
        for row in found:
            self.put(key_of(row), row)
        if not self.knows(asked):
            is_end = len(found) < asked.limit
            place = None if is_end else _position(asked.series.order)(found[-1])
            self._reaches[asked.series] = _Reach(asked.limit, place)


class Decision(Generic[A_co]):
    """The answer for the caller and the rows that are new or replaced."""

    __slots__ = ("answer", "changes", "refusal")

    def __init__(
        self, answer: A_co, changes: Iterable[Record] = (), refusal: Exception | None = None
    ) -> None:
        self.answer = answer
        self.changes = changes
        self.refusal = refusal

    @classmethod
    def refuse(cls, refusal: Exception, changes: Iterable[Record]) -> Decision[Any]:
        """An error for the caller, and yet changes that hold: what was due anyway."""
        return Decision(None, changes, refusal)


class Command(Protocol[A_co]):
    """One write: which rows it needs, and what it makes of them.

    All of it is pure, so that a batch may be run again after a failure. `decide` raises an
    error of the library to reject: the caller gets it, and nothing is changed (but see
    `Decision.refuse`).
    """

    def keys(self) -> Iterable[Ask]:
        """The rows that are known to be needed."""
        ...

    def keys_after(self, view: View) -> Iterator[Ask] | Iterable[Ask]:
        """The further rows that those loaded so far point to; asked until it names none."""
        ...

    def decide(self, view: View, now: str) -> Decision[A_co]:
        """Decide at the instant `now` (see `instants`)."""
        ...


@cache
def _position(order: tuple[str, ...]) -> Any:
    return attrgetter(*order)  # of two columns and more: a tuple
