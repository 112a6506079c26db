"""The endpoints that say how the system is: for monitors, outside of the mount of the others.

Anybody may ask, so they tell numbers only: no id, and no reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import attrs

from credit_payments.http import answers, shapes
from credit_payments.http.messages import Response
from credit_payments.http.routes import Call, Route
from credit_payments.http.system import System
from credit_payments.ports.telemetry import Watched
from credit_payments.recent_health import RecentHealth

A = TypeVar("A", bound=shapes.Answer)


class Metrics(Protocol):
    """Counts and timings as a scraper reads them; `adapters.prometheus.Prometheus` is one."""

    @property
    def content_type(self) -> str:
        """The media type of the text."""
        ...

    def text(self) -> bytes:
        """All of them, as they are now."""
        ...


def _stripe_health(system: Watched, call: Call) -> shapes.StripeHealth:  # noqa: ARG001 - one shape
    return answers.stripe_health(system.health())


def _transactions_health(
    system: Watched,
    call: Call,  # noqa: ARG001 - as above
) -> shapes.TransactionsHealth:
    return answers.transactions_health(system.health())


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
    """The health endpoints, and one for a scraper where there is something to scrape.

    Those of one call share a look at the health, and repeat it once a second at most.
    """
    recent = _Recent()
    answers_of = {"stripe_health": _stripe_health, "transactions_health": _transactions_health}
    shared = tuple(
        attrs.evolve(route, answer=recent.told_by(answers_of[route.name]))
        for route in HEALTH_ROUTES
    )
    return shared if metrics is None else (*shared, _metrics_route(metrics))


class _Recent:
    """The recent health of the system that a mount is for."""

    def __init__(self) -> None:
        self._of: RecentHealth | None = None

    def told_by(self, answer: Callable[[Watched, Call], A]) -> Callable[[System, Call], A]:
        """The same answer, from the recent health."""

        @functools.wraps(answer)  # with its types, by which it is described
        def told(system: System, call: Call) -> A:
            of = self._of
            if of is None or of.watched is not system:
                of = self._of = RecentHealth(system)
            return answer(of, call)

        return told


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
