"""Workers under attack: handlers that fail all at once, take long, or are many."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.local import Proxy
from tests.support.office import HOSTS, Office, store, until

import credit_payments as cp
from credit_payments import notifications
from credit_payments import worker as workers
from credit_payments.adapters.celery import install
from credit_payments.domain.inbox import lane_for
from credit_payments.domain.records import Notification
from credit_payments.notifications import Notifications, Telling
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue


@pytest.fixture
def office(storage: Storage) -> Iterator[Office]:
    opened = Office(storage)
    yield opened
    opened.queue.close()


@pytest.fixture
def told(office: Office) -> Iterator[Notifications]:
    """Grants are told of, by nobody but who delivers."""
    telling = Telling(["credits.granted"])
    office.queue = PostingQueue(office.storage, office.clock, observer=telling)
    office.wallets = cp.Wallets(office.storage, office.queue, office.clock)
    opened = Notifications(office.storage, office.queue, office.clock, telling, in_background=False)
    yield opened
    opened.close()


def grant(office: Office, count: int) -> None:
    for number in range(count):
        office.wallets.grant("ada", 1, key=f"g{number}", reason="welcome")


def attempts(office: Office) -> list[int]:
    rows = office.storage.scan(Notification, order=("notification_id",))
    return [row.attempts for row in rows]


# -- many events ------------------------------------------------------------------------------


def test_a_payment_waits_behind_one_of_the_hosts_events_however_many_there_are(
    office: Office,
) -> None:
    balances: list[int] = []
    office.handlers.on(HOSTS)(lambda _event: balances.append(office.balance()))
    office.sell()
    for number in range(8 * (workers.BATCH + 50)):
        office.tell_host(f"evt_{number}")
    office.clock.turn(1)
    office.pay("evt_last")
    office.worker().drain(rounds_max=5)
    assert balances == [100] * 5


def test_a_lane_with_little_does_not_wait_for_one_with_much(office: Office) -> None:
    office.sell()
    crowded = next(name for name in "abcdefgh" if lane_for(name) != lane_for("ada"))
    for number in range(2 * workers.BATCH):
        office.queue.submit(store(f"evt_{number}", crowded))
    office.clock.turn(1)
    office.pay("evt_last")
    office.worker().step()
    assert office.balance() == 100
    assert office.statuses()["due"] == workers.BATCH


# -- notifications ----------------------------------------------------------------------------


def test_a_drain_goes_on_where_a_whole_batch_of_notifications_fails(
    office: Office, told: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "BATCH", 3)

    @told.on("credits.granted")
    def fail(notification: cp.Notification) -> None:
        raise ValueError

    grant(office, 7)
    work = office.worker(notifications=told).drain()
    assert attempts(office) == [1] * 7
    assert work.notifications == 7, "they were tried, as events are that fail"
    assert not office.worker(notifications=told).drain(), "none is due at once"


def test_a_worker_that_is_stopped_leaves_the_other_notifications_alone(
    office: Office, told: Notifications
) -> None:
    worker = office.worker(notifications=told)
    told.on("credits.granted")(lambda _notification: worker.stop())
    grant(office, 5)
    worker.run()
    assert sorted(attempts(office)) == [0, 0, 0, 0, 1]


def test_payments_do_not_wait_behind_notifications(office: Office, told: Notifications) -> None:
    balances: list[int] = []
    office.sell(user_id="bob")

    @told.on("credits.granted")
    def pay_once(notification: cp.Notification) -> None:
        balances.append(office.balance("bob"))
        if len(balances) == 1:
            office.pay("evt_1", user_id="bob")

    grant(office, 5)
    office.worker(notifications=told).drain()
    assert balances == [0, 100, 100, 100, 100]


def test_the_thread_goes_on_at_once_where_a_whole_batch_fails(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would else look again only after a pause."""
    monkeypatch.setattr(notifications, "POLL_SECONDS", 3_600.0)
    telling = Telling(["credits.granted"])
    office.queue = PostingQueue(office.storage, office.clock, observer=telling)
    office.wallets = cp.Wallets(office.storage, office.queue, office.clock)
    count = 2 * notifications.BATCH + 1
    grant(office, count)
    told = Notifications(office.storage, office.queue, office.clock, telling)
    heard = threading.Semaphore(0)

    @told.on("credits.granted")
    def fail(notification: cp.Notification) -> None:
        heard.release()
        raise ValueError

    for _ in range(count):
        assert heard.acquire(timeout=20)
    told.close()
    until(lambda: attempts(office) == [1] * count, "each is tried")


# -- Celery -----------------------------------------------------------------------------------


def test_an_application_of_celerys_works_for_one_system() -> None:
    """Celery would keep the first tasks, and what the second system stores would never be done."""
    app, other = Celery("shop", broker="memory://"), Celery("other", broker="memory://")
    proxy: Any = Proxy(lambda: other)  # such as `celery.current_app` is
    with cp.connect(database="memory://") as first, cp.connect(database="memory://") as second:
        install(app, first)
        with pytest.raises(cp.Conflict):
            install(app, second)
        install(proxy, second)
        with pytest.raises(cp.Conflict):
            install(other, second)
