"""Reports for the books: what moved on each day, and what was paid for and not used yet.

Everything follows from the entries, so that a day that is over never changes. An entry counts on
the UTC day on which it was posted; that of an expiry may be later than the expiry itself.

Credits are paid, promotional, or other. How many of the paid ones were used or have expired follows
from what became of each purchase: see `shares`. Other is what is neither paid nor promotional: use
that nothing has paid for yet, because it became a debt or because the money went back, and what an
undo gives back of such use.

The value of paid credits is their share of what the purchase cost, as an exact fraction. The sums
from the beginning of the ledger on are rounded, once and half up, to the currency's minor unit, and
what moved on a day is the difference of two such sums: so days add up to months exactly.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from heapq import merge
from itertools import groupby
from operator import attrgetter
from typing import TypeAlias

import attrs

from credit_payments.domain import instants, money
from credit_payments.domain.ledger import Contra
from credit_payments.domain.records import Entry, Purchase, Record
from credit_payments.domain.shares import Day, Shares, Walk, half_up
from credit_payments.errors import InvalidRequest

_EARLIER = ""
"""Stands for all days before those that are reported."""


@attrs.frozen(kw_only=True)
class Holdings:
    """What all users together hold and owe, in credits.

    Attributes:
        wallet: what may be spent.
        held: set aside for work that runs.
        frozen: by disputes.
        debt: what users owe, as a positive number.
        deferred: paid credits, in whichever of these states, that are not used yet.
    """

    wallet: int = 0
    held: int = 0
    frozen: int = 0
    debt: int = 0
    deferred: int = 0


@attrs.frozen(kw_only=True)
class Worth:
    """Paid credits, and the money that was paid for them, in major units."""

    credits: int
    amount: Decimal


@attrs.frozen(kw_only=True)
class DayRow:
    """One UTC day, in credits; a day on which nothing was posted has no row.

    `wallet + held + frozen - debt` closes at what it opened with, plus `sold`, `granted` and
    `written_off`, less `used`, `expired`, `refunded` and `disputed`. All of these are what came
    or went on balance: what was undone on a day counts against what was done, so that a number
    may be negative.

    Attributes:
        day: the day, in UTC.
        sold: bought and credited.
        granted: given for nothing.
        used: spent or captured, less what was undone.
        used_paid: how many paid credits were used: also those that repaid a debt, less those
            that were refunded after their use.
        used_promotional: the same for promotional credits.
        used_other: the rest of `used`: use that nothing has paid for, such as what became a debt
            (negative when that is repaid).
        expired: expired unused, less what was refunded afterwards.
        expired_paid: how many of them were paid: breakage.
        expired_promotional: how many of them were promotional.
        expired_other: the rest of `expired`.
        refunded: taken back by refunds.
        disputed: taken back by disputes.
        written_off: to be taken back, but missing and forgiven; less what came back of it.
        opening: what users held before the day (or before `since`, if that is later).
        closing: what they held after it (or before `until`, if that is earlier).
    """

    day: date
    sold: int
    granted: int
    used: int
    used_paid: int
    used_promotional: int
    used_other: int
    expired: int
    expired_paid: int
    expired_promotional: int
    expired_other: int
    refunded: int
    disputed: int
    written_off: int
    opening: Holdings
    closing: Holdings


@attrs.frozen(kw_only=True)
class MoneyRow:
    """Paid credits of one currency on one UTC day, and what they are worth.

    `closing` is `opening` plus `sold`, less `taken_back`, `used` and `breakage`, both in credits
    and in money, to the last minor unit: the value of `used` is what the others leave, so that it
    takes up their rounding. A currency of which nothing moved on a day has no row there.

    Attributes:
        day: the day, in UTC.
        currency: its code, in lower case.
        sold: what was paid.
        taken_back: what refunds and disputes took back, at the price of the purchase. What was
            paid back in money may be a little more, as credits are taken back in whole numbers.
        used: what was earned by use; negative where more was refunded after its use.
        breakage: what expired unused.
        opening: deferred revenue before the day: what was paid for and not used yet.
        closing: deferred revenue after it.
    """

    day: date
    currency: str
    sold: Worth
    taken_back: Worth
    used: Worth
    breakage: Worth
    opening: Worth
    closing: Worth


DAY_COLUMNS = (
    "day", "sold", "granted", "used", "used_paid", "used_promotional", "used_other", "expired",
    "expired_paid", "expired_promotional", "expired_other", "refunded", "disputed", "written_off",
    "opening.wallet", "opening.held", "opening.frozen", "opening.debt", "opening.deferred",
    "closing.wallet", "closing.held", "closing.frozen", "closing.debt", "closing.deferred",
)  # fmt: skip
MONEY_COLUMNS = (
    "day", "currency", "sold.credits", "sold.amount", "taken_back.credits", "taken_back.amount",
    "used.credits", "used.amount", "breakage.credits", "breakage.amount",
    "opening.credits", "opening.amount", "closing.credits", "closing.amount",
)  # fmt: skip
"""The columns of the two tables as attributes; in CSV their names have `_` instead of the dot."""


@attrs.frozen(kw_only=True)
class Report:
    """What happened from one instant to another, day by day, and how things stood then.

    Attributes:
        since: entries from this instant on are reported; None from the first.
        until: entries before this instant are reported; None to the last.
        days: the days, in credits.
        money: the days and currencies of what was paid.
        opening: what all users held at `since`.
        closing: what they held at `until`.
        deferred: deferred revenue at `until`, by currency.
    """

    since: datetime | None
    until: datetime | None
    days: tuple[DayRow, ...]
    money: tuple[MoneyRow, ...]
    opening: Holdings
    closing: Holdings
    deferred: Mapping[str, Worth]

    def to_csv(self) -> str:
        """The days as CSV (RFC 4180, lines end in LF): a header, and a line for each `DayRow`."""
        return _csv(DAY_COLUMNS, self.days)

    def money_to_csv(self) -> str:
        """The money as CSV, in the same way: a line for each `MoneyRow`, in major units."""
        return _csv(MONEY_COLUMNS, self.money)


def report(
    entries: Iterable[Entry],
    purchases: Iterable[Purchase],
    *,
    since: str | None = None,
    until: str | None = None,
) -> Report:
    """Walk all entries and purchases together; both come ordered by user and sequence.

    Memory holds the lots of one user at a time, and the totals of each day.

    Args:
        entries: all of them, from the first on.
        purchases: all of them.
        since: entries before this instant (as text) count for what was there only.
        until: entries from this instant on do not count.

    Raises:
        InvalidRequest: `until` is before `since`.
        Conflict: an entry cannot be read, or a row is missing.
    """
    if since is not None and until is not None and until < since:
        raise InvalidRequest("until must not be before since", param="until")
    days: defaultdict[str, Day] = defaultdict(Day)
    rows: Iterator[Record] = merge(purchases, entries, key=attrgetter("user_id", "sequence"))
    for _, rows_of_user in groupby(rows, key=attrgetter("user_id")):
        walk = Walk()
        for row in rows_of_user:
            if isinstance(row, Purchase):
                walk.read(row)
            elif isinstance(row, Entry) and (until is None or row.created_at < until):
                day = _EARLIER if since and row.created_at < since else row.created_at[:10]
                walk.step(row, days[day])
    return _Sums(days).report(since, until)


_Standing: TypeAlias = tuple[Shares, Shares]


class _Sums:
    """What the days so far sum up to."""

    def __init__(self, days: dict[str, Day]) -> None:
        self._days = days
        self._legs: Counter[str] = Counter()
        self._paid: dict[str, Shares] = {}
        self._values: dict[str, Shares] = {}
        currencies = {currency for day in days.values() for currency in day.values}
        self._denominators = {
            currency: math.lcm(*{n for day in days.values() for n in day.values.get(currency, ())})
            for currency in currencies
        }

    def report(self, since: str | None, until: str | None) -> Report:
        """Add up the days, one after the other."""
        self._add(self._days.get(_EARLIER, Day()))
        opening = before = self._holdings()
        days: list[DayRow] = []
        money_rows: list[MoneyRow] = []
        for text in sorted(self._days.keys() - {_EARLIER}):
            moved = self._days[text]
            stood = {currency: self._standing(currency) for currency in sorted(moved.paid)}
            self._add(moved)
            after = self._holdings()
            day = date.fromisoformat(text)
            days.append(_day_row(day, moved, before, after))
            money_rows += (
                _money_row(day, currency, standing, self._standing(currency))
                for currency, standing in stood.items()
                if standing != self._standing(currency)
            )
            before = after
        return Report(
            since=instants.from_text(since) if since else None,
            until=instants.from_text(until) if until else None,
            days=tuple(days),
            money=tuple(money_rows),
            opening=opening,
            closing=before,
            deferred={
                currency: _worth(currency, self._standing(currency), "unused")
                for currency in sorted(self._paid)
            },
        )

    def _add(self, day: Day) -> None:
        self._legs.update(day.legs)
        for currency, moved in day.paid.items():
            self._paid[currency] = self._paid.get(currency, Shares()).plus(moved)
            value = self._values.get(currency, Shares())
            for denominator, numerators in day.values[currency].items():
                value = value.plus(numerators, times=self._denominators[currency] // denominator)
            self._values[currency] = value

    def _holdings(self) -> Holdings:
        return Holdings(
            wallet=self._legs["wallet"],
            held=self._legs["held"],
            frozen=self._legs["frozen"],
            debt=-self._legs["debt"],
            deferred=sum(shares.unused for shares in self._paid.values()),
        )

    def _standing(self, currency: str) -> _Standing:
        """The shares of a currency so far, in credits and in minor units."""
        values, denominator = self._values.get(currency, Shares()), self._denominators[currency]
        rounded = Shares(*(half_up(value, denominator) for value in values))
        return self._paid.get(currency, Shares()), rounded


def _day_row(day: date, moved: Day, opening: Holdings, closing: Holdings) -> DayRow:
    legs, promotional = moved.legs, moved.promotional
    used_paid = sum(shares.used for shares in moved.paid.values())
    expired_paid = sum(shares.expired for shares in moved.paid.values())
    return DayRow(
        day=day,
        sold=-legs[Contra.PURCHASES],
        granted=-legs[Contra.PROMOTIONS],
        used=legs[Contra.USAGE],
        used_paid=used_paid,
        used_promotional=promotional.used,
        used_other=legs[Contra.USAGE] - used_paid - promotional.used,
        expired=legs[Contra.EXPIRED],
        expired_paid=expired_paid,
        expired_promotional=promotional.expired,
        expired_other=legs[Contra.EXPIRED] - expired_paid - promotional.expired,
        refunded=legs[Contra.REFUNDS],
        disputed=legs[Contra.DISPUTES],
        written_off=-legs[Contra.WRITTEN_OFF],
        opening=opening,
        closing=closing,
    )


def _money_row(day: date, currency: str, before: _Standing, after: _Standing) -> MoneyRow:
    moved = (after[0].plus(before[0], times=-1), after[1].plus(before[1], times=-1))
    return MoneyRow(
        day=day,
        currency=currency,
        sold=_worth(currency, moved, "came"),
        taken_back=_worth(currency, moved, "taken_back"),
        used=_worth(currency, moved, "used"),
        breakage=_worth(currency, moved, "expired"),
        opening=_worth(currency, before, "unused"),
        closing=_worth(currency, after, "unused"),
    )


def _worth(currency: str, shares: _Standing, name: str) -> Worth:
    credits, minor = (getattr(each, name) for each in shares)
    return Worth(credits=credits, amount=money.to_decimal(minor, currency))


class _Text(list[str]):
    """What csv takes for a file."""

    write = list.append


def _csv(columns: tuple[str, ...], rows: Iterable[DayRow] | Iterable[MoneyRow]) -> str:
    text = _Text()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.replace(".", "_") for column in columns)
    writer.writerows(map(attrgetter(*columns), rows))
    return "".join(text)
