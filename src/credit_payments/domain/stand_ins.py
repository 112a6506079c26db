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
    """A user's lots for which something stands in that cannot, or that lend what they do not have.

    No entry says what stands in. But it is no more than was taken back; no lot stands in for
    itself, and none of another user's; the write-off is the lot's; and what a lot has, has lost to
    its own reversal and lends is together no more than what it brought.

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
    lenders = [take.lot_id for take in standing if lots.is_lot(take)]
    behind = {take.lot_id for take in standing[len(lenders) :]}
    return (
        all(take.credits > 0 for take in standing)
        and all(name in rows and name != own.lot_id for name in lenders)
        and behind <= {lots.DEBT, lots.WRITTEN_OFF}
        and len(behind) == len(standing) - len(lenders)
        and lots.total(standing, lots.WRITTEN_OFF) == own.written_off
    )


def _has(lot: Lot) -> int:
    return lot.available + lot.held + lot.frozen + lot.expired
