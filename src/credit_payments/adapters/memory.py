"""Rows in this process's memory: for tests and trials, gone with the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import attrgetter
from typing import Any, TypeVar, cast

import msgspec

from credit_payments.domain.decision import Range
from credit_payments.domain.records import NEVER, RECORDS, Key, Record, key_of
from credit_payments.domain.traits import DatabaseTraits
from credit_payments.errors import InvalidRequest, StorageUnavailable
from credit_payments.ports.reads import SingleReads
from credit_payments.ports.storage import Joined, Loaded, Reader, Transaction, WriteConflict

R = TypeVar("R", bound=Record)
Tables = dict[type[Record], dict[str, Record]]
_Unique = tuple[type[Record], tuple[str, ...], tuple[Any, ...]]

LOCK_SECONDS_MAX = 5.0
_CLOSED = "The storage was closed."


class MemoryStorage(SingleReads):
    """Keeps the storage port's promises except durability.

    One transaction at a time; what it writes is kept aside and put in when it commits, so that
    readers always see whole transactions.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._rows = _Rows({kind: {} for kind in RECORDS})
        self._unique: set[_Unique] = set()

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:  # noqa: ARG002
        """See the port."""
        with self._locked():
            changes = _MemoryTransaction(self._rows, self._unique)
            yield changes
            changes.commit()

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """See the port."""
        with self._locked():
            tables = {kind: dict(rows) for kind, rows in self._rows.tables.items()}
        yield _Rows(tables)

    def get(self, kind: type[R], key: str) -> R | None:
        """See the port."""
        if self._closed:
            raise StorageUnavailable(_CLOSED)
        return self._rows.get(kind, key)

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        """See the port."""
        with self._locked():
            rows = list(self._rows.scan(kind, order=order))
        return iter(rows)

    def joined(self, connection: Any) -> AbstractContextManager[Joined]:  # noqa: ARG002
        """There are no connections to memory: always an `InvalidRequest`."""
        raise InvalidRequest("memory:// has no connections", param="connection")

    def watch(self, kind: type[Record], wake: Callable[[], None]) -> None:  # noqa: ARG002
        """Only this process can have added a row."""
        return

    def inspect(self) -> DatabaseTraits:
        """See the port: nothing is kept."""
        with self._locked():
            return DatabaseTraits(kind="memory", is_kept=False)

    def close(self) -> None:
        """See the port."""
        self._closed = True

    @contextmanager
    def _reading(self) -> Iterator[Reader]:
        with self._locked():
            yield self._rows

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=LOCK_SECONDS_MAX):
            raise StorageUnavailable("Another transaction holds the memory for too long.")
        try:
            if self._closed:
                raise StorageUnavailable(_CLOSED)
            yield
        finally:
            self._lock.release()


class _Rows:
    """Reads of a set of tables."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def get(self, kind: type[R], key: str) -> R | None:
        return cast("R | None", self.tables[kind].get(key))

    def page(
        self,
        kind: type[R],
        where: Mapping[str, str | int],
        *,
        order: Sequence[str],
        after: Sequence[str | int] | None = None,
        limit: int,
        descending: bool = False,
        ending: str | None = None,
    ) -> list[R]:
        position = _position(order)
        rows = sorted(self._found(kind, where, ending), key=position, reverse=descending)
        if after is not None:
            last = tuple(after)
            rows = [
                row
                for row in rows
                if (position(row) < last if descending else position(row) > last)
            ]
        return rows[:limit]

    def count(
        self,
        kind: type[Record],
        where: Mapping[str, str | int],
        *,
        limit: int,
        ending: str | None = None,
    ) -> int:
        return min(limit, len(self._found(kind, where, ending)))

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        return {asked: self._first(asked) for asked in ranges}

    def _first(self, asked: Range) -> Sequence[Record]:
        kind, group, equals, order, ending = asked.series
        where = {str(kind.GROUP): group, **dict(equals)}
        return sorted(self._found(kind, where, ending), key=_position(order))[: asked.limit]

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        yield from sorted(self._all(kind), key=_position(order))

    def _found(self, kind: type[R], where: Mapping[str, str | int], ending: str | None) -> list[R]:
        return [
            row
            for row in self._all(kind)
            if all(getattr(row, name) == value for name, value in where.items())
            and (ending is None or getattr(row, ending) < NEVER)
        ]

    def _all(self, kind: type[R]) -> list[R]:
        return cast("list[R]", list(self.tables[kind].values()))


class _MemoryTransaction:
    def __init__(self, committed: _Rows, unique: set[_Unique]) -> None:
        self._committed = committed
        self._committed_unique = unique
        self._changed: dict[Key, Record] = {}
        self._unique: set[_Unique] = set()

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        found = {}
        for kind, key in keys:
            row = self._changed.get((kind, key)) or self._committed.get(kind, key)
            if row is not None:
                found[kind, key] = row
        return found

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        return self._committed.first(ranges)

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        return Loaded(self.load(keys), self.first(ranges))

    def write(self, inserts: Sequence[Record], updates: Sequence[Record]) -> None:
        for record in inserts:
            key = key_of(record)
            unique = {
                (type(record), columns, _position(columns)(record)) for columns in record.UNIQUE
            }
            if self.load([key]) or unique & self._unique or unique & self._committed_unique:
                raise WriteConflict(record.TABLE)
            self._changed[key] = record
            self._unique |= unique
        for record in updates:
            key = key_of(record)
            before = self.load([key])[key]
            mutable = {name: getattr(record, name) for name in record.MUTABLE}
            self._changed[key] = msgspec.structs.replace(before, **mutable)

    def commit(self) -> None:
        for (kind, key), record in self._changed.items():
            self._committed.tables[kind][key] = record
        self._committed_unique |= self._unique


def _position(columns: Sequence[str]) -> Any:
    if len(columns) == 1:
        one = attrgetter(columns[0])
        return lambda row: (one(row),)
    return attrgetter(*columns)
