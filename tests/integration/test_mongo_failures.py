"""What becomes of writes when MongoDB, or the way to it, fails."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from tests.support.servers import mongod
from tests.support.servers.fixtures import skipping_where_missing
from tests.support.servers.mongod import ReplicaSet, StandaloneMongod
from tests.support.servers.urls import fresh_name, with_database

from credit_payments.adapters.mongo import MongoStorage
from credit_payments.adapters.mongo_connections import Connections
from credit_payments.adapters.mongo_schema import MongoSchema
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.records import Entry, Event, Notification, Wallet
from credit_payments.domain.spending import Grant
from credit_payments.errors import ConfigurationError, InvalidRequest, StorageUnavailable
from credit_payments.migrating import migrate
from credit_payments.ports.storage import Storage, WriteConflict
from credit_payments.posting import PostingQueue
from credit_payments.testing.contracts.tools import a_row, put, together
from credit_payments.verifying import verify

WRITERS = 4


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[ReplicaSet]:
    with contextlib.ExitStack() as stack:
        with skipping_where_missing():
            nodes = stack.enter_context(ReplicaSet(nodes=3))
        yield nodes


@pytest.fixture
def failing(three_nodes: ReplicaSet) -> Iterator[str]:
    """The URL of a database on three nodes; afterwards all of them are well again."""
    url = with_database(three_nodes.url, fresh_name())
    yield url
    for number, node in enumerate(three_nodes.nodes):
        if not node.running:
            three_nodes.restart(number)
    three_nodes.wait_for_primary()


@pytest.fixture
def alone() -> Iterator[ReplicaSet]:
    """A node that a test may do with what it likes."""
    with contextlib.ExitStack() as stack:
        with skipping_where_missing():
            node = stack.enter_context(ReplicaSet())
        yield node


def granting(key: str, user_id: str = "ada") -> Grant:
    return Grant(user_id=user_id, credits=1, key=key, reason="failure")


@contextlib.contextmanager
def a_queue(storage: Storage, **options: Any) -> Iterator[PostingQueue]:
    queue = PostingQueue(storage, SystemClock(), **options)
    try:
        yield queue
    finally:
        queue.close()


def check(storage: Storage, entries: int) -> None:
    with storage.snapshot() as reader:
        report = verify(reader)
    assert report.ok, report.problems
    assert report.entries == entries


class Load:
    """Threads that post until they are told to stop, each key until it is acknowledged."""

    def __init__(self, url: str) -> None:
        self._storage = MongoStorage(url)
        self._stop = threading.Event()
        self.acknowledged: list[str] = []
        self.failures: list[StorageUnavailable] = []
        self.slowest = 0.0

    def __enter__(self) -> Self:
        self._threads = [
            threading.Thread(target=self._post, args=(f"w{n}-",)) for n in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        with MongoClient[dict[str, Any]](self._storage._connections._url) as client:
            written = {
                row.cause.removeprefix("grant:")
                for row in self._storage.scan(Entry, order=("cause",))
            }
            check(self._storage, len(written))
            assert written == set(self.acknowledged)
            wallets = client.get_default_database().wallets.find()
            assert sum(wallet["available"] for wallet in wallets) == len(self.acknowledged)
        self._storage.close()

    def wait_for_more(self, count: int = 40, seconds: float = 60) -> None:
        """Until so many more are acknowledged."""
        target, deadline = len(self.acknowledged) + count, time.monotonic() + seconds
        while len(self.acknowledged) < target:
            assert time.monotonic() < deadline, "nothing is acknowledged any more"
            time.sleep(0.01)

    def _post(self, name: str) -> None:
        with a_queue(self._storage) as queue:
            number = 0
            while not self._stop.is_set():
                number += 1
                self._insist(queue, f"{name}{number}")

    def _insist(self, queue: PostingQueue, key: str) -> None:
        start = time.monotonic()
        while True:
            try:
                queue.submit(granting(key, f"user{hash(key) % 3}"))
            except StorageUnavailable as error:
                self.failures.append(error)
            else:
                break
        self.slowest = max(self.slowest, time.monotonic() - start)
        self.acknowledged.append(key)


def test_a_primary_that_steps_down_under_load_costs_nobody_anything(
    three_nodes: ReplicaSet, failing: str
) -> None:
    with Load(failing) as load:
        for _ in range(2):
            three_nodes.step_down()
            load.wait_for_more()
    assert load.failures == []  # the queue's own tries bridge the election


def test_a_primary_that_is_killed_under_load_loses_and_doubles_nothing(
    three_nodes: ReplicaSet, failing: str
) -> None:
    with Load(failing) as load:
        killed = three_nodes.kill_primary()
        load.wait_for_more()
        three_nodes.restart(killed)
        load.wait_for_more()
    assert load.failures == []


@pytest.mark.torture
def test_a_minute_of_elections_and_deaths_loses_and_doubles_nothing(
    three_nodes: ReplicaSet, failing: str
) -> None:
    end = time.monotonic() + 60
    with Load(failing) as load:
        while time.monotonic() < end:
            if random.random() < 0.5:
                three_nodes.step_down()
            else:
                killed = three_nodes.kill_primary()
                time.sleep(random.uniform(0, 2))
                three_nodes.restart(killed)
            load.wait_for_more(random.randrange(100), seconds=120)


def test_a_read_right_after_an_election_sees_what_was_written_before_it(
    three_nodes: ReplicaSet, failing: str
) -> None:
    storage = MongoStorage(failing)
    put(storage, Wallet("ada", available=0))
    with storage.transaction() as transaction:
        transaction.load([(Wallet, "ada")])
        transaction.write([], [Wallet("ada", available=1)])
    three_nodes.step_down()
    assert storage.get(Wallet, "ada") == Wallet("ada", available=1)  # waits for the new primary
    storage.close()


def test_a_majority_that_is_missing_makes_it_unavailable_and_not_acknowledged(
    three_nodes: ReplicaSet, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = MongoStorage(failing)
    put(storage, Wallet("ada"))
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.OPERATION_SECONDS_MAX", 2.0)
    primary = three_nodes.wait_for_primary()
    for number, node in enumerate(three_nodes.nodes):
        if number != primary:
            node.kill()
    start = time.monotonic()
    with pytest.raises((StorageUnavailable, WriteConflict)):
        put(storage, a_row(Event, "evt_1"))
    assert time.monotonic() - start < 5
    storage.close()


def test_a_server_that_hangs_holds_nobody_for_longer_than_it_may(
    alone: ReplicaSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.OPERATION_SECONDS_MAX", 1.0)
    storage = MongoStorage(with_database(alone.url, "credits"))
    put(storage, Wallet("ada"))
    calls: list[Callable[[], object]] = [
        lambda: storage.get(Wallet, "ada"),
        lambda: put(storage, Wallet("bob")),
        lambda: storage.page(Wallet, {}, order=("user_id",), limit=1),
        lambda: MongoStorage(with_database(alone.url, "credits")),
    ]
    os.kill(alone.nodes[0].pid, signal.SIGSTOP)
    try:
        for call in calls:
            start = time.monotonic()
            with pytest.raises(StorageUnavailable):
                call()
            assert time.monotonic() - start < 3
    finally:
        os.kill(alone.nodes[0].pid, signal.SIGCONT)
    alone.wait_for_primary()
    assert storage.get(Wallet, "ada") == Wallet("ada")
    put(storage, Wallet("eve"))
    storage.close()


def test_a_hanging_server_is_given_up_in_the_middle_of_a_transaction(
    alone: ReplicaSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.OPERATION_SECONDS_MAX", 1.0)
    storage = MongoStorage(with_database(alone.url, "credits"))
    put(storage, Wallet("ada"))
    start = time.monotonic()
    try:
        with pytest.raises(StorageUnavailable), storage.transaction() as transaction:  # noqa: PT012
            transaction.load([(Wallet, "ada")])
            os.kill(alone.nodes[0].pid, signal.SIGSTOP)
            transaction.write([], [Wallet("ada", available=1)])
        assert time.monotonic() - start < 3
    finally:
        os.kill(alone.nodes[0].pid, signal.SIGCONT)
    alone.wait_for_primary()
    assert storage.get(Wallet, "ada") == Wallet("ada")
    storage.close()


def test_a_watch_goes_on_after_the_server_was_away(alone: ReplicaSet) -> None:
    storage = MongoStorage(with_database(alone.url, "credits"))
    woken = threading.Event()
    watch = storage.watch(Notification, woken.set)
    assert watch is not None
    assert woken.wait(10)
    alone.restart(0)
    alone.wait_for_primary()
    deadline = time.monotonic() + 60
    for number in range(1_000):
        woken.clear()
        put(storage, a_row(Notification, f"n{number}", status="due"))
        if woken.wait(1):
            break
        assert time.monotonic() < deadline
    watch.close()
    storage.close()


def test_a_read_that_lasts_longer_than_the_past_is_kept_says_so(alone: ReplicaSet) -> None:
    storage = MongoStorage(with_database(alone.url, "credits"))
    put(storage, Wallet("ada"))
    with MongoClient[dict[str, Any]](alone.url) as client:
        client.admin.command({"setParameter": 1, "minSnapshotHistoryWindowInSeconds": 0})

    def read_on() -> None:
        with storage.snapshot() as reader:
            for number in range(300):
                assert reader.get(Wallet, "ada") == Wallet("ada")
                put(storage, Wallet(f"later{number}"))
                time.sleep(0.02)

    with pytest.raises(StorageUnavailable, match="minSnapshotHistoryWindow"):
        read_on()
    storage.close()


# -- replies that get lost ------------------------------------------------------------------------


class Proxy:
    """Stands between client and server, and loses the replies to commits when told so.

    Attributes:
        losing: of how many more commits the connection breaks before their reply.
        swallowing: part of a message whose reply never comes, once.
        withholding: part of a message that never arrives, once.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.losing = 0
        self.lost = 0
        self.swallowing = self.withholding = b""
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._sockets += [client, server]
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while message := _message(client):
                if self.withholding and self.withholding in message:
                    self.withholding = b""
                    continue
                server.sendall(message)
                reply = self._as_ours(_message(server))
                if self.swallowing and self.swallowing in message:
                    self.swallowing = b""
                    continue
                if self.losing and b"commitTransaction" in message:
                    self.losing -= 1
                    self.lost += 1
                    break
                client.sendall(reply)
        for one in (client, server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _as_ours(self, reply: bytes) -> bytes:
        """The client finds the members by what they say; ports have five digits here."""
        theirs, ours = (b"127.0.0.1:%d\0" % port for port in (self._server_port, self.port))
        assert len(theirs) == len(ours)
        return reply.replace(theirs, ours)


def _message(source: socket.socket) -> bytes:
    """One message of MongoDB's protocol, which begins with its length; nothing at the end."""
    head = _exactly(source, 4)
    return head + _exactly(source, struct.unpack("<i", head)[0] - 4) if head else b""


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            return b""
        data += part
    return data


@pytest.fixture
def proxied(mongo_database: str) -> Iterator[tuple[Proxy, MongoStorage]]:
    MongoStorage(mongo_database).close()
    host = mongo_database.partition("://")[2].partition("/")[0]
    proxy = Proxy(int(host.rpartition(":")[2]))
    name = mongo_database.partition("?")[0].rpartition("/")[2]
    # Heartbeats wait for news, and would hold up the one reply after the other: hence polling.
    storage = MongoStorage(
        f"mongodb://127.0.0.1:{proxy.port}/{name}?replicaSet=rs0&serverMonitoringMode=poll"
    )
    yield proxy, storage
    storage.close()
    proxy.close()


def test_a_lost_reply_to_a_commit_is_asked_for_again(
    proxied: tuple[Proxy, MongoStorage],
) -> None:
    proxy, storage = proxied
    slept: list[float] = []
    with a_queue(storage, sleep=slept.append) as queue:
        queue.submit(granting("first"))
        proxy.losing = 1
        entry = queue.submit(granting("second"))
        assert queue.submit(granting("second")) == entry
    assert proxy.lost == 1
    assert slept == []  # the driver asked; the queue has not noticed anything
    check(storage, 2)


def test_a_commit_whose_result_stays_unknown_is_run_again_under_its_key(
    proxied: tuple[Proxy, MongoStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, storage = proxied
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.OPERATION_SECONDS_MAX", 1.0)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        proxy.losing = 0

    with a_queue(storage, sleep=sleep) as queue:
        first = queue.submit(granting("first"))
        proxy.losing = 1_000_000
        second = queue.submit(granting("second"))
        assert (first.balance_after, second.balance_after) == (1, 2)
    assert proxy.lost >= 2
    assert len(slept) >= 1
    check(storage, 2)


def test_many_callers_lose_and_double_nothing_with_the_replies(
    proxied: tuple[Proxy, MongoStorage],
) -> None:
    proxy, storage = proxied
    with a_queue(storage) as queue:

        def post(name: str) -> None:
            for number in range(10):
                proxy.losing = max(proxy.losing, number % 3)
                assert queue.submit(granting(f"{name}{number}", name)).credits == 1

        together(*(lambda name=name: post(name) for name in "abcd"))
    assert proxy.lost
    check(storage, 40)


def test_a_transaction_whose_time_is_up_still_holds_up_nobody(
    proxied: tuple[Proxy, MongoStorage], mongo_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, storage = proxied
    put(storage, Wallet("ada"))
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.OPERATION_SECONDS_MAX", 0.5)
    with pytest.raises(StorageUnavailable), storage.transaction() as transaction:  # noqa: PT012
        transaction.load([(Wallet, "ada")])
        proxy.swallowing = b"\x02update\0"
        transaction.write([], [Wallet("ada", available=1)])
    other = MongoStorage(mongo_database)
    with other.transaction() as transaction:
        assert transaction.load([(Wallet, "ada")]) == {(Wallet, "ada"): Wallet("ada")}
        transaction.write([], [Wallet("ada", available=2)])
    other.close()


def test_a_lost_request_to_commit_is_sent_again_though_the_time_is_up(
    proxied: tuple[Proxy, MongoStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, storage = proxied
    put(storage, Wallet("ada"))
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.OPERATION_SECONDS_MAX", 0.5)
    proxy.withholding = b"commitTransaction"
    put(storage, Wallet("bob"))
    assert proxy.withholding == b""
    assert storage.get(Wallet, "bob") == Wallet("bob")


def test_a_host_cannot_commit_what_lost_a_reply(proxied: tuple[Proxy, MongoStorage]) -> None:
    proxy, storage = proxied
    client = storage._connections.client
    with client.start_session() as session:
        session.start_transaction()
        with pytest.raises(StorageUnavailable), storage.joined(session) as joined:  # noqa: PT012
            joined._ends_at = time.monotonic() + 0.5  # type: ignore[attr-defined]
            proxy.swallowing = b"\x02insert\0"
            joined.write([Wallet("ada")], [])
        with pytest.raises(OperationFailure):
            session.commit_transaction()
    assert storage.get(Wallet, "ada") is None


def test_a_session_of_another_replica_set_is_refused(
    mongo_database: str, alone: ReplicaSet
) -> None:
    storage = MongoStorage(mongo_database)
    name = mongo_database.partition("?")[0].rpartition("/")[2]
    url = with_database(alone.url, name)
    for _ in range(2):  # without a schema there, and with one
        with (
            MongoClient[dict[str, Any]](url, connect=False) as client,
            client.start_session() as session,
            session.start_transaction(),
            pytest.raises(InvalidRequest, match="another database"),
            storage.joined(session),
        ):
            pass
        MongoStorage(url).close()
    storage.close()


# -- users ----------------------------------------------------------------------------------------


class Guarded(StandaloneMongod):
    """A server that asks who is there."""

    def _start(self, stack: contextlib.ExitStack) -> None:
        self.process = mongod._start_node(stack, "mongod", "--auth")


@pytest.fixture
def guarded() -> Iterator[str]:
    """What follows the user in the URL of a server that has some."""
    with contextlib.ExitStack() as stack:
        with skipping_where_missing():
            port = stack.enter_context(Guarded()).process.port
        at = f"127.0.0.1:{port}/credits?authSource=admin"
        roles: dict[str, list[Any]] = {
            "root": ["root"],
            "reader": [{"role": "read", "db": "credits"}],
            "writer": [{"role": "readWrite", "db": "credits"}],
            "owner": [
                {"role": "readWrite", "db": "credits"},
                {"role": "dbAdmin", "db": "credits"},  # has `collMod`, for validators
            ],
        }
        url = f"mongodb://127.0.0.1:{port}/"
        for user, granted in roles.items():
            with MongoClient[dict[str, Any]](url) as client:
                create = {"createUser": user, "pwd": "swordfish", "roles": granted}
                client.admin.command(create)
            url = f"mongodb://root:swordfish@{at}"
        yield at


def test_a_user_who_may_not_is_told_so_without_the_password(guarded: str) -> None:
    for user in (f"root:wrong-swordfish@{guarded}", guarded, f"reader:swordfish@{guarded}"):
        with pytest.raises(ConfigurationError) as caught:
            MongoStorage(f"mongodb://{user}")
        assert caught.value.param == "database"
        assert "swordfish" not in str(caught.value)


def test_whoever_migrates_needs_more_rights_than_whoever_writes(guarded: str) -> None:
    with pytest.raises(ConfigurationError):
        MongoStorage(f"mongodb://writer:swordfish@{guarded}")
    schema = MongoSchema(f"mongodb://owner:swordfish@{guarded}")
    migrate(schema, SystemClock())
    schema.close()
    storage = MongoStorage(f"mongodb://writer:swordfish@{guarded}")
    put(storage, Wallet("ada"))
    assert "swordfish" not in repr(storage)
    storage.close()
    reading = MongoStorage(f"mongodb://reader:swordfish@{guarded}")
    assert reading.get(Wallet, "ada") == Wallet("ada")
    with pytest.raises(ConfigurationError):
        put(reading, Wallet("bob"))
    reading.close()


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.OPERATION_SECONDS_MAX", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StorageUnavailable):
        MongoStorage(f"mongodb://127.0.0.1:{port}/credits")
    assert Connections(f"mongodb://127.0.0.1:{port}/credits").name == "credits"


def test_a_direct_connection_to_one_of_several_is_refused(three_nodes: ReplicaSet) -> None:
    front = three_nodes.url.partition("?")[0].partition(",")[0]
    with pytest.raises(ConfigurationError, match="leave out directConnection") as caught:
        MongoStorage(f"{front.rstrip('/')}/shop?directConnection=true")
    assert caught.value.param == "database"
