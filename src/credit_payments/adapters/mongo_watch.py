"""Being told of new documents: a change stream, read by a thread of its own.

See https://www.mongodb.com/docs/manual/changeStreams/.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pymongo.errors import PyMongoError

from credit_payments.adapters.mongo_connections import Connections
from credit_payments.adapters.mongo_documents import Document
from credit_payments.domain.records import Record
from credit_payments.errors import CreditPaymentsError

AWAIT_SECONDS = 0.5
"""How long the server holds back an answer without news: so late is closing noticed."""
_AWAIT_MS = int(AWAIT_SECONDS * 1_000)
PAUSE_SECONDS = 1.0


class MongoWatch:
    """Calls a function with each new document that is awaited, and when it may have missed one.

    Args:
        connections: to the database.
        kind: whose collection is watched.
        wake: quick, and raises nothing.
    """

    def __init__(
        self, connections: Connections, kind: type[Record], wake: Callable[[], None]
    ) -> None:
        self._connections = connections
        self._collection = kind.TABLE
        self._pipeline = _new(kind)
        self._wake = wake
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"credit-payments watch {kind.TABLE}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """See the port."""
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join(2 * AWAIT_SECONDS)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._listen()
            except (PyMongoError, CreditPaymentsError):
                # The driver has tried again itself, as far as that makes sense.
                if self._connections.is_closed:
                    return
                self._closed.wait(PAUSE_SECONDS)

    def _listen(self) -> None:
        collection = self._connections.database[self._collection]
        with collection.watch(self._pipeline, max_await_time_ms=_AWAIT_MS) as stream:
            self._wake()
            while not self._closed.is_set():
                if stream.try_next() is not None and not self._closed.is_set():
                    self._wake()


def _new(kind: type[Record]) -> list[Document]:
    match: Document = {"operationType": "insert"}
    if kind.AWAITED is not None:
        column, value = kind.AWAITED
        match[f"fullDocument.{column}"] = value
    return [{"$match": match}, {"$project": {"_id": 1}}]
