"""Lots: in which order credits are spent, what each has in which state, and how that changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from credit_payments.domain.decision import FIRST_ROWS, Range, Series
from credit_payments.domain.ledger import LotChange
from credit_payments.domain.records import Hold, Lot

PRIORITY_MIN, PRIORITY_MAX = -100, 100
"""Lots of a lower number are spent first, as Stripe's credit grants are
(https://docs.stripe.com/api/billing/credit-grant/object#billing_credit_grant_object-priority)."""

STAND_INS_MAX = 32
"""How far what comes back goes on: from a lot to one that stood in for it, to one that stood in for
that one, and so on. Each time, a payment was refunded whose credits had stood in for another's;
with more of them in a row, what comes back stays on the way."""

SPENDING_ORDER = ("priority", "expires_at", "sequence")
EXPIRY_ORDER = ("expires_at", "sequence")
LAPSING_ORDER = ("lapses_at", "hold_id")
_OPEN = (("open", 1),)
DEBT, WRITTEN_OFF = "debt", "written_off"
"""What stands in for a lot in place of another one: those have a colon in their names."""


class Source(StrEnum):
    """How a lot came in."""

    PURCHASE = "purchase"
    GRANT = "grant"
    CORRECTION = "correction"


class Take(NamedTuple):
    """Credits out of one lot."""

    lot_id: str
    credits: int


_takes_decoder = msgspec.json.Decoder(list[Take])


def to_spend(user_id: str) -> Series:
    """A user's lots in the order in which they are spent."""
    return Series(Lot, user_id, _OPEN, SPENDING_ORDER)


def first_to_spend(user_id: str) -> Range:
    """The first of them: enough for most wallets."""
    return Range(to_spend(user_id), FIRST_ROWS)


def to_expire(user_id: str) -> Series:
    """A user's lots that expire, in the order in which they do."""
    return Series(Lot, user_id, _OPEN, EXPIRY_ORDER, "expires_at")


def to_lapse(user_id: str) -> Series:
    """A user's running holds in the order in which they lapse."""
    return Series(Hold, user_id, _OPEN, LAPSING_ORDER)


def take(lots: Iterable[Lot], credits: int) -> tuple[list[Take], int]:
    """Take from lots in turn; what was taken, and what they could not give.

    >>> take([], 5)
    ([], 5)
    """
    taken = []
    rows = iter(lots)
    # The next one is asked for only when it is needed: it may not be loaded.
    while credits and (lot := next(rows, None)) is not None:
        share = min(lot.available, credits)
        if share:
            taken.append(Take(lot.lot_id, share))
            credits -= share
    return taken, credits


def first_of(takes: Iterable[Take], credits: int) -> tuple[list[Take], list[Take]]:
    """Part what was taken: the first so many credits of it, and the rest.

    >>> first_of([Take("a", 5), Take("b", 5)], 7)
    ([Take(lot_id='a', credits=5), Take(lot_id='b', credits=2)], [Take(lot_id='b', credits=3)])
    """
    first, rest = [], []
    for lot_id, amount in takes:
        share = min(amount, credits)
        credits -= share
        if share:
            first.append(Take(lot_id, share))
        if amount > share:
            rest.append(Take(lot_id, amount - share))
    return first, rest


def last_of(takes: Sequence[Take], credits: int) -> tuple[list[Take], list[Take]]:
    """Part what was taken: what stays, and the last so many credits of it, last first.

    >>> last_of([Take("a", 5), Take("b", 5)], 7)
    ([Take(lot_id='a', credits=3)], [Take(lot_id='b', credits=5), Take(lot_id='a', credits=2)])
    """
    kept, last = first_of(takes, total(takes) - credits)
    return kept, last[::-1]


def total(takes: Iterable[Take], of: str | None = None) -> int:
    """How many credits were taken in all, or out of one place."""
    return sum(take.credits for take in takes if of in (None, take.lot_id))


def changed(lot: Lot, change: LotChange) -> Lot:
    """The lot after a change of what it has."""
    available = lot.available + change.available
    return Lot(
        lot.lot_id, lot.user_id, lot.source, lot.sequence, lot.priority, lot.expires_at,
        lot.credits, int(available > 0), available, lot.held + change.held,
        lot.frozen + change.frozen, lot.expired + change.expired,
        lot.written_off + change.written_off, lot.expiries, lot.locked, lot.created_at,
        lot.covered_by,
    )  # fmt: skip


def write(takes: Iterable[Take]) -> str:
    """Takes as JSON."""
    return msgspec.json.encode(list(takes)).decode()


def read(text: str) -> list[Take]:
    """The takes in a JSON text."""
    return _takes_decoder.decode(text)


def stand_ins(lot: Lot) -> list[Take]:
    """What stands in for credits of a lot that were to be taken back, and were missing.

    The last of them is the first to be let off: other lots in the order in which they gave, and
    behind them `DEBT` and `WRITTEN_OFF`. Where nothing was noted (nothing was, up to the fourth
    version of the schema) it is what was written off.
    """
    if lot.covered_by:
        return read(lot.covered_by)
    return [Take(WRITTEN_OFF, lot.written_off)] if lot.written_off else []


def lenders(lot: Lot) -> list[Take]:
    """Only the lots that stand in for another one."""
    return [take for take in stand_ins(lot) if is_lot(take)]


def is_lot(take: Take) -> bool:
    """Whether the place is a lot."""
    return take.lot_id not in (DEBT, WRITTEN_OFF)


def covered(lot: Lot, takes: Iterable[Take]) -> Lot:
    """The lot with these stand-ins."""
    merged: list[Take] = []
    for take in takes:
        known = merged.pop().credits if merged and merged[-1].lot_id == take.lot_id else 0
        merged.append(Take(take.lot_id, known + take.credits))
    if merged == stand_ins(lot):
        return lot
    return msgspec.structs.replace(lot, covered_by=write(merged))
