# ruff: noqa: PT012 - what fails is the end of the block
"""What can be asked without a server: URLs, and the development mode on mongomock."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import dns.resolver
import mongomock
import pytest
from bson import Decimal128
from pymongo.errors import AutoReconnect

from credit_payments.adapters import mongo_watch
from credit_payments.adapters.mongo import MongoStorage
from credit_payments.adapters.mongo_connections import Connections
from credit_payments.adapters.mongo_schema import MongoSchema
from credit_payments.adapters.mongo_watch import MongoWatch
from credit_payments.domain.records import RECORDS, Entry, Event, Purchase, Wallet
from credit_payments.errors import (
    ConfigurationError,
    InvalidRequest,
    SchemaMismatch,
    StorageUnavailable,
)
from credit_payments.ports.storage import Storage, WriteConflict
from credit_payments.testing.contracts.tools import a_row, put

URL = "mongodb://mock/credits"


@pytest.fixture
def client() -> Any:
    return mongomock.MongoClient()


@pytest.fixture
def storage(client: Any) -> Iterator[MongoStorage]:
    storage = MongoStorage(URL, client=client)
    yield storage
    storage.close()


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://host",
        "mongodb://host/",
        "mongodb://host/?replicaSet=rs0",
        "mongodb://ada:pass/word@host/",
        "mongodb://host/a.b",
        "mongodb://host/%2Fetc",
        "mongodb+srv://cluster.example.com",
        "postgresql://host/credits",
        "credits",
        "",
    ],
)
def test_a_url_without_a_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MongoStorage(url)
    assert caught.value.param == "database"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mongodb://host/credits", "credits"),
        ("mongodb://ada:secret@a:1,b:2/credits?replicaSet=rs0", "credits"),
        ("mongodb+srv://cluster.example.com/credits?tls=true", "credits"),
        ("mongodb://host/%C3%A9t%C3%A9", "été"),
    ],
)
def test_the_database_is_the_path(url: str, name: str) -> None:
    assert Connections(url).name == name


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://ada:swordfish@host:port/credits",
        "mongodb://ada:sword@fish@host/credits",
        "mongodb://ada:swordfish@host/credits?tls=true&ssl=false",
        "mongodb://ada:swordfish@host/credits?directConnection=true&loadBalanced=true",
        "mongodb://ada:swordfish@host/credits?tls=true&tlsCAFile=/swordfish/none.pem",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MongoStorage(url)
    assert caught.value.param == "database"
    assert "sword" not in str(caught.value)
    assert caught.value.__context__ is None, "the driver's error quotes the URL"


@pytest.mark.parametrize("failure", [dns.resolver.NXDOMAIN, dns.resolver.LifetimeTimeout])
def test_names_that_cannot_be_looked_up_now_may_be_later(
    failure: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> object:
        raise failure

    monkeypatch.setattr(dns.resolver, "resolve", fail)
    connections = Connections("mongodb+srv://ada:swordfish@cluster.example.com/credits")
    for _ in range(2):
        with pytest.raises(StorageUnavailable) as caught:
            connections.client.server_info()
        assert caught.value.retryable
        assert "sword" not in str(caught.value)
        assert caught.value.__context__ is None


def test_a_watch_outlasts_a_name_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = threading.Semaphore(0)

    def fail(*_: object, **__: object) -> object:
        asked.release()
        raise dns.resolver.LifetimeTimeout

    monkeypatch.setattr(dns.resolver, "resolve", fail)
    monkeypatch.setattr(mongo_watch, "PAUSE_SECONDS", 0.001)
    connections = Connections("mongodb+srv://cluster.example.com/credits")
    watch = MongoWatch(connections, Event, lambda: None)
    for _ in range(3):
        assert asked.acquire(timeout=10)
    connections.close()
    watch._thread.join(10)
    assert not watch._thread.is_alive(), "once the storage is closed there is nothing to watch"


def test_bounds_of_the_url_are_kept_and_others_set() -> None:
    connections = Connections("mongodb://host/credits?connectTimeoutMS=123&timeoutMS=4000")
    options = connections.client.options
    assert options.pool_options.connect_timeout == 0.123
    assert options.pool_options.socket_timeout == 300
    assert options.server_selection_timeout == 10
    assert connections.seconds_max == 4.0
    connections.close()
    plain = Connections("mongodb://host/credits")
    assert plain.client.options.pool_options.connect_timeout == 5
    assert plain.seconds_max == 10
    plain.close()


def test_weaker_options_of_the_url_do_not_count() -> None:
    url = "mongodb://host/credits?w=1&journal=false&readPreference=secondary&readConcernLevel=local"
    connections = Connections(url)
    database = connections.database
    assert database.write_concern.document == {"w": "majority", "j": True}
    assert database.read_concern.level == "majority"
    assert database.read_preference.mongos_mode == "primary"
    connections.close()


def test_the_client_that_was_handed_in_stays_open(client: Any) -> None:
    storage = MongoStorage(URL, client=client)
    put(storage, Wallet("ada"))
    storage.close()
    assert client.credits.wallets.count_documents({}) == 1
    with pytest.raises(StorageUnavailable, match="closed"):
        storage.get(Wallet, "ada")
    again = MongoStorage(URL, client=client)
    assert again.get(Wallet, "ada") == Wallet("ada")
    again.close()


def test_documents_have_the_documented_shape(client: Any, storage: MongoStorage) -> None:
    put(storage, a_row(Purchase, "pi_xxx", user_id="user123", amount_usd="10.00"))
    document = client.credits.credit_purchases.find_one({"_id": "pi_xxx"})
    assert document["payment_intent_id"] == "pi_xxx"
    assert document["user_id"] == "user123"
    assert document["amount_usd"] == Decimal128("10.00")


def test_mongomock_is_for_development(storage: MongoStorage) -> None:
    assert storage.is_development
    assert storage.watch(Event, lambda: None) is None
    with pytest.raises(InvalidRequest), storage.joined(object()):
        pass


def test_a_database_of_somebody_else_is_left_alone(client: Any) -> None:
    client.credits.wallets.insert_one({"_id": 1, "theirs": True})
    with pytest.raises(SchemaMismatch, match="no schema yet"):
        MongoStorage(URL, client=client)
    assert client.credits.list_collection_names() == ["wallets"]


def test_a_server_without_transactions_is_left_alone_where_it_will_not_do(client: Any) -> None:
    with pytest.raises(ConfigurationError, match="not for a live key") as caught:
        MongoStorage(URL, development=False, client=client)
    assert caught.value.param == "database"
    assert client.credits.list_collection_names() == []


def test_a_new_database_is_not_made_unless_asked_for(client: Any) -> None:
    with pytest.raises(SchemaMismatch):
        MongoStorage(URL, create=False, client=client)
    assert client.credits.list_collection_names() == []
    MongoStorage(URL, client=client).close()
    MongoStorage(URL, create=False, client=client).close()
    names = set(client.credits.list_collection_names())
    assert names == {kind.TABLE for kind in RECORDS} | {"credit_payments_migrations"}


def test_a_database_of_another_version_is_refused(client: Any) -> None:
    MongoStorage(URL, client=client).close()
    client.credits.credit_payments_migrations.update_one(
        {"_id": 1}, {"$set": {"checksum": "another"}}
    )
    with pytest.raises(SchemaMismatch, match="another migration 1"):
        MongoStorage(URL, client=client)


def test_a_schema_that_was_handed_connections_leaves_them_open(client: Any) -> None:
    connections = Connections(URL, client)
    schema = MongoSchema(URL, connections=connections)
    schema.close()
    assert schema.applied() == []
    connections.close()


# -- without transactions ---------------------------------------------------------------------


def test_what_is_written_is_kept_back_until_the_block_ends(storage: MongoStorage) -> None:
    with storage.transaction() as transaction:
        transaction.write([Wallet("ada")], [])
        assert storage.get(Wallet, "ada") is None
    assert storage.get(Wallet, "ada") == Wallet("ada")


def test_a_write_that_fails_in_the_middle_is_taken_back(
    client: Any, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, Wallet("ada", available=1))

    def fail(*_: object, **__: object) -> None:
        raise AutoReconnect("gone")

    monkeypatch.setattr(type(client.credits.wallets), "update_one", fail)
    with pytest.raises(StorageUnavailable), storage.transaction() as transaction:
        transaction.load([(Wallet, "ada")])
        transaction.write([a_row(Event, "evt_1")], [Wallet("ada", available=2)])
    monkeypatch.undo()
    assert storage.get(Event, "evt_1") is None
    assert storage.get(Wallet, "ada") == Wallet("ada", available=1)


def test_a_row_that_went_meanwhile_is_a_conflict(client: Any, storage: Storage) -> None:
    put(storage, Wallet("ada", available=1))
    with pytest.raises(WriteConflict), storage.transaction() as transaction:
        transaction.load([(Wallet, "ada")])
        client.credits.wallets.delete_one({"_id": "ada"})
        transaction.write([a_row(Event, "evt_1")], [Wallet("ada", available=2)])
    assert storage.get(Event, "evt_1") is None


def test_unique_columns_are_looked_at_within_one_write_too(storage: Storage) -> None:
    rows = [a_row(Entry, cause, user_id="ada", sequence=1) for cause in ("one", "two")]
    with pytest.raises(WriteConflict):
        put(storage, *rows)
    assert storage.get(Entry, "one") is None


def test_a_lock_that_is_held_for_too_long_makes_it_unavailable(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.OPERATION_SECONDS_MAX", 0.05)
    storage = MongoStorage(URL, client=client)
    with storage.transaction():  # noqa: SIM117 - one inside of the other
        with pytest.raises(StorageUnavailable, match="too long"), storage.transaction():
            pass
    storage.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.OPERATION_SECONDS_MAX", 0.5)
    storage = MongoStorage(URL, client=client)
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        with storage.transaction():
            begun.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(10)
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            inherited = MongoStorage(URL, client=client)
            put(inherited, Wallet("ada"))
            code = 0
        os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    over.set()
    thread.join(10)
    put(storage, Wallet("bob"))
    storage.close()
