"""Health: each number when all is well and when it is not, and nothing that nobody may read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec
import pytest

import credit_payments as cp
from credit_payments import health as health_module
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.migration_files import migrations
from credit_payments.domain import inbox, instants, payment, vitals
from credit_payments.domain.quoting import KeepQuote
from credit_payments.domain.records import (
    NEVER,
    Checkpoint,
    Entry,
    Event,
    Incident,
    Notification,
    Payment,
    Purchase,
    Quote,
    Record,
)
from credit_payments.health import HealthCheck
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue, QueueHealth

NOW = "2024-01-01T00:00:00.000000Z"
SETUP = vitals.StripeSetup(
    configured=True, livemode=False, webhooks_configured=True, webhook_mode="queued"
)


@attrs.define
class Checked:
    """A storage to plant rows in, and its health."""

    storage: Storage
    check: HealthCheck

    def plant(self, *rows: Record) -> None:
        with self.storage.transaction() as transaction:
            transaction.write(rows, [])

    def health(self) -> vitals.Health:
        return self.check.run()


def checked_with(storage: Storage, clock: Any, queue: Any = None) -> Checked:
    check = HealthCheck(
        storage,
        queue or PostingQueue(storage, clock),
        clock,
        stripe=lambda: SETUP,
        commands_max=10,
        database="test",
        schema_version=3,
    )
    return Checked(storage, check)


@pytest.fixture
def checked(storage: Storage, clock: Any) -> Checked:
    return checked_with(storage, clock)


def before(seconds: float) -> str:
    return instants.later(NOW, -seconds)


def event(number: int, *, age: float = 0.0, lane: str = "0", **changes: Any) -> Event:
    row = Event(
        f"evt_{number}",
        "charge.refunded",
        f"pi_{number}",
        "queued",
        before(age),
        status=inbox.DUE,
        lane=lane,
        due_at=before(age),
        created_at=before(age + 1),
    )
    return msgspec.structs.replace(row, **changes)


def test_a_blank_system_is_well(checked: Checked) -> None:
    health = checked.health()
    assert (health.status, health.problems, health.checked_at) == ("ok", (), NOW)
    assert health.stripe == SETUP
    assert health.database == vitals.DatabaseState(kind="test", answers=True, schema_version=3)
    assert health.inbox == vitals.Inbox(waiting=0, oldest_seconds=0.0, dead=0)
    assert health.quarantine == vitals.Quarantine(open=0, oldest_seconds=0.0)
    assert health.notifications == vitals.NotificationBacklog(waiting=0, dead=0)
    assert health.conversions == vitals.Conversions(checked=0)
    assert (health.last_event, health.delivery_lag, health.last_reconciliation) == (None,) * 3


# -- the queue ---------------------------------------------------------------------------------


@attrs.frozen
class LongQueue:
    waiting: int

    def health(self) -> QueueHealth:
        return QueueHealth(commands_waiting=self.waiting, oldest_seconds=1.23456)


@pytest.mark.parametrize(("waiting", "status"), [(7, "ok"), (8, "degraded"), (10, "degraded")])
def test_a_queue_that_is_nearly_full_is_a_problem(clock: Any, waiting: int, status: str) -> None:
    health = checked_with(MemoryStorage(), clock, LongQueue(waiting)).health()
    assert health.queue == vitals.QueueLength(
        commands_waiting=waiting, commands_max=10, oldest_seconds=1.235
    )
    assert health.status == status


# -- the inbox ---------------------------------------------------------------------------------


def test_events_that_wait_are_counted_over_all_lanes(checked: Checked) -> None:
    rows = [event(n, lane=inbox.LANES[n % 8], age=float(n)) for n in range(20)]
    leased = event(20, lease="token", due_at="2024-01-01T00:01:00.000000Z")
    done = [event(n, status="done", due_at=NEVER) for n in range(30, 40)]
    discarded = event(50, status="discarded", due_at=NEVER, age=9_999)
    checked.plant(*rows, leased, *done, discarded)
    health = checked.health()
    assert health.inbox == vitals.Inbox(waiting=21, oldest_seconds=19.0, dead=0)
    assert health.status == "ok"


def test_more_than_are_read_are_counted(checked: Checked) -> None:
    more = health_module.ROWS + 7
    checked.plant(*(event(n, lane="3", age=n / 10) for n in range(more)))
    checked.plant(*(event(1_000 + n, lane="5", status="dead") for n in range(more)))
    found = checked.health().inbox
    assert found is not None
    assert (found.waiting, found.dead) == (more, more)
    assert found.oldest_seconds == pytest.approx((more - 1) / 10)


@pytest.mark.parametrize(("age", "status"), [(300.0, "ok"), (300.5, "degraded")])
def test_an_event_that_waits_too_long_is_a_problem(
    checked: Checked, age: float, status: str
) -> None:
    # It failed a moment ago, and is tried again later: it waits all the same.
    checked.plant(event(1, age=age, due_at="2024-01-01T06:00:00.000000Z", attempts=3))
    health = checked.health()
    assert health.inbox == vitals.Inbox(waiting=1, oldest_seconds=age, dead=0)
    assert health.status == status


def test_a_dead_letter_is_a_problem_and_waits_no_longer(checked: Checked) -> None:
    checked.plant(event(1, age=9_999, status="dead", due_at=NOW, problem="ada@example.com"))
    health = checked.health()
    assert health.inbox == vitals.Inbox(waiting=0, oldest_seconds=0.0, dead=1)
    assert health.problems == ("dead letters: 1",)


def test_nothing_is_counted_without_end(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "COUNT_MAX", 60)
    checked.plant(*(event(n, lane=inbox.LANES[n % 2]) for n in range(140)))
    checked.plant(*(incident(n) for n in range(70)))
    health = checked.health()
    assert health.inbox is not None
    assert health.quarantine is not None
    assert (health.inbox.waiting, health.quarantine.open) == (60, 60)


def test_a_number_that_was_counted_no_further_says_so(clock: Any) -> None:
    well = checked_with(MemoryStorage(), clock).health()
    full = vitals.Inbox(waiting=0, oldest_seconds=0.0, dead=vitals.COUNT_MAX)
    assert attrs.evolve(well, inbox=full).problems == ("dead letters: 10000 or more",)


# -- quarantine and notifications --------------------------------------------------------------


def incident(number: int, status: str = "open", age: float = 0.0) -> Incident:
    return Incident(f"payment:pi_{number}", status, "reason", None, "{}", before(age))


def test_an_open_incident_is_a_problem(checked: Checked) -> None:
    checked.plant(incident(1, age=50), incident(2, age=40), incident(3, "resolved", age=999))
    health = checked.health()
    assert health.quarantine == vitals.Quarantine(open=2, oldest_seconds=50.0)
    assert health.problems == ("incidents in quarantine: 2",)


def test_incidents_that_are_closed_are_none(checked: Checked) -> None:
    checked.plant(incident(1, "resolved"), incident(2, "dismissed"))
    assert checked.health().quarantine == vitals.Quarantine(open=0, oldest_seconds=0.0)


def test_notifications_are_counted_over_all_types(checked: Checked) -> None:
    def told(number: int, kind: str, status: str) -> Notification:
        return Notification(f"n{number}", kind, "ada", "{}", status, 0, NOW, "", NOW)

    checked.plant(
        *(told(n, "credits.spent", "due") for n in range(55)),
        *(told(n, "payment.failed", "due") for n in range(100, 103)),
        *(told(n, "credits.low", "dead") for n in range(200, 202)),
        *(told(n, "credits.low", "delivered") for n in range(300, 340)),
    )
    health = checked.health()
    assert health.notifications == vitals.NotificationBacklog(waiting=58, dead=2)
    assert health.status == "ok"


# -- what came last ----------------------------------------------------------------------------


def test_the_last_event_is_told_whatever_became_of_it(checked: Checked) -> None:
    checked.plant(
        event(1, age=30),
        event(2, age=20, type="charge.dispute.created", status="done", due_at=NEVER),
    )
    assert checked.health().last_event == vitals.LastEvent(
        type="charge.dispute.created", received_at=before(20), seconds_ago=20.0
    )


def lagging(number: int, lag: float) -> Event:
    return event(number, age=float(number), created_at=before(number + lag))


@pytest.mark.parametrize(
    ("lags", "median", "longest"),
    [([4.0], 4.0, 4.0), ([1.0, 9.0], 5.0, 9.0), ([7.0, 1.0, 2.5], 2.5, 7.0), ([-5.0], 0.0, 0.0)],
    ids=str,
)
def test_the_delivery_lag_is_median_and_maximum(
    checked: Checked, lags: Sequence[float], median: float, longest: float
) -> None:
    checked.plant(*(lagging(number, lag) for number, lag in enumerate(lags)))
    checked.plant(event(99, created_at=""))  # kept by an earlier release
    assert checked.health().delivery_lag == vitals.DeliveryLag(
        events=len(lags), median_seconds=median, max_seconds=longest
    )


def test_only_the_last_events_count_for_the_lag(checked: Checked) -> None:
    checked.plant(*(lagging(number, 1.0) for number in range(100)), lagging(100, 5_000.0))
    lag = checked.health().delivery_lag
    assert lag == vitals.DeliveryLag(events=100, median_seconds=1.0, max_seconds=1.0)


def test_the_reconciliation_that_ended_last_is_told(checked: Checked) -> None:
    checked.plant(
        Checkpoint("reconcile:2023-12-01:look", json.dumps({"ended_at": NOW}), NOW),
        Checkpoint(vitals.RECONCILED, before(100), NOW),
    )
    assert checked.health().last_reconciliation == vitals.LastReconciliation(
        ended_at=before(100), seconds_ago=100.0
    )


# -- conversions -------------------------------------------------------------------------------


def quote(number: int, credits: int = 100) -> Quote:
    return Quote(
        quote_id=f"quote_{number}",
        user_id="ada",
        amount_minor=1_000,
        currency="usd",
        credits=credits,
        package_id=None,
        customer_id=None,
        rule="rate",
        expires_seconds=None,
        fingerprint="f",
        payment_intent_id=None,
        created_at=NOW,
    )


def sold(number: int, **wrong: Any) -> list[Record]:
    """The rows of one sale; `wrong` names those with other credits, or the ones left out."""
    intent_id = f"pi_{number}"
    credits = {"quote": 100, "payment": 100, "credited": 100, "purchase": 100, "entry": 100}
    credits |= wrong
    legs = f'{{"purchases":-{credits["entry"]},"wallet:ada":1}}'
    paid = Payment(
        payment_intent_id=intent_id,
        user_id="ada",
        quote_id=f"quote_{number}",
        status="succeeded",
        quarantined=0,
        amount_minor=1_000,
        currency="usd",
        credits=credits["payment"],
        expires_seconds=None,
        received_minor=1_000,
        credited=credits["credited"],
        refunded_credits=0,
        disputed_credits=0,
        locked=0,
        reversals=0,
        refunds="{}",
        disputes="{}",
        clawback="{}",
        created_at=NOW,
        updated_at=NOW,
        decided_by=wrong.get("decided_by"),
    )
    sale = Purchase(
        intent_id,
        "ada",
        number,
        f"txn_{number}",
        1_000,
        "usd",
        "10.00",
        credits["purchase"] or 0,
        "completed",
        "stripe",
        intent_id,
        NOW,
    )
    entry = Entry(
        transaction_id=f"txn_{number}",
        user_id="ada",
        sequence=number,
        kind="payment",
        cause=payment.cause(intent_id),
        fingerprint="",
        credits=1,
        balance_after=1,
        held_after=0,
        frozen_after=0,
        debt_after=0,
        legs=wrong.get("legs", legs),
        lots="[]",
        actor=None,
        reason=None,
        metadata=None,
        created_at=NOW,
        previous_hash="",
        hash="",
    )
    told = event(
        number, type="payment_intent.succeeded", subject=intent_id, status="done", due_at=NEVER
    )
    rows: dict[str, Record] = {"payment": paid, "purchase": sale, "entry": entry, "event": told}
    if credits["quote"] is not None:
        rows["quote"] = quote(number, credits["quote"])
    return [row for name, row in rows.items() if credits.get(name, 1) is not None]


def test_a_purchase_that_brought_what_was_promised_is_accurate(checked: Checked) -> None:
    # Of the entry, what was sold counts: one credit of it was left after a debt was paid.
    checked.plant(*sold(1), *sold(2))
    health = checked.health()
    assert health.conversions == vitals.Conversions(checked=2)
    assert health.conversions.accurate == 2
    assert health.status == "ok"


WRONG: dict[str, dict[str, Any]] = {
    "the quote promised more": {"quote": 101},
    "the quote promised less": {"quote": 99},
    "no quote is there": {"quote": None},
    "the payment says otherwise": {"payment": 1_000},
    "other credits were credited": {"credited": 10},
    "the purchase says otherwise": {"purchase": 1},
    "no purchase is there": {"purchase": None},
    "the entry says otherwise": {"entry": 1_000},
    "no entry is there": {"entry": None},
    "the entry cannot be read": {"legs": "{"},
    "a decision was posted otherwise": {"decided_by": "olga", "entry": 7},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_purchase_that_did_not_is_named(checked: Checked, name: str) -> None:
    checked.plant(*sold(1), *sold(2, **WRONG[name]))
    for _ in range(2):
        health = checked.health()
        assert health.conversions == vitals.Conversions(checked=2, inaccurate=("pi_2",))
        assert health.conversions.accurate == 1
        assert health.problems == ("1 of 2 purchases brought other credits than promised",)


@pytest.mark.parametrize("promised", [99, None])
def test_what_a_person_has_decided_is_the_promise(checked: Checked, promised: int | None) -> None:
    checked.plant(*sold(1, decided_by="olga", quote=promised))
    assert checked.health().conversions == vitals.Conversions(checked=1)


def test_what_was_not_credited_is_no_purchase(checked: Checked) -> None:
    told = event(2, type="payment_intent.succeeded")  # quarantined, or not applied yet
    checked.plant(*sold(1, credited=0, purchase=None, entry=None), told)
    assert checked.health().conversions == vitals.Conversions(checked=0)


def test_only_the_last_purchases_are_checked(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "PURCHASES", 3)
    for number in range(5):
        checked.plant(*sold(number, entry=1 if number == 0 else 100))
    assert checked.health().conversions == vitals.Conversions(checked=3)


def test_a_purchase_is_looked_at_until_it_was_found_accurate(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    look = health_module._is_accurate

    def watched(reader: Any, intent_id: str) -> bool | None:
        looked_at.append(intent_id)
        return look(reader, intent_id)

    monkeypatch.setattr(health_module, "_is_accurate", watched)
    checked.plant(*sold(1), *sold(2, entry=7))
    first = checked.health()
    assert sorted(looked_at) == ["pi_1", "pi_2"]
    assert checked.health().conversions == first.conversions
    assert looked_at[2:] == ["pi_2"]


def test_a_real_sale_is_accurate_also_where_it_pays_a_debt(shop: Any) -> None:
    shop.system.queue.submit(KeepQuote(quote=quote(1)))
    shop.deliver("payment_intent.succeeded", intent(1))
    shop.system.wallets.spend("ada", 80, key="spent")
    refund = {"id": "re_1", "object": "refund", "payment_intent": "pi_1", "status": "succeeded"}
    shop.deliver("refund.created", {**refund, "amount": 1_000, "currency": "usd"})
    assert shop.system.wallets.balance("ada").debt == 80
    shop.clock.turn(5)
    shop.system.queue.submit(KeepQuote(quote=quote(2)))
    shop.deliver("payment_intent.succeeded", intent(2))
    shop.clock.turn(7)
    health = shop.system.health()
    assert health.conversions == vitals.Conversions(checked=2)
    assert health.status == "ok"
    assert health.last_event is not None
    assert health.last_event.type == "payment_intent.succeeded"
    assert health.last_event.seconds_ago == 7.0


def intent(number: int) -> dict[str, Any]:
    return {
        "id": f"pi_{number}",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 1_000,
        "amount_received": 1_000,
        "currency": "usd",
        "created": 1_700_000_000,
        "metadata": {"user_id": "ada", "quote_id": f"quote_{number}"},
        "receipt_email": CANARY,
        "client_secret": "pi_1_secret_canary",
    }


# -- down --------------------------------------------------------------------------------------


def test_a_database_that_does_not_answer_is_told_of_and_not_raised(checked: Checked) -> None:
    checked.plant(event(1))
    checked.storage.close()
    health = checked.health()
    assert (health.status, health.problems) == ("down", ("the database does not answer",))
    assert health.database.answers is False
    assert health.queue.commands_waiting == 0
    assert (health.inbox, health.quarantine, health.notifications, health.conversions) == (
        None,
    ) * 4
    json.dumps(health.as_dict())


def test_a_system_that_was_closed_is_down(database_url: str) -> None:
    with cp.connect(database=database_url) as system:
        assert system.health().status == "ok"
    assert system.health().status == "down"


# -- as data -----------------------------------------------------------------------------------


def test_a_system_tells_what_is_configured_and_its_schema(database_url: str) -> None:
    with cp.connect(
        database=database_url,
        stripe_secret_key="sk_test_simulator",
        stripe_webhook_secret="whsec_test_only",
        webhook_mode="queued",
        queue_commands_max=77,
    ) as system:
        health = system.health()
    assert health.stripe == SETUP
    assert health.queue.commands_max == 77
    assert health.database.kind == database_url.partition("://")[0]
    steps = migrations("sqlite")
    newest = None if health.database.kind == "memory" else steps[-1].version
    assert health.database.schema_version == newest


CANARY = "canary@example.com"


def test_nothing_secret_or_personal_is_in_it(clock: Any, database_url: str) -> None:
    with cp.connect(
        database=database_url,
        clock=clock,
        stripe_secret_key="sk_test_canary",
        stripe_webhook_secret="whsec_canary",
        deliver_notifications=False,
    ) as system:
        checked = Checked(system._storage, system._health)
        checked.plant(
            event(1, problem=CANARY, payload=CANARY, age=9_999),
            event(2, problem=CANARY, status="dead"),
            Incident("payment:pi_canary", "open", CANARY, "evt_canary", CANARY, NOW),
            Notification("n", "credits.low", CANARY, CANARY, "dead", 0, NOW, "", NOW),
            Checkpoint("reconcile:a", json.dumps({"ended_at": NOW, "note": CANARY}), NOW),
            Checkpoint(vitals.RECONCILED, NOW, NOW),
        )
        system.wallets.grant("user_canary", 5, key="canary", reason=CANARY)
        health = system.health()
    assert health.status == "degraded"
    told = repr(health) + json.dumps(health.as_dict())
    told += repr([*vitals.gauges(health)])
    assert "canary" not in told


def test_as_data_it_has_the_status_the_problems_and_every_part(checked: Checked) -> None:
    checked.plant(*sold(1, entry=7), event(5, age=400.0))
    found = json.loads(json.dumps(checked.health().as_dict()))
    assert found["status"] == "degraded"
    assert len(found["problems"]) == 2
    assert found["conversions"] == {"checked": 1, "accurate": 0, "inaccurate": ["pi_1"]}
    parts = {field.name for field in attrs.fields(vitals.Health)}
    assert set(found) == parts | {"status", "problems"}


def test_every_gauge_has_a_value_where_there_is_something_to_tell(checked: Checked) -> None:
    checked.plant(*sold(1), Checkpoint(vitals.RECONCILED, NOW, NOW))
    gauges = {gauge.name: gauge.value for gauge in vitals.gauges(checked.health())}
    assert set(gauges) == set(vitals.GAUGES)
    assert gauges["credit_payments.database.up"] == 1
    assert gauges["credit_payments.conversions.accurate"] == 1
    checked.storage.close()
    down = {gauge.name: gauge.value for gauge in vitals.gauges(checked.health())}
    assert down["credit_payments.database.up"] == 0
    assert down["credit_payments.problems"] == 1
    assert "credit_payments.inbox.waiting" not in down
