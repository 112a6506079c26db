"""A FastAPI service that sells credits and spends them; see README.md beside this file."""

from __future__ import annotations

import os
import secrets
import uuid
from typing import Annotated

import fastapi
import uvicorn
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import credit_payments as cp
from credit_payments.adapters.fastapi import create_router, install_error_handlers
from credit_payments.errors import NotAuthenticated

REPORT_CREDITS = 5

# Stands in for the accounts that your application already has: one token, one user.
TOKENS = {os.environ.get("DEMO_TOKEN") or secrets.token_urlsafe(): "ann"}

bearer = HTTPBearer(auto_error=False)


async def current_user(
    sent: Annotated[HTTPAuthorizationCredentials | None, fastapi.Depends(bearer)],
) -> str | None:
    """Whose token this is: the one thing that the library asks of the host."""
    return TOKENS.get(sent.credentials) if sent else None


async def logged_in(user_id: Annotated[str | None, fastapi.Depends(current_user)]) -> str:
    if user_id is None:
        raise NotAuthenticated
    return user_id


def create_app(system: cp.System | None = None) -> fastapi.FastAPI:
    system = system or cp.connect()  # Stripe keys and database: environment or secret files
    app = fastapi.FastAPI(title="Reports for credits")

    # Plain `def`: the library waits for its database, which must not happen in the event loop.
    @app.get("/balance")
    def balance(user_id: str = fastapi.Depends(logged_in)) -> dict[str, int]:
        return {"credits": system.wallets.balance(user_id).available}

    @app.post("/reports")
    def make_report(
        user_id: str = fastapi.Depends(logged_in),
        idempotency_key: Annotated[str | None, fastapi.Header()] = None,
    ) -> dict[str, object]:
        # The key names what is paid for: a repeated request with it is charged once. Keys are
        # shared by all users, so the caller's own id, and its length, stand before what it chose.
        key = idempotency_key or uuid.uuid4().hex
        entry = system.wallets.spend(
            user_id, REPORT_CREDITS, key=f"report-{len(user_id)}-{user_id}-{key}"
        )
        return {"report": "ready", "credits": entry.balance_after}

    app.include_router(create_router(system, current_user=current_user))
    install_error_handlers(app)
    return app


if __name__ == "__main__":
    for token, owner in TOKENS.items():
        print(f"Authorization: Bearer {token}  ({owner})")
    uvicorn.run(create_app(), host="127.0.0.1", port=8080)
