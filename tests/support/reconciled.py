"""A shop beside a simulated Stripe that a test tells when to lose which webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import attrs

import credit_payments as cp
from credit_payments.domain.quoting import KeepQuote
from credit_payments.domain.records import Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts, RefundFacts
from credit_payments.reconcile import Reconciler
from credit_payments.settlement import ReportPayment, ReportRefund
from credit_payments.testing.simulator import StripeSimulator

START = 1_767_225_600
"""2026 begins."""
DAY = timedelta(days=1)
Found = dict[tuple[str, str], bool]
"""What a report tells: kind and subject, and whether it is repaired."""


@attrs.define
class StripesClock:
    """Our clock is Stripe's."""

    simulator: StripeSimulator

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.simulator.clock.now(), UTC)


@attrs.define
class Beside:
    """A shop, and what happens at Stripe."""

    simulator: StripeSimulator
    system: cp.System
    clock: StripesClock
    endpoint_id: str | None = None
    _told: set[str] = attrs.field(factory=set)
    _made: int = 0

    # -- at Stripe -----------------------------------------------------------------------------

    def sell(self, user: str, amount: str = "10.00", **given: Any) -> str:
        """A payment that has succeeded; nobody was told."""
        intent = self.offer(user, amount, **given)
        assert self.simulator.pay(intent)["status"] == "succeeded"
        return intent

    def offer(self, user: str, amount: str = "10.00", **given: Any) -> str:
        return self.system.payments.create_payment_intent(user, amount, **given).payment_intent_id

    def sell_elsewhere(self, amount: int = 1_000, **metadata: str) -> str:
        """A payment that none of our quotes asked for."""
        intent: str = self.create(amount, **metadata)["id"]
        self.simulator.pay(intent)
        return intent

    def create(self, amount: int = 1_000, **metadata: str) -> dict[str, Any]:
        given = {"amount": amount, "currency": "usd", "metadata": metadata}
        return self.simulator.call("POST", "/v1/payment_intents", given)

    def refund(self, intent: str, amount: int | None = None) -> str:
        """A refund made in the dashboard."""
        given = {"payment_intent": intent} | ({"amount": amount} if amount else {})
        return str(self.simulator.call("POST", "/v1/refunds", given)["id"])

    # -- here ----------------------------------------------------------------------------------

    def tell(self, *, lose: Callable[[str, str], bool] = lambda _kind, _subject: False) -> int:
        """Deliver what was not told yet; `lose` gets each event's type and payment."""
        delivered = 0
        for arrival in self.simulator.webhooks.plan(endpoint_id=self.endpoint_id):
            if arrival.event_id in self._told:
                continue
            self._told.add(arrival.event_id)
            event = json.loads(arrival.body)
            if not lose(event["type"], subject(event["data"]["object"])):
                self.receive(arrival.body)
                delivered += 1
        return delivered

    def tell_all_again(self) -> list[str]:
        """Deliver every event, those that were lost and those that were not; their outcomes."""
        arrivals = self.simulator.webhooks.plan(endpoint_id=self.endpoint_id)
        return [self.receive(arrival.body).outcome for arrival in arrivals]

    def receive(self, body: bytes) -> cp.Delivery:
        return self.system.webhooks.receive(body, self.simulator.sign(body))

    def keep_quote(self, user: str, quote_id: str, amount: int = 1_000) -> None:
        quote = Quote(
            quote_id=quote_id,
            user_id=user,
            amount_minor=amount,
            currency="usd",
            credits=amount // 10,
            package_id=None,
            customer_id=None,
            rule="rate",
            expires_seconds=None,
            fingerprint=quote_id,
            payment_intent_id=None,
            created_at="",
        )
        self.system.queue.submit(KeepQuote(quote=quote))

    def credit_without_stripe(self, user: str, name: str) -> str:
        """A payment that is here, and that Stripe has never heard of."""
        self.keep_quote(user, f"quote_{name}")
        metadata = {"user_id": user, "quote_id": f"quote_{name}"}
        facts = PaymentIntentFacts(
            f"pi_{name}", "succeeded", 1_000, "usd", START, 1_000, metadata=metadata
        )
        self.system.queue.submit(ReportPayment(facts=facts))
        return facts.id

    def report_refund(self, intent: str, name: str, amount: int) -> None:
        """A refund as Stripe has never told of it."""
        facts = RefundFacts(name, amount, "usd", "succeeded", intent)
        self.system.queue.submit(ReportRefund(facts=facts, payment_intent_id=intent))

    # -- reconciling ---------------------------------------------------------------------------

    def reconciler(self, gateway: Any = None, **given: Any) -> Reconciler:
        return Reconciler(
            self.system._storage,
            self.system.queue,
            self.clock,
            gateway or self.system._gateway,
            cipher=self.system._cipher,
            sleep=lambda _seconds: None,
            **given,
        )

    def reconcile(self, gateway: Any = None, **given: Any) -> cp.ReconciliationReport:
        since = given.pop("since", datetime.fromtimestamp(START, UTC) - DAY)
        return self.reconciler(gateway).run(since=since, **given)

    def wait(self, seconds: int = 3_600) -> None:
        self.simulator.clock.advance(seconds)


@contextmanager
def open_beside(database: str, *, version: str | None = None, **settings: Any) -> Iterator[Beside]:
    """Open both; with `version`, webhooks come in the shape of that version of Stripe's API."""
    with StripeSimulator(start_time=START) as simulator:
        given: dict[str, Any] = {
            "database": database,
            "stripe_secret_key": simulator.secret_key,
            "stripe_webhook_secret": simulator.webhook_secret,
            "stripe_api_base": simulator.url,
            "stripe_wait_seconds_max": 0,
        } | settings
        clock = StripesClock(simulator)
        with cp.connect(clock=clock, **given) as system:
            endpoint_id = None
            if version is not None:
                simulator.webhooks.hold()  # they are told by hand
                asked = {
                    "url": "https://shop.test",
                    "enabled_events": ["*"],
                    "api_version": version,
                }
                endpoint_id = simulator.call("POST", "/v1/webhook_endpoints", asked)["id"]
            yield Beside(simulator, system, clock, endpoint_id)


def subject(stripe_object: dict[str, Any]) -> str:
    """The payment that an object is about, else itself."""
    return str(stripe_object.get("payment_intent") or stripe_object["id"])


def of_payments(intents: Iterable[str], *types: str) -> Callable[[str, str], bool]:
    """Loses events of some types, as patterns, about some payments."""
    lost = frozenset(intents)
    return lambda kind, about: about in lost and any(fnmatch(kind, one) for one in types)


def found(report: cp.ReconciliationReport) -> Found:
    assert report.complete
    told = {(str(one.kind), one.subject): one.repaired for one in report.differences}
    assert len(told) == len(report.differences), "nothing is told twice"
    assert sum(report.found.values()) == len(told)
    assert report.repaired == sum(told.values())
    return told


def url_of(path: Path) -> str:
    return f"sqlite:///{path / 'credits.db'}"
