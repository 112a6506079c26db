"""Taking back what a payment brought, and giving it back: from the facts to the postings.

What was taken from where is kept as a stack. More is pushed on it: what the payment's own lot
still has, then what of it expired unused (which nobody misses), then other lots, and what is
missing then becomes a debt or is written off, as the policy says. Giving back pops it, so that
taking 70 and giving back 40 leaves what taking 30 would have.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from credit_payments.domain import lots, payment, reversal
from credit_payments.domain.book import Book
from credit_payments.domain.ledger import Contra, Draft, Effect, Kind
from credit_payments.domain.lots import Take
from credit_payments.domain.records import Lot, Payment

DEBT, EXPIRED, WRITTEN_OFF = "debt", "expired", "written_off"
"""Places on the stack that are no lots: a lot's name has a colon in it."""


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
    draft = Draft()
    draft.leg(Contra.REFUNDS, refunded)
    draft.leg(Contra.DISPUTES, disputed)
    book.lock(lot_id, locked=due.locked)
    stack = lots.read(paid.clawback)
    policy = policies.dispute if disputed > 0 else policies.refund
    if refunded + disputed > 0:
        stack += _take(book, draft, lot_id, refunded + disputed, policy)
    else:
        stack = _give_back(book, draft, lot_id, -refunded - disputed, stack)
    _freeze(book, draft, book.lot(lot_id))
    reversals = paid.reversals
    if not draft.is_empty():
        reversals += 1
        cause = f"{Kind.REVERSAL}:{paid.payment_intent_id}:{reversals}"
        owes = draft.debt > 0
        book.post(Effect(kind=Kind.REVERSAL, cause=cause), draft)
        if owes and policy == Policy.FREEZE and not book.wallet.suspended:
            stop = Effect(kind=Kind.SUSPEND, cause=f"{Kind.SUSPEND}:{cause}", reason="clawback")
            book.suspend(stop, suspended=True)
    return msgspec.structs.replace(
        paid,
        refunded_credits=due.refunded,
        disputed_credits=due.disputed,
        locked=int(due.locked),
        reversals=reversals,
        clawback=lots.write(stack),
        updated_at=book.now,
    )


def _take(book: Book, draft: Draft, lot_id: str, credits: int, policy: Policy) -> list[Take]:
    taken = []
    own = book.lot(lot_id)
    for state, there in (("available", own.available), ("frozen", own.frozen)):
        share = min(credits, there)
        credits -= share
        draft.move(lot_id, **{state: -share})
        taken.append(Take(lot_id, share))
    share = min(credits, own.expired)
    credits -= share
    draft.move(lot_id, expired=-share)
    draft.leg(Contra.EXPIRED, -share)
    taken.append(Take(EXPIRED, share))
    if credits:
        others, credits = lots.take(_others(book, lot_id), credits)
        for other_id, amount in others:
            draft.move(other_id, available=-amount)
        taken += others
    if policy == Policy.CLAMP:
        draft.leg(Contra.WRITTEN_OFF, -credits)
        taken.append(Take(WRITTEN_OFF, credits))
    else:
        draft.debt += credits
        taken.append(Take(DEBT, credits))
    return [take for take in taken if take.credits]


def _others(book: Book, lot_id: str) -> Iterator[Lot]:
    return (lot for lot in book.front() if lot.lot_id != lot_id)


def _give_back(
    book: Book, draft: Draft, lot_id: str, credits: int, stack: list[Take]
) -> list[Take]:
    """Pop from the stack; what is left of it."""
    left = list(stack)
    while credits and left:
        place, amount = left.pop()
        share = min(amount, credits)
        credits -= share
        if amount > share:
            left.append(Take(place, amount - share))
        if place == EXPIRED:
            draft.move(lot_id, expired=share)
            draft.leg(Contra.EXPIRED, share)
        elif place == WRITTEN_OFF:
            draft.leg(Contra.WRITTEN_OFF, share)
        else:
            # A debt that was repaid since goes to the payment's own lot, from where it was missing.
            book.give(draft, [Take(lot_id if place == DEBT else place, share)], share)
    return left


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
