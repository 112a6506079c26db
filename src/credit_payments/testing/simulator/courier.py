"""The courier of webhooks: a queue by due time, the workers that empty it, and the record."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

import attrs

from .account import Account
from .delivery import Attempt, Delivery, post
from .signing import signature_header

__all__ = ["Courier"]

_ATTEMPTS_KEPT = 100_000
_QUEUE_MAX = 200_000


class Courier:
    """Posts deliveries when they are due, and again while their receiver refuses.

    Args:
        account: whose events and endpoints they are.
        signature_time: returns the timestamp that signatures carry.
        retry_delays: real seconds between the attempts of one delivery; when they are used up it
            is given up.
        timeout: real seconds that a receiver has to answer.
        workers: how many deliveries run at once; one keeps them in order.

    Attributes:
        changed: guards everything here; whoever holds it may call any method.
    """

    def __init__(
        self,
        account: Account,
        *,
        signature_time: Callable[[], int],
        retry_delays: Sequence[float],
        timeout: float,
        workers: int,
    ) -> None:
        self._account = account
        self._signature_time = signature_time
        self._retry_delays = tuple(retry_delays)
        self._timeout_seconds = timeout
        self._workers_count = workers
        self.changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._running = False
        self._numbers = count()
        self._generation = 0
        self._clear()

    def _clear(self) -> None:
        self._queue: list[tuple[float, int, Delivery]] = []
        self._in_flight = 0
        self._generation += 1
        self._attempts: deque[Attempt] = deque(maxlen=_ATTEMPTS_KEPT)
        self._arrived: dict[str, set[str]] = {}

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt so far, oldest first."""
        with self.changed:
            return tuple(self._attempts)

    def put(self, delivery: Delivery, delay_seconds: float) -> None:
        """Queue a delivery; it is sent after so many real seconds."""
        with self.changed:
            if len(self._queue) >= _QUEUE_MAX:
                self._attempts.append(_attempt(delivery, number=0, error="queue full"))
                return
            due = time.monotonic() + delay_seconds
            heapq.heappush(self._queue, (due, next(self._numbers), delivery))
            self.changed.notify()

    def drop(self, delivery: Delivery) -> None:
        """Record that a delivery never comes."""
        with self.changed:
            self._attempts.append(_attempt(delivery, number=0, error="dropped"))

    def wait(self, timeout: float) -> None:
        """Block until nothing is queued, in flight or waiting for a retry.

        Raises:
            TimeoutError: after ``timeout`` real seconds.
        """
        with self.changed:
            if not self.changed.wait_for(self._idle, timeout):
                waiting = sorted({entry[2].event_type for entry in self._queue})
                raise TimeoutError(
                    f"after {timeout} s {len(self._queue)} deliveries wait ({', '.join(waiting)}) "
                    f"and {self._in_flight} are in flight"
                )

    def start(self) -> None:
        """Start the workers."""
        self._running = True
        self._threads = [
            threading.Thread(target=self._work, name=f"stripe-webhooks-{number}", daemon=True)
            for number in range(self._workers_count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the workers after what is in flight; what is queued stays unsent."""
        with self.changed:
            self._running = False
            self.changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def reset(self) -> None:
        """Forget the queue and the attempts."""
        with self.changed:
            self._clear()
            self.changed.notify_all()

    def _idle(self) -> bool:
        return not self._queue and self._in_flight == 0

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            generation, delivery = taken
            signature = signature_header(
                delivery.payload, secret=delivery.secret, timestamp=self._signature_time()
            )
            status, error = post(delivery, signature, self._timeout_seconds)
            attempt = _attempt(delivery, number=delivery.number, status=status, error=error)
            if attempt.delivered:
                self._mark_delivered(delivery)
            self._finish(generation, delivery, attempt)

    def _take(self) -> tuple[int, Delivery] | None:
        with self.changed:
            while self._running:
                now = time.monotonic()
                if self._queue and self._queue[0][0] <= now:
                    self._in_flight += 1
                    return self._generation, heapq.heappop(self._queue)[2]
                self.changed.wait(self._queue[0][0] - now if self._queue else None)
            return None

    def _finish(self, generation: int, delivery: Delivery, attempt: Attempt) -> None:
        with self._account.lock:
            wanted = delivery.endpoint_id in self._account.webhook_endpoints.rows
        with self.changed:
            if generation != self._generation:
                return  # reset() came in between: this attempt belongs to a forgotten world
            self._in_flight -= 1
            self._attempts.append(attempt)
            if wanted and not attempt.delivered and delivery.number <= len(self._retry_delays):
                again = attrs.evolve(delivery, number=delivery.number + 1)
                self.put(again, self._retry_delays[delivery.number - 1])
            self.changed.notify_all()

    def _mark_delivered(self, delivery: Delivery) -> None:
        with self._account.lock:
            event = self._account.events.rows.get(delivery.event_id)
            if event is None or not event["pending_webhooks"]:
                return
            # A second copy takes nothing off what another endpoint still waits for.
            arrived = self._arrived.setdefault(delivery.event_id, set())
            if delivery.endpoint_id not in arrived:
                arrived.add(delivery.endpoint_id)
                event["pending_webhooks"] -= 1
            if not event["pending_webhooks"]:
                del self._arrived[delivery.event_id]


def _attempt(
    delivery: Delivery, *, number: int, status: int | None = None, error: str | None = None
) -> Attempt:
    return Attempt(
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        endpoint_id=delivery.endpoint_id,
        url=delivery.url,
        attempt=number,
        status=status,
        error=error,
    )
