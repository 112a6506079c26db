"""Does the ledger prove itself? Recomputing what the wallets say from what the entries say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter

import attrs
import msgspec

from credit_payments.domain import ledger
from credit_payments.domain.records import Entry, Wallet

PROBLEMS_MAX = 100
"""A report names the first problems; a broken ledger should not fill memory too."""


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


def verify(wallets: Iterable[Wallet], entries: Iterable[Entry]) -> VerificationReport:
    """Walk all entries, ordered by user and sequence, beside the wallets."""
    by_user = {wallet.user_id: wallet for wallet in wallets}
    totals: dict[str, int] = {}
    problems: list[Problem] = []
    count = 0
    seen = set()
    for user_id, group in groupby(entries, key=attrgetter("user_id")):
        seen.add(user_id)
        walk = _Walk(user_id, totals)
        for entry in group:
            count += 1
            problems += walk.step(entry)
        problems += walk.compare(by_user.get(user_id))
        del problems[PROBLEMS_MAX:]
    problems += [
        Problem(user_id=user, transaction_id=None, message="a wallet without entries")
        for user in by_user.keys() - seen
    ]
    if sum(totals.values()):
        problems.append(
            Problem(user_id="*", transaction_id=None, message="the trial balance is not zero")
        )
    return VerificationReport(
        wallets=len(by_user),
        entries=count,
        trial_balance=totals,
        problems=tuple(problems[:PROBLEMS_MAX]),
    )


class _Walk:
    """One wallet, recomputed entry by entry."""

    def __init__(self, user_id: str, totals: dict[str, int]) -> None:
        self._user_id = user_id
        self._totals = totals
        self._available = self._debt = self._sequence = 0
        self._head = ledger.GENESIS
        self._at = ""

    def step(self, entry: Entry) -> Iterator[Problem]:
        """Check one entry against those before it, then go on from what it says."""
        try:
            legs, readable = ledger.legs_of(entry), True
        except msgspec.MsgspecError:
            legs, readable = {}, False
        to_wallet = legs.get(f"wallet:{self._user_id}", 0)
        to_debt = legs.get(f"debt:{self._user_id}", 0)
        for account, amount in legs.items():
            kind = account.partition(":")[0]
            self._totals[kind] = self._totals.get(kind, 0) + amount
        checks = (
            (entry.sequence == self._sequence + 1, "an entry is missing before this one"),
            (entry.previous_hash == self._head, "the chain is broken: another entry stood before"),
            (entry.hash == ledger.chain_hash(entry), "the entry was changed after it was posted"),
            (readable, "its legs cannot be read"),
            (entry.transaction_id == ledger.transaction_id(entry.cause), "id and cause differ"),
            (sum(legs.values()) == 0, "its legs do not sum to zero"),
            (entry.credits == to_wallet, "its credits are not what its legs say"),
            (entry.balance_after == self._available + to_wallet, "its balance does not follow"),
            (entry.debt_after == self._debt - to_debt, "its debt does not follow"),
            (entry.balance_after >= 0 and entry.debt_after >= 0, "a balance is below zero"),
        )
        for holds, message in checks:
            if not holds:
                yield Problem(
                    user_id=self._user_id, transaction_id=entry.transaction_id, message=message
                )
        self._sequence, self._head, self._at = entry.sequence, entry.hash, entry.created_at
        self._available, self._debt = entry.balance_after, entry.debt_after

    def compare(self, wallet: Wallet | None) -> Iterator[Problem]:
        """Check the wallet against its last entry."""
        if wallet is None:
            message = "entries without a wallet"
        elif (wallet.available, wallet.debt) != (self._available, self._debt):
            message = "the wallet's balance is not what its entries sum to"
        elif (wallet.entries, wallet.head, wallet.updated_at) != (
            self._sequence,
            self._head,
            self._at,
        ):
            message = "the wallet's last entry is not the last one there"
        else:
            return
        yield Problem(user_id=self._user_id, transaction_id=None, message=message)
