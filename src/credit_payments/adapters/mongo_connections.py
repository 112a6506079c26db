"""The client of one process to one MongoDB database, and what a fork means for it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qsl, unquote

from bson import Timestamp
from bson.codec_options import CodecOptions
from pymongo import MongoClient, ReadPreference
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from credit_payments.adapters.mongo_documents import Document
from credit_payments.adapters.mongo_errors import within
from credit_payments.errors import ConfigurationError, CreditPaymentsError, StorageUnavailable

Client: TypeAlias = MongoClient[Document]

OPERATION_SECONDS_MAX = 10.0
"""How long a read, or a whole transaction, may take. It bridges an election, which takes up to
about twelve seconds at worst, together with the queue's second try
(https://www.mongodb.com/docs/manual/core/replica-set-elections/)."""
CONNECT_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 300.0
"""How long any one answer is waited for, also where no time is set for the whole: the first rows
of a long scan come when the server has sorted them. It keeps the past no longer than that."""
KILL_SECONDS_MAX = 3.0
WIRE_VERSION_MIN = 17
"""MongoDB 6.0."""

MAJORITY = ReadConcern("majority")
DURABLE = WriteConcern("majority", j=True)
"""Acknowledged by a majority of the members, on their disks: no election and no power loss takes
it back (https://www.mongodb.com/docs/manual/reference/write-concern/)."""
STEPS = "credit_payments_migrations"
"""The collection of the steps that the database has taken."""
_SCHEMES = ("mongodb", "mongodb+srv")
_NOT_IN_NAMES = '/\\. "$\0'
_BOUNDS: dict[str, Any] = {
    "connectTimeoutMS": int(CONNECT_SECONDS_MAX * 1_000),
    "serverSelectionTimeoutMS": int(OPERATION_SECONDS_MAX * 1_000),
    "socketTimeoutMS": int(ANSWER_SECONDS_MAX * 1_000),
}


class Connections:
    """One client, made when it is first used, and another one in each forked child.

    A client is not safe to use across a fork: its connections would be shared, its threads are
    missing, its locks may be held for ever
    (https://www.mongodb.com/docs/languages/python/pymongo-driver/current/faq/). A child leaves the
    inherited one alone, as closing it would write to connections that are the parent's.

    Args:
        url: with the name of the database in its path.
        client: to be used in this process instead of one of its own; whoever made it closes it.

    Raises:
        ConfigurationError: the URL cannot be used.
    """

    def __init__(self, url: str, client: Client | None = None) -> None:
        self._url = url
        self.name = _database_name(url)
        self._given = client
        self._closed = False
        self._start(client)
        _all.add(self)

    def _start(self, client: Client | None) -> None:
        self._turn = threading.Lock()
        self._client = client
        self._written_at: Timestamp | None = None

    @property
    def client(self) -> Client:
        """The client of this process.

        Raises:
            StorageUnavailable: after closing, or no name server tells where the servers are.
        """
        client = self._client
        if client is None or self._closed:
            with self._turn:
                if self._closed:
                    raise StorageUnavailable("The MongoDB database was closed.")
                if self._client is None:
                    self._client = _connect(self._url)
                client = self._client
        return client

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, for good."""
        return self._closed

    @property
    def database(self) -> Database[Document]:
        """The database, read and written safely whatever the URL or the client's options say."""
        return database_of(self.client, self.name)

    @property
    def seconds_max(self) -> float:
        """How long an operation may take: `timeoutMS` of the URL, or else our own bound."""
        client = self.client
        given = None if is_imitation(client) else client.options.timeout
        return given or OPERATION_SECONDS_MAX

    def is_development(self) -> bool:
        """Whether the server knows no transactions: it is alone, or mongomock.

        Raises:
            ConfigurationError: the server is too old, or refuses its user.
            StorageUnavailable: it cannot be reached.
        """
        if is_imitation(self.client):
            return True
        with within(self.seconds_max):
            hello = self.client.admin.command("hello")
        if hello["maxWireVersion"] < WIRE_VERSION_MIN:
            raise ConfigurationError("MongoDB 6.0 or later is needed.", param="database")
        is_direct = self.client.topology_description.topology_type_name == "Single"
        if is_direct and len([*hello.get("hosts", ()), *hello.get("passives", ())]) > 1:
            # No election would be noticed, and a member that lags behind would be read.
            raise ConfigurationError(
                "The MongoDB server belongs to a replica set: leave out directConnection, and "
                "give replicaSet in its place.",
                param="database",
            )
        return not ("setName" in hello or hello.get("msg") == "isdbgrid")

    def reading(self) -> ClientSession:
        """A session that sees what this process has written, also right after an election.

        The new primary may not know yet that a majority has what it has, and would answer from
        before (https://www.mongodb.com/docs/manual/core/causal-consistency-read-write-concerns/).
        """
        session = self.client.start_session(causal_consistency=True)
        if self._written_at is not None:
            session.advance_operation_time(self._written_at)
        return session

    def catch_up(self) -> None:
        """Wait until the primary knows that a majority has what this process has written.

        A snapshot is of what the primary knows so far, and cannot be told to be later than a time.
        """
        if self._written_at is None:
            return
        with within(self.seconds_max), self.reading() as session:
            self.database[STEPS].find_one({}, session=session)

    def wrote(self, session: ClientSession) -> None:
        """Remember when a session has committed."""
        at = session.operation_time
        with self._turn:
            if at is not None and (self._written_at is None or at > self._written_at):
                self._written_at = at

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Abandon the client if the block is interrupted."""
        client = self._client
        try:
            yield
        except BaseException as error:
            self.abandon(client, error)
            raise

    def abandon(self, client: Client | None, error: BaseException) -> bool:
        """Leave a client of our own alone if it was interrupted; whether it was.

        What a signal raises may come between the driver's taking a lock and its giving it back, and
        who asks the driver next would wait for ever. Signals come in the main thread alone.
        """
        is_signal = not isinstance(error, Exception | GeneratorExit)
        is_ours = client is not None and client is self._client and client is not self._given
        if not (is_signal and is_ours and threading.current_thread() is threading.main_thread()):
            return False
        self._turn = threading.Lock()
        self._client = None
        # Others may be using it still, but for no longer than for one answer.
        closing = threading.Timer(ANSWER_SECONDS_MAX, cast("Client", client).close)
        closing.daemon = True
        closing.start()
        return True

    def kill(self, session: ClientSession) -> None:
        """Abort the transaction of a session whose client was abandoned, if that can be done."""
        with suppress(CreditPaymentsError), within(KILL_SECONDS_MAX):
            self.client.admin.command("killSessions", [session.session_id])

    def close(self) -> None:
        """Close the client, if it is our own, for good."""
        with self._turn:
            self._closed = True
            if self._client is not None and self._client is not self._given:
                self._client.close()
            self._client = None

    def start_in_child(self) -> None:
        """Begin anew."""
        if self._client is not None:
            _abandoned.append(self._client)
        self._start(None)


def database_of(client: Client, name: str) -> Database[Document]:
    """A database whose documents are plain, and which is read and written safely."""
    return client.get_database(
        name,
        codec_options=CodecOptions(),
        read_preference=ReadPreference.PRIMARY,
        read_concern=MAJORITY,
        write_concern=DURABLE,
    )


def is_imitation(client: object) -> bool:
    """Whether a client is mongomock's, or another one's that has no server behind it."""
    return not isinstance(client, MongoClient)


def _connect(url: str) -> Client:
    given = {name.lower() for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)}
    bounds = {name: value for name, value in _BOUNDS.items() if name.lower() not in given}
    try:
        return MongoClient(url, **bounds)
    except (PyMongoError, ValueError, OSError) as error:
        # The error is left out: it quotes parts of the URL, and so maybe of the password.
        is_unlooked = _is_of_dns(error.__cause__)
    raise _unlooked() if is_unlooked else _unusable(url)


def _is_of_dns(error: BaseException | None) -> bool:
    """Whether a name server did not answer, or did not know: `mongodb+srv` asks one each time."""
    return type(error).__module__.partition(".")[0] == "dns"


def _unlooked() -> StorageUnavailable:
    return StorageUnavailable("The names of the MongoDB servers could not be looked up.")


def _database_name(url: str) -> str:
    """By hand, since pymongo asks the name server where a URL is `mongodb+srv`."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    if scheme not in _SCHEMES:
        raise _unusable(url)
    name = unquote(rest.rpartition("@")[2].partition("/")[2])
    if not name or any(character in name for character in _NOT_IN_NAMES):
        raise ConfigurationError(
            "The MongoDB URL must name a database: mongodb://host/database?replicaSet=…",
            param="database",
        )
    return name


def _unusable(url: str) -> ConfigurationError:
    scheme = url.partition("://")[0]
    kind = scheme if scheme in _SCHEMES else "mongodb"
    return ConfigurationError(
        f"The {kind}:// URL cannot be used; write mongodb://host/database?replicaSet=…",
        param="database",
    )


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_abandoned: list[Client] = []
"""Clients of a parent process, kept from being collected: that would warn, or close them."""


def _after_fork_in_child() -> None:
    for connections in list(_all):
        connections.start_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
