from __future__ import annotations

import subprocess
import sys

from credit_payments.http import ROUTES, Request, Response, describe


def test_the_nine_documented_endpoints_are_there_and_three_of_our_own() -> None:
    assert [(route.method, route.path) for route in ROUTES] == [
        ("POST", "/create-payment-intent"),
        ("POST", "/confirm-payment"),
        ("GET", "/credit-packages"),
        ("GET", "/payment-status/{payment_intent_id}"),
        ("POST", "/customers"),
        ("GET", "/customers/{customer_id}"),
        ("GET", "/payment-methods"),
        ("GET", "/payment-methods/{payment_method_id}"),
        ("POST", "/webhook"),
        ("POST", "/refunds"),
        ("GET", "/balance"),
        ("GET", "/transactions"),
    ]
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_only_the_price_list_and_the_webhook_are_open() -> None:
    assert {route.name for route in ROUTES if not route.needs_caller} == {
        "credit_packages",
        "webhook",
    }


def test_the_description_comes_from_the_fields_that_are_read() -> None:
    described = {route.name: describe(route) for route in ROUTES}
    schema = described["create_customer"]["requestBody"]["content"]["application/json"]["schema"]
    assert list(schema["properties"]) == ["user_id", "email", "name", "phone"]
    assert schema["required"] == ["user_id", "email"]
    assert [p["name"] for p in described["get_customer"]["parameters"]] == ["customer_id"]
    assert described["list_payment_methods"]["parameters"][0]["in"] == "query"
    assert described["credit_packages"].keys() == {"responses"}


def test_the_layer_loads_no_framework_and_no_vendor() -> None:
    code = (
        "import sys, credit_payments.http;"
        "print(sorted({'flask', 'fastapi', 'starlette', 'stripe', 'pymongo'} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert loaded.stdout.strip() == "[]"


def test_no_body_and_no_header_shows_in_a_repr() -> None:
    request = Request(
        method="POST", query=b"email=a@b", headers={"authorization": "Bearer x"}, body=b"sk_live_x"
    )
    response = Response(status=200, body=b"pi_1_secret_x", headers={})
    shown = repr(request) + repr(response)
    assert not any(secret in shown for secret in ("a@b", "Bearer", "sk_live_x", "secret"))
