"""The gateway with the real SDK over real HTTP, against a server that answers by script.

The script says what a well-behaved Stripe (or simulator) never would: broken JSON, cut lines,
HTML from a proxy, storms of 409, 429 and 5xx.
"""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

import attrs
import pytest

from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.stripe_gateway import StripeGateway
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.errors import (
    CardDeclined,
    IdempotencyConflict,
    InvalidRequest,
    NotConfigured,
    NotFound,
    StripeRefusedKey,
    StripeUnavailable,
)
from credit_payments.ports.gateway import PaymentGateway

KEY = "sk_test_simulator"
INTENT: Mapping[str, Any] = {
    "id": "pi_1",
    "object": "payment_intent",
    "status": "requires_payment_method",
    "amount": 1000,
    "currency": "usd",
    "created": 1_640_995_200,
    "metadata": {"user_id": "user123"},
    "client_secret": "pi_1_secret_topsecret",
    "a_field_of_a_future_version": {"nested": [1]},
}
REFUND = {"id": "re_1", "object": "refund", "amount": 5, "currency": "usd", "status": "pending"}
CUSTOMER = {"id": "cus_1", "object": "customer", "created": 1, "email": "ada@example.com"}
METHOD = {
    "id": "pm_1",
    "object": "payment_method",
    "type": "card",
    "created": 1,
    "customer": "cus_1",
    "card": {"brand": "visa", "last4": "4242", "exp_month": 1, "exp_year": 2040},
}


@attrs.frozen
class Answer:
    """One scripted answer; `cut` ends the connection before the body is complete."""

    body: object
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    cut: bool = False
    delay_seconds: float = 0.0


@attrs.frozen
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    params: Mapping[str, list[str]]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # with the default of 5, connections made at once wait for a second


class Script:
    """A server on loopback: takes the answers in order, and keeps on giving the last one."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.requests: list[Request] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def do_GET(self) -> None:
                script.serve(self)

            do_POST = do_GET  # noqa: N815 - the name that the standard library calls

            def log_message(self, *args: object) -> None:
                """The test's output is not the server's log."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def will_answer(self, *answers: Answer) -> None:
        self.answers.extend(answers)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        params = parse_qs(handler.rfile.read(length).decode())
        self.requests.append(
            Request(handler.command, handler.path, dict(handler.headers.items()), params)
        )
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.popleft()
        time.sleep(answer.delay_seconds)
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) + answer.cut))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = answer.cut


@pytest.fixture
def script() -> Iterator[Script]:
    with Script() as script:
        yield script


@pytest.fixture
def gateway(script: Script) -> Iterator[StripeGateway]:
    gateway = StripeGateway(KEY, api_base=script.url, retry=RetryPolicy.immediate(attempts=3))
    yield gateway
    gateway.close()


def create(gateway: PaymentGateway, key: str = "intent:1") -> PaymentIntentFacts:
    return gateway.create_payment_intent(
        amount_minor=1000,
        currency="usd",
        metadata={"user_id": "user123"},
        customer="cus_1",
        description="100 credits",
        idempotency_key=key,
    )


def error_body(**error: object) -> dict[str, object]:
    return {"error": error}


def test_an_intent_is_created_for_automatic_payment_methods(
    gateway: StripeGateway, script: Script
) -> None:
    script.will_answer(Answer(INTENT))
    facts = create(gateway)
    assert (facts.id, facts.amount, facts.metadata) == ("pi_1", 1000, {"user_id": "user123"})
    [request] = script.requests
    assert (request.method, request.path) == ("POST", "/v1/payment_intents")
    assert request.headers["Idempotency-Key"] == "intent:1"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.params == {
        "amount": ["1000"],
        "currency": ["usd"],
        "metadata[user_id]": ["user123"],
        "automatic_payment_methods[enabled]": ["true"],
        "customer": ["cus_1"],
        "description": ["100 credits"],
    }


def test_what_is_none_is_not_sent(gateway: StripeGateway, script: Script) -> None:
    script.will_answer(Answer(INTENT), Answer(REFUND), Answer(CUSTOMER))
    gateway.create_payment_intent(
        amount_minor=1,
        currency="jpy",
        metadata={},
        customer=None,
        description=None,
        idempotency_key="k1",
    )
    refund = gateway.create_refund(
        payment_intent_id="pi_1", amount_minor=None, reason=None, metadata={}, idempotency_key="k2"
    )
    gateway.create_customer(
        email="ada@example.com", name=None, phone=None, metadata={}, idempotency_key="k3"
    )
    assert (refund.id, refund.status) == ("re_1", "pending")
    assert [set(request.params) for request in script.requests] == [
        {"amount", "currency", "automatic_payment_methods[enabled]"},
        {"payment_intent"},
        {"email"},
    ]


def test_each_write_has_its_place_and_its_key(gateway: StripeGateway, script: Script) -> None:
    script.will_answer(Answer(INTENT), Answer(REFUND), Answer(CUSTOMER))
    gateway.confirm_payment_intent("pi_1", idempotency_key="k1")
    gateway.create_refund(
        payment_intent_id="pi_1",
        amount_minor=5,
        reason="requested_by_customer",
        metadata={"a": "b"},
        idempotency_key="k2",
    )
    gateway.create_customer(
        email="ada@example.com",
        name="Ada",
        phone="+1234567890",
        metadata={"user_id": "user123"},
        idempotency_key="k3",
    )
    assert [(r.path, r.headers["Idempotency-Key"]) for r in script.requests] == [
        ("/v1/payment_intents/pi_1/confirm", "k1"),
        ("/v1/refunds", "k2"),
        ("/v1/customers", "k3"),
    ]
    assert script.requests[1].params["amount"] == ["5"]
    assert script.requests[1].params["reason"] == ["requested_by_customer"]
    assert script.requests[2].params["phone"] == ["+1234567890"]


def test_each_read_returns_its_facts(gateway: StripeGateway, script: Script) -> None:
    page = {"object": "list", "data": [METHOD], "has_more": False, "url": "/v1/x"}
    script.will_answer(Answer(INTENT), Answer(CUSTOMER), Answer(page), Answer(METHOD))
    assert gateway.retrieve_payment_intent("pi_1").status == "requires_payment_method"
    assert gateway.retrieve_customer("cus_1").email == "ada@example.com"
    [method] = gateway.list_payment_methods("cus_1")
    assert method.card is not None
    assert method.card.last4 == "4242"
    assert gateway.retrieve_payment_method("pm_1") == method
    assert [request.path for request in script.requests] == [
        "/v1/payment_intents/pi_1",
        "/v1/customers/cus_1",
        "/v1/customers/cus_1/payment_methods?limit=100",
        "/v1/payment_methods/pm_1",
    ]


def test_a_deleted_customer_is_not_found(gateway: StripeGateway, script: Script) -> None:
    script.will_answer(Answer({"id": "cus_1", "object": "customer", "deleted": True}))
    with pytest.raises(NotFound):
        gateway.retrieve_customer("cus_1")


def test_the_configured_api_version_is_sent(script: Script) -> None:
    script.will_answer(Answer(INTENT))
    gateway = StripeGateway(KEY, api_base=script.url, api_version="2023-10-16")
    gateway.retrieve_payment_intent("pi_1")
    gateway.close()
    assert script.requests[0].headers["Stripe-Version"] == "2023-10-16"


def test_without_a_key_each_call_says_so_and_nothing_is_sent(script: Script) -> None:
    for key in (None, ""):
        gateway = StripeGateway(key, api_base=script.url)
        with pytest.raises(NotConfigured, match="Stripe is not configured"):
            create(gateway)
        with pytest.raises(NotConfigured):
            gateway.retrieve_customer("cus_1")
    assert script.requests == []


@pytest.mark.parametrize("key", ["", "k" * 256, "two\nlines", "größe"])
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(
    gateway: StripeGateway, script: Script, key: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        create(gateway, key)
    assert caught.value.param == "idempotency_key"
    assert script.requests == []


@pytest.mark.parametrize(
    "passing",
    [
        Answer(error_body(type="api_error"), status=500),
        Answer(error_body(type="api_error"), status=503, headers={"Retry-After": "60"}),
        Answer(error_body(code="rate_limit"), status=429),
        Answer(error_body(code="lock_timeout"), status=429),
        Answer(
            error_body(type="idempotency_error", code="idempotency_key_in_use"),
            status=409,
        ),
        Answer(error_body(), status=400, headers={"Stripe-Should-Retry": "true"}),
        Answer(b"<html>bad gateway</html>", status=502),
        Answer(INTENT, cut=True),
    ],
    ids=lambda answer: f"{answer.status} {'cut' if answer.cut else ''}",
)
def test_what_passes_is_tried_again_under_the_same_key(
    gateway: StripeGateway, script: Script, passing: Answer
) -> None:
    script.will_answer(passing, passing, Answer(INTENT))
    assert create(gateway).id == "pi_1"
    assert [r.headers["Idempotency-Key"] for r in script.requests] == ["intent:1"] * 3


def test_attempts_are_bounded(gateway: StripeGateway, script: Script) -> None:
    script.will_answer(Answer(error_body(type="api_error"), status=500))
    with pytest.raises(StripeUnavailable) as caught:
        create(gateway)
    assert caught.value.retryable
    assert len(script.requests) == 3


def test_retry_after_is_honoured(script: Script) -> None:
    waits: list[float] = []
    gateway = StripeGateway(KEY, api_base=script.url, retry=RetryPolicy(sleep=waits.append))
    script.will_answer(
        Answer(error_body(code="rate_limit"), status=429, headers={"Retry-After": "17"}),
        Answer(INTENT),
    )
    assert create(gateway).id == "pi_1"
    gateway.close()
    assert waits == [17.0]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Stripe-Should-Retry": "false"}, "stripe_unavailable"),
        ({"Idempotent-Replayed": "true"}, "stripe_replays_failure"),
    ],
)
def test_a_stored_failure_is_not_asked_for_again(
    gateway: StripeGateway, script: Script, headers: Mapping[str, str], code: str
) -> None:
    script.will_answer(Answer(error_body(type="api_error"), status=500, headers=headers))
    with pytest.raises(StripeUnavailable) as caught:
        create(gateway)
    assert caught.value.error_code == code
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(error_body(type="card_error", code="card_declined"), status=402), CardDeclined),
        (Answer(error_body(type="idempotency_error"), status=400), IdempotencyConflict),
        (Answer(error_body(code="resource_missing"), status=404), NotFound),
        (Answer(error_body(param="amount"), status=400), InvalidRequest),
        (Answer(error_body(), status=401), StripeRefusedKey),
        (Answer(error_body(), status=403), StripeRefusedKey),
    ],
)
def test_what_is_final_is_raised_at_once(
    gateway: StripeGateway, script: Script, answer: Answer, kind: type[Exception]
) -> None:
    script.will_answer(answer)
    with pytest.raises(kind) as caught:
        create(gateway)
    assert type(caught.value.__cause__).__module__.startswith("stripe")
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html>",
        b"\xff",
        b"null",
        b'"pi_1"',
        b"5",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"id": null, "object": "payment_intent"}',
        json.dumps({**INTENT, "amount": "1000"}).encode(),
        json.dumps({**INTENT, "amount": 10.5}).encode(),
        json.dumps({**INTENT, "metadata": [1]}).encode(),
        json.dumps({**INTENT, "amount": 10}).replace(": 10,", ": NaN,").encode(),
    ],
    ids=lambda body: body[:24].decode(errors="replace"),
)
def test_an_answer_of_another_shape_is_no_usable_answer(
    gateway: StripeGateway, script: Script, body: bytes
) -> None:
    script.will_answer(Answer(body))
    with pytest.raises(StripeUnavailable):
        create(gateway)


@pytest.mark.parametrize("status", [200, 400, 500])
def test_no_body_and_no_secret_reaches_a_traceback_or_the_log(
    gateway: StripeGateway,
    script: Script,
    status: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    script.will_answer(Answer(b'{"email": "ada@example.com", "client_secret": "topsecret', status))
    with pytest.raises(StripeUnavailable) as caught:
        gateway.create_customer(
            email="ada@example.com", name="Ada", phone=None, metadata={}, idempotency_key="k"
        )
    logging.getLogger("test").error("failed", exc_info=caught.value)
    shown = caplog.text + "".join(capfd.readouterr())
    for private in ("ada@example.com", "topsecret", KEY):
        assert private not in shown


def test_the_log_of_the_sdk_is_left_to_an_application_that_uses_it_too(
    gateway: StripeGateway, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script.will_answer(Answer(INTENT))
    create(gateway)
    assert not [record for record in caplog.records if record.name == "stripe"]
    logging.getLogger("stripe").debug("the application's own call")
    assert "own call" in caplog.text


def test_a_slow_answer_ends_at_the_time_out(script: Script) -> None:
    gateway = StripeGateway(
        KEY, api_base=script.url, timeout_seconds=0.2, retry=RetryPolicy.immediate(attempts=1)
    )
    script.will_answer(Answer(INTENT, delay_seconds=0.6))
    begun = time.monotonic()
    with pytest.raises(StripeUnavailable):
        create(gateway)
    assert time.monotonic() - begun < 0.6
    gateway.close()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as unused:
        port = unused.server_port
    gateway = StripeGateway(KEY, api_base=f"http://127.0.0.1:{port}", retry=RetryPolicy.immediate())
    with pytest.raises(StripeUnavailable):
        create(gateway)


def test_a_proxy_of_the_environment_is_not_used_for_a_server_of_ones_own(
    gateway: StripeGateway, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    script.will_answer(Answer(INTENT))
    assert create(gateway).id == "pi_1"


def test_threads_share_one_client(gateway: StripeGateway, script: Script) -> None:
    script.will_answer(Answer(INTENT))
    barrier = threading.Barrier(8)
    clients: list[object] = []
    ids: list[str] = []

    def call() -> None:
        barrier.wait(timeout=10)
        clients.append(gateway._clients.client(KEY))
        ids.append(create(gateway).id)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert ids == ["pi_1"] * 8
    assert len({id(client) for client in clients}) == 1


FORKS = """
import os, sys
from credit_payments.adapters.stripe_gateway import StripeGateway

assert "stripe" not in sys.modules and "tenacity" not in sys.modules
gateway = StripeGateway("sk_test_simulator", api_base=sys.argv[1])
gateway.retrieve_payment_intent("pi_1")
inherited = gateway._clients.client("sk_test_simulator")
child = os.fork()
if child == 0:
    gateway.retrieve_payment_intent("pi_1")
    os._exit(0 if gateway._clients.client("sk_test_simulator") is not inherited else 1)
_, status = os.waitpid(child, 0)
gateway.retrieve_payment_intent("pi_1")
assert gateway._clients.client("sk_test_simulator") is inherited
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system does not fork")
def test_a_forked_child_gets_connections_of_its_own_and_nothing_is_imported_early(
    script: Script,
) -> None:
    script.will_answer(Answer(INTENT))
    done = subprocess.run(
        [sys.executable, "-c", FORKS, script.url], timeout=20, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert len(script.requests) == 3


def test_the_key_is_neither_shown_nor_pickled() -> None:
    gateway = StripeGateway(KEY, api_base="http://127.0.0.1:1")
    assert repr(gateway) == "StripeGateway(configured, api_base='http://127.0.0.1:1')"
    assert repr(StripeGateway(None)) == "StripeGateway(not configured, api_base=None)"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(gateway)


def test_a_gateway_that_was_closed_connects_again(gateway: StripeGateway, script: Script) -> None:
    script.will_answer(Answer(INTENT))
    create(gateway)
    gateway.close()
    gateway.close()
    assert create(gateway).id == "pi_1"


CALLS: list[Callable[[PaymentGateway], object]] = [
    create,
    lambda gateway: gateway.retrieve_payment_intent("pi_1"),
    lambda gateway: gateway.confirm_payment_intent("pi_1", idempotency_key="k"),
    lambda gateway: gateway.list_payment_methods("cus_1"),
    lambda gateway: gateway.retrieve_payment_method("pm_1"),
    lambda gateway: gateway.retrieve_refund("re_1"),
    lambda gateway: gateway.retrieve_dispute("dp_1"),
    lambda gateway: gateway.retrieve_event("evt_1"),
    lambda gateway: gateway.list_payment_intents(since=0, until=None, cursor=None),
    lambda gateway: gateway.list_refunds(since=0, until=None, cursor=None),
    lambda gateway: gateway.list_disputes(since=0, until=None, cursor=None),
    lambda gateway: gateway.list_events(since=0, until=None, types=["x"], cursor=None),
]


@pytest.mark.parametrize("call", CALLS)
def test_no_call_lets_an_error_of_the_vendor_out(
    gateway: StripeGateway, script: Script, call: Callable[[PaymentGateway], object]
) -> None:
    script.will_answer(Answer(error_body(type="api_error"), status=500))
    with pytest.raises(StripeUnavailable):
        call(gateway)
