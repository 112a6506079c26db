"""The simulator's webhooks, received over HTTP and verified with the official SDK."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe

from credit_payments.testing.simulator import StripeSimulator

SECRET = "whsec_test"


class Receiver(ThreadingHTTPServer):
    """Keeps what it gets and answers with the statuses it was given, 200 when they run out."""

    daemon_threads = False

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.statuses: list[int] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/stripe/webhook"

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.received]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.headers["Stripe-Signature"], body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def simulator(receiver: Receiver) -> Iterator[StripeSimulator]:
    with StripeSimulator(
        webhook_url=receiver.url, webhook_secret=SECRET, retry_delays=(0.01, 0.02)
    ) as running:
        yield running


@pytest.fixture
def client(simulator: StripeSimulator) -> Any:
    return stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})


def pay(simulator: StripeSimulator, client: Any) -> str:
    intent = client.v1.payment_intents.create({"amount": 1000, "currency": "usd"})
    simulator.pay(intent.id)
    return str(intent.id)


PAID = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "charge.updated"]


def test_the_sdk_verifies_every_delivery(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    intent_id = pay(simulator, client)
    simulator.wait_for_deliveries()
    assert receiver.types == PAID
    events = [
        stripe.Webhook.construct_event(body, signature, SECRET)
        for signature, body in receiver.received
    ]
    assert events[2].data.object.id == intent_id
    assert events[2].data.object.status == "succeeded"
    # The snapshot of the first event shows the intent as it was then.
    assert events[0].data.object.status == "requires_payment_method"
    assert [attempt.status for attempt in simulator.deliveries] == [200] * 4
    assert client.v1.events.retrieve(events[2].id).pending_webhooks == 0


def test_an_idempotency_key_is_named_by_the_events_it_caused(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    client.v1.customers.create({}, {"idempotency_key": "k1"})
    simulator.wait_for_deliveries()
    assert json.loads(receiver.received[0][1])["request"]["idempotency_key"] == "k1"


def test_a_wrong_secret_does_not_verify(simulator: StripeSimulator) -> None:
    payload = simulator.build_event("customer.created", {"id": "cus_1", "object": "customer"})
    event = stripe.Webhook.construct_event(payload, simulator.sign(payload), SECRET)
    assert event.type == "customer.created"
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(
            payload, simulator.sign(payload, secret="whsec_other"), SECRET
        )
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(payload, simulator.sign(payload, timestamp=1), SECRET)


def test_failed_deliveries_are_repeated_and_then_given_up(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    receiver.statuses = [500, 302]
    customer = client.v1.customers.create()
    simulator.wait_for_deliveries()
    assert [(a.attempt, a.status) for a in simulator.deliveries] == [(1, 500), (2, 302), (3, 200)]
    receiver.statuses = [500, 500, 500]
    client.v1.customers.update(customer.id, {"name": "Eve"})
    simulator.wait_for_deliveries()
    assert len(simulator.deliveries) == 6
    assert client.v1.events.list({"limit": 1}).data[0].pending_webhooks == 1
    assert client.v1.events.list({"delivery_success": False}).data[0].type == "customer.updated"


def test_a_receiver_that_is_not_there_is_an_error_of_the_attempt() -> None:
    with StripeSimulator(webhook_url="http://127.0.0.1:1/", retry_delays=()) as simulator:
        client = stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})
        client.v1.customers.create()
        simulator.wait_for_deliveries()
        assert simulator.deliveries[0].status is None
        assert "refused" in str(simulator.deliveries[0].error)


def test_held_deliveries_come_in_the_order_of_their_release(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    simulator.webhooks.hold()
    pay(simulator, client)
    simulator.wait_for_deliveries()
    assert receiver.types == []
    assert list(simulator.webhooks.held) == PAID
    simulator.webhooks.release(order="lifo")
    simulator.wait_for_deliveries()
    assert receiver.types == PAID[::-1]


def test_events_of_some_types_are_withheld_or_lost_until_the_release(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    simulator.webhooks.withhold(["payment_intent.*"])
    pay(simulator, client)
    simulator.wait_for_deliveries()
    assert receiver.types == ["charge.succeeded", "charge.updated"]
    assert simulator.webhooks.held == ("payment_intent.created", "payment_intent.succeeded")
    simulator.webhooks.withhold(["charge.updated"], lose=True)
    pay(simulator, client)
    simulator.webhooks.release()
    simulator.wait_for_deliveries()
    assert sorted(receiver.types) == sorted([*PAID, *PAID[:3]])
    lost = [attempt for attempt in simulator.deliveries if attempt.error == "dropped"]
    assert [(attempt.event_type, attempt.attempt) for attempt in lost] == [("charge.updated", 0)]
    nothing: list[str] = []
    for types in ("payment_intent.*", nothing):
        with pytest.raises(ValueError, match="list"):
            simulator.webhooks.withhold(types)


def test_a_network_that_misbehaves_gives_each_event_its_own_fate(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    def campaign(seed: int) -> dict[str, int]:
        simulator.reset()
        receiver.received.clear()
        simulator.webhooks.misbehave(seed=seed, drop=0.3, duplicate=0.5, delay_seconds=0.05)
        for _ in range(10):
            client.v1.customers.create()
        simulator.wait_for_deliveries()
        arrived = [json.loads(body)["id"] for _, body in receiver.received]
        recorded = [row.id for row in client.v1.events.list({"limit": 100}).data]
        dropped = {a.event_id for a in simulator.deliveries if a.error == "dropped"}
        copies = {event_id: arrived.count(event_id) for event_id in recorded}
        assert dropped == {event_id for event_id, count in copies.items() if count == 0}
        return copies

    first = campaign(seed=1)
    assert first == campaign(seed=1) != campaign(seed=2)
    assert min(first.values()) == 0
    assert max(first.values()) > 1
    # What was lost can be sent by hand, and the counts of pending webhooks tell the truth.
    lost = next(event_id for event_id, count in campaign(seed=1).items() if count == 0)
    assert client.v1.events.retrieve(lost).pending_webhooks == 1
    assert simulator.webhooks.resend(lost) == 1
    simulator.wait_for_deliveries()
    assert client.v1.events.retrieve(lost).pending_webhooks == 0
    simulator.webhooks.behave()
    receiver.received.clear()
    for _ in range(10):
        client.v1.customers.create()
    simulator.wait_for_deliveries()
    assert len(receiver.received) == 10


def test_copies_for_one_endpoint_leave_the_other_pending(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    client.v1.webhook_endpoints.create(
        {"url": "http://127.0.0.1:1/", "enabled_events": ["customer.created"]}
    )
    simulator.webhooks.duplicate(2)
    client.v1.customers.create()
    simulator.wait_for_deliveries()
    assert len(receiver.received) == 2
    assert client.v1.events.list().data[0].pending_webhooks == 1


def test_a_shuffled_release_depends_on_the_seed_alone(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    orders = []
    for _ in range(2):
        simulator.reset()
        receiver.received.clear()
        simulator.webhooks.hold()
        pay(simulator, client)
        simulator.webhooks.release(order="shuffled")
        simulator.wait_for_deliveries()
        orders.append(receiver.types)
    assert sorted(orders[0]) == sorted(PAID)
    assert orders[0] == orders[1] != PAID


def test_deliveries_can_be_duplicated_dropped_delayed_and_resent(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    simulator.webhooks.duplicate(3)
    client.v1.customers.create()
    simulator.webhooks.duplicate(1)
    simulator.webhooks.drop(1)
    client.v1.customers.create()
    simulator.wait_for_deliveries()
    assert len(receiver.received) == 3
    assert len({json.loads(body)["id"] for _, body in receiver.received}) == 1
    dropped = next(a for a in simulator.deliveries if a.error == "dropped")
    assert simulator.webhooks.resend(dropped.event_id) == 1
    simulator.wait_for_deliveries()
    assert json.loads(receiver.received[-1][1])["id"] == dropped.event_id
    simulator.webhooks.delay(0.3)
    client.v1.customers.create()
    with pytest.raises(TimeoutError, match=r"customer\.created"):
        simulator.wait_for_deliveries(timeout=0.05)
    simulator.wait_for_deliveries()
    assert len(receiver.received) == 5


def test_endpoints_choose_their_events_and_their_version(
    simulator: StripeSimulator, client: Any, receiver: Receiver
) -> None:
    endpoint = client.v1.webhook_endpoints.create(
        {
            "url": receiver.url + "?second",
            "enabled_events": ["charge.refunded"],
            "api_version": "2023-10-16",
        }
    )
    assert str(endpoint.secret).startswith("whsec_")
    assert client.v1.webhook_endpoints.retrieve(endpoint.id).to_dict().get("secret") is None
    assert len(client.v1.webhook_endpoints.list().data) == 2
    intent_id = pay(simulator, client)
    client.v1.refunds.create({"payment_intent": intent_id})
    simulator.wait_for_deliveries()
    mine = [a for a in simulator.deliveries if a.endpoint_id == endpoint.id]
    assert [attempt.event_type for attempt in mine] == ["charge.refunded"]
    refunded = [
        (signature, body)
        for signature, body in receiver.received
        if json.loads(body)["type"] == "charge.refunded"
    ]
    assert sorted(json.loads(body)["api_version"] for _, body in refunded) == [
        "2023-10-16",
        "2026-10-28.endive",
    ]
    old = next(pair for pair in refunded if json.loads(pair[1])["api_version"] == "2023-10-16")
    stripe.Webhook.construct_event(old[1], old[0], str(endpoint.secret))
    disabled = client.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    assert disabled.status == "disabled"
    assert client.v1.webhook_endpoints.delete(endpoint.id).deleted is True


def test_signatures_follow_the_clock_or_the_wall(receiver: Receiver) -> None:
    choices: list[tuple[Any, bool]] = [("clock", False), ("wall", True)]
    for choice, verifies in choices:
        receiver.received.clear()
        with StripeSimulator(
            webhook_url=receiver.url,
            webhook_secret=SECRET,
            start_time=1_700_000_000,
            signature_time=choice,
        ) as simulator:
            client = stripe.StripeClient(
                simulator.secret_key, base_addresses={"api": simulator.url}
            )
            client.v1.customers.create()
            simulator.wait_for_deliveries()
        signature, body = receiver.received[0]
        if verifies:
            stripe.Webhook.construct_event(body, signature, SECRET)
        else:
            assert signature.startswith("t=1700000000,")


def test_parallel_workers_deliver_everything(receiver: Receiver) -> None:
    with StripeSimulator(webhook_url=receiver.url, webhook_workers=4) as simulator:
        client = stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})
        for _ in range(20):
            client.v1.customers.create()
        simulator.wait_for_deliveries()
        assert len(receiver.received) == 20
