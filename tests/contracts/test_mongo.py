"""MongoDB against the storage contract: a replica set, and what development makes do with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mongomock
import pytest
from tests.support.servers.mongod import temporary_database

from credit_payments.adapters.mongo import MongoStorage
from credit_payments.ports.storage import Storage
from credit_payments.testing.contracts import StorageContract

NO_SNAPSHOTS = "without transactions each read sees an instant of its own"


class TestReplicaSet(StorageContract):
    @pytest.fixture
    def storage(self, mongo_database: str) -> Iterator[Storage]:
        storage = MongoStorage(mongo_database)
        assert not storage.is_development
        yield storage
        storage.close()

    @pytest.fixture
    def reopen(self, mongo_database: str) -> Callable[[], Storage]:
        return lambda: MongoStorage(mongo_database)


class _Development(StorageContract):
    """What holds without transactions.

    Not that reads see one instant, and not that several processes may write.
    """

    def test_a_snapshot_sees_one_instant(self, storage: Storage) -> None:
        pytest.skip(NO_SNAPSHOTS)

    def test_a_snapshot_sees_one_instant_of_all_kinds(self, storage: Storage) -> None:
        pytest.skip(NO_SNAPSHOTS)


class TestStandalone(_Development):
    @pytest.fixture
    def storage(self, standalone_mongo_url: str) -> Iterator[Storage]:
        with temporary_database(standalone_mongo_url) as url:
            storage = MongoStorage(url)
            assert storage.is_development
            yield storage
            storage.close()


class TestMongomock(_Development):
    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        client: Any = mongomock.MongoClient()
        storage = MongoStorage("mongodb://mock/credits", client=client)
        assert storage.is_development
        yield storage
        storage.close()
