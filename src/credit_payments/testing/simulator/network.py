"""A network that goes astray by a seed: what is lost, repeated, late, outdated or expanded."""

from __future__ import annotations

import random
from itertools import takewhile
from typing import NamedTuple

import attrs

__all__ = ["OLDER_VERSION", "Arrival", "Fate", "Network"]

OLDER_VERSION = "2023-10-16"
"""The API version of the outdated share, from before refunds of charges had their own events."""

_COPIES_MAX = 5


class Arrival(NamedTuple):
    """A signed delivery as a receiver gets it.

    Attributes:
        body: the exact bytes.
        signature: the ``Stripe-Signature`` header, made at ``at_seconds``.
        event_id: the event that the body tells.
        at_seconds: the simulated instant, in seconds since 1970.
    """

    body: bytes
    signature: str
    event_id: str
    at_seconds: int


@attrs.frozen
class Fate:
    """What becomes of one event on its way to one endpoint.

    Attributes:
        delays: how many seconds each copy takes; no copy means that it is lost for ever.
        outdated: whether it is told in the shape of :data:`OLDER_VERSION`.
        expanded: whether its references come as objects.
    """

    delays: tuple[float, ...] = (0.0,)
    outdated: bool = False
    expanded: bool = False


def _probability(_instance: Network, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} is a probability between 0 and 1, not {value}")


@attrs.frozen
class Network:
    """Decides every delivery's fate from the seed and the event's and endpoint's ids alone.

    So neither threads nor the order of asking can change what happens.

    Args:
        seed: the same seed gives the same event the same fate.
        drop: the probability that an event is lost.
        duplicate: the probability that it comes twice; each further copy, up to five, has the
            same probability again.
        delay_seconds: each copy takes between zero and so many seconds, all equally likely.
        outdated: the share that is told in the shape of API version 2023-10-16.
        expanded: the share whose references (``charge``, ``customer``, …) come as objects.

    Raises:
        ValueError: if a probability is not between 0 and 1, or the delay is negative.

    Example:
        >>> Network(seed=1, drop=1.0).fate("evt_1", "we_1")
        Fate(delays=(), outdated=False, expanded=False)
    """

    seed: int | str = 0
    drop: float = attrs.field(default=0.0, validator=_probability)
    duplicate: float = attrs.field(default=0.0, validator=_probability)
    delay_seconds: float = 0.0
    outdated: float = attrs.field(default=0.0, validator=_probability)
    expanded: float = attrs.field(default=0.0, validator=_probability)

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.delay_seconds < float("inf"):
            raise ValueError("a delay cannot be negative or endless")

    def fate(self, event_id: str, endpoint_id: str) -> Fate:
        """Return what becomes of an event on its way to an endpoint."""
        chance = random.Random(f"{self.seed}:{event_id}:{endpoint_id}")  # noqa: S311
        # Every draw is made whatever the others say, so changing one rate moves no other fate.
        lost, outdated, expanded = chance.random(), chance.random(), chance.random()
        copies = 0 if lost < self.drop else 1 + self._repeats(chance)
        return Fate(
            tuple(chance.random() * self.delay_seconds for _ in range(copies)),
            outdated < self.outdated,
            expanded < self.expanded,
        )

    def _repeats(self, chance: random.Random) -> int:
        draws = [chance.random() for _ in range(_COPIES_MAX - 1)]
        return sum(1 for _ in takewhile(lambda draw: draw < self.duplicate, draws))
