"""Health for strangers: one look a second, however many ask, and whatever it costs."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest

import credit_payments as cp
from credit_payments.domain.vitals import Health
from credit_payments.http import Api, Request, health_routes
from credit_payments.recent_health import BUSY_SECONDS, RECENT_SECONDS, RecentHealth


@attrs.define
class Seconds:
    """A clock that a test turns."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@attrs.define(eq=False)
class Watched:
    """Counts the looks at it; one waits while `gate` is closed."""

    found: Health
    looks: int = 0
    failure: Exception | None = None
    gate: threading.Event = attrs.field(factory=threading.Event)
    looking: threading.Event = attrs.field(factory=threading.Event)

    def health(self) -> Health:
        self.looks += 1
        self.looking.set()
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        return attrs.evolve(self.found, checked_at=str(self.looks))


@pytest.fixture
def watched() -> Watched:
    with cp.connect(database="memory://") as system:
        made = Watched(system.health())
    made.gate.set()
    return made


def test_whoever_asks_within_a_second_is_told_the_same(watched: Watched) -> None:
    seconds = Seconds()
    recent = RecentHealth(watched, now=seconds)
    told = []
    for now in (0.0, 0.5, RECENT_SECONDS - 0.01, RECENT_SECONDS, 1.5, 2.0, 9_000.0):
        seconds.now = now
        told.append(recent.health().checked_at)
    assert told == ["1", "1", "1", "2", "2", "3", "4"]


def test_those_who_ask_first_and_together_share_one_look(watched: Watched) -> None:
    watched.gate.clear()
    recent = RecentHealth(watched, now=Seconds())
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(recent.health) for _ in range(8)]
        assert watched.looking.wait(10)
        watched.gate.set()
        assert {answer.result(10).checked_at for answer in asked} == {"1"}
    assert watched.looks == 1


def test_while_somebody_looks_others_are_told_what_was_just_seen(watched: Watched) -> None:
    seconds = Seconds()
    recent = RecentHealth(watched, now=seconds)
    recent.health()
    seconds.now = BUSY_SECONDS - 1
    watched.looking.clear()
    watched.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(recent.health)
        assert watched.looking.wait(10)
        assert recent.health().checked_at == "1"  # this would wait for ever otherwise
        watched.gate.set()
        assert looking.result(10).checked_at == "2"
    assert watched.looks == 2


def test_what_was_seen_long_ago_is_told_to_nobody(watched: Watched) -> None:
    seconds = Seconds()
    recent = RecentHealth(watched, now=seconds)
    recent.health()
    seconds.now = BUSY_SECONDS
    watched.looking.clear()
    watched.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(recent.health)
        assert watched.looking.wait(10)
        other = pool.submit(recent.health)
        watched.gate.set()
        assert {one.result(10).checked_at, other.result(10).checked_at} == {"2"}


def test_nobody_waits_for_ever_for_a_look_that_hangs(watched: Watched) -> None:
    recent = RecentHealth(watched, now=Seconds(), wait_seconds_max=0.01)
    watched.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(recent.health)
        assert watched.looking.wait(10)
        with pytest.raises(cp.StorageUnavailable):
            recent.health()
        watched.gate.set()
        assert looking.result(10) == recent.health()
    assert watched.looks == 1


def test_a_look_that_fails_is_looked_again(watched: Watched) -> None:
    recent = RecentHealth(watched, now=Seconds())
    watched.failure = RuntimeError("no")
    with pytest.raises(RuntimeError):
        recent.health()
    watched.failure = None
    assert recent.health().checked_at == "2"


def test_a_fork_while_somebody_looks_keeps_nobody_waiting(watched: Watched) -> None:
    recent = RecentHealth(watched, now=Seconds())
    assert recent._lock().acquire(blocking=False)  # as a thread would that the child does not have
    recent._locks[os.getpid() + 1] = recent._locks.pop(os.getpid())
    assert recent.health().checked_at == "1"


def test_the_endpoints_of_a_mount_share_the_look(watched: Watched) -> None:
    system: Any = watched
    one, other = health_routes()
    api = Api(system)
    for route in (one, other, one):
        assert api.handle(route, Request(method="GET")).status == 200
    assert watched.looks == 1
    another = Watched(watched.found)
    another.gate.set()
    assert Api(another).handle(one, Request(method="GET")).status == 200  # type: ignore[arg-type]
    assert another.looks == 1
