"""Spends and grants inside of a transaction of the host's own, on each database."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.support.hosts import Host, host_of

import credit_payments as cp


@pytest.fixture
def system(database: str) -> Iterator[cp.System]:
    with cp.connect(database=database) as system:
        system.wallets.grant("ada", 10, key="opening", reason="opening")
        yield system


@pytest.fixture
def host(database: str, system: cp.System) -> Iterator[Host]:
    with host_of(database) as host:
        yield host


def _available(system: cp.System) -> int:
    assert system.verify().ok
    return system.wallets.balance("ada").available


def test_a_spend_commits_with_the_hosts_rows(system: cp.System, host: Host) -> None:
    host.begin()
    host.write("job")
    entry = system.wallets.within(host.handle).spend("ada", 3, key="job")
    assert entry.balance_after == 7
    host.commit()
    assert (host.names(), _available(system)) == (["job"], 7)


def test_a_spend_is_rolled_back_with_the_hosts_rows(system: cp.System, host: Host) -> None:
    host.begin()
    host.write("job")
    system.wallets.within(host.handle).spend("ada", 3, key="job")
    host.rollback()
    assert (host.names(), _available(system)) == ([], 10)
    assert system.wallets.spend("ada", 4, key="job").balance_after == 6  # the key is free again


def test_several_calls_share_the_transaction_and_see_each_other(
    system: cp.System, host: Host
) -> None:
    host.begin()
    within = system.wallets.within(host.handle)
    within.grant("ada", 5, key="bonus", reason="bonus")
    with within.hold("ada", 12, key="work", ttl=60) as hold:
        assert within.balance("ada").held == 12
        hold.capture(8)
    assert within.balance("ada").available == 7
    assert [entry.kind for entry in within.history("ada").items] == [
        "capture", "hold", "grant", "grant",
    ]  # fmt: skip
    assert system.wallets.balance("ada").available == 10
    host.commit()
    assert _available(system) == 7


def test_a_rejected_spend_leaves_no_trace_and_the_transaction_goes_on(
    system: cp.System, host: Host
) -> None:
    host.begin()
    host.write("before")
    within = system.wallets.within(host.handle)
    with pytest.raises(cp.InsufficientCredits):
        within.spend("ada", 11, key="too much")
    within.spend("ada", 1, key="fits")
    host.write("after")
    host.commit()
    assert (host.names(), _available(system)) == (["before", "after"], 9)


def test_a_key_that_was_used_gives_the_first_entry_again(system: cp.System, host: Host) -> None:
    first = system.wallets.spend("ada", 3, key="job")
    host.begin()
    within = system.wallets.within(host.handle)
    assert within.spend("ada", 3, key="job") == first
    with pytest.raises(cp.IdempotencyConflict):
        within.spend("ada", 4, key="job")
    host.commit()
    assert _available(system) == 7


def test_a_writer_of_the_queue_waits_for_the_host_or_makes_it_start_again(
    system: cp.System, host: Host
) -> None:
    host.begin()
    within = system.wallets.within(host.handle)
    within.spend("ada", 1, key="host")
    done = threading.Event()

    def spend() -> None:
        system.wallets.spend("ada", 2, key="queue")
        done.set()

    thread = threading.Thread(target=spend)
    thread.start()
    assert not done.wait(0.3)
    host.commit()
    thread.join(20)
    assert done.is_set()
    assert _available(system) == 7


def test_a_host_who_read_before_another_wrote_never_decides_on_what_was(
    system: cp.System, host: Host, database: str
) -> None:
    host.begin()
    within = system.wallets.within(host.handle)
    assert within.balance("ada").available == 10
    if database.startswith("sqlite"):
        host.rollback()  # reading has taken the write lock: nobody else can come between
    system.wallets.spend("ada", 9, key="queue")
    with pytest.raises((cp.StorageUnavailable, cp.InsufficientCredits)):
        within.spend("ada", 2, key="host")
    host.rollback()
    host.begin()
    assert within.spend("ada", 1, key="host").balance_after == 0
    host.commit()
    assert _available(system) == 0


@pytest.mark.parametrize("connection", [None, "connection", 7, object()])
def test_what_is_no_connection_is_refused(system: cp.System, connection: object) -> None:
    with pytest.raises(cp.InvalidRequest) as caught:
        system.wallets.within(connection).spend("ada", 1, key="job")
    assert caught.value.param == "connection"
    assert _available(system) == 10
