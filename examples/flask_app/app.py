"""A Flask shop that sells credits and spends them; see README.md beside this file."""

from __future__ import annotations

import secrets
import uuid

import flask

import credit_payments as cp
from credit_payments.adapters.flask import create_blueprint, install_error_handlers
from credit_payments.errors import NotAuthenticated

REPORT_CREDITS = 5


def create_app(system: cp.System | None = None) -> flask.Flask:
    system = system or cp.connect()  # Stripe keys and database: environment or secret files
    app = flask.Flask(__name__)
    app.secret_key = secrets.token_bytes(32)  # a real shop keeps one, so that sessions survive

    def current_user() -> str | None:
        """Who is logged in: the one thing that the library asks of the host."""
        return flask.session.get("user_id")

    def logged_in() -> str:
        user_id = current_user()
        if user_id is None:
            raise NotAuthenticated
        return user_id

    @app.post("/login/<user_id>")
    def login(user_id: str) -> dict[str, str]:
        # Stands in for the login that your application already has: this one believes everybody.
        flask.session["user_id"] = user_id
        return {"user_id": user_id}

    @app.get("/balance")
    def balance() -> dict[str, int]:
        return {"credits": system.wallets.balance(logged_in()).available}

    @app.post("/reports")
    def make_report() -> dict[str, object]:
        # The key names what is paid for: a repeated request with it is charged once. Keys are
        # shared by all users, so the caller's own id, and its length, stand before what it chose.
        user_id = logged_in()
        key = flask.request.headers.get("Idempotency-Key") or uuid.uuid4().hex
        entry = system.wallets.spend(
            user_id, REPORT_CREDITS, key=f"report-{len(user_id)}-{user_id}-{key}"
        )
        return {"report": "ready", "credits": entry.balance_after}

    app.register_blueprint(create_blueprint(system, current_user=current_user))
    install_error_handlers(app)
    return app


if __name__ == "__main__":
    create_app().run(host="127.0.0.1", port=8080)
