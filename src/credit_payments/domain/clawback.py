"""Taking back what a payment brought, and giving it back: from the facts to the postings.

What was taken from where is kept as a stack. More is pushed on it: what the payment's own lot
still has, then what of it expired unused (which nobody misses), then other lots. What is missing
then becomes a debt or is written off, as the policy says. Giving back begins with what was missing
and then pops the stack, so that taking 70 and giving back 40 leaves what taking 30 would have.

What other lots gave, what is owed and what is written off is kept with the payment's own lot: they
stand in for credits that were not there. When these come back to it after all, because a spend is
undone or a hold lets go, they are what was to be taken, and the others have theirs back: see
`Book.give`. So it ends as if they had been there from the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from typing import NamedTuple, TypeAlias

import msgspec

from credit_payments.domain import lots, payment, reversal
from credit_payments.domain.book import Book
from credit_payments.domain.ledger import Contra, Draft, Effect, Kind
from credit_payments.domain.lots import Take
from credit_payments.domain.records import Lot, Payment
from credit_payments.domain.reversal import Due

EXPIRED = "expired"
"""A place on the stack that is no lot: a lot's name has a colon in it."""


class Policy(StrEnum):
    """What becomes of credits that are to be taken back and are not there any more.

    `DEBT`: the wallet owes them. `CLAMP`: they are written off. `FREEZE`: the wallet owes them,
    and nothing can be spent from it until somebody resumes it.
    """

    DEBT = "debt"
    CLAMP = "clamp"
    FREEZE = "freeze"


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """The policy for each kind of reversal."""

    refund: Policy = Policy.DEBT
    dispute: Policy = Policy.DEBT


class _Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a payment's row keeps: what was taken of its own lot, and what of that had expired.

    Under the fourth version of the schema it kept all the rest as well.
    """

    takes: list[Take] = []
    debt: int = 0


class Clawback(NamedTuple):
    """Where what was taken back of a payment came from.

    Attributes:
        takes: the stack of what was there.
        missing: what was not, and became a debt (that others may have repaid since) or was written
            off; the last is the first to be given back.
    """

    takes: list[Take]
    missing: list[Take]

    @classmethod
    def of(cls, paid: Payment, own: Lot) -> Clawback:
        """How it stands now.

        What was taken and stands nowhere else has come back to the own lot since it was missing.
        """
        kept, standing = _decoder.decode(paid.clawback), lots.stand_ins(own)
        missing = [take for take in standing if not lots.is_lot(take)]
        known = lots.total([*kept.takes, *standing])
        came_back = paid.refunded_credits + paid.disputed_credits - known
        if kept.debt:
            owed = min(kept.debt, came_back)
            came_back -= owed
            missing.append(Take(lots.DEBT, owed))
        takes = [*kept.takes, Take(own.lot_id, came_back), *lots.lenders(own)]
        return cls([take for take in takes if take.credits], missing)

    def write(self, lot_id: str) -> str:
        """What the payment's row keeps of it."""
        takes = [take for take in self.takes if take.lot_id in (lot_id, EXPIRED)]
        return msgspec.json.encode(_Kept(takes=takes)).decode()

    def stand_ins(self, lot_id: str) -> list[Take]:
        """What the payment's own lot keeps of it: what stands in for it."""
        others = [take for take in self.takes if take.lot_id not in (lot_id, EXPIRED)]
        return [*others, *self.missing]


_decoder = msgspec.json.Decoder(_Kept)
_Part: TypeAlias = Callable[[list[Take], int], Clawback]
"""Parts what is missing, beside what was taken, by policy."""


def lenders(paid: Payment, own: Lot | None) -> list[Take]:
    """The other lots that may have to be given back to."""
    kept = [take for take in _decoder.decode(paid.clawback).takes if take.lot_id != EXPIRED]
    return [*kept, *(lots.lenders(own) if own else ())]


def settle(book: Book, paid: Payment, policies: Policies) -> Payment:
    """Post what the payment's facts ask for beyond what was posted; nothing where they agree."""
    due = reversal.due(
        paid.refunds, paid.disputes, granted=paid.credited, paid_minor=paid.received_minor
    )
    refunded = due.refunded - paid.refunded_credits
    disputed = due.disputed - paid.disputed_credits
    if not (refunded or disputed) and due.locked == paid.locked:
        return paid
    lot_id = payment.cause(paid.payment_intent_id)
    cause = f"{Kind.REVERSAL}:{paid.payment_intent_id}:{paid.reversals + 1}"
    draft = Draft(Effect(kind=Kind.REVERSAL, cause=cause))
    draft.leg(Contra.REFUNDS, refunded)
    draft.leg(Contra.DISPUTES, disputed)
    book.lock(lot_id, locked=due.locked)
    before = Clawback.of(paid, book.lot(lot_id))
    part = partial(_part, due=due, policies=policies)
    after = _move(book, draft, lot_id, before, refunded + disputed, part)
    _freeze(book, draft, book.lot(lot_id))
    reversals = paid.reversals
    if not draft.is_empty():
        reversals += 1
        book.post(draft)
        known = Due(paid.refunded_credits, paid.disputed_credits, due.locked)
        if _stops(after, due, policies) > _stops(before, known, policies):
            stop = Effect(kind=Kind.FREEZE, cause=f"{Kind.FREEZE}:{cause}")
            book.suspend(stop, suspended=True)
    return msgspec.structs.replace(
        paid,
        refunded_credits=due.refunded,
        disputed_credits=due.disputed,
        locked=int(due.locked),
        reversals=reversals,
        clawback=after.write(lot_id),
        updated_at=book.now,
    )


def _move(
    book: Book, draft: Draft, lot_id: str, before: Clawback, credits: int, part: _Part
) -> Clawback:
    """Take so many credits more, or (negative) give some back; where they are from after that."""
    missing = lots.total(before.missing)
    popped: list[Take] = []
    if credits > 0:
        pushed, short = _push(book, draft, lot_id, credits)
        takes, missing = before.takes + pushed, missing + short
    else:
        # What was missing is given back first, and then what was taken last.
        less = min(missing, -credits)
        takes, popped = lots.last_of(before.takes, -credits - less)
        missing -= less
    after = part(takes, missing)
    book.cover(lot_id, after.stand_ins(lot_id))
    _adjust(book, draft, lot_id, before, after)
    for place, amount in popped:
        if place == EXPIRED:
            draft.move(lot_id, expired=amount)
            draft.leg(Contra.EXPIRED, amount)
        else:
            book.give(draft, [Take(place, amount)], amount)
    return after


def _push(book: Book, draft: Draft, lot_id: str, credits: int) -> tuple[list[Take], int]:
    """Take from the payment's own lot, what of it has expired, and others; what is missing."""
    pushed = []
    own = book.lot(lot_id)
    for state, there in (("available", own.available), ("frozen", own.frozen)):
        share = min(credits, there)
        credits -= share
        draft.move(lot_id, **{state: -share})
        pushed.append(Take(lot_id, share))
    share = min(credits, own.expired)
    credits -= share
    draft.move(lot_id, expired=-share)
    draft.leg(Contra.EXPIRED, -share)
    pushed.append(Take(EXPIRED, share))
    if credits:
        others, credits = lots.take(_others(book, lot_id), credits)
        for other_id, amount in others:
            draft.move(other_id, available=-amount)
        pushed += others
    return [take for take in pushed if take.credits], credits


def _owe(book: Book, draft: Draft, credits: int) -> None:
    """Owe so many credits more; what came in since they were missing repays them at once."""
    has = book.wallet.available + sum(change.available for change in draft.lots())
    paid, _ = lots.take(_left(book, draft), min(credits, has))
    for lot_id, amount in paid:
        draft.move(lot_id, available=-amount)
    draft.debt += credits - lots.total(paid)


def _left(book: Book, draft: Draft) -> Iterator[Lot]:
    """The lots in the order in which they are spent, less what the draft takes of them."""
    for lot in book.front():
        taken = draft.of(lot.lot_id).available
        yield msgspec.structs.replace(lot, available=lot.available + taken) if taken else lot


def _others(book: Book, lot_id: str) -> Iterator[Lot]:
    return (lot for lot in book.front() if lot.lot_id != lot_id)


def _part(takes: list[Take], missing: int, due: Due, policies: Policies) -> Clawback:
    """What is missing, by policy.

    Refunds count as taken first, whichever was told of first. So if some of it is there after all,
    their share is the first that is not missing any more.
    """
    of_refunds, of_disputes = _shares(takes, missing, due)
    shares = [(policies.dispute, of_disputes), (policies.refund, of_refunds)]
    places = [
        Take(lots.WRITTEN_OFF if policy == Policy.CLAMP else lots.DEBT, share)
        for policy, share in shares
        if share
    ]
    return Clawback(takes, places)


def _shares(takes: list[Take], missing: int, due: Due) -> tuple[int, int]:
    of_refunds = min(missing, max(0, due.refunded - lots.total(takes)))
    return of_refunds, missing - of_refunds


def _adjust(book: Book, draft: Draft, lot_id: str, before: Clawback, after: Clawback) -> None:
    """Let debt and write-off follow.

    What others repaid of a debt since goes to a lot without an end: the payment's own may have
    expired, and which credits these were is not kept.
    """
    owed, written_off = (
        lots.total(after.missing, place) - lots.total(before.missing, place)
        for place in (lots.DEBT, lots.WRITTEN_OFF)
    )
    if owed > 0:
        _owe(book, draft, owed)
    book.write_off(draft, lot_id, written_off)
    book.give(draft, (), max(0, -owed))


def _stops(clawback: Clawback, due: Due, policies: Policies) -> int:
    """How much is missing for which the policy is to stop the wallet."""
    of_refunds, of_disputes = _shares(clawback.takes, lots.total(clawback.missing), due)
    return (of_refunds if policies.refund == Policy.FREEZE else 0) + (
        of_disputes if policies.dispute == Policy.FREEZE else 0
    )


def _freeze(book: Book, draft: Draft, lot: Lot) -> None:
    """Freeze what is left of a lot that is locked, and let go of it where it is not."""
    change = draft.of(lot.lot_id)
    if lot.locked:
        amount = lot.available + change.available
        draft.move(lot.lot_id, available=-amount, frozen=amount)
    else:
        amount = lot.frozen + change.frozen
        draft.move(lot.lot_id, frozen=-amount)
        book.give(draft, [Take(lot.lot_id, amount)], amount)
