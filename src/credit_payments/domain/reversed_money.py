"""What is known of a payment's refunds and disputes, counted as money, of all or of one alone."""

from __future__ import annotations

from typing import Any

import msgspec

from credit_payments.domain import reversal
from credit_payments.domain.records import CREDITS_MAX, Payment
from credit_payments.domain.stripe_facts import DisputeFacts, MovementFacts

_REFUND_UNDER_WAY = ("pending", "requires_action")
_ENDLESS = CREDITS_MAX
"""More than any payment, in minor units."""


def only_by_charge(known: Payment, refund_id: str) -> bool:
    """Whether a refund is known at most as part of what its charge told."""
    refunds = msgspec.json.decode(known.refunds, type=dict[str, reversal.KnownRefund])
    is_told = any(refund.status == reversal.CHARGE for refund in refunds.values())
    return is_told and refund_id not in refunds


def reversal_ids(known: Payment, *, under_way: bool = False) -> tuple[list[str], list[str]]:
    """The ids of the refunds and of the disputes that are known of a payment.

    With `under_way`, only of those that Stripe has not come to an end with, as far as is known.
    """
    refunds = msgspec.json.decode(known.refunds, type=dict[str, reversal.KnownRefund])
    single = [name for name, refund in refunds.items() if refund.status != reversal.CHARGE]
    disputes = [*msgspec.json.decode(known.disputes, type=dict[str, Any])]
    if under_way:
        single = [name for name in single if refunds[name].status in _REFUND_UNDER_WAY]
        disputes = [name for name in disputes if _is_under_way(only(known.disputes, name), name)]
    return single, disputes


def _is_under_way(disputes: str, name: str) -> bool:
    """Whether a dispute is open, or was not lost and its money has not come back."""
    status = one_of(disputes, name)[1]
    is_gone = disputed(disputes).disputed > 0
    return not reversal.is_closed(status) or (status != "lost" and is_gone)


def refunded(refunds: str) -> reversal.Due:
    """What was refunded, in minor units: granting what was paid counts the money itself."""
    return reversal.due(refunds, reversal.NOTHING, granted=_ENDLESS, paid_minor=_ENDLESS)


def disputed(disputes: str) -> reversal.Due:
    """What is disputed, in minor units."""
    return reversal.due(reversal.NOTHING, disputes, granted=_ENDLESS, paid_minor=_ENDLESS)


def one_of(text: str, name: str) -> list[Any]:
    """What is known of a refund or dispute, its amount and status first."""
    found: list[Any] = msgspec.json.decode(text, type=dict[str, list[Any]]).get(name, [])
    return found


def without(text: str, name: str) -> str:
    """Facts without those of one object."""
    rest = msgspec.json.decode(text, type=dict[str, Any])
    rest.pop(name, None)
    return msgspec.json.encode(rest).decode()


def only(text: str, name: str) -> str:
    """The facts of one object alone."""
    found = one_of(text, name)
    return msgspec.json.encode({name: found}).decode() if found else reversal.NOTHING


def shows_movements(facts: DisputeFacts) -> bool:
    """Whether all that has moved of a dispute's money is in the object itself."""
    moved = facts.balance_transactions
    return moved is not None and all(isinstance(one, MovementFacts) for one in moved)
