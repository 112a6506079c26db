"""``python -m credit_payments.testing.simulator``: the simulator as a process of its own."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence

from .simulator import StripeSimulator

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the first line on standard output tells where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m credit_payments.testing.simulator",
        description="A Stripe simulator on a loopback port.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--seed", type=int, default=0, help="determines every id")
    parser.add_argument("--webhook-url", help="where to send every event")
    parser.add_argument("--webhook-secret", default="whsec_simulator", help="what signs it")
    parser.add_argument("--webhook-workers", type=int, default=1, help="deliveries at once")
    given = parser.parse_args(arguments)

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    with StripeSimulator(
        seed=given.seed,
        port=given.port,
        webhook_url=given.webhook_url,
        webhook_secret=given.webhook_secret,
        webhook_workers=given.webhook_workers,
    ) as simulator:
        ready = {
            "url": simulator.url,
            "secret_key": simulator.secret_key,
            "publishable_key": simulator.publishable_key,
            "webhook_secret": simulator.webhook_secret,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        stopping.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
