"""The demo's shop: a host application as a process of its own, on a real server.

It says where it listens, reads its settings as one JSON line, and serves until its standard input
ends. Settings come that way because Stripe gives out the webhook secret only once it knows the
shop's address, and because a command line shows them to every process of the machine.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import credit_payments as cp
from credit_payments.cli.demo.hosting import LOOPBACK

Serve = Callable[[cp.System, socket.socket], AbstractContextManager[None]]


def main() -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--framework", choices=["flask", "fastapi"], required=True)
    given = parser.parse_args()
    # Listening before the heavy imports: the address is known at once, and who is early waits.
    with socket.create_server((LOOPBACK, 0), backlog=256) as listener:
        port = int(listener.getsockname()[1])
        sys.stdout.write(json.dumps({"url": f"http://{LOOPBACK}:{port}"}) + "\n")
        sys.stdout.flush()
        serve = _server(given.framework)
        settings = sys.stdin.buffer.readline()
        if not settings:
            return 0
        with cp.connect(**json.loads(settings)) as system, serve(system, listener):
            sys.stdin.buffer.read()
    return 0


def _server(framework: str) -> Serve:
    # One of the two is enough, so only that one may be asked for.
    if framework == "flask":
        from credit_payments.cli.demo import flask_shop  # noqa: PLC0415

        return flask_shop.serve
    from credit_payments.cli.demo import fastapi_shop  # noqa: PLC0415

    return fastapi_shop.serve


if __name__ == "__main__":
    sys.exit(main())
