"""How a command decides: a pure function from the rows it named to the rows that change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from credit_payments.domain.records import Key, Record

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
R = TypeVar("R", bound=Record)


class NotLoaded(LookupError):
    """A decision asked for a row that its command did not name."""


class View:
    """The rows that a batch has loaded, as the commands decided before this one left them."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Mapping[Key, Record | None]) -> None:
        self._rows = rows

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


class Decision(Generic[A_co]):
    """The answer for the caller and the rows that are new or replaced."""

    __slots__ = ("answer", "changes")

    def __init__(self, answer: A_co, changes: Iterable[Record] = ()) -> None:
        self.answer = answer
        self.changes = changes


class Command(Protocol[A_co]):
    """One write: which rows it needs, and what it makes of them.

    All of it is pure, so that a batch may be run again after a failure. `decide` raises an
    error of the library to reject: the caller gets it, and nothing is changed.
    """

    def keys(self) -> Iterable[Key]:
        """The rows that are known to be needed."""
        ...

    def keys_after(self, view: View) -> Iterable[Key]:
        """The further rows that those loaded so far point to; asked until it names none."""
        ...

    def decide(self, view: View, now: str) -> Decision[A_co]:
        """Decide at the instant `now` (see `instants`)."""
        ...
