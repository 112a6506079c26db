"""Looking at a wallet without changing it: its balance at an instant, and parts of its history."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

from credit_payments.domain import instants, lots, needs, values
from credit_payments.domain.book import Book
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.ledger import Kind
from credit_payments.domain.records import NEVER, Entry, Wallet
from credit_payments.errors import InvalidRequest

PAGES_MAX = 20
"""How many pages one call reads in search of entries that pass its filter."""


def is_timeless(wallet: Wallet) -> bool:
    """Whether nothing of it expires or lapses."""
    return wallet.due_at == NEVER


def balance(wallet: Wallet, expires_next: str | None) -> values.Balance:
    """A wallet as it is shown: while it is suspended, all that is available counts as frozen."""
    return values.Balance(
        available=0 if wallet.suspended else wallet.available,
        held=wallet.held,
        frozen=wallet.frozen + (wallet.available if wallet.suspended else 0),
        debt=wallet.debt,
        expires_next=instants.from_text(expires_next) if expires_next else None,
    )


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What would be in a wallet if what is due were posted: a command that changes nothing."""

    user_id: str

    def keys(self) -> Iterator[Ask]:
        """The wallet."""
        yield Wallet, self.user_id

    def keys_after(self, view: View) -> Iterator[Ask]:
        """What is due in it, and what expires next."""
        yield from needs.to_post_due(view, self.user_id)
        expiring = lots.to_expire(self.user_id)
        yield from view.until(expiring, lambda rows: rows[-1].expires_at > view.now)

    def decide(self, view: View, now: str) -> Decision[values.Balance]:
        """The balance at that instant."""
        book = Book(view, self.user_id, now)
        return Decision(balance(book.wallet, book.expires_next()))


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of a history are asked for; instants as text, `until` exclusive."""

    kinds: frozenset[str] | None = None
    since: str | None = None
    until: str | None = None

    def pass_through(
        self, entries: Sequence[Entry], wanted: int, *, oldest_first: bool
    ) -> tuple[Sequence[Entry], list[Entry]]:
        """Look at entries until so many are found: those that were looked at, and those found."""
        taken: list[Entry] = []
        for number, entry in enumerate(entries):
            if self._is_behind(entry, oldest_first=oldest_first):
                return entries[: number + 1], taken
            if len(taken) == wanted:
                return entries[:number], taken
            if self._takes(entry):
                taken.append(entry)
        return entries, taken

    def is_over(self, passed: Sequence[Entry], *, oldest_first: bool) -> bool:
        """Whether none can follow behind those: the entries of a wallet are ordered in time."""
        return not passed or self._is_behind(passed[-1], oldest_first=oldest_first)

    def _takes(self, entry: Entry) -> bool:
        return (
            (self.kinds is None or entry.kind in self.kinds)
            and (self.since is None or entry.created_at >= self.since)
            and (self.until is None or entry.created_at < self.until)
        )

    def _is_behind(self, entry: Entry, *, oldest_first: bool) -> bool:
        """Whether this entry, and so each that follows, comes too late in the listing."""
        if oldest_first:
            return self.until is not None and entry.created_at >= self.until
        return self.since is not None and entry.created_at < self.since


def check_kinds(kinds: object, *, param: str = "kinds") -> frozenset[str] | None:
    """Kinds of entries.

    Raises:
        InvalidRequest: one that there is not.
    """
    if kinds is None:
        return None
    known = [str(kind) for kind in Kind]  # no set, for what is asked for may not be hashable
    if (
        isinstance(kinds, str)
        or not isinstance(kinds, Collection)
        or not all(kind in known for kind in kinds)
    ):
        raise InvalidRequest(f"{param} must be some of {sorted(known)}", param=param)
    return frozenset(kinds)
