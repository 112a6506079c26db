"""Waking one who waits, also from a signal's handler."""

from __future__ import annotations

import threading
from contextlib import suppress


class Bell:
    """Wakes one who waits; unlike a `threading.Event` also from a signal's handler.

    That might have interrupted who holds the event's lock, and would wait for it for ever.
    """

    def __init__(self) -> None:
        self._quiet = threading.Lock()
        self._quiet.acquire()

    def ring(self) -> None:
        """Wake who waits, or who will wait next."""
        with suppress(RuntimeError):  # it has rung already
            self._quiet.release()

    def wait(self, seconds: float) -> bool:
        """Whether it has rung since the last time."""
        return self._quiet.acquire(timeout=seconds)
