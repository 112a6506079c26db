"""A shop whose every secret is known beforehand, with a rude host and a strange Stripe."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import attrs
import fastapi
import flask
from fastapi.testclient import TestClient
from tests.support.canaries import PERSON, SECRETS, Finder

import credit_payments as cp
from credit_payments.adapters import fastapi as on_fastapi
from credit_payments.adapters import flask as on_flask
from credit_payments.adapters.prometheus import Prometheus
from credit_payments.testing.simulator import StripeSimulator

EVERYTHING = " ".join([*SECRETS.values(), *PERSON.values()])
Answer = tuple[int, bytes]
Send = Callable[[str, str, dict[str, str], bytes], tuple[int, dict[str, str], bytes]]


class Rude(Exception):
    """What the host's own code raises: with all that it has in hand."""


def be_rude(*_: object, **__: object) -> Any:
    raise Rude(EVERYTHING) from ValueError(EVERYTHING)


class Users:
    def exists(self, user_id: str) -> bool:
        return bool(be_rude() if user_id == "rude" else True)


class Broken:
    """A job queue, a notifier and a telemetry of which nothing works."""

    enqueue = send = count = took = staticmethod(be_rude)


class EchoingStripe(BaseHTTPRequestHandler):
    """Somebody in Stripe's place who says back whatever was sent, in each form of an answer."""

    status, kind = 200, "html"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        said = f"{EVERYTHING} {body} {dict(self.headers)}"
        error = {"type": "invalid_request_error", "message": said, "param": self.kind, "code": said}
        if self.status in (401, 403) or self.kind == "amount":
            # What Stripe itself quotes there: the key, or the amount.
            error["message"] = f"Invalid: {self.headers['Authorization']}, 10 usd, pi_1"
        content = {
            "html": f"<html>{said}</html>",
            "list": json.dumps([said]),
            "object": json.dumps({"object": "customer", "id": said, "email": {"a": said}}),
        }.get(self.kind, json.dumps({"error": error}))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    do_GET = do_POST = answer  # noqa: N815 - the standard library's

    def log_message(self, *_: object) -> None:
        """Nothing."""


def flask_host(system: cp.System, metrics: Prometheus) -> Send:
    app = flask.Flask("shop")
    app.register_blueprint(
        on_flask.create_blueprint(system, current_user=lambda: flask.request.headers.get("X-User"))
    )
    app.register_blueprint(on_flask.create_health_blueprint(system, metrics=metrics))
    client = app.test_client()

    def send(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        answer = client.open(path, method=method, headers=headers, data=body)
        return answer.status_code, dict(answer.headers), answer.data

    return send


def fastapi_host(system: cp.System, metrics: Prometheus) -> Send:
    app = fastapi.FastAPI()

    def current_user(request: fastapi.Request) -> str | None:
        return request.headers.get("x-user")

    app.include_router(on_fastapi.create_router(system, current_user=current_user))
    app.include_router(on_fastapi.create_health_router(system, metrics=metrics))
    client = TestClient(app, raise_server_exceptions=False)

    def send(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        answer = client.request(method, path, headers=headers, content=body)
        return answer.status_code, dict(answer.headers), answer.content

    return send


HOSTS = {"flask": flask_host, "fastapi": fastapi_host}


@attrs.define
class Shop:
    """A system, the host in front of it, and the finder behind everything."""

    finder: Finder
    stripe: StripeSimulator
    system: cp.System
    send: Send
    database: str
    intents: list[str] = attrs.field(factory=list)

    def ask(
        self, method: str, path: str, body: Any = None, *, user: str = "ada", **how: Any
    ) -> Answer:
        raw = b"" if body is None else json.dumps(body).encode()
        may_show = how.pop("may_show", ())
        headers = {
            "X-User": user,
            "Content-Type": "application/json",
            "Authorization": f"Bearer {SECRETS['authorization']}",
            "Cookie": f"session={SECRETS['authorization']}",
            **how,
        }
        status, answered, content = self.send(method, path, headers, raw)
        if status == 200 and path.endswith("/create-payment-intent"):
            offered = json.loads(content)
            secret = offered["client_secret"].partition("_secret_")[2]
            name = f"client secret of {offered['payment_intent_id']}"
            self.finder.more[name] = secret.encode()
            self.intents.append(offered["payment_intent_id"])
            may_show = (name,)
        self.finder.add("answers", content, may_show=may_show if status == 200 else ())
        self.finder.add("answers", answered)
        return status, content

    def register(self, **how: Any) -> Answer:
        body = {"user_id": "ada", **PERSON}
        return self.ask("POST", "/stripe/customers", body, may_show=tuple(PERSON), **how)

    def offer(self, user: str = "ada", **how: Any) -> Answer:
        body = {"user_id": user, "amount": 10}
        return self.ask("POST", "/stripe/create-payment-intent", body, user=user, **how)

    def webhook(self, body: bytes, signature: str | None = None) -> Answer:
        header = self.stripe.sign(body) if signature is None else signature
        status, headers, content = self.send(
            "POST", "/stripe/webhook", {"Stripe-Signature": header}, body
        )
        self.finder.add("answers", content)
        self.finder.add("answers", headers)
        return status, content

    def attempt(self, call: Callable[[], object]) -> object:
        """Call the system in Python; what it raises is looked through."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.finder.error(error)
            return error


def look_into_the_database(shop: Shop) -> None:
    kind = shop.database.partition(":")[0]
    if kind == "sqlite":
        path = Path(shop.database.removeprefix("sqlite:///"))
        for file in path.parent.glob(f"{path.name}*"):
            shop.finder.add("database", file.read_bytes())
        with contextlib.closing(sqlite3.connect(path)) as lite:
            shop.finder.add("database", "\n".join(lite.iterdump()))
    elif kind == "postgresql":
        import psycopg  # noqa: PLC0415

        with psycopg.connect(shop.database) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            ).fetchall()
            for (table,) in tables:
                rows = connection.execute(f'SELECT row_to_json(t)::text FROM "{table}" t')
                shop.finder.add("database", rows.fetchall())
    else:
        import bson  # noqa: PLC0415
        import pymongo  # noqa: PLC0415

        with pymongo.MongoClient[dict[str, Any]](shop.database) as client:
            kept = client.get_default_database()
            for name in kept.list_collection_names():
                for row in kept[name].find():
                    shop.finder.add("database", bson.encode(row))
