"""PostgreSQL through psycopg: for many processes on many machines.

Every commit is durable (`synchronous_commit=on`, whatever the role's default), and rows are locked
before a decision rests on them, so READ COMMITTED suffices. All settings are made for the
transaction, none for the session: a pooler that gives each transaction another session may sit in
between (if it keeps no prepared statements, add `prepared_statements=off` to the URL).

The tables are those of the first schema in `search_path`; a host that wants them apart from its own
names a schema in the URL: `postgresql://…?options=-csearch_path%3Dcredits`.

What the database's user needs, once another has migrated: `USAGE` on the schema, `SELECT` and
`INSERT` on each table, `UPDATE` on those columns only that a record calls `MUTABLE`. Entries and
purchases can then not be changed or deleted, whoever gets hold of the password.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from operator import attrgetter
from typing import Any, NoReturn, TypeAlias, TypeVar

import msgspec

from credit_payments.adapters import postgres_statements as statements
from credit_payments.adapters.postgres_connections import Connections
from credit_payments.adapters.postgres_errors import unencodable
from credit_payments.adapters.postgres_inspection import inspected
from credit_payments.adapters.postgres_joined import HostSession, within_host
from credit_payments.adapters.postgres_locks import PLACES, LockOrder, Retries
from credit_payments.adapters.postgres_pipeline import Pipeline, Row, Statement
from credit_payments.adapters.postgres_schema import PostgresSchema
from credit_payments.adapters.postgres_watch import PostgresWatch
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.decision import Range
from credit_payments.domain.migrations import check_current
from credit_payments.domain.records import Key, Record, Wallet
from credit_payments.domain.traits import DatabaseTraits
from credit_payments.errors import InvalidRequest, StorageUnavailable
from credit_payments.migrating import migrate
from credit_payments.ports.reads import SingleReads
from credit_payments.ports.storage import Joined, Loaded, Reader, Transaction, Watch, WriteConflict

R = TypeVar("R", bound=Record)
Ask: TypeAlias = Callable[[Sequence[Statement]], list[list[Row]]]
"""Runs statements in one round trip, if it can; the rows of each."""

SCAN_ROWS = 1_000


class PostgresStorage(SingleReads):
    """Keeps the storage port's promises in one schema of a PostgreSQL database.

    Args:
        url: as libpq reads it, `postgresql://user:password@host/database?…`; further settings:
            https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS.
        create: whether to make the tables in a database that has none of them.

    Raises:
        ConfigurationError: the server refuses the connection, or the tables cannot be made.
        SchemaMismatch: the database has to be migrated first, or is newer than this release.
        StorageUnavailable: no server answers.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        schema = PostgresSchema(url)
        try:
            if create and not schema.applied():
                migrate(schema, SystemClock())
            check_current(schema.migrations, schema.applied())
            self._identity = schema.identity()
            self._begin = _Begin(schema.path())
            unsafe = schema.unsafe_settings()
        finally:
            schema.close()
        for name in unsafe:
            warnings.warn(
                f"The PostgreSQL server runs with {name}=off: power loss may take what was "
                "acknowledged, or all of it.",
                RuntimeWarning,
                stacklevel=2,
            )
        self._connections = Connections(url)
        self._retries = Retries()
        self._watches: weakref.WeakSet[PostgresWatch] = weakref.WeakSet()

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        """See the port."""
        with self._connections.writer() as pipeline:
            ahead = self._retries.take()
            # Whoever is impatient looks for the one that is in the way: not all of them at once.
            order = LockOrder(ahead if patient else ())
            transaction = _PostgresTransaction(pipeline, order)
            try:
                for statement in self._begin.writing if patient else self._begin.impatiently:
                    pipeline.send(statement)
                yield transaction
                # What has only looked gives its locks back without waiting for the disk.
                if transaction.has_written:
                    pipeline.commit()
                else:
                    pipeline.roll_back()
            except BaseException as error:
                pipeline.settle()
                if isinstance(error, WriteConflict):
                    self._retries.keep(order)
                raise
            finally:
                transaction.end()

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """See the port."""
        with self._reader() as pipeline:
            rows = _Rows(_for_readers(pipeline.ask))
            try:
                # Awaited, since the instant is that of the first query.
                pipeline.ask(self._begin.snapshot)
                yield rows
            finally:
                rows.end()
            pipeline.roll_back()

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        """See the port."""
        with self.snapshot() as rows:
            yield from rows.scan(kind, order=order)

    @contextmanager
    def joined(self, connection: Any) -> Iterator[Joined]:
        """See the port: the connection is one of psycopg's, and not asynchronous.

        One without a transaction begins one, unless it is in autocommit mode. When the block
        raises, what it wrote is undone to a savepoint, and the host's transaction goes on.
        """
        with within_host(connection, self._identity) as host:
            transaction = _JoinedTransaction(host)
            try:
                yield transaction
            finally:
                transaction.end()

    def watch(self, kind: type[Record], wake: Callable[[], None]) -> Watch | None:
        """See the port: PostgreSQL tells of new rows that are `AWAITED`."""
        if kind.AWAITED is None:
            return None
        self._connections.check_open()
        watch = PostgresWatch(self._connections.conninfo, kind.TABLE, wake)
        self._watches.add(watch)
        try:
            self._connections.check_open()  # what was closed meanwhile has not seen it
        except StorageUnavailable:
            watch.close()
            raise
        return watch

    def inspect(self) -> DatabaseTraits:
        """See the port."""
        return inspected(
            self._connections, reading=self._begin.reading, writing=self._begin.writing
        )

    def close(self) -> None:
        """See the port."""
        self._connections.close()
        for watch in list(self._watches):
            watch.close()

    @contextmanager
    def _reading(self) -> Iterator[_Rows]:
        with self._reader() as pipeline:
            yield _Rows(_for_readers(lambda asked: pipeline.read(self._begin.reading, asked)))

    @contextmanager
    def _reader(self) -> Iterator[Pipeline]:
        with self._connections.reader() as pipeline:
            try:
                yield pipeline
            except BaseException:
                pipeline.settle()
                raise


def _for_readers(ask: Ask) -> Ask:
    """Readers know no conflicts; theirs is a table that is locked whole, and for too long."""

    def asking(asked: Sequence[Statement]) -> list[list[Row]]:
        try:
            return ask(asked)
        except WriteConflict:
            raise StorageUnavailable("Somebody else locks what was to be read.") from None

    return asking


class _Rows:
    """Reads through one connection."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._scans = 0

    def get(self, kind: type[R], key: str) -> R | None:
        ((*rows,),) = self._ask([Statement(statements.select(kind), (key,))])
        return kind(*rows[0]) if rows else None

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
        values = [str(value) for value in (*where.values(), *(after or ()), limit)]
        (rows,) = self._ask([Statement(statement, values)])
        return [kind(*row) for row in rows]

    def count(
        self,
        kind: type[Record],
        where: Mapping[str, str | int],
        *,
        limit: int,
        ending: str | None = None,
    ) -> int:
        statement = statements.count(kind, tuple(where), ending)
        values = [str(value) for value in (*where.values(), limit)]
        (((found,),),) = self._ask([Statement(statement, values)])
        return int(found)

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        sets = _alike(ranges)
        results = self._ask([_select_first(groups, lock=False) for groups in sets]) if sets else []
        return _shared_out(sets, results)

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        self._scans += 1  # numbered anew for each snapshot, so that statements stay prepared
        cursor = f"credit_payments_{kind.TABLE}_{self._scans}"
        declare = Statement(statements.declare_scan(kind, tuple(order), cursor))
        self._ask([_SET_FOR_SCANNING, declare, _SET_PLANS])
        yield from self._fetch_all(kind, cursor)

    def _fetch_all(self, kind: type[R], cursor: str) -> Iterator[R]:
        fetch = Statement(statements.fetch(cursor, SCAN_ROWS))
        while rows := self._ask([fetch])[0]:
            for row in rows:
                yield kind(*row)

    def end(self) -> None:
        """The connection is somebody else's from now on."""
        self._ask = _refuse


class _PostgresTransaction(_Rows):
    def __init__(self, session: Pipeline | HostSession, order: LockOrder) -> None:
        super().__init__(session.ask)
        self._send: Callable[[Statement], None] = session.send
        self._order = order
        self._wallets: set[str] = set()
        self.has_written = False

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        return self.load_both(keys, ()).rows

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        return self.load_both((), ranges).series

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        wanted = set(keys)
        by_kind = self._order.with_those_ahead(wanted) if wanted else {}
        self._send_all(self._order.before_load(by_kind))
        self._wallets.update(by_kind.get(Wallet, ()))
        owned = _alike(asked for asked in ranges if self._owns(asked))
        asked_for = [_select_many(kind, names) for kind, names in by_kind.items()]
        asked_for += [_select_first(groups, lock=False) for groups in owned]
        results = self._ask(asked_for) if asked_for else []
        rows: dict[Key, Record] = {}
        for (kind, _), found in zip(by_kind.items(), results, strict=False):
            name_of = attrgetter(kind.KEY)
            for row in found:
                record = kind(*row)
                key = kind, name_of(record)
                if key in wanted:
                    rows[key] = record
        series = _shared_out(owned, results[len(by_kind) :])
        others = _alike(asked for asked in ranges if not self._owns(asked))
        if others:
            kinds = [_kind_of(groups) for groups in others]
            self._send_all(self._order.before_series(kinds))
            results = self._ask([_select_first(groups, lock=True) for groups in others])
            series.update(_shared_out(others, results))
        return Loaded(rows, series)

    def write(self, inserts: Sequence[Record], updates: Sequence[Record]) -> None:
        for kind, rows in _by_kind(inserts):
            # Sorted: of two writers that add the same rows, one waits, and not each for the other.
            rows.sort(key=attrgetter(kind.KEY))
            self._send(Statement(statements.insert(kind), (_json(rows),)))
            if _are_awaited(kind, rows):  # the telling has its price, see `notify`
                self._send(Statement(statements.notify(kind)))
        for kind, rows in _by_kind(updates):
            changed = [_values_of(kind)(row) for row in rows]
            self._send(Statement(statements.update(kind), (_json(changed),)))
        self.has_written = self.has_written or bool(inserts or updates)

    def end(self) -> None:
        """The connection is somebody else's from now on."""
        super().end()
        self._send = _refuse

    def _owns(self, asked: Range) -> bool:
        """Whether a wallet that is locked stands for the series: who changes it waits there."""
        return asked.series.kind.GROUP == Wallet.KEY and asked.series.group in self._wallets

    def _send_all(self, locking: Sequence[Statement]) -> None:
        for statement in locking:
            self._send(statement)


def _are_awaited(kind: type[Record], rows: Iterable[Record]) -> bool:
    if kind.AWAITED is None:
        return False
    column, value = kind.AWAITED
    return any(getattr(row, column) == value for row in rows)


class _JoinedTransaction(_PostgresTransaction):
    def __init__(self, host: HostSession) -> None:
        super().__init__(host, LockOrder())
        self._isolation = host.isolation

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        wanted = list(keys)
        if self._isolation not in _READ_COMMITTED and any(kind.GUARDED for kind, _ in wanted):
            raise InvalidRequest(
                f"connection is {self._isolation}: with payments, it has to be read committed",
                param="connection",
            )
        return super().load_both(wanted, ranges)

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        cursor = f"credit_payments_joined_{next(_joined_scans)}"  # open up to the host's end
        self._send(Statement(statements.declare_scan(kind, tuple(order), cursor)))
        yield from self._fetch_all(kind, cursor)

    def _send_all(self, locking: Sequence[Statement]) -> None:
        # For how long locks are awaited is the host's business.
        super()._send_all([one for one in locking if one.sql != statements.SET_LATER_LOCKS])


def _alike(ranges: Iterable[Range]) -> list[dict[str, Range]]:
    """Those together that differ in their groups only, in the fixed order of all locks."""
    alike: dict[tuple[Any, ...], dict[str, Range]] = {}
    for asked in ranges:
        groups = alike.setdefault((asked.series._replace(group=""), asked.limit), {})
        groups[asked.series.group] = asked
    sets = [dict(sorted(groups.items())) for groups in alike.values()]
    return sorted(sets, key=lambda groups: PLACES[_kind_of(groups)])


def _kind_of(groups: Mapping[str, Range]) -> type[Record]:
    return next(iter(groups.values())).series.kind


def _shared_out(
    sets: Sequence[Mapping[str, Range]], results: Sequence[Sequence[Row]]
) -> dict[Range, Sequence[Record]]:
    """To each series its rows."""
    found: dict[Range, Sequence[Record]] = {}
    for groups, rows in zip(sets, results, strict=True):
        in_order: list[list[Record]] = [[] for _ in groups]
        kind = _kind_of(groups)
        for place, *row in rows:
            in_order[place - 1].append(kind(*row))
        found.update(zip(groups.values(), in_order, strict=True))
    return found


def _select_first(groups: Mapping[str, Range], *, lock: bool) -> Statement:
    """Of series that differ in their group alone."""
    (kind, _, equals, order, ending), limit = next(iter(groups.values()))
    sql = statements.select_first(
        kind, tuple(name for name, _ in equals), order, ending, lock=lock and bool(kind.MUTABLE)
    )
    values = (str(value) for _, value in equals)
    return Statement(sql, (statements.array(tuple(groups)), str(limit), *values))


def _select_many(kind: type[Record], keys: Sequence[str]) -> Statement:
    # Rows that never change need no lock, which would be a write to each of them.
    return Statement(
        statements.select_many(kind, lock=bool(kind.MUTABLE)), (statements.array(keys),)
    )


def _by_kind(records: Sequence[Record]) -> list[tuple[type[Record], list[Any]]]:
    """In the fixed order of the kinds."""
    by_kind: dict[type[Record], list[Any]] = {}
    for record in records:
        by_kind.setdefault(type(record), []).append(record)
    return sorted(by_kind.items(), key=lambda item: PLACES[item[0]])


def _json(rows: Sequence[Any]) -> bytes:
    try:
        return msgspec.json.encode(rows)
    except UnicodeEncodeError:
        raise unencodable() from None


@cache
def _values_of(kind: type[Record]) -> Callable[[Record], Any]:
    return attrgetter(*kind.MUTABLE, kind.KEY)


def _refuse(_statements: object) -> NoReturn:
    raise StorageUnavailable("This transaction, or snapshot, has ended.")


class _Begin:
    """How transactions begin, on the path where our tables are."""

    def __init__(self, path: str) -> None:
        def begin(how: str, settings: str) -> tuple[Statement, ...]:
            return Statement(how), Statement(settings, (path,))

        self.reading = begin(statements.BEGIN_READING, statements.SET_FOR_READING)
        self.snapshot = begin(statements.BEGIN_SNAPSHOT, statements.SET_FOR_SNAPSHOT)
        self.writing = begin(statements.BEGIN_WRITING, statements.SET_FOR_WRITING)
        self.impatiently = (*self.writing, Statement(statements.SET_IMPATIENT_LOCKS))


_joined_scans = count()
_READ_COMMITTED = ("read committed", "read uncommitted")  # the same in PostgreSQL
_SET_FOR_SCANNING = Statement(statements.SET_FOR_SCANNING)
_SET_PLANS = Statement(statements.SET_PLANS)
