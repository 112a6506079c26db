"""How many credits of a payment are to be taken back, from the facts known about it.

Facts are keyed by Stripe's ids and only grow, so that any order and any repetition of the reports
ends in the same sum.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from credit_payments.domain.stripe_facts import RefundFacts


class KnownRefund(NamedTuple):
    """A refund as last heard of; `amount` in minor units."""

    amount: int
    status: str


_FAILED = 2
_RANK = {
    "pending": 0,
    "requires_action": 0,
    "succeeded": 1,
    "failed": _FAILED,
    "canceled": _FAILED,
}
"""A refund only moves forward, and may fail after it had succeeded
(https://docs.stripe.com/refunds#failed-refunds)."""

_decoder = msgspec.json.Decoder(dict[str, KnownRefund])


def read_refunds(text: str) -> dict[str, KnownRefund]:
    """The refunds that a payment's row holds."""
    return _decoder.decode(text)


def merge_refund(text: str, facts: RefundFacts) -> str:
    """The payment's refunds after a report about one of them."""
    refunds = read_refunds(text)
    known = refunds.get(facts.id)
    reported = KnownRefund(facts.amount, facts.status or "pending")
    if known is None or _rank(reported) > _rank(known):
        refunds[facts.id] = reported
    return msgspec.json.encode(refunds, order="deterministic").decode()


def credits_reversed(refunds: str, *, granted: int, paid_minor: int) -> int:
    """The credits to have been taken back in all, rounded down; all of them when all was.

    >>> credits_reversed('{"re_1": [333, "succeeded"]}', granted=100, paid_minor=1000)
    33
    """
    reversed_minor = sum(
        refund.amount for refund in read_refunds(refunds).values() if _rank(refund) < _FAILED
    )
    if paid_minor <= 0:
        return 0
    return granted * min(reversed_minor, paid_minor) // paid_minor


def failed_refunds(refunds: str) -> int:
    """How many refunds of a payment came to nothing.

    >>> failed_refunds('{"re_1": [333, "failed"], "re_2": [333, "succeeded"]}')
    1
    """
    return sum(_rank(refund) == _FAILED for refund in read_refunds(refunds).values())


def _rank(refund: KnownRefund) -> int:
    return _RANK.get(refund.status, 0)
