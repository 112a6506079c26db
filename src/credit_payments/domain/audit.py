"""Does the ledger prove itself? Recomputing what the rows say from what the entries say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Generic, TypeVar

import attrs
import msgspec

from credit_payments.domain import ledger, lots, payment
from credit_payments.domain.ledger import Kind, LotChange
from credit_payments.domain.records import Entry, Hold, Lot, Purchase, Record, Wallet

PROBLEMS_MAX = 100
"""A report names the first problems; a broken ledger should not fill memory too."""

R = TypeVar("R", bound=Record)
ORDERS: dict[type[Record], tuple[str, ...]] = {
    Wallet: ("user_id",),
    Lot: ("user_id", "sequence"),
    Hold: ("user_id", "hold_id"),
    Entry: ("user_id", "sequence"),
    Purchase: ("user_id", "sequence"),
}
"""In which order `verify` wants the rows: all of a user together, users in the same order."""


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that does not fit, and the entry where it shows first."""

    user_id: str
    transaction_id: str | None
    message: str


@attrs.frozen(kw_only=True)
class VerificationReport:
    """What a verification looked at and found; `ok` when nothing was wrong.

    `trial_balance` maps each kind of account (`wallet`, `debt`, `purchases`, …) to the sum of
    its legs in credits; all of them together are zero.
    """

    wallets: int
    entries: int
    trial_balance: dict[str, int]
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every invariant holds."""
        return not self.problems


def verify(
    wallets: Iterable[Wallet],
    lots: Iterable[Lot],
    holds: Iterable[Hold],
    entries: Iterable[Entry],
    purchases: Iterable[Purchase] | None = None,
) -> VerificationReport:
    """Walk all rows together, user by user; each kind in its order of `ORDERS`.

    The purchases are held against their entries where they are given.
    """
    totals: dict[str, int] = {}
    problems: list[Problem] = []
    counts: dict[type[Record], int] = {Wallet: 0, Entry: 0}
    all_wallets, all_lots = _ByUser(wallets), _ByUser(lots)
    all_holds, all_entries = _ByUser(holds), _ByUser(entries)
    all_purchases = _ByUser(purchases or ())
    while users := {
        rows.user
        for rows in (all_wallets, all_lots, all_holds, all_entries, all_purchases)
        if rows.user is not None
    }:
        user = min(users)
        walk = _Walk(user, totals)
        for entry in all_entries.take(user):
            counts[Entry] += 1
            problems += walk.step(entry)
        wallet = next(iter(list(all_wallets.take(user))), None)
        counts[Wallet] += wallet is not None
        problems += walk.compare(wallet, list(all_lots.take(user)), list(all_holds.take(user)))
        if purchases is not None:
            problems += walk.compare_purchases(all_purchases.take(user))
        del problems[PROBLEMS_MAX:]
    if sum(totals.values()):
        problems.append(
            Problem(user_id="*", transaction_id=None, message="the trial balance is not zero")
        )
    return VerificationReport(
        wallets=counts[Wallet],
        entries=counts[Entry],
        trial_balance=totals,
        problems=tuple(problems[:PROBLEMS_MAX]),
    )


class _ByUser(Generic[R]):
    """Rows in the order of their users, of which those of one user are taken at a time."""

    def __init__(self, rows: Iterable[R]) -> None:
        self._groups = groupby(rows, key=attrgetter("user_id"))
        self._rows: Iterable[R] = ()
        self.user: str | None = None
        self._go_on()

    def take(self, user: str) -> Iterator[R]:
        """The rows of that user, if it is the one whose turn it is."""
        if self.user == user:
            yield from self._rows
            self._go_on()

    def _go_on(self) -> None:
        self.user, self._rows = next(self._groups, (None, ()))


class _Walk:
    """One wallet, recomputed entry by entry."""

    def __init__(self, user_id: str, totals: dict[str, int]) -> None:
        self._user_id = user_id
        self._totals = totals
        self._wallet = Wallet(user_id)
        self._lots: dict[str, LotChange] = {}
        self._opened: dict[str, tuple[int, int]] = {}
        self._sales: dict[str, str | None] = {}

    def step(self, entry: Entry) -> Iterator[Problem]:
        """Check one entry against those before it, then go on from what it says."""
        before = self._wallet
        legs, changes, readable = _read(entry)
        own = {
            account: legs.get(f"{account}:{self._user_id}", 0)
            for account in ("wallet", "held", "frozen", "debt")
        }
        for account, amount in legs.items():
            kind = account.partition(":")[0]
            self._totals[kind] = self._totals.get(kind, 0) + amount
        after = (entry.balance_after, entry.held_after, entry.frozen_after, entry.debt_after)
        checks = (
            (entry.sequence == before.entries + 1, "an entry is missing before this one"),
            (entry.previous_hash == before.head, "the chain is broken: another entry stood before"),
            (entry.hash == ledger.chain_hash(entry), "the entry was changed after it was posted"),
            (readable, "its legs or lots cannot be read"),
            (entry.transaction_id == ledger.transaction_id(entry.cause), "id and cause differ"),
            (entry.cause.startswith(f"{entry.kind}:"), "kind and cause differ"),
            (entry.created_at >= before.updated_at, "it is older than the entry before it"),
            (sum(legs.values()) == 0, "its legs do not sum to zero"),
            (entry.credits == own["wallet"], "its credits are not what its legs say"),
            (after[0] == before.available + own["wallet"], "its balance does not follow"),
            (after[1] == before.held + own["held"], "what it holds does not follow"),
            (after[2] == before.frozen + own["frozen"], "what it froze does not follow"),
            (after[3] == before.debt - own["debt"], "its debt does not follow"),
            (min(after) >= 0, "a balance is below zero"),
            (not (entry.debt_after and entry.balance_after), "it owes, and has credits available"),
            (_sums(changes) == [*own.values()][:3], "its lots do not sum up to its legs"),
            (self._apply(entry, legs, changes), "a lot has less than nothing"),
        )
        for holds, message in checks:
            if not holds:
                yield self._problem(message, entry.transaction_id)
        self._wallet = Wallet(
            self._user_id, *after, _suspended(entry, before), entry.sequence, entry.hash,
            before.due_at, entry.created_at,
        )  # fmt: skip

    def compare(
        self, wallet: Wallet | None, lot_rows: list[Lot], holds: list[Hold]
    ) -> Iterator[Problem]:
        """Check the rows of the wallet, its lots and its holds against its entries."""
        reached = self._wallet
        if wallet is None:
            yield self._problem("rows without a wallet")
            return
        if not reached.entries:
            yield self._problem("a wallet without entries")
        elif _amounts(wallet) != _amounts(reached):
            yield self._problem("the wallet's balance is not what its entries sum to")
        elif (wallet.entries, wallet.head, wallet.updated_at, wallet.suspended) != (
            reached.entries,
            reached.head,
            reached.updated_at,
            reached.suspended,
        ):
            yield self._problem("the wallet's last entry is not the last one there")
        due = [lot.expires_at for lot in lot_rows if lot.open]
        due += [hold.lapses_at for hold in holds if hold.open]
        if due and min(due) < wallet.due_at:
            yield self._problem("something is due before the wallet looks for it")
        yield from self._compare_lots(lot_rows)
        if sum(hold.credits for hold in holds if hold.open) != wallet.held:
            yield self._problem("the open holds do not sum to what the wallet holds")
        for hold in holds:
            if hold.open and sum(t.credits for t in lots.read(hold.taken)) != hold.credits:
                yield self._problem(f"the hold {hold.hold_id} took another number of credits")

    def compare_purchases(self, purchases: Iterable[Purchase]) -> Iterator[Problem]:
        """Check the sales that are listed against those that were posted."""
        for sale in purchases:
            cause = payment.cause(sale.payment_intent_id)
            paid = payment.what_was_paid(sale.amount_minor, sale.currency)
            if (
                self._sales.pop(cause, "") != paid
                or self._opened.get(cause) != (sale.sequence, sale.credits_purchased)
                or sale.transaction_id != ledger.transaction_id(cause)
            ):
                yield self._problem(f"the purchase of {cause} is not what its entry says")
        for cause in self._sales:
            yield self._problem(f"the purchase of {cause} is missing")

    def _compare_lots(self, rows: list[Lot]) -> Iterator[Problem]:
        for row in rows:
            has = LotChange(row.lot_id, row.available, row.held, row.frozen, row.expired)
            if has != self._lots.pop(row.lot_id, LotChange(row.lot_id)):
                yield self._problem(f"the lot {row.lot_id} is not what the entries sum to")
            if (row.sequence, row.credits) != self._opened.get(row.lot_id):
                yield self._problem(f"the lot {row.lot_id} is not what its entry opened")
            if row.open != (row.available > 0):
                yield self._problem(f"the lot {row.lot_id} is open and has nothing, or the reverse")
        for lot_id in self._lots:
            yield self._problem(f"the lot {lot_id} is missing")

    def _apply(self, entry: Entry, legs: dict[str, int], changes: list[LotChange]) -> bool:
        """Let the lots follow an entry; whether none has less than nothing."""
        fits = True
        for change in changes:
            known = self._lots.get(change.lot_id, LotChange(change.lot_id))
            has = [a + b for a, b in zip(known[1:], change[1:], strict=True)]
            self._lots[change.lot_id] = LotChange(change.lot_id, *has)
            fits = fits and min(has) >= 0
        if entry.kind in _OPENS:
            self._lots.setdefault(entry.cause, LotChange(entry.cause))
            self._opened[entry.cause] = (entry.sequence, -legs.get(_OPENS[entry.kind], 0))
            if entry.kind == Kind.PAYMENT:
                self._sales[entry.cause] = entry.metadata
        elif entry.kind == Kind.UNDO:
            opened = next((c.net for c in changes if c.lot_id == entry.cause), None)
            if opened is not None:
                self._opened[entry.cause] = (entry.sequence, opened)
        return fits

    def _problem(self, message: str, transaction_id: str | None = None) -> Problem:
        return Problem(user_id=self._user_id, transaction_id=transaction_id, message=message)


_OPENS: dict[str, str] = {
    Kind.PAYMENT: ledger.Contra.PURCHASES,
    Kind.GRANT: ledger.Contra.PROMOTIONS,
}
"""Kinds of entries that open a lot, and the account that the credits come from."""


def _read(entry: Entry) -> tuple[dict[str, int], list[LotChange], bool]:
    try:
        return ledger.legs_of(entry), ledger.lots_of(entry), True
    except msgspec.MsgspecError:
        return {}, [], False


def _sums(changes: list[LotChange]) -> list[int]:
    return [
        sum(change.available for change in changes),
        sum(change.held for change in changes),
        sum(change.frozen for change in changes),
    ]


def _amounts(wallet: Wallet) -> tuple[int, int, int, int]:
    return wallet.available, wallet.held, wallet.frozen, wallet.debt


def _suspended(entry: Entry, before: Wallet) -> int:
    return {"suspend": 1, "resume": 0}.get(entry.kind, before.suspended)
