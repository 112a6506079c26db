"""Idempotency, planned faults, the control paths and the process of its own."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe

from credit_payments.testing.simulator import StripeSimulator

INTENT: Any = {
    "amount": 1000,
    "currency": "usd",
    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
}


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator() as running:
        yield running


@pytest.fixture
def client(simulator: StripeSimulator) -> Any:
    return stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})


def headers_of(answer: Any) -> Any:
    return answer.last_response.headers


def refused(call: Any) -> Any:
    with pytest.raises(stripe.StripeError) as caught:
        call()
    return caught.value


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def over_http(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Send one request the way another process would."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    payload = body if isinstance(body, str | None) else json.dumps(body)
    try:
        connection.request(method, path, payload, headers or {})
        with connection.getresponse() as response:
            text = response.read()
            kind = response.headers.get("Content-Type", "")
            told = json.loads(text) if text and "json" in kind else text.decode()
            return response.status, told, dict(response.headers)
    finally:
        connection.close()


# --- idempotency ------------------------------------------------------------------------------


def test_a_repeated_key_replays_the_first_answer(client: Any) -> None:
    first = client.v1.payment_intents.create(INTENT, {"idempotency_key": "k"})
    again = client.v1.payment_intents.create(INTENT, {"idempotency_key": "k"})
    assert again.to_dict() == first.to_dict()
    assert "Idempotent-Replayed" not in headers_of(first)
    assert headers_of(again)["Idempotent-Replayed"] == "true"
    assert headers_of(again)["Original-Request"] == headers_of(first)["Request-Id"]
    assert len(client.v1.payment_intents.list().data) == 1


def test_a_key_belongs_to_its_parameters_and_its_endpoint(client: Any) -> None:
    options: Any = {"idempotency_key": "k"}
    client.v1.payment_intents.create({**INTENT, "expand": ["customer"]}, options)
    client.v1.payment_intents.create({**INTENT, "expand": ["customer"]}, options)
    for call in (
        lambda: client.v1.payment_intents.create({**INTENT, "amount": 2000}, options),
        lambda: client.v1.customers.create({}, options),
    ):
        error = refused(call)
        assert error.http_status == 400
        assert error.error.type == "idempotency_error"


def test_a_decline_is_replayed_but_a_bad_parameter_is_not(client: Any) -> None:
    declined = {**INTENT, "confirm": True, "payment_method": "pm_card_chargeDeclined"}
    for _ in range(2):
        error = refused(
            lambda: client.v1.payment_intents.create(declined, {"idempotency_key": "declined"})
        )
        assert isinstance(error, stripe.CardError)
    assert len(client.v1.payment_intents.list().data) == 1
    bad = {**INTENT, "amount": 1}
    refused(lambda: client.v1.payment_intents.create(bad, {"idempotency_key": "bad"}))
    client.v1.payment_intents.create(INTENT, {"idempotency_key": "bad"})


def test_a_key_is_forgotten_after_a_day(simulator: StripeSimulator, client: Any) -> None:
    first = client.v1.payment_intents.create(INTENT, {"idempotency_key": "k"})
    simulator.clock.advance(24 * 3600)
    second = client.v1.payment_intents.create(INTENT, {"idempotency_key": "k"})
    assert second.id != first.id


def test_a_key_that_is_too_long_is_refused(client: Any) -> None:
    client.v1.customers.create({}, {"idempotency_key": "k" * 255})
    error = refused(lambda: client.v1.customers.create({}, {"idempotency_key": "k" * 256}))
    assert error.http_status == 400


def test_a_key_in_flight_is_in_use(simulator: StripeSimulator, client: Any) -> None:
    simulator.faults.slow(0.5)
    done: list[Any] = []
    slow = threading.Thread(
        target=lambda: done.append(client.v1.customers.create({}, {"idempotency_key": "k"}))
    )
    slow.start()
    until(lambda: not simulator.faults.planned)
    time.sleep(0.05)  # the fault was taken; the key is claimed right after
    error = refused(lambda: client.v1.customers.create({}, {"idempotency_key": "k"}))
    slow.join()
    assert (error.http_status, error.error.code) == (409, "idempotency_key_in_use")
    replayed = client.v1.customers.create({}, {"idempotency_key": "k"})
    assert replayed.id == done[0].id


def test_a_race_for_one_key_creates_one_intent(client: Any) -> None:
    def create(_number: int) -> str | None:
        try:
            return str(client.v1.payment_intents.create(INTENT, {"idempotency_key": "race"}).id)
        except stripe.StripeError as exc:
            assert exc.http_status == 409  # noqa: PT017
            return None

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(create, range(64))) - {None}
    assert len(ids) == 1
    assert len(client.v1.payment_intents.list().data) == 1


# --- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_planned_status_hits_as_often_as_planned(
    simulator: StripeSimulator, client: Any, status: int
) -> None:
    simulator.faults.next(status=status, times=2, method="POST", path="/v1/payment_intents*")
    client.v1.customers.create()
    for _ in range(2):
        error = refused(lambda: client.v1.payment_intents.create(INTENT, {"idempotency_key": "k"}))
        assert error.http_status == status
    client.v1.payment_intents.create(INTENT, {"idempotency_key": "k"})
    assert simulator.faults.planned == ()


def test_a_remembered_500_is_replayed_under_its_key(
    simulator: StripeSimulator, client: Any
) -> None:
    simulator.faults.next(status=500, remember=True)
    for _ in range(3):
        error = refused(lambda: client.v1.payment_intents.create(INTENT, {"idempotency_key": "k"}))
        assert error.http_status == 500
    assert client.v1.payment_intents.list().data == []


def test_a_lost_reply_and_a_retry_make_one_intent(simulator: StripeSimulator, client: Any) -> None:
    simulator.faults.lose_reply(method="POST")
    error = refused(lambda: client.v1.payment_intents.create(INTENT, {"idempotency_key": "k"}))
    assert isinstance(error, stripe.APIConnectionError)
    retried = client.v1.payment_intents.create(INTENT, {"idempotency_key": "k"})
    assert [row.id for row in client.v1.payment_intents.list().data] == [retried.id]


def test_the_sdks_own_retry_survives_a_lost_reply(simulator: StripeSimulator, client: Any) -> None:
    simulator.faults.lose_reply()
    client.v1.payment_intents.create(INTENT, {"max_network_retries": 2})
    assert len(client.v1.payment_intents.list().data) == 1


def test_a_timeout_executes_nothing(simulator: StripeSimulator, client: Any) -> None:
    simulator.faults.timeout(0.05)
    error = refused(lambda: client.v1.payment_intents.create(INTENT))
    assert isinstance(error, stripe.APIConnectionError)
    assert client.v1.payment_intents.list().data == []


def test_a_lock_conflict_can_be_retried(simulator: StripeSimulator, client: Any) -> None:
    simulator.faults.lock_conflict()
    error = refused(client.v1.customers.list)
    assert (error.http_status, error.error.code) == (429, "lock_timeout")
    assert error.headers["Stripe-Should-Retry"] == "true"


def test_stopping_does_not_wait_for_a_timeout_fault() -> None:
    simulator = StripeSimulator().start()
    simulator.faults.timeout(60)
    client = stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})
    waiting = threading.Thread(target=lambda: refused(client.v1.customers.list))
    waiting.start()
    until(lambda: not simulator.faults.planned)
    began = time.monotonic()
    simulator.stop()
    waiting.join()
    assert time.monotonic() - began < 5


def test_a_program_that_never_stops_the_simulator_ends_all_the_same() -> None:
    code = (
        "import http.client\n"
        "from credit_payments.testing.simulator import StripeSimulator\n"
        "simulator = StripeSimulator().start()\n"
        "host, port = simulator.url.removeprefix('http://').split(':')\n"
        "kept_open = http.client.HTTPConnection(host, int(port))\n"
        "kept_open.request('GET', '/v1/customers')\n"
        "print(kept_open.getresponse().read() != b'')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_stopping_waits_for_the_threads_of_connections_that_are_open() -> None:
    simulator = StripeSimulator().start()
    before = set(threading.enumerate())
    target = urlsplit(simulator.url)
    connection = http.client.HTTPConnection(str(target.hostname), target.port)
    connection.request("GET", "/v1/customers")
    connection.getresponse().read()
    [serving] = set(threading.enumerate()) - before
    assert serving.is_alive()
    simulator.stop()
    assert not serving.is_alive()
    connection.close()


# --- control paths and the process ------------------------------------------------------------


def test_another_process_can_do_what_the_methods_do(
    simulator: StripeSimulator, client: Any
) -> None:
    def control(method: str, path: str, body: Any = None) -> Any:
        status, told, _ = over_http(simulator.url, method, f"/_simulator/{path}", body)
        assert status == 200, told
        return told

    intent = client.v1.payment_intents.create(INTENT)
    paths = f"payment_intents/{intent.id}"
    waiting = control("POST", f"{paths}/pay", {"payment_method": "pm_card_threeDSecure2Required"})
    assert waiting["status"] == "requires_action"
    assert control("POST", f"{paths}/complete_authentication")["status"] == "succeeded"
    dispute = control("POST", f"{paths}/dispute", {"amount": 300})
    assert control("POST", f"disputes/{dispute['id']}/close", {"won": True})["status"] == "won"
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert control("POST", f"refunds/{refund.id}/fail")["status"] == "failed"
    control("POST", "faults/next", {"status": 503, "path": "/v1/customers"})
    assert refused(client.v1.customers.list).http_status == 503
    control("POST", "faults/lose_reply")
    control("DELETE", "faults")
    client.v1.customers.list()
    control("POST", "webhooks/hold")
    control("POST", "webhooks/release", {"order": "shuffled"})
    control("POST", "deliveries/wait", {"timeout": 1})
    assert control("GET", "deliveries") == {"data": []}
    now = control("GET", "clock")["now"]
    assert control("POST", "clock/advance", {"seconds": 60})["now"] >= now + 60
    assert control("GET", "health") == {"url": simulator.url}
    control("POST", "reset")
    assert client.v1.payment_intents.list().data == []


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("nonsense", {}, 404),
        ("clock/advance", {"minutes": 1}, 400),
        ("clock/advance", "{", 400),
        ("faults/next", {"status": 200}, 400),
        ("payment_intents/pi_none/complete_authentication", {}, 404),
    ],
)
def test_control_mistakes_are_answered_not_swallowed(
    simulator: StripeSimulator, path: str, body: Any, expected: int
) -> None:
    status, told, _ = over_http(simulator.url, "POST", f"/_simulator/{path}", body)
    assert status == expected
    assert told["error"]["message"]


def test_a_browser_finishes_three_d_secure_and_returns_to_the_shop(
    simulator: StripeSimulator, client: Any
) -> None:
    intent = client.v1.payment_intents.create({"amount": 1000, "currency": "usd"})
    waiting: Any = client.v1.payment_intents.confirm(
        intent.id,
        {
            "payment_method": "pm_card_threeDSecure2Required",
            "return_url": "https://shop.example/done?order=1",
        },
    )
    page = waiting.next_action.redirect_to_url.url
    path = urlsplit(page).path
    status, shown, _ = over_http(simulator.url, "GET", path)
    assert status == 200
    assert "Complete authentication" in shown
    status, _, headers = over_http(simulator.url, "POST", path, "result=complete")
    assert status == 303
    assert headers["Location"] == (
        f"https://shop.example/done?order=1&payment_intent={intent.id}"
        f"&payment_intent_client_secret={intent.client_secret}&redirect_status=succeeded"
    )
    assert over_http(simulator.url, "POST", path, "result=complete")[0] == 400


def test_basic_auth_and_preflight_work_as_at_stripe(simulator: StripeSimulator) -> None:
    basic = {"Authorization": "Basic c2tfdGVzdF94Og=="}  # sk_test_x:
    assert over_http(simulator.url, "GET", "/v1/customers", headers=basic)[0] == 200
    assert over_http(simulator.url, "GET", "/v1/customers")[0] == 401
    status, _, headers = over_http(simulator.url, "OPTIONS", "/v1/payment_methods")
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, "*")
    unknown = over_http(simulator.url, "GET", "/v1/nonsense", headers=basic)
    assert unknown[0] == 404


def test_the_state_outlives_a_restart() -> None:
    simulator = StripeSimulator()
    with pytest.raises(RuntimeError, match="not running"):
        _ = simulator.url
    for expected in (1, 2):
        with simulator:
            client = stripe.StripeClient(
                simulator.secret_key, base_addresses={"api": simulator.url}
            )
            client.v1.customers.create()
            assert len(client.v1.customers.list().data) == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_tells_where_it_is_and_stops_on_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "credit_payments.testing.simulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        client = stripe.StripeClient(ready["secret_key"], base_addresses={"api": ready["url"]})
        assert client.v1.customers.list().data == []
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
