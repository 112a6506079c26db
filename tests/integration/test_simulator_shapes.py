"""The simulator's objects against the official SDK's annotations and Stripe's own fixtures."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import stripe
import stripe.params
import stripe.params.radar

from credit_payments.testing.simulator import StripeSimulator
from credit_payments.testing.simulator.api import ROUTES
from credit_payments.testing.simulator.params import LIST

FIXTURES = Path(__file__).parents[3] / "shared" / "stripe" / "fixtures3.json"

CLASSES: dict[str, Any] = {
    "payment_intent": stripe.PaymentIntent,
    "charge": stripe.Charge,
    "customer": stripe.Customer,
    "payment_method": stripe.PaymentMethod,
    "refund": stripe.Refund,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "webhook_endpoint": stripe.WebhookEndpoint,
    "balance_transaction": stripe.BalanceTransaction,
    "radar.early_fraud_warning": stripe.radar.EarlyFraudWarning,
}

FIXTURE_EXCEPTIONS = {
    ("charge", "refunds"): "not included unless expanded, since version 2022-11-15",
    ("dispute", "payment_method_details"): "the fixture lacks fields that the SDK requires",
}
"""Deliberate differences from the fixtures, each with its reason."""


@pytest.fixture(scope="module")
def samples() -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Objects of every kind in many states, as the API answers them."""
    with StripeSimulator(start_time=1_700_000_000) as simulator:
        client: Any = stripe.StripeClient(
            simulator.secret_key, base_addresses={"api": simulator.url}
        ).v1
        endpoint = client.webhook_endpoints.create(
            {"url": "http://127.0.0.1:1/", "enabled_events": ["charge.expired"]}
        )
        customer = client.customers.create(
            {"payment_method": "pm_card_visa", "metadata": {"a": "b"}}
        )

        def intent(**params: Any) -> Any:
            given = {"amount": 1000, "currency": "usd", "metadata": {"user": "u1"}, **params}
            return client.payment_intents.create(given)

        intent()
        paid = intent(customer=customer.id, shipping={"name": "A", "address": {"city": "B"}})
        simulator.pay(paid.id)
        client.refunds.create({"payment_intent": paid.id, "amount": 10})
        failed = client.refunds.create({"payment_intent": paid.id, "amount": 10})
        simulator.fail_refund(failed.id)
        simulator.warn_of_fraud(paid.id)
        dispute = simulator.open_dispute(paid.id)
        simulator.close_dispute(dispute["id"], won=True)
        simulator.pay(intent(capture_method="manual").id)
        simulator.pay(intent().id, "pm_card_chargeDeclined")
        simulator.pay(intent().id, "pm_card_threeDSecure2Required")
        done = intent()
        simulator.pay(done.id, "pm_card_threeDSecure2Required")
        simulator.complete_authentication(done.id)
        client.payment_intents.cancel(intent().id)
        bank = intent(payment_method_types=["us_bank_account"])
        simulator.pay(bank.id, "pm_usBankAccount_success")

        def listed(service: Any, **params: Any) -> list[dict[str, Any]]:
            rows = service.list({"limit": 100, **params}).data
            return [json.loads(str(row)) for row in rows]

        yield {
            "payment_intent": listed(client.payment_intents),
            "charge": listed(client.charges),
            "customer": listed(client.customers),
            "payment_method": [
                *listed(client.payment_methods, customer=customer.id),
                simulator.peek("payment_methods", bank_method(simulator, bank.id)),
            ],
            "refund": listed(client.refunds),
            "dispute": listed(client.disputes),
            "event": listed(client.events),
            "webhook_endpoint": [*listed(client.webhook_endpoints), json.loads(str(endpoint))],
            "balance_transaction": listed(client.balance_transactions),
            "radar.early_fraud_warning": listed(client.radar.early_fraud_warnings),
        }


def bank_method(simulator: StripeSimulator, intent_id: str) -> str:
    return str(simulator.peek("payment_intents", intent_id)["payment_method"])


def mismatches(annotation: Any, value: Any, path: str) -> list[str]:  # noqa: PLR0911
    """Say where a JSON value does not fit an annotation of the SDK."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Union:
        found = [mismatches(option, value, path) for option in args]
        return [] if any(not each for each in found) else min(found, key=len)
    if origin is typing.Literal:
        return [] if value in args else [f"{path}: {value!r} is not one of {args}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is not a list"]
        return [bad for item in value for bad in mismatches(args[0], item, f"{path}[]")]
    if annotation is Any:
        return []
    if annotation in (int, str, bool, float, type(None)):
        return [] if type(value) is annotation else [f"{path}: {value!r} is not {annotation}"]
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is not a hash"]
    if isinstance(annotation, type) and annotation.__annotations__:
        return class_mismatches(annotation, value, path)
    return []


def class_mismatches(kind: Any, value: dict[str, Any], path: str) -> list[str]:
    """Compare a hash with one of the SDK's classes, all the way down."""
    known = {name: note for name, note in kind.__annotations__.items() if not name.startswith("_")}
    found = [f"{path}.{name} is unknown to the SDK" for name in value if name not in known]
    for name, note in known.items():
        if name in value:
            found += mismatches(note, value[name], f"{path}.{name}")
        elif type(None) not in typing.get_args(note) and name != "OBJECT_NAME":
            found.append(f"{path}.{name} is missing")
    return found


@pytest.mark.parametrize("kind", CLASSES)
def test_every_object_fits_the_sdks_annotations(samples: Any, kind: str) -> None:
    assert samples[kind]
    found = [bad for row in samples[kind] for bad in class_mismatches(CLASSES[kind], row, kind)]
    assert sorted(set(found)) == []


def test_the_objects_inside_events_fit_as_well(samples: Any) -> None:
    found = []
    for event in samples["event"]:
        subject = event["data"]["object"]
        found += class_mismatches(CLASSES[subject["object"]], subject, event["type"])
    assert sorted(set(found)) == []


def json_type(value: Any) -> str:
    names = {bool: "bool", int: "int", str: "str", list: "list", dict: "hash"}
    return names.get(type(value), "null")


@pytest.mark.parametrize("kind", CLASSES)
def test_top_level_keys_agree_with_stripes_fixtures(samples: Any, kind: str) -> None:
    if not FIXTURES.exists():
        pytest.skip(
            "Stripe's fixtures (shared/stripe/fixtures3.json) are not beside the repository"
        )
    fixture = msgspec.json.decode(FIXTURES.read_bytes())["resources"][kind]
    rows = samples[kind]
    if kind == "payment_method":
        rows = [row for row in rows if row["type"] == "card"]
    excused = {name for about, name in FIXTURE_EXCEPTIONS if about == kind}
    for row in rows:
        assert set(fixture) - excused - set(row) == set()
        for name in set(fixture) & set(row) - excused:
            types = {json_type(fixture[name]), json_type(row[name])}
            assert len(types - {"null"}) <= 1, (kind, name, fixture[name], row[name])


PARAMETER_EXCEPTIONS = {
    "client_secret": "how a publishable key proves itself, which server SDKs do not send",
    "payment_method_types": "older API versions; now called allowed_payment_method_types",
}

PARAMETERS: dict[str, Any] = {
    "POST /v1/payment_intents": stripe.params.PaymentIntentCreateParams,
    "POST /v1/payment_intents/*": stripe.params.PaymentIntentUpdateParams,
    "POST /v1/payment_intents/*/confirm": stripe.params.PaymentIntentConfirmParams,
    "POST /v1/payment_intents/*/capture": stripe.params.PaymentIntentCaptureParams,
    "POST /v1/payment_intents/*/cancel": stripe.params.PaymentIntentCancelParams,
    "GET /v1/payment_intents": stripe.params.PaymentIntentListParams,
    "POST /v1/customers": stripe.params.CustomerCreateParams,
    "POST /v1/customers/*": stripe.params.CustomerUpdateParams,
    "GET /v1/customers": stripe.params.CustomerListParams,
    "POST /v1/payment_methods": stripe.params.PaymentMethodCreateParams,
    "POST /v1/payment_methods/*": stripe.params.PaymentMethodUpdateParams,
    "GET /v1/payment_methods": stripe.params.PaymentMethodListParams,
    "POST /v1/refunds": stripe.params.RefundCreateParams,
    "GET /v1/refunds": stripe.params.RefundListParams,
    "GET /v1/charges": stripe.params.ChargeListParams,
    "POST /v1/charges/*": stripe.params.ChargeUpdateParams,
    "GET /v1/disputes": stripe.params.DisputeListParams,
    "POST /v1/disputes/*": stripe.params.DisputeUpdateParams,
    "GET /v1/events": stripe.params.EventListParams,
    "POST /v1/webhook_endpoints": stripe.params.WebhookEndpointCreateParams,
    "POST /v1/webhook_endpoints/*": stripe.params.WebhookEndpointUpdateParams,
    "GET /v1/balance_transactions": stripe.params.BalanceTransactionListParams,
    "GET /v1/radar/early_fraud_warnings": stripe.params.radar.EarlyFraudWarningListParams,
}


@pytest.mark.parametrize("route", PARAMETERS)
def test_no_endpoint_accepts_a_parameter_that_stripe_does_not_have(route: str) -> None:
    accepted = set(ROUTES[route].schema.fields)
    if route.startswith("GET"):
        assert set(LIST) <= accepted
    assert accepted - set(PARAMETERS[route].__annotations__) <= set(PARAMETER_EXCEPTIONS)
