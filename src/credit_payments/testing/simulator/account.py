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
from .problems import resource_missing

__all__ = ["Account", "Cause", "Table"]

EVENTS_MAX = 200_000
EVENT_RETENTION_SECONDS = 30 * 24 * 3600


class Table:
    """The objects of one kind in the order of their creation.

    Args:
        kind: how Stripe's "No such …" message calls them.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.rows: dict[str, Json] = {}

    def get(self, object_id: str, param: str = "id") -> Json:
        """Return the object.

        Raises:
            Problem: ``resource_missing``.
        """
        found = self.rows.get(object_id)
        if found is None:
            raise resource_missing(self.kind, object_id, param)
        return found

    def add(self, row: Json) -> Json:
        """Keep a new object and return it."""
        self.rows[row["id"]] = row
        return row

    def newest_first(self) -> Iterator[Json]:
        """Iterate the way lists answer."""
        return reversed(self.rows.values())


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
            self.charges = Table("charge")
            self.refunds = Table("refund")
            self.disputes = Table("dispute")
            self.balance_transactions = Table("balance transaction")
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
            self.events.rows.pop(next(iter(self.events.rows)))
        return event

    def build_event(self, event_type: str, subject: Any, previous: Json | None = None) -> Json:
        """Return an event without recording or delivering it."""
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
