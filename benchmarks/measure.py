"""Taking turns, and what comes of it.

Two things are never timed apart and divided afterwards: on a machine that others share, the hour
of day would be part of the answer. They take turns, each turn gives one ratio, and the row shows
the median of the ratios with the least and the greatest.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

T = TypeVar("T")


class WrongResult(Exception):
    """What was measured did not do its work: its speed is of no interest."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long is measured.

    Attributes:
        turns: how often the fast functions take turns, each for `turn_seconds`.
        processes: how many processes of each kind are started.
        database_turns: how often each way of writing gets a fresh database.
        commands: how many writes go into each of them.
        entries: how many entries a wallet with a long history has.
        lots: how many open lots a wallet with many has.
    """

    turns: int
    turn_seconds: float
    processes: int
    database_turns: int
    commands: int
    entries: int
    lots: int


FULL = Plan(
    turns=40,
    turn_seconds=0.05,
    processes=25,
    database_turns=7,
    commands=4_000,
    entries=1_000_000,
    lots=10_000,
)
QUICK = Plan(
    turns=3, turn_seconds=0.01, processes=2, database_turns=1, commands=256, entries=2_000, lots=200
)


@contextmanager
def prepared() -> Iterator[None]:
    """Keep the garbage collector from walking, in the timed part, what was prepared for it.

    Collections go on for what the timed part itself makes.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison, or one number for orientation.

    Attributes:
        name: short and stable, for machines.
        against: what it is compared with; empty where it stands alone.
        unit: `times` (a ratio of rates, more is better), `ms` (a difference, or alone a duration,
            less is better) or `per second` (a rate alone, more is better).
        samples: one number a turn.
        target: `median` must be below this for `ms`, else at least this; None: no promise.
        absolute: what each side did, for orientation: median rates a second, or milliseconds.
    """

    name: str
    what: str
    against: str
    unit: str
    samples: tuple[float, ...]
    target: float | None = None
    absolute: Mapping[str, float] = {}

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.median < self.target if self.unit == "ms" else self.median >= self.target


def ratio_row(
    name: str,
    what: tuple[str, Sequence[float]],
    against: tuple[str, Sequence[float]],
    *,
    target: float | None = None,
) -> Row:
    """A row from the rates that two sides reached in the same turns."""
    return Row(
        name=name,
        what=what[0],
        against=against[0],
        unit="times",
        samples=tuple(ours / theirs for ours, theirs in zip(what[1], against[1], strict=True)),
        target=target,
        absolute={
            f"{label} (per second)": statistics.median(rates) for label, rates in (what, against)
        },
    )


def plain_row(name: str, what: str, unit: str, samples: Sequence[float]) -> Row:
    """A row of numbers that are compared with nothing."""
    return Row(name=name, what=what, against="", unit=unit, samples=tuple(samples))


def take_turns(
    sides: Mapping[str, Callable[[], T]], turns: int, *, warm_up: bool = True
) -> dict[str, list[T]]:
    """Let each side work in turn, A B C A B C …; what they answered, side by side."""
    if warm_up:
        for side in sides.values():
            side()
    taken: dict[str, list[T]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            gc.collect()  # nobody pays for another's garbage
            taken[name].append(side())
    return taken


def repeatedly(function: Callable[[], object], seconds: float) -> Callable[[], float]:
    """A side that calls a fast function for about `seconds`, and answers calls per second."""
    calls = 1
    while (spent := _time(function, calls)) < seconds / 10 and calls < 1_000_000:
        calls *= 4
    calls = max(1, int(calls * seconds / spent))
    return lambda: calls / _time(function, calls)


def _time(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start
