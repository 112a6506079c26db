"""Whether a wallet becomes slower with its history, and with the number of its open lots.

Three wallets live in one database: a fresh one with one lot, one with a long history, and one with
many open lots. They take turns, a number of calls each.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.copies import remove_database
from benchmarks.measure import Plan, Row, WrongResult, prepared, ratio_row, take_turns
from credit_payments.adapters.databases import Opening, open_storage
from credit_payments.bootstrap import connect
from credit_payments.domain import instants
from credit_payments.domain.decision import Command, View
from credit_payments.domain.lots import first_to_spend
from credit_payments.domain.records import Entry, Lot, Record, Wallet
from credit_payments.domain.spending import Grant, Spend
from credit_payments.ports.storage import Storage
from credit_payments.system import System

FRESH, LONG, WIDE = "fresh", "long history", "many lots"
_CALLS = 200
_START = 1_767_225_600
_AT_ONCE = 5_000
_CREDITS = 1_000_000_000
_WARM_UP = 20


def rows(plan: Plan, folder: Path) -> Iterator[Row]:
    """On SQLite."""
    path = folder / "grown.db"
    yield from rows_on(f"sqlite:///{path}", "", plan, target=round(1 / 1.5, 3))
    remove_database(path)


def rows_on(database: str, name: str, plan: Plan, *, target: float) -> Iterator[Row]:
    """Spends and balances on each of the wallets; a ratio of rates, where 1 is as fast.

    Args:
        database: the URL of one that is empty.
        name: what the rows' names and words begin with.
        plan: how many entries and lots.
        target: of each ratio.
    """
    _fill(database, plan)
    with connect(database=database) as system:
        _check(system, plan)
        numbers = itertools.count()
        for what, call in (("spend", _spender(system, numbers)), ("balance", _reader(system))):
            sides = {user: _timed(call, user) for user in (FRESH, LONG, WIDE)}
            rates = take_turns(sides, 3 * plan.database_turns)
            for user, size in ((LONG, plan.entries), (WIDE, plan.lots)):
                unit = "entries" if user == LONG else "open lots"
                on = f"{name} " if name else ""
                yield ratio_row(
                    f"{on.lower()}{what} {user}".replace(" ", "_"),
                    (f"{on}{what}, wallet with {size:,} {unit}", rates[user]),
                    (f"{on}{what}, fresh wallet", rates[FRESH]),
                    target=target,
                )
        _check(system, plan)


def _spender(system: System, numbers: Iterator[int]) -> Callable[[str], None]:
    def spend(user: str) -> None:
        system.wallets.spend(user, 1, key=f"call-{next(numbers)}")

    return spend


def _reader(system: System) -> Callable[[str], None]:
    def read(user: str) -> None:
        if system.wallets.balance(user).available <= 0:
            raise WrongResult(f"{user} has nothing.")

    return read


def _timed(call: Callable[[str], None], user: str) -> Callable[[], float]:
    def run() -> float:
        for _ in range(_WARM_UP):  # the pages of this wallet, after those of another
            call(user)
        with prepared():
            start = time.perf_counter()
            for _ in range(_CALLS):
                call(user)
            return _CALLS / (time.perf_counter() - start)

    return run


def _check(system: System, plan: Plan) -> None:
    with system._storage.snapshot() as reader:  # noqa: SLF001 - no public call counts rows
        lots = len(reader.page(Lot, {"user_id": WIDE, "open": 1}, order=_ORDER, limit=plan.lots))
        long = reader.get(Wallet, LONG)
    if long is None or long.entries < plan.entries or lots < plan.lots - 1:
        raise WrongResult(f"{long} and {lots} lots are not what was to be measured.")


_ORDER = ("priority", "expires_at", "sequence")


def _fill(database: str, plan: Plan) -> None:
    """Decide by the library's own rules, and write thousands at once."""
    storage = open_storage(database, Opening())
    try:
        _write(storage, FRESH, iter([_grant(FRESH, 0, _CREDITS)]))
        spends = (Spend(user_id=LONG, credits=1, key=f"{LONG}-{n}") for n in range(plan.entries))
        _write(storage, LONG, itertools.chain([_grant(LONG, 0, _CREDITS)], spends))
        _write(storage, WIDE, (_grant(WIDE, n, 10_000) for n in range(plan.lots)))
    finally:
        storage.close()


def _grant(user: str, number: int, credits: int) -> Grant:
    expires_at = instants.from_unix(_START + 100 * 365 * 86_400 + number)
    return Grant(
        user_id=user,
        credits=credits,
        key=f"{user}-{number}",
        reason="opening",
        expires_at=expires_at,
    )


def _write(storage: Storage, user: str, commands: Iterator[Command[Entry]]) -> None:
    view = View({(Wallet, user): None})
    view.put_range(first_to_spend(user), [])
    for second in itertools.count():
        new: dict[tuple[type[Record], str], Record] = {}
        replaced: dict[tuple[type[Record], str], Record] = {}
        for command in itertools.islice(commands, _AT_ONCE):
            for key in command.keys():  # noqa: SIM118 - a command is no mapping
                if isinstance(key[0], type) and not view.knows(key):
                    view.put(key, None)
            decision = command.decide(view, instants.from_unix(_START + second))
            view.absorb(decision.changes, new, replaced)
        if not new:
            return
        with storage.transaction() as transaction:
            transaction.write([*new.values()], [*replaced.values()])
        view = _remaining(view, user)


def _remaining(view: View, user: str) -> View:
    """The same wallet without the entries, which would fill the memory."""
    kept = View({(Wallet, user): view.get(Wallet, user)})
    lots, _ = view.first(first_to_spend(user).series)
    kept.put_range(first_to_spend(user), [])
    for lot in lots:
        kept.put((Lot, lot.lot_id), lot)
    return kept
