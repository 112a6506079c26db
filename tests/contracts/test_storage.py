"""Every storage against the one contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.domain.records import Record
from credit_payments.domain.traits import DatabaseTraits
from credit_payments.ports.reads import SingleReads
from credit_payments.ports.storage import Joined, Reader, Storage, Transaction
from credit_payments.testing.contracts import StorageContract

R = TypeVar("R", bound=Record)


class TestMemory(StorageContract):
    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        storage = MemoryStorage()
        yield storage
        storage.close()


class TestSqlite(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        storage = SqliteStorage(tmp_path / "credits.db")
        yield storage
        storage.close()

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Callable[[], Storage]:
        return lambda: SqliteStorage(tmp_path / "credits.db")


class Reopening(SingleReads):
    """Opens the file anew for each call: what one call wrote, the next reads from the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _opened(self) -> Iterator[Storage]:
        storage = SqliteStorage(self._path)
        try:
            yield storage
        finally:
            storage.close()

    def _reading(self) -> AbstractContextManager[Reader]:
        return self._opened()

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        with self._opened() as storage, storage.transaction(patient=patient) as transaction:
            yield transaction

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        with self._opened() as storage, storage.snapshot() as reader:
            yield reader

    @contextmanager
    def joined(self, connection: object) -> Iterator[Joined]:
        with self._opened() as storage, storage.joined(connection) as joined:
            yield joined

    def watch(self, kind: type[Record], wake: Callable[[], None]) -> None:
        return

    def inspect(self) -> DatabaseTraits:
        with self._opened() as storage:
            return storage.inspect()

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        with self._opened() as storage:
            yield from storage.scan(kind, order=order)

    def close(self) -> None:
        """Nothing stays open between two calls."""


class TestSqliteReopened(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        yield Reopening(tmp_path / "credits.db")  # noqa: PT022 - as the contract has it
