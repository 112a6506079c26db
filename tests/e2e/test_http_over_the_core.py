"""The endpoints over the real core and the simulated Stripe, on both frameworks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import fastapi
import flask
import pytest
import stripe
from fastapi.testclient import TestClient

import credit_payments as cp
from credit_payments.adapters.fastapi import create_router
from credit_payments.adapters.flask import create_blueprint
from credit_payments.http import Identity
from credit_payments.testing.simulator import StripeSimulator

KEY = "sk_test_simulator"
CREATED = 1640995200


@attrs.frozen
class Shop:
    """A host application: the endpoints on one framework, and what stands behind them."""

    stripe: StripeSimulator
    wallets: cp.Wallets
    exchange: Callable[[str, str, dict[str, str], bytes], tuple[int, bytes]]

    def send(self, line: str, body: object = b"", caller: str = "alice") -> tuple[int, bytes]:
        method, url = line.split(" ", 1)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"X-Caller": caller} | (
            {"Content-Type": "application/json"} if method == "POST" else {}
        )
        return self.exchange(method, f"/stripe{url}", headers, raw)

    def ask(self, line: str, body: object = b"", caller: str = "alice") -> Any:
        status, answer = self.send(line, body, caller)
        assert status == 200, answer
        return json.loads(answer)

    def create_intent(self, **fields: object) -> str:
        fields = {"user_id": "alice", "amount": 10} | fields
        return str(self.ask("POST /create-payment-intent", fields)["payment_intent_id"])

    def deliver(self, body: bytes, secret: str | None = None) -> tuple[int, bytes]:
        headers = {
            "Stripe-Signature": self.stripe.sign(body, secret),
            "Content-Type": "application/json",
        }
        return self.exchange("POST", "/stripe/webhook", headers, body)

    def paid_event(self, intent_id: str) -> bytes:
        """A new event, with a name of its own, about the intent as it stands."""
        intent = self.stripe.peek("payment_intents", intent_id)
        return self.stripe.build_event("payment_intent.succeeded", intent)

    def save_card(self, customer_id: str) -> str:
        """What Stripe.js does in the customer's browser."""
        attached = self.at_stripe().payment_methods.attach(
            "pm_card_visa", {"customer": customer_id}
        )
        return str(attached.id)

    def at_stripe(self) -> Any:
        """Stripe's API, as anybody with the key sees it."""
        return stripe.StripeClient(KEY, base_addresses={"api": self.stripe.url}).v1


def _caller(header: str | None) -> Identity | str | None:
    return Identity("olga", operator=True) if header == "operator" else header


def _flask(system: Any) -> Any:
    app = flask.Flask(__name__)
    app.register_blueprint(
        create_blueprint(
            system, current_user=lambda: _caller(flask.request.headers.get("X-Caller"))
        )
    )

    def exchange(method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        answer = app.test_client().open(url, method=method, headers=headers, data=body)
        return answer.status_code, answer.data

    return exchange


def _fastapi(system: Any) -> Any:
    def current_user(request: fastapi.Request) -> Identity | str | None:
        return _caller(request.headers.get("x-caller"))

    app = fastapi.FastAPI()
    app.include_router(create_router(system, current_user=current_user))

    def exchange(method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        answer = TestClient(app).request(method, url, headers=headers, content=body)
        return answer.status_code, answer.content

    return exchange


@pytest.fixture(params=[_flask, _fastapi], ids=["flask", "fastapi"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with (
        StripeSimulator(start_time=CREATED, signature_time="wall") as simulator,
        cp.connect(
            database="memory://",
            stripe_secret_key=KEY,
            stripe_webhook_secret=simulator.webhook_secret,
            stripe_api_base=simulator.url,
        ) as system,
    ):
        yield Shop(simulator, system.wallets, request.param(system))


def test_a_purchase_goes_from_the_price_list_to_the_wallet(shop: Shop) -> None:
    package = shop.ask("GET /credit-packages")["packages"][1]
    intent_id = shop.create_intent(package_id=package["id"], amount=package["price_usd"])
    status, refused = shop.send("POST /confirm-payment", {"payment_intent_id": intent_id})
    assert status == 409
    assert json.loads(refused)["error"] == (
        "Payment not successful. Status: requires_payment_method"
    )
    shop.stripe.pay(intent_id)
    data = shop.ask("POST /confirm-payment", {"payment_intent_id": intent_id})["data"]
    assert data.pop("transaction_id").startswith("txn_")
    assert data == {
        "credits_purchased": 500,
        "amount_paid": 45.00,
        "payment_intent_id": intent_id,
    }
    assert shop.wallets.balance("alice").available == 500
    assert shop.send(f"GET /payment-status/{intent_id}")[1] == (
        b'{"success":true,"status":"succeeded","amount":45.00,"currency":"usd",'
        b'"created":1640995200}'
    )


def test_confirmations_and_webhooks_together_credit_a_payment_once(shop: Shop) -> None:
    intent_id = shop.create_intent()
    shop.stripe.pay(intent_id)
    answers: list[int] = []

    def confirm() -> None:
        body = {"payment_intent_id": intent_id}
        answers.append(shop.send("POST /confirm-payment", body)[0])

    def deliver(event: bytes) -> None:
        answers.append(shop.deliver(event)[0])

    threads = [threading.Thread(target=confirm) for _ in range(3)]
    events = [shop.paid_event(intent_id) for _ in range(2)] * 2
    threads += [threading.Thread(target=deliver, args=(event,)) for event in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [200] * 7
    assert shop.wallets.balance("alice").available == 100


def test_a_webhook_of_somebody_else_credits_nothing(shop: Shop) -> None:
    intent_id = shop.create_intent()
    shop.stripe.pay(intent_id)
    event = shop.paid_event(intent_id)
    status, answer = shop.deliver(event, secret="whsec_other")
    assert status == 400
    assert json.loads(answer)["error"] == "Invalid Stripe signature"
    assert shop.wallets.balance("alice").available == 0
    status, answer = shop.deliver(event)
    assert (status, json.loads(answer)) == (
        200,
        {
            "success": True,
            "event_id": json.loads(event)["id"],
            "type": "payment_intent.succeeded",
            "outcome": "applied",
        },
    )
    assert shop.wallets.balance("alice").available == 100


def test_a_declined_card_is_told_in_the_banks_words(shop: Shop) -> None:
    intent_id = shop.create_intent()
    attempt = {
        "payment_method": "pm_card_chargeDeclinedInsufficientFunds",
        "return_url": "https://shop.example/done",
    }
    with pytest.raises(stripe.CardError):
        shop.at_stripe().payment_intents.confirm(intent_id, attempt)
    status, answer = shop.send("POST /confirm-payment", {"payment_intent_id": intent_id})
    assert (status, answer) == (
        402,
        (
            b'{"success":false,"error":"Payment not successful. Status: requires_payment_method",'
            b'"error_code":"card_declined","decline_code":"insufficient_funds",'
            b'"message":"Your card has insufficient funds."}'
        ),
    )


def test_a_customer_and_a_saved_card_are_shown_as_documented(shop: Shop) -> None:
    created = shop.ask(
        "POST /customers", {"user_id": "alice", "email": "user@example.com", "name": "Zoë"}
    )
    customer_id = created.pop("customer_id")
    assert created == {"success": True, "email": "user@example.com", "created": CREATED}
    assert shop.ask(f"GET /customers/{customer_id}")["customer"] == {
        "id": customer_id,
        "email": "user@example.com",
        "name": "Zoë",
        "phone": None,
        "created": CREATED,
        "metadata": {"user_id": "alice", "source": "credit_system"},
    }
    method_id = shop.save_card(customer_id)
    [listed] = shop.ask(f"GET /payment-methods?customer_id={customer_id}")["payment_methods"]
    alone = shop.ask(f"GET /payment-methods/{method_id}")["payment_method"]
    assert alone.pop("customer") == customer_id
    assert alone == listed
    assert listed.keys() == {"id", "type", "card", "created"}
    assert listed["card"].keys() == {"brand", "last4", "exp_month", "exp_year"}
    assert (listed["card"]["brand"], listed["card"]["last4"]) == ("visa", "4242")


def test_what_is_somebody_elses_answers_as_what_does_not_exist(shop: Shop) -> None:
    intent_id = shop.create_intent()
    customer_id = shop.ask("POST /customers", {"user_id": "alice", "email": "a@example.com"})[
        "customer_id"
    ]
    method_id = shop.save_card(customer_id)
    buys = {"user_id": "bob", "amount": 10}
    shop.stripe.pay(intent_id)
    cases: list[tuple[str, Any, str]] = [
        ("POST /confirm-payment", lambda name: {"payment_intent_id": name}, intent_id),
        ("GET /payment-status/{}", None, intent_id),
        ("GET /customers/{}", None, customer_id),
        ("GET /payment-methods?customer_id={}", None, customer_id),
        ("GET /payment-methods/{}", None, method_id),
        ("POST /create-payment-intent", lambda name: buys | {"customer_id": name}, customer_id),
    ]
    for line, make_body, name in cases:
        unknown = name.split("_")[0] + "_nobodys"
        answers = [
            shop.send(line.format(each), make_body(each) if make_body else b"", "bob")
            for each in (name, unknown, "{}")
        ]
        assert answers[0][0] == 404
        assert answers[0] == answers[1] == answers[2], line
        if make_body is None or "confirm" in line:
            as_operator = shop.send(
                line.format(name), make_body(name) if make_body else b"", "operator"
            )
            assert as_operator[0] == 200, line


def test_an_idempotency_key_names_one_intent(shop: Shop) -> None:
    headers = {"X-Caller": "alice", "Content-Type": "application/json", "Idempotency-Key": "o-1"}

    def create(amount: bytes) -> tuple[int, Any]:
        body = b'{"user_id": "alice", "amount": ' + amount + b"}"
        status, answer = shop.exchange("POST", "/stripe/create-payment-intent", headers, body)
        return status, json.loads(answer)

    first, again, other = create(b"10.00"), create(b"10"), create(b"11")
    assert first == again
    assert (other[0], other[1]["error_code"]) == (422, "idempotency_key_in_use")


BAD: list[tuple[str, str]] = [
    ('{"user_id": "alice", "amount": 0}', "amount"),
    ('{"user_id": "alice", "amount": 0.00}', "amount"),
    ('{"user_id": "alice", "amount": -10}', "amount"),
    ('{"user_id": "alice", "amount": -0.01}', "amount"),
    ('{"user_id": "alice", "amount": 10.001}', "amount"),
    ('{"user_id": "alice", "amount": 0.30000000000000004}', "amount"),
    ('{"user_id": "alice", "amount": 1e-9}', "amount"),
    ('{"user_id": "alice", "amount": 1e9}', "amount"),
    ('{"user_id": "alice", "amount": 0.49}', "amount"),
    ('{"user_id": "alice", "amount": 10.5, "currency": "jpy"}', "amount"),
    ('{"user_id": "alice", "amount": 10, "currency": "xxx"}', "currency"),
    ('{"user_id": "alice", "amount": 10, "currency": ""}', "currency"),
    ('{"user_id": "alice", "amount": 10, "currency": "eur"}', "currency"),
    ('{"user_id": "alice", "package_id": "golden"}', "package_id"),
    ('{"user_id": "alice", "package_id": ""}', "package_id"),
    ('{"user_id": "alice", "package_id": "basic", "amount": 1}', "amount"),
]


@pytest.mark.parametrize(("body", "param"), BAD)
def test_what_cannot_be_sold_is_refused_before_stripe_hears_of_it(
    shop: Shop, body: str, param: str
) -> None:
    status, answer = shop.send("POST /create-payment-intent", body.encode())
    refused = json.loads(answer)
    assert (status, refused["success"], refused["param"]) == (400, False, param)
    assert shop.at_stripe().payment_intents.list().data == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": ""}, "email"),
        ({"email": "a@b.c\n"}, "email"),
        ({"email": "a@b.c", "name": "Jo\x00"}, "name"),
        ({"email": "a@b.c", "phone": "1" * 21}, "phone"),
        ({"email": "a@b.c", "name": {"$ne": 1}}, "name"),
    ],
)
def test_a_customer_that_cannot_be_right_is_refused(
    shop: Shop, fields: dict[str, object], param: str
) -> None:
    status, answer = shop.send("POST /customers", {"user_id": "alice"} | fields)
    assert (status, json.loads(answer)["param"]) == (400, param)
    assert shop.at_stripe().customers.list().data == []
