"""The same documents, written by hand on a MongoDB replica set: pymongo, one thread.

See `recording` for where they come from. By hand either as anybody would begin, one transaction a
command and one call a document; or as one would end, a hundred commands a transaction and one bulk
write a collection, in which several updates of a document are one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from pymongo import InsertOne, MongoClient, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from benchmarks.measure import WrongResult, prepared
from benchmarks.recording import Change, Script, in_batches, recorded
from credit_payments.adapters.mongo import MongoStorage
from credit_payments.adapters.mongo_documents import changes, encode
from credit_payments.domain.records import RECORDS, key_of
from credit_payments.ports.storage import Transaction

BATCH = 100
_COPIES = itertools.count()
Document: TypeAlias = dict[str, Any]
Write: TypeAlias = InsertOne[Document] | UpdateOne


class RecordingStorage(MongoStorage):
    """Keeps what each transaction writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.script: Script = []

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        with recorded(super().transaction(patient=patient), self.script) as transaction:
            yield transaction


# -- by hand ----------------------------------------------------------------------------------


@contextmanager
def _transaction(client: MongoClient[Document]) -> Iterator[ClientSession]:
    with client.start_session() as session:
        session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority", j=True))
        yield session
        session.commit_transaction()


def replay(database: Database[Document], script: Script) -> float:
    """Run the transactions one by one; how many of them a second."""
    ready = [[_written(change) for change in written] for written in script]
    with prepared():
        start = time.perf_counter()
        for transaction in ready:
            with _transaction(database.client) as session:
                for name, key, document in transaction:
                    if key is None:
                        database[name].insert_one(document, session=session)
                    else:
                        database[name].update_one({"_id": key}, {"$set": document}, session=session)
        return len(script) / (time.perf_counter() - start)


def replay_in_batches(database: Database[Document], script: Script) -> float:
    """Run a hundred of them as one, with bulk writes; how many of the former a second."""
    ready = [_in_bulk(written) for written in in_batches(script, BATCH)]
    with prepared():
        start = time.perf_counter()
        for batch in ready:
            with _transaction(database.client) as session:
                for name, writes in batch.items():
                    database[name].bulk_write(writes, ordered=False, session=session)
        return len(script) / (time.perf_counter() - start)


def _written(change: Change) -> tuple[str, str | None, Document]:
    """The collection, and a new document, or the key of one and the fields that it sets."""
    kind, key = key_of(change.row)
    if change.before is None:
        return kind.TABLE, None, encode(change.row)
    return kind.TABLE, key, changes(change.before, change.row)


def _in_bulk(batch: Iterable[Change]) -> dict[str, list[Write]]:
    writes: dict[str, list[Write]] = {}
    for name, key, document in map(_written, batch):
        write = InsertOne(document) if key is None else UpdateOne({"_id": key}, {"$set": document})
        writes.setdefault(name, []).append(write)
    return writes


# -- databases --------------------------------------------------------------------------------


class Mongo:
    """A server whose databases are copied, as `servers` wants it."""

    name = "MongoDB"
    tool = "pymongo"
    open = staticmethod(MongoStorage)
    record = staticmethod(RecordingStorage)

    def __init__(self, url: str) -> None:
        self._url = url
        self._prefix = f"bench_{time.time_ns():x}"

    @contextmanager
    def copy(self, template: str | None = None) -> Iterator[str]:
        """The URL of a database of its own: with our schema, and what is in that one."""
        front, mark, query = self._url.partition("?")
        name = f"{self._prefix}_{next(_COPIES)}"
        url = f"{front.rstrip('/')}/{name}{mark}{query}"
        MongoStorage(url).close()
        with MongoClient[Document](self._url) as client:
            try:
                for kind in RECORDS if template else ():
                    into = {"db": name, "coll": kind.TABLE}
                    rows = client.get_database(_name(template or ""))[kind.TABLE]
                    rows.aggregate([{"$merge": {"into": into}}])
                client.admin.command("fsync")  # nobody's first commit pays for the copy
                yield url
            finally:
                client.drop_database(name)

    def replay(self, url: str, script: Script) -> float:
        """See the function."""
        with _opened(url) as database:
            return replay(database, script)

    def replay_batched(self, url: str, script: Script) -> float:
        """See the function."""
        with _opened(url) as database:
            return replay_in_batches(database, script)

    def check_same(self, url: str, reference: str) -> None:
        """Compare two databases, collection by collection.

        Raises:
            WrongResult: they differ.
        """
        with _opened(url) as one, _opened(reference) as other:
            for kind in RECORDS:
                left, right = (
                    list(database[kind.TABLE].find(sort=[("_id", 1)])) for database in (one, other)
                )
                if left != right:
                    raise WrongResult(f"{kind.TABLE} differs from what the library wrote.")


@contextmanager
def _opened(url: str) -> Iterator[Database[Document]]:
    with MongoClient[Document](url) as client:
        yield client[_name(url)]


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
