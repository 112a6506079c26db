"""The health endpoints, through each front end: numbers for anybody, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from credit_payments.domain import vitals
from credit_payments.http import HEALTH_ROUTES, Api, Request, health_routes

Send = Callable[..., Any]

DOWN: dict[str, Any] = dict.fromkeys(
    (
        "inbox",
        "quarantine",
        "notifications",
        "last_event",
        "delivery_lag",
        "conversions",
        "last_reconciliation",
    )
)


@attrs.frozen
class Scraped:
    content_type = "text/plain; version=1.0.0; charset=utf-8"

    def text(self) -> bytes:
        return b"up 1.0\n"


def down(health: vitals.Health) -> vitals.Health:
    return attrs.evolve(health, database=attrs.evolve(health.database, answers=False), **DOWN)


def test_stripes_side_is_told_in_numbers(send: Send) -> None:
    answer = send("GET /modules/stripe/health", caller=None)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == {
        "success": True,
        "status": "ok",
        "stripe": {
            "configured": True,
            "livemode": False,
            "webhooks_configured": True,
            "webhook_mode": "queued",
        },
        "last_event": {
            "type": "charge.refunded",
            "received_at": "2023-12-31T23:59:50.000000Z",
            "seconds_ago": 10.0,
        },
        "delivery_lag": {"events": 2, "median_seconds": 1.0, "max_seconds": 3.0},
        "dead_letters": 0,
        "quarantined": 0,
        "conversions": {"checked": 7, "accurate": 7},
        "last_reconciliation": {
            "ended_at": "2023-12-31T00:00:00.000000Z",
            "seconds_ago": 86_400.0,
        },
    }


def test_the_databases_side_is_told_in_numbers(send: Send) -> None:
    answer = send("GET /modules/transactions/health", caller=None)
    assert (answer.status, answer.json) == (
        200,
        {
            "success": True,
            "status": "ok",
            "queue": {"commands_waiting": 1, "commands_max": 10, "oldest_seconds": 0.5},
            "database": {"answers": True, "schema_version": 3},
            "inbox": {"waiting": 2, "oldest_seconds": 1.5},
            "notifications": {"waiting": 4, "dead": 1},
        },
    )


@pytest.mark.parametrize("side", ["stripe", "transactions"])
def test_a_degraded_system_still_answers_200_and_names_no_payment(
    send: Send, system: Any, side: str
) -> None:
    system.well = attrs.evolve(
        system.well, conversions=vitals.Conversions(checked=7, inaccurate=("pi_secret",))
    )
    answer = send(f"GET /modules/{side}/health", caller=None)
    assert (answer.status, answer.json["status"]) == (200, "degraded")
    assert b"pi_secret" not in answer.body


@pytest.mark.parametrize("side", ["stripe", "transactions"])
def test_a_system_that_is_down_answers_503(send: Send, system: Any, side: str) -> None:
    system.well = down(system.well)
    answer = send(f"GET /modules/{side}/health", caller=None)
    assert answer.status == 503
    assert answer.json["success"] is False
    assert answer.json["status"] == "down"
    kept = {"success", "status", "stripe", "queue", "database"}
    assert all(value is None for name, value in answer.json.items() if name not in kept)


def test_an_unforeseen_error_tells_nothing(send: Send, system: Any) -> None:
    system.failure = RuntimeError("postgresql://shop:hunter2@db")
    answer = send("GET /modules/stripe/health", caller=None)
    assert answer.status == 500
    assert b"hunter2" not in answer.body


def test_there_are_the_two_documented_ones_and_metrics_only_if_there_are_any() -> None:
    assert [(route.method, route.path) for route in HEALTH_ROUTES] == [
        ("GET", "/stripe/health"),
        ("GET", "/transactions/health"),
    ]
    told = [(route.name, route.path, route.shape) for route in health_routes()]
    assert told == [(route.name, route.path, route.shape) for route in HEALTH_ROUTES]
    assert [route.path for route in health_routes(Scraped())][2:] == ["/stripe/metrics"]
    assert not any(route.needs_caller for route in health_routes(Scraped()))


def test_metrics_are_answered_as_they_are(system: Any) -> None:
    route = health_routes(Scraped())[-1]
    response = Api(system).handle(route, Request(method="GET"))
    assert (response.status, response.body) == (200, b"up 1.0\n")
    assert response.headers["Content-Type"] == Scraped.content_type
