"""A webhook to an application, handed over as a server would, without a socket."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import fastapi

from benchmarks import stripe_events
from benchmarks.measure import WrongResult
from benchmarks.peers.turn import Task


def delivery(app: fastapi.FastAPI, path: str, body: bytes) -> Task:
    """One signed POST to an application."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"shop.example"),
            (b"content-type", b"application/json; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"stripe-signature", stripe_events.sign(body).encode()),
        ],
        "client": ("192.0.2.1", 50_000),
        "server": ("192.0.2.2", 443),
    }

    async def deliver() -> None:
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])
        status = 0

        async def receive() -> MutableMapping[str, Any]:
            return next(messages, {"type": "http.disconnect"})

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        await app(dict(scope), receive, send)
        if status != 200:
            raise WrongResult(f"A webhook to {path} was answered with {status}.")

    return deliver
