"""Workers and events that fail: tried again, buried at last, and never in the way of others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest
from tests.support.office import HOSTS, Office, store, take

import credit_payments as cp
from credit_payments import intake as intakes
from credit_payments.domain import inbox, instants
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import Event
from credit_payments.errors import HandlerFailed, StorageUnavailable
from credit_payments.ports.storage import Storage
from credit_payments.settlement import Messenger


@pytest.fixture
def office(storage: Storage) -> Iterator[Office]:
    opened = Office(storage)
    yield opened
    opened.queue.close()


def fail_always(office: Office) -> list[int]:
    attempts: list[int] = []

    @office.handlers.on(HOSTS)
    def handler(event: cp.StripeEvent) -> None:
        attempts.append(event.attempt)
        raise ValueError("secret words of the host's")

    return attempts


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_pauses_grow_to_their_bound_and_tries_end_in_a_dead_letter(
    office: Office, jitter: float
) -> None:
    attempts = fail_always(office)
    office.tell_host("evt_1")
    pauses: list[float] = []
    for _ in range(50):
        office.worker(jitter=lambda: jitter).drain()
        event = office.event("evt_1")
        if event.status == "dead":
            break
        assert event.problem == "a handler raised ValueError"
        due_in = instants.from_text(event.due_at) - office.clock.now()
        pauses.append(due_in.total_seconds())
        office.clock.turn(pauses[-1] - 0.001)
        assert not office.worker().drain(), "it is not due yet"
        office.clock.turn(0.001)
    assert attempts == list(range(1, inbox.ATTEMPTS_MAX + 1))
    longest = [min(2.0 * 3**n, inbox.BACK_OFF_SECONDS_MAX) for n in range(inbox.ATTEMPTS_MAX - 1)]
    assert pauses == [pause * (0.5 + jitter / 2) for pause in longest]
    assert timedelta(hours=8) < timedelta(seconds=sum(pauses)) < timedelta(days=3)
    dead = office.event("evt_1")
    assert (dead.lease, dead.problem) == ("", "a handler raised ValueError")
    office.clock.turn(10**6)
    assert not office.worker().drain()
    assert len(attempts) == inbox.ATTEMPTS_MAX


@attrs.frozen
class Raising:
    """A command whose decision raises."""

    error: Exception

    def keys(self) -> list[Ask]:
        return []

    def keys_after(self, view: View) -> list[Ask]:
        return []

    def decide(self, view: View, now: str) -> Decision[Any]:
        raise self.error


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Errors by event id: what applying it raises, before or in its decision."""
    errors: dict[str, Any] = {}
    honest = intakes.command_of

    def command_of(facts: Any, messenger: Messenger, policies: Any) -> Any:
        error = errors.get(messenger.event_id)
        if isinstance(error, type):
            raise error
        return Raising(error) if error else honest(facts, messenger, policies)

    monkeypatch.setattr(intakes, "command_of", command_of)
    return errors


def test_a_try_that_met_a_database_that_was_down_does_not_count(
    office: Office, poison: dict[str, Any]
) -> None:
    office.sell()
    office.pay("evt_1")
    poison["evt_1"] = StorageUnavailable("down")
    for _ in range(3 * inbox.ATTEMPTS_MAX):
        assert office.worker().drain().events == 1
        event = office.event("evt_1")
        assert (event.status, event.attempts, event.problem) == ("due", 0, "down")
        office.clock.turn(2)
    del poison["evt_1"]
    office.worker().drain()
    assert office.balance() == 100


@pytest.mark.long
def test_three_poisoned_events_leave_ten_thousand_others_alone(
    office: Office, poison: dict[str, Any]
) -> None:
    poison |= {"evt_bug": ZeroDivisionError("bug"), "evt_early_bug": KeyError}
    names = [f"evt_{number}" for number in range(10_000)]
    commands = [store(name, f"cus_{number}") for number, name in enumerate(names)]
    commands.insert(5_000, store("evt_torn", "cus_1", '{"object": "nothing'))
    commands.insert(100, store("evt_bug", "cus_2"))
    commands.insert(7_000, store("evt_early_bug", "cus_3"))
    for start in range(0, len(commands), 1_000):
        for outcome in office.queue.submit_all(commands[start : start + 1_000]):
            assert isinstance(outcome, Event)
    assert office.worker(jitter=random.random).drain().events == 10_003
    assert office.statuses() == {"done": 10_000, "due": 3}
    for _ in range(inbox.ATTEMPTS_MAX):
        office.clock.turn(inbox.BACK_OFF_SECONDS_MAX)
        office.worker().drain()
    assert office.statuses() == {"done": 10_000, "dead": 3}
    assert {event.attempts for event in office.events() if event.status == "done"} == {0}
    assert office.event("evt_torn").problem == "what was kept of it cannot be read"
    assert office.event("evt_bug").problem == "applying it raised ZeroDivisionError"
    assert office.event("evt_early_bug").problem == "applying it raised KeyError"


def die(office: Office, event_id: str) -> None:
    for _ in range(inbox.ATTEMPTS_MAX):
        office.worker().drain()
        office.clock.turn(inbox.BACK_OFF_SECONDS_MAX)
    assert office.event(event_id).status == "dead"


def test_a_dead_event_that_is_delivered_again_stays_dead_until_somebody_can_apply_it(
    office: Office, poison: dict[str, Any]
) -> None:
    office.sell()
    office.pay("evt_1")
    poison["evt_1"] = ZeroDivisionError()
    die(office, "evt_1")
    assert office.pay("evt_1") == "duplicate"
    assert not office.worker().drain()
    assert office.event("evt_1").status == "dead"
    poison.clear()
    paid = office.intent("pi_1")
    assert office.tell("evt_1", "payment_intent.succeeded", paid, mode="inline") == "applied"
    event = office.event("evt_1")
    assert (event.status, event.problem, office.balance()) == ("done", None, 100)


def test_an_event_whose_every_holder_died_is_buried_and_told_of(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.handlers.on(HOSTS)(lambda event: None)
    office.tell_host("evt_1")
    for _ in range(inbox.ATTEMPTS_MAX):
        take(office, "evt_1")
        office.clock.turn(61)
    assert not office.worker().drain()
    event = office.event("evt_1")
    assert event.status == "dead"
    assert event.problem is not None
    assert "died" in event.problem
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "evt_1" in errors[0].getMessage()


# -- the host's events ------------------------------------------------------------------------


def test_a_handler_gets_the_event_as_stripe_has_it_and_nothing_of_it_is_kept(
    office: Office,
) -> None:
    seen: list[cp.StripeEvent] = []
    office.handlers.on(HOSTS)(seen.append)
    assert office.tell_host("evt_1") == "queued"
    assert office.event("evt_1").payload == ""
    office.worker().drain()
    (event,) = seen
    assert (event.id, event.type, event.attempt) == ("evt_1", HOSTS, 1)
    assert event.data == {"object": {"id": "in_1", "object": "invoice"}}
    assert office.event("evt_1").outcome == "applied"
    assert office.tell_host("evt_1") == "duplicate"
    assert not office.worker().drain()


def test_an_event_that_stripe_no_longer_has_is_a_dead_letter_in_the_end(office: Office) -> None:
    office.handlers.on(HOSTS)(lambda event: None)
    office.tell_host("evt_1")
    office.stripe.events.clear()
    die(office, "evt_1")
    problem = office.event("evt_1").problem
    assert problem is not None
    assert problem.startswith("it could not be fetched from Stripe")


def test_a_process_without_the_handler_leaves_the_event_to_others_and_at_last_buries_it(
    office: Office,
) -> None:
    office.handlers.on(HOSTS)(lambda event: None)
    office.tell_host("evt_1")
    office.tell_host("evt_2")
    other = Office(office.storage, office.clock, stripe=office.stripe)
    assert other.worker().drain().events == 2
    for name in ("evt_1", "evt_2"):
        assert office.event(name).problem == f"this process has no handler for {HOSTS}"
        assert office.event(name).status == "due"
    office.clock.turn(2)
    assert office.worker().apply("evt_1") is True
    assert office.event("evt_1").outcome == "applied"
    die(other, "evt_2")


def test_a_handler_that_fails_inline_is_answered_503_and_called_again_by_whoever_comes_first(
    office: Office,
) -> None:
    attempts: list[int] = []

    @office.handlers.on(HOSTS)
    def flaky(event: cp.StripeEvent) -> None:
        attempts.append(event.attempt)
        if len(attempts) % 2:
            raise OSError("not now")

    with pytest.raises(HandlerFailed) as caught:
        office.tell_host("evt_1", mode="inline")
    assert (caught.value.http_status, office.event("evt_1").status) == (503, "due")
    assert office.tell_host("evt_1", mode="inline") == "applied", "Stripe delivered it again"
    with pytest.raises(HandlerFailed):
        office.tell_host("evt_2", mode="inline")
    assert not office.worker().drain(), "a worker keeps to the pause"
    office.clock.turn(2)
    assert office.worker().drain().events == 1
    assert attempts == [1, 2, 1, 2]
    assert office.statuses() == {"done": 2}


def test_an_event_that_ends_the_process_costs_no_other_event_a_try(office: Office) -> None:
    @office.handlers.on(HOSTS)
    def kill(event: cp.StripeEvent) -> None:
        raise SystemExit

    for number in range(10):
        office.tell_host(f"evt_{number}")
    with pytest.raises(SystemExit):
        office.worker().drain()
    held = [event for event in office.events() if event.lease]
    assert [event.attempts for event in held] == [1]
    assert sum(event.attempts for event in office.events()) == 1


def test_nothing_is_left_in_the_hands_of_a_worker_that_is_stopped(office: Office) -> None:
    worker = office.worker()
    handled: list[str] = []

    @office.handlers.on(HOSTS)
    def stop(event: cp.StripeEvent) -> None:
        handled.append(event.id)
        worker.stop()

    for number in range(10):
        office.tell_host(f"evt_{number}")
    worker.run()
    assert len(handled) == 1
    assert office.statuses() == {"done": 1, "due": 9}
    assert [event for event in office.events() if event.lease] == []
    office.worker().drain()
    assert office.statuses() == {"done": 10}


def test_payments_do_not_wait_behind_the_hosts_events(office: Office) -> None:
    order: list[str] = []
    office.handlers.on(HOSTS)(lambda event: order.append(f"host at {office.balance()}"))
    office.sell()
    lane = inbox.lane_for("ada")
    names = [name for name in (f"evt_{n}" for n in range(200)) if inbox.lane_for(name) == lane]
    for name in names[:5]:
        office.tell_host(name)
    office.pay("evt_last")
    office.worker().drain()
    assert order == ["host at 100"] * 5


# -- telling ----------------------------------------------------------------------------------


class Counting:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        self.counts[f"{name} {attributes}"] += by

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        assert seconds >= 0
        self.counts[name] += 1


def test_what_waits_for_a_database_is_not_told_as_a_failed_try(
    storage: Storage, poison: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    office = Office(storage, telemetry=Counting())
    office.sell()
    office.pay("evt_1")
    poison["evt_1"] = StorageUnavailable("down")
    office.worker().drain()
    assert not office.telemetry.counts
    (record,) = caplog.records
    assert record.getMessage() == "payment_intent.succeeded evt_1 waits: down"
    assert (record.__dict__["outcome"], record.__dict__["attempt"]) == ("put_off", 0)


def test_what_workers_do_is_counted(storage: Storage, poison: dict[str, Any]) -> None:
    office = Office(storage, telemetry=Counting())
    office.sell()
    office.pay("evt_1")
    poison["evt_2"] = ZeroDivisionError()
    office.pay("evt_2")
    office.worker().drain()
    die(office, "evt_2")
    kind = "payment_intent.succeeded"
    assert office.telemetry.counts == {
        f"credit_payments.events {{'type': '{kind}', 'outcome': 'applied'}}": 1,
        "credit_payments.events.wait": 1,
        f"credit_payments.events.failed {{'type': '{kind}'}}": inbox.ATTEMPTS_MAX,
        f"credit_payments.events.dead {{'type': '{kind}'}}": 1,
    }
