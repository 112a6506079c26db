"""Webhooks: signed deliveries in the background, and the ways in which they go astray."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from ._types import Json
from .account import Account
from .campaign import arrivals
from .courier import Courier
from .delivery import Attempt, Delivery
from .network import OLDER_VERSION, Arrival, Fate, Network
from .rendering import payload
from .versions import existed
from .webhook_endpoints import subscribed

__all__ = ["Webhooks"]


class Webhooks:
    """Delivers events to the account's endpoints, and plays the network's tricks on request.

    Args:
        account: whose events and endpoints they are.
        signature_time: returns the timestamp that signatures carry.
        retry_delays: real seconds between the attempts of one delivery; when they are used up it
            is given up.
        timeout: real seconds that a receiver has to answer.
        workers: how many deliveries run at once; one keeps them in order.
        seed: determines how :meth:`release` shuffles, and what :meth:`misbehave` does.
        secret: signs what :meth:`plan` gives for no endpoint in particular.
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
        secret: str,
    ) -> None:
        self._account = account
        self._seed = seed
        self._secret = secret
        self._courier = Courier(
            account,
            signature_time=signature_time,
            retry_delays=retry_delays,
            timeout=timeout,
            workers=workers,
        )
        self._clear()

    def _clear(self) -> None:
        self._held: list[tuple[float, Delivery]] = []
        self._holding = False
        self._withheld: tuple[str, ...] = ()
        self._losing = False
        self._network: Network | None = None
        self._copies = 1
        self._drop_next = 0
        self._delay_seconds = 0.0
        self._random = random.Random(self._seed)  # noqa: S311

    # --- what tests ask for -------------------------------------------------------------------

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt so far, oldest first."""
        return self._courier.attempts

    @property
    def held(self) -> tuple[str, ...]:
        """The types of the events that are held back, oldest first."""
        with self._courier.changed:
            return tuple(delivery.event_type for _, delivery in self._held)

    def hold(self) -> None:
        """Keep back every delivery from now on, until :meth:`release`."""
        with self._courier.changed:
            self._holding = True

    def withhold(self, types: Iterable[str], *, lose: bool = False) -> None:
        """Keep back every delivery of some types from now on, until :meth:`release`.

        Args:
            types: the event types, as shell patterns such as ``charge.dispute.*``.
            lose: never send what comes until then; its attempts are recorded as dropped.

        Raises:
            ValueError: if no type is given, or one text where a list of them is meant.
        """
        if isinstance(types, str) or not (patterns := tuple(types)):
            raise ValueError("withhold needs a list of event types")
        with self._courier.changed:
            self._withheld, self._losing = patterns, lose

    def release(self, order: Literal["fifo", "lifo", "shuffled"] = "fifo") -> None:
        """Send what was held back in the given order, and hold and withhold no longer.

        Raises:
            ValueError: if the order is unknown.
        """
        if order not in {"fifo", "lifo", "shuffled"}:
            raise ValueError(f"unknown order {order!r}")
        with self._courier.changed:
            self._holding = False
            self._withheld, self._losing = (), False
            held, self._held = self._held, []
            if order == "lifo":
                held.reverse()
            elif order == "shuffled":
                self._random.shuffle(held)
            for late_seconds, delivery in held:
                self._courier.put(delivery, self._delay_seconds + late_seconds)

    def duplicate(self, times: int) -> None:
        """Send each following event ``times`` times; 1 ends it.

        Raises:
            ValueError: unless ``times`` is between 1 and 100.
        """
        if not 1 <= times <= 100:  # noqa: PLR2004
            raise ValueError("an event can be sent 1 to 100 times")
        with self._courier.changed:
            self._copies = times

    def drop(self, next_n: int = 1) -> None:
        """Never send the next ``next_n`` deliveries; their attempts are recorded as dropped.

        Raises:
            ValueError: if ``next_n`` is negative.
        """
        if next_n < 0:
            raise ValueError("a number of deliveries cannot be negative")
        with self._courier.changed:
            self._drop_next = next_n

    def delay(self, seconds: float) -> None:
        """Let every following delivery wait so many real seconds; 0 ends it.

        Raises:
            ValueError: if ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError("a delay cannot be negative")
        with self._courier.changed:
            self._delay_seconds = seconds

    def misbehave(
        self,
        *,
        seed: int | None = None,
        drop: float = 0.0,
        duplicate: float = 0.0,
        delay_seconds: float = 0.0,
        outdated: float = 0.0,
        expanded: float = 0.0,
    ) -> None:
        """Let every later event go astray by a seed, until :meth:`behave`.

        An event's fate depends on the seed, its id and its endpoint's id alone. What is lost never
        comes, its attempt is recorded as dropped, and only :meth:`resend` brings it.

        Args:
            seed: the simulator's own unless given.
            drop: the probability that an event is lost.
            duplicate: the probability that it comes twice; each further copy, up to five, has the
                same probability again.
            delay_seconds: each copy takes between zero and so many seconds: real ones over HTTP,
                simulated ones in :meth:`plan`.
            outdated: the share that is told in the shape of API version 2023-10-16. An event that
                did not exist then keeps its version.
            expanded: the share whose references (``charge``, ``customer``, …) come as objects.

        Raises:
            ValueError: if a probability is not between 0 and 1, or the delay is negative.
        """
        network = Network(
            seed=self._seed if seed is None else seed,
            drop=drop,
            duplicate=duplicate,
            delay_seconds=delay_seconds,
            outdated=outdated,
            expanded=expanded,
        )
        with self._courier.changed:
            self._network = network

    def behave(self) -> None:
        """End :meth:`misbehave` for later events."""
        with self._courier.changed:
            self._network = None

    def plan(
        self, events: Iterable[str] | None = None, *, endpoint_id: str | None = None
    ) -> Iterator[Arrival]:
        """Give the signed deliveries that the network of :meth:`misbehave` would bring, offline.

        Nothing is sent and nothing recorded. What is lost is left out, copies are included, and
        each comes ``delay_seconds`` or less of simulated time after its event was created, so
        they are in the order of their arrival. Each is signed at that very instant.

        Args:
            events: ids of recorded events; every recorded event unless given.
            endpoint_id: for whom; without one every event is given in the account's API version
                and signed with the simulator's ``webhook_secret``.

        Raises:
            Problem: if there is no such event or endpoint.
        """
        return arrivals(
            self._account,
            self._network or Network(),
            secret=self._secret,
            event_ids=events,
            endpoint_id=endpoint_id,
        )

    def resend(self, event_id: str) -> int:
        """Send a recorded event again to every endpoint that wants it; return to how many.

        A network that misbehaves does not touch it.

        Raises:
            Problem: if there is no such event.
        """
        with self._account.lock:
            return self._publish(self._account.events.get(event_id), network=None)

    def wait(self, timeout: float) -> None:
        """Block until nothing is queued, in flight or waiting for a retry.

        Raises:
            TimeoutError: after ``timeout`` real seconds.
        """
        self._courier.wait(timeout)

    # --- what the account and the simulator use -----------------------------------------------

    def publish(self, event: Json) -> int:
        """Queue an event for each endpoint that wants it; the caller holds the account's lock."""
        return self._publish(event, network=self._network)

    def start(self) -> None:
        """Start the workers."""
        self._courier.start()

    def stop(self) -> None:
        """Stop the workers after what is in flight; what is queued stays unsent."""
        self._courier.stop()

    def reset(self) -> None:
        """Forget the queue, the attempts and every trick."""
        with self._courier.changed:
            self._clear()
            self._courier.reset()

    def _publish(self, event: Json, network: Network | None) -> int:
        endpoints = subscribed(self._account, event)
        event = {**event, "pending_webhooks": len(endpoints)}
        for endpoint in endpoints:
            fate = Fate() if network is None else network.fate(event["id"], endpoint["id"])
            version = endpoint["api_version"] or event["api_version"]
            if fate.outdated and existed(event, OLDER_VERSION):
                version = OLDER_VERSION
            delivery = Delivery(
                event_id=event["id"],
                event_type=event["type"],
                endpoint_id=endpoint["id"],
                url=endpoint["url"],
                secret=self._account.secrets[endpoint["id"]],
                payload=payload(self._account, event, version, expand=fate.expanded),
            )
            self._accept(delivery, fate)
        return len(endpoints)

    def _accept(self, delivery: Delivery, fate: Fate) -> None:
        with self._courier.changed:
            if not fate.delays:
                self._courier.drop(delivery)
            withheld = any(fnmatchcase(delivery.event_type, name) for name in self._withheld)
            for late_seconds in fate.delays * self._copies:
                if self._drop_next:
                    self._drop_next -= 1
                    self._courier.drop(delivery)
                elif withheld and self._losing:
                    self._courier.drop(delivery)
                elif withheld or self._holding:
                    self._held.append((late_seconds, delivery))
                else:
                    self._courier.put(delivery, self._delay_seconds + late_seconds)
