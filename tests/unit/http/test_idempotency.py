"""The header `Idempotency-Key` on each front end: what it names, and what is told again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from credit_payments import errors
from credit_payments.domain.records import RECORDS, KeptRequest
from credit_payments.http import ROUTES, Api, Identity, Request

Send = Callable[..., Any]

CREATE, CUSTOMER, REFUND = (
    "POST /stripe/create-payment-intent",
    "POST /stripe/customers",
    "POST /stripe/refunds",
)
PAY = {"user_id": "alice", "amount": 10.5}
BODIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "create_payment_intent": (CREATE, PAY, "alice"),
    "create_customer": (CUSTOMER, {"user_id": "alice", "email": "alice@example.com"}, "alice"),
    "refund": (REFUND, {"payment_intent_id": "pi_1"}, "operator:olga"),
}
KEY = {"Idempotency-Key": "order-1"}
creating = pytest.mark.parametrize(("line", "body", "caller"), BODIES.values(), ids=BODIES)


def rows(system: Any) -> list[KeptRequest]:
    storage = system.requests._queue._storage
    with storage.snapshot() as reader:
        return list(reader.scan(KeptRequest, order=("request_id",)))


def everything(system: Any) -> str:
    storage = system.requests._queue._storage
    with storage.snapshot() as reader:
        return repr([list(reader.scan(kind, order=(kind.KEY,))) for kind in RECORDS])


def made(system: Any) -> list[str]:
    return [name for name, _, _ in system.calls if name != "client_secret"]


def test_the_routes_that_make_something_are_these() -> None:
    assert {route.name for route in ROUTES if route.creates} == set(BODIES)
    assert all(route.needs_caller for route in ROUTES if route.creates)


@creating
def test_a_repetition_gets_the_first_answer_byte_for_byte_and_does_nothing(
    send: Send, system: Any, line: str, body: dict[str, Any], caller: str
) -> None:
    first = send(line, body, caller=caller, headers=KEY)
    assert first.status == 200
    assert "Idempotent-Replayed" not in first.headers
    again = send(line, body, caller=caller, headers=KEY)
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    for name in ("Content-Type", "Cache-Control"):
        assert again.headers[name] == first.headers[name]
    assert len(made(system)) == 1


@creating
def test_without_the_header_nothing_is_kept(
    send: Send, system: Any, line: str, body: dict[str, Any], caller: str
) -> None:
    assert send(line, body, caller=caller).status == 200
    assert send(line, body, caller=caller).status == 200
    assert (len(made(system)), rows(system)) == (2, [])


def test_the_same_request_may_be_written_otherwise(send: Send, system: Any) -> None:
    first = send(CREATE, b'{"user_id": "alice", "amount": 10.50}', headers=KEY)
    again = send(CREATE, b'{ "currency":null, "amount":10.5, "user_id":"alice" }', headers=KEY)
    assert (again.status, again.body) == (200, first.body)
    assert b'"amount":10.50' in again.body
    assert len(made(system)) == 1


@creating
def test_another_body_under_the_same_key_is_a_conflict(
    send: Send, system: Any, line: str, body: dict[str, Any], caller: str
) -> None:
    send(line, body, caller=caller, headers=KEY)
    more: dict[str, dict[str, Any]] = {
        CREATE: {"currency": "usd"},
        CUSTOMER: {"name": "A"},
        REFUND: {"amount": 1},
    }
    other = send(line, body | more[line], caller=caller, headers=KEY)
    assert (other.status, other.json["error_code"]) == (422, "idempotency_key_in_use")
    assert other.json["param"] == "Idempotency-Key"
    assert "Retry-After" not in other.headers
    assert len(made(system)) == 1


def test_a_key_is_the_callers_own_and_the_routes(send: Send, system: Any) -> None:
    send(CREATE, PAY, headers=KEY)
    send(CREATE, {"user_id": "bob", "amount": 10.5}, caller="bob", headers=KEY)
    send(CREATE, PAY, caller="operator:olga", headers=KEY)
    send(CUSTOMER, BODIES["create_customer"][1], headers=KEY)
    send(CREATE, PAY, headers={"Idempotency-Key": "order-2"})
    assert (len(made(system)), len(rows(system))) == (5, 5)


def test_a_caller_whose_id_is_no_unicode_has_keys_too(system: Any) -> None:
    api, route = Api(system), next(route for route in ROUTES if route.name == "refund")
    request = Request(
        method="POST",
        headers={"content-type": "application/json", "idempotency-key": "k"},
        body=b'{"payment_intent_id": "pi_1"}',
    )
    statuses = [
        api.handle(route, request, Identity(f"\ud800{name}", operator=True)).status
        for name in "aab"
    ]
    assert (statuses, len(rows(system))) == ([200] * 3, 2)


# -- which keys there are -------------------------------------------------------------------------

BAD_KEYS = {
    "empty": "",
    "two words": "two words",
    "too long": "k" * 201,
    "not ascii": "cl\xe9",
    "two fields, joined": "one,two",
    "two fields, joined with a space": "one, two",
    "a control character": "a\x1fb",
    "deleted": "a\x7f",
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_key_that_cannot_be_read_in_one_way_is_refused(send: Send, system: Any, key: str) -> None:
    for line, body, caller in BODIES.values():
        answer = send(line, body, caller=caller, headers={"Idempotency-Key": key})
        assert (answer.status, answer.json["param"]) == (400, "Idempotency-Key")
    assert (system.calls, rows(system)) == ([], [])


@pytest.mark.parametrize("key", ["k" * 200, "!", '"8e03978e"', "a+b/c=~-._:;"])
def test_any_other_key_is_taken(send: Send, system: Any, key: str) -> None:
    assert send(CREATE, PAY, headers={"Idempotency-Key": key}).status == 200
    assert len(rows(system)) == 1


def test_where_nothing_is_made_the_header_is_ignored(send: Send, system: Any) -> None:
    for key in ("", "two words", "order-1"):
        confirm = send(
            "POST /stripe/confirm-payment",
            {"payment_intent_id": "pi_1"},
            headers={"Idempotency-Key": key},
        )
        status = send("GET /stripe/payment-status/pi_1", headers={"Idempotency-Key": key})
        assert (confirm.status, status.status) == (200, 200)
    assert rows(system) == []


@pytest.mark.parametrize(
    ("line", "body", "caller", "status"),
    [
        (CREATE, PAY, None, 401),
        (CREATE, PAY, "mallory", 403),
        (CREATE, b"{", "alice", 400),
        (CREATE, {"user_id": "alice"}, "alice", 400),
        (CREATE, {"user_id": "alice", "amount": "10"}, "alice", 400),
        (CUSTOMER, BODIES["create_customer"][1], "mallory", 403),
        (REFUND, {"payment_intent_id": "pi_1"}, "alice", 403),
    ],
)
def test_what_is_turned_away_at_the_door_uses_no_key_up(
    send: Send, system: Any, line: str, body: Any, caller: str | None, status: int
) -> None:
    assert send(line, body, caller=caller, headers=KEY).status == status
    assert (system.calls, rows(system)) == ([], [])


# -- errors ---------------------------------------------------------------------------------------

FOR_GOOD = [
    errors.InvalidAmount("Too small", param="amount"),
    errors.NotFound("No such customer_id", param="customer_id"),
    errors.CardDeclined("Zoë, no.", decline_code="lost_card"),
    errors.Conflict("The payment was refunded before."),
    errors.PaymentNotSuccessful("processing"),
    errors.IdempotencyConflict(param="idempotency_key"),
    errors.NotAllowed("Not this one."),
]
PASSING = [
    errors.StripeUnavailable(),
    errors.StorageUnavailable(),
    errors.QueueFull(),
    errors.RequestInProgress(),
    errors.NotConfigured(),
    errors.StripeRefusedKey(),
    errors.CreditPaymentsError("?"),
    RuntimeError("?"),
]


@pytest.mark.parametrize("failure", FOR_GOOD, ids=lambda error: type(error).__name__)
def test_an_error_that_repeating_cannot_mend_is_told_again(
    send: Send, system: Any, failure: Exception
) -> None:
    for line, body, caller in BODIES.values():
        system.failure = failure
        first = send(line, body, caller=caller, headers=KEY)
        system.failure = None
        again = send(line, body, caller=caller, headers=KEY)
        assert 400 <= first.status < 500
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["Idempotent-Replayed"] == "true"
    assert len(system.calls) == 3


@pytest.mark.parametrize("failure", PASSING, ids=lambda error: type(error).__name__)
def test_after_any_other_error_the_request_may_be_repeated_at_once(
    send: Send, system: Any, failure: Exception
) -> None:
    for line, body, caller in BODIES.values():
        system.failure = failure
        first = send(line, body, caller=caller, headers=KEY)
        assert first.status >= 500 or first.headers["Retry-After"]
        system.failure = None
        again = send(line, body, caller=caller, headers=KEY)
        assert again.status == 200
        assert "Idempotent-Replayed" not in again.headers
        assert send(line, body, caller=caller, headers=KEY).body == again.body
    assert len(made(system)) == 6


def test_the_key_of_a_request_that_failed_still_names_that_request(send: Send, system: Any) -> None:
    system.failure = errors.StripeUnavailable()
    assert send(CREATE, PAY, headers=KEY).status == 503
    system.failure = None
    assert send(CREATE, PAY | {"amount": 11}, headers=KEY).status == 422
    assert send(CREATE, PAY, headers=KEY).status == 200


def test_what_is_in_progress_is_a_409_that_says_when_to_come_back(
    send: Send, system: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile: list[Any] = []
    finish = system.requests.finish

    def finish_later(*args: Any) -> Any:
        meanwhile.append(send(CREATE, PAY, headers=KEY))
        return finish(*args)

    monkeypatch.setattr(system.requests, "finish", finish_later)
    assert send(CREATE, PAY, headers=KEY).status == 200
    [answer] = meanwhile
    assert (answer.status, answer.json["error_code"]) == (409, "request_in_progress")
    assert answer.headers["Retry-After"] == "1"
    assert len(made(system)) == 1


# -- when the database fails ----------------------------------------------------------------------


@contextmanager
def failing(system: Any, method: str, error: Exception) -> Iterator[None]:
    def fail(*_: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system.requests, method, fail)
        yield


def test_what_cannot_be_begun_is_not_done(send: Send, system: Any) -> None:
    with failing(system, "begin", errors.StorageUnavailable()):
        assert send(CREATE, PAY, headers=KEY).status == 503
    assert system.calls == []


def test_an_answer_that_could_not_be_kept_is_not_given(send: Send, system: Any) -> None:
    with failing(system, "finish", errors.StorageUnavailable()):
        answer = send(CREATE, PAY, headers=KEY)
    assert (answer.status, answer.json["error_code"]) == (503, "storage_unavailable")
    assert b"secret" not in answer.body
    assert send(CREATE, PAY, headers=KEY).status == 409


def test_a_release_that_fails_hides_no_error_and_is_logged_without_the_key(
    send: Send, system: Any, caplog: pytest.LogCaptureFixture
) -> None:
    system.failure = errors.StripeUnavailable()
    with (
        caplog.at_level(logging.DEBUG),
        failing(system, "release", errors.StorageUnavailable("order-1")),
    ):
        answer = send(CREATE, PAY, headers=KEY)
    assert (answer.status, answer.json["error_code"]) == (503, "stripe_unavailable")
    assert "create_payment_intent: a request stays leased (storage_unavailable)" in caplog.text
    assert "order-1" not in caplog.text


# -- what is not kept -----------------------------------------------------------------------------


def test_neither_a_secret_nor_an_address_nor_the_key_is_kept(send: Send, system: Any) -> None:
    for line, body, caller in BODIES.values():
        send(line, body, caller=caller, headers=KEY)
    kept = everything(system)
    assert len(rows(system)) == 3
    for canary in ("pi_1_secret_x", "alice@example.com", "alice", "olga", "order-1"):
        assert canary not in kept


def test_the_secret_is_asked_for_again_as_the_caller(send: Send, system: Any) -> None:
    send(CREATE, PAY, headers=KEY)
    send(CREATE, PAY, headers=KEY)
    send(CREATE, PAY, caller="operator:olga", headers=KEY)
    send(CREATE, PAY, caller="operator:olga", headers=KEY)
    told = [call for call in system.calls if call[0] == "client_secret"]
    assert told == [
        ("client_secret", ("pi_1",), {"owner": "alice"}),
        ("client_secret", ("pi_1",), {"owner": None}),
    ]


def test_a_secret_that_cannot_be_told_now_is_told_later(send: Send, system: Any) -> None:
    first = send(CREATE, PAY, headers=KEY)
    system.failure = errors.StripeUnavailable()
    assert send(CREATE, PAY, headers=KEY).status == 503
    system.failure = None
    assert send(CREATE, PAY, headers=KEY).body == first.body
    assert len(made(system)) == 1
