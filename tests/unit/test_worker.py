"""Workers: what is stored is applied once, whoever else tries it, or dies with it."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from tests.support.office import FIRST, HOSTS, SECONDS_MAX, Office, store, take, until
from tests.support.payment_story import (
    CHARGES,
    CURRENT,
    FAILURE,
    LINK,
    OLD,
    REFUNDS,
    SPARSE,
    SUCCESS,
    UPDATED,
    Books,
    Case,
    charge,
    delivery,
    dispute,
    intent,
    movement,
    refund,
)

import credit_payments as cp
from credit_payments import sweeping
from credit_payments import worker as workers
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain import events, instants
from credit_payments.domain.decision import Decision, View
from credit_payments.domain.records import NEVER, RECORDS, Event, Wallet
from credit_payments.domain.spending import PostDue
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.storage import Storage
from credit_payments.settlement import Messenger
from credit_payments.settlement.intake import (
    FailEvent,
    FinishEvent,
    Lease,
    RenewLease,
    StoreEvent,
)


@pytest.fixture
def office(storage: Storage) -> Iterator[Office]:
    opened = Office(storage)
    yield opened
    opened.queue.close()


# -- what workers apply -----------------------------------------------------------------------

OBJECTS: dict[str, Any] = {
    "payment_intent.succeeded": intent("succeeded"),
    "payment_intent.payment_failed": intent("requires_payment_method", failed=True),
    "payment_intent.processing": intent("processing"),
    "payment_intent.requires_action": intent("requires_action"),
    "payment_intent.canceled": intent("canceled"),
    "charge.refunded": charge(333),
    "refund.created": refund("re_1", 333, "pending"),
    "refund.updated": refund("re_1", 333),
    "refund.failed": refund("re_1", 333, "failed"),
    "charge.refund.updated": refund("re_1", 333),
    "charge.dispute.created": dispute("needs_response"),
    "charge.dispute.updated": dispute("under_review"),
    "charge.dispute.closed": dispute("lost", balance_transactions=[movement("txn_out", -1_000)]),
    "charge.dispute.funds_withdrawn": dispute(
        "needs_response", balance_transactions=[movement("txn_out", -1_000)]
    ),
    "charge.dispute.funds_reinstated": dispute(
        "won", balance_transactions=[movement("txn_out", -1_000), movement("txn_back", 1_000)]
    ),
    "radar.early_fraud_warning.created": {
        "id": "issfr_1",
        "object": "radar.early_fraud_warning",
        "created": 1_704_067_200,
        "fraud_type": "card_never_received",
        "actionable": True,
        "payment_intent": "pi_1",
        "charge": "ch_1",
    },
    "customer.updated": {"id": "cus_1", "object": "customer", "created": 1, "email": "a@b.example"},
    "customer.deleted": {"id": "cus_1", "object": "customer", "deleted": True},
}


def older(kind: str, fields: Any) -> Any:
    """The same as versions before 2024-10-28 send it."""
    if kind == "charge.refunded":
        return fields | {"refunds": {"object": "list", "data": [refund("re_1", 333)]}}
    return fields


def rows_but_events(storage: Storage) -> list[Any]:
    kinds = [kind for kind in RECORDS if kind is not Event]
    return [row for kind in kinds for row in storage.scan(kind, order=(kind.KEY,))]


@pytest.mark.parametrize("version", [OLD, CURRENT])
@pytest.mark.parametrize("kind", list(events.READ))
def test_a_worker_does_to_an_event_what_an_inline_webhook_does(
    storage: Storage, kind: str, version: str
) -> None:
    fields = older(kind, OBJECTS[kind]) if version == OLD else OBJECTS[kind]
    ends: list[tuple[Books, Event]] = []
    for mode in ("inline", "queued"):
        books = Books(Case(generation=version), storage=storage if mode == "queued" else None)
        office = Office(books.storage, books.clock)
        if kind != "payment_intent.succeeded":
            books.tell(SUCCESS)
        outcome = office.tell("evt_1", kind, fields, mode=mode, version=version)
        # What is personal does not wait.
        assert (outcome == "queued") is (mode == "queued" and not kind.startswith("customer."))
        office.worker().drain()
        books.verify()
        found = office.storage.get(Event, "evt_1")
        ends.append((books, found or Event("evt_1", kind, "", "ignored", "")))
    (inline, applied), (queued, done) = ends
    assert rows_but_events(queued.storage) == rows_but_events(inline.storage)
    assert (done.status, done.outcome, done.payload) == ("done", applied.outcome, "")
    assert (done.due_at, done.lease, done.problem) == (NEVER, "", None)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_any_order_with_repetitions_ends_as_what_was_told_says(storage: Storage, seed: int) -> None:
    chance = random.Random(seed)
    case = Case(
        end=chance.choice(["won", "lost"]),
        generation=chance.choice([OLD, CURRENT]),
        linked=chance.random() < 0.5,
    )
    books = Books(case, storage=storage)
    office = Office(storage, books.clock)
    worker = office.worker(jitter=chance.random)
    told = [SUCCESS, FAILURE, LINK, *REFUNDS, *CHARGES, UPDATED, *SPARSE]
    messages = [(message, copy) for message in told for copy in (0, 0, 1, 2)]
    chance.shuffle(messages)
    for message, copy in messages:
        if message == LINK:
            books.link()
            continue
        body = delivery(case, message, copy)
        assert office.queued.receive(*body).outcome in {"queued", "duplicate"}
        if chance.random() < 0.3:
            worker.step()
        if chance.random() < 0.5:
            books.clock.turn(0.001)
    worker.drain()
    assert office.statuses().keys() == {"done"}
    books.check_state(frozenset(told), seed)
    books.verify()


def test_a_duplicate_is_told_before_and_after_it_was_applied(office: Office) -> None:
    office.sell()
    assert [office.pay("evt_1"), office.pay("evt_1")] == ["queued", "duplicate"]
    assert office.balance() == 0
    assert office.worker().drain() == workers.Work(events=1)
    assert office.balance() == 100
    assert office.pay("evt_1") == "duplicate"
    assert not office.worker().drain()
    assert office.balance() == 100


def test_events_of_one_payment_share_its_effect_whatever_their_ids(office: Office) -> None:
    office.sell()
    for number in range(20):
        office.pay(f"evt_{number}")
    assert office.worker().drain().events == 20
    assert office.balance() == 100
    assert Counter(event.outcome for event in office.events()) == {"applied": 1, "duplicate": 19}


def test_more_events_than_one_round_takes_are_all_applied(office: Office) -> None:
    for number in range(3 * workers.BATCH):
        office.queue.submit(store(f"evt_{number}", "pi_1"))
    assert office.worker().drain().events == 3 * workers.BATCH
    assert office.statuses() == {"done": 3 * workers.BATCH}


def test_one_event_is_applied_when_it_is_named_and_due(office: Office) -> None:
    office.sell()
    office.pay("evt_1")
    worker = office.worker()
    assert worker.apply("evt_unknown") is False
    take(office, "evt_1")
    assert worker.apply("evt_1") is False, "somebody has it"
    office.clock.turn(61)
    assert worker.apply("evt_1") is True
    assert worker.apply("evt_1") is False, "it is done"
    assert office.balance() == 100


def test_a_mode_may_be_switched_while_events_wait(office: Office) -> None:
    office.sell()
    office.pay("evt_1")
    assert office.tell(
        "evt_1", "payment_intent.succeeded", office.intent("pi_1"), mode="inline"
    ) == ("applied")
    assert office.event("evt_1").status == "done"
    assert not office.worker().drain()
    assert office.balance() == 100
    assert office.pay("evt_1") == "duplicate"


# -- leases -----------------------------------------------------------------------------------


def test_a_worker_that_died_is_followed_when_its_lease_has_ended(office: Office) -> None:
    handled: list[int] = []
    office.handlers.on(HOSTS)(lambda event: handled.append(event.attempt))
    office.tell_host("evt_1")
    take(office, "evt_1")
    office.clock.turn(59)
    assert not office.worker().drain()
    office.clock.turn(1)
    assert office.worker().drain().events == 1
    assert handled == [2]
    assert office.statuses() == {"done": 1}


@pytest.mark.parametrize("is_applied", [False, True], ids=["leased", "applied"])
def test_a_slow_holder_changes_nothing_after_another_has_followed(
    office: Office, is_applied: bool
) -> None:
    office.sell()
    office.pay("evt_1")
    slow = office.worker()
    leased = take(office, "evt_1")
    office.clock.turn(61)
    if is_applied:
        office.worker().drain()
    else:
        take(office, "evt_1", Lease("second", 60.0))
    before = office.event("evt_1"), rows_but_events(office.storage)
    assert office.queue.submit(slow._command(leased)) is None
    assert office.queue.submit(FinishEvent(event_id="evt_1", token="first")) is False
    failed = FailEvent(event_id="evt_1", token="first", problem="slow", jitter=0.0)
    assert office.queue.submit(failed) is None
    assert office.queue.submit(RenewLease(event_id="evt_1", lease=FIRST)) is False
    assert (office.event("evt_1"), rows_but_events(office.storage)) == before


def test_a_holder_that_is_late_but_was_not_followed_may_still_apply(office: Office) -> None:
    office.sell()
    office.pay("evt_1")
    leased = take(office, "evt_1")
    office.clock.turn(3_600)
    settlement = office.queue.submit(office.worker()._command(leased))
    assert settlement is not None
    assert settlement.outcome == "applied"
    assert office.balance() == 100


def test_two_workers_of_one_lane_share_what_is_due(office: Office) -> None:
    for number in range(150):
        office.queue.submit(store(f"evt_{number}", "pi_1"))
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda: done.append(office.worker().drain().events))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS_MAX)
    office.worker().drain()
    assert office.statuses() == {"done": 150}
    assert {event.attempts for event in office.events()} == {0}, "nobody's try has failed"
    assert sum(done) == 150, "each event was done by one of them"


def test_the_lease_of_a_handler_that_takes_long_is_renewed(office: Office) -> None:
    seen: list[bool] = []

    @office.handlers.on(HOSTS)
    def slow(event: cp.StripeEvent) -> None:
        for _ in range(5):
            office.clock.turn(0.25)
            now = instants.to_text(office.clock.now())
            awaited = instants.later(now, 0.3)
            until(lambda: office.event("evt_1").due_at == awaited, "the lease was not renewed")  # noqa: B023
            seen.append(office.worker().apply("evt_1"))

    office.tell_host("evt_1")
    assert office.worker(lease_seconds=0.3).drain().events == 1
    assert seen == [False] * 5, "nobody else could take it"
    assert office.event("evt_1").outcome == "applied"
    assert office.event("evt_1").attempts == 1


def test_an_event_of_a_connected_account_is_asked_for_as_that_account(office: Office) -> None:
    seen: list[str] = []
    office.handlers.on(HOSTS)(lambda event: seen.append(event.id))
    office.tell_host("evt_1")
    office.queue.submit(
        StoreEvent(
            messenger=Messenger(event_id="evt_2", type=HOSTS),
            subject="evt_2",
            lane="0",
            payload="acct_1",
        )
    )
    office.stripe.events["evt_2"] = office.stripe.events["evt_1"] | {"id": "evt_2"}
    office.worker().drain()
    assert sorted(seen) == ["evt_1", "evt_2"]
    assert sorted(office.stripe.asked_as, key=str) == [None, "acct_1"]


# -- wallets ----------------------------------------------------------------------------------


@pytest.mark.long
def test_holds_lapse_and_lots_expire_on_every_page_beside_wallets_that_fail(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"user{number:03}" for number in range(2 * sweeping.BATCH + 50)]
    ends = office.clock.now() + timedelta(seconds=100)
    for name in names:
        office.wallets.grant(name, 10, key=name, reason="welcome", expires_at=ends)
    office.wallets.grant("holder", 10, key="holder", reason="welcome")
    office.wallets.hold("holder", 4, key="hold", ttl=50)
    broken = set(names[: sweeping.BATCH])  # a whole page of them
    honest = PostDue.decide

    def decide(self: PostDue, view: View, now: str) -> Decision[int]:
        if self.user_id in broken:
            raise ZeroDivisionError
        return honest(self, view, now)

    monkeypatch.setattr(PostDue, "decide", decide)
    assert office.worker().drain().postings == 0
    office.clock.turn(100)
    work = office.worker().drain()
    assert work.postings == len(names) - len(broken) + 1
    assert not office.worker().drain().postings
    broken.clear()
    assert office.worker().drain().postings == sweeping.BATCH
    wallets = [office.storage.get(Wallet, name) for name in names]
    assert {(wallet.available, wallet.due_at) for wallet in wallets if wallet} == {(0, NEVER)}
    assert office.wallets.balance("holder").held == 0
    assert office.balance("holder") == 10


# -- running ----------------------------------------------------------------------------------


class Unsteady(MemoryStorage):
    """Is down while `down`; counts who found it so."""

    down = False
    refused = 0

    def first(self, ranges: Any) -> Any:
        self._refuse()
        return super().first(ranges)

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Any]:
        self._refuse()
        with super().transaction(patient=patient) as transaction:
            yield transaction

    def watch(self, kind: Any, wake: Any) -> None:
        self._refuse()

    def _refuse(self) -> None:
        if self.down:
            self.refused += 1
            raise StorageUnavailable("down")


@contextmanager
def running(office: Office) -> Iterator[workers.Worker]:
    worker = office.worker()
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        worker.stop()
        thread.join(SECONDS_MAX)
        assert not thread.is_alive(), "stopping ends the wait"


def test_a_worker_survives_a_database_that_is_down_for_a_while() -> None:
    storage = Unsteady()
    office = Office(storage)
    office.sell()
    office.pay("evt_1")
    storage.down = True
    with running(office):
        until(lambda: storage.refused > 3, "it looked no more")
        storage.down = False
        until(lambda: office.event("evt_1").status == "done", "it did not go on")
    assert office.balance() == 100


def test_a_worker_finds_what_is_stored_while_it_waits(office: Office) -> None:
    office.sell()
    with running(office):
        office.pay("evt_1")
        until(lambda: office.event("evt_1").status == "done", "it was not found")
    assert office.balance() == 100


def test_a_worker_that_was_stopped_before_it_began_does_nothing(office: Office) -> None:
    office.sell()
    office.pay("evt_1")
    worker = office.worker()
    worker.stop()
    worker.run()
    assert office.event("evt_1").attempts == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timers")
def test_a_signals_handler_may_stop_a_worker_wherever_it_is() -> None:
    assert threading.current_thread() is threading.main_thread()
    worker = Office(MemoryStorage()).worker()
    rung = 0

    def ring(number: int, frame: object) -> None:
        nonlocal rung
        rung += 1
        worker._bell.ring()
        if rung == 2_000:
            worker.stop()

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        worker.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung >= 2_000


def test_draining_ends_after_its_rounds(office: Office) -> None:
    office.handlers.on(HOSTS)(lambda event: None)
    for number in range(5):
        office.tell_host(f"evt_{number}")
    assert office.worker().drain(rounds_max=2).events == 2
    assert office.statuses() == {"done": 2, "due": 3}


def test_work_adds_up_and_is_true_where_something_was_done() -> None:
    assert not workers.Work()
    sums = workers.Work(events=1, postings=2) + workers.Work(events=3, notifications=4)
    assert sums == workers.Work(events=4, notifications=4, postings=2)
    assert sums
