"""Does the ledger prove itself? Recomputing what the rows say from what the entries say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Generic, TypeVar

import attrs
import msgspec

from credit_payments.domain import ledger, lots, payment, stand_ins
from credit_payments.domain.ledger import Contra, Kind, LotChange
from credit_payments.domain.records import (
    NEVER,
    Entry,
    Hold,
    Lot,
    Payment,
    Purchase,
    Record,
    Wallet,
)

PROBLEMS_MAX = 100
"""A report names the first problems; a broken ledger should not fill memory too."""

R = TypeVar("R", bound=Record)
ORDERS: dict[type[Record], tuple[str, ...]] = {
    Wallet: ("user_id",),
    Lot: ("user_id", "sequence"),
    Hold: ("user_id", "hold_id"),
    Entry: ("user_id", "sequence"),
    Purchase: ("user_id", "sequence"),
    Payment: ("user_id", "payment_intent_id"),
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
    payments: Iterable[Payment] | None = None,
) -> VerificationReport:
    """Walk all rows together, user by user; each kind in its order of `ORDERS`.

    The purchases and payments are held against their entries where they are given.
    """
    totals: dict[str, int] = {}
    problems: list[Problem] = []
    counts: dict[type[Record], int] = {Wallet: 0, Entry: 0}
    all_wallets, all_lots = _ByUser(wallets), _ByUser(lots)
    all_holds, all_entries = _ByUser(holds), _ByUser(entries)
    all_purchases, all_payments = _ByUser(purchases or ()), _ByUser(payments or ())
    every = (all_wallets, all_lots, all_holds, all_entries, all_purchases, all_payments)
    while users := {rows.user for rows in every if rows.user is not None}:
        user = min(users)
        walk = _Walk(user, totals)
        for entry in all_entries.take(user):
            counts[Entry] += 1
            problems += walk.step(entry)
        wallet = next(iter(list(all_wallets.take(user))), None)
        counts[Wallet] += wallet is not None
        lot_rows = list(all_lots.take(user))
        problems += walk.compare(wallet, lot_rows, list(all_holds.take(user)))
        if purchases is not None:
            problems += walk.compare_purchases(all_purchases.take(user))
        if payments is not None:
            problems += walk.compare_payments(all_payments.take(user), lot_rows)
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
        self._entries: dict[str, Entry] = {}
        self._held: dict[str, int] = {}
        self._expiries: dict[str, int] = {}
        self._reversed: dict[str, tuple[int, int, int]] = {}

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
            (_agrees(legs, changes), "its lots do not agree with what expired or was written off"),
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
            if reached.updated_at or lot_rows or holds:  # who has paid nothing yet needs none
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
        yield from self._hold_takes(holds)
        yield from self._compare_lots(lot_rows)
        if sum(hold.credits for hold in holds if hold.open) != wallet.held:
            yield self._problem("the open holds do not sum to what the wallet holds")

    def compare_purchases(self, purchases: Iterable[Purchase]) -> Iterator[Problem]:
        """Check the sales that are listed against those that were posted."""
        sales = {cause for cause, entry in self._entries.items() if entry.kind == Kind.PAYMENT}
        for sale in purchases:
            cause = payment.cause(sale.payment_intent_id)
            entry = self._entries.get(cause)
            terms = payment.Terms.read(entry.metadata) if entry else None
            sales.discard(cause)
            if (
                terms is None
                or (terms.amount_minor, terms.currency) != (sale.amount_minor, sale.currency)
                or self._opened.get(cause) != (sale.sequence, sale.credits_purchased)
                or sale.transaction_id != ledger.transaction_id(cause)
            ):
                yield self._problem(f"the purchase of {cause} is not what its entry says")
        for cause in sorted(sales):
            yield self._problem(f"the purchase of {cause} is missing")

    def compare_payments(
        self, payments: Iterable[Payment], lot_rows: list[Lot]
    ) -> Iterator[Problem]:
        """Check what was credited, taken back and locked for payments against their entries.

        And that what stands in for a payment's lot can be that.
        """
        missing = {cause for cause, entry in self._entries.items() if entry.kind == Kind.PAYMENT}
        all_lots = {lot.lot_id: lot for lot in lot_rows}
        by_lot: dict[str, Payment] = {}
        are_recorded = True
        for row in payments:
            cause = payment.cause(row.payment_intent_id)
            entry = self._entries.get(cause)
            terms = payment.Terms.read(entry.metadata) if entry else None
            lot = all_lots.get(cause)
            posted = (
                self._opened.get(cause, (0, 0))[1],
                *self._reversed.get(cause, (0, 0, 0)),
                lot.locked if lot else 0,
            )
            if posted != (
                row.credited, row.refunded_credits, row.disputed_credits, row.reversals, row.locked
            ) or (
                terms and (terms.amount_minor, terms.currency) != (row.received_minor, row.currency)
            ) or row.decided_by != (entry and entry.actor):  # fmt: skip
                are_recorded = False
                yield self._problem(f"the record of {cause} is not what its entries say")
            missing.discard(cause)
            by_lot[cause] = row
        for cause in sorted(missing):
            yield self._problem(f"the record of {cause} is missing")
        for lot in lot_rows:
            if lot.locked and lot.lot_id not in by_lot:
                yield self._problem(f"the lot {lot.lot_id} is locked, and no payment says so")
        if are_recorded:
            for lot_id in stand_ins.unsound(all_lots, by_lot):
                yield self._problem(
                    f"what stands in for the lot {lot_id}, or it for others, is wrong"
                )

    def _compare_lots(self, rows: list[Lot]) -> Iterator[Problem]:
        for row in rows:
            has = LotChange(
                row.lot_id, row.available, row.held, row.frozen, row.expired, row.written_off
            )
            checks = (
                (has == self._lots.pop(row.lot_id, LotChange(row.lot_id)), "what entries sum to"),
                (row.held == self._held.pop(row.lot_id, 0), "what the open holds took of it"),
                (
                    (row.sequence, row.credits) == self._opened.get(row.lot_id)
                    and self._is_on_its_terms(row),
                    "what its entry opened",
                ),
                (
                    row.open == (row.available > 0)
                    and not (row.frozen if not row.locked else row.available),
                    "in the state that its credits are in",
                ),
                (
                    row.expiries == self._expiries.get(row.lot_id, 0),
                    "as often expired as was posted",
                ),
            )
            for holds, what in checks:
                if not holds:
                    yield self._problem(f"the lot {row.lot_id} is not {what}")
        for lot_id in {*self._lots, *self._held}:
            yield self._problem(f"the lot {lot_id} is missing")

    def _is_on_its_terms(self, lot: Lot) -> bool:
        """Whether expiry and priority are those that the entry's hash covers."""
        entry = self._entries.get(lot.lot_id)
        if entry is None or entry.kind not in _OPENS:
            return (lot.expires_at, lot.priority) == (NEVER, 0)  # of a correction
        if entry.kind == Kind.PAYMENT:
            terms = payment.Terms.read(entry.metadata)
            return terms is not None and (terms.expires_at, 0) == (lot.expires_at, lot.priority)
        return entry.fingerprint == ledger.fingerprint(
            lot.user_id, lot.credits, entry.reason, lot.expires_at, lot.priority, entry.actor
        )

    def _hold_takes(self, holds: list[Hold]) -> Iterator[Problem]:
        """Check what the open holds took, and sum it by lot."""
        for hold in holds:
            if not hold.open:
                continue
            try:
                takes = lots.read(hold.taken)
            except msgspec.MsgspecError:
                takes = []
            if sum(take.credits for take in takes) != hold.credits:
                yield self._problem(f"the hold {hold.hold_id} took another number of credits")
            for lot_id, credits in takes:
                self._held[lot_id] = self._held.get(lot_id, 0) + credits

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
            self._entries[entry.cause] = entry
        elif entry.kind == Kind.REVERSAL:  # reversal:pi_…:number
            cause = payment.cause(entry.cause.partition(":")[2].partition(":")[0])
            refunded, disputed, times = self._reversed.get(cause, (0, 0, 0))
            refunded += legs.get(Contra.REFUNDS, 0)
            disputed += legs.get(Contra.DISPUTES, 0)
            self._reversed[cause] = (refunded, disputed, times + 1)
        elif entry.kind == Kind.EXPIRY:
            for change in changes:
                self._expiries[change.lot_id] = self._expiries.get(change.lot_id, 0) + 1
        if entry.kind in _CORRECTS:  # what had repaid a debt is given back
            opened = next((c.net for c in changes if c.lot_id == entry.cause), None)
            if opened is not None:
                self._opened[entry.cause] = (entry.sequence, opened)
        return fits

    def _problem(self, message: str, transaction_id: str | None = None) -> Problem:
        return Problem(user_id=self._user_id, transaction_id=transaction_id, message=message)


_OPENS: dict[str, str] = {
    Kind.PAYMENT: Contra.PURCHASES,
    Kind.GRANT: Contra.PROMOTIONS,
}
"""Kinds of entries that open a lot, and the account that the credits come from."""
_CORRECTS = {Kind.UNDO, Kind.CAPTURE, Kind.RELEASE, Kind.LAPSE, Kind.REVERSAL}
"""Kinds of entries that may open a lot for what no other lot can have, called as they are."""


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


def _agrees(legs: dict[str, int], changes: list[LotChange]) -> bool:
    expired = sum(change.expired for change in changes)
    written_off = sum(change.written_off for change in changes)
    return expired == legs.get(Contra.EXPIRED, 0) and written_off == -legs.get(
        Contra.WRITTEN_OFF, 0
    )


def _amounts(wallet: Wallet) -> tuple[int, int, int, int]:
    return wallet.available, wallet.held, wallet.frozen, wallet.debt


def _suspended(entry: Entry, before: Wallet) -> int:
    return {"suspend": 1, "freeze": 1, "resume": 0}.get(entry.kind, before.suspended)
