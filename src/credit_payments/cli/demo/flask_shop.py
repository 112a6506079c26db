"""The demo's shop on Flask, served by Werkzeug with a thread for each request."""

from __future__ import annotations

import logging
import socket
from contextlib import AbstractContextManager

import flask
from werkzeug.serving import make_server

import credit_payments as cp
from credit_payments.adapters.flask import create_blueprint, install_error_handlers
from credit_payments.cli.demo.hosting import (
    LOOPBACK,
    USER_HEADER,
    balance_of,
    believed_user,
    in_background,
)

_POLL_SECONDS = 0.05


def create_app(system: cp.System) -> flask.Flask:
    """The endpoints, and one page of the shop's own."""

    def current_user() -> str | None:
        return believed_user(flask.request.remote_addr, flask.request.headers.get(USER_HEADER))

    app = flask.Flask("demo_shop")
    app.register_blueprint(create_blueprint(system, current_user=current_user))
    install_error_handlers(app)

    @app.get("/balance")
    def balance() -> dict[str, int]:
        return balance_of(system, current_user())

    return app


def serve(system: cp.System, listener: socket.socket) -> AbstractContextManager[None]:
    """Serve on a socket that listens already, until the block ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
    port = int(listener.getsockname()[1])
    server = make_server(LOOPBACK, port, create_app(system), threaded=True, fd=listener.fileno())
    return in_background(lambda: server.serve_forever(_POLL_SECONDS), server.shutdown)
