"""What memory adds to the contract: nothing outlives it, and nobody waits for ever."""

from __future__ import annotations

import pytest

from credit_payments.adapters import memory
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain.records import Wallet
from credit_payments.errors import StorageUnavailable


def test_two_storages_share_nothing() -> None:
    first, second = MemoryStorage(), MemoryStorage()
    with first.transaction() as transaction:
        transaction.write([Wallet("ada", available=1)], [])
    assert second.get(Wallet, "ada") is None


def test_a_transaction_that_never_ends_makes_the_next_one_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "LOCK_SECONDS_MAX", 0.05)
    storage = MemoryStorage()
    with storage.transaction(), pytest.raises(StorageUnavailable), storage.transaction():
        pass
    with storage.transaction() as transaction:
        assert transaction.load([(Wallet, "ada")]) == {}
