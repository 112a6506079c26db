"""Log records about events: each has the fields that a structured log is searched by."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from tests.conftest import WEBHOOK_SECRET, Shop

import credit_payments as cp
from credit_payments.domain import inbox
from credit_payments.domain.records import Event

CANARY = "canary@example.com"
FIELDS = {"event_id", "event_type", "payment_intent_id", "outcome"}


class NoBroker:
    def enqueue(self, event_id: str) -> None:
        raise ConnectionError("the broker is gone")


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "credit_payments")


def opened(clock: Any, **settings: Any) -> Shop:
    system = cp.connect(
        database="memory://", clock=clock, stripe_webhook_secret=WEBHOOK_SECRET, **settings
    )
    return Shop(system, clock)


def intent() -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 1_000,
        "amount_received": 1_000,
        "currency": "usd",
        "created": 1_700_000_000,
        "metadata": {"user_id": CANARY},
        "receipt_email": CANARY,
    }


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of each record, none of which may lack one."""
    found = [
        {name: getattr(record, name) for name in FIELDS | {"levelname", "name"}}
        for record in caplog.records
        if record.name.startswith("credit_payments")
    ]
    assert CANARY not in caplog.text
    assert CANARY not in json.dumps(found)
    caplog.clear()
    return found


def test_a_delivery_is_one_record(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop = opened(clock)
    with shop.system:
        shop.deliver("payment_intent.succeeded", intent(), "evt_1")
        assert told(caplog) == [
            {
                "event_id": "evt_1",
                "event_type": "payment_intent.succeeded",
                "payment_intent_id": "pi_1",
                "outcome": "quarantined",
                "levelname": "INFO",
                "name": "credit_payments.webhooks",
            }
        ]
        shop.deliver("plan.created", {"id": "plan_1", "object": "plan"}, "evt_2")
        [record] = told(caplog)
    assert (record["payment_intent_id"], record["outcome"]) == (None, "ignored")


def test_what_is_stored_and_applied_later_is_told_of_by_both(
    clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop = opened(clock, webhook_mode="queued", jobs=NoBroker())
    with shop.system:
        shop.deliver("payment_intent.succeeded", intent(), "evt_1")
        outcomes = [(record["levelname"], record["outcome"]) for record in told(caplog)]
        assert outcomes == [("WARNING", "queued"), ("INFO", "queued")]
        shop.system.worker().drain()
        [applied] = told(caplog)
    assert (applied["name"], applied["outcome"]) == ("credit_payments.worker", "quarantined")
    assert (applied["event_id"], applied["payment_intent_id"]) == ("evt_1", "pi_1")


def test_a_handler_that_fails_is_told_of(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop = opened(clock)
    with shop.system:

        @shop.system.webhooks.on("plan.created")
        def fail(_: cp.StripeEvent) -> None:
            raise ValueError("no plan")

        with pytest.raises(cp.HandlerFailed):
            shop.deliver("plan.created", {"id": "plan_1", "object": "plan"}, "evt_1")
        [record] = told(caplog)
    assert (record["event_id"], record["outcome"]) == ("evt_1", "failed")


def test_a_try_in_vain_and_a_dead_letter_are_told_apart(
    clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop = opened(clock)
    now = "2024-01-01T00:00:00.000000Z"
    with shop.system:
        unreadable = Event(
            "evt_1", "payment_intent.succeeded", "pi_1", "queued", now, "due", "0", "{", due_at=now
        )
        with shop.system._storage.transaction() as transaction:
            transaction.write([unreadable], [])
        worker = shop.system.worker()
        outcomes = []
        for _ in range(inbox.ATTEMPTS_MAX + 1):
            worker.drain()
            outcomes += [(record["levelname"], record["outcome"]) for record in told(caplog)]
            clock.turn(inbox.BACK_OFF_SECONDS_MAX)
    tries = inbox.ATTEMPTS_MAX - 1
    assert outcomes == [("WARNING", "failed")] * tries + [("ERROR", "dead")]
