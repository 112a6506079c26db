"""Counts, timings and health for OpenTelemetry: `pip install credit-payments[metrics]`.

Only the API is needed, and nothing is measured until the application configures an SDK
(https://opentelemetry.io/docs/specs/otel/overview/).

Example::

    telemetry = OpenTelemetry()
    system = connect(telemetry=telemetry)
    telemetry.watch(system)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

try:
    from opentelemetry import metrics
except ModuleNotFoundError as error:
    raise ImportError(
        "credit_payments.adapters.opentelemetry needs its API: pip install "
        "'credit-payments[metrics]'"
    ) from error

from credit_payments.domain import vitals
from credit_payments.ports.telemetry import BUCKETS_SECONDS, Watched

__all__ = ["OpenTelemetry"]

_ONE_LOOK_SECONDS = 1.0
"""The gauges of one export ask one after the other, and are answered by one look."""


class OpenTelemetry:
    """A telemetry that records to OpenTelemetry's instruments.

    Args:
        meter_provider: the global one when left out, also if that is set later.

    Example:
        >>> OpenTelemetry().count("credit_payments.webhooks", outcome="applied")
    """

    def __init__(self, meter_provider: metrics.MeterProvider | None = None) -> None:
        self._meter = metrics.get_meter("credit_payments", meter_provider=meter_provider)
        self._mutex = threading.Lock()
        self._counters: dict[str, metrics.Counter] = {}
        self._timings: dict[str, metrics.Histogram] = {}

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        """See the port."""
        counter = self._counters.get(name) or self._new_counter(name)
        counter.add(by, attributes)

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        """See the port."""
        timing = self._timings.get(name) or self._new_timing(name)
        timing.record(seconds, attributes)

    def watch(self, system: Watched) -> None:
        """Have each export look at the system's health, too."""
        look = _Look(system)
        for name, (description, _) in vitals.GAUGES.items():
            self._meter.create_observable_gauge(
                name, callbacks=[look.at(name)], description=description
            )

    def _new_counter(self, name: str) -> metrics.Counter:
        with self._mutex:
            if name not in self._counters:
                self._counters[name] = self._meter.create_counter(name)
            return self._counters[name]

    def _new_timing(self, name: str) -> metrics.Histogram:
        with self._mutex:
            if name not in self._timings:
                self._timings[name] = self._meter.create_histogram(
                    name, unit="s", explicit_bucket_boundaries_advisory=BUCKETS_SECONDS
                )
            return self._timings[name]


class _Look:
    """One look at a system's health for all of its gauges."""

    def __init__(self, system: Watched) -> None:
        self._system = system
        self._mutex = threading.Lock()
        self._until = float("-inf")
        self._seen: dict[str, float] = {}

    def at(self, name: str) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        """What reads one gauge."""

        def observe(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
            value = self._values().get(name)
            return [] if value is None else [metrics.Observation(value)]

        return observe

    def _values(self) -> dict[str, float]:
        with self._mutex:
            if time.monotonic() >= self._until:
                health = self._system.health()
                self._seen = {gauge.name: gauge.value for gauge in vitals.gauges(health)}
                self._until = time.monotonic() + _ONE_LOOK_SECONDS
            return self._seen
