"""Holding credits for work whose price is known only afterwards, as commands of the queue.

A hold is named by the caller's key. Each of its steps (capture, release) posts once under that
name, so that a step may be repeated after a lost answer; and from its time to live on a hold
holds nothing, whoever looks first.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from credit_payments.domain import instants, ledger, lots, needs
from credit_payments.domain.book import Book
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.ledger import Effect, Kind
from credit_payments.domain.records import Entry, Hold, Wallet
from credit_payments.errors import (
    CustomerError,
    HoldEnded,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
)


class Overage(StrEnum):
    """What a capture of more than was held does.

    `REFUSE`: it is an error. `TAKE`: it takes what is available, and no more. `DEBT`: what is not
    available becomes a debt.
    """

    REFUSE = "refuse"
    TAKE = "take"
    DEBT = "debt"


def hold_id(key: str) -> str:
    """The name of a hold, which is the cause of its entry."""
    return f"{Kind.HOLD}:{key}"


def as_of(hold: Hold, now: str) -> Hold:
    """A hold as it is at an instant, whether or not its lapse was posted."""
    if hold.open and hold.lapses_at <= now:
        return msgspec.structs.replace(hold, open=0, status="lapsed")
    return hold


class PlaceHold(msgspec.Struct, frozen=True, kw_only=True):
    """Set credits aside for `ttl_seconds`."""

    user_id: str
    credits: int
    key: str
    ttl_seconds: float
    overage: Overage = Overage.REFUSE
    reason: str | None = None

    def keys(self) -> Iterator[Ask]:
        """The wallet, its lots, and the hold that an earlier call under the same key placed."""
        yield Wallet, self.user_id
        yield Hold, hold_id(self.key)
        yield lots.first_to_spend(self.user_id)

    def keys_after(self, view: View) -> Iterator[Ask]:
        """Lots that suffice, and what is due in the wallet."""
        yield from needs.to_post_due(view, self.user_id)
        yield from needs.to_spend(view, self.user_id, self.credits)

    def decide(self, view: View, now: str) -> Decision[Hold]:
        """Place it once; a repetition gets the hold as it is now.

        Raises:
            IdempotencyConflict: the key named a call with other arguments.
            InsufficientCredits: the wallet holds fewer credits.
            WalletSuspended: nothing may be spent.
        """
        arguments = ledger.fingerprint(
            self.user_id, self.credits, self.ttl_seconds, self.overage, self.reason
        )
        known = view.get(Hold, hold_id(self.key))
        if known is not None:
            if known.fingerprint != arguments:
                raise IdempotencyConflict(
                    "The key was used before with other arguments.", param="key"
                )
            return Decision(as_of(known, now))
        book = Book(view, self.user_id, now)
        hold = Hold(
            hold_id=hold_id(self.key),
            user_id=self.user_id,
            open=1,
            status="held",
            credits=self.credits,
            captured=0,
            overage=self.overage,
            fingerprint=arguments,
            taken="[]",
            lapses_at=instants.later(book.now, self.ttl_seconds),
            created_at=book.now,
        )
        effect = Effect(kind=Kind.HOLD, cause=hold.hold_id, arguments=arguments, reason=self.reason)
        try:
            _, placed = book.hold(effect, hold)
        except CustomerError as refusal:
            return Decision.refuse(refusal, book.changes())
        return Decision(placed, book.changes())


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happens to a hold."""

    key: str

    def keys(self) -> Iterator[Ask]:
        """The hold."""
        yield Hold, hold_id(self.key)

    def keys_after(self, view: View) -> Iterator[Ask]:
        """Its wallet, what is due there, and the lots that it took from."""
        hold = view.get(Hold, hold_id(self.key))
        if hold is None:
            return
        yield Wallet, hold.user_id
        yield from needs.to_give_back(view, lots.read(hold.taken))
        if view.knows((Wallet, hold.user_id)):
            yield from needs.to_post_due(view, hold.user_id)

    def _open(self, view: View, now: str) -> tuple[Book, Hold]:
        """The wallet, and the hold after what was due.

        Raises:
            NotFound: there is no such hold.
        """
        hold = view.get(Hold, hold_id(self.key))
        if hold is None:
            raise NotFound("No such hold", param="key")
        book = Book(view, hold.user_id, now)
        return book, book.as_it_is(hold)


class CaptureHold(_Step, frozen=True, kw_only=True):
    """The work is done and its price known: use so many credits, and let go of the rest."""

    credits: int
    metadata: str | None = None

    def keys(self) -> Iterator[Ask]:
        """The hold, and the entry of an earlier capture."""
        yield from super().keys()
        yield Entry, self._cause()

    def keys_after(self, view: View) -> Iterator[Ask]:
        """Also lots for what is more than was held."""
        yield from super().keys_after(view)
        hold = view.get(Hold, hold_id(self.key))
        if hold is None:
            return
        # One that has lapsed by now holds nothing.
        overage = self.credits - (hold.credits if hold.open and hold.lapses_at > view.now else 0)
        if overage > 0:
            yield from needs.to_spend(view, hold.user_id, overage)

    def decide(self, view: View, now: str) -> Decision[tuple[Entry, Hold]]:
        """Capture once; a repetition gets the first entry.

        A hold that has lapsed holds nothing, so that all of it is an overage.

        Raises:
            NotFound: there is no such hold.
            IdempotencyConflict: it was captured with another number of credits.
            HoldEnded: it was released; or it has lapsed, and its policy refuses an overage.
            InvalidRequest: more than is held, and its policy refuses an overage.
        """
        arguments = ledger.fingerprint(self.credits, self.metadata)
        posted = view.get(Entry, self._cause())
        book, hold = self._open(view, now)
        if posted is not None:
            if posted.fingerprint != arguments:
                raise IdempotencyConflict(
                    "The hold was captured before, otherwise.", param="credits"
                )
            return Decision((posted, hold))
        self._check(hold)
        effect = Effect(
            kind=Kind.CAPTURE, cause=self._cause(), arguments=arguments, metadata=self.metadata
        )
        entry, captured = book.capture(effect, hold, self.credits)
        return Decision((entry, captured), book.changes())

    def _check(self, hold: Hold) -> None:
        if hold.status == "released":
            raise HoldEnded(hold.status)
        if hold.overage == Overage.REFUSE:
            if not hold.open:
                raise HoldEnded(hold.status)
            if self.credits > hold.credits:
                raise InvalidRequest(f"only {hold.credits} credits are held", param="credits")

    def _cause(self) -> str:
        return f"{Kind.CAPTURE}:{self.key}"


class ReleaseHold(_Step, frozen=True, kw_only=True):
    """The work was not done: let go of all of it."""

    def decide(self, view: View, now: str) -> Decision[Hold]:
        """Release once; a hold that has ended already stays as it is.

        Raises:
            NotFound: there is no such hold.
        """
        book, hold = self._open(view, now)
        if not hold.open:
            return Decision(hold, book.changes())
        effect = Effect(kind=Kind.RELEASE, cause=f"{Kind.RELEASE}:{self.key}")
        _, released = book.release(effect, hold)
        return Decision(released, book.changes())


class ExtendHold(_Step, frozen=True, kw_only=True):
    """The work goes on: let the hold run for `ttl_seconds` from now, if that is later."""

    ttl_seconds: float

    def decide(self, view: View, now: str) -> Decision[Hold]:
        """Extend a hold that still runs.

        Raises:
            NotFound: there is no such hold.
            HoldEnded: it was captured or released, or has lapsed.
        """
        book, hold = self._open(view, now)
        if not hold.open:
            raise HoldEnded(hold.status)
        lapses_at = instants.later(book.now, self.ttl_seconds)
        if lapses_at <= hold.lapses_at:
            return Decision(hold, book.changes())
        extended = book.extend(hold, lapses_at)
        return Decision(extended, book.changes())
