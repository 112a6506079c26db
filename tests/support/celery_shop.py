"""A host's Celery application, as `celery -A tests.support.celery_shop worker` finds it.

It keeps a diary: which process opened and closed the system, and what its handler was called with.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

import credit_payments as cp
from credit_payments.adapters.celery import install

HOSTS = "invoice.paid"


class Stripe:
    """What its API has of the host's events."""

    def retrieve_event(self, event_id: str, *, account: str | None = None) -> dict[str, Any]:
        data = {"object": {"id": "in_1", "object": "invoice"}}
        return {"id": event_id, "type": HOSTS, "created": 1, "livemode": False, "data": data}

    def close(self) -> None:
        """Nothing was opened."""


def write_down(words: str) -> None:
    diary = os.open(os.environ["SHOP_DIARY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(diary, f"{words}\n".encode())
    os.close(diary)


def open_system() -> cp.System:
    settings: dict[str, Any] = {
        "database": os.environ["SHOP_DATABASE"],
        "worker_lease_seconds": 2,
    }
    system = cp.connect(**settings)
    stripe: Any = Stripe()
    system._gateway = stripe
    close = system.close

    @system.webhooks.on(HOSTS)
    def handle(event: cp.StripeEvent) -> None:
        write_down(f"handle {event.id} {event.attempt} {os.getpid()}")
        time.sleep(float(os.environ.get("SHOP_HANDLER_SECONDS", "0")))

    def close_and_say_so() -> None:
        close()
        write_down(f"closed {os.getpid()}")

    loose: Any = system
    loose.close = close_and_say_so
    write_down(f"opened {os.getpid()}")
    return system


app = Celery("shop", broker=os.environ.get("SHOP_BROKER", "memory://"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("SHOP_VISIBILITY", "3600")),
        "unacked_restore_interval": 1,  # looks for messages whose time is over every second
        "unacked_restore_throttle": 1,
    },
    worker_prefetch_multiplier=1,
)
install(app, open_system, every_seconds=float(os.environ.get("SHOP_EVERY", "3600")))
