"""What a command must name before a `Book` can do something: the rows that it will look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from credit_payments.domain import lots
from credit_payments.domain.decision import Ask, View
from credit_payments.domain.lots import Take
from credit_payments.domain.records import Lot, Wallet


def to_post_due(view: View, user_id: str) -> Iterator[Ask]:
    """What must be loaded to post what is due in a wallet that is loaded itself."""
    wallet, now = view.get(Wallet, user_id), view.now
    if wallet is None or wallet.due_at > now:
        return
    lapsing = lots.to_lapse(user_id)
    yield from view.until(lapsing, lambda holds: holds[-1].lapses_at > now)
    yield from view.until(lots.to_expire(user_id), lambda rows: rows[-1].expires_at > now)
    for hold in view.first(lapsing)[0] if view.reaches(lapsing) else ():
        if hold.lapses_at <= now:
            yield from to_give_back(view, lots.read(hold.taken))


def to_spend(view: View, user_id: str, credits: int) -> Iterator[Ask]:
    """What must be loaded to take so many credits from a user's lots."""

    def suffice(rows: Sequence[Lot]) -> bool:
        return sum(row.available for row in rows if row.expires_at > view.now) >= credits

    yield from view.until(lots.to_spend(user_id), suffice)


def to_give_back(view: View, takes: Iterable[Take]) -> Iterator[Ask]:
    """The lots that credits go back to, and those that stand in for these, and so on."""
    names = dict.fromkeys(take.lot_id for take in takes)
    seen: set[str] = set()
    for _ in range(lots.STAND_INS_MAX + 1):
        layer = [name for name in names if name not in seen]
        seen.update(layer)
        names = {}
        for name in layer:
            yield Lot, name
            lot = view.peek(Lot, name)
            if lot is not None and lot.covered_by:
                names |= dict.fromkeys(take.lot_id for take in lots.lenders(lot))
