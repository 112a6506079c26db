"""Who may call what, as a table: every endpoint by who asks by whose thing it is.

What is refused leaves no trace and tells nothing: a foreign thing and a missing one give the same
bytes, the same requests to Stripe and the same rows. The attacks stand in test_identity_attacks.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from tests.support.slots import TwoUsers
from tests.support.two_users import ADA, BOB, NOBODY, OLGA, OTTO, Answer, Person, Shop

from credit_payments.http import HEALTH_ROUTES, ROUTES


@attrs.frozen(kw_only=True)
class Row:
    """One way to name somebody's thing to an endpoint, and the status that each caller gets.

    Anonymous callers are refused with 401 wherever there is a row with `anonymous` left out.
    """

    route: str
    line: Callable[[Person], str]
    body: Callable[[Person, str], dict[str, Any]] | None = None
    own: int
    foreign: int
    """Of another user, and of nobody."""
    operator: int = 200
    operator_missing: int = 404
    anonymous: int = 401

    def ask(self, shop: Shop, whose: Person, caller: str | None) -> tuple[Answer, list[str]]:
        body = self.body(whose, caller or whose.user_id) if self.body else None
        return shop.overhear(self.line(whose), body, caller)


TABLE = {
    "an intent for a user": Row(
        route="create_payment_intent",
        line=lambda whose: "POST /create-payment-intent",
        body=lambda whose, caller: {"user_id": whose.user_id, "amount": 10},
        own=200,
        foreign=403,
        operator_missing=200,  # there need not be a user before they buy
    ),
    "an intent with somebody's customer": Row(
        route="create_payment_intent",
        line=lambda whose: "POST /create-payment-intent",
        body=lambda whose, caller: {
            "user_id": caller,
            "amount": 10,
            "customer_id": whose.customer_id,
        },
        own=200,
        foreign=404,
        operator=404,  # the customer is none of the operator's own
    ),
    "an intent with a user's own customer": Row(
        route="create_payment_intent",
        line=lambda whose: "POST /create-payment-intent",
        body=lambda whose, caller: {
            "user_id": whose.user_id,
            "package_id": "basic",
            "customer_id": whose.customer_id,
        },
        own=200,
        foreign=403,
    ),
    "the confirmation of a paid intent": Row(
        route="confirm_payment",
        line=lambda whose: "POST /confirm-payment",
        body=lambda whose, caller: {"payment_intent_id": whose.paid_intent_id},
        own=200,
        foreign=404,
    ),
    "the confirmation of an open intent": Row(
        route="confirm_payment",
        line=lambda whose: "POST /confirm-payment",
        body=lambda whose, caller: {"payment_intent_id": whose.open_intent_id},
        own=409,
        foreign=404,
        operator=409,
    ),
    "the price list": Row(
        route="credit_packages",
        line=lambda whose: "GET /credit-packages",
        own=200,
        foreign=200,
        operator_missing=200,
        anonymous=200,
    ),
    "the status of a payment": Row(
        route="payment_status",
        line=lambda whose: f"GET /payment-status/{whose.paid_intent_id}",
        own=200,
        foreign=404,
    ),
    "a new customer": Row(
        route="create_customer",
        line=lambda whose: "POST /customers",
        body=lambda whose, caller: {"user_id": whose.user_id, "email": whose.email},
        own=200,
        foreign=403,
        operator_missing=200,
    ),
    "a customer": Row(
        route="get_customer",
        line=lambda whose: f"GET /customers/{whose.customer_id}",
        own=200,
        foreign=404,
    ),
    "the payment methods of a customer": Row(
        route="list_payment_methods",
        line=lambda whose: f"GET /payment-methods?customer_id={whose.customer_id}",
        own=200,
        foreign=404,
    ),
    "a payment method": Row(
        route="get_payment_method",
        line=lambda whose: f"GET /payment-methods/{whose.payment_method_id}",
        own=200,
        foreign=404,
    ),
    "a refund": Row(
        route="refund",
        line=lambda whose: "POST /refunds",
        body=lambda whose, caller: {"payment_intent_id": whose.paid_intent_id, "amount": 1},
        own=403,
        foreign=403,
    ),
    "a balance": Row(
        route="balance",
        line=lambda whose: f"GET /balance?user_id={whose.user_id}",
        own=200,
        foreign=403,
        operator_missing=200,  # nothing, which is the balance of whoever never bought
    ),
    "a history": Row(
        route="transactions",
        line=lambda whose: f"GET /transactions?user_id={whose.user_id}",
        own=200,
        foreign=403,
        operator_missing=200,
    ),
    "an event without a signature": Row(
        route="webhook",
        line=lambda whose: "POST /webhook",
        body=lambda whose, caller: {"data": {"object": {"id": whose.paid_intent_id}}},
        own=400,
        foreign=400,
        operator=400,
        operator_missing=400,
        anonymous=400,
    ),
    "the health of Stripe's side": Row(
        route="stripe_health",
        line=lambda whose: "GET /modules/stripe/health",
        own=200,
        foreign=200,
        operator_missing=200,
        anonymous=200,
    ),
    "the health of the database": Row(
        route="transactions_health",
        line=lambda whose: "GET /modules/transactions/health",
        own=200,
        foreign=200,
        operator_missing=200,
        anonymous=200,
    ),
}


def is_anonymous(row: Row) -> bool:
    return row.anonymous != 401


def test_every_endpoint_has_a_row() -> None:
    assert {row.route for row in TABLE.values()} == {
        route.name for route in (*ROUTES, *HEALTH_ROUTES)
    }


def test_every_endpoint_that_asks_nobody_is_named_here() -> None:
    named = {row.route for row in TABLE.values() if is_anonymous(row)}
    asks_nobody = {route.name for route in (*ROUTES, *HEALTH_ROUTES) if not route.needs_caller}
    assert named == asks_nobody


def test_nothing_else_is_mounted(two: TwoUsers) -> None:
    known = {route.name for route in (*ROUTES, *HEALTH_ROUTES)}
    [describing] = two.shop.mounted - known
    assert known <= two.shop.mounted
    assert describing.startswith("openapi")


def test_what_describes_the_endpoints_is_the_same_for_everybody(two: TwoUsers) -> None:
    callers = (None, ADA.user_id, BOB.user_id, OLGA)
    answers = [two.shop.send("GET /openapi.json", None, caller) for caller in callers]
    assert [answer.status for answer in answers] == [200] * 4
    assert answers == [answers[0]] * 4
    assert two.ada.is_in(answers[0].text) == two.bob.is_in(answers[0].text) == []


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_anonymous_callers_get_nothing_but_what_is_public(two: TwoUsers, row: Row) -> None:
    before = two.shop.rows()
    answers = [row.ask(two.shop, whose, None) for whose in (two.ada, two.bob, NOBODY)]
    assert {answer.status for answer, _ in answers} == {row.anonymous}
    assert [asked for _, asked in answers] == [[], [], []]
    assert two.shop.rows() == before
    if not is_anonymous(row):
        assert answers[0] == answers[1] == answers[2]
    for answer, _ in answers:
        assert two.ada.is_in(answer.text) == two.bob.is_in(answer.text) == []


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
@pytest.mark.parametrize("name", ["ada", "bob"])
def test_what_is_foreign_is_as_what_is_missing_and_leaves_no_trace(
    two: TwoUsers, row: Row, name: str
) -> None:
    me, other = (two.ada, two.bob) if name == "ada" else (two.bob, two.ada)
    before = two.shop.rows()
    foreign, asked = row.ask(two.shop, other, me.user_id)
    assert (foreign.status, other.is_in(foreign.text)) == (row.foreign, [])
    assert two.shop.rows() == before
    missing, asked_for_missing = row.ask(two.shop, NOBODY, me.user_id)
    assert two.shop.rows() == before
    if row.route not in ("stripe_health", "transactions_health"):  # which count what passes by
        assert foreign == missing
    names = {other.payment_method_id: "…", NOBODY.payment_method_id: "…"}
    assert [_with(names, line) for line in asked] == [
        _with(names, line) for line in asked_for_missing
    ]
    assert asked == [] or row.route == "get_payment_method"


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
@pytest.mark.parametrize("name", ["ada", "bob"])
def test_what_is_ones_own_answers_and_shows_nothing_of_others(
    two: TwoUsers, row: Row, name: str
) -> None:
    me, other = (two.ada, two.bob) if name == "ada" else (two.bob, two.ada)
    answer, _ = row.ask(two.shop, me, me.user_id)
    assert (answer.status, other.is_in(answer.text)) == (row.own, [])


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_an_operator_acts_for_everybody(two: TwoUsers, row: Row) -> None:
    for whose, other in ((two.ada, two.bob), (two.bob, two.ada)):
        answer, _ = row.ask(two.shop, whose, OLGA)
        assert (answer.status, other.is_in(answer.text)) == (row.operator, [])
    answer, _ = row.ask(two.shop, NOBODY, OLGA)
    assert answer.status == row.operator_missing
    assert two.ada.is_in(answer.text) == two.bob.is_in(answer.text) == []


@pytest.mark.parametrize("caller", [None, ADA.user_id, BOB.user_id, OLGA])
def test_an_event_is_judged_by_its_signature_alone(two: TwoUsers, caller: str | None) -> None:
    intent = two.shop.simulator.peek("payment_intents", two.ada.paid_intent_id)
    event = two.shop.simulator.build_event("payment_intent.succeeded", intent)
    outcomes = []
    for secret in (None, "whsec_of_somebody_else"):
        signed = {"Stripe-Signature": two.shop.simulator.sign(event, secret)}
        answer = two.shop.send("POST /webhook", event, caller, signed)
        outcomes.append((answer.status, answer.json.get("outcome")))
        assert two.ada.is_in(answer.text) == []
    assert outcomes == [(200, "duplicate"), (400, None)]


def test_the_same_key_of_another_caller_names_another_request(two: TwoUsers) -> None:
    key = {"Idempotency-Key": "order-7"}
    made = {}
    for me in (two.ada, two.bob):
        body = {"user_id": me.user_id, "amount": 10, "customer_id": me.customer_id}
        answer = two.shop.send("POST /create-payment-intent", body, me.user_id, key)
        assert answer.status == 200
        made[me.user_id] = answer
    ada, bob = made.values()
    assert ada.json["payment_intent_id"] != bob.json["payment_intent_id"]
    for secret in (ada.json["payment_intent_id"], ada.json["client_secret"]):
        assert secret not in bob.text
    assert two.ada.is_in(bob.text) == []
    body = {"user_id": ADA.user_id, "amount": 10, "customer_id": two.ada.customer_id}
    again = two.shop.send("POST /create-payment-intent", body, ADA.user_id, key)
    assert again.body == ada.body
    # Nor does a key of one route name anything to another, nor that of one more caller.
    new = {"user_id": ADA.user_id, "email": "ada.too@example.com"}
    assert two.shop.send("POST /customers", new, ADA.user_id, key).status == 200
    body = {"user_id": NOBODY.user_id, "amount": 11}
    assert two.shop.send("POST /create-payment-intent", body, NOBODY.user_id, key).status == 200


def test_an_operators_key_meets_neither_the_users_nor_another_operators(two: TwoUsers) -> None:
    key = {"Idempotency-Key": "order-8"}
    made = set()
    for caller, amount in ((OLGA, 11), (ADA.user_id, 12), (OTTO, 13)):
        body = {"user_id": ADA.user_id, "amount": amount}
        for _ in range(2):
            answer = two.shop.send("POST /create-payment-intent", body, caller, key)
            assert answer.status == 200
            made.add((caller, answer.json["payment_intent_id"]))
    assert len({intent for _, intent in made}) == len(made) == 3
    refunds = []
    for caller in (OLGA, OLGA, OTTO):
        body = {"payment_intent_id": two.bob.paid_intent_id, "amount": 2}
        answer = two.shop.send("POST /refunds", body, caller, key)
        assert answer.status == 200
        refunds.append(answer.json["refund"]["id"])
    assert refunds[0] == refunds[1] != refunds[2]


@pytest.mark.parametrize("kind", ["foreign", "missing"])
def test_a_key_kept_for_a_refusal_tells_nothing_either(two: TwoUsers, kind: str) -> None:
    whose = two.bob if kind == "foreign" else NOBODY
    body = {"user_id": ADA.user_id, "amount": 10, "customer_id": whose.customer_id}
    key = {"Idempotency-Key": f"refused-{kind}"}
    plain = two.shop.send("POST /create-payment-intent", body, ADA.user_id)
    first, again = (
        two.shop.overhear("POST /create-payment-intent", body, ADA.user_id, key) for _ in range(2)
    )
    assert first == (plain, [])
    assert (again[0].status, again[0].body, again[1]) == (404, plain.body, [])


def test_a_cursor_of_another_user_shows_ones_own_history(two: TwoUsers) -> None:
    answer = two.shop.send(f"GET /transactions?cursor={two.bob.cursor}", None, ADA.user_id)
    assert answer.status == 200
    shown = {entry["transaction_id"] for entry in answer.json["transactions"]}
    assert shown <= two.ada.transactions
    assert two.bob.is_in(answer.text) == []


def _with(names: dict[str, str], text: str) -> str:
    for name, stand_in in names.items():
        text = text.replace(name, stand_in)
    return text
