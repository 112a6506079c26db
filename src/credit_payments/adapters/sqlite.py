"""SQLite through the standard library: the embedded default.

Every commit is durable: write-ahead log with `synchronous=FULL`, so that power loss takes nothing
that was acknowledged (https://www.sqlite.org/pragma.html#pragma_synchronous). Writers, of any
process, take the write lock at the start (`BEGIN IMMEDIATE`), so that a transaction never finds at
its end that what it read has changed. Columns are text and integers; there are no floats.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from credit_payments.adapters import sqlite_joined, sqlite_schema
from credit_payments.adapters import sqlite_statements as statements
from credit_payments.adapters.sqlite_connections import Connections, begin_writing
from credit_payments.adapters.sqlite_errors import translated, translation
from credit_payments.adapters.sqlite_inspection import inspected
from credit_payments.adapters.sqlite_joined import PlainRows
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.decision import Range
from credit_payments.domain.migrations import check_current
from credit_payments.domain.records import RECORDS, Key, Record, key_of
from credit_payments.domain.traits import DatabaseTraits
from credit_payments.migrating import migrate
from credit_payments.ports.reads import SingleReads
from credit_payments.ports.storage import Joined, Loaded, Reader, Transaction

R = TypeVar("R", bound=Record)

STATEMENT_ROWS_MAX = 64
"""Many rows a statement, because each step of a statement gives other threads a turn at the
interpreter, and under load getting it back costs more than the step. Only numbers of three binary
digits and zeros are used (1 to 8, 10, 12, … 56, 64): few enough to stay prepared, and two or three
statements serve any number of rows."""


class SqliteStorage(SingleReads):
    """Keeps the storage port's promises in one database file.

    Args:
        path: the file; it is created, its folder is not.
        create: whether a file that is blank, or not there, is made into one of ours.

    Raises:
        ConfigurationError: the path cannot be opened, is not an SQLite database, or was written
            by another version of the statements.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        with sqlite_schema.opened(path) as schema:
            if create and schema.is_blank():
                migrate(schema, SystemClock())
            self._steps = schema.applied()
            check_current(schema.migrations, self._steps)
        self._connections = Connections(str(path))
        with translated(), self._connections.writer():
            pass  # from now on it writes its log ahead, so that readers never wait

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:  # noqa: ARG002
        """See the port."""
        try:
            with self._connections.writer() as connection:
                try:
                    # Inside: a signal's exception may come between its effect and its return.
                    begin_writing(connection)
                    yield _SqliteTransaction(connection)
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translation(error) from error

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """See the port."""
        with translated(), self._connections.reader() as connection:
            try:
                connection.execute("BEGIN")
                yield _Rows(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def get(self, kind: type[R], key: str) -> R | None:
        """See the port; asked most of all, and so without a detour."""
        with translated(), self._connections.reader() as connection:
            return _Rows(connection).get(kind, key)

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        """See the port."""
        with translated(), self._connections.reader() as connection:
            yield from _Rows(connection).scan(kind, order=order)

    @contextmanager
    def joined(self, connection: Any) -> Iterator[Joined]:
        """See the port.

        A connection without a transaction begins one, which takes the write lock at once and gives
        it back if nothing was written. One that has only read so far may have read too old a state
        to write on: `WriteConflict`.
        """
        with sqlite_joined.within_host(connection, self._connections.path, self._steps) as rows:
            yield _SqliteTransaction(rows)

    def watch(self, kind: type[Record], wake: Callable[[], None]) -> None:  # noqa: ARG002
        """SQLite tells nobody."""
        return

    def inspect(self) -> DatabaseTraits:
        """See the port."""
        with translated(), self._connections.writer() as connection:
            return inspected(connection)

    def close(self) -> None:
        """See the port."""
        self._connections.close()

    @contextmanager
    def _reading(self) -> Iterator[Reader]:
        with translated(), self._connections.reader() as connection:
            yield _Rows(connection)


class _Rows:
    """Reads through one connection."""

    def __init__(self, connection: sqlite3.Connection | PlainRows) -> None:
        self._connection = connection

    def get(self, kind: type[R], key: str) -> R | None:
        row = self._connection.execute(statements.select(kind), (key,)).fetchone()
        return None if row is None else kind(*row)

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
        statement = statements.select_page(
            kind,
            tuple(where),
            tuple(order),
            behind=after is not None,
            descending=descending,
            ending=ending,
        )
        values = (*where.values(), *(after or ()), limit)
        return [kind(*row) for row in self._connection.execute(statement, values)]

    def count(
        self,
        kind: type[Record],
        where: Mapping[str, str | int],
        *,
        limit: int,
        ending: str | None = None,
    ) -> int:
        statement = statements.count(kind, tuple(where), ending)
        values = (*where.values(), limit)
        (found,) = self._connection.execute(statement, values).fetchone()
        return int(found)

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        alike: dict[tuple[object, ...], list[Range]] = {}
        for asked in ranges:
            alike.setdefault((asked.series._replace(group=""), asked.limit), []).append(asked)
        found: dict[Range, Sequence[Record]] = {}
        for some in alike.values():
            kind, group, equals, order, ending = some[0].series
            names = tuple(name for name, _ in equals)
            if len(some) == 1:
                statement = statements.select_first_of_one(kind, names, order, ending)
                values = (group, *(value for _, value in equals), some[0].limit)
                rows = self._connection.execute(statement, values)
                found[some[0]] = [kind(*row) for row in rows]
                continue
            statement = statements.select_first(kind, names, order, ending)
            groups = msgspec.json.encode([asked.series.group for asked in some]).decode()
            many = (*(value for _, value in equals), some[0].limit, groups)
            (text,) = self._connection.execute(statement, many).fetchone()
            found.update(zip(some, _series_decoder(kind).decode(text), strict=True))
        return found

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        for row in self._connection.execute(statements.select_all(kind, tuple(order))):
            yield kind(*row)


class _SqliteTransaction(_Rows):
    def __init__(self, connection: sqlite3.Connection | PlainRows) -> None:
        super().__init__(connection)
        self._loaded: dict[Key, Record] = {}

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        by_kind: dict[type[Record], list[str]] = {}
        for kind, key in keys:
            by_kind.setdefault(kind, []).append(key)
        found: dict[Key, Record] = {}
        for kind, names in by_kind.items():
            if len(names) == 1:  # without the detour through JSON, which pays for many
                one = self.get(kind, names[0])
                if one is not None:
                    found[kind, names[0]] = one
                continue
            name_of = attrgetter(kind.KEY)
            asked = msgspec.json.encode(names).decode()
            (rows,) = self._connection.execute(statements.select_many(kind), (asked,)).fetchone()
            for record in _decoder(kind).decode(rows):
                found[kind, name_of(record)] = record
        self._loaded.update(found)
        return found

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        found = super().first(ranges)
        for asked, rows in found.items():
            if asked.series.kind in _INDEXED:
                self._loaded.update((key_of(row), row) for row in rows)
        return found

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        return Loaded(self.load(keys), self.first(ranges))

    def write(self, inserts: Sequence[Record], updates: Sequence[Record]) -> None:
        by_kind: dict[type[Record], list[Record]] = {}
        for record in inserts:
            by_kind.setdefault(type(record), []).append(record)
        for kind, rows in by_kind.items():
            self._many(rows, partial(statements.insert, kind), msgspec.structs.astuple)
        by_columns: dict[tuple[type[Record], tuple[str, ...]], list[Record]] = {}
        for record in updates:
            columns = type(record), self._columns_of(record)
            by_columns.setdefault(columns, []).append(record)
        for (kind, names), rows in by_columns.items():
            self._many(rows, partial(statements.update, kind, names), _values_of(kind, names))

    def _columns_of(self, record: Record) -> tuple[str, ...]:
        """Which columns to set: indexed ones only if they change.

        SQLite writes the entries of an index anew for each column that is set, also to what it was.
        """
        kind = type(record)
        indexed = _INDEXED.get(kind)
        if indexed is None:
            return kind.MUTABLE
        before = self._loaded.get(key_of(record))
        if before is None or indexed(before) != indexed(record):
            return kind.MUTABLE
        return _UNINDEXED[kind]

    def _many(
        self,
        records: Sequence[Record],
        statement: Callable[[int], str],
        values: Callable[[Record], tuple[object, ...]],
    ) -> None:
        if len(records) == 1:
            self._connection.execute(statement(1), values(records[0]))
            return
        for some in _in_runs(records):
            places = list(chain.from_iterable(map(values, some)))
            self._connection.execute(statement(len(some)), places)


_UNINDEXED = {kind: statements.unindexed(kind) for kind in RECORDS}
_INDEXED = {
    kind: attrgetter(*(set(kind.MUTABLE) - set(unindexed)))
    for kind, unindexed in _UNINDEXED.items()
    if unindexed != kind.MUTABLE
}


@cache
def _values_of(kind: type[Record], names: tuple[str, ...]) -> Callable[[Record], Any]:
    return attrgetter(*names, kind.KEY)


def _in_runs(rows: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut into runs of 64, and what is left into two or three."""
    start = 0
    while start < len(rows):
        left = min(STATEMENT_ROWS_MAX, len(rows) - start)
        small_bits = max(0, left.bit_length() - 3)
        size = left >> small_bits << small_bits
        yield rows[start : start + size]
        start += size


@cache
def _decoder(kind: type[R]) -> msgspec.json.Decoder[list[R]]:
    return msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]


@cache
def _series_decoder(kind: type[R]) -> msgspec.json.Decoder[list[list[R]]]:
    return msgspec.json.Decoder(list[list[kind]])  # type: ignore[valid-type]
