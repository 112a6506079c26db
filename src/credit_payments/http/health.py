"""The endpoints that say how the system is: for monitors, outside of the mount of the others.

Anybody may ask, so they tell numbers only: no id, and no reason.
"""

from __future__ import annotations

from typing import Final, Protocol

from credit_payments.domain.vitals import Health
from credit_payments.http import answers
from credit_payments.http.messages import Response
from credit_payments.http.routes import Call, Route
from credit_payments.http.system import System


class Metrics(Protocol):
    """Counts and timings as a scraper reads them; `adapters.prometheus.Prometheus` is one."""

    @property
    def content_type(self) -> str:
        """The media type of the text."""
        ...

    def text(self) -> bytes:
        """All of them, as they are now."""
        ...


def _stripe_health(system: System, call: Call) -> Response:  # noqa: ARG001 - one shape for all
    health: Health = system.health()
    return answers.health_response(health, answers.stripe_health(health))


def _transactions_health(system: System, call: Call) -> Response:  # noqa: ARG001 - as above
    health: Health = system.health()
    return answers.health_response(health, answers.transactions_health(health))


HEALTH_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        name="stripe_health",
        method="GET",
        path="/stripe/health",
        summary="How what Stripe reports is taken in",
        answer=_stripe_health,
        needs_caller=False,
    ),
    Route(
        name="transactions_health",
        method="GET",
        path="/transactions/health",
        summary="How the database and its queue are",
        answer=_transactions_health,
        needs_caller=False,
    ),
)
"""The documented two, under `/modules`."""


def health_routes(metrics: Metrics | None = None) -> tuple[Route, ...]:
    """The health endpoints, and one for a scraper where there is something to scrape."""
    return HEALTH_ROUTES if metrics is None else (*HEALTH_ROUTES, _metrics_route(metrics))


def _metrics_route(metrics: Metrics) -> Route:
    def answer(system: System, call: Call) -> Response:  # noqa: ARG001 - the metrics have their own
        headers = {"Content-Type": metrics.content_type, "Cache-Control": "no-store"}
        return Response(status=200, body=metrics.text(), headers=headers)

    return Route(
        name="stripe_metrics",
        method="GET",
        path="/stripe/metrics",
        summary="Counts and timings for a scraper",
        answer=answer,
        needs_caller=False,
    )
