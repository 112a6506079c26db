"""MongoDB through pymongo: a replica set, or for development a server alone or mongomock.

Every commit is durable: it is acknowledged by a majority of the members, from their journals.
Transactions read one snapshot and lock nothing that they read; of two that write the same document
the server fails the second (https://www.mongodb.com/docs/manual/core/transactions/), which raises
`WriteConflict`, and the database queue runs it again. Documents hold text, integers and, for
`amount_usd`, decimals; there are no floats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeVar

import pymongo
from pymongo import MongoClient, ReadPreference
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import ConnectionFailure, DocumentTooLarge, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from credit_payments.adapters import mongo_documents as documents
from credit_payments.adapters.mongo_connections import (
    DURABLE,
    Connections,
    database_of,
)
from credit_payments.adapters.mongo_documents import Document
from credit_payments.adapters.mongo_errors import of_code, translated, within
from credit_payments.adapters.mongo_inspection import inspected
from credit_payments.adapters.mongo_reading import Rows, alike_of, first_of
from credit_payments.adapters.mongo_schema import MongoSchema, applied_steps
from credit_payments.adapters.mongo_standalone import PlainRows, StandaloneTransaction
from credit_payments.adapters.mongo_watch import MongoWatch
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.decision import Range
from credit_payments.domain.migrations import Applied, check_current
from credit_payments.domain.records import Key, Record, key_of
from credit_payments.domain.traits import DatabaseTraits
from credit_payments.errors import ConfigurationError, InvalidRequest
from credit_payments.migrating import migrate
from credit_payments.ports.reads import SingleReads
from credit_payments.ports.storage import Joined, Loaded, Reader, Transaction, Watch, WriteConflict

R = TypeVar("R", bound=Record)

COMMIT_TRIES_MAX = 3
ENDING_SECONDS_MAX = 3.0
"""How long ending a transaction may take whose own time is used up: one that stays open holds up
everybody else who writes its rows, for as long as the server lets it."""
SECONDS_MIN = 0.001
"""What is left when the time is up; none at all would mean no limit."""
_SNAPSHOT = ReadConcern("snapshot")
_UNKNOWN = "UnknownTransactionCommitResult"
_NO_TRANSACTIONS = 20
_PAUSE_SECONDS = 0.1
_TOUCH = "touched"
"""A field that no document keeps."""


class MongoStorage(SingleReads):
    """Keeps the storage port's promises in one database of a replica set.

    On a server that is alone, and on mongomock, there are no transactions: what keeps the promises
    there is a lock of this process, and a crash may leave half of a write. It is for development.

    Args:
        url: `mongodb://` or `mongodb+srv://`, with the name of the database in its path.
        create: bring a database that has none of our collections to the schema of this release.
        development: whether a server without transactions will do.
        client: to be used instead of one of its own, and left open; in a forked child the URL
            counts again.

    Attributes:
        is_development: whether there are no transactions.

    Raises:
        ConfigurationError: the URL cannot be used, the server is older than 6.0, it has no
            transactions and has to have them, or it refuses its user.
        SchemaMismatch: the database has another schema than this release needs.
        StorageUnavailable: the server cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        create: bool = True,
        development: bool = True,
        client: MongoClient[Any] | None = None,
    ) -> None:
        self._connections = Connections(url, client)
        try:
            self.is_development = self._connections.is_development()
            _check_fit(is_development=self.is_development, development=development)
            schema = MongoSchema(url, connections=self._connections)
            if create and schema.is_blank():
                migrate(schema, SystemClock())
            self._steps = schema.applied()
            check_current(schema.migrations, self._steps)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:  # noqa: ARG002
        """See the port."""
        connections = self._connections
        seconds_max = connections.seconds_max
        if self.is_development:
            with StandaloneTransaction(connections.database, seconds_max) as standalone:
                yield standalone
            return
        session = connections.client.start_session(causal_consistency=False)
        session.start_transaction(_SNAPSHOT, DURABLE, ReadPreference.PRIMARY)
        transaction = _MongoTransaction(connections.database, session, seconds_max)
        try:
            yield transaction
            transaction.commit()
        except BaseException as error:
            if not connections.abandon(session.client, error):
                transaction.end()
            elif session.in_transaction:
                connections.kill(session)
            raise
        transaction.end()
        connections.wrote(session)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """See the port.

        The server keeps the past for five minutes, if it is not told otherwise; who reads for
        longer is told so (https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/).
        In development each read sees an instant of its own.
        """
        connections = self._connections
        if self.is_development:
            yield self._rows(None)
            return
        with connections.watched():
            connections.catch_up()
            with connections.client.start_session(snapshot=True) as session:
                yield self._rows(session)

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        """See the port."""
        with self._reading() as rows:
            yield from rows.scan(kind, order=order)

    @contextmanager
    def joined(self, connection: Any) -> Iterator[Joined]:
        """See the port: a `ClientSession` with a transaction in progress.

        MongoDB cannot undo a part of a transaction. After an error of the database, `WriteConflict`
        above all, the host has to abort, and may run its whole transaction again, as pymongo's
        `with_transaction` does of itself. What has begun to write, and fails, aborts the
        transaction on the server, so that a host that commits all the same is told so.
        """
        self._check_usable(connection)
        database = database_of(connection.client, self._connections.name)
        self._check_ours(database, connection)
        transaction = _MongoTransaction(database, connection, self._connections.seconds_max)
        try:
            yield transaction
        except BaseException:
            if transaction.has_written:
                _abort_for_host(connection)
            raise

    def watch(self, kind: type[Record], wake: Callable[[], None]) -> Watch | None:
        """See the port; a child of a fork has to watch for itself."""
        if self.is_development:
            return None
        return MongoWatch(self._connections, kind, wake)

    def inspect(self) -> DatabaseTraits:
        """See the port."""
        return inspected(self._connections, has_transactions=not self.is_development)

    def close(self) -> None:
        """See the port."""
        self._connections.close()

    def _rows(self, session: ClientSession | None) -> Rows:
        rows = PlainRows if self.is_development else Rows
        return rows(self._connections.database, session, self._connections.seconds_max)

    @contextmanager
    def _reading(self) -> Iterator[Rows]:
        if self.is_development:
            yield self._rows(None)
            return
        with self._connections.watched(), self._connections.reading() as session:
            yield self._rows(session)

    def _check_usable(self, session: object) -> None:
        if self.is_development:
            raise InvalidRequest("this MongoDB server has no transactions", param="connection")
        if not isinstance(session, ClientSession):
            raise InvalidRequest(
                "connection must be a ClientSession of pymongo", param="connection"
            )
        if not session.in_transaction:
            raise InvalidRequest("connection has no transaction in progress", param="connection")
        # Public where it is given, not where it is looked up.
        options = session._transaction.opts  # noqa: SLF001
        concern = options.write_concern if options else None
        given = concern.document if concern else {}
        if given.get("w", "majority") != "majority" or not given.get("j", True):
            raise InvalidRequest(
                "the transaction's write concern must be majority, and journaled",
                param="connection",
            )

    def _check_ours(self, database: Database[Document], session: ClientSession) -> None:
        """By the steps that it has taken, with their instants: no two databases have the same.

        Names tell nothing, and addresses little: what is one to us may be another to the host.
        """
        with within(self._connections.seconds_max):
            steps = _steps_within(database, session)
        if steps != self._steps:
            raise InvalidRequest("connection is to another database", param="connection")


def _check_fit(*, is_development: bool, development: bool) -> None:
    if is_development and not development:
        raise ConfigurationError(
            "This MongoDB server is no replica set and has no transactions: it will do for "
            "development, not for a live key.",
            param="database",
        )


def _steps_within(database: Database[Document], session: ClientSession) -> list[Applied]:
    """The steps as the host's transaction sees them; none on a server without transactions."""
    try:
        return applied_steps(database, session)
    except OperationFailure as error:
        if error.code == _NO_TRANSACTIONS:
            return []
        raise


def _abort_for_host(session: ClientSession) -> None:
    """End the host's transaction on the server alone, so that its commit fails.

    The driver is not told: the host's own abort stays as good as it was.
    """
    ends_at = time.monotonic() + ENDING_SECONDS_MAX
    with suppress(PyMongoError), pymongo.timeout(ENDING_SECONDS_MAX):
        while time.monotonic() < ends_at:
            try:
                session.client.admin.command("abortTransaction", session=session)
            except ConnectionFailure:  # it may not have arrived
                time.sleep(_PAUSE_SECONDS)
            else:
                return


class _MongoTransaction(Rows):
    """Reads and writes of one transaction, as whole commands: the fewest round trips.

    All of it ends in time, each command in what is left of that. The limit is set for each anew,
    and not for the block, where it would hold for whatever else its thread asks of MongoDB.

    Attributes:
        has_written: whether any command that writes was sent.
    """

    def __init__(
        self, database: Database[Document], session: ClientSession, seconds_max: float
    ) -> None:
        super().__init__(database, session, seconds_max)
        self._own_session = session
        self._ends_at = time.monotonic() + seconds_max
        self.has_written = False
        self._loaded: dict[Key, Record] = {}
        self._absent: set[Key] = set()

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        return self.load_both(keys, ()).rows

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        return self.load_both((), ranges).series

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        by_kind: dict[type[Record], list[str]] = {}
        for kind, key in keys:
            by_kind.setdefault(kind, []).append(key)
        sets = alike_of(ranges)
        by_keys = [documents.by_keys(kind, names) for kind, names in by_kind.items()]
        by_series = [*map(first_of, sets)]
        with self._limited():
            answers = self._answers([*by_keys, *by_series])
            series = self._shared_out(sets, by_series, answers[len(by_keys) :])
        rows: dict[Key, Record] = {}
        for (kind, names), answer in zip(by_kind.items(), answers, strict=False):
            decode = documents.decoder(kind)
            rows.update(((kind, document["_id"]), decode(document)) for document in answer)
            if kind.GUARDED:
                self._absent.update((kind, name) for name in names if (kind, name) not in rows)
        self._loaded.update(rows)
        for found in series.values():
            self._loaded.update((key_of(row), row) for row in found)
        return Loaded(rows, series)

    def write(self, inserts: Sequence[Record], updates: Sequence[Record]) -> None:
        with self._limited():
            if inserts or updates:
                self._guard(self._absent.difference(map(key_of, inserts)))
            new: dict[type[Record], list[Document]] = {}
            for record in inserts:
                new.setdefault(type(record), []).append(documents.encode(record))
            for kind, rows in new.items():
                self._send("insert", kind, "documents", rows)
            changed: dict[type[Record], list[Document]] = {}
            for record in updates:
                changed.setdefault(type(record), []).extend(self._changes(record))
            for kind, changes in changed.items():
                self._send("update", kind, "updates", changes)

    def commit(self) -> None:
        """Commit, and ask again where it is unknown whether that worked.

        Asking again has time of its own: often it was the request that took all there was.
        The server remembers what became of a transaction, so asking again commits nothing twice
        (https://github.com/mongodb/specifications/blob/master/source/transactions/transactions.md).
        """
        with translated():
            try:
                with pymongo.timeout(self._seconds_left()):
                    self._own_session.commit_transaction()
            except PyMongoError as error:
                if not error.has_error_label(_UNKNOWN):
                    raise
            else:
                return
        with within(self._ending_seconds()):
            self._commit_again()

    def _commit_again(self) -> None:
        for tries in range(2, COMMIT_TRIES_MAX + 1):
            try:
                self._own_session.commit_transaction()
            except PyMongoError as error:
                if tries == COMMIT_TRIES_MAX or not error.has_error_label(_UNKNOWN):
                    raise
            else:
                return

    def end(self) -> None:
        """Abort what was not committed; if that fails the server does so itself after a minute."""
        with within(self._ending_seconds()):
            self._own_session.end_session()

    def _limited(self) -> AbstractContextManager[None]:
        return within(self._seconds_left())

    def _seconds_left(self) -> float:
        return max(SECONDS_MIN, self._ends_at - time.monotonic())

    def _ending_seconds(self) -> float:
        return min(ENDING_SECONDS_MAX, self._seconds_max)

    def _changes(self, record: Record) -> list[Document]:
        """The statement that sets what has changed.

        Where nothing has, a field comes and goes: the server skips an update that changes nothing,
        and would let another transaction commit that has loaded the row, too.
        """
        kind, key = key_of(record)
        where = {"_id": key}
        changes = documents.changes(self._loaded.get((kind, key)), record)
        if changes:
            return [{"q": where, "u": {"$set": changes}}]
        steps: list[Document] = [{"$set": {_TOUCH: 1}}, {"$unset": {_TOUCH: 1}}]
        return [{"q": where, "u": step} for step in steps]

    def _guard(self, absent: Iterable[Key]) -> None:
        """Fail if another transaction adds one of these rows, or make that one fail.

        Both then write the same entry of the unique index, whoever commits first. Rare: only what
        is told of an unknown payment finds no row, and adds none.
        """
        for kind, key in absent:
            self._send("insert", kind, "documents", [documents.blank(kind, key)])
            self._send("delete", kind, "deletes", [{"q": {"_id": key}, "limit": 1}])

    def _send(self, verb: str, kind: type[Record], field: str, items: list[Document]) -> None:
        """Run one command for all items; halved, where they are too large for one message."""
        self.has_written = True
        try:
            answer = self._database.command({verb: kind.TABLE, field: items}, session=self._session)
        except DocumentTooLarge:
            if len(items) == 1:
                raise
            middle = len(items) // 2
            self._send(verb, kind, field, items[:middle])
            self._send(verb, kind, field, items[middle:])
            return
        for failed in answer.get("writeErrors", ()):
            raise of_code(failed["code"], failed)
        if answer["n"] != len(items):
            raise WriteConflict("a row is not there any more")
