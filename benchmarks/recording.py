"""What the library writes, kept row by row, so that the same rows can be written by hand.

Which rows a command writes is not guessed. They are recorded while the library runs the commands
once, and then written again as ready-made statements: no decision, no reading, no hashing is left
in the timed part. So this is a bound that a program with the same promises cannot reach, since it
has to look before it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import msgspec

from credit_payments.domain.decision import Range
from credit_payments.domain.records import Key, Record, key_of
from credit_payments.ports.storage import Loaded, Transaction


class Change(NamedTuple):
    """A row as it is written, and as it was before, if it was there."""

    row: Record
    before: Record | None

    @property
    def columns(self) -> dict[str, Any]:
        """Those to write: of a row that was there only what changes, as nobody would write more."""
        row, before = self
        if before is None:
            return msgspec.structs.asdict(row)
        columns = {name: getattr(row, name) for name in row.MUTABLE}
        return {name: new for name, new in columns.items() if new != getattr(before, name)}


Script: TypeAlias = list[list[Change]]
"""What each transaction writes."""
Values: TypeAlias = tuple[Any, ...]
"""Those of one statement in SQL."""


@contextmanager
def recorded(
    transaction: AbstractContextManager[Transaction], script: Script
) -> Iterator[Transaction]:
    """A transaction whose changes are in the script once they are committed."""
    with transaction as inner:
        recording = _Recording(inner)
        yield recording
    script.append(recording.changes)


def in_batches(script: Script, size: int) -> Iterator[list[Change]]:
    """So many transactions as one; a row that changes several times is written once."""
    for start in range(0, len(script), size):
        last: dict[Key, Change] = {}
        for change in chain.from_iterable(script[start : start + size]):
            key = key_of(change.row)
            first = last.get(key)
            last[key] = change if first is None else Change(change.row, first.before)
        yield list(last.values())


def by_statement(
    changes: Iterable[Change], statement_of: Callable[[Change], tuple[str, Values]]
) -> dict[str, list[Values]]:
    """The values of each statement, for `executemany`."""
    batch: dict[str, list[Values]] = {}
    for change in changes:
        statement, values = statement_of(change)
        batch.setdefault(statement, []).append(values)
    return batch


class _Recording:
    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self._loaded: dict[Key, Record] = {}
        self.changes: list[Change] = []

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        found = self._inner.load(keys)
        self._loaded.update(found)
        return found

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        found = self._inner.first(ranges)
        self._loaded.update((key_of(row), row) for rows in found.values() for row in rows)
        return found

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        return Loaded(self.load(keys), self.first(ranges))

    def write(self, inserts: Sequence[Record], updates: Sequence[Record]) -> None:
        self._inner.write(inserts, updates)
        self.changes += (Change(row, None) for row in inserts)
        self.changes += (Change(row, self._loaded[key_of(row)]) for row in updates)
