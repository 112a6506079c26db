"""Webhooks: signed deliveries in the background, and the ways in which they go astray."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Literal

import attrs
import msgspec

from ._types import Json
from .account import Account
from .delivery import Attempt, Delivery, post
from .signing import signature_header
from .webhook_endpoints import subscribed

__all__ = ["Webhooks"]

_ATTEMPTS_KEPT = 100_000
_QUEUE_MAX = 200_000


class Webhooks:
    """Delivers events to the account's endpoints, and plays the network's tricks on request.

    Args:
        account: whose events and endpoints they are.
        signature_time: returns the timestamp that signatures carry.
        retry_delays: real seconds between the attempts of one delivery; when they are used up it
            is given up.
        timeout: real seconds that a receiver has to answer.
        workers: how many deliveries run at once; one keeps them in order.
        seed: determines how :meth:`release` shuffles.
    """

    def __init__(
        self,
        account: Account,
        *,
        signature_time: Callable[[], int],
        retry_delays: Sequence[float],
        timeout: float,
        workers: int,
        seed: int,
    ) -> None:
        self._account = account
        self._signature_time = signature_time
        self._retry_delays = tuple(retry_delays)
        self._timeout_seconds = timeout
        self._workers_count = workers
        self._seed = seed
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._running = False
        self._numbers = count()
        self._clear()

    def _clear(self) -> None:
        self._queue: list[tuple[float, int, Delivery]] = []
        self._held: list[Delivery] = []
        self._in_flight = 0
        self._generation = getattr(self, "_generation", 0) + 1
        self._holding = False
        self._copies = 1
        self._drop_next = 0
        self._delay_seconds = 0.0
        self._attempts: deque[Attempt] = deque(maxlen=_ATTEMPTS_KEPT)
        self._random = random.Random(self._seed)  # noqa: S311

    # --- what tests ask for -------------------------------------------------------------------

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt so far, oldest first."""
        with self._changed:
            return tuple(self._attempts)

    @property
    def held(self) -> tuple[str, ...]:
        """The types of the events that are held back, oldest first."""
        with self._changed:
            return tuple(delivery.event_type for delivery in self._held)

    def hold(self) -> None:
        """Keep back every delivery from now on, until :meth:`release`."""
        with self._changed:
            self._holding = True

    def release(self, order: Literal["fifo", "lifo", "shuffled"] = "fifo") -> None:
        """Send what was held back in the given order, and hold no longer.

        Raises:
            ValueError: if the order is unknown.
        """
        if order not in {"fifo", "lifo", "shuffled"}:
            raise ValueError(f"unknown order {order!r}")
        with self._changed:
            self._holding = False
            held, self._held = self._held, []
            if order == "lifo":
                held.reverse()
            elif order == "shuffled":
                self._random.shuffle(held)
            for delivery in held:
                self._put(delivery, self._delay_seconds)

    def duplicate(self, times: int) -> None:
        """Send each following event ``times`` times; 1 ends it.

        Raises:
            ValueError: unless ``times`` is between 1 and 100.
        """
        if not 1 <= times <= 100:  # noqa: PLR2004
            raise ValueError("an event can be sent 1 to 100 times")
        with self._changed:
            self._copies = times

    def drop(self, next_n: int = 1) -> None:
        """Never send the next ``next_n`` deliveries; their attempts are recorded as dropped.

        Raises:
            ValueError: if ``next_n`` is negative.
        """
        if next_n < 0:
            raise ValueError("a number of deliveries cannot be negative")
        with self._changed:
            self._drop_next = next_n

    def delay(self, seconds: float) -> None:
        """Let every following delivery wait so many real seconds; 0 ends it.

        Raises:
            ValueError: if ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError("a delay cannot be negative")
        with self._changed:
            self._delay_seconds = seconds

    def resend(self, event_id: str) -> int:
        """Send a recorded event again to every endpoint that wants it; return to how many.

        Raises:
            Problem: if there is no such event.
        """
        with self._account.lock:
            return self.publish(self._account.events.get(event_id))

    def wait(self, timeout: float) -> None:
        """Block until nothing is queued, in flight or waiting for a retry.

        Raises:
            TimeoutError: after ``timeout`` real seconds.
        """
        with self._changed:
            if not self._changed.wait_for(self._idle, timeout):
                waiting = sorted({entry[2].event_type for entry in self._queue})
                raise TimeoutError(
                    f"after {timeout} s {len(self._queue)} deliveries wait ({', '.join(waiting)}) "
                    f"and {self._in_flight} are in flight"
                )

    # --- what the account and the simulator use -----------------------------------------------

    def publish(self, event: Json) -> int:
        """Queue an event for each endpoint that wants it; the caller holds the account's lock."""
        endpoints = subscribed(self._account, event["type"])
        for endpoint in endpoints:
            version = endpoint["api_version"] or event["api_version"]
            shown = {**event, "api_version": version, "pending_webhooks": len(endpoints)}
            self._accept(
                Delivery(
                    event_id=event["id"],
                    event_type=event["type"],
                    endpoint_id=endpoint["id"],
                    url=endpoint["url"],
                    secret=self._account.secrets[endpoint["id"]],
                    payload=msgspec.json.format(msgspec.json.encode(shown), indent=2),
                )
            )
        return len(endpoints)

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
        with self._changed:
            self._running = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def reset(self) -> None:
        """Forget the queue, the attempts and every trick."""
        with self._changed:
            self._clear()
            self._changed.notify_all()

    def _accept(self, delivery: Delivery) -> None:
        with self._changed:
            for _ in range(self._copies):
                if self._drop_next:
                    self._drop_next -= 1
                    self._attempts.append(_attempt(delivery, number=0, error="dropped"))
                elif self._holding:
                    self._held.append(delivery)
                else:
                    self._put(delivery, self._delay_seconds)

    def _put(self, delivery: Delivery, delay_seconds: float) -> None:
        if len(self._queue) >= _QUEUE_MAX:
            self._attempts.append(_attempt(delivery, number=0, error="queue full"))
            return
        due = time.monotonic() + delay_seconds
        heapq.heappush(self._queue, (due, next(self._numbers), delivery))
        self._changed.notify()

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
        with self._changed:
            while self._running:
                now = time.monotonic()
                if self._queue and self._queue[0][0] <= now:
                    self._in_flight += 1
                    return self._generation, heapq.heappop(self._queue)[2]
                self._changed.wait(self._queue[0][0] - now if self._queue else None)
            return None

    def _finish(self, generation: int, delivery: Delivery, attempt: Attempt) -> None:
        with self._account.lock:
            wanted = delivery.endpoint_id in self._account.webhook_endpoints.rows
        with self._changed:
            if generation != self._generation:
                return  # reset() came in between: this attempt belongs to a forgotten world
            self._in_flight -= 1
            self._attempts.append(attempt)
            if wanted and not attempt.delivered and delivery.number <= len(self._retry_delays):
                again = attrs.evolve(delivery, number=delivery.number + 1)
                self._put(again, self._retry_delays[delivery.number - 1])
            self._changed.notify_all()

    def _mark_delivered(self, delivery: Delivery) -> None:
        with self._account.lock:
            event = self._account.events.rows.get(delivery.event_id)
            if event is not None and event["pending_webhooks"] > 0:
                event["pending_webhooks"] -= 1


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
