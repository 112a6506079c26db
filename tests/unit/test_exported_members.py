"""The public surface: what it names is there, and importing it is light."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import credit_payments as cp
from credit_payments import errors

SERVICES = {
    "PaymentsClient": [
        "create_payment_intent", "confirm_payment", "credit_packages", "payment_status",
        "create_customer", "get_customer", "list_payment_methods", "get_payment_method",
        "purchases", "refund",
    ],
    "WebhookProcessor": ["receive"],
    "CreditCalculator": ["credits_for", "amount_for"],
    "Wallets": ["balance", "grant", "spend", "history"],
    "System": ["verify", "close", "__enter__", "__exit__"],
}  # fmt: skip

VALUES = {
    "PaymentIntent": ["client_secret", "payment_intent_id", "amount", "currency", "credits"],
    "Receipt": [
        "transaction_id", "credits_purchased", "amount_paid", "currency", "payment_intent_id"
    ],
    "CreditPackage": ["id", "name", "credits", "price", "currency", "description"],
    "PaymentStatus": ["status", "amount", "currency", "created"],
    "Delivery": ["event_id", "type", "outcome"],
    "Balance": ["available", "held", "frozen", "debt", "expires_next"],
    "Page": ["items", "cursor"],
    "Customer": ["id", "email", "name", "phone", "created", "metadata"],
    "PaymentMethod": ["id", "type", "card", "customer", "created"],
}  # fmt: skip


def test_every_exported_name_resolves_and_none_is_listed_twice() -> None:
    assert len(set(cp.__all__)) == len(cp.__all__)
    for name in cp.__all__:
        assert getattr(cp, name) is not None
    assert set(cp.__all__) <= set(dir(cp))


def test_what_can_be_loaded_is_what_is_exported() -> None:
    assert set(cp._HOMES) == set(cp.__all__)
    assert set(errors.__all__) <= set(cp.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = cp.no_such_name


@pytest.mark.parametrize("name", SERVICES)
def test_the_services_have_their_promised_methods(name: str) -> None:
    for method in SERVICES[name]:
        assert inspect.getdoc(getattr(getattr(cp, name), method)) or method.startswith("__")


@pytest.mark.parametrize("name", VALUES)
def test_the_values_have_their_promised_fields(name: str) -> None:
    kind = getattr(cp, name)
    assert kind.__attrs_attrs__
    assert {field.name for field in kind.__attrs_attrs__} >= set(VALUES[name])


def test_every_public_class_and_function_is_documented() -> None:
    for name in cp.__all__:
        value = getattr(cp, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name


def test_a_system_has_its_promised_parts() -> None:
    with cp.connect(database="memory://") as system:
        assert isinstance(system.payments, cp.PaymentsClient)
        assert isinstance(system.webhooks, cp.WebhookProcessor)
        assert isinstance(system.wallets, cp.Wallets)
        assert isinstance(system.calculator, cp.CreditCalculator)


HEAVY = "stripe flask fastapi pymongo hvac celery psycopg requests sqlalchemy hypothesis pytest"


GRANT = """
import credit_payments as cp
with cp.connect(database="memory://") as system:
    system.wallets.grant("ada", 1, key="k", reason="r")
"""


@pytest.mark.parametrize("work", ["import credit_payments", GRANT], ids=["import", "grant"])
def test_no_third_party_system_is_loaded_before_it_is_needed(work: str) -> None:
    code = f"{work}\nimport sys\nprint([m for m in '{HEAVY}'.split() if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert answer.stdout.strip() == "[]"
