"""One wallet: lots and holds, and how credits move between them."""

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime
from typing import Any

import attrs

NEVER = datetime.max.replace(tzinfo=UTC)
LONG_AGO = datetime.min.replace(tzinfo=UTC)

NOBODY = None
"""Where credits belong that were owed, and that others have repaid."""
MADE_UP = ""
"""Where those belong that were forgiven."""

Parts = list[tuple[str, int]]
"""How many credits out of which lots."""


class Refused(Exception):
    """A call fails with an error of this name."""

    @property
    def name(self) -> str:
        return str(self.args[0])


@attrs.define
class Lot:
    name: str
    source: str
    credits: int
    age: int
    priority: int = 0
    expires: datetime = NEVER
    available: int = 0
    held: int = 0
    frozen: int = 0
    expired: int = 0
    forgiven: int = 0
    """What was to be taken back from it, was missing, and was written off."""
    lenders: tuple[tuple[str, int], ...] = ()
    """Who gave in its place when credits of it were to be taken back, and were missing."""
    owed: int = 0
    """What nobody gave then, so that the wallet owed it."""
    forgives_first: bool = False
    """Whether it is what was forgiven, and not what was owed, that is made up for first."""
    locked: bool = False

    def spending_order(self) -> tuple[int, datetime, int]:
        return self.priority, self.expires, self.age

    def amounts(self) -> tuple[object, ...]:
        there = self.available, self.held, self.frozen, self.expired
        return *there, self.forgiven, self.owed, self.lenders


@attrs.define
class Hold:
    key: str
    credits: int
    overage: str
    lapses: datetime
    parts: Parts
    status: str = "held"
    captured: int = 0


@attrs.define
class Wallet:
    lots: dict[str, Lot] = attrs.field(factory=dict)
    holds: dict[str, Hold] = attrs.field(factory=dict)
    debt: int = 0
    suspended: bool = False
    last: datetime = LONG_AGO
    """When something was last posted, by the latest clock that ever did."""
    now: datetime = LONG_AGO

    # -- looking ----------------------------------------------------------------------------

    def available(self) -> int:
        return sum(lot.available for lot in self.lots.values())

    def held(self) -> int:
        return sum(lot.held for lot in self.lots.values())

    def frozen(self) -> int:
        return sum(lot.frozen for lot in self.lots.values())

    def to_spend(self) -> list[Lot]:
        having = [lot for lot in self.lots.values() if lot.available]
        return sorted(having, key=Lot.spending_order)

    def running(self) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.status == "held"]

    def moments(self) -> list[datetime]:
        """When something of it will lapse or expire."""
        return sorted(
            [hold.lapses for hold in self.running()]
            + [lot.expires for lot in self.to_spend() if lot.expires != NEVER]
        )

    def numbers(self) -> list[object]:
        """All that a posting can change."""
        lots = [(lot.name, lot.amounts()) for lot in self.lots.values()]
        return [lots, self.debt, [(hold.key, hold.status) for hold in self.holds.values()]]

    def balance(self) -> dict[str, Any]:
        """What a user is shown."""
        expiring = [lot.expires for lot in self.to_spend() if lot.expires != NEVER]
        shown = 0 if self.suspended else self.available()
        return {
            "available": shown,
            "held": self.held(),
            "frozen": self.frozen() + self.available() - shown,
            "debt": self.debt,
            "expires_next": min(expiring, default=None),
        }

    def listed(self) -> list[dict[str, Any]]:
        """The lots with something available, as they are shown."""
        return [
            {
                "lot_id": lot.name,
                "source": lot.source,
                "credits": lot.credits,
                "available": lot.available,
                "held": lot.held,
                "frozen": lot.frozen,
                "priority": lot.priority,
                "expires_at": None if lot.expires == NEVER else lot.expires,
            }
            for lot in self.to_spend()
        ]

    # -- time -------------------------------------------------------------------------------

    def at(self, clock: datetime) -> Wallet:
        """A copy, in which everything has happened that is due by now."""
        wallet = copy(self)
        wallet.lots = {name: copy(lot) for name, lot in self.lots.items()}
        wallet.holds = {key: copy(hold) for key, hold in self.holds.items()}
        while (moments := wallet.moments()) and moments[0] <= clock:
            wallet.now = moments[0]
            wallet.last = max(self.last, clock)
            for lot in wallet.to_spend():
                if lot.expires <= wallet.now:
                    lot.expired += lot.available
                    lot.available = 0
            for hold in sorted(wallet.running(), key=lambda hold: hold.key):
                if hold.lapses <= wallet.now:
                    wallet.let_go(hold, "lapsed")
        wallet.now = clock
        return wallet

    def posts(self) -> None:
        self.last = max(self.last, self.now)

    # -- credits move -----------------------------------------------------------------------

    def open_lot(
        self,
        name: str,
        source: str,
        credits: int,
        *,
        expires: datetime = NEVER,
        priority: int = 0,
    ) -> None:
        self.lots[name] = Lot(name, source, credits, len(self.lots), priority, expires)

    def come_in(self, parts: Parts, credits: int, cause: str) -> None:
        """Credits come to lots, in their order, one by one; what is owed is repaid of them first.

        It is repaid with those that are nobody's, and then from the last on. What is nobody's after
        that opens a lot, called by the cause.
        """
        homes: list[str | None] = []
        for name, most in parts:
            share = min(most, credits)
            credits -= share
            homes += [self.home_of_one(name) for _ in range(share)]
        theirs = [home for home in homes if home not in (NOBODY, MADE_UP)]
        nobodys = credits + homes.count(NOBODY)
        repaid = min(self.debt, nobodys + len(theirs))
        self.debt -= repaid
        for name in theirs[: len(theirs) - max(0, repaid - nobodys)]:
            lot = self.lots[str(name)]
            if lot.locked:
                lot.frozen += 1
            elif lot.expires <= self.now:
                lot.expired += 1
            else:
                lot.available += 1
        if nobodys > repaid:
            if cause not in self.lots:
                self.open_lot(cause, "correction", 0)
            self.lots[cause].credits += nobodys - repaid
            self.lots[cause].available += nobodys - repaid

    def home_of_one(self, name: str) -> str | None:
        """Whose a credit is that comes back to a lot."""
        for _ in range(32):
            lot = self.lots[name]
            if lot.forgiven and (lot.forgives_first or not lot.owed):
                lot.forgiven -= 1
                return MADE_UP
            if lot.owed:
                lot.owed -= 1
                return NOBODY
            if not lot.lenders:
                return name
            *others, (lender, lent) = lot.lenders
            lot.lenders = (*others, *([(lender, lent - 1)] if lent > 1 else []))
            name = lender
        return name

    def go_out(self, credits: int, *, but: str = "") -> tuple[Parts, int]:
        """Credits go from the lots whose turn it is; and how many were missing."""
        parts: Parts = []
        for lot in self.to_spend():
            share = min(lot.available, credits)
            if lot.name != but and share:
                lot.available -= share
                credits -= share
                parts.append((lot.name, share))
        return parts, credits

    def pay(self, credits: int) -> Parts:
        """What a spend or a hold takes: all of it or nothing."""
        if self.suspended:
            raise Refused("WalletSuspended")
        if credits > self.available():
            raise Refused("InsufficientCredits")
        return self.go_out(credits)[0]

    def let_go(self, hold: Hold, status: str) -> None:
        for name, share in hold.parts:
            self.lots[name].held -= share
        hold.status = status
        verb = {"lapsed": "lapse", "released": "release"}[status]
        self.come_in(hold.parts, hold.credits, f"{verb}:{hold.key}")
