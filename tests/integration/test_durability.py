"""Killed at any moment, the books hold what was acknowledged, once, and nothing half done."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import credit_payments as cp
from credit_payments.domain.records import Entry, Event, Payment, Purchase

KILLS = 10

POST_UNTIL_KILLED = """
import hmac, json, sys, threading, time
import credit_payments as cp
from credit_payments.domain.quoting import KeepQuote
from credit_payments.domain.records import Quote

database, generation = sys.argv[1:]
secret = "whsec_test_only"
system = cp.connect(database=database, stripe_webhook_secret=secret)
say = threading.Lock()

def post(name):
    for number in range(100_000):
        payment = f"{generation}x{name}x{number}"
        user = f"user{number % 5}"
        system.queue.submit(KeepQuote(quote=Quote(
            f"quote_{payment}", user, 1000, "usd", 100, None, None, "rate", None, "f", None, "")))
        body = json.dumps({
            "id": f"evt_{payment}", "type": "payment_intent.succeeded", "created": 1,
            "data": {"object": {
                "id": f"pi_{payment}", "status": "succeeded", "amount": 1000,
                "amount_received": 1000, "currency": "usd", "created": 1,
                "metadata": {"user_id": user, "quote_id": f"quote_{payment}"}}}}).encode()
        at = int(time.time())
        digest = hmac.new(secret.encode(), b"%d." % at + body, "sha256").hexdigest()
        delivery = system.webhooks.receive(body, f"t={at},v1={digest}")
        with say:
            print(payment, delivery.outcome, flush=True)

for name in "abcd":
    threading.Thread(target=post, args=(name,), daemon=True).start()
threading.Event().wait(30)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_what_was_acknowledged_survives_a_kill_and_nothing_is_half_done(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'credits.db'}"
    chance = random.Random(20240101)
    acknowledged: list[str] = []
    for generation in range(KILLS):
        acknowledged += _post_until_killed(database, generation, chance.randint(1, 150))
        _check(database, acknowledged)
    assert len(acknowledged) >= KILLS


def _post_until_killed(database: str, generation: int, lines: int) -> list[str]:
    command = [sys.executable, "-c", POST_UNTIL_KILLED, database, str(generation)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        heard = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        # What was printed before the kill was acknowledged too; a cut line was not heard.
        heard += [line for line in process.stdout if line.endswith("\n")]
        process.wait(timeout=10)
    assert process.returncode == -signal.SIGKILL
    outcomes = [line.split() for line in heard]
    assert all(outcome == "applied" for _, outcome in outcomes)
    return [payment for payment, _ in outcomes]


def _check(database: str, acknowledged: list[str]) -> None:
    with cp.connect(database=database) as system:
        report = system.verify()
        assert report.ok, report.problems
        storage = system._storage
        causes = [entry.cause for entry in storage.scan(Entry, order=("cause",))]
        assert len(set(causes)) == len(causes)
        assert set(causes) >= {f"payment:pi_{payment}" for payment in acknowledged}
        # The parts of one webhook are there together, or none of them is.
        payments = list(storage.scan(Payment, order=("payment_intent_id",)))
        purchases = list(storage.scan(Purchase, order=("payment_intent_id",)))
        events = list(storage.scan(Event, order=("event_id",)))
        ids = [payment.payment_intent_id for payment in payments]
        assert [purchase.payment_intent_id for purchase in purchases] == ids
        assert [event.subject for event in events] == ids
        assert sorted(causes) == [f"payment:{name}" for name in sorted(ids)]
        assert all(payment.credited == 100 for payment in payments)
        balances = (system.wallets.balance(f"user{number}").available for number in range(5))
        assert sum(balances) == 100 * len(payments)
