"""What a reconciliation tells: each thing that differs, how far it is, and the report of it all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import attrs

DIFFERENCES_MAX = 1_000
"""How many are told one by one; further ones are counted."""


class Kind(StrEnum):
    """What differs.

    `MISSING_PAYMENT`: money has arrived, and its credits were not posted.
    `MISSING_REVERSAL`: a refund or a dispute, and its credits were not taken back, or frozen.
    `MISSING_RETURN`: a refund that failed or a dispute that was won, and nothing was given back.
    `MISSING_EVENT`: an event without an effect on a wallet that was never applied.
    `MISSING_RECORD`: the row of a payment, a purchase, an entry, a quote or a dispute.
    `UNATTRIBUTED`: money that cannot be booked without a person, who was not asked yet.
    `QUARANTINED`: such money, of which it is filed that a person has to decide.
    `EXTRA_PAYMENT`: credits were posted for money that Stripe does not have.
    `EXTRA_REVERSAL`: a refund or a dispute that Stripe does not have.
    `DIFFERING_AMOUNT`: another amount of money is recorded here.
    `DIFFERING_CREDITS`: other credits than quoted, or our rows disagree about them.
    `UNREADABLE`: an object at Stripe that could not be read, or could not be decided about.
    """

    MISSING_PAYMENT = "missing_payment"
    MISSING_REVERSAL = "missing_reversal"
    MISSING_RETURN = "missing_return"
    MISSING_EVENT = "missing_event"
    MISSING_RECORD = "missing_record"
    UNATTRIBUTED = "unattributed"
    QUARANTINED = "quarantined"
    EXTRA_PAYMENT = "extra_payment"
    EXTRA_REVERSAL = "extra_reversal"
    DIFFERING_AMOUNT = "differing_amount"
    DIFFERING_CREDITS = "differing_credits"
    UNREADABLE = "unreadable"


@attrs.frozen(kw_only=True)
class Difference:
    """One thing that differs between Stripe and the ledger.

    Attributes:
        kind: what it is.
        subject: the id of Stripe's object: an intent, a refund, a dispute, a charge, an event.
        payment_intent_id: the payment that it is about, if it is about one.
        user_id: whose payment, where that is known.
        detail: both sides in words; amounts in minor units.
        repaired: whether this run has posted what was missing.
    """

    kind: Kind
    subject: str
    payment_intent_id: str | None = None
    user_id: str | None = None
    detail: str
    repaired: bool = False


class Finding(NamedTuple):
    """A difference, and whether posting what Stripe reports mends it."""

    difference: Difference
    mends: bool


@attrs.frozen(kw_only=True)
class Progress:
    """How far a reconciliation has come.

    Attributes:
        phase: what is being looked at: "payment_intents", "refunds", "disputes", "events", and then
            "payments", those that are here.
        looked_at: how many of these so far.
        differences: how many were found in all.
        share: from 0.0 to 1.0, of the whole; a guess.
    """

    phase: str
    looked_at: int
    differences: int
    share: float


@attrs.frozen(kw_only=True)
class ReconciliationReport:
    """What a reconciliation has found.

    Attributes:
        since: the first instant, inclusive.
        until: the last, exclusive.
        repair: whether what was missing was posted.
        payment_intents: how many of Stripe's payment intents were looked at.
        refunds: of its refunds.
        disputes: of its disputes.
        events: of its events.
        payments: how many of our own payments.
        foreign: how many intents, refunds and disputes are none of ours.
        found: how many differences of each kind.
        repaired: how many of them are repaired.
        differences: the first `DIFFERENCES_MAX` of them.
    """

    since: datetime
    until: datetime
    repair: bool
    payment_intents: int
    refunds: int
    disputes: int
    events: int
    payments: int
    foreign: int
    found: Mapping[str, int]
    repaired: int
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether Stripe and the ledger agree now: nothing differed, or all of it is repaired."""
        return sum(self.found.values()) == self.repaired

    @property
    def complete(self) -> bool:
        """Whether `differences` names all that was found."""
        return sum(self.found.values()) == len(self.differences)
