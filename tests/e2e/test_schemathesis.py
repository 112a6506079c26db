"""Both applications against their own description: no answer outside of it, and no failure.

Schemathesis covers the description (each bound, each omission, one at a time) and makes up requests
that it allows and that it forbids. What is made up seldom hits a thing that exists: the examples in
the description are those of real ones here, and half of what is made up gets them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import fastapi
import flask
import pytest
import schemathesis
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig
from schemathesis.specs.openapi import checks

import credit_payments as cp
from credit_payments.adapters.fastapi import create_health_router, create_router
from credit_payments.adapters.flask import create_blueprint, create_health_blueprint
from credit_payments.http import HEALTH_ROUTES, ROUTES, Identity, Route, document
from credit_payments.testing.simulator import StripeSimulator

EXAMPLES = 8
EXAMPLES_OF_A_CAMPAIGN = 1_000

CONFORMS = (
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
)

CALLERS = ("owner", "another", "operator", None)
ROUTE: dict[str, tuple[str, Route]] = {
    route.name: (mount + route.path, route)
    for mount, routes in (("/stripe", ROUTES), ("/modules", HEALTH_ROUTES))
    for route in routes
}
NAMES = list(ROUTE)
READING = [
    name
    for name, (_, route) in ROUTE.items()
    if route.parts or route.query or route.body or route.body_bytes_max
]
DOWN = 503


@attrs.define
class Host:
    """An application, its description, and what of the user `owner` is there."""

    simulator: StripeSimulator
    system: cp.System
    schema: Any
    things: dict[str, str]
    _keys: Iterator[int] = attrs.field(factory=itertools.count)

    def operation(self, name: str) -> Any:
        path, route = ROUTE[name]
        return self.schema[path][route.method]

    def cover(self, name: str, *modes: GenerationMode) -> Iterable[Any]:
        """Requests that together reach each bound of what is described."""
        cases: Iterable[Any] = self.schema.iter_coverage_cases(
            self.operation(name),
            generation_modes=list(modes or GenerationMode),
            generation_config=GenerationConfig(),
        )
        return cases

    def call(self, case: Any, caller: str | None, *checked: Any) -> int:
        """Send a request; its status, if the answer is one that is described."""
        headers = {} if caller is None else {"X-Caller": caller}
        answer = case.call_and_validate(headers=headers, checks=[*CONFORMS, *checked])
        return int(answer.status_code)

    def make_new(self, case: Any) -> None:
        """Let a request under the example's key be one of its own."""
        if (case.headers or {}).get("Idempotency-Key") == "order-1":
            case.headers = {**case.headers, "Idempotency-Key": f"order-{next(self._keys)}"}

    def event(self) -> Any:
        """A webhook of Stripe's."""
        intent = self.simulator.peek("payment_intents", self.things["payment_intent_id"])
        body = self.simulator.build_event("payment_intent.succeeded", intent)
        return self.operation("webhook").Case(
            body=body,
            media_type="application/json",
            headers={"Stripe-Signature": self.simulator.sign(body)},
        )

    def steer(self, case: Any) -> None:
        """Put what exists in place of what was made up; what that mends is not forbidden then."""
        for place in ("path_parameters", "query", "body"):
            made_up = getattr(case, place)
            if isinstance(made_up, dict):
                known = made_up.keys() & self.things.keys()
                setattr(case, place, made_up | {name: self.things[name] for name in known})


def _caller(header: str | None) -> Identity | str | None:
    """Only tests may name their caller in a header."""
    return Identity("operator", operator=True) if header == "operator" else header


def _flask(system: cp.System) -> flask.Flask:
    def current_user() -> Identity | str | None:
        return _caller(flask.request.headers.get("X-Caller"))

    app = flask.Flask("shop")
    app.register_blueprint(create_blueprint(system, current_user=current_user))
    app.register_blueprint(create_health_blueprint(system))
    return app


def _fastapi(system: cp.System) -> fastapi.FastAPI:
    def current_user(request: fastapi.Request) -> Identity | str | None:
        return _caller(request.headers.get("x-caller"))

    app = fastapi.FastAPI()
    app.include_router(create_router(system, current_user=current_user))
    app.include_router(create_health_router(system))
    return app


def _make_things(simulator: StripeSimulator, system: cp.System) -> dict[str, str]:
    customer_id = system.payments.create_customer("owner", "owner@example.com").id
    at_stripe = stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})
    method = at_stripe.v1.payment_methods.attach("pm_card_visa", {"customer": customer_id})
    intent_id = system.payments.create_payment_intent("owner", 100).payment_intent_id
    simulator.pay(intent_id)
    system.payments.confirm_payment(intent_id)
    for number in range(3):
        system.wallets.spend("owner", 30, key=f"s{number}")
    return {
        "user_id": "owner",
        "customer_id": customer_id,
        "payment_method_id": method.id,
        "payment_intent_id": intent_id,
        "cursor": system.wallets.history("owner", limit=2).cursor or "",
        "package_id": "basic",
    }


def _described(things: dict[str, str]) -> dict[str, Any]:
    """The description without room for what it does not name, and with examples that exist."""
    described = document()
    described["components"] = _closed(described["components"])
    for operation in (each for path in described["paths"].values() for each in path.values()):
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in things:
                parameter["example"] = things[parameter["name"]]
        if "requestBody" in operation:
            shown = operation["requestBody"]["content"]["application/json"].get("example", {})
            shown.update({name: things[name] for name in shown.keys() & things.keys()})
            shown.update({"amount": 1.5} if "amount" in shown else {})
    return described


def _closed(schema: Any) -> Any:
    if isinstance(schema, dict):
        closed = {name: _closed(part) for name, part in schema.items()}
        if "properties" in schema and schema.get("type") == "object":
            closed.setdefault("additionalProperties", False)
        return closed
    return [_closed(part) for part in schema] if isinstance(schema, list) else schema


@contextmanager
def _opened(make_app: Any, database: Path) -> Iterator[Host]:
    with (
        StripeSimulator(signature_time="wall") as simulator,
        cp.connect(
            database=f"sqlite:///{database}",
            stripe_secret_key=simulator.secret_key,
            stripe_webhook_secret=simulator.webhook_secret,
            stripe_api_base=simulator.url,
        ) as system,
    ):
        things = _make_things(simulator, system)
        schema: Any = schemathesis.openapi.from_dict(_described(things))
        schema.app = make_app(system)
        yield Host(simulator, system, schema, things)


APPS = pytest.mark.parametrize("make_app", [_flask, _fastapi], ids=["flask", "fastapi"])


@pytest.fixture(scope="module", params=[_flask, _fastapi], ids=["flask", "fastapi"])
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """Each application, over SQLite and the simulated Stripe; what happens to it stays."""
    with _opened(request.param, tmp_path_factory.mktemp("shop") / "credits.db") as opened:
        yield opened
        assert opened.system.verify().ok


@pytest.mark.parametrize("name", NAMES)
def test_each_bound_of_the_description_is_the_applications(host: Host, name: str) -> None:
    statuses = set()
    for case in host.cover(name):
        for caller in CALLERS:
            host.make_new(case)
            statuses.add(
                host.call(case, caller, not_a_server_error, checks.negative_data_rejection)
            )
    if name == "webhook":
        statuses.add(host.call(host.event(), None))
    assert 200 in statuses
    assert (401 in statuses) == ROUTE[name][1].needs_caller


@APPS
def test_an_application_that_is_down_says_so_as_described(make_app: Any, tmp_path: Path) -> None:
    with _opened(make_app, tmp_path / "credits.db") as host:
        host.system.close()
        answered = {
            name: {
                host.call(case, "operator" if name == "refund" else "owner")
                for case in host.cover(name, GenerationMode.POSITIVE)
            }
            for name in NAMES
        }
    assert answered.pop("credit_packages") == {200}
    # An event that is not signed is not looked at.
    assert answered.pop("webhook") == {400}
    for name, statuses in answered.items():
        assert DOWN in statuses, name
        assert statuses <= {400, 403, 404, DOWN}, name


@pytest.mark.parametrize("name", NAMES)
def test_what_the_description_allows_is_answered_within_it(host: Host, name: str) -> None:
    _try(host, name, GenerationMode.POSITIVE, EXAMPLES)


@pytest.mark.parametrize("name", READING)
def test_what_the_description_forbids_is_refused(host: Host, name: str) -> None:
    _try(host, name, GenerationMode.NEGATIVE, EXAMPLES)


@pytest.mark.torture
@pytest.mark.parametrize("name", NAMES)
def test_much_that_the_description_allows(host: Host, name: str) -> None:
    _try(host, name, GenerationMode.POSITIVE, EXAMPLES_OF_A_CAMPAIGN)


@pytest.mark.torture
@pytest.mark.parametrize("name", READING)
def test_much_that_the_description_forbids(host: Host, name: str) -> None:
    _try(host, name, GenerationMode.NEGATIVE, EXAMPLES_OF_A_CAMPAIGN)


def _try(host: Host, name: str, mode: GenerationMode, examples: int) -> None:
    made_up = host.operation(name).as_strategy(generation_mode=mode)

    @settings(
        max_examples=examples,
        derandomize=examples == EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=made_up, caller=st.sampled_from(CALLERS), is_steered=st.booleans())
    def ask(case: Any, caller: str | None, is_steered: bool) -> None:
        if is_steered:
            host.steer(case)
        host.call(case, caller, not_a_server_error, checks.negative_data_rejection)

    ask()
