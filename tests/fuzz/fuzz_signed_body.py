"""Any body, correctly signed: one of our outcomes or the one error, and a ledger that is sound.

Each is told to shops that have sold something and to shops that were paid, at once and by way of
the inbox; what must hold afterwards is in `tests.support.hostile`.
"""

from __future__ import annotations

import json
import random

import atheris
from tests.fuzz import harness

with harness.instrumented():
    from tests.support import hostile
    from tests.support.every_event import promised, settled, story

from tests.fuzz.seeds import SEPARATOR

EVENTS_MAX = 3
_TWINS = [hostile.Twins(make) for make in (promised, settled)]


def one(data: bytes) -> set[str]:
    bodies = data.split(SEPARATOR)[:EVENTS_MAX]
    return {met for twins in _TWINS for met in twins.tell(bodies)}


def mutated(data: bytes, length_max: int, seed: int) -> bytes:
    """Half of the time an event that differs in what it says, else in its bytes."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        changed = _changed(data, chance)
        if changed is not None and len(changed) <= length_max:
            return changed
    return atheris.Mutate(data, length_max)


def _changed(data: bytes, chance: random.Random) -> bytes | None:
    bodies = data.split(SEPARATOR)[:EVENTS_MAX]
    if len(bodies) < EVENTS_MAX and chance.random() < 0.2:
        other = json.dumps(chance.choice(story().events)).encode()
        return SEPARATOR.join([*bodies, other])
    at = chance.randrange(len(bodies))
    try:
        event = json.loads(bodies[at])
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    bodies[at] = hostile.body_of(hostile.changed(chance, event))
    return SEPARATOR.join(bodies)


if __name__ == "__main__":
    harness.run(one, mutated)
