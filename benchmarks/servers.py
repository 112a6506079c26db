"""Durable writes on PostgreSQL and MongoDB: the commands of `writing`, against the driver by hand.

Each turn gets a copy of the same database, in which wallets hold credits and payments wait. By hand
is one transaction a command, or a hundred commands in each transaction, written in bulk.

Who shares transactions gets `SHARED` times as many commands as who has one for each. With as many
for all, a turn of many callers would be over in a quarter of a second, and much of that would be
the start of their threads, the first connection, and statements that nobody has prepared yet.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import msgspec

from benchmarks import growing, writing
from benchmarks.measure import Plan, Row, ratio_row, take_turns
from credit_payments.ports.storage import Storage

CALLERS = (1, 16, writing.CALLERS)
ONE_CALLER, BATCHED = 0.5, 0.4
SHARED = 4
GROWTH = round(1 / 1.3, 3)


class Server(Protocol):
    """One kind of database, and the ways to write to it."""

    name: str
    tool: str

    def open(self, url: str) -> Storage: ...
    def record(self, url: str) -> Any: ...
    def copy(self, template: str | None = None) -> AbstractContextManager[str]: ...
    def replay(self, url: str, script: Any) -> float: ...
    def replay_batched(self, url: str, script: Any) -> float: ...
    def check_same(self, url: str, reference: str) -> None: ...


def rows(plan: Plan) -> Iterator[Row]:
    """On each server that can be started here; nothing of one whose package is not there."""
    # Each turn copies a database: fewer and shorter ones do, or this would take half an hour.
    plan = msgspec.structs.replace(
        plan, database_turns=min(plan.database_turns, 3), commands=min(plan.commands, 2_000)
    )
    with started("tests.support.servers.postgres", "PostgresServer") as url:
        if url is not None:
            from benchmarks.peers import postgres as peers  # noqa: PLC0415 - needs the driver
            from benchmarks.raw_postgres import Postgres  # noqa: PLC0415

            yield from _rows_on(Postgres(url), plan, many=10)
            yield from peers.rows(plan, url)
    with started("tests.support.servers.mongod", "ReplicaSet") as url:
        if url is not None:
            from benchmarks.raw_mongo import Mongo  # noqa: PLC0415

            yield from _rows_on(Mongo(url), plan, many=15)


@contextmanager
def started(module: str, name: str) -> Iterator[str | None]:
    """The URL of a server that the tests know to start; None where its package is not there."""
    from tests.support.servers.process import ServerMissing  # noqa: PLC0415

    with ExitStack() as stack:
        try:
            server = stack.enter_context(getattr(importlib.import_module(module), name)())
        except (ImportError, ServerMissing):
            server = None
        yield server and server.url


def _rows_on(server: Server, plan: Plan, *, many: float) -> Iterator[Row]:
    with ExitStack() as databases:
        template = databases.enter_context(server.copy())
        writing.fill(server.open(template), plan.commands * SHARED)
        for kind in (writing.Webhooks, writing.Spends, writing.SpendsOnOneWallet):
            with server.copy(template) as reference:
                case = _Case(server, template, reference, kind, plan.commands)
                yield from case.rows(plan, many=many)
    with server.copy() as database:
        yield from growing.rows_on(database, server.name, plan, target=GROWTH)


class _Case:
    """One kind of write on one server, recorded once."""

    def __init__(
        self,
        server: Server,
        template: str,
        reference: str,
        kind: type[writing.Case],
        commands: int,
    ) -> None:
        self._server = server
        self._template = template
        self._reference = reference
        self._alone, self._shared = kind(commands), kind(commands * SHARED)
        storage = server.record(reference)
        self._shared.run(storage, 1)
        self._script = storage.script

    def rows(self, plan: Plan, *, many: float) -> Iterator[Row]:
        """By one caller, some and many, against both ways by hand."""
        what = f"{self._server.name} {self._shared.what}"
        single = f"{what}, {self._server.tool} by hand"
        batched = f"{single}, 100 a transaction"
        ours = {callers: f"{what}, {_callers(callers)}" for callers in CALLERS}
        sides = {single: self._by_hand, batched: self._by_hand_batched}
        for callers, name in ours.items():
            sides[name] = partial(self._by_library, callers)
        # The recording was the warm-up.
        rates = take_turns(sides, plan.database_turns, warm_up=False)
        targets = {CALLERS[0]: ONE_CALLER, CALLERS[-1]: many}
        for callers, side in ours.items():
            name = f"{what.lower()} {_callers(callers)}".replace(" ", "_")
            mine, target = (side, rates[side]), targets.get(callers)
            yield ratio_row(name, mine, (single, rates[single]), target=target)
            if callers == CALLERS[-1]:
                yield ratio_row(
                    f"{name}_to_batches", mine, (batched, rates[batched]), target=BATCHED
                )

    def _by_library(self, callers: int) -> float:
        case = self._alone if callers == 1 else self._shared
        with self._server.copy(self._template) as url:
            return case.run(self._server.open(url), callers)

    def _by_hand(self) -> float:
        alone = self._alone.commands
        with self._server.copy(self._template) as url:
            rate = self._server.replay(url, self._script[:alone])
            # Not timed: what is left, so that all rows can be compared.
            self._server.replay_batched(url, self._script[alone:])
            self._server.check_same(url, self._reference)
        return rate

    def _by_hand_batched(self) -> float:
        with self._server.copy(self._template) as url:
            rate = self._server.replay_batched(url, self._script)
            self._server.check_same(url, self._reference)
        return rate


def _callers(number: int) -> str:
    return "1 caller" if number == 1 else f"{number} callers"
