"""The demo's shop on FastAPI, served by Uvicorn."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager

import fastapi
import uvicorn

import credit_payments as cp
from credit_payments.adapters.fastapi import create_router, install_error_handlers
from credit_payments.cli.demo.hosting import (
    USER_HEADER,
    balance_of,
    believed_user,
    in_background,
)

_DRAIN_SECONDS = 3


async def current_user(request: fastapi.Request) -> str | None:
    """Who calls, by the demo's header."""
    address = request.client.host if request.client else None
    return believed_user(address, request.headers.get(USER_HEADER))


def create_app(system: cp.System) -> fastapi.FastAPI:
    """The endpoints, and one page of the shop's own."""
    app = fastapi.FastAPI()
    app.include_router(create_router(system, current_user=current_user))
    install_error_handlers(app)

    # Plain `def`: the library waits for its database, which must not happen in the event loop.
    @app.get("/balance")
    def balance(user_id: str | None = fastapi.Depends(current_user)) -> dict[str, int]:
        return balance_of(system, user_id)

    return app


def serve(system: cp.System, listener: socket.socket) -> AbstractContextManager[None]:
    """Serve on a socket that listens already, until the block ends."""
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(system),
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )

    def stop() -> None:
        server.should_exit = True

    return in_background(lambda: server.run(sockets=[listener]), stop)
