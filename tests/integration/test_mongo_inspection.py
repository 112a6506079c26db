"""What is observed of a MongoDB database: well, and with each thing amiss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import mongomock
import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure
from tests.support.servers.mongod import temporary_database

from credit_payments.adapters import mongo_inspection
from credit_payments.adapters.mongo import MongoStorage
from credit_payments.domain.records import NEVER
from credit_payments.domain.traits import DatabaseTraits, Index, indexes
from credit_payments.errors import StorageUnavailable

Document = dict[str, Any]
ONLY_ONE = Index("entries", ("user_id", "sequence"), unique=True)
DUE = Index("wallets", ("due_at", "user_id"), ending="due_at")
DUE_DOCUMENT = {"due_at": {"$lt": NEVER}}


@pytest.fixture(scope="module")
def url(mongo_url: str) -> Iterator[str]:
    """One for all tests of this module, each of which leaves it as it found it."""
    with temporary_database(mongo_url) as url:
        MongoStorage(url).close()
        yield url


@pytest.fixture
def database(url: str) -> Iterator[Database[Document]]:
    with MongoClient[Document](url) as client:
        yield client.get_default_database()


def observed(url: str) -> DatabaseTraits:
    with closing(MongoStorage(url, create=False)) as storage:
        return storage.inspect()


def mend(database: Database[Document], remedy: str) -> None:
    """Do what the statement says that mongosh would be given."""
    front, _, arguments = remedy.partition(".createIndex(")
    keys, options = json.loads(f"[{arguments.removesuffix(')')}]")
    database[front.removeprefix("db.")].create_index(list(keys.items()), **options)


def test_a_database_as_it_was_made_lacks_nothing(url: str) -> None:
    traits = observed(url)
    assert traits.kind.startswith("MongoDB ")
    assert traits.kind.endswith(", a replica set of 1 member")
    assert (traits.is_kept, traits.has_transactions, traits.is_writable) == (True, True, True)
    assert {one.name: one.value for one in traits.settings} == {
        "writeConcern": "majority, journaled",
        "writeConcernMajorityJournalDefault": "true",
    }
    assert all(one.fits for one in traits.settings)
    assert (traits.missing_indexes, traits.missing_rights, traits.unchecked) == ((), None, ())


def test_any_index_that_was_dropped_is_missed_and_its_remedy_brings_it_back(
    url: str, database: Database[Document]
) -> None:
    wanted = [index for index in indexes() if len(index.columns) > 1]
    before = {index.table: database[index.table].index_information() for index in wanted}
    for table in before:
        database[table].drop_indexes()
    found = observed(url).missing_indexes
    assert [one.index for one in found] == wanted
    for one in found:
        mend(database, one.remedy)
    assert observed(url).missing_indexes == ()
    assert {table: database[table].index_information() for table in before} == before


@pytest.mark.parametrize(
    ("index", "keys", "options"),
    [
        (ONLY_ONE, {"user_id": 1, "sequence": 1}, {}),
        (ONLY_ONE, {"user_id": 1, "sequence": -1}, {"unique": True}),
        (ONLY_ONE, {"user_id": 1, "sequence": 1}, {"unique": True, "hidden": True}),
        (DUE, {"due_at": 1}, {"partialFilterExpression": DUE_DOCUMENT}),
        (DUE, {"due_at": 1, "_id": 1}, {"partialFilterExpression": {"available": 1}}),
    ],
)
def test_an_index_that_does_not_do_the_same_does_not_count(
    url: str, database: Database[Document], index: Index, keys: Document, options: Document
) -> None:
    collection = database[index.table]
    collection.drop_indexes()
    collection.create_index(list(keys.items()), name="other", **options)
    found = observed(url).missing_indexes
    collection.drop_indexes()
    for one in found:
        mend(database, one.remedy)
    assert [one.index for one in found] == [index]
    assert observed(url).missing_indexes == ()


@pytest.mark.parametrize(
    "change",
    [{"validator": {}}, {"validationLevel": "moderate"}, {"validationAction": "warn"}],
)
def test_a_collection_that_the_server_does_not_check_any_more_is_named(
    url: str, database: Database[Document], change: Document
) -> None:
    (before,) = database.list_collections(filter={"name": "lots"})
    database.command({"collMod": "lots", **change})
    found = observed(url).unchecked
    database.command({"collMod": "lots", **before["options"]})
    assert found == ("lots",)
    assert observed(url).unchecked == ()


def test_a_collection_that_was_dropped_is_missed(mongo_url: str) -> None:
    with temporary_database(mongo_url) as url:
        MongoStorage(url).close()
        with MongoClient[Document](url) as client:
            client.get_default_database().drop_collection("events")
        assert observed(url).missing_tables == ("events",)


@pytest.mark.parametrize(("default", "fits"), [(False, [True, False]), (None, [True])])
def test_a_majority_that_does_not_answer_from_its_journals_does_not_fit(
    url: str, monkeypatch: pytest.MonkeyPatch, default: bool | None, fits: list[bool]
) -> None:
    # Not by a reconfiguration: this server then answers no majority read until it starts anew.
    monkeypatch.setattr(mongo_inspection, "_majority_in_journals", lambda _: default)
    assert [one.fits for one in observed(url).settings] == fits


def test_who_may_not_read_the_configuration_is_told_nothing_of_it(url: str) -> None:
    class Refusing:
        admin: Any = None

        def command(self, name: str) -> None:
            raise OperationFailure("not authorized", code=13)

    client: Any = Refusing()
    client.admin = client
    assert mongo_inspection._majority_in_journals(client) is None


def test_a_server_that_is_alone_has_no_transactions(standalone_mongo_url: str) -> None:
    with temporary_database(standalone_mongo_url) as url:
        MongoStorage(url).close()
        traits = observed(url)
    assert traits.kind.endswith(", a server that is alone")
    assert (traits.is_kept, traits.has_transactions) == (True, False)
    assert traits.missing_indexes == ()


def test_an_imitation_keeps_nothing() -> None:
    client: Any = mongomock.MongoClient()
    with closing(MongoStorage("mongodb://mock/credits", client=client)) as storage:
        traits = storage.inspect()
    assert (traits.kind, traits.is_kept, traits.has_transactions) == ("mongomock", False, False)


def test_a_closed_storage_says_so(url: str) -> None:
    storage = MongoStorage(url)
    storage.close()
    with pytest.raises(StorageUnavailable):
        storage.inspect()
