"""What is known of a payment, and what must be back of its credits because of that."""

from __future__ import annotations

from datetime import timedelta

import attrs
from tests.support.model.wallet import Lot, Parts, Wallet

EXPIRED = "(expired)"
"""Where credits were taken from that nobody could have used."""


@attrs.define
class Dispute:
    """What was ever told about one."""

    amount: int
    statuses: set[str] = attrs.field(factory=set)
    movements: dict[str, int] = attrs.field(factory=dict)
    events: set[str] = attrs.field(factory=set)

    def ended(self) -> str | None:
        """How; the first of these that was ever told is what it stays at."""
        endings = ("won", "lost", "prevented", "warning_closed")
        return next((status for status in endings if status in self.statuses), None)

    def furthest(self) -> str:
        stages = ("under_review", "needs_response", "warning_under_review")
        reached = (status for status in stages if status in self.statuses)
        return self.ended() or next(reached, "warning_needs_response")

    def taken(self) -> int:
        """How much of the money is gone."""
        gone = -sum(amount for amount in self.movements.values() if amount < 0)
        back = sum(amount for amount in self.movements.values() if amount > 0)
        if not gone and (self.ended() == "lost" or "funds_withdrawn" in self.events):
            gone = self.amount
        # What came back of a dispute that was won is all of it, whatever the currencies did.
        is_all_back = self.ended() == "won" if back else "funds_reinstated" in self.events
        return 0 if is_all_back or back >= gone else self.amount * (gone - back) // gone

    def locks(self) -> bool:
        return self.ended() is None and not self.taken()


@attrs.define
class Payment:
    """A payment: what it was to buy, what is known of it, and what was done about that.

    Attributes:
        charge: how much of it was refunded in all, as its charge says.
        stack: what was taken back of its own lot, the last at the end; who else gave, and what
            was missing, is written down there.
        reversals: how often something was posted because of them.
        stopping: how much of what was missing is to stop the wallet.
    """

    name: str
    user: str
    credits: int
    paid: int
    lasts: timedelta | None
    recorded: bool = False
    status: str = "created"
    refunds: dict[str, tuple[int, set[str]]] = attrs.field(factory=dict)
    charge: int | None = None
    disputes: dict[str, Dispute] = attrs.field(factory=dict)
    refunded: int = 0
    disputed: int = 0
    stack: Parts = attrs.field(factory=list)
    reversals: int = 0
    stopping: int = 0

    @property
    def lot(self) -> str:
        return f"payment:{self.name}"

    def summary(self) -> object:
        """What the facts come to: telling the same again, or what is outdated, changes nothing."""
        refunds = {
            name: 2 if "failed" in told else "succeeded" in told
            for name, (_, told) in self.refunds.items()
        }
        disputes = {
            name: (dispute.furthest(), dict(dispute.movements), {*dispute.events})
            for name, dispute in self.disputes.items()
        }
        return refunds, self.charge, disputes

    def due(self) -> tuple[int, int, bool]:
        """Credits that must be back for refunds and for disputes; and whether its lot is locked."""
        back = sum(amount for amount, told in self.refunds.values() if "failed" not in told)
        failed = sum(amount for amount, told in self.refunds.values() if "failed" in told)
        back = max(back, (self.charge or 0) - failed)
        gone = sum(dispute.taken() for dispute in self.disputes.values())
        refunded = self.credits * min(back, self.paid) // self.paid
        together = self.credits * min(back + gone, self.paid) // self.paid
        locked = any(dispute.locks() for dispute in self.disputes.values())
        return refunded, together - refunded, locked

    # -- what follows for its wallet --------------------------------------------------------

    def settle(self, wallet: Wallet, policies: dict[str, str]) -> None:
        """Have taken back what the facts say must be back, and no more."""
        before = [self.refunded, self.disputed, wallet.numbers()]
        cause = f"reversal:{self.name}:{self.reversals + 1}"
        own = wallet.lots[self.lot]
        already = self.refunded + self.disputed
        self._note_what_came_back(own)
        self.refunded, self.disputed, own.locked = self.due()
        more = self.refunded + self.disputed - already
        missing = own.owed + own.forgiven
        if more > 0:
            missing += self._take_back(wallet, more)
            self._share_out(wallet, missing, policies, cause)
        else:
            made_good = min(missing, -more)
            popped = self._pop(own, -more - made_good)
            self._share_out(wallet, missing - made_good, policies, cause)
            self._give_back(wallet, popped, cause)
        if own.locked:
            own.frozen += own.available
            own.available = 0
        else:
            thawed, own.frozen = own.frozen, 0
            wallet.come_in([(own.name, thawed)], thawed, cause)
        if [self.refunded, self.disputed, wallet.numbers()] != before:
            self.reversals += 1
            wallet.posts()

    def _there(self, own: Lot) -> int:
        """How much was not missing."""
        return sum(share for _, share in (*self.stack, *own.lenders))

    def _note_what_came_back(self, own: Lot) -> None:
        """It was taken in its turn, and who stood in for it has theirs."""
        back = self.refunded + self.disputed - self._there(own) - own.owed - own.forgiven
        if back:
            self.stack.append((own.name, back))

    def _take_back(self, wallet: Wallet, credits: int) -> int:
        """From where there is something; and how much is missing."""
        own = wallet.lots[self.lot]
        for state in ("available", "frozen", "expired"):
            share = min(credits, getattr(own, state))
            setattr(own, state, getattr(own, state) - share)
            credits -= share
            self.stack.append((EXPIRED if state == "expired" else own.name, share))
        others, missing = wallet.go_out(credits, but=own.name)
        for lender, share in others:
            *before, (last, lent) = own.lenders or [("", 0)]
            again = lent if last == lender else 0
            own.lenders = (*(before if again else own.lenders), (lender, again + share))
        return missing

    def _pop(self, own: Lot, credits: int) -> Parts:
        """What was taken last, first: from lenders before the own lot."""
        popped: Parts = []
        lenders = [*own.lenders]
        while credits:
            stack = lenders or self.stack
            place, there = stack.pop()
            share = min(there, credits)
            credits -= share
            popped.append((place, share))
            if there > share:
                stack.append((place, there - share))
        own.lenders = tuple(lenders)
        return popped

    def _give_back(self, wallet: Wallet, popped: Parts, cause: str) -> None:
        for place, share in popped:
            if place == EXPIRED:
                wallet.lots[self.lot].expired += share
            else:
                wallet.come_in([(place, share)], share, cause)

    def _share_out(
        self, wallet: Wallet, missing: int, policies: dict[str, str], cause: str
    ) -> None:
        """What is missing is owed or forgiven; refunds count as having taken first."""
        own = wallet.lots[self.lot]
        of_refunds = min(missing, max(0, self.refunded - self._there(own)))
        shares = {"refund": of_refunds, "dispute": missing - of_refunds}
        forgiven = sum(shares[kind] for kind in shares if policies[kind] == "clamp")
        more_owed = missing - forgiven - own.owed
        own.owed, own.forgiven = missing - forgiven, forgiven
        own.forgives_first = policies["refund"] == "clamp"  # the refunds' share is the first
        wallet.debt += max(0, more_owed)
        _, wallet.debt = wallet.go_out(wallet.debt)  # by what came in since it was missing
        wallet.come_in([], max(0, -more_owed), cause)  # to nobody's lot: others have repaid it
        stopping = sum(shares[kind] for kind in shares if policies[kind] == "freeze")
        if stopping > self.stopping:
            wallet.suspended = True
        self.stopping = stopping
