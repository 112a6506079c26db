"""Webhooks that are stored first: intake, drain, and how soon a delivery is a credit.

On each database the same signed webhooks, of payments that wait for them, are taken in by many
callers: inline, or queued for workers, which are processes of their own. Beside them two queues
take in and drain the same bytes, on the same server or disk, and do nothing with them, while our
drain posts the credits: pgqueuer on PostgreSQL, huey on SQLite. They are no dependencies. Where one
is not installed it has no rows.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from benchmarks import delivering, writing
from benchmarks.copies import fresh_copy, remove_database
from benchmarks.delivering import Turn
from benchmarks.measure import Plan, Row, plain_row, ratio_row, take_turns
from benchmarks.peers import huey, pgqueuer
from benchmarks.servers import started
from benchmarks.writing import CALLERS
from credit_payments.adapters.databases import Opening, open_storage

WORKERS = (1, 4)
BESIDE_PGQUEUER, BESIDE_HUEY = 1.0, 3.0
"""How much faster we drain at least, with credits posted, than who does nothing."""
_LOAD = 0.5
"""Of what one worker keeps up with: that much is offered where latencies are measured."""
_TURNS_MAX = 3
"""Each turn copies a database and starts processes: fewer do, as in `servers`."""
_INLINE = "inline"

Side: TypeAlias = Callable[[], Turn]


class Place(Protocol):
    """One kind of database."""

    name: str

    def copy(self, template: str | None = None) -> AbstractContextManager[str]:
        """The URL of a database of its own: empty, or with what is in that one."""
        ...


class _Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A queue that does nothing with its jobs."""

    key: str
    name: str
    target: float
    turn: Callable[[int], Turn]
    """By so many workers."""


def rows(plan: Plan, folder: Path) -> Iterator[Row]:
    """On each database that can be started here."""
    plan = msgspec.structs.replace(plan, database_turns=min(plan.database_turns, _TURNS_MAX))
    bodies = [writing.body_of(number) for number in range(plan.commands)]
    yield from _rows_on(_Files(folder), plan, [*_huey(bodies, folder)])
    with started("tests.support.servers.postgres", "PostgresServer") as url:
        if url is not None:
            from benchmarks.raw_postgres import Postgres  # noqa: PLC0415 - needs the driver

            yield from _rows_on(Postgres(url), plan, [*_pgqueuer(bodies, url)])
    with started("tests.support.servers.mongod", "ReplicaSet") as url:
        if url is not None:
            from benchmarks.raw_mongo import Mongo  # noqa: PLC0415

            yield from _rows_on(Mongo(url), plan, [])


def _huey(bodies: Sequence[bytes], folder: Path) -> Iterator[_Peer]:
    if huey.installed():
        yield _Peer(
            key=huey.PACKAGE,
            name=huey.name(),
            target=BESIDE_HUEY,
            turn=lambda workers: huey.turn(bodies, workers, folder),
        )


def _pgqueuer(bodies: Sequence[bytes], admin_url: str) -> Iterator[_Peer]:
    if not pgqueuer.installed():
        return
    from benchmarks.peers.postgres import check_durable  # noqa: PLC0415 - needs the driver
    from benchmarks.raw_postgres import fresh_database  # noqa: PLC0415

    check_durable(admin_url)

    def turn(workers: int) -> Turn:
        with fresh_database(admin_url) as url:
            return pgqueuer.turn(bodies, workers, url)

    yield _Peer(key=pgqueuer.PACKAGE, name=pgqueuer.name(), target=BESIDE_PGQUEUER, turn=turn)


class _Files:
    """SQLite."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    @contextmanager
    def copy(self, template: str | None = None) -> Iterator[str]:
        """See `Place`."""
        if template is not None:
            with fresh_copy(Path(template.removeprefix("sqlite:///"))) as path:
                yield f"sqlite:///{path}"
            return
        path = self._folder / f"intake-{next(self._numbers)}.db"
        try:
            yield f"sqlite:///{path}"
        finally:
            remove_database(path)


def _rows_on(place: Place, plan: Plan, peers: Sequence[_Peer]) -> Iterator[Row]:
    with place.copy() as template:
        writing.fill(open_storage(template, Opening()), plan.commands)
        case = _Case(place, template, plan, peers)
        turns = case.take_turns()
        yield from case.rates(turns)
        yield from case.ratios(turns)
        one = statistics.median(turn.together for turn in turns[str(WORKERS[0])])
        yield from case.latencies(_LOAD * one)


class _Case:
    """Everything on one database."""

    def __init__(self, place: Place, template: str, plan: Plan, peers: Sequence[_Peer]) -> None:
        self._place = place
        self._template = template
        self._plan = plan
        self._peers = peers

    def take_turns(self) -> dict[str, list[Turn]]:
        """The sides: inline, by the number of our workers, and that with each peer's key."""
        sides: dict[str, Side] = {_INLINE: self._inline}
        for workers in WORKERS:
            sides[str(workers)] = partial(self._queued, workers)
            for peer in self._peers:
                sides[f"{workers} {peer.key}"] = partial(peer.turn, workers)
        return take_turns(sides, self._plan.database_turns, warm_up=False)

    def _inline(self) -> Turn:
        with self._copy() as url:
            return Turn(delivering.inline(url, self._plan.commands), math.inf)

    def _queued(self, workers: int) -> Turn:
        with self._copy() as url:
            return delivering.queued(url, self._plan.commands, workers)

    def _copy(self) -> AbstractContextManager[str]:
        return self._place.copy(self._template)

    # -- rows ----------------------------------------------------------------------------------

    def rates(self, turns: Mapping[str, Sequence[Turn]]) -> Iterator[Row]:
        """What each side reached, a second."""
        on, by = self._place.name, f"{CALLERS} callers"
        inline = [turn.stored for turn in turns[_INLINE]]
        yield self._rate("inline", f"{on}: webhook applied inline, {by}", inline)
        stored = [turn.stored for workers in WORKERS for turn in turns[str(workers)]]
        yield self._rate("stored", f"{on}: webhook stored for workers, {by}", stored)
        for workers in WORKERS:
            ours = turns[str(workers)]
            yield self._rate(
                f"drained {_by(workers)}", self._drained(workers), [turn.drained for turn in ours]
            )
            yield self._rate(
                f"stored and drained {_by(workers)}",
                f"{on}: stored, then drained, {_by(workers)}",
                [turn.together for turn in ours],
            )
        for peer in self._peers:
            yield from self._rates_of(peer, turns)

    def _rates_of(self, peer: _Peer, turns: Mapping[str, Sequence[Turn]]) -> Iterator[Row]:
        theirs = [turn for workers in WORKERS for turn in turns[f"{workers} {peer.key}"]]
        yield self._rate(
            f"{peer.key} stored", f"{peer.name}: enqueue one by one", [t.stored for t in theirs]
        )
        in_batches = [t.stored_in_batches for t in theirs if t.stored_in_batches is not None]
        if in_batches:
            yield self._rate(
                f"{peer.key} stored in batches", f"{peer.name}: enqueue 100 at once", in_batches
            )
        for workers in WORKERS:
            yield self._rate(
                f"{peer.key} drained {_by(workers)}",
                f"{peer.name}: drain, doing nothing, {_by(workers)}",
                [turn.drained for turn in turns[f"{workers} {peer.key}"]],
            )

    def ratios(self, turns: Mapping[str, Sequence[Turn]]) -> Iterator[Row]:
        """Ours to the peers', and many workers to one."""
        on = self._place.name
        for workers, peer in itertools.product(WORKERS, self._peers):
            ours, theirs = turns[str(workers)], turns[f"{workers} {peer.key}"]
            yield ratio_row(
                self._name(f"drained {_by(workers)} to {peer.key}"),
                (self._drained(workers), [turn.drained for turn in ours]),
                (
                    f"{peer.name}: drain, doing nothing, {_by(workers)}",
                    [turn.drained for turn in theirs],
                ),
                target=peer.target,
            )
            yield ratio_row(
                self._name(f"stored and drained {_by(workers)} to {peer.key}"),
                (f"{on}: stored, then drained, {_by(workers)}", [t.together for t in ours]),
                (
                    f"{peer.name}: enqueue one by one, then drain, {_by(workers)}",
                    [turn.together for turn in theirs],
                ),
            )
        one, many = WORKERS
        yield ratio_row(
            self._name(f"drained {_by(many)} to {_by(one)}"),
            (self._drained(many), [turn.drained for turn in turns[str(many)]]),
            (self._drained(one), [turn.drained for turn in turns[str(one)]]),
        )

    def latencies(self, per_second: float) -> Iterator[Row]:
        """From a delivery to its credit, while so many are delivered a second."""
        sides: dict[str, Callable[[], list[float]]] = {
            "inline": lambda: self._seconds_inline(per_second)
        }
        for workers in WORKERS:
            sides[_by(workers)] = partial(self._seconds_queued, workers, per_second)
        taken = take_turns(sides, self._plan.database_turns, warm_up=False)
        for side, percent in itertools.product(taken, (50, 99)):
            yield plain_row(
                self._name(f"latency {side} p{percent}"),
                f"{self._place.name}: from delivery to credit, {side}, p{percent}",
                "ms",
                [1_000 * _percentile(seconds, percent) for seconds in taken[side]],
            )
        yield self._rate(
            "latency load",
            f"{self._place.name}: webhooks offered meanwhile",
            [per_second],
        )

    def _seconds_inline(self, per_second: float) -> list[float]:
        with self._copy() as url:
            return delivering.seconds_inline(url, self._plan.commands, per_second)

    def _seconds_queued(self, workers: int, per_second: float) -> list[float]:
        with self._copy() as url:
            return delivering.seconds_queued(url, self._plan.commands, workers, per_second)

    def _drained(self, workers: int) -> str:
        return f"{self._place.name}: drained to credits, {_by(workers)}"

    def _rate(self, name: str, what: str, samples: Sequence[float]) -> Row:
        return plain_row(self._name(name), what, "per second", samples)

    def _name(self, what: str) -> str:
        return f"intake {self._place.name} {what}".lower().replace(" ", "_")


def _by(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


def _percentile(samples: Sequence[float], percent: int) -> float:
    """That of the nearest rank."""
    ranked = sorted(samples)
    return ranked[math.ceil(len(ranked) * percent / 100) - 1]
