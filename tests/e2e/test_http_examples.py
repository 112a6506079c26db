"""The example applications run as their READMEs say, over what `connect` returns."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fastapi.testclient import TestClient

import credit_payments as cp

EXAMPLES = Path(__file__).parents[2] / "examples"
PAY = {"user_id": "ann", "amount": 10.00, "currency": "usd"}


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[cp.System]:
    for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    with cp.connect(database="memory://") as system:
        yield system


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_flask_shop_sells_and_spends(system: cp.System) -> None:
    client = load("flask_app").create_app(system).test_client()
    assert client.get("/stripe/credit-packages").json["success"] is True
    assert client.get("/balance").status_code == 401
    client.post("/login/ann")
    assert client.get("/balance").json == {"credits": 0}
    refused = client.post("/reports")
    assert (refused.status_code, refused.json["error_code"]) == (402, "insufficient_credits")
    system.wallets.grant("ann", 8, key="welcome", reason="welcome")
    for _ in range(2):
        made = client.post("/reports", headers={"Idempotency-Key": "q3"})
        assert made.json == {"report": "ready", "credits": 3}
    unconfigured = client.post("/stripe/create-payment-intent", json=PAY)
    assert unconfigured.status_code == 503
    assert unconfigured.json["error"] == "Stripe is not configured"


def test_the_fastapi_service_sells_and_spends(
    system: cp.System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_TOKEN", "let-me-in")
    client = TestClient(load("fastapi_app").create_app(system))
    assert client.get("/stripe/credit-packages").json()["success"] is True
    assert client.get("/balance").status_code == 401
    assert client.get("/balance", headers={"Authorization": "Bearer guess"}).status_code == 401
    client.headers["Authorization"] = "Bearer let-me-in"
    assert client.get("/balance").json() == {"credits": 0}
    refused = client.post("/reports")
    assert (refused.status_code, refused.json()["error_code"]) == (402, "insufficient_credits")
    system.wallets.grant("ann", 8, key="welcome", reason="welcome")
    for _ in range(2):
        made = client.post("/reports", headers={"Idempotency-Key": "q3"})
        assert made.json() == {"report": "ready", "credits": 3}
    unconfigured = client.post("/stripe/create-payment-intent", json=PAY)
    assert unconfigured.status_code == 503
    assert unconfigured.json()["error"] == "Stripe is not configured"


def test_two_users_of_the_flask_shop_may_choose_the_same_key(system: cp.System) -> None:
    client = load("flask_app").create_app(system).test_client()
    for user_id in ("ann", "bob"):
        system.wallets.grant(user_id, 8, key=f"welcome-{user_id}", reason="welcome")
        client.post(f"/login/{user_id}")
        made = client.post("/reports", headers={"Idempotency-Key": "q3"})
        assert made.json == {"report": "ready", "credits": 3}


def test_two_users_of_the_fastapi_service_may_choose_the_same_key(system: cp.System) -> None:
    example = load("fastapi_app")
    vars(example)["TOKENS"].update({"let-ann-in": "ann", "let-bob-in": "bob"})
    client = TestClient(example.create_app(system))
    for user_id in ("ann", "bob"):
        system.wallets.grant(user_id, 8, key=f"welcome-{user_id}", reason="welcome")
        sent = {"Authorization": f"Bearer let-{user_id}-in", "Idempotency-Key": "q3"}
        made = client.post("/reports", headers=sent)
        assert made.json() == {"report": "ready", "credits": 3}
