"""Thousands of payments over a network that loses, doubles and shuffles; workers that are killed.

What must be there at the end is computed from what Stripe itself has then, by code that shares
nothing with the library.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

import credit_payments as cp
from credit_payments.testing.simulator import StripeSimulator

LABORER = Path(__file__).with_name("laborer.py")
USERS = 50
WORKERS = 2
LEASE_SECONDS = 1.0
ROUNDS_MAX = 600
NETWORK_SECONDS = 4 * 3_600.0
DOLLARS = (5, 10, 20, 33, 100)
CREDITS_PER_DOLLAR = 10


@attrs.define
class Clock:
    """The time of whoever receives: it is turned to each delivery's instant."""

    seconds: float

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)


# -- what happens at Stripe -------------------------------------------------------------------


def live(simulator: StripeSimulator, system: cp.System, payments: int, seed: int) -> Counter[str]:
    """Sell, refund and dispute; what each user is to hold in the end."""
    chance = random.Random(seed)
    intents: dict[str, tuple[str, int]] = {}
    for number in range(payments):
        user_id, dollars = f"user{number % USERS}", chance.choice(DOLLARS)
        made = system.payments.create_payment_intent(user_id, dollars, "usd")
        intents[made.payment_intent_id] = user_id, dollars * CREDITS_PER_DOLLAR
        if chance.random() < 0.1:
            simulator.pay(made.payment_intent_id, "pm_card_chargeDeclined")
        if chance.random() < 0.95:
            card = "pm_card_refundFail" if chance.random() < 0.05 else "pm_card_visa"
            simulator.pay(made.payment_intent_id, card)
            misfortune(simulator, made.payment_intent_id, dollars * 100, chance)
        simulator.clock.advance(1)
    return expected(simulator, intents)


def misfortune(simulator: StripeSimulator, intent: str, paid: int, chance: random.Random) -> None:
    """Some of the payments are refunded, in parts or whole, some disputed, some both."""
    fate = chance.random()
    if fate < 0.12:
        for part in (chance.randint(1, paid // 2), chance.randint(1, paid // 2)):
            simulator.call("POST", "/v1/refunds", {"payment_intent": intent, "amount": part})
    elif fate < 0.2:
        simulator.call("POST", "/v1/refunds", {"payment_intent": intent})
    elif fate < 0.28:
        amount = chance.choice([None, chance.randint(1, paid)])
        dispute = simulator.open_dispute(intent, amount=amount)
        if chance.random() < 0.8:
            simulator.close_dispute(dispute["id"], won=chance.random() < 0.5)


def expected(simulator: StripeSimulator, intents: dict[str, tuple[str, int]]) -> Counter[str]:
    balances: Counter[str] = Counter()
    reversed_minor: Counter[str] = Counter()
    for refund in walk(simulator, "/v1/refunds"):
        if refund["status"] not in ("failed", "canceled"):
            reversed_minor[refund["payment_intent"]] += refund["amount"]
    for dispute in walk(simulator, "/v1/disputes"):
        moved = sum(moved["amount"] for moved in dispute["balance_transactions"])
        reversed_minor[dispute["payment_intent"]] -= moved
    for intent in walk(simulator, "/v1/payment_intents"):
        user_id, credits = intents[intent["id"]]
        if paid := intent["amount_received"]:
            gone = min(paid, reversed_minor[intent["id"]])
            balances[user_id] += credits - credits * gone // paid
    return balances


def walk(simulator: StripeSimulator, path: str) -> Iterator[dict[str, Any]]:
    after: dict[str, Any] = {}
    while True:
        page = simulator.call("GET", path, {"limit": 100, **after})
        yield from page["data"]
        if not page["has_more"]:
            return
        after = {"starting_after": page["data"][-1]["id"]}


# -- who receives and who works ---------------------------------------------------------------


@contextmanager
def mortal_workers(database: str, chance: random.Random) -> Iterator[None]:
    """Worker processes of which one is killed every moment, and followed by another."""
    ended = threading.Event()

    def begin() -> subprocess.Popen[bytes]:
        command = [sys.executable, str(LABORER), database, str(LEASE_SECONDS), "never"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def reign() -> None:
        alive = [begin() for _ in range(WORKERS)]
        while not ended.wait(chance.uniform(0.2, 1.5)):
            number = chance.randrange(WORKERS)
            alive[number].kill()
            alive[number].wait(30)
            alive[number] = begin()
        for process in alive:
            process.send_signal(signal.SIGKILL)
            process.wait(30)

    thread = threading.Thread(target=reign)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def receive_all(simulator: StripeSimulator, system: cp.System, clock: Clock) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for arrival in simulator.webhooks.plan():
        clock.seconds = arrival.at_seconds
        outcomes[system.webhooks.receive(arrival.body, arrival.signature).outcome] += 1
    return outcomes


def drain(system: cp.System) -> None:
    """What the dead had leased is due again when their leases have ended."""
    worker = system.worker()
    for _ in range(ROUNDS_MAX):
        worker.drain()
        if not system.events.list("due").items:
            return
        threading.Event().wait(LEASE_SECONDS / 10)
    raise AssertionError("events are left that nobody applies")


def balances(system: cp.System) -> Counter[str]:
    return Counter(
        {
            f"user{number}": held.available - held.debt
            for number in range(USERS)
            if (held := system.wallets.balance(f"user{number}")).available or held.debt
        }
    )


def campaign(database: str, payments: int, seed: int) -> None:
    chance = random.Random(seed)
    start = datetime.now(UTC) - timedelta(seconds=NETWORK_SECONDS + 2 * payments + 3_600)
    clock = Clock(start.timestamp())
    simulator = StripeSimulator(seed=seed, start_time=int(start.timestamp()))
    given: dict[str, Any] = {
        "database": database,
        "stripe_secret_key": simulator.secret_key,
        "stripe_webhook_secret": "whsec_simulator",
        "worker_lease_seconds": LEASE_SECONDS,
        "webhook_mode": "queued",
    }
    with simulator:
        given["stripe_api_base"] = simulator.url
        simulator.webhooks.misbehave(
            seed=seed,
            drop=0.05,
            duplicate=0.2,
            delay_seconds=NETWORK_SECONDS,
            outdated=0.3,
            expanded=0.1,
        )
        with cp.connect(clock=clock, **given) as system:
            due = live(simulator, system, payments, seed)
            with mortal_workers(database, chance):
                outcomes = receive_all(simulator, system, clock)
        assert outcomes["queued"]
        assert outcomes["duplicate"]
        with cp.connect(**given) as system:
            drain(system)
            assert balances(system) != +due, "nothing was lost: the network has done nothing"
            now = datetime.now(UTC)
            repaired = system.reconcile(since=start, until=now, repair=True)
            assert repaired.ok, repaired.differences
            assert balances(system) == +due
            again = system.reconcile(since=start, until=now)
            assert not again.differences
            assert again.ok
            report = system.verify()
            assert report.ok, report.problems
            assert not system.events.list("dead").items


@pytest.mark.long
def test_after_repair_every_wallet_holds_what_stripe_says(database: str) -> None:
    campaign(database, payments=250, seed=7)


@pytest.mark.torture
def test_after_repair_ten_thousand_payments_are_what_stripe_says(database: str) -> None:
    campaign(database, payments=10_000, seed=2_026)
