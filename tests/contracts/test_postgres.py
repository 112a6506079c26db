"""PostgreSQL against the storage contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.ports.storage import Storage
from credit_payments.testing.contracts import StorageContract


class TestPostgres(StorageContract):
    @pytest.fixture
    def storage(self, postgres_database: str) -> Iterator[Storage]:
        storage = PostgresStorage(postgres_database)
        yield storage
        storage.close()

    @pytest.fixture
    def reopen(self, postgres_database: str) -> Callable[[], Storage]:
        return lambda: PostgresStorage(postgres_database)
