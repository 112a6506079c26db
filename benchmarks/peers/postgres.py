"""One hot wallet in PostgreSQL: spends by this library and by two others that keep credits there.

All callers spend from the same wallet, where no two transactions of a peer can go on at once: each
holds the row of the balance until its commit is on the disk. Ours share a transaction.

Each turn has an empty database of the same server, with the same settings, where the same number of
spends is made, each with a key of its own and durable before it is answered, by threads of one
process. Each peer is called as its documentation shows, with as many connections as make it fastest
here, and with the key by which it, too, refuses to post twice. Everything is read back at the end
of a turn: an operation that is missing, or there twice, is an error and no rate.

They are no dependencies. Where one is not installed it has no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from typing import TypeAlias

import msgspec
import psycopg

from benchmarks.measure import Plan, Row, WrongResult, ratio_row, take_turns
from benchmarks.peers import credit_ledger, nostro
from benchmarks.peers.ours import Ours
from benchmarks.peers.turn import WALLET
from benchmarks.raw_postgres import fresh_database
from benchmarks.writing import CALLERS, CREDITS_AT_FIRST
from credit_payments.bootstrap import connect
from credit_payments.system import System

_TARGET = 8
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")

_Spends: TypeAlias = Callable[[str, int, int], float]
"""So many spends by so many callers in the empty database of this URL; how many a second."""


class _Peer(msgspec.Struct, frozen=True):
    package: str
    verb: str
    library: nostro.Nostro | credit_ledger.CreditLedger

    @property
    def name(self) -> str:
        return f"{self.package} {metadata.version(self.package)}: {self.verb}"


def rows(plan: Plan, admin_url: str) -> Iterator[Row]:
    """Spends from one wallet, by one caller and by many; nothing without a peer.

    Args:
        plan: How much is measured.
        admin_url: A database of the server where databases may be made.
    """
    few = max(plan.commands // 8, CALLERS)
    for callers, operations, target in ((1, few, None), (CALLERS, plan.commands, _TARGET)):
        peers = [*_installed()]
        if peers:
            check_durable(admin_url)
            yield from _compare(peers, plan, admin_url, callers, operations, target)


def _installed() -> Iterator[_Peer]:
    kinds = ((nostro, "debit", nostro.Nostro), (credit_ledger, "spend", credit_ledger.CreditLedger))
    for module, verb, library in kinds:
        if any(metadata.distributions(name=module.PACKAGE)):
            yield _Peer(module.PACKAGE, verb, library())


def _compare(
    peers: list[_Peer],
    plan: Plan,
    admin_url: str,
    callers: int,
    operations: int,
    target: float | None,
) -> Iterator[Row]:
    by = f"{callers} caller{'s' if callers > 1 else ''}"
    spends: dict[str, _Spends] = {"": _ours, **{p.package: p.library.spend for p in peers}}
    sides = {
        side: partial(_in_fresh_database, spend, admin_url, operations, callers)
        for side, spend in spends.items()
    }
    rates = take_turns(sides, plan.database_turns, warm_up=False)
    for peer in peers:
        retries = peer.library.retries
        repeated = f", {retries} transactions repeated" if retries else ""
        yield ratio_row(
            f"peer_postgres_{peer.package.replace('-', '_')}_{by.replace(' ', '_')}",
            (f"spend on one wallet in PostgreSQL, {by}", rates[""]),
            (f"{peer.name}, {by}{repeated}", rates[peer.package]),
            target=target,
        )


def _in_fresh_database(spends: _Spends, admin_url: str, operations: int, callers: int) -> float:
    with fresh_database(admin_url) as url:
        return spends(url, operations, callers)


def check_durable(url: str) -> None:
    """Nobody changes these in a session, but our storage, which insists on them."""
    with psycopg.connect(url) as connection:
        found = {name: connection.execute(f"SHOW {name}").fetchone() for name in _DURABLE}
    if set(found.values()) != {("on",)}:
        raise WrongResult(f"On this server a commit may be lost: {found}")


def _ours(url: str, operations: int, callers: int) -> float:
    return _OursInPostgres(url).spend(operations, callers)


class _OursInPostgres(Ours):
    """The spends that the files compare, and their check, on a server."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def _system(self) -> Iterator[System]:
        with connect(database=self._url) as system:
            system.wallets.grant(WALLET, CREDITS_AT_FIRST, key="opening", reason="opening")
            yield system
