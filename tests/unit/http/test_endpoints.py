"""One suite for every front end: the same requests, the same bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from credit_payments import errors
from credit_payments.domain.packages import CreditPackage

Send = Callable[..., Any]

CREATE = "POST /stripe/create-payment-intent"
PAY = {"user_id": "alice", "amount": 10.5}

CARD = b'"card":{"brand":"visa","last4":"4242","exp_month":12,"exp_year":2025}'

DOCUMENTED = {
    "create_payment_intent": (
        CREATE,
        b'{"user_id": "alice", "amount": 10.00, "currency": "usd"}',
        (
            b'{"success":true,"client_secret":"pi_1_secret_x","payment_intent_id":"pi_1",'
            b'"amount":10.00,"currency":"usd"}'
        ),
    ),
    "confirm_payment": (
        "POST /stripe/confirm-payment",
        b'{"payment_intent_id": "pi_1"}',
        (
            b'{"success":true,"message":"Payment confirmed and credits added","data":'
            b'{"transaction_id":"txn_1","credits_purchased":100,"amount_paid":10.00,'
            b'"payment_intent_id":"pi_1"}}'
        ),
    ),
    "credit_packages": (
        "GET /stripe/credit-packages",
        b"",
        (
            b'{"success":true,"packages":[{"id":"basic","name":"Basic Package","credits":100,'
            b'"price_usd":10.00,"description":"100 credits for $10"},{"id":"standard","name":'
            b'"Standard Package","credits":500,"price_usd":45.00,"description":'
            b'"500 credits for $45 (10% discount)"}]}'
        ),
    ),
    "payment_status": (
        "GET /stripe/payment-status/pi_1",
        b"",
        (
            b'{"success":true,"status":"succeeded","amount":10.00,"currency":"usd",'
            b'"created":1640995200}'
        ),
    ),
    "create_customer": (
        "POST /stripe/customers",
        b'{"user_id": "alice", "email": "user@example.com", "name": "Jo", "phone": null}',
        b'{"success":true,"customer_id":"cus_1","email":"user@example.com","created":1640995200}',
    ),
    "get_customer": (
        "GET /stripe/customers/cus_1",
        b"",
        '{"success":true,"customer":{"id":"cus_1","email":"user@example.com","name":"Zoë",'
        '"phone":null,"created":1640995200,"metadata":{"user_id":"alice",'
        '"source":"credit_system"}}}'.encode(),
    ),
    "list_payment_methods": (
        "GET /stripe/payment-methods?customer_id=cus_1&utm_source=mail",
        b"",
        b'{"success":true,"payment_methods":[{"id":"pm_1","type":"card",' + CARD + b","
        b'"created":1640995200},{"id":"pm_2","type":"link","created":1640995200}]}',
    ),
    "get_payment_method": (
        "GET /stripe/payment-methods/pm_1",
        b"",
        b'{"success":true,"payment_method":{"id":"pm_1","type":"card",' + CARD + b","
        b'"customer":"cus_1","created":1640995200}}',
    ),
    "webhook": (
        "POST /stripe/webhook",
        b'{"id": "evt_1"}',
        b'{"success":true,"event_id":"evt_1","type":"charge.refunded","outcome":"applied"}',
    ),
}


@pytest.mark.parametrize(("line", "body", "expected"), DOCUMENTED.values(), ids=DOCUMENTED)
def test_each_endpoint_answers_the_documented_bytes(
    send: Send, line: str, body: bytes, expected: bytes
) -> None:
    answer = send(line, body)
    assert (answer.status, answer.body) == (200, expected)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("endpoint", sorted(DOCUMENTED.keys() - {"credit_packages", "webhook"}))
def test_an_anonymous_caller_is_turned_away_before_anything_is_asked(
    send: Send, system: Any, endpoint: str
) -> None:
    line, body, _ = DOCUMENTED[endpoint]
    answer = send(line, body, caller=None)
    assert (answer.status, answer.json["error_code"]) == (401, "not_authenticated")
    assert system.calls == []


@pytest.mark.parametrize("endpoint", ["credit_packages", "webhook"])
def test_the_price_list_and_the_webhook_need_no_caller(send: Send, endpoint: str) -> None:
    line, body, expected = DOCUMENTED[endpoint]
    assert send(line, body, caller=None).body == expected


@pytest.mark.parametrize("endpoint", ["create_payment_intent", "create_customer"])
def test_nobody_may_act_for_another_user_but_an_operator(
    send: Send, system: Any, endpoint: str
) -> None:
    line, body, expected = DOCUMENTED[endpoint]
    refused = send(line, body, caller="mallory")
    assert refused.status == 403
    assert (refused.json["error_code"], refused.json["param"]) == ("not_allowed", "user_id")
    assert system.calls == []
    assert send(line, body, caller="operator:olga").body == expected


OF_ALICE = {
    "confirm_payment": ("POST /stripe/confirm-payment", {"payment_intent_id": "pi_1"}),
    "payment_status": ("GET /stripe/payment-status/pi_1", b""),
    "get_customer": ("GET /stripe/customers/cus_1", b""),
    "list_payment_methods": ("GET /stripe/payment-methods?customer_id=cus_1", b""),
    "get_payment_method": ("GET /stripe/payment-methods/pm_1", b""),
}


@pytest.mark.parametrize(("line", "body"), OF_ALICE.values(), ids=OF_ALICE)
def test_the_core_is_told_whose_things_the_caller_may_reach(
    send: Send, system: Any, line: str, body: object
) -> None:
    statuses = [send(line, body, caller=who).status for who in ("alice", "bob", "operator:olga")]
    assert statuses == [200, 404, 200]
    assert [call[2]["owner"] for call in system.calls] == ["alice", "bob", None]


BAD_BODIES: dict[str, tuple[bytes, str, str | None]] = {
    "nothing": (b"", "parameter_invalid", None),
    "not json": (b"user_id=alice", "parameter_invalid", None),
    "a list": (b"[]", "parameter_invalid", None),
    "a number": (b"1", "parameter_invalid", None),
    "null": (b"null", "parameter_invalid", None),
    "two documents": (b"{}{}", "parameter_invalid", None),
    "a byte order mark": (b"\xef\xbb\xbf{}", "parameter_invalid", None),
    "utf-16": ('{"user_id": "alice"}'.encode("utf-16"), "parameter_invalid", None),
    "not utf-8": (b'{"user_id": "\xff"}', "parameter_invalid", None),
    "NaN": (b'{"user_id": "alice", "amount": NaN}', "parameter_invalid", None),
    "infinity": (b'{"user_id": "alice", "amount": -Infinity}', "parameter_invalid", None),
    "deep": (b'{"user_id":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "parameter_invalid", None),
    "deep objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "parameter_invalid", None),
    "too long": (b'{"user_id": "' + b"x" * 65_536 + b'"}', "parameter_invalid", None),
    "the same name twice": (
        b'{"user_id": "alice", "amount": 1, "amount": 1000}',
        "parameter_invalid",
        "amount",
    ),
    "a mistyped name": (
        b'{"user_id": "alice", "amount": 10, "curency": "jpy"}',
        "parameter_unknown",
        "curency",
    ),
    "a name that is half a surrogate": (b'{"\\ud800": 1}', "parameter_unknown", "\\ud800"),
    "no user": (b'{"amount": 10}', "parameter_missing", "user_id"),
    "a null user": (b'{"user_id": null, "amount": 10}', "parameter_missing", "user_id"),
    "no amount": (b'{"user_id": "alice"}', "parameter_missing", "amount"),
    "a user that is a query": (
        b'{"user_id": {"$gt": ""}, "amount": 10}',
        "parameter_invalid",
        "user_id",
    ),
    "a user that is a list": (
        b'{"user_id": ["alice"], "amount": 1}',
        "parameter_invalid",
        "user_id",
    ),
    "a user that is a number": (b'{"user_id": 7, "amount": 10}', "parameter_invalid", "user_id"),
    "a user that is no unicode": (
        b'{"user_id": "\\udc00", "amount": 10}',
        "parameter_invalid",
        "user_id",
    ),
    "an amount in text": (b'{"user_id": "alice", "amount": "10"}', "parameter_invalid", "amount"),
    "an amount that is true": (
        b'{"user_id": "alice", "amount": true}',
        "parameter_invalid",
        "amount",
    ),
    "an amount that is a query": (
        b'{"user_id": "alice", "amount": {"$gt": 0}}',
        "parameter_invalid",
        "amount",
    ),
    "an endless integer": (
        b'{"user_id": "alice", "amount": ' + b"9" * 50_000 + b"}",
        "parameter_invalid",
        "amount",
    ),
    "an endless fraction": (
        b'{"user_id": "alice", "amount": 0.' + b"1" * 50_000 + b"}",
        "parameter_invalid",
        "amount",
    ),
    "a huge exponent": (b'{"user_id": "alice", "amount": 1e400}', "parameter_invalid", "amount"),
    "a tiny exponent": (b'{"user_id": "alice", "amount": 1E-999}', "parameter_invalid", "amount"),
    "a currency that is a list": (
        b'{"user_id": "alice", "amount": 10, "currency": ["usd"]}',
        "parameter_invalid",
        "currency",
    ),
    "a package that is a query": (
        b'{"user_id": "alice", "package_id": {"$ne": null}}',
        "parameter_invalid",
        "package_id",
    ),
    "a customer that is a number": (
        b'{"user_id": "alice", "amount": 10, "customer_id": 1}',
        "parameter_invalid",
        "customer_id",
    ),
}


@pytest.mark.parametrize(("body", "code", "param"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_is_not_as_documented_is_refused_by_name(
    send: Send, system: Any, body: bytes, code: str, param: str | None
) -> None:
    answer = send(CREATE, body)
    assert answer.status == 400
    assert answer.json["success"] is False
    assert answer.json["error"] == "Invalid request parameters"
    assert (answer.json["error_code"], answer.json.get("param")) == (code, param)
    assert system.calls == []


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/jsonx",
        "text/plain, application/json",
    ],
)
def test_json_under_another_content_type_is_refused(
    send: Send, system: Any, content_type: str
) -> None:
    answer = send(CREATE, PAY, headers={"Content-Type": content_type})
    assert (answer.status, answer.json["param"]) == (400, "Content-Type")
    assert system.calls == []


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON;charset=UTF-8", 'application/json; charset="utf-8"'],
)
def test_the_ways_to_write_the_content_type_are_understood(send: Send, content_type: str) -> None:
    assert send(CREATE, PAY, headers={"Content-Type": content_type}).status == 200


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (b"10.10", Decimal("10.10")),
        (b"0.1", Decimal("0.1")),
        (b"1e1", Decimal("1E+1")),
        (b"-3", -3),
        (b"10", 10),
        (b"0.30000000000000004", Decimal("0.30000000000000004")),
    ],
)
def test_an_amount_reaches_the_core_exactly_as_it_was_written(
    send: Send, system: Any, number: bytes, expected: Decimal | int
) -> None:
    send(CREATE, b'{"user_id": "alice", "amount": ' + number + b"}")
    [(_, (_, amount, _), _)] = system.calls
    assert (type(amount), str(amount)) == (type(expected), str(expected))


def test_the_optional_fields_of_an_intent_reach_the_core(send: Send, system: Any) -> None:
    fields = {"user_id": "alice", "package_id": "basic", "customer_id": "cus_1", "currency": "usd"}
    assert send(CREATE, fields, headers={"Idempotency-Key": "order-7"}).status == 200
    [(name, args, more)] = system.calls
    assert (name, args) == ("create_payment_intent", ("alice", None, "usd"))
    assert more == {"package_id": "basic", "customer_id": "cus_1", "idempotency_key": "order-7"}


@pytest.mark.parametrize("key", ["", "two words", "k" * 256, "cl\xe9"])
def test_an_idempotency_key_is_visible_ascii_of_bounded_length(
    send: Send, system: Any, key: str
) -> None:
    answer = send(CREATE, PAY, headers={"Idempotency-Key": key})
    assert (answer.status, answer.json["param"]) == (400, "Idempotency-Key")
    assert system.calls == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "parameter_missing"),
        ("?customer=cus_1", "parameter_missing"),
        ("?customer_id=cus_1&customer_id=cus_2", "parameter_invalid"),
        ("?customer_id=%ff", "parameter_invalid"),
        ("?" + "a=1&" * 40, "parameter_invalid"),
    ],
)
def test_a_query_that_cannot_be_read_in_one_way_is_refused(
    send: Send, system: Any, query: str, code: str
) -> None:
    answer = send(f"GET /stripe/payment-methods{query}")
    assert (answer.status, answer.json["error_code"]) == (400, code)
    assert system.calls == []


def test_a_webhook_reaches_the_processor_byte_for_byte(send: Send, system: Any) -> None:
    body = b'{"b":1,  "a":\t2.50}\n\xff'
    send("POST /stripe/webhook", body, headers={"Stripe-Signature": "t=1,v1=ab"})
    send("POST /stripe/webhook", body, headers={"Content-Type": "text/plain"})
    assert system.calls == [("receive", (body, "t=1,v1=ab"), {}), ("receive", (body, ""), {})]


def test_a_webhook_is_read_one_byte_beyond_its_bound_and_no_further(
    send: Send, system: Any
) -> None:
    send("POST /stripe/webhook", b" " * 3_000_000)
    [(_, (body, _), _)] = system.calls
    assert len(body) == 1024 * 1024 + 1


FAILURES: dict[str, tuple[Exception, int, bytes]] = {
    "a declined card": (
        errors.CardDeclined(decline_code="insufficient_funds"),
        402,
        (
            b'{"success":false,"error":"Card declined","error_code":"card_declined",'
            b'"decline_code":"insufficient_funds","message":"Your card was declined."}'
        ),
    ),
    "a decline found when confirming": (
        errors.CardDeclined(decline_code="do_not_honor", status="requires_payment_method"),
        402,
        (
            b'{"success":false,"error":"Payment not successful. Status: requires_payment_method",'
            b'"error_code":"card_declined","decline_code":"do_not_honor",'
            b'"message":"Your card was declined."}'
        ),
    ),
    "a payment that is not through": (
        errors.PaymentNotSuccessful("processing"),
        409,
        (
            b'{"success":false,"error":"Payment not successful. Status: processing",'
            b'"error_code":"payment_intent_unexpected_state",'
            b'"message":"Payment not successful. Status: processing"}'
        ),
    ),
    "an amount that cannot be charged": (
        errors.InvalidAmount("Invalid amount", param="amount"),
        400,
        (
            b'{"success":false,"error":"Invalid request parameters",'
            b'"error_code":"parameter_invalid","param":"amount","message":"Invalid amount"}'
        ),
    ),
    "no key": (
        errors.NotConfigured(),
        503,
        (
            b'{"success":false,"error":"Stripe is not configured",'
            b'"error_code":"stripe_not_configured","message":"Stripe is not configured"}'
        ),
    ),
    "something unforeseen": (
        RuntimeError("dsn=postgresql://admin:hunter2@db"),
        500,
        (
            b'{"success":false,"error":"Internal server error","error_code":"internal_error",'
            b'"message":"Something went wrong on our side."}'
        ),
    ),
}


@pytest.mark.parametrize(("failure", "status", "expected"), FAILURES.values(), ids=FAILURES)
def test_each_failure_answers_the_documented_error(
    send: Send, system: Any, failure: Exception, status: int, expected: bytes
) -> None:
    system.failure = failure
    answer = send(CREATE, PAY)
    assert (answer.status, answer.body) == (status, expected)
    assert "Retry-After" not in answer.headers


def test_a_webhook_that_stripe_did_not_sign_is_refused(send: Send, system: Any) -> None:
    system.failure = errors.InvalidSignature()
    answer = send("POST /stripe/webhook", b"{}")
    assert (answer.status, answer.json["error"]) == (400, "Invalid Stripe signature")


@pytest.mark.parametrize("kind", [errors.StripeUnavailable, errors.QueueFull])
def test_a_failure_that_passes_says_when_to_come_back(
    send: Send, system: Any, kind: type[errors.TryAgain]
) -> None:
    system.failure = kind()
    answer = send(CREATE, PAY)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


def test_an_unforeseen_failure_is_logged_with_its_place_and_without_its_words(
    send: Send, system: Any, caplog: pytest.LogCaptureFixture
) -> None:
    system.failure = RuntimeError("duplicate key: user@example.com, sk_live_x")
    with caplog.at_level(logging.DEBUG, logger="credit_payments"):
        send("POST /stripe/customers", {"user_id": "alice", "email": "user@example.com"})
    [record] = [record for record in caplog.records if record.name.startswith("credit_payments")]
    assert record.levelno == logging.ERROR
    assert "create_customer: unforeseen builtins.RuntimeError" in record.getMessage()
    assert "_called" in record.getMessage()
    assert "user@example.com" not in caplog.text
    assert "sk_live_x" not in caplog.text


def test_a_price_in_another_currency_is_not_called_dollars(send: Send, system: Any) -> None:
    system.packages = (CreditPackage("ten", "Zehn", 100, Decimal(1000), "jpy", "100 credits"),)
    assert send("GET /stripe/credit-packages").body == (
        b'{"success":true,"packages":[{"id":"ten","name":"Zehn","credits":100,"price":1000,'
        b'"currency":"jpy","description":"100 credits"}]}'
    )
