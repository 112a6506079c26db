"""Run by test_idempotent_requests: asks for an intent under a key, and dies where it is told to."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import credit_payments as cp
from credit_payments.http import ROUTES, Api, Identity, Request, Response

SALE: dict[str, Any] = {"user_id": "ada", "amount": 10}
STEPS = ("before begin", "after begin", "after stripe", "before finish", "after finish")
"""Where a process may die; after stripe means before our own note of what it has made."""


def ask(
    system: cp.System,
    name: str = "create_payment_intent",
    body: dict[str, Any] = SALE,
    *,
    key: str,
    caller: str | Identity = "ada",
) -> Response:
    """One request that carries a key, as a framework would hand it over."""
    route = next(route for route in ROUTES if route.name == name)
    headers = {"content-type": "application/json", "idempotency-key": key}
    request = Request(method="POST", headers=headers, body=json.dumps(body).encode())
    return Api(system).handle(route, request, caller)


def die_at(system: cp.System, step: str, die: Callable[[], None]) -> None:
    """Have a system's next request end at a step."""
    when, _, what = step.partition(" ")
    gateway: Any = system._gateway
    owner, names = (
        (gateway, ["create_payment_intent", "create_customer", "create_refund"])
        if what == "stripe"
        else (system.requests, [what])
    )
    for name in names:
        setattr(owner, name, _ending(getattr(owner, name), when, die))


def _ending(method: Callable[..., Any], when: str, die: Callable[[], None]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            die()
        answer = method(*args, **kwargs)
        if when == "after":
            die()
        return answer

    return run


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def main(database: str, stripe: str, key: str, threads: int, step: str) -> None:
    settings: dict[str, Any] = {
        "database": database,
        "stripe_secret_key": "sk_test_simulator",
        "stripe_api_base": stripe,
    }
    with cp.connect(**settings) as system:
        print("ready", flush=True)  # noqa: T201
        sys.stdin.readline()  # so that all processes begin at the same moment
        if step:
            die_at(system, step, _kill)
        with ThreadPoolExecutor(threads) as pool:
            asked = [pool.submit(ask, system, key=key) for _ in range(threads)]
            answers = [each.result(60) for each in asked]
    print(json.dumps([(answer.status, answer.body.decode()) for answer in answers]))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
