"""A system as a whole: what becomes of its parts."""

from __future__ import annotations

import pytest

import credit_payments as cp
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.bootstrap import over
from credit_payments.config import load_settings


class Stubborn(MemoryStorage):
    closed = False

    def close(self) -> None:
        super().close()
        self.closed = True


def test_a_part_that_cannot_be_closed_keeps_no_other_open(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Stubborn()
    system = over(storage, load_settings({"database": "memory://"}, []))

    def fail() -> None:
        raise RuntimeError("it does not end")

    monkeypatch.setattr(system.notifications, "close", fail)
    with pytest.raises(RuntimeError, match="does not end"):
        system.close()
    assert storage.closed
    with pytest.raises(cp.StorageUnavailable):
        system.wallets.grant("ada", 1, key="late", reason="late")


def test_writes_wait_no_longer_than_they_are_told_to() -> None:
    with cp.connect(database="memory://", queue_wait_seconds_max=7) as system:
        assert system.queue._line._wait_seconds_max == 7
