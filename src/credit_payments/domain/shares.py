"""What became of the credits of lots, and of the money paid for them, entry by entry.

What became of paid credits cannot be read off the contra accounts, because credits may repay a
debt, and those of one lot may stand in for others that were refunded. It follows from how each lot
stands before and after an entry: see `divide`. So no credit counts twice, none counts as unused or
expired once its money went back, and credits that repaid a debt, or stand in for refunded ones,
count as used; these until the refunded ones come back, and those for good. A lot in which a
reversal gives back what had repaid its debt is part of the payment's: it has the money again. Other
corrections are no lots here: they give back use that a debt had covered, and nobody's money stands
behind them.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

import msgspec

from credit_payments.domain import ledger
from credit_payments.domain.ledger import Contra, Kind, LotChange
from credit_payments.domain.records import Entry, Purchase
from credit_payments.errors import Conflict


class Shares(NamedTuple):
    """What became of the credits that came in with lots, or by how much that changes."""

    came: int = 0
    taken_back: int = 0
    unused: int = 0
    expired: int = 0

    @property
    def used(self) -> int:
        """The rest."""
        return self.came - self.taken_back - self.unused - self.expired

    def plus(self, other: Shares, times: int = 1) -> Shares:
        """The sum with another one, so many times."""
        return Shares(
            self.came + times * other.came,
            self.taken_back + times * other.taken_back,
            self.unused + times * other.unused,
            self.expired + times * other.expired,
        )


def divide(credits: int, *, taken_back: int, there: int, expired: int) -> Shares:
    """What became of a lot: of so many credits, by what it has now and let expire.

    >>> divide(100, taken_back=0, there=30, expired=10).used
    60
    >>> divide(100, taken_back=80, there=30, expired=10)  # refunded, but given back by an undo
    Shares(came=100, taken_back=80, unused=20, expired=0)
    """
    kept = credits - taken_back
    unused = min(there, kept)
    return Shares(credits, taken_back, unused, min(expired, kept - unused))


def half_up(numerator: int, denominator: int) -> int:
    """Round a fraction to the nearest integer, and a half up.

    >>> half_up(5, 2), half_up(12, 5)
    (3, 2)
    """
    return (2 * numerator + denominator) // (2 * denominator)


class Lot:
    """A lot as the entries so far leave it; `price` is that of one credit, None if promotional."""

    __slots__ = ("_credits", "_expired", "_shares", "_taken_back", "_there", "currency", "price")

    def __init__(self, credits: int, price: Fraction | None = None, currency: str = "") -> None:
        self.price = price
        self.currency = currency
        self._credits = credits
        self._there = self._expired = self._taken_back = 0
        self._shares = Shares()

    def follow(self, change: LotChange, taken_back: int) -> Shares:
        """Apply what an entry says; by how much the shares change with it."""
        self._there += change.available + change.held + change.frozen
        self._expired += change.expired
        self._taken_back += taken_back
        before = self._shares
        self._shares = divide(
            self._credits, taken_back=self._taken_back, there=self._there, expired=self._expired
        )
        return self._shares.plus(before, times=-1)


class Day:
    """What moved on one day.

    Attributes:
        legs: credits by kind of account.
        promotional: shares of promotional lots.
        paid: shares of paid lots, by currency.
        values: their values in minor units: numerators by currency and denominator. They are
            brought to one denominator in the end, because that one may be long.
    """

    __slots__ = ("legs", "paid", "promotional", "values")

    def __init__(self) -> None:
        self.legs: Counter[str] = Counter()
        self.promotional = Shares()
        self.paid: dict[str, Shares] = {}
        self.values: dict[str, dict[int, Shares]] = {}

    def move(self, lot: Lot, moved: Shares) -> None:
        """Add by how much the shares of a lot changed."""
        if lot.price is None:
            self.promotional = self.promotional.plus(moved)
            return
        numerator, denominator = lot.price.as_integer_ratio()
        self.paid[lot.currency] = self.paid.get(lot.currency, Shares()).plus(moved)
        values = self.values.setdefault(lot.currency, {})
        values[denominator] = values.get(denominator, Shares()).plus(moved, times=numerator)


class Walk:
    """The lots of one user, entry by entry."""

    def __init__(self) -> None:
        self._lots: dict[str, Lot] = {}
        self._corrections: set[str] = set()
        self._purchase: Purchase | None = None

    def read(self, purchase: Purchase) -> None:
        """Know a purchase, before its entry comes."""
        self._purchase = purchase

    def step(self, entry: Entry, day: Day) -> None:
        """Add to a day what an entry moves.

        Raises:
            Conflict: the entry cannot be read, or its lot or purchase is missing.
        """
        try:
            legs, changes = ledger.legs_of(entry), ledger.lots_of(entry)
        except msgspec.MsgspecError:
            raise _unreadable(entry) from None
        for account, credits in legs.items():
            day.legs[account.partition(":")[0]] += credits
        moves = {change.lot_id: (change, 0) for change in changes}
        own = self._own_lot(entry, legs)
        if own is not None:  # it is not among the changes where a debt took all of it
            change, _ = moves.get(own, (LotChange(own), 0))
            moves[own] = (change, legs.get(Contra.REFUNDS, 0) + legs.get(Contra.DISPUTES, 0))
        for lot_id, (change, taken_back) in moves.items():
            lot = self._lots.get(lot_id)
            if lot is not None:
                day.move(lot, lot.follow(change, taken_back))
            elif lot_id == entry.cause:
                self._corrections.add(lot_id)
            elif lot_id not in self._corrections:
                raise _unreadable(entry)

    def _own_lot(self, entry: Entry, legs: dict[str, int]) -> str | None:
        """The lot that an entry brings, or that of the payment that it reverses."""
        if entry.kind == Kind.REVERSAL:  # reversal:pi_…:number
            own = entry.cause.replace(Kind.REVERSAL, Kind.PAYMENT, 1).rpartition(":")[0]
            if own in self._lots:
                self._lots[entry.cause] = self._lots[own]
            return own
        if entry.kind == Kind.PAYMENT:
            self._lots[entry.cause] = self._bought(entry, -legs.get(Contra.PURCHASES, 0))
            return entry.cause
        if entry.kind == Kind.GRANT:
            self._lots[entry.cause] = Lot(-legs.get(Contra.PROMOTIONS, 0))
            return entry.cause
        return None

    def _bought(self, entry: Entry, credits: int) -> Lot:
        bought = self._purchase
        if credits <= 0:
            raise _unreadable(entry)
        if bought is None or bought.transaction_id != entry.transaction_id:
            raise Conflict(f"The purchase of the entry {entry.transaction_id} is missing.")
        return Lot(credits, Fraction(bought.amount_minor, credits), bought.currency)


def _unreadable(entry: Entry) -> Conflict:
    return Conflict(f"The ledger is broken at {entry.transaction_id}: see system.verify().")
