"""MongoDB without transactions, for development: one server alone, or mongomock.

A lock of this process stands in for isolation, and keeping writes back until the end of the block
for atomicity: other processes, and crashes, are not provided for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from pymongo.database import Database

from credit_payments.adapters import mongo_documents as documents
from credit_payments.adapters.mongo_documents import Document
from credit_payments.adapters.mongo_reading import Rows
from credit_payments.domain.decision import Range
from credit_payments.domain.records import Key, Record, key_of
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.storage import Loaded, WriteConflict

_locks = [threading.Lock()]


def lock() -> threading.Lock:
    """Held by whoever writes: all storages of the process, as two of them may have one database."""
    return _locks[0]


def _after_fork_in_child() -> None:
    """A thread that is no more may hold it; who forked within its block keeps the old one."""
    _locks[0] = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class PlainRows(Rows):
    """Reads by the simplest queries, which mongomock knows, too."""

    can_join = False


class StandaloneTransaction(PlainRows):
    """One transaction at a time; what it writes is kept aside, and put in when its block ends."""

    def __init__(self, database: Database[Document], seconds_max: float) -> None:
        super().__init__(database, None, seconds_max)
        self._inserts: list[Record] = []
        self._updates: list[Record] = []
        self._loaded: dict[Key, Record] = {}
        self._lock = lock()

    def __enter__(self) -> Self:
        if not self._lock.acquire(timeout=self._seconds_max):
            raise StorageUnavailable("Another transaction holds the database for too long.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with self._limited():
                    self._check_free()
                    self._put()
        finally:
            self._lock.release()

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        """See the port."""
        by_kind: dict[type[Record], list[str]] = {}
        for kind, key in keys:
            by_kind.setdefault(kind, []).append(key)
        found: dict[Key, Record] = {}
        with self._limited():
            for kind, names in by_kind.items():
                for document in self._found(documents.by_keys(kind, names)):
                    found[kind, document["_id"]] = documents.decoder(kind)(document)
        self._loaded.update(found)
        return found

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        """See the port."""
        found = super().first(ranges)
        for rows in found.values():
            self._loaded.update((key_of(row), row) for row in rows)
        return found

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        """See the port."""
        return Loaded(self.load(keys), self.first(ranges))

    def write(self, inserts: Sequence[Record], updates: Sequence[Record]) -> None:
        """See the port."""
        self._inserts += inserts
        self._updates += updates

    def _check_free(self) -> None:
        """Look for duplicates before anything is written."""
        seen: set[tuple[object, ...]] = set()
        for record in self._inserts:
            kind = type(record)
            for columns in ((kind.KEY,), *kind.UNIQUE):
                values = tuple(getattr(record, name) for name in columns)
                where = dict(zip(columns, values, strict=True))
                query = documents.page(kind, where, columns, None, 1, descending=False)
                if (kind, columns, values) in seen or self._found(query):
                    raise WriteConflict(kind.TABLE)
                seen.add((kind, columns, values))

    def _put(self) -> None:
        """Write it all; what was added is taken away again if that fails."""
        new: dict[type[Record], list[Document]] = {}
        for record in self._inserts:
            new.setdefault(type(record), []).append(documents.encode(record))
        try:
            for kind, rows in new.items():
                self._database[kind.TABLE].insert_many(rows)
            for record in self._updates:
                self._update(record)
        except BaseException:
            for kind, rows in new.items():
                ours = {"_id": {"$in": [row["_id"] for row in rows]}}
                self._database[kind.TABLE].delete_many(ours)
            raise

    def _update(self, record: Record) -> None:
        kind, key = key_of(record)
        changes = documents.changes(self._loaded.get((kind, key)), record)
        if changes:
            done = self._database[kind.TABLE].update_one({"_id": key}, {"$set": changes})
            if done.matched_count != 1:
                raise WriteConflict(kind.TABLE)


def imitate(database: Database[Document], command: Mapping[str, Any]) -> None:
    """Run a command of a migration on mongomock, which knows no commands and no validators."""
    verb, name = next(iter(command.items()))
    if verb == "create" and name not in database.list_collection_names():
        database.create_collection(name)
    for index in command.get("indexes", ()) if verb == "createIndexes" else ():
        options = {option: value for option, value in index.items() if option != "key"}
        database[name].create_index(list(index["key"].items()), **options)
