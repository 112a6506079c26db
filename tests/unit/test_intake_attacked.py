"""What an attack on the intake has found: lost replies, late decisions, and who counts wrongly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from prometheus_client import CollectorRegistry
from tests.conftest import Shop
from tests.support.office import HOSTS, PAID, Office
from tests.unit.test_inbox import intent, link, promise

import credit_payments as cp
from credit_payments import intake
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.prometheus import Prometheus
from credit_payments.domain import events, inbox
from credit_payments.domain.customers import KeepCustomer, Sealed
from credit_payments.domain.records import Event, Payment, StripeCustomer
from credit_payments.errors import HandlerFailed, StorageUnavailable
from credit_payments.inbox import Inbox
from credit_payments.ports.storage import Transaction
from credit_payments.posting import QueueHealth
from credit_payments.settlement import ReportCustomer
from credit_payments.settlement.intake import Lease, LeaseEvent


class Forgetful(MemoryStorage):
    """Commits, and then loses the reply, as often as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.replies_lost = 0

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        with super().transaction(patient=patient) as transaction:
            yield transaction
        if self.replies_lost:
            self.replies_lost -= 1
            raise StorageUnavailable("the reply was lost")


@pytest.fixture
def forgetful() -> Iterator[Office]:
    opened = Office(Forgetful())
    yield opened
    opened.queue.close()


def lose_the_next_reply(office: Office) -> None:
    assert isinstance(office.storage, Forgetful)
    office.storage.replies_lost = 1


# -- a lease whose commit was not answered -----------------------------------------------------


def test_an_event_of_the_hosts_is_handled_although_the_reply_to_storing_it_was_lost(
    forgetful: Office,
) -> None:
    handled: list[str] = []
    forgetful.handlers.on(HOSTS)(lambda event: handled.append(event.id))
    lose_the_next_reply(forgetful)
    assert forgetful.tell_host("evt_1", mode="inline") == "applied"
    assert handled == ["evt_1"]
    assert (forgetful.event("evt_1").status, forgetful.event("evt_1").attempts) == (inbox.DONE, 1)


def test_a_worker_applies_an_event_once_although_the_reply_was_lost(forgetful: Office) -> None:
    forgetful.sell()
    forgetful.pay("evt_1")
    forgetful.pay("evt_2")
    lose_the_next_reply(forgetful)
    forgetful.worker().drain()
    assert forgetful.balance() == 100
    assert forgetful.statuses() == {inbox.DONE: 2}


def test_only_who_holds_a_lease_is_given_it_again(forgetful: Office) -> None:
    forgetful.pay("evt_1")

    def lease(token: str) -> Event | None:
        command = LeaseEvent(event_id="evt_1", lease=Lease(token, 60.0))
        return forgetful.queue.submit(command)

    first = lease("first")
    assert first is not None
    assert lease("first") == first, "no second attempt, and no longer lease"
    assert lease("second") is None
    forgetful.clock.turn(61)
    second = lease("second")
    assert second is not None
    assert second.attempts == 2
    assert lease("first") is None


def test_an_event_that_ended_every_process_that_tried_it_inline_is_a_dead_letter() -> None:
    office = Office(MemoryStorage())

    @office.handlers.on(HOSTS)
    def die(event: cp.StripeEvent) -> None:
        raise KeyboardInterrupt

    for _ in range(inbox.ATTEMPTS_MAX):
        with pytest.raises(KeyboardInterrupt):
            office.tell_host("evt_1", mode="inline")
        assert office.event("evt_1").status == inbox.DUE
        office.clock.turn(61)
    assert office.tell_host("evt_1", mode="inline") == "duplicate"
    assert office.event("evt_1").status == inbox.DEAD, "there may be no worker to bury it"


# -- an event that is told again ---------------------------------------------------------------


@pytest.mark.parametrize("first", ["queued", "inline"])
def test_a_quarantined_event_that_is_resent_is_decided_again_also_by_a_worker(first: str) -> None:
    office = Office(MemoryStorage())
    office.tell("evt_1", "payment_intent.succeeded", office.intent("pi_1"), mode=first)
    office.worker().drain()
    assert office.event("evt_1").outcome == "quarantined"
    office.sell(linked=False)
    assert office.pay("evt_1") == "queued"
    assert office.worker().drain().events == 1
    assert (office.event("evt_1").outcome, office.balance()) == ("applied", 100)
    assert office.pay("evt_1") == "duplicate"
    assert not office.worker().drain()


def test_a_resent_event_that_was_applied_or_discarded_stays_that() -> None:
    office = Office(MemoryStorage())
    office.sell()
    office.pay("evt_1")
    office.pay("evt_2")
    events_of = Inbox(
        office.storage, office.queue, office.clock, cp.CreditCalculator(rates={"usd": 10})
    )
    events_of.discard("evt_2", reason="ticket 7", actor="kim")
    office.worker().drain()
    assert [office.pay("evt_1"), office.pay("evt_2")] == ["duplicate", "duplicate"]
    assert office.event("evt_2").status == inbox.DISCARDED
    assert not office.worker().drain()


# -- what is told after the credit -------------------------------------------------------------


@pytest.mark.parametrize("status", ["processing", "succeeded"])
@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"amount_received": PAID + 500}, "received 1500"),
        ({"metadata": {"user_id": "eve", "quote_id": "quote_1"}}, "another user"),
    ],
)
def test_an_older_report_does_not_settle_what_was_filed_after_the_credit(
    shop: Shop, status: str, other: dict[str, Any], reason: str
) -> None:
    promise(shop)
    link(shop)
    assert shop.deliver("payment_intent.succeeded", intent()).outcome == "applied"
    assert shop.deliver("payment_intent.succeeded", intent(**other)).outcome == "quarantined"
    late = shop.deliver(f"payment_intent.{status}", intent(status))
    assert late.outcome == "duplicate"
    [filed] = shop.system.events.quarantine()
    assert reason in filed.reason
    paid = shop.system._storage.get(Payment, "pi_1")
    assert paid is not None
    assert (paid.quarantined, paid.credited) == (1, 100)

    shop.system.events.dismiss(filed.incident_id, actor="kim", reason="mended by hand")
    shop.deliver("payment_intent.succeeded", intent())
    paid = shop.system._storage.get(Payment, "pi_1")
    assert paid is not None
    assert paid.quarantined == 0, "nobody is waited for"
    assert list(shop.system.events.quarantine()) == []
    assert shop.system.verify().ok


# -- customers who take back what they had told ------------------------------------------------


class Plain:
    """Encrypts by naming what it is given."""

    def encrypt(self, text: str, **_: str) -> str:
        return f"sealed {text}"

    def blind(self, text: str, **_: str) -> str:
        return f"index of {text}"


def change(office: Office, at: int, **personal: str | None) -> None:
    told = {"id": f"evt_{at}", "type": "customer.updated", "created": at}
    event = events.from_object(
        {**told, "data": {"object": {"id": "cus_1", "object": "customer", **personal}}}
    )
    cipher: Any = Plain()
    facts: Any = intake.kept_facts(event, cipher)
    kept = inbox.unpack(inbox.pack(facts))
    assert kept == facts
    office.queue.submit(ReportCustomer(facts=facts, messenger=intake.messenger_of(event)))


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1), (3, 2, 1), (1, 3, 2)])
def test_what_a_customer_has_emptied_at_stripe_is_not_kept_here(order: tuple[int, ...]) -> None:
    office = Office(MemoryStorage())
    known = Sealed(email="sealed old", name="sealed Ada", email_index="index of old")
    office.queue.submit(KeepCustomer(customer_id="cus_1", user_id="ada", sealed=known))
    words: dict[int, dict[str, str | None]] = {
        1: {"email": "a@example.com", "name": "Ada"},
        2: {"email": None, "name": None, "phone": None},
        3: {"email": "b@example.com"},
    }
    told: set[int] = set()
    for at in order:
        change(office, at, **words[at])
        told.add(at)
        row = office.storage.get(StripeCustomer, "cus_1")
        assert row is not None
        email = words[max(told)].get("email")
        assert row.email == (email and f"sealed {email}")
        assert row.email_index == (email and f"index of {email}")
        assert (row.name is None) == (max(told) != 1)


# -- who is told, and who counts ---------------------------------------------------------------


@attrs.define
class DownBroker:
    """Takes long to say that it is down."""

    asked: int = 0

    def enqueue(self, event_id: str) -> None:
        self.asked += 1
        raise ConnectionError


def test_a_broker_that_is_down_is_asked_once_for_all_that_is_replayed() -> None:
    office, broker = Office(MemoryStorage()), DownBroker()
    number = 250
    with office.storage.transaction() as transaction:
        transaction.write([dead_letter(name) for name in range(number)], [])
    calculator = cp.CreditCalculator(rates={"usd": 10})
    waiting = Inbox(office.storage, office.queue, office.clock, calculator, jobs=broker)
    assert waiting.replay_all() == number
    assert broker.asked == 1
    assert office.statuses() == {inbox.DUE: number}


def dead_letter(number: int) -> Event:
    then = "2023-12-31T00:00:00.000000Z"
    return Event(
        f"evt_{number}", HOSTS, f"evt_{number}", "queued", then, status=inbox.DEAD, due_at=then
    )


@attrs.define
class Counted:
    """Counts by name."""

    counts: Counter[str] = attrs.field(factory=Counter)

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        self.counts[name] += by

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        pass


def test_a_dead_letter_is_counted_also_where_it_died_inline() -> None:
    office, telemetry = Office(MemoryStorage()), Counted()
    office.inline._telemetry = telemetry
    office.handlers.on(HOSTS)(lambda event: 1 // 0)
    for number in range(inbox.ATTEMPTS_MAX):
        is_last = number == inbox.ATTEMPTS_MAX - 1
        with pytest.raises(HandlerFailed, match="a dead letter" if is_last else "tried again"):
            office.tell_host("evt_1", mode="inline")
    assert office.event("evt_1").status == inbox.DEAD
    assert telemetry.counts["credit_payments.events.failed"] == inbox.ATTEMPTS_MAX
    assert telemetry.counts["credit_payments.events.dead"] == 1


class Failing:
    """Raises whatever it is told."""

    def __init__(self) -> None:
        self.asked = 0

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        self.asked += 1
        raise RuntimeError("no backend")

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        self.count(name, int(seconds), **attributes)


def test_a_telemetry_that_raises_keeps_no_write_from_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telemetry = Failing()
    with cp.connect(database="memory://", telemetry=telemetry) as system:
        for number in range(3):
            entry = system.wallets.grant("ada", 5, key=f"k{number}", reason="welcome")
            assert entry.balance_after == 5 * (number + 1)
    assert telemetry.asked >= 3
    assert [record.levelname for record in caplog.records] == ["ERROR"], "told of once"


def test_two_prometheus_with_one_registry_count_together() -> None:
    registry = CollectorRegistry()
    first, second = Prometheus(registry), Prometheus(registry)
    for prometheus in (first, second):
        prometheus.count("credit_payments.webhooks", outcome="applied")
        prometheus.took("credit_payments.webhooks.duration", 0.5)
    labels = {"outcome": "applied"}
    assert registry.get_sample_value("credit_payments_webhooks_total", labels) == 2
    assert registry.get_sample_value("credit_payments_webhooks_duration_seconds_count") == 2
    assert first.text() == second.text()
    assert b"webhooks_total" not in Prometheus().text(), "another registry has its own"


@pytest.mark.parametrize(("seconds", "status"), [(9.9, "ok"), (12.3, "degraded")])
def test_health_tells_of_a_write_that_waits_too_long(seconds: float, status: str) -> None:
    class Slow:
        def health(self) -> QueueHealth:
            return QueueHealth(commands_waiting=1, oldest_seconds=seconds)

    with cp.connect(database="memory://") as system:
        slow: Any = Slow()
        system._health._queue = slow
        health = system.health()
    assert health.status == status
    told = ("a write has waited for 12 seconds",)
    assert health.problems == (told if status == "degraded" else ())
