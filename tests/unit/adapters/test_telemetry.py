"""Telemetry: what is counted while a system works, and how Prometheus and OpenTelemetry get it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import credit_payments as cp
from credit_payments.adapters import opentelemetry
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.opentelemetry import OpenTelemetry
from credit_payments.adapters.prometheus import Prometheus
from credit_payments.domain import vitals
from credit_payments.domain.spending import PostDue
from credit_payments.ports.storage import WriteConflict
from credit_payments.ports.telemetry import Several, Telemetry
from credit_payments.posting import PostingQueue

CANARY = "canary@example.com"


@attrs.define
class Recorded:
    """A telemetry that a test can read."""

    counts: list[tuple[str, int, dict[str, str]]] = attrs.field(factory=list)
    timings: list[tuple[str, float, dict[str, str]]] = attrs.field(factory=list)

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        self.counts.append((name, by, attributes))

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        self.timings.append((name, seconds, attributes))

    def total(self, name: str) -> int:
        return sum(by for told, by, _ in self.counts if told == name)


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    yield reader
    reader.shutdown()


def intent(number: int = 1) -> dict[str, Any]:
    return {
        "id": f"pi_{number}",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 1_000,
        "amount_received": 1_000,
        "currency": "usd",
        "created": 1_700_000_000,
        "metadata": {"user_id": CANARY, "quote_id": "quote_1"},
        "receipt_email": CANARY,
    }


def busy(telemetry: Telemetry, clock: Any) -> Iterator[cp.System]:
    """A system that has granted, spent, and quarantined a payment."""
    from tests.conftest import WEBHOOK_SECRET, Shop  # noqa: PLC0415 - the fixtures' own

    with cp.connect(
        database="memory://",
        clock=clock,
        telemetry=telemetry,
        stripe_webhook_secret=WEBHOOK_SECRET,
        stripe_secret_key="sk_test_canary",
    ) as system:
        system.wallets.grant(CANARY, 5, key="k", reason="welcome")
        system.wallets.spend(CANARY, 2, key="s")
        shop = Shop(system, clock)
        shop.deliver("payment_intent.succeeded", intent())
        with pytest.raises(cp.InvalidSignature):
            system.webhooks.receive(b"{}", "t=1,v1=00")
        yield system


# -- the queue ---------------------------------------------------------------------------------


def test_the_queue_counts_batches_and_commands_and_times_them(clock: Any) -> None:
    told = Recorded()
    queue = PostingQueue(MemoryStorage(), clock, telemetry=told)
    queue.submit_all([PostDue(user_id=f"user{n}") for n in range(5)])
    queue.submit(PostDue(user_id="ada"))
    assert told.total("credit_payments.queue.batches") == 2
    assert told.total("credit_payments.queue.commands") == 6
    [first, second] = told.timings
    assert first[0] == second[0] == "credit_payments.queue.transaction"
    assert first[1] >= 0


class Contended(MemoryStorage):
    """Loses to another writer, and then fails, before it works."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self._errors = list(errors)

    def transaction(self, *, patient: bool = True) -> Any:
        if self._errors:
            raise self._errors.pop(0)
        return super().transaction(patient=patient)


def test_the_queue_counts_conflicts_and_failures(clock: Any) -> None:
    told = Recorded()
    storage = Contended(WriteConflict(), cp.StorageUnavailable("gone"), cp.StorageUnavailable("no"))
    queue = PostingQueue(storage, clock, telemetry=told, sleep=lambda _: None)
    queue.submit(PostDue(user_id="ada"))
    assert told.total("credit_payments.queue.conflicts") == 1
    assert told.total("credit_payments.queue.failures") == 2
    assert told.total("credit_payments.queue.batches") == 1


def test_several_are_told_the_same() -> None:
    one, other = Recorded(), Recorded()
    both = Several(one, other)
    both.count("a", 2, kind="x")
    both.took("b", 0.5, kind="y")
    assert one == other == Recorded([("a", 2, {"kind": "x"})], [("b", 0.5, {"kind": "y"})])


# -- Prometheus --------------------------------------------------------------------------------


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """As Prometheus' own parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_prometheus_is_told_what_happens_and_how_the_system_is(clock: Any) -> None:
    prometheus = Prometheus()
    for system in busy(prometheus, clock):
        prometheus.watch(system)
        found = samples(prometheus.text())
    labels = (("outcome", "quarantined"), ("type", "payment_intent.succeeded"))
    assert found["credit_payments_webhooks_total", labels] == 1
    refused = (("error", "InvalidSignature"),)
    assert found["credit_payments_webhooks_refused_total", refused] == 1
    assert found["credit_payments_queue_commands_total", ()] == 3
    assert found["credit_payments_queue_transaction_seconds_count", ()] == 3
    assert found["credit_payments_webhooks_duration_seconds_count", ()] == 1
    assert found["credit_payments_quarantine_open", ()] == 1
    assert found["credit_payments_database_up", ()] == 1
    assert found["credit_payments_problems", ()] == 1


def test_each_gauge_has_a_name_of_its_own_and_one_without_a_value_is_left_out(clock: Any) -> None:
    prometheus = Prometheus()
    for system in busy(prometheus, clock):
        prometheus.watch(system)
        up = {name for name, _ in samples(prometheus.text())}
    later = Prometheus()
    later.watch(system)
    down = {name for name, _ in samples(later.text())}  # the system is closed by now
    plain = {name.replace(".", "_") for name in vitals.GAUGES}
    assert up & plain == plain - {"credit_payments_last_reconciliation_age_seconds"}
    assert down & plain == {
        "credit_payments_database_up",
        "credit_payments_problems",
        "credit_payments_queue_waiting",
        "credit_payments_queue_oldest_seconds",
    }
    assert samples(later.text())["credit_payments_database_up", ()] == 0


def test_no_metric_names_a_user_or_a_secret(clock: Any) -> None:
    prometheus = Prometheus()
    for system in busy(prometheus, clock):
        prometheus.watch(system)
        assert b"canary" not in prometheus.text()
        assert b"pi_1" not in prometheus.text()


def test_attributes_that_differ_from_the_first_ones_are_no_error() -> None:
    prometheus = Prometheus()
    prometheus.count("a.b", kind="x")
    prometheus.count("a.b", 2, other="y")
    prometheus.count("a.b")
    prometheus.took("a.b.c", 0.5)
    prometheus.took("a.b.c", 0.5, kind="x")
    found = samples(prometheus.text())
    assert found["a_b_total", (("kind", "x"),)] == 1
    assert found["a_b_total", (("kind", ""),)] == 3
    assert found["a_b_c_seconds_count", ()] == 2


def test_many_threads_may_be_the_first_to_count() -> None:
    prometheus = Prometheus()
    start = threading.Barrier(8)

    def count() -> None:
        start.wait(10)
        for _ in range(100):
            prometheus.count("a", kind="x")
            prometheus.took("b", 0.1)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    found = samples(prometheus.text())
    assert found["a_total", (("kind", "x"),)] == 800
    assert found["b_seconds_count", ()] == 800


def test_a_registry_of_the_hosts_may_be_used_and_watching_does_not_look_yet() -> None:
    class Unwilling:
        def health(self) -> vitals.Health:
            raise AssertionError("nobody has scraped")

    registry = CollectorRegistry()
    prometheus = Prometheus(registry)
    prometheus.watch(Unwilling())
    assert prometheus.registry is registry
    with pytest.raises(ValueError, match="Duplicated"):
        prometheus.watch(Unwilling())


# -- OpenTelemetry -----------------------------------------------------------------------------


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    found: dict[str, list[Any]] = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "credit_payments"
            for metric in scope.metrics:
                found.setdefault(metric.name, []).extend(metric.data.data_points)
    return found


def test_opentelemetry_is_told_what_happens_and_how_the_system_is(
    clock: Any, reader: InMemoryMetricReader
) -> None:
    telemetry = OpenTelemetry(MeterProvider([reader], shutdown_on_exit=False))
    for system in busy(telemetry, clock):
        telemetry.watch(system)
        found = points(reader)
    [webhook] = found["credit_payments.webhooks"]
    assert webhook.value == 1
    assert webhook.attributes == {"type": "payment_intent.succeeded", "outcome": "quarantined"}
    [commands] = found["credit_payments.queue.commands"]
    assert commands.value == 3
    [timing] = found["credit_payments.queue.transaction"]
    assert timing.count == 3
    assert timing.explicit_bounds[0] == 0.001
    gauges = {name: found[name][0].value for name in vitals.GAUGES if name in found}
    assert gauges["credit_payments.quarantine.open"] == 1
    assert gauges["credit_payments.database.up"] == 1
    assert "credit_payments.last_reconciliation.age_seconds" not in gauges
    assert len(gauges) == len(vitals.GAUGES) - 1
    told = json.dumps({name: [str(point) for point in found[name]] for name in found})
    assert "canary" not in told


def test_one_export_looks_once(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opentelemetry, "_ONE_LOOK_SECONDS", 3_600.0)

    @attrs.define
    class Looked:
        times: int = 0

        def health(self) -> vitals.Health:
            self.times += 1
            return health

    with cp.connect(database="memory://") as system:
        health = system.health()
    telemetry = OpenTelemetry(MeterProvider([reader], shutdown_on_exit=False))
    looked = Looked()
    telemetry.watch(looked)
    assert points(reader)["credit_payments.database.up"][0].value == 1
    assert looked.times == 1


def test_without_an_sdk_nothing_is_measured_and_nothing_raised(clock: Any) -> None:
    telemetry = OpenTelemetry()
    for system in busy(telemetry, clock):
        telemetry.watch(system)


def test_nothing_of_either_is_loaded_unless_asked_for() -> None:
    code = (
        "import sys, credit_payments as cp\n"
        "with cp.connect(database='memory://') as system: system.health()\n"
        "print(sorted({'opentelemetry', 'prometheus_client'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert answer.stdout.strip() == "[]"
