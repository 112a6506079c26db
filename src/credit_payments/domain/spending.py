"""Granting, spending, undoing and suspending, as commands of the database queue."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from credit_payments.domain import ledger, lots, needs
from credit_payments.domain.book import Book
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.ledger import Contra, Effect, Kind
from credit_payments.domain.lots import Source, Take
from credit_payments.domain.records import NEVER, Entry, Wallet
from credit_payments.errors import (
    Conflict,
    CustomerError,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
)


class Grant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Credits that nobody paid for, named by the caller's key."""

    user_id: str
    credits: int
    key: str
    reason: str
    expires_at: str = NEVER
    priority: int = 0
    actor: str | None = None

    def keys(self) -> Iterator[Ask]:
        """The wallet, and the entry that an earlier call under the same key posted."""
        yield Wallet, self.user_id
        yield Entry, self._cause()

    def keys_after(self, view: View) -> Iterator[Ask]:
        """What is due in the wallet."""
        return needs.to_post_due(view, self.user_id)

    def decide(self, view: View, now: str) -> Decision[Entry]:
        """Post once; a repetition gets the first entry.

        Raises:
            IdempotencyConflict: the key named a call with other arguments.
            InvalidRequest: the wallet would hold too many, or the expiry has passed.
        """
        arguments = ledger.fingerprint(
            self.user_id, self.credits, self.reason, self.expires_at, self.priority, self.actor
        )
        if (posted := repetition(view, self._cause(), arguments)) is not None:
            return Decision(posted)
        book = Book(view, self.user_id, now)
        if self.expires_at <= book.now:
            raise InvalidRequest("expires_at has passed", param="expires_at")
        effect = Effect(
            kind=Kind.GRANT,
            cause=self._cause(),
            arguments=arguments,
            actor=self.actor,
            reason=self.reason,
        )
        entry = book.credit(
            effect,
            self.credits,
            Contra.PROMOTIONS,
            source=Source.GRANT,
            priority=self.priority,
            expires_at=self.expires_at,
        )
        return Decision(entry, book.changes())

    def _cause(self) -> str:
        return f"{Kind.GRANT}:{self.key}"


class Spend(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Credits for something the user got, named by the caller's key."""

    user_id: str
    credits: int
    key: str
    reason: str | None = None
    metadata: str | None = None

    def keys(self) -> Iterator[Ask]:
        """The wallet, its lots, and the entry that an earlier call under the same key posted."""
        yield Wallet, self.user_id
        yield Entry, self._cause()
        yield lots.first_to_spend(self.user_id)

    def keys_after(self, view: View) -> Iterator[Ask]:
        """Lots that suffice, and what is due in the wallet."""
        yield from needs.to_post_due(view, self.user_id)
        yield from needs.to_spend(view, self.user_id, self.credits)

    def decide(self, view: View, now: str) -> Decision[Entry]:
        """Post once; a repetition gets the first entry.

        Raises:
            IdempotencyConflict: the key named a call with other arguments.
            InsufficientCredits: the wallet holds fewer credits.
            WalletSuspended: nothing may be spent.
        """
        arguments = ledger.fingerprint(self.user_id, self.credits, self.reason, self.metadata)
        if (posted := repetition(view, self._cause(), arguments)) is not None:
            return Decision(posted)
        book = Book(view, self.user_id, now)
        effect = Effect(
            kind=Kind.SPEND,
            cause=self._cause(),
            arguments=arguments,
            reason=self.reason,
            metadata=self.metadata,
        )
        try:
            entry = book.spend(effect, self.credits)
        except CustomerError as refusal:
            return Decision.refuse(refusal, book.changes())
        return Decision(entry, book.changes())

    def _cause(self) -> str:
        return f"{Kind.SPEND}:{self.key}"


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """A spend, or the capture of a hold, was for nothing: its credits go back, once."""

    cause: str
    reason: str | None = None
    actor: str | None = None

    def keys(self) -> Iterator[Ask]:
        """The entry, and the one that undid it before."""
        yield Entry, self.cause
        yield Entry, self._cause()

    def keys_after(self, view: View) -> Iterator[Ask]:
        """The entry's wallet, the lots that it used, and what is due."""
        undone = view.get(Entry, self.cause)
        if undone is None:
            return
        yield Wallet, undone.user_id
        used = [Take(change.lot_id, 0) for change in ledger.lots_of(undone)]
        yield from needs.to_give_back(view, used)
        if view.knows((Wallet, undone.user_id)):
            yield from needs.to_post_due(view, undone.user_id)

    def decide(self, view: View, now: str) -> Decision[Entry]:
        """Give back once; a repetition gets the first entry, whatever its reason.

        Raises:
            NotFound: there is no such entry.
            Conflict: the entry used nothing.
        """
        undone = view.get(Entry, self.cause)
        if undone is None:
            raise NotFound("No such entry", param="entry")
        if (posted := view.get(Entry, self._cause())) is not None:
            return Decision(posted)
        if ledger.legs_of(undone).get(Contra.USAGE, 0) <= 0:
            raise Conflict(f"Entries of kind {undone.kind!r} cannot be undone.", param="entry")
        effect = Effect(kind=Kind.UNDO, cause=self._cause(), actor=self.actor, reason=self.reason)
        book = Book(view, undone.user_id, now)
        entry = book.undo(effect, undone)
        return Decision(entry, book.changes())

    def _cause(self) -> str:
        return f"{Kind.UNDO}:{self.cause}"


class Suspend(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing may be spent from a wallet for now; or again, with `resumes`."""

    user_id: str
    key: str
    reason: str
    actor: str
    resumes: bool = False

    def keys(self) -> Iterator[Ask]:
        """The wallet, and the entry that an earlier call under the same key posted."""
        yield Wallet, self.user_id
        yield Entry, self._cause()

    def keys_after(self, view: View) -> Iterator[Ask]:
        """What is due in the wallet."""
        return needs.to_post_due(view, self.user_id)

    def decide(self, view: View, now: str) -> Decision[Entry]:
        """Post once; a repetition gets the first entry.

        Raises:
            IdempotencyConflict: the key named a call with other arguments.
        """
        arguments = ledger.fingerprint(self.user_id, self.reason, self.actor)
        if (posted := repetition(view, self._cause(), arguments)) is not None:
            return Decision(posted)
        effect = Effect(
            kind=self._kind(),
            cause=self._cause(),
            arguments=arguments,
            actor=self.actor,
            reason=self.reason,
        )
        book = Book(view, self.user_id, now)
        entry = book.suspend(effect, suspended=not self.resumes)
        return Decision(entry, book.changes())

    def _kind(self) -> Kind:
        return Kind.RESUME if self.resumes else Kind.SUSPEND

    def _cause(self) -> str:
        return f"{self._kind()}:{self.key}"


class PostDue(msgspec.Struct, frozen=True, kw_only=True):
    """Post what has expired or lapsed in a wallet, without waiting for somebody to touch it."""

    user_id: str

    def keys(self) -> Iterator[Ask]:
        """The wallet."""
        yield Wallet, self.user_id

    def keys_after(self, view: View) -> Iterator[Ask]:
        """What is due in it."""
        return needs.to_post_due(view, self.user_id)

    def decide(self, view: View, now: str) -> Decision[int]:
        """How many entries were posted."""
        changes = Book(view, self.user_id, now).changes()
        return Decision(sum(isinstance(record, Entry) for record in changes), changes)


def repetition(view: View, cause: str, arguments: str) -> Entry | None:
    """The entry that an earlier call under the same key posted.

    Raises:
        IdempotencyConflict: that call had other arguments.
    """
    posted = view.get(Entry, cause)
    if posted is not None and posted.fingerprint != arguments:
        raise IdempotencyConflict("The key was used before with other arguments.", param="key")
    return posted
