"""Run by test_workers: a worker that says what it handles, until it is stopped, killed, or ends.

How it ends itself, where it does: `applying` in the midst of a transaction, its rows locked,
`handling` in a handler of the host's, `handled` between a handler's end and its being written down.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import credit_payments as cp

HOSTS = "invoice.paid"


class Stripe:
    """What its API has of the host's events."""

    def close(self) -> None:
        """Nothing was opened."""

    def retrieve_event(self, event_id: str, *, account: str | None = None) -> dict[str, Any]:
        data = {"object": {"id": "in_1", "object": "invoice"}}
        return {"id": event_id, "type": HOSTS, "created": 1, "livemode": False, "data": data}


def say(words: str) -> None:
    os.write(1, f"{words}\n".encode())  # one call each, so that no line is torn


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def main(database: str, lease_seconds: float, end: str) -> None:
    settings: dict[str, Any] = {"database": database, "worker_lease_seconds": lease_seconds}
    with cp.connect(**settings) as system:
        stripe: Any = Stripe()
        system._gateway = stripe
        worker = system.worker()
        queue: Any = worker._queue

        @system.webhooks.on(HOSTS)
        def handle(event: cp.StripeEvent) -> None:
            say(f"handle {event.id} {event.attempt}")
            if end == "handling":
                die()
            if end == "slowly":
                threading.Event().wait(0.3)
            if end == "handled":
                queue.submit = die

        if end == "applying":
            observer: Any = queue._observer
            observer.observe = die
        signal.signal(signal.SIGTERM, lambda number, frame: worker.stop())
        say("ready")
        worker.run()
    say("ended")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
