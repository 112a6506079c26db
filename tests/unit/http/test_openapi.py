"""The description of the endpoints; tests/e2e/test_schemathesis.py holds the applications to it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st

from credit_payments import errors
from credit_payments.domain import ids
from credit_payments.domain.packages import CreditPackage
from credit_payments.domain.values import Balance, Customer, PaymentMethod
from credit_payments.domain.vitals import DatabaseState, Health, QueueLength, StripeSetup
from credit_payments.http import HEALTH_ROUTES, ROUTES, Route, answers, describe, document
from credit_payments.http.fields import PAYMENT_INTENT_ID
from credit_payments.http.openapi import errors_of
from credit_payments.http.shapes import Answer

SOME_DAY = datetime(2030, 1, 1, tzinfo=UTC)
ALL = (*ROUTES, *HEALTH_ROUTES)

SCHEMAS = document()["components"]["schemas"]


def operations(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in described["paths"].values():
        yield from path.values()


def closed(schema: Any) -> Any:
    """The same schema without room for anything that it does not name."""
    if isinstance(schema, dict):
        inner = {name: closed(part) for name, part in schema.items()}
        return {"additionalProperties": False} | inner if "properties" in inner else inner
    return [closed(part) for part in schema] if isinstance(schema, list) else schema


def test_the_document_is_openapi_and_its_schemas_are_json_schemas() -> None:
    described = document(security={"session": {"type": "http", "scheme": "bearer"}})
    schemathesis.openapi.from_dict(described).validate()
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate(schema)  # draft 2020-12, where none is named
    assert json.loads(json.dumps(described)) == described


def test_every_route_is_there_once_where_it_is_mounted() -> None:
    described = document(prefix="/pay", health_prefix="/internal")
    there = {
        (path, method): operation["operationId"]
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    mounted = [("/pay", route) for route in ROUTES]
    mounted += [("/internal", route) for route in HEALTH_ROUTES]
    assert there == {
        (mount + route.path, route.method.lower()): f"credit_payments_{route.name}"
        for mount, route in mounted
    }
    assert {tag["name"] for tag in described["tags"]} == {"payments", "health"}
    without = document(health_prefix=None)
    assert {tag for operation in operations(without) for tag in operation["tags"]} == {"payments"}


@pytest.mark.parametrize("route", ALL, ids=lambda route: route.name)
def test_what_a_path_names_is_described(route: Route) -> None:
    assert [field.name for field in route.parts] == re.findall(r"{(\w+)}", route.path)
    assert all(field.required for field in route.parts)


@pytest.mark.parametrize("route", ALL, ids=lambda route: route.name)
def test_every_example_is_a_value_of_its_schema(route: Route) -> None:
    described = describe(route)
    shown = [
        (part["schema"], part["example"])
        for part in described.get("parameters", ())
        if "example" in part
    ]
    contents = [described["requestBody"]] if "requestBody" in described else []
    contents += described["responses"].values()
    for content in contents:
        for media in content["content"].values():
            examples = [each["value"] for each in media.get("examples", {}).values()]
            examples += [media["example"]] if "example" in media else []
            shown += [(media["schema"], example) for example in examples]
    assert shown
    for schema, example in shown:
        jsonschema_rs.Draft202012Validator(schema).validate(example)


@pytest.mark.parametrize("route", ALL, ids=lambda route: route.name)
def test_every_error_is_described_under_its_status_with_its_words(route: Route) -> None:
    responses = describe(route)["responses"]
    for error in errors_of(route):
        response = responses[str(error.http_status)]
        examples = response["content"]["application/json"]["examples"]
        shown = examples[error.error_code]["value"]
        assert shown["error_code"] == error.error_code
        assert shown["success"] is False
        assert error.title.split(".")[0] in response["description"]
        if error.retryable:
            assert "Retry-After" in response["headers"]
    assert ("401" in responses) == route.needs_caller
    assert "500" in responses


def test_every_error_of_the_library_is_answered_somewhere() -> None:
    answered = {type(error) for route in ALL for error in errors_of(route)}
    raised = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.CreditPaymentsError)
    }
    families = {errors.CreditPaymentsError, errors.CustomerError, errors.TryAgain}
    # They come of what a host calls itself, or of the settings.
    hosts = {
        errors.DecryptionFailed,
        errors.HoldEnded,
        errors.InsufficientCredits,
        errors.VaultUnavailable,
        errors.WalletSuspended,
    }
    # They answer as an `InvalidRequest` does, under its code.
    kinds_of_invalid = {errors.InvalidAmount, errors.InvalidCurrency}
    assert raised - answered == families | hosts | kinds_of_invalid


def test_creating_routes_take_a_key_and_say_what_it_does() -> None:
    for route in ROUTES:
        described = describe(route)
        headers = [
            part["name"] for part in described.get("parameters", ()) if part["in"] == "header"
        ]
        assert ("Idempotency-Key" in headers) == route.creates
        assert ("422" in described["responses"]) == route.creates
        replayed = "Idempotent-Replayed" in described["responses"]["200"].get("headers", {})
        assert replayed == route.creates


def test_a_body_names_its_fields_and_takes_no_other() -> None:
    [body] = [describe(route)["requestBody"] for route in ROUTES if route.name == "refund"]
    schema = body["content"]["application/json"]["schema"]
    assert schema["required"] == ["payment_intent_id"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["amount"] == {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "description": "In major units of the payment's currency; all that is left if left out.",
    }
    assert schema["properties"]["reason"]["enum"][-1] is None


def test_a_webhook_is_any_object_under_a_signature() -> None:
    [described] = [describe(route) for route in ROUTES if route.name == "webhook"]
    [signature] = described["parameters"]
    assert (signature["name"], signature["required"]) == ("Stripe-Signature", True)
    assert described["requestBody"]["content"]["application/json"]["schema"] == {"type": "object"}


def test_answers_are_described_as_they_are_written() -> None:
    package = SCHEMAS["CreditPackage"]
    assert package["properties"]["price_usd"]["type"] == "number"
    assert package["required"] == ["id", "name", "credits", "description"]
    assert SCHEMAS["PaymentIntent"]["properties"]["success"] == {"const": True, "type": "boolean"}
    assert SCHEMAS["PaymentIntent"]["required"][0] == "success"
    assert SCHEMAS["Problem"]["required"] == ["success", "error", "error_code", "message"]


EURO = CreditPackage("basic", "Basic", 100, "9", "eur", "100 credits")
LINK = PaymentMethod(id="pm_1", type="link", card=None, customer=None, created=1)
DOWN = Health(
    checked_at="2024-01-01T00:00:00Z",
    stripe=StripeSetup(
        configured=False, livemode=None, webhooks_configured=False, webhook_mode="inline"
    ),
    database=DatabaseState(kind="sqlite", answers=False, schema_version=None),
    queue=QueueLength(commands_waiting=0, commands_max=1, oldest_seconds=0.0),
)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("credit_packages", answers.packages_answer([EURO])),
        ("list_payment_methods", answers.payment_methods_answer([LINK])),
        ("get_payment_method", answers.payment_method_answer(LINK)),
        ("create_customer", answers.created_customer_answer(Customer(id="cus_1", created=1))),
        ("get_customer", answers.customer_answer(Customer(id="cus_1", created=1))),
        ("balance", answers.balance_answer(Balance(available=0, expires_next=SOME_DAY))),
        ("stripe_health", answers.stripe_health(DOWN)),
        ("transactions_health", answers.transactions_health(DOWN)),
    ],
)
def test_what_is_seldom_answered_is_described_too(name: str, answer: Answer) -> None:
    [described] = [describe(route) for route in ALL if route.name == name]
    response = answers.success_response(answer)
    content = described["responses"][str(response.status)]["content"]
    assert (response.status == 503) == (not answer.success)
    schema = closed(content["application/json"]["schema"])
    jsonschema_rs.Draft202012Validator(schema).validate(json.loads(response.body))


def test_a_health_that_nobody_could_look_for_in_time_is_described_too() -> None:
    response = answers.error_response(errors.StorageUnavailable())
    for route in HEALTH_ROUTES:
        described = describe(route)["responses"][str(response.status)]
        assert described["headers"].keys() == {"Retry-After"} <= response.headers.keys()
        schema = closed(described["content"]["application/json"]["schema"])
        jsonschema_rs.Draft202012Validator(schema).validate(json.loads(response.body))


def test_who_may_call_is_described_where_the_host_says_how() -> None:
    schemes = {"session": {"type": "apiKey", "in": "cookie", "name": "session"}}
    described = document(security=schemes)
    assert described["components"]["securitySchemes"] == schemes
    paths = described["paths"]
    assert paths["/stripe/balance"]["get"]["security"] == [{"session": []}]
    for path, method in (("webhook", "post"), ("credit-packages", "get")):
        assert "security" not in paths[f"/stripe/{path}"][method]
    assert "securitySchemes" not in document()["components"]


def test_a_document_is_the_callers_to_change() -> None:
    before = json.dumps(document())
    described = document()
    for operation in operations(described):
        operation["responses"].clear()
    described["components"]["schemas"]["Refund"]["properties"].clear()
    parameters = described["paths"]["/stripe/transactions"]["get"]["parameters"]
    parameters[3]["schema"]["enum"].clear()
    assert json.dumps(document()) == before


@given(st.text(max_size=20).map(lambda text: f"pi_{text}"))
def test_no_id_that_the_core_takes_is_forbidden(text: str) -> None:
    try:
        ids.check_stripe_id(text, "pi_", param="payment_intent_id")
    except errors.NotFound:
        return
    assert re.search(str(PAYMENT_INTENT_ID.bounds["pattern"]), text)
