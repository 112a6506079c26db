"""How many credits of a payment are to be taken back, from the facts known about it.

Facts are keyed by Stripe's ids and only grow, so that any order and any repetition of the reports
ends in the same sum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from credit_payments.domain.stripe_facts import ChargeFacts, DisputeFacts, RefundFacts

NOTHING = "{}"
"""The refunds, or the disputes, of a payment that has none."""


class KnownRefund(NamedTuple):
    """A refund as last heard of; `amount` in minor units."""

    amount: int
    status: str


class KnownDispute(NamedTuple):
    """A dispute as far as it is known; `amount` in minor units.

    `movements` maps the ids of balance transactions to their amounts, negative for what was
    withdrawn, in the currency of the account; or holds `WITHDRAWN` and `REINSTATED`, where an
    event told of that and named no transaction.
    """

    amount: int
    status: str
    movements: dict[str, int]


class Due(NamedTuple):
    """What the facts ask for: credits to have been taken back, and whether the rest is frozen."""

    refunded: int
    disputed: int
    locked: bool


CHARGE = "charge"
"""The status of what is not one refund, but what a charge says of all of its refunds."""
WITHDRAWN, REINSTATED = "withdrawn", "reinstated"
_TOLD = {
    "charge.dispute.funds_withdrawn": WITHDRAWN,
    "charge.dispute.funds_reinstated": REINSTATED,
}

_FAILED = 2
_REFUND_RANK = {
    "pending": 0,
    "requires_action": 0,
    "succeeded": 1,
    "failed": _FAILED,
    "canceled": _FAILED,
}
"""A refund only moves forward, and may fail after it had succeeded
(https://docs.stripe.com/refunds#failed-refunds)."""

_CLOSED = 4
_DISPUTE_RANK = {
    "warning_needs_response": 0,
    "warning_under_review": 1,
    "needs_response": 2,
    "under_review": 3,
    "warning_closed": _CLOSED,
    "prevented": _CLOSED + 1,
    "lost": _CLOSED + 2,
    "won": _CLOSED + 3,
}
"""An inquiry may become a dispute, and what is closed stays so
(https://docs.stripe.com/disputes/how-disputes-work)."""

_refunds_decoder = msgspec.json.Decoder(dict[str, KnownRefund])
_disputes_decoder = msgspec.json.Decoder(dict[str, KnownDispute])


def merge_refund(text: str, facts: RefundFacts | ChargeFacts) -> str:
    """The payment's refunds after a report about one of them, or about the charge as a whole."""
    refunds = _refunds_decoder.decode(text)
    known = refunds.get(facts.id)
    if isinstance(facts, ChargeFacts):
        amount = max(facts.amount_refunded, known.amount if known else 0)
        refunds[facts.id] = KnownRefund(amount, CHARGE)
    else:
        reported = KnownRefund(facts.amount, facts.status or "pending")
        if known is None or _refund_rank(reported) > _refund_rank(known):
            refunds[facts.id] = reported
    return _text(refunds)


def merge_dispute(text: str, facts: DisputeFacts, event_type: str = "") -> str:
    """The payment's disputes after a report about one of them."""
    disputes = _disputes_decoder.decode(text)
    known = disputes.get(facts.id) or KnownDispute(0, facts.status, {})
    movements = dict(known.movements)
    for moved in facts.balance_transactions or ():
        if not isinstance(moved, str):
            movements[moved.id] = moved.amount
    if event_type in _TOLD:
        movements[_TOLD[event_type]] = 0
    disputes[facts.id] = KnownDispute(
        max(known.amount, facts.amount), later_status(known.status, facts.status), movements
    )
    return _text(disputes)


def later_status(known: str, reported: str) -> str:
    """Of two statuses of a dispute the one that it reached later, in whatever order they came.

    >>> later_status("won", "needs_response"), later_status("needs_response", "won")
    ('won', 'won')
    """
    return max(known, reported, key=lambda status: (_DISPUTE_RANK.get(status, 0), status))


def due(refunds: str, disputes: str, *, granted: int, paid_minor: int) -> Due:
    """What is to have been taken back in all, rounded down; everything when all was reversed.

    >>> due('{"re_1": [333, "succeeded"]}', "{}", granted=100, paid_minor=1000)
    Due(refunded=33, disputed=0, locked=False)
    >>> due("{}", '{"dp_1": [500, "needs_response", {"txn_1": -500}]}', granted=9, paid_minor=1000)
    Due(refunded=0, disputed=4, locked=False)
    """
    known = _disputes_decoder.decode(disputes).values() if disputes != NOTHING else ()
    locked = any(not is_closed(dispute.status) and not _withdrawn(dispute) for dispute in known)
    if paid_minor <= 0:
        return Due(0, 0, locked)
    refunded_minor = min(paid_minor, _sum_refunds(refunds))
    disputed_minor = min(paid_minor - refunded_minor, sum(map(_withdrawn, known)))
    total = granted * (refunded_minor + disputed_minor) // paid_minor
    refunded = granted * refunded_minor // paid_minor
    return Due(refunded, total - refunded, locked)


def failed_refunds(refunds: str) -> int:
    """How many refunds of a payment came to nothing.

    >>> failed_refunds('{"re_1": [333, "failed"], "re_2": [333, "succeeded"]}')
    1
    """
    known = _refunds_decoder.decode(refunds).values()
    return sum(_refund_rank(refund) == _FAILED for refund in known)


def _sum_refunds(text: str) -> int:
    """What was refunded: by the refunds that are known, or by what the charge says, if it is more.

    The charge does not say of which refunds it speaks, so that those that failed are taken off it.
    """
    refunds = _refunds_decoder.decode(text).values()
    one_by_one = failed = of_charges = 0
    for refund in refunds:
        if refund.status == CHARGE:
            of_charges += refund.amount
        elif _refund_rank(refund) == _FAILED:
            failed += refund.amount
        else:
            one_by_one += refund.amount
    return max(one_by_one, of_charges - failed)


def _withdrawn(dispute: KnownDispute) -> int:
    """How much of the disputed money is gone now, in the payment's minor units.

    The account may be kept in another currency, so the movements count by their proportion; and its
    rate may have moved in between, so that what came back of a dispute that was won is all of it
    (https://docs.stripe.com/currencies/disputes-refunds).
    """
    gone = -sum(amount for amount in dispute.movements.values() if amount < 0)
    back = sum(amount for amount in dispute.movements.values() if amount > 0)
    if not gone and (WITHDRAWN in dispute.movements or dispute.status == "lost"):
        gone = dispute.amount
    if (not back and REINSTATED in dispute.movements) or (back and dispute.status == "won"):
        back = gone
    return dispute.amount * max(0, gone - back) // gone if gone else 0


def is_closed(status: str) -> bool:
    """Whether a dispute of that status is decided; one that is not known here is not.

    >>> is_closed("won"), is_closed("under_review"), is_closed("new_in_2030")
    (True, False, False)
    """
    return _DISPUTE_RANK.get(status, 0) >= _CLOSED


def _refund_rank(refund: KnownRefund) -> int:
    return _REFUND_RANK.get(refund.status, 0)


def _text(facts: dict[str, Any]) -> str:
    return msgspec.json.encode(facts, order="deterministic").decode()
