# ruff: noqa: D103, S101 - for the contracts of this package, and named after what they do
"""Rows to write, and what is done with them again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, get_type_hints

import msgspec

from credit_payments.domain.decision import Range, Series
from credit_payments.domain.records import (
    CREDITS_MAX,
    RECORDS,
    Hold,
    Key,
    Lot,
    Record,
    Wallet,
    key_of,
)
from credit_payments.ports.storage import Storage, WriteConflict

R = TypeVar("R", bound=Record)

WAIT_SECONDS_MAX = 30.0
TRIES_MAX = 1_000
GROUPED = tuple(kind for kind in RECORDS if kind.GROUP)
UNUSUAL_NUMBERS = (0, -1, CREDITS_MAX, -CREDITS_MAX, 2**53 + 1, 2**63 - 1, -(2**63))
UNUSUAL_LINES = 'line\nbreak\r\n\ttab \x7f \x1b \u2028 \u200f \ufeff \U0001f4b3 "quoted" \\n'

UNUSUAL_TEXTS = (
    "a" * 255,
    "\U0001f4b3" * 255,
    "שלום عليكم",
    "e\u0301",
    "\u00e9",
    "Ada",
    "ada",
    "7",
    "007",
    "1e3",
    "1000",
    "0x10",
    "true",
    "null",
    "None",
    "[]",
    '{"$gt": ""}',
    "$where",
    "a.b.c",
    "_id",
    "'; DROP TABLE wallets; --",
    '" OR 1=1 --',
    "100%_",
    "back\\slash",
    "\\u0041",
    "%s %(a)s {0} ? :a $1",
    "\uffff\ue000",
    "\U00010000",
)


def names_of(rows: Iterable[Record]) -> list[str]:
    return [key_of(row)[1] for row in rows]


def a_row(
    kind: type[R],
    key: str,
    *,
    optional: str | None = None,
    numbers: int = 0,
    texts: str | None = None,
    **given: Any,
) -> R:
    """A row of any kind: what is not given is filled with something of its type."""
    filled: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for name in kind.__struct_fields__:
        if name == kind.KEY:
            filled[name] = key
        elif hints[name] is int:
            filled[name] = numbers
        elif hints[name] is str:
            # Different for each row, so that no unique columns meet by chance.
            filled[name] = f"{name}:{key}" if is_unique(kind, name) else texts or name
        elif hints[name] == int | None:
            filled[name] = None if optional is None else len(optional)
        elif name in kind.DECIMALS:
            filled[name] = None if optional is None else f"{len(optional)}.30"
        else:
            filled[name] = optional
    return kind(**{**filled, **given})


def order_within_group(kind: type[Record]) -> tuple[str, ...]:
    """The order of an index that starts with the column of the kind's group."""
    indexes = (*kind.INDEXES, *(columns for _, columns in kind.SPARSE))
    return next(columns[1:] for columns in indexes if columns[0] == kind.GROUP)


def a_lot(number: int, **given: Any) -> Lot:
    fields = {"user_id": "ada", "sequence": number, "open": 1, "available": 1, **given}
    return a_row(Lot, f"grant:{number}", **fields)


def a_hold(key: str, **given: Any) -> Hold:
    return a_row(Hold, key, **{"user_id": "ada", "open": 1, **given})


def spending(user_id: str, is_open: int = 1) -> Series:
    return Series(Lot, user_id, (("open", is_open),), ("priority", "expires_at", "sequence"))


def is_unique(kind: type[Record], name: str) -> bool:
    return any(name in columns for columns in kind.UNIQUE)


def lapsing(user_id: str) -> Series:
    return Series(Hold, user_id, (("open", 1),), ("lapses_at", "hold_id"))


def types_of(rows: Iterable[Record]) -> set[type]:
    """Of all that rows hold: text, numbers and None, and no subclass that a driver has made."""
    return {type(value) for row in rows for value in msgspec.structs.astuple(row)}


def put(storage: Storage, *rows: Record) -> None:
    with storage.transaction() as transaction:
        transaction.write(rows, [])


def load(storage: Storage, keys: Iterable[Key]) -> dict[Key, Record]:
    with storage.transaction() as transaction:
        return dict(transaction.load(keys))


def first(storage: Storage, *ranges: Range) -> dict[Range, list[Record]]:
    """What a transaction finds; whoever only reads finds the same."""
    with storage.transaction() as transaction:
        found = {asked: list(rows) for asked, rows in transaction.first(ranges).items()}
    with storage.snapshot() as reader:
        for read in (reader.first(ranges), storage.first(ranges)):
            assert {asked: list(rows) for asked, rows in read.items()} == found
    return found


def take_first(storage: Storage) -> str:
    """Close the first open lot of a user, as a spend does; its name."""
    asked = Range(spending("ada"), 1)
    with storage.transaction() as transaction:
        wallet = transaction.load([(Wallet, "ada")])[Wallet, "ada"]
        assert isinstance(wallet, Wallet)
        lot = transaction.first([asked])[asked][0]
        assert isinstance(lot, Lot)
        updates = [
            msgspec.structs.replace(wallet, available=wallet.available - lot.available),
            msgspec.structs.replace(lot, open=0, available=0),
        ]
        transaction.write([], updates)
    return lot.lot_id


def add_one(storage: Storage, keys: Sequence[Key]) -> None:
    with storage.transaction() as transaction:
        loaded = transaction.load(keys)
        updates = []
        for key in keys:
            wallet = loaded[key]
            assert isinstance(wallet, Wallet)
            updates.append(msgspec.structs.replace(wallet, available=wallet.available + 1))
        transaction.write([], updates)


def until_written(write: Callable[[], None]) -> None:
    """As the database queue does it: another writer may be first, some times in a row."""
    for _ in range(TRIES_MAX):
        try:
            write()
        except WriteConflict:
            continue
        return
    raise AssertionError("other writers kept getting ahead")


def together(*works: Callable[[], object]) -> None:
    """Run in one thread each, started at once; what one of them raises is raised here."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        start.wait(WAIT_SECONDS_MAX)
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(run, work) for work in works]:
            future.result(WAIT_SECONDS_MAX)
