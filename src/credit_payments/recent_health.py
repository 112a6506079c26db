"""Health for strangers: as it was a moment ago, so that asking for it costs nobody anything."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from credit_payments.domain.vitals import Health
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.telemetry import Watched

RECENT_SECONDS = 1.0
"""How old a health may be that strangers are told,"""
BUSY_SECONDS = 10.0
"""and how old while somebody looks. Nobody waits longer for a look, either."""


class RecentHealth:
    """Somebody's health for those whom nobody knows: one look a second, however many ask.

    A look may cost hundreds of reads, and the addresses that tell of it are open to anybody. While
    somebody looks, which takes long where the database does not answer, others are told what was
    seen within the last ten seconds, or wait for that look: so it is never more than one.

    Args:
        watched: whose health it is.
        now: seconds that only grow.
        wait_seconds_max: how long those wait for a look who can be told nothing yet.
    """

    def __init__(
        self,
        watched: Watched,
        *,
        now: Callable[[], float] = time.monotonic,
        wait_seconds_max: float = BUSY_SECONDS,
    ) -> None:
        self.watched = watched
        self._now = now
        self._wait_seconds_max = wait_seconds_max
        self._seen: tuple[float, Health] | None = None
        self._locks: dict[int, threading.Lock] = {}

    def health(self) -> Health:
        """As it was within the last second, or a little before where a look is under way.

        Raises:
            StorageUnavailable: a look has taken longer than anybody should wait. Or else a database
                that hangs would hold every thread that strangers can have wait.
        """
        before, lock = self._seen_within(BUSY_SECONDS), self._lock()
        if not lock.acquire(timeout=0 if before is not None else self._wait_seconds_max):
            if before is not None:
                return before
            raise StorageUnavailable("The database has not told for long how it is.")
        try:
            return self._seen_within(RECENT_SECONDS) or self._look()
        finally:
            lock.release()

    def _seen_within(self, seconds: float) -> Health | None:
        seen = self._seen
        return None if seen is None or self._now() - seen[0] >= seconds else seen[1]

    def _look(self) -> Health:
        found = self.watched.health()
        # As of its end: after one that took longer than a second another would follow at once.
        self._seen = self._now(), found
        return found

    def _lock(self) -> threading.Lock:
        """This process's lock: a fork may copy one that a thread holds which it does not copy."""
        process = os.getpid()
        return self._locks.get(process) or self._locks.setdefault(process, threading.Lock())
