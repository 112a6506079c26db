"""The schema of a MongoDB database, and the steps that lead to it."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from credit_payments.adapters.migration_files import migrations
from credit_payments.adapters.mongo_connections import (
    DURABLE,
    STEPS,
    Connections,
    is_imitation,
)
from credit_payments.adapters.mongo_documents import Document
from credit_payments.adapters.mongo_errors import translated, within
from credit_payments.adapters.mongo_standalone import imitate, lock
from credit_payments.domain.migrations import Applied, Migration
from credit_payments.domain.records import RECORDS
from credit_payments.errors import StorageUnavailable

LEASE_SECONDS = 15.0
LOCK_SECONDS_MAX = 60.0
"""How long another who migrates is waited for."""
LOOK_SECONDS = 0.1
_LOCK = "credit_payments_lock"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_NAMESPACE_EXISTS = 48
_INDEX_NOT_FOUND = 27


class MongoSchema:
    """See the port `Schema`.

    A step is a list of the server's commands, in JSON. MongoDB has no transactions for most of
    them; each ends the same when it is run again: what `create` finds there already gets the
    options by `collMod`, `createIndexes` adds what is missing, `dropIndexes` drops what is there.
    An index of many documents may take longer than an answer is waited for: it is built on, and
    the step, taken again, waits for it.

    Args:
        url: of the database.
        connections: to it, if somebody has opened them already; whoever did closes them.
    """

    migrations = migrations("mongo")
    elsewhere = "give the ledger a database of its own, by another name in the URL"

    def __init__(self, url: str, *, connections: Connections | None = None) -> None:
        self._is_owner = connections is None
        self._connections = connections or Connections(url)
        self._lease: _Lease | None = None

    def is_blank(self) -> bool:
        """Whether none of our collections is there, or somebody is just about to make them."""
        return not self.applied() and not self.foreign()

    def foreign(self) -> list[str]:
        """See the port.

        The lock comes before all collections of ours, and the note of the first step after them: a
        step that was cut short has left the lock.
        """
        ours = {kind.TABLE for kind in RECORDS}
        with within(self._connections.seconds_max):
            # A user without further rights sees at least what it may use.
            names = set(self._connections.database.list_collection_names())
        return [] if _LOCK in names else sorted(ours & names)

    def applied(self) -> list[Applied]:
        """See the port."""
        with within(self._connections.seconds_max):
            return applied_steps(self._connections.database)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See the port.

        By a document with a lease that is renewed as long as this process lives, so that one that
        dies holds up others for seconds only.
        """
        if is_imitation(self._connections.client):
            with lock():
                yield
            return
        with _Lease(self._connections) as lease:
            self._lease = lease
            try:
                yield
            finally:
                self._lease = None

    def apply(self, migration: Migration, at: str) -> None:
        """See the port."""
        database = self._connections.database
        with translated():
            for command in json.loads(migration.text):
                self._check_lease()
                self._run(command, migration)
            self._check_lease()
            step = {
                "name": migration.name,
                "checksum": migration.checksum,
                "applied_at": at,
            }
            database[STEPS].update_one(
                {"_id": migration.version}, {"$setOnInsert": step}, upsert=True
            )

    def close(self) -> None:
        """See the port."""
        if self._is_owner:
            self._connections.close()

    def _check_lease(self) -> None:
        """Whoever was stopped for longer than the lease must not undo what others did since."""
        if self._lease is not None:
            self._lease.check()

    def _run(self, command: Document, migration: Migration) -> None:
        database = self._connections.database
        if is_imitation(self._connections.client):
            imitate(database, command)
            return
        durably = {"writeConcern": DURABLE.document}
        try:
            database.command(command | durably)
        except OperationFailure as error:
            verb, name = next(iter(command.items()))
            if verb == "create" and error.code == _NAMESPACE_EXISTS:
                if database[STEPS].find_one({"_id": migration.version}):
                    return  # taken, and a later step may have changed the options
                options = {option: command[option] for option in command if option != "create"}
                database.command({"collMod": name, **options} | durably)
            elif verb != "dropIndexes" or error.code != _INDEX_NOT_FOUND:
                raise


def applied_steps(
    database: Database[Document], session: ClientSession | None = None
) -> list[Applied]:
    """The steps that a database has taken, as a session sees them."""
    return [
        Applied(step["_id"], step["name"], step["checksum"], step["applied_at"])
        for step in database[STEPS].find(sort=[("_id", 1)], session=session)
    ]


class _Lease:
    """The right to migrate, until it ends or this process does.

    Times are the server's, since clocks of machines differ.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._token = secrets.token_hex(16)
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + LOCK_SECONDS_MAX
        with translated():
            self._locks().update_one(
                {"_id": _LOCK}, {"$setOnInsert": {"until": _LONG_AGO}}, upsert=True
            )
            while not self._extend({"$expr": {"$lt": ["$until", "$$NOW"]}}):
                if time.monotonic() > deadline:
                    raise StorageUnavailable("Somebody else migrates the database for too long.")
                time.sleep(LOOK_SECONDS)
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._keeper.join()
        with translated():
            self._locks().update_one(
                {"_id": _LOCK, "token": self._token}, {"$set": {"until": _LONG_AGO}}
            )

    def check(self) -> None:
        """Extend it now.

        Raises:
            StorageUnavailable: somebody else has it meanwhile.
        """
        if not self._extend({"token": self._token}):
            raise StorageUnavailable(
                "Somebody else migrates the database by now, as this process stood still."
            )

    def _keep(self) -> None:
        while not self._ended.wait(LEASE_SECONDS / 3):
            try:
                self._extend({"token": self._token})
            except PyMongoError:  # the next time, or the lease ends
                continue

    def _extend(self, condition: dict[str, Any]) -> bool:
        until = {"$add": ["$$NOW", int(LEASE_SECONDS * 1_000)]}
        done = self._locks().update_one(
            {"_id": _LOCK, **condition}, [{"$set": {"token": self._token, "until": until}}]
        )
        return done.matched_count == 1

    def _locks(self) -> Collection[Document]:
        return self._connections.database[_LOCK]
