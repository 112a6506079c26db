"""A shop with two customers and an operator, on each framework, that notes what Stripe is asked."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import attrs
import fastapi
import flask
import stripe

import credit_payments as cp
from credit_payments.adapters.fastapi import create_health_router, create_router
from credit_payments.adapters.flask import create_blueprint, create_health_blueprint
from credit_payments.http import Identity
from credit_payments.testing.simulator import StripeSimulator

OLGA, OTTO = OPERATORS = "user-olga-operator", "user-otto-operator"
STRIPE, HEALTH = "/stripe", "/modules"


class NotedStripe(StripeSimulator):
    """Notes each request, as text."""

    def __init__(self, **options: Any) -> None:
        self.asked: list[str] = []
        super().__init__(**options)

    def _answer(self, request: Any) -> Any:
        body = request.body.decode()
        self.asked.append(f"{request.method} {request.path} {request.query} {body}")
        return super()._answer(request)


@attrs.frozen
class Person:
    """A user with one of each; of one who does not exist, the ids are as long as real ones."""

    user_id: str
    email: str
    name: str
    phone: str
    card: str
    last4: str
    customer_id: str = ""
    payment_method_id: str = ""
    paid_intent_id: str = ""
    open_intent_id: str = ""
    client_secret: str = ""
    cursor: str = ""
    transactions: frozenset[str] = frozenset()

    def is_in(self, text: str, *, told: Iterable[str] = ()) -> list[str]:
        """What of this person a text shows, except what its reader had said before."""
        # Four digits stand in many a time: those of a card are in quotes.
        hidden = attrs.filters.exclude("card", "cursor", "last4", "transactions")
        kept = {*attrs.asdict(self, filter=hidden).values(), f'"{self.last4}"'} | self.transactions
        return sorted(value for value in kept - {*told} if value and value in text)


ADA = Person(
    "user-ada-7f3a", "ada.secret@example.com", "Ada Byron", "+15550101", "pm_card_discover", "1117"
)
BOB = Person(
    "user-bob-91c4", "bob.secret@example.com", "B. Boole", "+15550102", "pm_card_mastercard", "4444"
)
NOBODY = Person(
    user_id="user-nob-0000",
    email="nobody@example.com",
    name="No Body",
    phone="+15550103",
    card="",
    last4="",
    customer_id="cus_0123456789abcd",
    payment_method_id="pm_0123456789abcdefghijklmn",
    paid_intent_id="pi_0123456789abcdefghijklmn",
    open_intent_id="pi_nmlkjihgfedcba9876543210",
)


@attrs.frozen
class Answer:
    """All that a caller gets to see."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        fields = "\n".join(f"{name}: {value}" for name, value in self.headers)
        return f"{self.status}\n{fields}\n\n{self.body.decode()}"

    def without(self, *told: str) -> str:
        """The text, where what the caller had said is not spelled out."""
        text = self.text
        for value in told:
            for form in {value, quote(value, errors="surrogatepass"), repr(value)[1:-1]} - {""}:
                text = text.replace(form, "…")
        return text


Exchange = Callable[[str, str, dict[str, str], bytes], Answer]


def _answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
    # The length stays: where no body is sent, it might still tell of one.
    said = ((name.lower(), value) for name, value in headers)
    return Answer(status, tuple(sorted(field for field in said if field[0] != "date")), body)


def _caller(header: str | None) -> Identity | str | None:
    """Only tests may name their caller in a header."""
    user_id = unquote(header, errors="surrogatepass") if header else None
    return Identity(user_id, operator=True) if user_id in OPERATORS else user_id


@contextmanager
def _flask(system: cp.System) -> Iterator[tuple[Exchange, set[str]]]:
    app = flask.Flask("shop", static_folder=None)
    identify = lambda: _caller(flask.request.headers.get("X-Caller"))  # noqa: E731
    app.register_blueprint(create_blueprint(system, current_user=identify, url_prefix=STRIPE))
    app.register_blueprint(create_health_blueprint(system, url_prefix=HEALTH))

    def exchange(method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        client = app.test_client(use_cookies=False)
        answer = client.open(url, method=method, headers=headers, data=body)
        return _answer(answer.status_code, answer.headers.items(), answer.data)

    yield exchange, {rule.endpoint.split(".")[-1] for rule in app.url_map.iter_rules()}


@contextmanager
def _fastapi(system: cp.System) -> Iterator[tuple[Exchange, set[str]]]:
    def identify(request: fastapi.Request) -> Identity | str | None:
        return _caller(request.headers.get("X-Caller"))

    app = fastapi.FastAPI(openapi_url=None)
    router = create_router(system, current_user=identify, prefix=STRIPE)
    health = create_health_router(system, prefix=HEALTH)
    app.include_router(router)
    app.include_router(health)
    with asyncio.Runner() as runner:

        def exchange(method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
            return runner.run(_over_asgi(app, method, url, headers, body))

        names = {getattr(route, "name", "") for route in (*router.routes, *health.routes)}
        yield exchange, names


async def _over_asgi(
    app: Any, method: str, url: str, headers: dict[str, str], body: bytes
) -> Answer:
    """One request as uvicorn hands it over: a test client would tidy the path first."""
    path, _, query = url.partition("?")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    fields = {"host": "shop.example"} | {name.lower(): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        "client": ("192.0.2.1", 4),
        "server": ("192.0.2.2", 80),
    }
    await app(scope, receive, send)
    start = sent[0]
    pairs = [(name.decode(), value.decode()) for name, value in start["headers"]]
    return _answer(start["status"], pairs, b"".join(part.get("body", b"") for part in sent[1:]))


FRAMEWORKS = {"flask": _flask, "fastapi": _fastapi}


@attrs.frozen
class Shop:
    """The endpoints on one framework; each person is whole by now."""

    simulator: NotedStripe
    system: cp.System
    database: Path
    exchange: Exchange
    mounted: set[str]

    def send(
        self,
        line: str,
        body: object = None,
        caller: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request, `GET /balance` for example; the answer, and nothing else, comes back."""
        method, url = line.split(" ", 1)
        sent = {} if caller is None else {"X-Caller": quote(caller, errors="surrogatepass")}
        raw = b""
        if method == "POST":
            sent["Content-Type"] = "application/json"
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        prefix = "" if url.startswith(HEALTH) else STRIPE
        return self.exchange(method, prefix + url, sent | (headers or {}), raw)

    def overhear(self, *args: Any, **kwargs: Any) -> tuple[Answer, list[str]]:
        """One request, and what Stripe was asked for its sake."""
        before = len(self.simulator.asked)
        answer = self.send(*args, **kwargs)
        return answer, self.simulator.asked[before:]

    def rows(self) -> list[str]:
        """Everything that is written, whoever wrote it."""
        with closing(sqlite3.connect(self.database)) as connection:
            return list(connection.iterdump())

    def at_stripe(self) -> Any:
        """Stripe's API, as anybody with the key sees it."""
        key, base = self.simulator.secret_key, self.simulator.url
        return stripe.StripeClient(key, base_addresses={"api": base}).v1

    def whole(self, person: Person) -> Person:
        """The person with a customer, a card, a purchase, an open intent and a history."""

        def ask(line: str, **fields: object) -> Any:
            answer = self.send(line, fields or None, person.user_id)
            assert answer.status == 200, answer
            return answer.json

        user_id = person.user_id
        contact = {"email": person.email, "name": person.name, "phone": person.phone}
        customer_id = ask("POST /customers", user_id=user_id, **contact)["customer_id"]
        attached = self.at_stripe().payment_methods.attach(person.card, {"customer": customer_id})
        buys = {"user_id": user_id, "amount": 10, "customer_id": customer_id}
        paid, waiting = (ask("POST /create-payment-intent", **buys) for _ in range(2))
        self.simulator.pay(paid["payment_intent_id"])
        ask("POST /confirm-payment", payment_intent_id=paid["payment_intent_id"])
        for key in ("welcome", "again"):
            self.system.wallets.grant(user_id, 5, key=f"{user_id}:{key}", reason=f"{user_id} {key}")
        history = ask("GET /transactions?limit=2")
        whole = ask("GET /transactions")["transactions"]
        return attrs.evolve(
            person,
            customer_id=customer_id,
            payment_method_id=str(attached.id),
            paid_intent_id=paid["payment_intent_id"],
            open_intent_id=waiting["payment_intent_id"],
            client_secret=waiting["client_secret"],
            cursor=history["next_cursor"],
            transactions=frozenset(entry["transaction_id"] for entry in whole),
        )


@contextmanager
def open_shop(framework: str, folder: Path, **settings: object) -> Iterator[Shop]:
    """A shop on a framework, over SQLite and the simulated Stripe."""
    database = folder / f"{framework}.db"
    with NotedStripe() as simulator:
        given: dict[str, Any] = {
            "database": f"sqlite:///{database}",
            "stripe_secret_key": simulator.secret_key,
            "stripe_webhook_secret": simulator.webhook_secret,
            "stripe_api_base": simulator.url,
            "stripe_attempts_max": 1,
        } | settings
        with cp.connect(**given) as system, FRAMEWORKS[framework](system) as (exchange, mounted):
            yield Shop(simulator, system, database, exchange, mounted)
            assert system.verify().ok
