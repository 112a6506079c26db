"""Refunds, balances and transactions over HTTP: who may see and do what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

import credit_payments as cp
from credit_payments.http import ROUTES, Api, Identity, Request
from credit_payments.testing.simulator import StripeSimulator

OPERATOR = Identity("olga", operator=True)


@attrs.frozen
class Shop:
    stripe: StripeSimulator
    system: cp.System

    def ask(
        self,
        name: str,
        caller: object = "ada",
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> tuple[int, dict[str, Any]]:
        route = next(route for route in ROUTES if route.name == name)
        body = json.dumps(fields).encode() if route.body else b""
        request = Request(
            method=route.method,
            path_params={},
            query=query.encode(),
            headers={"content-type": "application/json", **(headers or {})},
            body=body,
        )
        response = Api(self.system).handle(route, request, caller)
        return response.status, json.loads(response.body)

    def sell(self, user_id: str) -> str:
        intent_id = self.system.payments.create_payment_intent(user_id, 10).payment_intent_id
        self.stripe.pay(intent_id)
        self.system.payments.confirm_payment(intent_id)
        return intent_id


@pytest.fixture
def shop() -> Iterator[Shop]:
    with (
        StripeSimulator() as stripe,
        cp.connect(
            database="memory://",
            stripe_secret_key=stripe.secret_key,
            stripe_api_base=stripe.url,
        ) as system,
    ):
        yield Shop(stripe, system)


# -- refunds -----------------------------------------------------------------------------------


def test_an_operator_refunds_a_payment(shop: Shop) -> None:
    intent_id = shop.sell("ada")
    status, answer = shop.ask("refund", OPERATOR, payment_intent_id=intent_id, amount=2.5)
    assert status == 200
    refund = answer["refund"]
    assert refund.pop("id").startswith("re_")
    assert refund == {
        "payment_intent_id": intent_id,
        "amount": 2.5,
        "currency": "usd",
        "status": "succeeded",
        "credits_reversed": 25,
    }
    assert shop.system.wallets.balance("ada").available == 75


def test_a_refund_under_a_key_happens_once(shop: Shop) -> None:
    intent_id = shop.sell("ada")
    key = {"idempotency-key": "complaint-3"}
    answers = [
        shop.ask("refund", OPERATOR, headers=key, payment_intent_id=intent_id, amount=4)
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert shop.system.wallets.balance("ada").available == 60


def test_a_user_refunds_nothing_not_even_their_own(shop: Shop) -> None:
    intent_id = shop.sell("ada")
    status, answer = shop.ask("refund", "ada", payment_intent_id=intent_id)
    assert (status, answer["error_code"]) == (403, "not_allowed")
    # What does not exist is answered in the same way: the question itself is not allowed.
    assert shop.ask("refund", "ada", payment_intent_id="pi_missing") == (status, answer)
    assert shop.system.wallets.balance("ada").available == 100


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({}, 400, "payment_intent_id"),
        ({"payment_intent_id": "pi_missing"}, 404, "payment_intent_id"),
        ({"payment_intent_id": "PAID", "amount": -1}, 400, "amount"),
        ({"payment_intent_id": "PAID", "amount": 11}, 400, "amount"),
        ({"payment_intent_id": "PAID", "amount": 0.001}, 400, "amount"),
        ({"payment_intent_id": "PAID", "amount": "1"}, 400, "amount"),
        ({"payment_intent_id": "PAID", "reason": "because"}, 400, "reason"),
        ({"payment_intent_id": "PAID", "ammount": 1}, 400, "ammount"),
    ],
)
def test_a_refund_that_cannot_be_right_names_what_is_wrong(
    shop: Shop, fields: dict[str, Any], status: int, param: str
) -> None:
    intent_id = shop.sell("ada")
    given: dict[str, Any] = {
        name: intent_id if value == "PAID" else value for name, value in fields.items()
    }
    answered, answer = shop.ask("refund", OPERATOR, query="", headers=None, **given)
    assert (answered, answer["param"]) == (status, param)
    assert shop.system.wallets.balance("ada").available == 100


# -- balances ----------------------------------------------------------------------------------


def test_a_user_sees_their_own_balance(shop: Shop) -> None:
    shop.sell("ada")
    shop.system.wallets.hold("ada", 30, key="h", ttl=60)
    assert shop.ask("balance") == (
        200,
        {
            "success": True,
            "balance": {
                "available": 70,
                "held": 30,
                "frozen": 0,
                "debt": 0,
                "expires_next": None,
            },
        },
    )


def test_a_user_who_never_bought_anything_has_nothing(shop: Shop) -> None:
    status, answer = shop.ask("balance", "nobody")
    assert (status, answer["balance"]["available"]) == (200, 0)


@pytest.mark.parametrize("name", ["balance", "transactions"])
def test_a_foreign_wallet_answers_as_a_missing_one_and_shows_nothing(shop: Shop, name: str) -> None:
    shop.sell("bob")
    foreign = shop.ask(name, "ada", query="user_id=bob")
    missing = shop.ask(name, "ada", query="user_id=missing")
    assert foreign == missing
    assert foreign[0] == 403


@pytest.mark.parametrize("name", ["balance", "transactions", "refund"])
def test_nobody_sees_nothing(shop: Shop, name: str) -> None:
    assert shop.ask(name, None)[0] == 401


def test_an_operator_sees_the_wallet_that_they_name(shop: Shop) -> None:
    shop.sell("ada")
    assert shop.ask("balance", OPERATOR, query="user_id=ada")[1]["balance"]["available"] == 100
    assert shop.ask("balance", OPERATOR)[1]["balance"]["available"] == 0  # their own
    listed = shop.ask("transactions", OPERATOR, query="user_id=ada")[1]["transactions"]
    assert [item["type"] for item in listed] == ["payment"]


# -- transactions ------------------------------------------------------------------------------


def test_a_user_pages_through_their_transactions(shop: Shop) -> None:
    shop.sell("ada")
    for number in range(3):
        shop.system.wallets.spend("ada", 10 + number, key=f"s{number}", reason="render")
    status, first = shop.ask("transactions", query="limit=2")
    assert status == 200
    assert [item["credits"] for item in first["transactions"]] == [-12, -11]
    assert first["transactions"][0].keys() == {
        "transaction_id",
        "type",
        "credits",
        "balance_after",
        "reason",
        "created_at",
    }
    _, second = shop.ask("transactions", query=f"limit=2&cursor={first['next_cursor']}")
    assert [item["credits"] for item in second["transactions"]] == [-10, 100]
    assert second["next_cursor"] is None


def test_transactions_of_one_type(shop: Shop) -> None:
    shop.sell("ada")
    shop.system.wallets.spend("ada", 10, key="s")
    _, answer = shop.ask("transactions", query="type=payment")
    assert [item["type"] for item in answer["transactions"]] == ["payment"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e1", "limit"),
        ("limit=" + "9" * 40, "limit"),
        ("limit=%D9%A1", "limit"),  # a digit, and not one of ASCII's
        ("cursor=nonsense", "cursor"),
        ("type=theft", "type"),
        ("limit=1&limit=2", "limit"),
        ("user_id=", "user_id"),
    ],
)
def test_a_query_that_cannot_be_right_names_what_is_wrong(
    shop: Shop, query: str, param: str
) -> None:
    status, answer = shop.ask("transactions", OPERATOR, query=query)
    assert (status, answer["param"]) == (400, param)
