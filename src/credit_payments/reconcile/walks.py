"""Walking what Stripe has: page by page, at a measured pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import attrs

from credit_payments.domain import instants, payment
from credit_payments.domain.clawback import Policies
from credit_payments.domain.differences import Finding
from credit_payments.domain.events import READ, Event
from credit_payments.domain.reconciling import (
    Kept,
    Told,
    of_dispute,
    of_payment,
    of_refund,
)
from credit_payments.domain.stripe_facts import (
    DisputeFacts,
    PaymentIntentFacts,
    RefundFacts,
    ref_id,
)
from credit_payments.ports.gateway import Listed, PaymentGateway
from credit_payments.reconcile.foreseeing import Foresee
from credit_payments.settlement import ReportDispute, ReportPayment, ReportRefund

F = TypeVar("F", PaymentIntentFacts, RefundFacts, DisputeFacts)
T = TypeVar("T")

REQUESTS_PER_SECOND = 20.0
"""Stripe takes 25 from a sandbox, and 100 in live mode: https://docs.stripe.com/rate-limits"""
PAGES_MAX = 1_000_000
"""Of a hundred objects each: there has to be an end somewhere."""

EVENT_TYPES = tuple(READ)


class Pace:
    """Lets so many pass in a second, evenly.

    Args:
        per_second: how many.
        clock: seconds that only grow.
        sleep: waits.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gap = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._next = float("-inf")

    def wait(self) -> None:
        """Return when it is this one's turn."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._gap


class Stripe:
    """The gateway, asked at a pace about one span of time, in Unix seconds."""

    def __init__(self, gateway: PaymentGateway, pace: Pace, since: int, until: int) -> None:
        self._gateway = gateway
        self._pace = pace
        self.since = since
        self.until = until

    def payment_intents(self, cursor: str | None) -> Listed[PaymentIntentFacts]:
        """A page of them."""
        self._pace.wait()
        return self._gateway.list_payment_intents(since=self.since, until=self.until, cursor=cursor)

    def payment_intent(self, name: str) -> PaymentIntentFacts:
        """One as it is now."""
        self._pace.wait()
        return self._gateway.retrieve_payment_intent(name)

    def refunds(self, cursor: str | None) -> Listed[RefundFacts]:
        """A page of them."""
        self._pace.wait()
        return self._gateway.list_refunds(since=self.since, until=self.until, cursor=cursor)

    def refund(self, name: str) -> RefundFacts:
        """One as it is now."""
        self._pace.wait()
        return self._gateway.retrieve_refund(name)

    def disputes(self, cursor: str | None) -> Listed[DisputeFacts]:
        """A page of them."""
        self._pace.wait()
        return self._gateway.list_disputes(since=self.since, until=self.until, cursor=cursor)

    def dispute(self, name: str) -> DisputeFacts:
        """One as it is now."""
        self._pace.wait()
        return self._gateway.retrieve_dispute(name)

    def events(self, cursor: str | None) -> Listed[Event]:
        """A page of the events that change something here; Stripe keeps them for 30 days."""
        return self._events(self.since, self.until, cursor)

    def events_since(self, instant: int) -> Iterator[Event]:
        """Those from an instant on until now."""
        return _all(lambda cursor: self._events(instant, None, cursor))

    def refunds_since(self, instant: int) -> Iterator[RefundFacts]:
        """Those from an instant on until now."""

        def page(cursor: str | None) -> Listed[RefundFacts]:
            self._pace.wait()
            return self._gateway.list_refunds(since=instant, until=None, cursor=cursor)

        return _all(page)

    def covers(self, created: int) -> bool:
        """Whether the walk meets what was created then."""
        return self.since <= created < self.until

    def share(self, created: int) -> float:
        """How much of the span lies behind a walk that is there; the newest come first."""
        span = max(1, self.until - self.since)
        return min(1.0, max(0.0, (self.until - created) / span))

    def _events(self, since: int, until: int | None, cursor: str | None) -> Listed[Event]:
        self._pace.wait()
        return self._gateway.list_events(since=since, until=until, types=EVENT_TYPES, cursor=cursor)


def pages(page_at: Callable[[str | None], Listed[T]]) -> Iterator[Listed[T]]:
    """One after the other, to the last."""
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page = page_at(cursor)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


def _all(page_at: Callable[[str | None], Listed[T]]) -> Iterator[T]:
    for page in pages(page_at):
        yield from page.items


@attrs.frozen(kw_only=True)
class Walk(Generic[F]):
    """One kind of Stripe's objects: how they come, and what they are held against."""

    page: Callable[[str | None], Listed[F]]
    retrieve: Callable[[str], F]
    foresee: Callable[[F], Foresee | None]
    compare: Callable[[F, Kept, Told], Iterator[Finding]]


def payment_intents(stripe: Stripe, policies: Policies) -> Walk[PaymentIntentFacts]:
    """The walk along the intents."""

    def foresee(facts: PaymentIntentFacts) -> Foresee:
        return Foresee(
            command=ReportPayment(facts=facts, policies=policies),
            payment_intent_id=facts.id,
            incident_id=payment.cause(facts.id),
        )

    return Walk(
        page=stripe.payment_intents,
        retrieve=stripe.payment_intent,
        foresee=foresee,
        compare=of_payment,
    )


def refunds(stripe: Stripe, policies: Policies) -> Walk[RefundFacts]:
    """The walk along the refunds."""

    def foresee(facts: RefundFacts) -> Foresee | None:
        intent_id = ref_id(facts.payment_intent)
        if intent_id is None:
            return None
        command = ReportRefund(facts=facts, payment_intent_id=intent_id, policies=policies)
        return Foresee(
            command=command, payment_intent_id=intent_id, incident_id=f"refund:{facts.id}"
        )

    return Walk(
        page=stripe.refunds,
        retrieve=stripe.refund,
        foresee=foresee,
        compare=of_refund,
    )


def disputes(stripe: Stripe, policies: Policies) -> Walk[DisputeFacts]:
    """The walk along the disputes."""

    def foresee(facts: DisputeFacts) -> Foresee | None:
        intent_id = ref_id(facts.payment_intent)
        if intent_id is None:
            return None
        created_at = instants.from_unix(facts.created)
        return Foresee(
            command=ReportDispute(facts=facts, created_at=created_at, policies=policies),
            payment_intent_id=intent_id,
            incident_id=f"dispute:{facts.id}",
            dispute_id=facts.id,
        )

    return Walk(page=stripe.disputes, retrieve=stripe.dispute, foresee=foresee, compare=of_dispute)
