"""What the demo's shop needs on either framework: who calls, what they hold, a server to run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import credit_payments as cp

LOOPBACK: Final = "127.0.0.1"
USER_HEADER: Final = "X-Demo-User"
_STOP_SECONDS_MAX: Final = 4.0


def believed_user(address: str | None, claimed: str | None) -> str | None:
    """Who the header says is calling: no real shop may believe it; here only this machine calls."""
    return claimed if address == LOOPBACK else None


def balance_of(system: cp.System, user_id: str | None) -> dict[str, int]:
    """What the shop's own page shows a customer.

    Raises:
        NotAuthenticated: nobody is logged in.
    """
    if user_id is None:
        raise cp.NotAuthenticated
    return {"credits": system.wallets.balance(user_id).available}


@contextmanager
def in_background(serve: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Run a server in a thread of its own; stop it at the end of the block."""
    thread = threading.Thread(target=serve, name="shop")
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(_STOP_SECONDS_MAX)
