"""The simulated Stripe account: every object it knows, its events, and the lock around both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import msgspec

from ._types import Json
from .clock import SimulatedClock
from .ids import IdFactory
from .table import Table

__all__ = ["Account", "Cause"]

EVENTS_MAX = 200_000
EVENT_RETENTION_SECONDS = 30 * 24 * 3600


@attrs.frozen
class Cause:
    """The API request behind an event; both are ``None`` for what happens by itself."""

    request_id: str | None = None
    idempotency_key: str | None = None


class Account:
    """Everything that one simulated account holds.

    All reading and writing happens under :attr:`lock`, so a request is atomic and its events are
    in the order of what happened.

    Args:
        seed: determines all ids.
        clock: the source of every timestamp.
        api_version: the account's default version, which its events carry.

    Attributes:
        publish: called under the lock with each new event; returns how many endpoints want it.
    """

    def __init__(
        self,
        *,
        seed: int,
        clock: SimulatedClock,
        api_version: str,
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.api_version = api_version
        self.request_version = api_version
        self.cause = Cause()
        self.publish: Callable[[Json], int] = lambda _event: 0
        self._seed = seed
        self.clear()

    def clear(self) -> None:
        """Forget every object; ids start again from the seed."""
        with self.lock:
            self.ids = IdFactory(self._seed)
            self.customers = Table("customer")
            self.payment_methods = Table("PaymentMethod")
            self.payment_intents = Table("payment_intent")
            self.charges = Table("charge", "payment_intent")
            self.refunds = Table("refund", "charge", "payment_intent")
            self.disputes = Table("dispute", "charge", "payment_intent")
            self.early_fraud_warnings = Table("early fraud warning", "charge", "payment_intent")
            self.balance_transactions = Table("balance transaction", "source")
            self.webhook_endpoints = Table("webhook endpoint")
            self.events = Table("event")
            # What the simulator knows beside the public objects, by object id.
            self.secrets: dict[str, str] = {}
            self.test_cards: dict[str, Any] = {}
            self.spent_payment_methods: set[str] = set()

    def table(self, name: str) -> Table:
        """Return a collection by its name in the API's paths.

        Raises:
            ValueError: if there is none.
        """
        found = getattr(self, name, None)
        if isinstance(found, Table):
            return found
        raise ValueError(f"there is no collection {name!r}")

    def now(self) -> int:
        """Return the simulated time in seconds since 1970."""
        return self.clock.now()

    @contextmanager
    def caused_by(self, cause: Cause, version: str | None = None) -> Iterator[None]:
        """Hold the lock and attribute what happens inside to one request."""
        with self.lock:
            before = self.cause, self.request_version
            self.cause = cause
            self.request_version = version or self.api_version
            try:
                yield
            finally:
                self.cause, self.request_version = before

    def emit(self, event_type: str, subject: Json, previous: Json | None = None) -> Json:
        """Record an event with a snapshot of its object, and hand it to the webhooks."""
        event = self.build_event(event_type, subject, previous)
        event["pending_webhooks"] = self.publish(event)
        self.events.add(event)
        if len(self.events.rows) > EVENTS_MAX:
            # A tenth at once, or every further event would move all the others.
            self.events.keep_newest(EVENTS_MAX - EVENTS_MAX // 10)
        return event

    def build_event(self, event_type: str, subject: Any, previous: Json | None = None) -> Json:
        """Return an event in the current shape, without recording or delivering it."""
        # Encoding at once is the snapshot: later changes to the object cannot reach it.
        data: Json = {"object": msgspec.Raw(msgspec.json.encode(subject))}
        if previous is not None:
            data["previous_attributes"] = previous
        return {
            "id": self.ids.new("evt"),
            "object": "event",
            "api_version": self.api_version,
            "created": self.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {
                "id": self.cause.request_id,
                "idempotency_key": self.cause.idempotency_key,
            },
            "type": event_type,
        }
