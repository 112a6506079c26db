"""Counts, timings and health for Prometheus: `pip install credit-payments[metrics]`.

Example::

    prometheus = Prometheus()
    system = connect(telemetry=prometheus)
    prometheus.watch(system)
    app.register_blueprint(create_health_blueprint(system, metrics=prometheus))
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import attrs

try:
    import prometheus_client as client
except ModuleNotFoundError as error:
    raise ImportError(
        "credit_payments.adapters.prometheus needs its client: pip install "
        "'credit-payments[metrics]'"
    ) from error

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from credit_payments.domain import vitals
from credit_payments.ports.telemetry import BUCKETS_SECONDS, Watched
from credit_payments.recent_health import RecentHealth

__all__ = ["Prometheus"]

M = TypeVar("M", client.Counter, client.Histogram)


@attrs.frozen
class _Labelled(Generic[M]):
    """A metric, whose labels are those that it was first told with."""

    metric: M
    labels: tuple[str, ...]

    def at(self, attributes: Mapping[str, str]) -> M:
        """The metric for these attributes; one that is missing is empty, another is left out."""
        if not self.labels:
            return self.metric
        return self.metric.labels(*(attributes.get(label, "") for label in self.labels))


class _Metrics:
    """What was registered in one registry, which takes each name once."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.counters: dict[str, _Labelled[client.Counter]] = {}
        self.timings: dict[str, _Labelled[client.Histogram]] = {}


_metrics: WeakKeyDictionary[client.CollectorRegistry, _Metrics] = WeakKeyDictionary()


class Prometheus:
    """A telemetry whose numbers a scraper reads; they are those of this process.

    Several with one registry count together.

    Args:
        registry: where the metrics are registered; one of its own when left out.

    Example:
        >>> import credit_payments as cp
        >>> prometheus = Prometheus()
        >>> with cp.connect(database="memory://", telemetry=prometheus) as system:
        ...     prometheus.watch(system)
        ...     _ = system.wallets.grant("ada", 5, key="welcome", reason="welcome")
        ...     text = prometheus.text().decode()
        >>> "credit_payments_queue_commands_total 1.0" in text
        True
        >>> "credit_payments_database_up 1.0" in text
        True
    """

    content_type = client.CONTENT_TYPE_LATEST

    def __init__(self, registry: client.CollectorRegistry | None = None) -> None:
        self.registry = client.CollectorRegistry() if registry is None else registry
        self._metrics = _metrics.setdefault(self.registry, _Metrics())

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        """See the port."""
        counter = self._metrics.counters.get(name) or self._new_counter(name, tuple(attributes))
        counter.at(attributes).inc(by)

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        """See the port."""
        timing = self._metrics.timings.get(name) or self._new_timing(name, tuple(attributes))
        timing.at(attributes).observe(seconds)

    def watch(self, system: Watched) -> None:
        """Have each scrape look at the system's health, too; once a second at most."""
        self.registry.register(_HealthCollector(RecentHealth(system)))

    def text(self) -> bytes:
        """All metrics of the registry, in Prometheus' text format."""
        return client.generate_latest(self.registry)

    def _new_counter(self, name: str, labels: tuple[str, ...]) -> _Labelled[client.Counter]:
        with self._metrics.mutex:
            if name not in self._metrics.counters:
                counter = client.Counter(
                    _plain(name), f"How often: {name}", labels, registry=self.registry
                )
                self._metrics.counters[name] = _Labelled(counter, labels)
            return self._metrics.counters[name]

    def _new_timing(self, name: str, labels: tuple[str, ...]) -> _Labelled[client.Histogram]:
        with self._metrics.mutex:
            if name not in self._metrics.timings:
                timing = client.Histogram(
                    f"{_plain(name)}_seconds",
                    f"How long: {name}",
                    labels,
                    buckets=BUCKETS_SECONDS,
                    registry=self.registry,
                )
                self._metrics.timings[name] = _Labelled(timing, labels)
            return self._metrics.timings[name]


class _HealthCollector(Collector):
    def __init__(self, system: Watched) -> None:
        self._system = system

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for gauge in vitals.gauges(self._system.health()):
            yield GaugeMetricFamily(_plain(gauge.name), gauge.description, gauge.value)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Their names, so that registering does not look at the system."""
        for name, (description, _) in vitals.GAUGES.items():
            yield GaugeMetricFamily(_plain(name), description)


def _plain(name: str) -> str:
    return name.replace(".", "_")
