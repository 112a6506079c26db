"""What is FastAPI's own; tests/unit/http runs every endpoint through the router."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, cast

import fastapi
import httpx2
import pytest
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.testclient import TestClient

from credit_payments.adapters.fastapi import (
    Identity,
    create_health_router,
    create_router,
    install_error_handlers,
)
from credit_payments.bootstrap import connect
from credit_payments.domain.values import Delivery
from credit_payments.errors import ConfigurationError, InsufficientCredits, NotAllowed, NotFound
from credit_payments.http import ROUTES, describe, document, operation_id

STATUS = "/stripe/payment-status/pi_1"
WEBHOOK = "/stripe/webhook"


class Webhooks:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def receive(self, body: bytes, signature: str) -> Delivery:
        self.bodies.append(body)
        return Delivery(event_id="evt_1", type="ping", outcome="ignored")


class Payments:
    """Says in its one error what it was asked, once it is let go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def payment_status(self, payment_intent_id: str, *, owner: str | None) -> None:
        assert self.gate.wait(5), "nobody opened the gate"
        raise NotFound(f"{payment_intent_id} for {owner}")


@pytest.fixture
def system() -> Any:
    return types.SimpleNamespace(payments=Payments(), webhooks=Webhooks())


def make_app(system: Any, current_user: Any, **options: Any) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    app.include_router(create_router(system, current_user=current_user, **options))
    return app


@pytest.mark.parametrize("current_user", [None, "alice"])
def test_a_router_without_an_identity_callable_is_refused(
    system: Any, current_user: object
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        create_router(system, current_user=cast("Any", current_user))
    assert caught.value.param == "current_user"
    with pytest.raises(TypeError, match="current_user"):
        create_router(system)  # type: ignore[call-arg]


async def in_a_coroutine() -> str:
    return "alice"


def as_a_dependency_of_its_own(
    sent: Annotated[
        HTTPAuthorizationCredentials | None, fastapi.Depends(HTTPBearer(auto_error=False))
    ],
) -> Identity | None:
    return Identity(sent.credentials) if sent else None


@pytest.mark.parametrize(
    "current_user", [lambda: "alice", in_a_coroutine, as_a_dependency_of_its_own]
)
def test_the_identity_callable_is_a_dependency_like_any_other(
    system: Any, current_user: Any
) -> None:
    client = TestClient(make_app(system, current_user))
    answer = client.get(STATUS, headers={"Authorization": "Bearer alice"})
    assert (answer.status_code, answer.json()["message"]) == (404, "pi_1 for alice")


def test_a_caller_without_credentials_is_refused(system: Any) -> None:
    answer = TestClient(make_app(system, as_a_dependency_of_its_own)).get(STATUS)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "not_authenticated")


def test_the_mount_can_be_elsewhere(system: Any) -> None:
    app = make_app(system, lambda: "alice", prefix="/api/pay")
    client = TestClient(app)
    assert client.get("/api/pay/payment-status/pi_1").json()["error"] == "Not found"
    assert client.get(STATUS).json() == {"detail": "Not Found"}


def test_a_host_that_raises_is_not_overruled(system: Any) -> None:
    def current_user() -> str:
        raise fastapi.HTTPException(418, "log in first")

    answer = TestClient(make_app(system, current_user)).get(STATUS)
    assert (answer.status_code, answer.json()) == (418, {"detail": "log in first"})


def test_an_error_of_ours_from_the_identity_callable_answers_in_json(system: Any) -> None:
    def current_user() -> str:
        raise NotAllowed("suspended")

    answer = TestClient(make_app(system, current_user)).get(STATUS)
    assert (answer.status_code, answer.json()["message"]) == (403, "suspended")


def test_the_webhook_never_asks_who_is_calling(system: Any) -> None:
    def current_user() -> str:
        raise AssertionError("not for webhooks")

    answer = TestClient(make_app(system, current_user)).post("/stripe/webhook", content=b"{}")
    assert answer.status_code == 200


def test_a_slow_core_does_not_block_the_event_loop(system: Any) -> None:
    system.payments.gate.clear()
    app = make_app(system, lambda: "alice")

    @app.get("/open")
    async def open_gate() -> str:
        system.payments.gate.set()
        return "open"

    async def both() -> list[int]:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            waiting = asyncio.create_task(client.get(STATUS))
            await asyncio.sleep(0.05)
            opened = await client.get("/open")
            return [(await waiting).status_code, opened.status_code]

    # In the loop's own thread the first request would wait for a gate that the second opens.
    assert asyncio.run(both()) == [404, 200]


def deliver(app: fastapi.FastAPI, receive: Callable[[], Awaitable[dict[str, Any]]]) -> object:
    """Post a webhook whose body arrives as `receive` says; returns the status."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": WEBHOOK,
        "raw_path": WEBHOOK.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"]


def test_a_streamed_body_is_read_to_its_bound_and_no_further(system: Any) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while given < 4 << 20:
            given += 1 << 16
            yield b"x" * (1 << 16)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(chunks), "more_body": True}

    chunks = endless()
    assert deliver(make_app(system, lambda: "alice"), receive) == 200
    assert len(system.webhooks.bodies[0]) == (1 << 20) + 1
    assert given <= (1 << 20) + (1 << 17)


def test_a_caller_who_hangs_up_reaches_nothing(system: Any) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert deliver(make_app(system, lambda: "alice"), receive) == 400
    assert system.webhooks.bodies == []


def test_the_hosts_own_endpoints_can_answer_errors_in_the_same_json() -> None:
    app = fastapi.FastAPI()
    install_error_handlers(app)

    @app.get("/render")
    def render() -> str:
        raise InsufficientCredits(available=3, required=5)

    answer = TestClient(app).get("/render")
    assert (answer.status_code, answer.json()["error_code"]) == (402, "insufficient_credits")


def test_the_routes_describe_themselves(system: Any) -> None:
    paths = make_app(system, as_a_dependency_of_its_own).openapi()["paths"]
    assert len(paths) == len(ROUTES)
    create = paths["/stripe/create-payment-intent"]["post"]
    assert create["operationId"] == "credit_payments_create_payment_intent"
    schema = create["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["user_id"]
    assert create["security"] == [{"HTTPBearer": []}]
    [customer_id] = paths["/stripe/customers/{customer_id}"]["get"]["parameters"]
    assert (customer_id["name"], customer_id["in"]) == ("customer_id", "path")
    assert "security" not in paths["/stripe/webhook"]["post"]


def test_the_applications_description_has_what_ours_says(system: Any) -> None:
    app = make_app(system, as_a_dependency_of_its_own)
    described = app.openapi()
    for route in ROUTES:
        told = described["paths"][f"/stripe{route.path}"][route.method.lower()]
        ours = describe(route)
        assert {name: told[name] for name in ours} == ours
        assert (told["summary"], told["operationId"]) == (route.summary, operation_id(route))
        # FastAPI's own word for what it refuses itself, which here is nothing.
        assert ("422" in told["responses"]) == route.creates
    assert "HTTPValidationError" not in described.get("components", {}).get("schemas", {})


def test_the_router_describes_itself_wherever_it_is_mounted(system: Any) -> None:
    inner = make_app(system, lambda: "alice", prefix="/pay")
    outer = fastapi.FastAPI()
    outer.mount("/shop", inner)
    answer = TestClient(outer).get("/shop/pay/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == document(prefix="/shop/pay", health_prefix=None)
    assert all("openapi" not in path for path in inner.openapi()["paths"])


def test_the_router_can_keep_its_description_to_itself(system: Any) -> None:
    app = make_app(system, lambda: "alice", openapi=False)
    assert TestClient(app).get("/stripe/openapi.json").status_code == 404
    assert len(app.openapi()["paths"]) == len(ROUTES)


# -- health ------------------------------------------------------------------------------------


class Scraped:
    content_type = "text/plain; version=1.0.0; charset=utf-8"

    def text(self) -> bytes:
        return b"up 1.0\n"


def test_health_is_mounted_apart_from_the_endpoints() -> None:
    app = fastapi.FastAPI()
    with connect(database="memory://") as system:
        app.include_router(create_health_router(system))
        client = TestClient(app)
        assert client.get("/modules/stripe/health").json()["status"] == "ok"
        assert client.get("/modules/transactions/health").status_code == 200
    app.include_router(create_health_router(system, prefix="/later"))  # with no look behind it
    assert client.get("/later/transactions/health").status_code == 503
    assert client.get("/modules/stripe/metrics").status_code == 404
    assert client.post("/modules/stripe/health").status_code == 405


def test_metrics_are_mounted_where_there_are_any(system: Any) -> None:
    app = fastapi.FastAPI()
    app.include_router(create_health_router(system, metrics=Scraped(), prefix="/internal"))
    answer = TestClient(app).get("/internal/stripe/metrics")
    assert (answer.status_code, answer.content) == (200, b"up 1.0\n")
    assert answer.headers["content-type"] == Scraped.content_type
    described = app.openapi()["paths"]
    assert set(described) == {
        "/internal/stripe/health",
        "/internal/transactions/health",
        "/internal/stripe/metrics",
    }
    assert all("parameters" not in path["get"] for path in described.values())
    scraped = described["/internal/stripe/metrics"]["get"]["responses"]["200"]
    assert scraped["content"] == {"text/plain": {"schema": {"type": "string"}}}
