"""A shop on real loopback sockets: simulator, signed webhooks, host app, SQLite."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import attrs
import fastapi
import flask
import uvicorn
from werkzeug.serving import make_server

import credit_payments as cp
from credit_payments.adapters.fastapi import create_router
from credit_payments.adapters.flask import create_blueprint
from credit_payments.testing.simulator import StripeSimulator

Answer = tuple[int, dict[str, Any]]


@attrs.frozen
class LiveShop:
    """A running host application, and what stands around it."""

    simulator: StripeSimulator
    system: cp.System
    database: Path
    port: int

    def ask(self, method: str, path: str, body: Any = None, user: str = "ada") -> Answer:
        """One request of a user to the host app."""
        raw = None if body is None else json.dumps(body).encode()
        headers = {"X-User": user, "Content-Type": "application/json"}
        return self.send(method, path, raw, headers)

    def send(self, method: str, path: str, raw: bytes | None, headers: dict[str, str]) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            connection.request(method, f"/stripe{path}", raw, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def offer(self, user: str = "ada", **fields: object) -> str:
        """Create an intent; 10 dollars unless said otherwise."""
        body = {"user_id": user, "amount": 10} | fields
        status, answer = self.ask("POST", "/create-payment-intent", body, user)
        assert status == 200, answer
        return str(answer["payment_intent_id"])

    def confirm(self, intent: str, user: str = "ada") -> Answer:
        return self.ask("POST", "/confirm-payment", {"payment_intent_id": intent}, user)

    def balance(self, user: str = "ada") -> int:
        return self.system.wallets.balance(user).available

    def rows(self, query: str) -> list[Any]:
        """What the database holds, asked past the library."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()


@contextmanager
def _flask_host(system: cp.System, listening: socket.socket) -> Iterator[None]:
    app = flask.Flask("shop")
    blueprint = create_blueprint(system, current_user=lambda: flask.request.headers.get("X-User"))
    app.register_blueprint(blueprint)
    server = make_server("127.0.0.1", 0, app, threaded=True, fd=listening.fileno())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@contextmanager
def _fastapi_host(system: cp.System, listening: socket.socket) -> Iterator[None]:
    def current_user(request: fastapi.Request) -> str | None:
        return request.headers.get("X-User")

    app = fastapi.FastAPI()
    app.include_router(create_router(system, current_user=current_user))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "uvicorn did not start"
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(10)


Host = Callable[[cp.System, socket.socket], AbstractContextManager[None]]
HOSTS: dict[str, Host] = {"flask": _flask_host, "fastapi": _fastapi_host}


@contextmanager
def open_shop(host: Host, database: Path, **settings: object) -> Iterator[LiveShop]:
    """Listen first, so that the simulator knows where to deliver before anything is sold."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        port = listening.getsockname()[1]
        url = f"http://127.0.0.1:{port}/stripe/webhook"
        with StripeSimulator(webhook_url=url, webhook_workers=8) as simulator:
            given: dict[str, Any] = {
                "database": f"sqlite:///{database}",
                "stripe_secret_key": simulator.secret_key,
                "stripe_webhook_secret": simulator.webhook_secret,
                "stripe_api_base": simulator.url,
                "stripe_wait_seconds_max": 0,
            } | settings
            with cp.connect(**given) as system, host(system, listening):
                yield LiveShop(simulator, system, database, port)
                simulator.wait_for_deliveries()
