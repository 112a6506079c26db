"""One user's wallet while a command decides about it: its lots and holds, and what changes.

A `Book` is opened on the loaded rows, is told what happens, one posting after the other, and in
the end names the rows that are new or replaced. Opening it posts first what is due: holds that
have lapsed, then lots that have expired. So nobody can spend what has expired, whether or not
anything swept before.

Two things hold after each posting: what the lots have in each state sums to what the wallet has,
and a wallet that owes something has nothing available, because credits that come in repay first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from credit_payments.domain import ledger, lots
from credit_payments.domain.decision import NotLoaded, View
from credit_payments.domain.ledger import Contra, Draft, Effect, Kind
from credit_payments.domain.lots import Source, Take
from credit_payments.domain.records import CREDITS_MAX, NEVER, Entry, Hold, Lot, Record, Wallet
from credit_payments.errors import Conflict, InsufficientCredits, InvalidRequest, WalletSuspended

_replace = msgspec.structs.replace


class Book:
    """The wallet of one user at one instant, and what a decision makes of it.

    Args:
        view: the loaded rows: the wallet, and what the functions in `needs` name.
        user_id: whose wallet.
        now: the instant.
    """

    __slots__ = ("_before", "_entries", "_holds", "_lots", "_view", "now", "wallet")

    def __init__(self, view: View, user_id: str, now: str) -> None:
        self._view = view
        self._before = view.get(Wallet, user_id)
        self.wallet = self._before or Wallet(user_id)
        self.now = now
        self._lots: dict[str, Lot] = {}
        self._holds: dict[str, Hold] = {}
        self._entries: list[Entry] = []
        if self.wallet.due_at <= self.now:
            self._post_due()

    def changes(self) -> list[Record]:
        """The rows that are new or replaced."""
        changed: list[Record] = [*self._entries, *self._lots.values(), *self._holds.values()]
        if self.wallet is not self._before and self.wallet.entries:
            changed.append(self.wallet)
        return changed

    # -- credits come in -----------------------------------------------------------------------

    def credit(
        self,
        effect: Effect,
        credits: int,
        contra: Contra,
        *,
        source: Source,
        priority: int = 0,
        expires_at: str = NEVER,
    ) -> Entry:
        """Bring in a lot of credits: a debt is repaid first, the rest becomes available.

        Raises:
            InvalidRequest: the wallet would hold more than `CREDITS_MAX`.
        """
        if not ledger.fits(self.wallet, credits):
            raise InvalidRequest(f"A wallet holds at most {CREDITS_MAX} credits", param="credits")
        self._open_lot(effect.cause, source, priority, expires_at, credits)
        draft = Draft(effect)
        draft.leg(contra, -credits)
        draft.debt = -min(self.wallet.debt, credits)
        draft.move(effect.cause, available=credits + draft.debt)
        self._is_due_by(expires_at)
        return self.post(draft)

    def undo(self, effect: Effect, undone: Entry) -> Entry:
        """Give back what an entry used: to the lots that it came from, once a debt is repaid.

        Raises:
            Conflict: the wallet would hold more than `CREDITS_MAX`.
        """
        used = ledger.legs_of(undone)[Contra.USAGE]
        if not ledger.fits(self.wallet, used):
            raise Conflict(f"A wallet holds at most {CREDITS_MAX} credits.")
        # In their order; what a capture let go again is last, and not what it used.
        taken = [
            Take(change.lot_id, -min(0, change.held) - min(0, change.available))
            for change in ledger.lots_of(undone)
        ]
        draft = Draft(effect)
        draft.leg(Contra.USAGE, -used)
        self.give(draft, taken, used)
        return self.post(draft)

    # -- credits go out ------------------------------------------------------------------------

    def spend(self, effect: Effect, credits: int) -> Entry:
        """Take credits for something the user got.

        Raises:
            InsufficientCredits: fewer are available.
            WalletSuspended: nothing may be spent.
        """
        draft = Draft(effect)
        draft.leg(Contra.USAGE, credits)
        for lot_id, share in self._take(credits):
            draft.move(lot_id, available=-share)
        return self.post(draft)

    def hold(self, effect: Effect, hold: Hold) -> tuple[Entry, Hold]:
        """Set credits aside; the hold's `taken` is filled in.

        Raises:
            InsufficientCredits: fewer are available.
            WalletSuspended: nothing may be spent.
        """
        takes = self._take(hold.credits)
        draft = Draft(effect)
        for lot_id, share in takes:
            draft.move(lot_id, available=-share, held=share)
        placed = self._keep(_replace(hold, taken=lots.write(takes)))
        self._is_due_by(hold.lapses_at)
        return self.post(draft), placed

    def capture(self, effect: Effect, hold: Hold, credits: int) -> tuple[Entry, Hold]:
        """Use held credits, and let go of the rest; what is more than was held is an overage.

        An overage is taken from what is available. What is missing then is not used, or becomes
        debt, as the hold's `overage` says.

        Raises:
            Conflict: the wallet would owe more than `CREDITS_MAX`.
        """
        takes = lots.read(hold.taken) if hold.open else []
        held = hold.credits if hold.open else 0
        within = min(held, credits)
        _, rest = lots.first_of(takes, within)
        draft = Draft(effect)
        for lot_id, share in takes:
            draft.move(lot_id, held=-share)
        self.give(draft, rest, held - within)
        short = 0
        if self.wallet.suspended and hold.overage == "take":
            short = credits - within  # nothing may be spent now; a debt would be worse than that
        elif credits > within:
            more, short = lots.take(self.front(), credits - within)
            for lot_id, share in more:
                draft.move(lot_id, available=-share)
        if hold.overage == "debt":
            if self.wallet.debt + short > CREDITS_MAX:
                raise Conflict(f"A wallet owes at most {CREDITS_MAX} credits.")
            draft.debt += short
            short = 0
        draft.leg(Contra.USAGE, credits - short)
        captured = self._keep(_replace(hold, open=0, status="captured", captured=credits - short))
        return self.post(draft), captured

    def release(self, effect: Effect, hold: Hold, status: str = "released") -> tuple[Entry, Hold]:
        """Let go of a hold: what it took goes back where it came from."""
        takes = lots.read(hold.taken)
        draft = Draft(effect)
        for lot_id, share in takes:
            draft.move(lot_id, held=-share)
        self.give(draft, takes, hold.credits)
        released = self._keep(_replace(hold, open=0, status=status))
        return self.post(draft), released

    def extend(self, hold: Hold, lapses_at: str) -> Hold:
        """Let a hold run until another instant."""
        self._is_due_by(lapses_at)
        return self._keep(_replace(hold, lapses_at=lapses_at))

    def as_it_is(self, hold: Hold) -> Hold:
        """A hold as it is now: opening the book may have let it lapse."""
        return self._holds.get(hold.hold_id, hold)

    def suspend(self, effect: Effect, *, suspended: bool) -> Entry:
        """Forbid or allow spending; a posting without legs."""
        entry = self.post(Draft(effect))
        self.wallet = _replace(self.wallet, suspended=int(suspended))
        return entry

    # -- what postings are made of -------------------------------------------------------------

    def lot(self, lot_id: str) -> Lot:
        """A lot as it is now."""
        lot = self._lots.get(lot_id) or self._view.get(Lot, lot_id)
        if lot is None:
            raise AssertionError(f"the lot {lot_id} is missing")
        return lot

    def front(self) -> Iterator[Lot]:
        """The lots in the order in which they are spent."""
        rows, is_all = self._view.first(lots.to_spend(self.wallet.user_id), self._lots)
        yield from rows
        if not is_all:
            raise NotLoaded(Lot.TABLE, self.wallet.user_id)

    def give(self, draft: Draft, takes: Iterable[Take], credits: int) -> None:
        """Let credits go back to lots, in order, or on to what stands in for these.

        What was to be taken back from a lot, and was missing, is taken now: who stood in has it
        back. A debt is repaid first: with what no lot can have, since it was owed and others have
        repaid it, and then with what would come last. What is left that no lot can have goes to
        one without an end, called as the entry is; what comes into a lot that a dispute has locked
        is frozen.
        """
        back, _ = lots.first_of(takes, credits)
        homeless = credits - lots.total(back)
        homes: list[Take] = []
        for take in back:
            homeless += self._take_home(draft, take, homes, lots.STAND_INS_MAX)
        repaid = min(self.wallet.debt + draft.debt, homeless + lots.total(homes))
        draft.debt -= repaid
        homes, _ = lots.last_of(homes, max(0, repaid - homeless))
        for lot_id, amount in homes:
            lot = self.lot(lot_id)
            if lot.locked:
                draft.move(lot_id, frozen=amount)
            else:
                draft.move(lot_id, available=amount)
                self._is_due_by(lot.expires_at)
        if homeless > repaid:
            self._correct(draft, homeless - repaid)

    def write_off(self, draft: Draft, lot_id: str, credits: int) -> None:
        """Forgive what was to be taken back from a lot and is missing; less of it, if negative."""
        draft.move(lot_id, written_off=credits)
        draft.leg(Contra.WRITTEN_OFF, -credits)

    def cover(self, lot_id: str, takes: Sequence[Take]) -> None:
        """Note what stands in for what was to be taken back from a lot and is missing."""
        self._lots[lot_id] = lots.covered(self.lot(lot_id), takes)

    def lock(self, lot_id: str, *, locked: bool) -> None:
        """Have what comes back into a lot frozen from now on, or no longer."""
        lot = self.lot(lot_id)
        if lot.locked != locked:
            self._lots[lot_id] = _replace(lot, locked=int(locked))

    def post(self, draft: Draft) -> Entry:
        """Write the entry, and let the lots and the wallet follow."""
        before = self.wallet
        # An entry is never older than the one before it, whatever the clocks of two machines say.
        at = max(self.now, before.updated_at)
        entry, changes = ledger.post(before, draft, at)
        self.wallet = Wallet(
            before.user_id, entry.balance_after, entry.held_after, entry.frozen_after,
            entry.debt_after, before.suspended, entry.sequence, entry.hash, before.due_at, at,
        )  # fmt: skip
        self._entries.append(entry)
        for change in changes:
            lot = lots.changed(self.lot(change.lot_id), change)
            self._lots[lot.lot_id] = lot
        for change in changes:
            lot = self._lots[change.lot_id]
            if change.available > 0 and lot.expires_at <= self.now:
                self._expire(lot)  # it went back into a lot that has expired meanwhile
        return entry

    def _take_home(self, draft: Draft, take: Take, homes: list[Take], steps_max: int) -> int:
        """Find where credits that come back to a lot belong; how many belong to no lot."""
        lot_id, credits = take
        standing = lots.stand_ins(self.lot(lot_id)) if steps_max else []
        kept, back = lots.last_of(standing, min(credits, lots.total(standing)))
        if back:
            self.cover(lot_id, kept)
            self.write_off(draft, lot_id, -lots.total(back, lots.WRITTEN_OFF))
        homeless = lots.total(back, lots.DEBT)
        for lent in filter(lots.is_lot, back):
            homeless += self._take_home(draft, lent, homes, steps_max - 1)
        if own := credits - lots.total(back):
            homes.append(Take(lot_id, own))
        return homeless

    def _correct(self, draft: Draft, credits: int) -> None:
        cause = draft.effect.cause
        opened = self._lots.get(cause)
        if opened is None:
            self._open_lot(cause, Source.CORRECTION, 0, NEVER, credits)
        else:
            self._lots[cause] = _replace(opened, credits=opened.credits + credits)
        draft.move(cause, available=credits)

    def _open_lot(
        self, lot_id: str, source: Source, priority: int, expires_at: str, credits: int
    ) -> None:
        self._lots[lot_id] = Lot(
            lot_id, self.wallet.user_id, source.value, self.wallet.entries + 1, priority,
            expires_at, credits, 0, 0, 0, 0, 0, 0, 0, 0, self.now,
        )  # fmt: skip

    def _take(self, credits: int) -> list[Take]:
        if self.wallet.suspended:
            raise WalletSuspended
        if credits > self.wallet.available:
            raise InsufficientCredits(available=self.wallet.available, required=credits)
        takes, short = lots.take(self.front(), credits)
        if short:
            raise AssertionError(f"the lots of {self.wallet.user_id!r} hold less than the wallet")
        return takes

    def _keep(self, hold: Hold) -> Hold:
        self._holds[hold.hold_id] = hold
        return hold

    def _is_due_by(self, instant: str) -> None:
        if instant < self.wallet.due_at:
            self.wallet = _replace(self.wallet, due_at=instant)

    def expires_next(self) -> str | None:
        """When the first of what is available expires; None where nothing does."""
        rows, _ = self._view.first(lots.to_expire(self.wallet.user_id), self._lots)
        coming = (lot.expires_at for lot in rows if self.now < lot.expires_at < NEVER)
        return next(coming, None)

    # -- what is due ---------------------------------------------------------------------------

    def _post_due(self) -> None:
        user_id = self.wallet.user_id
        holds, all_holds = self._view.first(lots.to_lapse(user_id))
        for hold in holds:
            if hold.lapses_at <= self.now:
                cause = hold.hold_id.replace(Kind.HOLD, Kind.LAPSE, 1)
                self.release(Effect(kind=Kind.LAPSE, cause=cause), hold, status="lapsed")
        rows, all_lots = self._view.first(lots.to_expire(user_id), self._lots)
        for lot in rows:
            if lot.expires_at <= self.now:
                self._expire(lot)
        due_at = min(
            self._next([hold.lapses_at for hold in holds], is_all=all_holds),
            self._next([lot.expires_at for lot in rows], is_all=all_lots),
        )
        self.wallet = _replace(self.wallet, due_at=due_at)

    def _next(self, instants: Sequence[str], *, is_all: bool) -> str:
        """The first instant that is still to come; raises NotLoaded when it is not known."""
        coming = next((instant for instant in instants if instant > self.now), None)
        if coming is None and not is_all:
            raise NotLoaded(Wallet.TABLE, self.wallet.user_id)
        return coming or NEVER

    def _expire(self, lot: Lot) -> None:
        times = lot.expiries + 1
        # The number comes first: a key may end in one, and no lot's name begins with one.
        cause = f"{Kind.EXPIRY}:{f'{times}:' if times > 1 else ''}{lot.lot_id}"
        self._lots[lot.lot_id] = _replace(lot, expiries=times)
        draft = Draft(Effect(kind=Kind.EXPIRY, cause=cause))
        draft.leg(Contra.EXPIRED, lot.available)
        draft.move(lot.lot_id, available=-lot.available, expired=lot.available)
        self.post(draft)
