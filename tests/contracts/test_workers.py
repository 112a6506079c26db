"""Several worker processes, some of them killed: each event is done once, and nothing is lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from tests.contracts.laborer import HOSTS
from tests.support.payment_story import (
    CREDITS,
    NOW,
    PAID,
    Json,
    charge,
    dispute,
    intent,
    movement,
    refund,
)

import credit_payments as cp
from credit_payments import intake
from credit_payments.domain import events, inbox
from credit_payments.domain.decision import Command
from credit_payments.domain.quoting import KeepQuote, LinkIntent
from credit_payments.domain.records import Event, Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.settlement.intake import ReplayEvent, StoreEvent

LABORER = Path(__file__).with_name("laborer.py")
USERS = 5
LEASE_SECONDS = 1.0
SECONDS_MAX = 60.0


# -- what is stored ---------------------------------------------------------------------------


@attrs.frozen
class Story:
    """Payments of a few users, what Stripe tells of them, and what is left in the end."""

    quotes: list[Command[Any]]
    links: list[Command[Any]]
    events: list[Command[Any]]
    balances: Counter[str]


def story_of(payments: int, chance: random.Random) -> Story:
    story = Story([], [], [], Counter())
    for number in range(payments):
        user_id, intent_id = f"user{number % USERS}", f"pi_{number}"
        about: Json = {"payment_intent": intent_id, "charge": f"ch_{number}"}
        metadata = {"user_id": user_id, "quote_id": f"quote_{number}"}
        paid = intent("succeeded", id=intent_id, metadata=metadata)
        story.quotes.append(KeepQuote(quote=quote(f"quote_{number}", user_id)))
        facts = msgspec.convert(paid | {"status": "requires_confirmation"}, PaymentIntentFacts)
        story.links.append(LinkIntent(quote_id=f"quote_{number}", facts=facts))
        told = [("payment_intent.succeeded", paid)] * 2
        left = CREDITS
        if number % 2:
            part = refund(f"re_{number}", 300, **about)
            told += [("refund.updated", part), ("refund.created", part | {"status": "pending"})]
            told.append(("charge.refunded", charge(300, id=f"ch_{number}", **about)))
            left -= 30
        if number % 3 == 0:
            out = [movement(f"txn_{number}", -PAID)]
            lost = dispute("lost", id=f"dp_{number}", balance_transactions=out, **about)
            told += [("charge.dispute.funds_withdrawn", lost), ("charge.dispute.closed", lost)]
            left = 0
        for copy, (kind, fields) in enumerate(told):
            story.events.append(store(f"evt_{number}_{copy}", kind, fields))
        story.balances[user_id] += left
    chance.shuffle(story.events)
    return story


def quote(quote_id: str, user_id: str) -> Quote:
    return Quote(
        quote_id=quote_id, user_id=user_id, amount_minor=PAID, currency="usd", credits=CREDITS,
        package_id=None, customer_id=None, rule="rate", expires_seconds=None, fingerprint="f",
        payment_intent_id=None, created_at="",
    )  # fmt: skip


def store(event_id: str, kind: str, fields: Json) -> StoreEvent:
    """As the webhooks do with what they have verified."""
    data = {"id": event_id, "type": kind, "created": NOW, "data": {"object": fields}}
    event = events.from_object(data)
    facts = intake.kept_facts(event, None)
    messenger = intake.messenger_of(event)
    if facts is None:
        return StoreEvent(messenger=messenger, subject=event.id, lane="0", payload="")
    return StoreEvent(
        messenger=messenger,
        subject=inbox.subject_of(facts),
        lane=inbox.lane_of(facts),
        payload=inbox.pack(facts),
    )


def store_for_the_host(event_id: str) -> StoreEvent:
    return store(event_id, HOSTS, {"id": "in_1", "object": "invoice"})


def submit(system: cp.System, commands: list[Command[Any]]) -> None:
    for outcome in system.queue.submit_all(commands):
        if isinstance(outcome, Exception):
            raise outcome


# -- who works --------------------------------------------------------------------------------


@attrs.define
class Laborer:
    """A worker's process, and what it said so far."""

    process: subprocess.Popen[str]
    said: list[str] = attrs.field(factory=list)

    def wait_until(self, words: str) -> None:
        assert self.process.stdout is not None
        while not (self.said and self.said[-1].startswith(words)):
            line = self.process.stdout.readline()
            assert line, f"it ended without a word; it said {self.said}"
            self.said.append(line.strip())

    def end(self, number: signal.Signals | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(SECONDS_MAX)  # it says less than a pipe holds
        assert self.process.stdout is not None
        self.said += [line.strip() for line in self.process.stdout]
        self.process.stdout.close()
        return code


@contextmanager
def laborers() -> Iterator[Any]:
    """Starts workers; those that still run at the end are killed."""
    started: list[Laborer] = []

    def start(
        database: str, end: str = "never", *, lease_seconds: float = LEASE_SECONDS
    ) -> Laborer:
        command = [sys.executable, str(LABORER), database, str(lease_seconds), end]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(Laborer(process))
        return started[-1]

    try:
        yield start
    finally:
        for laborer in started:
            if laborer.process.poll() is None:
                laborer.end(signal.SIGKILL)


def all_events(system: cp.System) -> list[Event]:
    return list(system._storage.scan(Event, order=("event_id",)))


def wait_for_the_end(system: cp.System) -> None:
    """Until nothing is due; dead letters are replayed, as a person would."""
    deadline = time.monotonic() + SECONDS_MAX
    while left := [event for event in all_events(system) if event.status != "done"]:
        assert time.monotonic() < deadline, left[:5]
        for event in left:
            if event.status == "dead":
                assert event.problem is not None
                assert "died" in event.problem, event
                system.queue.submit(ReplayEvent(event_id=event.event_id))
        time.sleep(0.05)


# -- killed at any moment ---------------------------------------------------------------------


def _kill(database: str, *, kills: int, payments: int, seed: int) -> None:
    chance = random.Random(seed)
    story = story_of(payments, chance)
    hosts = [store_for_the_host(f"evt_host_{number}") for number in range(kills)]
    portion = len(story.events) // kills + 1
    said: list[str] = []
    with cp.connect(database=database) as system, laborers() as start:
        submit(system, story.quotes)
        submit(system, story.links)
        team = [start(database) for _ in range(4)]
        for number in range(kills):
            place = chance.randrange(len(team))
            team[place].wait_until("")  # that it is ready
            first = number * portion
            submit(system, [*story.events[first : first + portion], hosts[number]])
            time.sleep(chance.uniform(0, 0.06))
            assert team[place].end(signal.SIGKILL) == -9
            said += team[place].said
            team[place] = start(database)
        for laborer in team:
            laborer.wait_until("")
        wait_for_the_end(system)
        for laborer in team:
            assert laborer.end(signal.SIGTERM) == 0
            said += laborer.said
        _check(system, story, said, kills)


def _check(system: cp.System, story: Story, said: list[str], hosts: int) -> None:
    found = all_events(system)
    assert len(found) == len(story.events) + hosts
    assert {(event.status, event.lease, event.payload) for event in found} == {("done", "", "")}
    balances = {f"user{n}": system.wallets.balance(f"user{n}") for n in range(USERS)}
    assert {user: balance.available for user, balance in balances.items()} == story.balances
    assert {(balance.debt, balance.frozen) for balance in balances.values()} == {(0, 0)}
    handled = Counter(words.split()[1] for words in said if words.startswith("handle "))
    assert handled.keys() == {f"evt_host_{number}" for number in range(hosts)}
    report = system.verify()
    assert report.ok, report.problems


@pytest.mark.long
def test_workers_that_are_killed_do_each_event_once(database: str) -> None:
    _kill(database, kills=12, payments=400, seed=12)


@pytest.mark.torture
def test_workers_that_are_killed_again_and_again_do_each_event_once(database: str) -> None:
    _kill(database, kills=200, payments=4_000, seed=200)


# -- killed at one moment ---------------------------------------------------------------------


def test_events_that_a_worker_died_with_are_as_they_were_and_done_once_by_another(
    database: str,
) -> None:
    story = story_of(10, random.Random(1))
    with cp.connect(database=database) as system, laborers() as start:
        submit(system, story.quotes)
        submit(system, story.links)
        submit(system, story.events)
        before = list(all_events(system))
        assert start(database, "applying").end() == -9
        assert list(all_events(system)) == before
        other = start(database)
        other.wait_until("ready")
        wait_for_the_end(system)
        assert other.end(signal.SIGTERM) == 0
        assert {event.attempts for event in all_events(system)} == {0}
        _check(system, story, [], 0)


@pytest.mark.parametrize("end", ["handling", "handled"])
def test_a_handler_that_died_is_called_once_more_after_the_lease(database: str, end: str) -> None:
    with cp.connect(database=database) as system, laborers() as start:
        submit(system, [store_for_the_host("evt_host_0"), store_for_the_host("evt_host_1")])
        first = start(database, end, lease_seconds=1)
        assert first.end() == -9
        before = Counter(event.attempts for event in all_events(system))
        assert before == {1: 1, 0: 1}, "the other one was not touched"
        other = start(database)
        other.wait_until("ready")
        wait_for_the_end(system)
        assert other.end(signal.SIGTERM) == 0
        handled = [line.split()[1:] for line in (*first.said, *other.said) if "handle" in line]
        (hit,) = {event.event_id for event in all_events(system) if event.attempts == 2}
        assert [attempt for name, attempt in handled if name == hit] == ["1", "2"]
        assert Counter(name for name, _ in handled) == {hit: 2, _other_than(hit): 1}


def _other_than(event_id: str) -> str:
    return "evt_host_1" if event_id == "evt_host_0" else "evt_host_0"


def test_a_worker_that_is_told_to_end_finishes_what_it_handles_and_leases_nothing_more(
    database: str,
) -> None:
    with cp.connect(database=database) as system, laborers() as start:
        submit(system, [store_for_the_host(f"evt_host_{number}") for number in range(20)])
        laborer = start(database, "slowly", lease_seconds=60)
        laborer.wait_until("handle")
        assert laborer.end(signal.SIGTERM) == 0
        assert laborer.said[-1] == "ended"
        found = all_events(system)
        assert [event.lease for event in found if event.lease] == []
        handled = {line.split()[1] for line in laborer.said if line.startswith("handle")}
        assert {event.event_id for event in found if event.status == "done"} == handled
        assert {event.attempts for event in found if event.status == "due"} == {0}
