"""Events that wait: how their facts are kept, which lane they are in, when they are tried again."""

from __future__ import annotations

import zlib
from typing import TypeAlias

import msgspec

from credit_payments.domain.customers import ChangedCustomer
from credit_payments.domain.decision import Series
from credit_payments.domain.records import NEVER, Event
from credit_payments.domain.stripe_facts import (
    ChargeFacts,
    DisputeFacts,
    FraudWarningFacts,
    PaymentIntentFacts,
    RefundFacts,
    ref_id,
)

DUE, DONE, DEAD, DISCARDED = "due", "done", "dead", "discarded"

OURS = tuple("01234567")
"""The lanes of what the library applies itself: few enough to look at all of them at once, and
enough for a handful of workers."""
HOSTS = "hosts"
"""The lane of what the host's handlers do: however many wait, no payment waits behind them."""
LANES = (*OURS, HOSTS)
ATTEMPTS_MAX = 12
"""With the pauses between them a day; Stripe itself delivers again for three
(https://docs.stripe.com/webhooks#retries)."""
BACK_OFF_SECONDS = 2.0
BACK_OFF_SECONDS_MAX = 6 * 3_600.0

Kept: TypeAlias = (
    PaymentIntentFacts
    | RefundFacts
    | DisputeFacts
    | ChargeFacts
    | FraudWarningFacts
    | ChangedCustomer
)
"""The facts of an event as they may be kept: nothing personal that is not encrypted."""

_OURS = ("user_id", "quote_id")
_decoder = msgspec.json.Decoder(Kept)
_encoder = msgspec.json.Encoder()


def pack(facts: Kept) -> str:
    """Facts as the JSON of a row, without what is secret or the host's own.

    >>> kept = pack(PaymentIntentFacts("pi_1", "succeeded", 5, "usd", 0, client_secret="pi_1_s"))
    >>> "pi_1_s" in kept, unpack(kept).id
    (False, 'pi_1')
    """
    if isinstance(facts, PaymentIntentFacts):
        metadata = {name: facts.metadata[name] for name in _OURS if name in facts.metadata}
        facts = msgspec.structs.replace(facts, client_secret=None, metadata=metadata)
    return _encoder.encode(facts).decode()


def unpack(payload: str) -> Kept:
    """The facts in a row.

    Raises:
        msgspec.MsgspecError: they cannot be read.
    """
    kept: Kept = _decoder.decode(payload)
    return kept


def subject_of(facts: Kept) -> str:
    """What the events about one payment have in common: its intent, else their own object.

    >>> subject_of(RefundFacts("re_1", 5, "usd", payment_intent="pi_1"))
    'pi_1'
    """
    if isinstance(facts, PaymentIntentFacts):
        return facts.id
    if isinstance(facts, ChangedCustomer):
        return facts.customer_id
    return ref_id(facts.payment_intent) or facts.id


def lane_of(facts: Kept) -> str:
    """The lane that facts belong in: that of the user, where they say so, else of the subject.

    Workers in different lanes then seldom want the same wallet at once, which is what they would
    wait for.

    >>> lane_of(RefundFacts("re_1", 5, "usd", payment_intent="pi_1")) == lane_for("pi_1")
    True
    """
    user_id = facts.metadata.get("user_id") if isinstance(facts, PaymentIntentFacts) else None
    return lane_for(user_id or subject_of(facts))


def lane_for(name: str) -> str:
    """The lane of whatever has that name.

    >>> lane_for("ada") == lane_for("ada"), lane_for("ada") in OURS
    (True, True)
    """
    return OURS[zlib.crc32(name.encode("utf-8", "surrogatepass")) % len(OURS)]


def done(event: Event, outcome: str) -> Event:
    """The row of an event that was applied; what it said is no longer needed."""
    return msgspec.structs.replace(
        event, outcome=outcome, status=DONE, payload="", due_at=NEVER, lease="", problem=None
    )


def due(lane: str) -> Series:
    """The events of a lane that are to be applied, longest due first."""
    return Series(Event, lane, (("status", DUE),), ("due_at", "event_id"), "due_at")


def back_off(attempts: int, jitter: float) -> float:
    """How many seconds to wait after so many tries; `jitter` from 0 to 1 spreads them.

    At least half of what it may be at most, so that a retry is never at once.

    >>> back_off(1, 0.0), back_off(1, 1.0), back_off(50, 1.0) == BACK_OFF_SECONDS_MAX
    (1.0, 2.0, True)
    """
    longest = min(BACK_OFF_SECONDS * 3.0 ** (attempts - 1), BACK_OFF_SECONDS_MAX)
    return longest * (0.5 + jitter / 2)
