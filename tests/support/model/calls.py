"""All wallets and payments, and what is called and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import attrs
from tests.support.model.facts import Dispute, Payment
from tests.support.model.wallet import NEVER, Hold, Parts, Refused, Wallet


@attrs.define
class Used:
    """What an entry used, and whose and which lots' credits that were; the rest was owed."""

    user: str
    credits: int
    parts: Parts


@attrs.define
class Model:
    """Everything that is known.

    Attributes:
        policies: what becomes of what is missing, for refunds and for disputes.
        now: what the clock says.
        calls: with which arguments each key was used, by the cause that it named.
        entries: whose each entry is, by its cause; without those that the library names itself.
        used: what entries used, by their causes.
        held_by: whose each hold is, by its key.
        handled: the events that were applied.
    """

    policies: dict[str, str]
    now: datetime
    wallets: dict[str, Wallet] = attrs.field(factory=dict)
    payments: dict[str, Payment] = attrs.field(factory=dict)
    calls: dict[str, object] = attrs.field(factory=dict)
    entries: dict[str, str] = attrs.field(factory=dict)
    used: dict[str, Used] = attrs.field(factory=dict)
    held_by: dict[str, str] = attrs.field(factory=dict)
    handled: set[str] = attrs.field(factory=set)

    def wallet(self, user: str) -> Wallet:
        """As it was left, with what has fallen due since not yet done."""
        return self.wallets.get(user, Wallet())

    def wallet_now(self, user: str) -> Wallet:
        return self.wallet(user).at(self.now)

    @contextmanager
    def touched(self, user: str) -> Iterator[Wallet]:
        wallet = self.wallet_now(user)
        try:
            yield wallet
        except Refused as refused:  # that leaves no trace, but for what was due anyway
            if refused.name in ("InsufficientCredits", "WalletSuspended"):
                self.wallets[user] = wallet
            raise
        self.wallets[user] = wallet

    def posts(self, user: str, wallet: Wallet, cause: str, arguments: object = None) -> str:
        wallet.posts()
        self.entries[cause] = user
        self.calls[cause] = arguments
        return cause

    def was_called(self, cause: str, arguments: object) -> bool:
        if cause in self.calls and self.calls[cause] != arguments:
            raise Refused("IdempotencyConflict")
        return cause in self.calls

    # -- what is called ---------------------------------------------------------------------

    def grant(
        self, user: str, credits: int, key: str, expires: datetime | None, priority: int
    ) -> str:
        cause, arguments = f"grant:{key}", (user, credits, expires, priority)
        if self.was_called(cause, arguments):
            return cause
        with self.touched(user) as wallet:
            if expires is not None and expires <= wallet.now:
                raise Refused("InvalidRequest")
            wallet.open_lot(cause, "grant", credits, expires=expires or NEVER, priority=priority)
            wallet.come_in([(cause, credits)], credits, cause)
            return self.posts(user, wallet, cause, arguments)

    def spend(self, user: str, credits: int, key: str) -> str:
        cause, arguments = f"spend:{key}", (user, credits)
        if self.was_called(cause, arguments):
            return cause
        with self.touched(user) as wallet:
            self.used[cause] = Used(user, credits, wallet.pay(credits))
            return self.posts(user, wallet, cause, arguments)

    def undo(self, cause: str) -> str:
        if cause not in self.entries:
            raise Refused("NotFound")
        undone = f"undo:{cause}"
        if undone in self.entries:
            return undone
        used = self.used.get(cause)
        if used is None or not used.credits:
            raise Refused("Conflict")
        with self.touched(used.user) as wallet:
            wallet.come_in(used.parts, used.credits, undone)
            return self.posts(used.user, wallet, undone)

    def suspend(self, user: str, key: str, *, suspended: bool) -> str:
        cause = f"{'suspend' if suspended else 'resume'}:{key}"
        if self.was_called(cause, user):
            return cause
        with self.touched(user) as wallet:
            wallet.suspended = suspended
            return self.posts(user, wallet, cause, user)

    def post_due(self, user: str) -> bool:
        """Whether anything was."""
        before = self.wallet(user).numbers()
        with self.touched(user) as wallet:
            return wallet.numbers() != before

    # -- holds ------------------------------------------------------------------------------

    def hold(self, user: str, credits: int, key: str, ttl: float, overage: str) -> Hold:
        cause, arguments = f"hold:{key}", (user, credits, ttl, overage)
        if self.was_called(cause, arguments):
            return self.wallet_now(user).holds[key]
        with self.touched(user) as wallet:
            parts = wallet.pay(credits)
            for name, share in parts:
                wallet.lots[name].held += share
            lapses = wallet.now + timedelta(seconds=ttl)
            wallet.holds[key] = Hold(key, credits, overage, lapses, parts)
            self.posts(user, wallet, cause, arguments)
        self.held_by[key] = user
        return self.wallets[user].holds[key]

    def capture(self, key: str, credits: int) -> str:
        cause = f"capture:{key}"
        if self.was_called(cause, credits):
            return cause
        user = self.held_by[key]
        with self.touched(user) as wallet:
            hold = wallet.holds[key]
            _check_capture(hold, credits)
            parts: Parts = []
            missing = credits
            if hold.status == "held":
                parts, missing = _use_held(wallet, hold, credits, cause)
            if not wallet.suspended or hold.overage == "debt":
                more, missing = wallet.go_out(missing)
                parts += more
            if hold.overage == "debt":
                wallet.debt += missing
                missing = 0
            hold.status, hold.captured = "captured", credits - missing
            self.used[cause] = Used(user, hold.captured, _together(parts))
            return self.posts(user, wallet, cause, credits)

    def release(self, key: str) -> Hold:
        user = self.held_by[key]
        with self.touched(user) as wallet:
            hold = wallet.holds[key]
            if hold.status == "held":
                wallet.let_go(hold, "released")
                self.posts(user, wallet, f"release:{key}")
            return hold

    def extend(self, key: str, ttl: float) -> Hold:
        with self.touched(self.held_by[key]) as wallet:
            hold = wallet.holds[key]
            if hold.status != "held":
                raise Refused("HoldEnded")
            hold.lapses = max(hold.lapses, wallet.now + timedelta(seconds=ttl))
            return hold

    # -- what is told -----------------------------------------------------------------------

    def add_payment(self, name: str, user: str, sold: tuple[int, int], lasts: int | None) -> None:
        lasting = None if lasts is None else timedelta(seconds=lasts)
        self.payments[name] = Payment(name, user, *sold, lasting)

    def tell_payment(self, name: str, status: str, event: str | None) -> str:
        payment = self.payments[name]
        if event in self.handled:
            return "duplicate"
        if event is not None:
            self.handled.add(event)
        payment.recorded = True
        if payment.status in ("succeeded", status):
            return "duplicate"
        payment.status = status
        if status == "succeeded":
            with self.touched(payment.user) as wallet:
                expires = NEVER if payment.lasts is None else wallet.now + payment.lasts
                wallet.open_lot(payment.lot, "purchase", payment.credits, expires=expires)
                wallet.come_in([(payment.lot, payment.credits)], payment.credits, payment.lot)
                self.posts(payment.user, wallet, payment.lot)
                payment.settle(wallet, self.policies)
        return "applied"

    def tell_refund(self, name: str, refund: str, amount: int, status: str, event: str) -> str:
        def add(payment: Payment) -> None:
            payment.refunds.setdefault(refund, (amount, set()))[1].add(status)

        return self._tell(name, event, add)

    def tell_charge(self, name: str, refunded: int, event: str) -> str:
        def add(payment: Payment) -> None:
            payment.charge = max(payment.charge or 0, refunded)

        return self._tell(name, event, add)

    def tell_dispute(
        self,
        name: str,
        dispute: str,
        amount: int,
        status: str,
        movements: dict[str, int],
        event_type: str,
        event: str,
    ) -> str:
        def add(payment: Payment) -> None:
            known = payment.disputes.setdefault(dispute, Dispute(amount))
            known.statuses.add(status)
            known.movements.update(movements)
            if event_type.startswith("funds_"):
                known.events.add(event_type)

        return self._tell(name, event, add)

    def _tell(self, name: str, event: str, add: Callable[[Payment], None]) -> str:
        payment = self.payments[name]
        if event in self.handled:
            return "duplicate"
        before = payment.summary()
        add(payment)
        if not payment.recorded:
            return "quarantined"
        self.handled.add(event)
        is_new = payment.summary() != before
        if is_new and payment.status == "succeeded":
            with self.touched(payment.user) as wallet:
                payment.settle(wallet, self.policies)
        return "applied" if is_new else "duplicate"


def _check_capture(hold: Hold, credits: int) -> None:
    if hold.status == "released":
        raise Refused("HoldEnded")
    if hold.overage == "refuse":
        if hold.status == "lapsed":
            raise Refused("HoldEnded")
        if credits > hold.credits:
            raise Refused("InvalidRequest")


def _use_held(wallet: Wallet, hold: Hold, credits: int, cause: str) -> tuple[Parts, int]:
    """The first so many of the held credits are used, and the others are let go."""
    used: Parts = []
    rest: Parts = []
    for name, share in hold.parts:
        wallet.lots[name].held -= share
        use = min(share, credits)
        credits -= use
        used.append((name, use))
        rest.append((name, share - use))
    wallet.come_in(rest, sum(share for _, share in rest), cause)
    return used, credits


def _together(parts: Parts) -> Parts:
    """Each lot once, where it stood first."""
    sums: dict[str, int] = {}
    for name, share in parts:
        sums[name] = sums.get(name, 0) + share
    return list(sums.items())
