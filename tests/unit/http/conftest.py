"""A small system whose answers are known, behind each front end in turn.

The core has tests of its own, and tests/e2e joins the two; here only what the HTTP layer decides
is of interest, and what reaches the core.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import fastapi
import flask
import pytest
from fastapi.testclient import TestClient

from credit_payments import errors
from credit_payments.adapters.fastapi import create_health_router, create_router
from credit_payments.adapters.flask import create_blueprint, create_health_blueprint
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain import values, vitals
from credit_payments.domain.packages import DEFAULT_PACKAGES, CreditPackage
from credit_payments.http import HEALTH_ROUTES, ROUTES, Api, Identity, Request
from credit_payments.posting import PostingQueue
from credit_payments.requests import KeptRequests

CREATED = 1640995200
CARD = values.Card(brand="visa", last4="4242", exp_month=12, exp_year=2025)


WELL = vitals.Health(
    checked_at="2024-01-01T00:00:00.000000Z",
    stripe=vitals.StripeSetup(
        configured=True, livemode=False, webhooks_configured=True, webhook_mode="queued"
    ),
    database=vitals.DatabaseState(kind="sqlite", answers=True, schema_version=3),
    queue=vitals.QueueLength(commands_waiting=1, commands_max=10, oldest_seconds=0.5),
    inbox=vitals.Inbox(waiting=2, oldest_seconds=1.5, dead=0),
    quarantine=vitals.Quarantine(open=0, oldest_seconds=0.0),
    notifications=vitals.NotificationBacklog(waiting=4, dead=1),
    last_event=vitals.LastEvent(
        type="charge.refunded", received_at="2023-12-31T23:59:50.000000Z", seconds_ago=10.0
    ),
    delivery_lag=vitals.DeliveryLag(events=2, median_seconds=1.0, max_seconds=3.0),
    conversions=vitals.Conversions(checked=7),
    last_reconciliation=vitals.LastReconciliation(
        ended_at="2023-12-31T00:00:00.000000Z", seconds_ago=86_400.0
    ),
)


def _requests_in_memory() -> KeptRequests:
    numbers = itertools.count()
    queue = PostingQueue(MemoryStorage(), SystemClock())
    return KeptRequests(queue, new_id=lambda: str(next(numbers)))


@attrs.define
class FakeSystem:
    """Alice owns pi_1, cus_1 and pm_1; `failure` is raised by whatever is called next."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = attrs.field(factory=list)
    failure: Exception | None = None
    packages: tuple[CreditPackage, ...] = DEFAULT_PACKAGES
    requests: KeptRequests = attrs.field(factory=_requests_in_memory)
    well: vitals.Health = WELL
    livemode: bool | None = False

    @property
    def payments(self) -> FakeSystem:
        return self

    @property
    def wallets(self) -> FakeSystem:
        return self

    @property
    def webhooks(self) -> FakeSystem:
        return self

    def _called(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.calls.append((name, args, kwargs))
        if self.failure is not None:
            raise self.failure

    def _find(self, name: str, wanted: str, known: str, owner: str | None) -> None:
        self._called(name, wanted, owner=owner)
        if wanted != known or owner not in (None, "alice"):
            raise errors.NotFound(f"No such object: {wanted}")

    def create_payment_intent(
        self, user_id: str, amount: Any = None, currency: str = "usd", **more: Any
    ) -> values.PaymentIntent:
        self._called("create_payment_intent", user_id, amount, currency, **more)
        return values.PaymentIntent(
            client_secret="pi_1_secret_x",
            payment_intent_id="pi_1",
            amount=Decimal(10 if amount is None else amount).quantize(Decimal("0.01")),
            currency=currency,
            credits=100,
        )

    def confirm_payment(
        self, payment_intent_id: str, *, owner: str | None = None
    ) -> values.Receipt:
        self._find("confirm_payment", payment_intent_id, "pi_1", owner)
        return values.Receipt(
            transaction_id="txn_1",
            credits_purchased=100,
            amount_paid=Decimal("10.00"),
            currency="usd",
            payment_intent_id="pi_1",
        )

    def credit_packages(self) -> list[CreditPackage]:
        self._called("credit_packages")
        return list(self.packages)

    def payment_status(
        self, payment_intent_id: str, *, owner: str | None = None
    ) -> values.PaymentStatus:
        self._find("payment_status", payment_intent_id, "pi_1", owner)
        return values.PaymentStatus(
            status="succeeded", amount=Decimal("10.00"), currency="usd", created=CREATED
        )

    def client_secret(self, payment_intent_id: str, *, owner: str | None = None) -> str:
        self._find("client_secret", payment_intent_id, "pi_1", owner)
        return "pi_1_secret_x"

    def create_customer(
        self, user_id: str, email: str, name: str | None = None, phone: str | None = None
    ) -> values.Customer:
        self._called("create_customer", user_id, email, name, phone)
        return values.Customer(id="cus_1", email=email, created=CREATED)

    def get_customer(self, customer_id: str, *, owner: str | None = None) -> values.Customer:
        self._find("get_customer", customer_id, "cus_1", owner)
        return values.Customer(
            id="cus_1",
            email="user@example.com",
            name="Zoë",
            phone=None,
            created=CREATED,
            metadata={"user_id": "alice", "source": "credit_system"},
        )

    def list_payment_methods(
        self, customer_id: str, *, owner: str | None = None
    ) -> list[values.PaymentMethod]:
        self._find("list_payment_methods", customer_id, "cus_1", owner)
        link = values.PaymentMethod(
            id="pm_2", type="link", card=None, customer="cus_1", created=CREATED
        )
        return [self._method(), link]

    def get_payment_method(
        self, payment_method_id: str, *, owner: str | None = None
    ) -> values.PaymentMethod:
        self._find("get_payment_method", payment_method_id, "pm_1", owner)
        return self._method()

    def refund(self, payment_intent_id: str, amount: Any = None, **more: Any) -> values.Refund:
        self._called("refund", payment_intent_id, amount, **more)
        return values.Refund(
            refund_id="re_1",
            payment_intent_id=payment_intent_id,
            amount=Decimal("10.00"),
            currency="usd",
            status="succeeded",
            credits_reversed=100,
        )

    def balance(self, user_id: str) -> values.Balance:
        self._called("balance", user_id)
        return values.Balance(available=100)

    def history(self, user_id: str, **more: Any) -> values.Page[values.Entry]:
        self._called("history", user_id, **more)
        return values.Page(items=())

    def health(self) -> vitals.Health:
        self._called("health")
        return self.well

    def receive(self, body: bytes, signature: str) -> values.Delivery:
        self._called("receive", body, signature)
        return values.Delivery(event_id="evt_1", type="charge.refunded", outcome="applied")

    @staticmethod
    def _method() -> values.PaymentMethod:
        return values.PaymentMethod(
            id="pm_1", type="card", card=CARD, customer="cus_1", created=CREATED
        )


@attrs.frozen
class Answer:
    """What came back, whichever way it went."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Exchange = Callable[[str, str, dict[str, str], bytes], Answer]


def _caller(header: str | None) -> Identity | str | None:
    """Only tests may name their caller in a header."""
    if header is not None and header.startswith("operator:"):
        return Identity(header.removeprefix("operator:"), operator=True)
    return header


def _bare(system: FakeSystem) -> Exchange:
    api = Api(system)

    def exchange(method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        mount, routes = ("/modules", HEALTH_ROUTES) if "/modules" in url else ("/stripe", ROUTES)
        path, _, query = url.removeprefix(mount).partition("?")
        for route in routes:
            match = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route.path), path)
            if match and route.method == method:
                request = Request(
                    method=method,
                    path_params=match.groupdict(),
                    query=query.encode(),
                    headers={name.lower(): value for name, value in headers.items()},
                    body=body[: route.body_bytes_max + 1],
                )
                response = api.handle(route, request, _caller(headers.get("X-Caller")))
                return Answer(response.status, dict(response.headers), response.body)
        raise LookupError(url)

    return exchange


def _flask(system: FakeSystem) -> Exchange:
    app = flask.Flask(__name__)
    app.register_blueprint(
        create_blueprint(
            system, current_user=lambda: _caller(flask.request.headers.get("X-Caller"))
        )
    )

    app.register_blueprint(create_health_blueprint(system))

    def exchange(method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        answer = app.test_client().open(url, method=method, headers=headers, data=body)
        return Answer(answer.status_code, dict(answer.headers), answer.data)

    return exchange


def _fastapi(system: FakeSystem) -> Exchange:
    def current_user(request: fastapi.Request) -> Identity | str | None:
        return _caller(request.headers.get("x-caller"))

    app = fastapi.FastAPI()
    app.include_router(create_router(system, current_user=current_user))
    app.include_router(create_health_router(system))
    client = TestClient(app)

    def exchange(method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        answer = client.request(method, url, headers=sent, content=body)
        named = {name.title(): value for name, value in answer.headers.items()}
        return Answer(answer.status_code, named, answer.content)

    return exchange


@pytest.fixture
def system() -> FakeSystem:
    return FakeSystem()


@pytest.fixture(params=[_bare, _flask, _fastapi], ids=["bare", "flask", "fastapi"])
def send(request: pytest.FixtureRequest, system: FakeSystem) -> Callable[..., Answer]:
    """Sends `"POST /stripe/customers"` with a body, as a caller, through one front end."""
    exchange: Exchange = request.param(system)

    def send(
        line: str,
        body: object = b"",
        *,
        caller: str | None = "alice",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        method, url = line.split(" ", 1)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if method == "POST" else {}
        sent |= {"X-Caller": caller} if caller is not None else {}
        return exchange(method, url, sent | (headers or {}), raw)

    return send
