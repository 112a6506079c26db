"""What stands in for credits that were to be taken back and were missing: can it be right?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from credit_payments.domain import lots
from credit_payments.domain.clawback import EXPIRED, Clawback
from credit_payments.domain.lots import Take
from credit_payments.domain.records import Lot, Payment


def unsound(rows: Mapping[str, Lot], payments: Mapping[str, Payment]) -> Iterator[str]:
    """The lots of a user where what stands in for what cannot be right.

    No entry says it. But it stands in only for what was taken back; for an own lot, no lot of
    others, and nothing twice; and no lot has, lost to its own reversal and lent more than it had.

    Args:
        rows: the lots by their ids.
        payments: the payments that brought some of them, by the ids of these.
    """
    spoken_for: Counter[str] = Counter()
    for lot_id, own in rows.items():
        paid = payments.get(lot_id)
        if paid is None:
            if own.covered_by:
                yield lot_id
            continue
        try:
            taken, standing = Clawback.of(paid, own), lots.stand_ins(own)
        except msgspec.MsgspecError:
            yield lot_id
            continue
        if not _can_stand_in(own, standing, rows) or any(n < 0 for _, n in taken.takes):
            yield lot_id
        spoken_for[lot_id] += sum(n for place, n in taken.takes if place in (lot_id, EXPIRED))
        spoken_for.update({lent.lot_id: lent.credits for lent in lots.lenders(own)})
    for lot_id, credits in spoken_for.items():
        own_lot = rows.get(lot_id)
        if own_lot and _has(own_lot) + credits > own_lot.credits:
            yield lot_id


def _can_stand_in(own: Lot, standing: list[Take], rows: Mapping[str, Lot]) -> bool:
    names = [place for place, _ in standing]
    others = names[: next((n for n, take in enumerate(standing) if not lots.is_lot(take)), None)]
    return (
        all(credits > 0 for _, credits in standing)
        and lots.total(standing, lots.WRITTEN_OFF) == own.written_off
        and all(name in rows and name != own.lot_id for name in others)
        and len(names) - len(others) == len({*names[len(others) :]} & {lots.DEBT, lots.WRITTEN_OFF})
    )


def _has(lot: Lot) -> int:
    return lot.available + lot.held + lot.frozen + lot.expired
