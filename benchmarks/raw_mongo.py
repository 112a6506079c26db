"""Durable writes on a MongoDB replica set, and the same documents written by hand with pymongo.

As on SQLite (see `raw`), which documents a command writes is recorded while the library runs the
commands once, and then replayed: no decision, no reading, no hashing is left in the timed part. By
hand either as anybody would begin, one transaction a command and one call a document; or as one
would end, a hundred commands a transaction and one bulk write a collection, in which several
updates of a document are one.

`python -m benchmarks.raw_mongo` starts a server of its own, or measures on that of `--url`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pymongo import MongoClient, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from benchmarks import report, stripe_events
from benchmarks.machine import this_machine
from benchmarks.measure import (
    FULL,
    QUICK,
    Plan,
    Row,
    WrongResult,
    prepared,
    ratio_row,
    take_turns,
)
from benchmarks.writing import (
    CALLERS,
    CREDITS_AT_FIRST,
    USERS,
    _Case,
    _Spends,
    _SpendsOnOneWallet,
    _user,
    _Webhooks,
    payment_of,
    quote_of,
    run_all,
)
from credit_payments.adapters.mongo import MongoStorage
from credit_payments.adapters.mongo_documents import changes, encode
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.bootstrap import System
from credit_payments.config import load_settings
from credit_payments.domain.decision import Range
from credit_payments.domain.records import RECORDS, Key, Record, key_of
from credit_payments.ports.storage import Transaction

BATCH = 100
_ROWS_AT_ONCE = 500
_COPIES = itertools.count()
Document: TypeAlias = dict[str, Any]


class Written(NamedTuple):
    """One document that a transaction writes: new, or the fields that it sets."""

    collection: str
    key: str
    document: Document
    is_new: bool


Script: TypeAlias = list[list[Written]]
"""The documents of each transaction."""


class RecordingStorage(MongoStorage):
    """Keeps what each transaction writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.script: Script = []

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        with super().transaction(patient=patient) as inner:
            recording = _Recording(inner)
            yield recording
        self.script.append(recording.written)


class _Recording:
    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self._loaded: dict[Key, Record] = {}
        self.written: list[Written] = []

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        found = self._inner.load(keys)
        self._loaded.update(found)
        return found

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        found = self._inner.first(ranges)
        self._loaded.update((key_of(row), row) for rows in found.values() for row in rows)
        return found

    def write(self, inserts: Sequence[Record], updates: Sequence[Record]) -> None:
        self._inner.write(inserts, updates)
        for row in inserts:
            self.written.append(Written(row.TABLE, key_of(row)[1], encode(row), is_new=True))
        for row in updates:
            sets = changes(self._loaded[key_of(row)], row)
            self.written.append(Written(row.TABLE, key_of(row)[1], sets, is_new=False))


# -- by hand ----------------------------------------------------------------------------------


@contextmanager
def _transaction(client: MongoClient[Document]) -> Iterator[ClientSession]:
    with client.start_session() as session:
        session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority", j=True))
        yield session
        session.commit_transaction()


def replay(database: Database[Document], script: Script) -> float:
    """Run the transactions one by one; how many of them a second."""
    with prepared():
        start = time.perf_counter()
        for transaction in script:
            with _transaction(database.client) as session:
                for written in transaction:
                    collection = database[written.collection]
                    if written.is_new:
                        collection.insert_one(written.document, session=session)
                    else:
                        collection.update_one(
                            {"_id": written.key}, {"$set": written.document}, session=session
                        )
        return len(script) / (time.perf_counter() - start)


def replay_in_batches(database: Database[Document], script: Script) -> float:
    """Run a hundred of them as one, with bulk writes; how many of the former a second."""
    with prepared():
        start = time.perf_counter()
        for first in range(0, len(script), BATCH):
            _run_batch(database, itertools.chain.from_iterable(script[first : first + BATCH]))
        return len(script) / (time.perf_counter() - start)


def _run_batch(database: Database[Document], batch: Iterable[Written]) -> None:
    new: dict[str, list[Document]] = {}
    sets: dict[str, dict[str, Document]] = {}
    for written in batch:
        if written.is_new:
            new.setdefault(written.collection, []).append(written.document)
        else:
            documents = sets.setdefault(written.collection, {})
            documents[written.key] = documents.get(written.key, {}) | written.document
    with _transaction(database.client) as session:
        for name, documents_of_it in new.items():
            database[name].insert_many(documents_of_it, ordered=False, session=session)
        for name, documents in sets.items():
            updates = [
                UpdateOne({"_id": key}, {"$set": fields}) for key, fields in documents.items()
            ]
            database[name].bulk_write(updates, ordered=False, session=session)


# -- databases --------------------------------------------------------------------------------


class Databases:
    """Databases of one server, each a copy of the same template."""

    def __init__(self, client: MongoClient[Document], url: str) -> None:
        self.client = client
        self._url = url
        self._prefix = f"bench_{time.time_ns():x}"

    def url_of(self, name: str) -> str:
        front, mark, query = self._url.partition("?")
        return f"{front.rstrip('/')}/{name}{mark}{query}"

    @contextmanager
    def new(self) -> Iterator[str]:
        """The name of an empty database with our schema."""
        name = f"{self._prefix}_{next(_COPIES)}"
        MongoStorage(self.url_of(name)).close()
        try:
            yield name
        finally:
            self.client.drop_database(name)

    @contextmanager
    def copy(self, template: str) -> Iterator[str]:
        with self.new() as name:
            for kind in RECORDS:
                into = {"db": name, "coll": kind.TABLE}
                self.client[template][kind.TABLE].aggregate([{"$merge": {"into": into}}])
            self.client.admin.command("fsync")  # nobody's first commit pays for the copy
            yield name

    def check_same(self, name: str, reference: str) -> None:
        """Compare two databases, collection by collection.

        Raises:
            WrongResult: they differ.
        """
        for kind in RECORDS:
            one, other = (
                list(self.client[database][kind.TABLE].find(sort=[("_id", 1)]))
                for database in (name, reference)
            )
            if one != other:
                raise WrongResult(f"{kind.TABLE} differs from what the library wrote.")


# -- cases ------------------------------------------------------------------------------------


class _OnMongo(_Case):
    """One kind of write, recorded once."""

    def __init__(self, databases: Databases, template: str, reference: str, commands: int) -> None:
        self._databases = databases
        self._original = template
        self._recorded = reference
        self.commands = commands
        storage = RecordingStorage(databases.url_of(reference))
        with _system(storage) as system:
            run_all(self.prepare(system), 1)
            self._check(system)
        self._written = storage.script

    def by_library(self, callers: int) -> float:
        with self._databases.copy(self._original) as name:
            with _system(MongoStorage(self._databases.url_of(name))) as system:
                rate = run_all(self.prepare(system), callers)
                self._check(system)
            return rate

    def by_replay(self, way: Callable[[Database[Document], Script], float]) -> float:
        with self._databases.copy(self._original) as name:
            rate = way(self._databases.client[name], self._written)
            self._databases.check_same(name, self._recorded)
            return rate


class _WebhooksOnMongo(_OnMongo, _Webhooks):
    pass


class _SpendsOnMongo(_OnMongo, _Spends):
    pass


class _SpendsOnOneWalletOnMongo(_OnMongo, _SpendsOnOneWallet):
    pass


def _system(storage: MongoStorage) -> System:
    settings = load_settings(
        {"database": "memory://", "stripe_webhook_secret": stripe_events.WEBHOOK_SECRET}, []
    )
    return System(settings, storage=storage, clock=SystemClock())


def _fill(storage: MongoStorage, payments: int) -> None:
    """Wallets that hold credits, and payments that wait for their webhooks."""
    for start in range(0, payments, _ROWS_AT_ONCE):
        quotes = [quote_of(n) for n in range(start, min(start + _ROWS_AT_ONCE, payments))]
        with storage.transaction() as transaction:
            transaction.write([*quotes, *map(payment_of, quotes)], [])
    with _system(storage) as system:
        for user in range(USERS):
            system.wallets.grant(_user(user), CREDITS_AT_FIRST, key=_user(user), reason="opening")


def rows(plan: Plan, url: str) -> Iterator[Row]:
    """Each kind of write, by one caller and by many, against pymongo by hand."""
    cases: tuple[tuple[str, type[_OnMongo]], ...] = (
        ("webhook to credit", _WebhooksOnMongo),
        ("spend", _SpendsOnMongo),
        ("spend on one wallet", _SpendsOnOneWalletOnMongo),
    )
    with MongoClient[Document](url) as client:
        databases = Databases(client, url)
        with databases.new() as template:
            _fill(MongoStorage(databases.url_of(template)), plan.commands)
            for what, kind in cases:
                with databases.copy(template) as reference:
                    case = kind(databases, template, reference, plan.commands)
                    yield from _compare(case, what, plan)


def _compare(case: _OnMongo, what: str, plan: Plan) -> Iterator[Row]:
    single, batch = f"{what}, by hand", f"{what}, by hand in batches of {BATCH}"
    one, many = f"{what}, 1 caller", f"{what}, {CALLERS} callers"
    sides = {
        single: lambda: case.by_replay(replay),
        one: lambda: case.by_library(1),
        many: lambda: case.by_library(CALLERS),
        batch: lambda: case.by_replay(replay_in_batches),
    }
    rates = {name: (name, taken) for name, taken in take_turns(sides, plan.database_turns).items()}
    name = f"mongo_{what.replace(' ', '_')}"
    yield ratio_row(f"{name}_1_caller", rates[one], rates[single], target=0.5)
    yield ratio_row(f"{name}_{CALLERS}_callers", rates[many], rates[single], target=15)
    yield ratio_row(f"{name}_{CALLERS}_callers_batch", rates[many], rates[batch], target=0.4)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.raw_mongo")
    parser.add_argument("--url", help="a replica set; without a database")
    parser.add_argument("--quick", action="store_true", help="a smoke test: numbers mean nothing")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.url
        if url is None:
            from tests.support.servers.mongod import ReplicaSet  # noqa: PLC0415 - brings a server

            url = stack.enter_context(ReplicaSet()).url
        try:
            found = list(rows(QUICK if options.quick else FULL, url))
        except WrongResult as error:
            print(f"wrong result: {error}", file=sys.stderr)
            return 1
    print(report.as_text(this_machine(Path()), found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
