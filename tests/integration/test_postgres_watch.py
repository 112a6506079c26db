"""Being woken by rows that any process adds."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.support.postgres import WAIT_SECONDS_MAX, administrator, system, terminate_all

from credit_payments.adapters import postgres
from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.adapters.postgres_watch import PostgresWatch
from credit_payments.domain.records import Notification, Wallet
from credit_payments.errors import StorageUnavailable
from credit_payments.testing.contracts.tools import a_row, put

_ANOTHER_PROCESS = """
import sys
from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.domain.records import Notification
storage = PostgresStorage(sys.argv[1])
with storage.transaction() as transaction:
    transaction.write([Notification("n1", "sold", "ada", "{}", "due", 0, "", "", "")], [])
storage.close()
"""


@pytest.fixture
def storage(postgres_database: str) -> Iterator[PostgresStorage]:
    with closing(PostgresStorage(postgres_database)) as storage:
        yield storage


def woken(event: threading.Event) -> bool:
    was = event.wait(WAIT_SECONDS_MAX)
    event.clear()
    return was


def until_quiet(event: threading.Event) -> None:
    while event.wait(0.3):
        event.clear()


def test_a_row_of_another_process_wakes(storage: PostgresStorage, postgres_database: str) -> None:
    event = threading.Event()
    watch = storage.watch(Notification, event.set)
    assert watch is not None
    assert woken(event), "once it listens"
    until_quiet(event)
    subprocess.run([sys.executable, "-c", _ANOTHER_PROCESS, postgres_database], check=True)
    assert woken(event)
    watch.close()


def test_rows_of_other_kinds_and_what_is_rolled_back_wake_nobody(storage: PostgresStorage) -> None:
    event = threading.Event()
    assert storage.watch(Wallet, event.set) is None
    watch = storage.watch(Notification, event.set)
    assert watch is not None
    until_quiet(event)
    put(storage, a_row(Wallet, "ada"))
    with pytest.raises(ZeroDivisionError), storage.transaction() as transaction:  # noqa: PT012
        transaction.write([a_row(Notification, "n1", status="due")], [])
        raise ZeroDivisionError
    assert not event.wait(0.3)
    watch.close()


def test_a_connection_that_breaks_is_made_anew(
    storage: PostgresStorage, postgres_database: str
) -> None:
    event = threading.Event()
    watch = storage.watch(Notification, event.set)
    assert watch is not None
    for number in range(2):
        until_quiet(event)
        terminate_all(postgres_database)
        assert woken(event), "something may have been missed"
        until_quiet(event)
        put(storage, a_row(Notification, f"n{number}", status="due"))
        assert woken(event)
    watch.close()


def test_a_function_that_fails_is_called_again(
    storage: PostgresStorage, caplog: pytest.LogCaptureFixture
) -> None:
    event = threading.Event()

    def fail() -> None:
        event.set()
        raise ZeroDivisionError

    watch = storage.watch(Notification, fail)
    assert watch is not None
    until_quiet(event)
    put(storage, a_row(Notification, "n1", status="due"))
    assert woken(event)
    watch.close()
    assert "ZeroDivisionError" in caplog.text


def test_closing_is_quiet_though_the_thread_sees_it_first(storage: PostgresStorage) -> None:
    was_called, may_return = threading.Event(), threading.Event()

    def wake() -> None:
        was_called.set()
        may_return.wait(WAIT_SECONDS_MAX)

    watch = storage.watch(Notification, wake)
    assert isinstance(watch, PostgresWatch)
    assert woken(was_called)
    watch._closed.set = _then(watch._closed.set, may_return.set, watch._thread.join)  # type: ignore[method-assign]
    watch.close()
    assert not watch._thread.is_alive()


def _then(*functions: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:
        for function in functions:
            function()

    return call


def test_closing_the_storage_ends_the_thread_at_once(
    storage: PostgresStorage, postgres_database: str
) -> None:
    event = threading.Event()
    watch = storage.watch(Notification, event.set)
    assert woken(event)
    started = time.monotonic()
    storage.close()
    assert time.monotonic() - started < 2
    assert not any("credit-payments-watch" in thread.name for thread in threading.enumerate())
    assert watch is not None
    watch.close()


def test_nothing_is_watched_after_the_end(storage: PostgresStorage) -> None:
    storage.close()
    with pytest.raises(StorageUnavailable):
        storage.watch(Notification, lambda: None)
    assert not any("credit-payments-watch" in thread.name for thread in threading.enumerate())


def test_a_watch_that_begins_while_the_storage_is_closed_ends_with_it(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(PostgresWatch):
        def __init__(self, *arguments: Any) -> None:
            storage.close()
            super().__init__(*arguments)

    monkeypatch.setattr(postgres, "PostgresWatch", Late)
    with pytest.raises(StorageUnavailable):
        storage.watch(Notification, lambda: None)
    assert not any("credit-payments-watch" in thread.name for thread in threading.enumerate())


def test_a_notification_of_one_process_is_delivered_by_another_soon(
    postgres_database: str,
) -> None:
    told = threading.Event()
    with system(PostgresStorage(postgres_database)) as one:

        @one.on("credits.granted")
        def hear(_notification: object) -> None:
            told.set()

        one.wallets.grant("ada", 1, key="one", reason="test")
        assert woken(told)
        with administrator(postgres_database) as owner:
            query = "SELECT count(*) FROM notifications WHERE status = 'dead'"
            assert owner.execute(query).fetchone() == (0,)
