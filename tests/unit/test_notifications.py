"""What the host is told: together with what happened, at least once, by whoever has the handler."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.conftest import WEBHOOK_SECRET, Shop, TurnableClock

import credit_payments as cp
from credit_payments.domain import notices
from credit_payments.domain.quoting import KeepQuote
from credit_payments.domain.records import Notification, Quote

SECONDS_MAX = 10.0


@attrs.define
class Told:
    """A handler, and a notifier, that remembers; it fails as often as it is told to."""

    heard: list[cp.Notification] = attrs.field(factory=list)
    failures: int = 0

    def send(self, notification: cp.Notification) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("not now")
        self.heard.append(notification)

    def types(self) -> list[str]:
        return [notification.type for notification in self.heard]


Open = Callable[..., cp.System]


@pytest.fixture
def open_system(clock: TurnableClock, database_url: str) -> Iterator[Open]:
    opened: list[cp.System] = []

    def open_one(**settings: Any) -> cp.System:
        given = {
            "database": database_url,
            "clock": clock,
            "deliver_notifications": False,
            "stripe_webhook_secret": WEBHOOK_SECRET,
            **settings,
        }
        opened.append(cp.connect(**given))
        return opened[-1]

    yield open_one
    for system in opened:
        system.close()


def rows(system: cp.System) -> list[Notification]:
    with system._storage.snapshot() as reader:
        return list(reader.scan(Notification, order=("notification_id",)))


def test_a_system_that_cannot_be_joined_leaves_no_thread_behind(
    open_system: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr("credit_payments.system.HealthCheck", fail)
    before = threading.active_count()
    with pytest.raises(ArithmeticError):
        open_system(deliver_notifications=True, notifier=Told())
    assert threading.active_count() == before


# -- what is told ------------------------------------------------------------------------------


def test_a_grant_a_spend_and_a_low_balance_are_told(open_system: Open) -> None:
    system = open_system(low_credits=20)
    told = Told()
    for kind in ("credits.granted", "credits.spent", "credits.low"):
        system.on(kind)(told.send)
    granted = system.wallets.grant("ada", 100, key="g", reason="welcome")
    spent = system.wallets.spend("ada", 85, key="s")

    assert system.notifications.deliver() == 3
    by_type = {notification.type: notification for notification in told.heard}
    assert by_type["credits.granted"].data["transaction_id"] == granted.transaction_id
    assert by_type["credits.spent"].data == {
        "transaction_id": spent.transaction_id,
        "cause": "spend:s",
        "credits": -85,
        "available": 15,
        "debt": 0,
    }
    assert by_type["credits.low"].data["threshold"] == 20
    assert {notification.user_id for notification in told.heard} == {"ada"}


def test_a_balance_that_is_low_already_is_not_told_again(open_system: Open) -> None:
    system = open_system(low_credits=20)
    told = Told()
    system.on("credits.low")(told.send)
    system.wallets.grant("ada", 30, key="g", reason="welcome")
    for number in range(3):
        system.wallets.spend("ada", 9, key=f"s{number}")
    system.notifications.deliver()
    assert [notification.data["available"] for notification in told.heard] == [12]


def test_a_repetition_is_told_once(open_system: Open) -> None:
    system = open_system()
    told = Told()
    system.on("credits.granted")(told.send)
    for _ in range(3):
        system.wallets.grant("ada", 100, key="g", reason="welcome")
    system.notifications.deliver()
    system.notifications.deliver()
    assert len(told.heard) == 1


def test_what_nobody_asked_for_is_not_recorded(open_system: Open) -> None:
    system = open_system()
    system.on("credits.low")(Told().send)
    system.wallets.grant("ada", 100, key="g", reason="welcome")
    assert rows(system) == []


def test_a_refused_spend_tells_nothing(open_system: Open) -> None:
    system = open_system()
    system.on("credits.spent")(Told().send)
    with pytest.raises(cp.InsufficientCredits):
        system.wallets.spend("ada", 1, key="s")
    assert rows(system) == []


def test_a_payment_and_its_troubles_are_told(open_system: Open, clock: TurnableClock) -> None:
    told = Told()
    system = open_system(notifier=told)
    shop = Shop(system, clock)
    system.queue.submit(KeepQuote(quote=QUOTE))
    shop.deliver(
        "payment_intent.payment_failed", intent("requires_payment_method", last_payment_error=ERROR)
    )
    shop.deliver("payment_intent.succeeded", intent("succeeded"))
    shop.deliver("charge.dispute.created", dispute("needs_response"))
    shop.deliver("charge.dispute.funds_withdrawn", dispute("needs_response"))
    shop.deliver("charge.dispute.closed", dispute("lost"))
    shop.deliver("payment_intent.succeeded", intent("succeeded", id="pi_9", metadata={}))
    system.notifications.deliver()

    assert sorted(told.types()) == [
        "credits.purchased",
        "dispute.closed",
        "dispute.opened",
        "payment.failed",
        "payment.quarantined",
        "payment.reversed",
        "payment.reversed",
    ]
    reversals = [n.data for n in told.heard if n.type == "payment.reversed"]
    # First the lot is frozen, then it is taken back.
    assert sorted(str(data["disputed"]) for data in reversals) == ["0", "100"]
    assert all(data["payment_intent_id"] == "pi_1" for data in reversals)
    opened = next(n for n in told.heard if n.type == "dispute.opened")
    assert (opened.user_id, opened.data["reason"]) == ("ada", "fraudulent")


QUOTE = Quote(
    quote_id="quote_1",
    user_id="ada",
    amount_minor=1_000,
    currency="usd",
    credits=100,
    package_id=None,
    customer_id=None,
    rule="rate",
    expires_seconds=None,
    fingerprint="f",
    payment_intent_id=None,
    created_at="",
)
ERROR = {"type": "card_error", "code": "card_declined", "message": "No.", "charge": "ch_1"}


def intent(status: str, **given: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": "pi_1",
        "object": "payment_intent",
        "status": status,
        "amount": 1_000,
        "amount_received": 1_000 if status == "succeeded" else 0,
        "currency": "usd",
        "created": 1_700_000_000,
        "metadata": {"user_id": "ada", "quote_id": "quote_1"},
    }
    return {**fields, **given}


def dispute(status: str) -> dict[str, Any]:
    return {
        "id": "dp_1",
        "object": "dispute",
        "amount": 1_000,
        "currency": "usd",
        "reason": "fraudulent",
        "status": status,
        "created": 1_700_000_000,
        "payment_intent": "pi_1",
    }


# -- at least once -----------------------------------------------------------------------------


def test_a_handler_that_fails_is_called_again_later(
    open_system: Open, clock: TurnableClock
) -> None:
    system = open_system()
    told = Told(failures=2)
    system.on("credits.granted")(told.send)
    system.wallets.grant("ada", 1, key="g", reason="welcome")
    assert system.notifications.deliver() == 0
    assert system.notifications.deliver() == 0  # not yet due
    assert told.failures == 1
    clock.turn(2)
    assert system.notifications.deliver() == 0
    clock.turn(4)
    assert system.notifications.deliver() == 1
    assert told.heard[0].attempt == 3


def test_one_that_always_fails_is_put_aside_and_kept(
    open_system: Open, clock: TurnableClock
) -> None:
    system = open_system()
    told = Told(failures=1_000)
    system.on("credits.granted")(told.send)
    system.wallets.grant("ada", 1, key="g", reason="welcome")
    for _ in range(30):
        system.notifications.deliver()
        clock.turn(4_000)
    assert told.failures == 1_000 - notices.ATTEMPTS_MAX
    assert [row.status for row in rows(system)] == [notices.DEAD]


def test_a_failing_one_does_not_hold_up_the_others(open_system: Open) -> None:
    system = open_system()
    told = Told(failures=1)
    system.on("credits.granted")(told.send)
    system.wallets.grant("ada", 1, key="g1", reason="welcome")
    system.wallets.grant("bob", 1, key="g2", reason="welcome")
    assert system.notifications.deliver() == 1


def test_whoever_dies_with_a_lease_is_followed_by_somebody_else(
    open_system: Open, clock: TurnableClock
) -> None:
    system = open_system()
    told = Told()

    @system.on("credits.granted")
    def die(notification: cp.Notification) -> None:
        if not told.heard:
            told.heard.append(notification)
            raise SystemExit  # no Exception: as if the process ended here

    system.wallets.grant("ada", 1, key="g", reason="welcome")
    with pytest.raises(SystemExit):
        system.notifications.deliver()
    assert system.notifications.deliver() == 0  # the lease runs
    clock.turn(61)
    assert system.notifications.deliver() == 1


def test_a_process_that_dies_in_one_handler_costs_the_others_no_try(
    open_system: Open, clock: TurnableClock
) -> None:
    system = open_system()
    told = Told()

    @system.on("credits.granted")
    def die(notification: cp.Notification) -> None:
        if notification.data["cause"] == "grant:g0":
            raise SystemExit
        told.heard.append(notification)

    for number in range(5):
        system.wallets.grant("ada", 1, key=f"g{number}", reason="welcome")
    for _ in range(notices.ATTEMPTS_MAX):
        with pytest.raises(SystemExit):
            system.notifications.deliver()
        system.notifications.deliver()
        clock.turn(61)
    system.notifications.deliver()
    assert {row.notification_id[-2:]: (row.status, row.attempts) for row in rows(system)} == {
        "g0": (notices.DEAD, notices.ATTEMPTS_MAX),
        **{f"g{number}": (notices.DELIVERED, 1) for number in range(1, 5)},
    }


def test_a_lease_that_ended_cannot_close_what_another_has_now(
    open_system: Open, clock: TurnableClock
) -> None:
    system = open_system()
    system.on("credits.granted")(Told().send)
    system.wallets.grant("ada", 1, key="g", reason="welcome")

    def lease(token: str) -> Notification:
        (row,) = rows(system)
        leased = system.queue.submit(
            notices.Lease(notification_id=row.notification_id, token=token, seconds=60)
        )
        assert leased is not None
        return leased

    first = lease("one")
    clock.turn(61)
    second = lease("two")
    assert lease("two") == second, "the reply to its commit may have been lost"
    finish = notices.Finish(notification_id=first.notification_id, token="one", delivered=True)
    system.queue.submit(finish)
    assert [row.status for row in rows(system)] == [notices.DUE]
    assert second.attempts == 2


def test_what_was_recorded_is_delivered_by_the_next_life_of_the_process(
    clock: TurnableClock, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'credits.db'}"
    kept = ["credits.granted"]
    with cp.connect(database=url, clock=clock, notifications=kept) as system:
        system.wallets.grant("ada", 1, key="g", reason="welcome")
    told = Told()
    with cp.connect(database=url, clock=clock, deliver_notifications=False) as system:
        system.on("credits.granted")(told.send)
        assert system.notifications.deliver() == 1
    assert told.types() == ["credits.granted"]


def test_a_process_leaves_alone_what_it_has_no_handler_for(
    open_system: Open, tmp_path: Path
) -> None:
    system = open_system(notifications=["credits.granted", "credits.spent"])
    told = Told()
    system.on("credits.spent")(told.send)
    system.wallets.grant("ada", 2, key="g", reason="welcome")
    system.wallets.spend("ada", 1, key="s")
    assert system.notifications.deliver() == 1
    assert told.types() == ["credits.spent"]
    assert {row.type: row.status for row in rows(system)} == {
        "credits.granted": notices.DUE,
        "credits.spent": notices.DELIVERED,
    }


def test_a_batch_takes_no_more_than_its_limit_and_the_oldest_first(
    open_system: Open, clock: TurnableClock
) -> None:
    system = open_system()
    told = Told()
    system.on("credits.granted")(told.send)
    for number in range(5):
        system.wallets.grant("ada", 1, key=f"g{number}", reason="welcome")
        clock.turn(1)
    assert system.notifications.deliver(2) == 2
    assert [n.data["cause"] for n in told.heard] == ["grant:g0", "grant:g1"]


# -- in the background -------------------------------------------------------------------------


def test_a_thread_delivers_soon_after_the_commit(open_system: Open) -> None:
    system = open_system(deliver_notifications=True)
    told = threading.Event()

    @system.on("credits.granted")
    def hear(notification: cp.Notification) -> None:
        assert system.wallets.balance("ada").available == 5  # it tells of what is durable
        told.set()

    system.wallets.grant("ada", 5, key="g", reason="welcome")
    assert told.wait(SECONDS_MAX)


def test_a_handler_may_use_the_system(open_system: Open) -> None:
    system = open_system(deliver_notifications=True)
    done = threading.Event()

    @system.on("credits.granted")
    def spend(notification: cp.Notification) -> None:
        system.wallets.spend("ada", 1, key=f"fee:{notification.id}")
        done.set()

    system.wallets.grant("ada", 5, key="g", reason="welcome")
    assert done.wait(SECONDS_MAX)
    assert system.wallets.balance("ada").available == 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_a_handler_ended_is_followed_by_another(open_system: Open) -> None:
    system = open_system(deliver_notifications=True)
    ended, told = threading.Event(), threading.Event()

    @system.on("credits.granted")
    def hear(notification: cp.Notification) -> None:
        if not ended.is_set():
            ended.set()
            raise SystemExit
        told.set()

    system.wallets.grant("ada", 5, key="g1", reason="welcome")
    assert ended.wait(SECONDS_MAX)
    thread = system.notifications._thread
    assert thread is not None
    thread.join(SECONDS_MAX)
    system.wallets.grant("ada", 5, key="g2", reason="welcome")
    assert told.wait(SECONDS_MAX)


def test_a_thread_that_cannot_start_fails_no_write(
    open_system: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = open_system(deliver_notifications=True)
    system.on("credits.granted")(Told().send)
    system.notifications.close()
    system.notifications._closed = False

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert system.wallets.grant("ada", 5, key="g", reason="welcome").balance_after == 5


def test_closing_ends_the_thread(open_system: Open) -> None:
    system = open_system(deliver_notifications=True)
    system.on("credits.granted")(Told().send)
    thread = system.notifications._thread
    assert thread is not None
    system.close()
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_delivers_with_a_thread_of_its_own(
    clock: TurnableClock, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'credits.db'}"
    told = tmp_path / "told"
    with cp.connect(database=url, clock=clock) as system:

        @system.on("credits.granted")
        def hear(notification: cp.Notification) -> None:
            (tmp_path / str(os.getpid())).write_text(notification.id)

        child = os.fork()
        if child == 0:
            status = 1
            try:
                system.wallets.grant("ada", 5, key="g", reason="welcome")
                heard = threading.Event()
                for _ in range(100):
                    if (tmp_path / str(os.getpid())).exists():
                        status = 0
                        break
                    heard.wait(0.1)
            finally:
                os._exit(status)
        # The parent looks once a second, too, so that either may have delivered it.
        _, ended = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(ended) in (0, 1)
        for _ in range(100):
            if any(path.name.isdecimal() for path in tmp_path.iterdir()):
                break
            threading.Event().wait(0.1)
        assert any(path.name.isdecimal() for path in tmp_path.iterdir()), told


# -- what is refused ---------------------------------------------------------------------------


def test_a_type_that_there_is_not_is_refused(open_system: Open) -> None:
    with pytest.raises(cp.InvalidRequest, match=r"credits\.granted"):
        open_system().on("credits.grnated")


@pytest.mark.parametrize(
    "given", ["", " ", "credits.granted,", "credits.grnated", ["credits.grnated"]]
)
def test_a_setting_that_names_no_type_is_refused(given: Any) -> None:
    with pytest.raises(cp.ConfigurationError, match="notifications"):
        cp.connect(database="memory://", notifications=given)


def test_one_text_may_name_several_types_as_an_environment_has_it() -> None:
    given = "credits.granted, credits.low"
    with cp.connect(database="memory://", notifications=given, low_credits=5) as system:
        system.wallets.grant("ada", 7, key="g", reason="welcome")
        system.wallets.spend("ada", 3, key="s")
        assert sorted(row.type for row in rows(system)) == ["credits.granted", "credits.low"]


def test_the_age_of_a_notification_is_that_of_what_it_tells(
    open_system: Open, clock: TurnableClock
) -> None:
    system = open_system()
    told = Told()
    system.on("credits.granted")(told.send)
    entry = system.wallets.grant("ada", 1, key="g", reason="welcome")
    clock.turn(30)
    system.notifications.deliver()
    assert told.heard[0].created_at == entry.created_at
    assert clock.now() - told.heard[0].created_at == timedelta(seconds=30)
