"""Reading a signed webhook body: bounded, strict, and no more of it than decides something."""

from __future__ import annotations

import re

import msgspec

from credit_payments.domain.stripe_facts import DisputeFacts, PaymentIntentFacts, RefundFacts
from credit_payments.errors import InvalidPayload

DEPTH_MAX = 64
"""Stripe's own objects nest about ten deep, some more where references are expanded."""

Facts = PaymentIntentFacts | RefundFacts | DisputeFacts

PAYMENT_FAILED = "payment_intent.payment_failed"

READ: dict[str, type[Facts]] = {
    "payment_intent.succeeded": PaymentIntentFacts,
    PAYMENT_FAILED: PaymentIntentFacts,
    "payment_intent.processing": PaymentIntentFacts,
    "payment_intent.requires_action": PaymentIntentFacts,
    "payment_intent.canceled": PaymentIntentFacts,
    "refund.created": RefundFacts,
    "refund.updated": RefundFacts,
    "refund.failed": RefundFacts,
    "charge.refund.updated": RefundFacts,
    "charge.dispute.created": DisputeFacts,
    "charge.dispute.updated": DisputeFacts,
    "charge.dispute.closed": DisputeFacts,
}
"""The event types that change something here, and what their object is; others are ignored."""


class _Data(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class Envelope(msgspec.Struct, frozen=True):
    """An event whose object is not read yet (https://docs.stripe.com/api/events/object)."""

    id: str
    type: str
    created: int
    data: _Data
    livemode: bool = False


_envelope = msgspec.json.Decoder(Envelope)
_objects = {kind: msgspec.json.Decoder(kind) for kind in set(READ.values())}
_EVENT_ID = re.compile(r"evt_[A-Za-z0-9_]{1,240}", re.ASCII)
_EVENT_TYPE = re.compile(r"[a-z0-9_.]{1,120}", re.ASCII)
# A text without an end takes all the rest, or each quote in it would be tried as a beginning.
_OPENERS_AND_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def read_envelope(body: bytes) -> Envelope:
    """The event in a body whose signature was checked.

    Raises:
        InvalidPayload: too deep, not JSON, or not an event.
    """
    _check_depth(body)
    try:
        if not body.isascii():
            body.decode()  # the decoder checks only the texts that it reads
        envelope = _envelope.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload("The webhook's body is not a Stripe event.") from error
    if not _EVENT_ID.fullmatch(envelope.id) or not _EVENT_TYPE.fullmatch(envelope.type):
        raise InvalidPayload("The webhook's event id or type is malformed.")
    return envelope


def read_facts(envelope: Envelope) -> Facts | None:
    """The object of an event of a type in `READ`; None for other types.

    Raises:
        InvalidPayload: the object is not what the type promises.
    """
    kind = READ.get(envelope.type)
    if kind is None:
        return None
    try:
        return _objects[kind].decode(envelope.data.object)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(f"The object of a {envelope.type} event is malformed.") from error


def _check_depth(body: bytes) -> None:
    """Refuse deep nesting before a parser meets it."""
    # Fewer brackets than the bound cannot nest deeper than it: most bodies end here, after two
    # passes at memory speed.
    if body.count(b"{") + body.count(b"[") <= DEPTH_MAX:
        return
    depth = 0
    for token in _OPENERS_AND_TEXTS.findall(body):
        if token in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise InvalidPayload("The webhook's body nests too deep.")
        elif token in b"]}":
            depth -= 1
