"""What many tests share: a clock to turn, a storage of each kind, and webhooks that are signed."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.support.servers.fixtures import (  # noqa: F401 - pytest finds fixtures here
    mongo_database,
    mongo_url,
    openbao,
    postgres_database,
    postgres_url,
    standalone_mongo_url,
)

import credit_payments as cp
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.ports.storage import Storage

WEBHOOK_SECRET = "whsec_test_only"


@attrs.define
class TurnableClock:
    """Stands still until a test turns it."""

    instant: datetime = datetime(2024, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def turn(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """One storage of each kind that needs no server."""
    opened: Storage = (
        MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "credits.db")
    )
    yield opened
    opened.close()


@attrs.define
class Shop:
    """A system without Stripe behind it, to which webhooks can be delivered."""

    system: cp.System
    clock: TurnableClock
    _events: int = 0

    def sign(self, body: bytes) -> str:
        # Stripe's scheme written out, so that the library's own code is not its own witness.
        seconds = int(self.clock.now().timestamp())
        digest = hmac.new(WEBHOOK_SECRET.encode(), b"%d." % seconds + body, "sha256").hexdigest()
        return f"t={seconds},v1={digest}"

    def deliver(
        self, event_type: str, stripe_object: dict[str, Any], event_id: str | None = None
    ) -> cp.Delivery:
        """Deliver one signed event, under a new id unless one is given."""
        self._events += 1
        event = {
            "id": event_id or f"evt_auto{self._events}",
            "object": "event",
            "type": event_type,
            "created": int(self.clock.now().timestamp()),
            "livemode": False,
            "data": {"object": stripe_object},
        }
        return self.receive(json.dumps(event).encode())

    def receive(self, body: bytes) -> cp.Delivery:
        return self.system.webhooks.receive(body, self.sign(body))


@pytest.fixture(params=["memory", "sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory://"
    return f"sqlite:///{tmp_path / 'credits.db'}"


@pytest.fixture
def open_shop(clock: TurnableClock) -> Iterator[Callable[[str], Shop]]:
    """Opens shops on the databases a test names, and closes them at its end."""
    opened: list[Shop] = []

    def open_on(url: str) -> Shop:
        system = cp.connect(database=url, clock=clock, stripe_webhook_secret=WEBHOOK_SECRET)
        opened.append(Shop(system, clock))
        return opened[-1]

    yield open_on
    for shop in opened:
        shop.system.close()


@pytest.fixture
def shop(open_shop: Callable[[str], Shop], database_url: str) -> Shop:
    """A shop on each kind of database that needs no server."""
    return open_shop(database_url)
