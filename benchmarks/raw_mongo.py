"""The same documents, written by hand on a MongoDB replica set: pymongo, one thread.

As on SQLite (see `raw`), which documents a command writes is recorded while the library runs the
commands once, and then replayed: no decision, no reading, no hashing is left in the timed part. By
hand either as anybody would begin, one transaction a command and one call a document; or as one
would end, a hundred commands a transaction and one bulk write a collection, in which several
updates of a document are one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from pymongo import MongoClient, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from benchmarks.measure import WrongResult, prepared
from credit_payments.adapters.mongo import MongoStorage
from credit_payments.adapters.mongo_documents import changes, encode
from credit_payments.domain.decision import Range
from credit_payments.domain.records import RECORDS, Key, Record, key_of
from credit_payments.ports.storage import Loaded, Transaction

BATCH = 100
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

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        return Loaded(self.load(keys), self.first(ranges))

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
