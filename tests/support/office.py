"""A storage, webhooks that are stored in it, and workers that apply them; Stripe is a dict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import msgspec
from tests.support.payment_story import CURRENT, SECRET, Clock, Json, signed

import credit_payments as cp
from credit_payments.domain import inbox
from credit_payments.domain.customers import ChangedCustomer
from credit_payments.domain.quoting import KeepQuote, LinkIntent
from credit_payments.domain.records import Event, Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.errors import NotFound
from credit_payments.intake import Handlers
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue
from credit_payments.settlement import Messenger
from credit_payments.settlement.intake import Lease, LeaseEvent, StoreEvent
from credit_payments.webhooks import WebhookProcessor
from credit_payments.worker import Worker

CREDITS, PAID = 100, 1_000
HOSTS = "invoice.paid"
"""A type that is not the library's to apply."""
SECONDS_MAX = 20.0
FIRST = Lease("first", 60.0)


class Told:
    """What Stripe's API has of events."""

    def __init__(self) -> None:
        self.events: dict[str, Json] = {}
        self.asked_as: list[str | None] = []

    def retrieve_event(self, event_id: str, *, account: str | None = None) -> Json:
        self.asked_as.append(account)
        if event_id not in self.events:
            raise NotFound("No such event", param="id")
        return self.events[event_id]


@attrs.define
class Office:
    """Everything that stands around a worker.

    Args:
        storage: whatever keeps what it acknowledged.
        clock: turned by the test.
        telemetry: where the workers count.
    """

    storage: Storage
    clock: Clock = attrs.field(factory=Clock)
    telemetry: Any = None
    handlers: Handlers = attrs.field(factory=Handlers)
    stripe: Told = attrs.field(factory=Told)
    queue: PostingQueue = attrs.field(init=False)
    queued: WebhookProcessor = attrs.field(init=False)
    inline: WebhookProcessor = attrs.field(init=False)
    wallets: cp.Wallets = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.queue = PostingQueue(self.storage, self.clock, sleep=lambda seconds: None)
        self.queued, self.inline = self.webhooks("queued"), self.webhooks("inline")
        self.wallets = cp.Wallets(self.storage, self.queue, self.clock)

    def webhooks(self, mode: str) -> WebhookProcessor:
        return WebhookProcessor(
            self.queue,
            self.clock,
            secrets=[SECRET],
            tolerance_seconds=10**9,
            mode=mode,
            handlers=self.handlers,
        )

    def worker(self, *, jitter: Callable[[], float] = lambda: 0.0, **given: Any) -> Worker:
        stripe: Any = self.stripe
        arguments = {"gateway": stripe, "handlers": self.handlers, "telemetry": self.telemetry}
        return Worker(self.storage, self.queue, self.clock, jitter=jitter, **arguments | given)

    def sell(self, intent_id: str = "pi_1", user_id: str = "ada", *, linked: bool = True) -> None:
        """A quote of 100 credits, and the intent that is to pay for them."""
        quote = Quote(
            quote_id=f"quote_{intent_id}", user_id=user_id, amount_minor=PAID, currency="usd",
            credits=CREDITS, package_id=None, customer_id=None, rule="rate", expires_seconds=None,
            fingerprint="f", payment_intent_id=None, created_at="",
        )  # fmt: skip
        self.queue.submit(KeepQuote(quote=quote))
        if linked:
            facts = self.intent(intent_id, user_id, status="requires_payment_method")
            made = msgspec.convert(facts, PaymentIntentFacts)
            self.queue.submit(LinkIntent(quote_id=quote.quote_id, facts=made))

    def intent(self, intent_id: str, user_id: str = "ada", *, status: str = "succeeded") -> Json:
        return {
            "id": intent_id,
            "object": "payment_intent",
            "amount": PAID,
            "amount_received": PAID if status == "succeeded" else 0,
            "currency": "usd",
            "created": 1_704_067_200,
            "metadata": {"user_id": user_id, "quote_id": f"quote_{intent_id}"},
            "status": status,
        }

    def pay(self, event_id: str, intent_id: str = "pi_1", user_id: str = "ada") -> str:
        """Have it told, to be applied later, that an intent has succeeded."""
        facts = self.intent(intent_id, user_id)
        return self.tell(event_id, "payment_intent.succeeded", facts)

    def tell(
        self,
        event_id: str,
        kind: str,
        fields: Json,
        *,
        mode: str = "queued",
        version: str = CURRENT,
    ) -> str:
        """Deliver one event; what became of it."""
        self.stripe.events[event_id] = {
            "id": event_id,
            "object": "event",
            "type": kind,
            "created": 1_704_067_200,
            "livemode": False,
            "data": {"object": fields},
        }
        webhooks = self.queued if mode == "queued" else self.inline
        return webhooks.receive(*signed(event_id, kind, fields, version)).outcome

    def tell_host(self, event_id: str, *, mode: str = "queued") -> str:
        """Deliver an event that is for the host's handlers."""
        return self.tell(event_id, HOSTS, {"id": "in_1", "object": "invoice"}, mode=mode)

    def event(self, event_id: str) -> Event:
        found = self.storage.get(Event, event_id)
        assert found is not None
        return found

    def statuses(self) -> Counter[str]:
        return Counter(event.status for event in self.events())

    def events(self) -> Sequence[Event]:
        return list(self.storage.scan(Event, order=("event_id",)))

    def balance(self, user_id: str = "ada") -> int:
        return self.wallets.balance(user_id).available


def take(office: Office, event_id: str, lease: Lease = FIRST) -> Event:
    """Lease it as a worker does that is not heard of again."""
    leased = office.queue.submit(LeaseEvent(event_id=event_id, lease=lease))
    assert leased is not None
    return leased


def store(event_id: str, subject: str, payload: str | None = None) -> StoreEvent:
    """About a customer that nobody knows: little is to be done."""
    kept = payload or inbox.pack(ChangedCustomer(customer_id="cus_1", as_of="2024"))
    messenger = Messenger(event_id=event_id, type="customer.updated", created_at="2024")
    return StoreEvent(
        messenger=messenger, subject=subject, lane=inbox.lane_for(subject), payload=kept
    )


def until(holds: Callable[[], bool], what: str) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
