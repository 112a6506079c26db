"""Reading a signed webhook body: bounded, strict, and no more of it than decides something."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from credit_payments.domain.stripe_facts import (
    ChargeFacts,
    CustomerFacts,
    DisputeFacts,
    FraudWarningFacts,
    PaymentIntentFacts,
    RefundFacts,
    Seconds,
    storable,
)
from credit_payments.errors import InvalidPayload

DEPTH_MAX = 64
"""Stripe's own objects nest about ten deep, some more where references are expanded."""

Facts = (
    PaymentIntentFacts
    | RefundFacts
    | DisputeFacts
    | ChargeFacts
    | FraudWarningFacts
    | CustomerFacts
)

PAYMENT_FAILED = "payment_intent.payment_failed"
CUSTOMER_DELETED = "customer.deleted"

READ: dict[str, type[Facts]] = {
    "payment_intent.succeeded": PaymentIntentFacts,
    PAYMENT_FAILED: PaymentIntentFacts,
    "payment_intent.processing": PaymentIntentFacts,
    "payment_intent.requires_action": PaymentIntentFacts,
    "payment_intent.canceled": PaymentIntentFacts,
    # Before 2024-10-28 the only event about a refund of a charge that was made elsewhere
    # (https://docs.stripe.com/changelog/acacia/2024-10-28/refund-webhook-update).
    "charge.refunded": ChargeFacts,
    "refund.created": RefundFacts,
    "refund.updated": RefundFacts,
    "refund.failed": RefundFacts,
    "charge.refund.updated": RefundFacts,
    "charge.dispute.created": DisputeFacts,
    "charge.dispute.updated": DisputeFacts,
    "charge.dispute.closed": DisputeFacts,
    "charge.dispute.funds_withdrawn": DisputeFacts,
    "charge.dispute.funds_reinstated": DisputeFacts,
    "radar.early_fraud_warning.created": FraudWarningFacts,
    "customer.updated": CustomerFacts,
    CUSTOMER_DELETED: CustomerFacts,
}
"""The event types that change something here, and what their object is; others are the host's."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event (https://docs.stripe.com/api/events/object), and its object where that is read.

    `account` is the connected account that it is of (https://docs.stripe.com/connect/webhooks).
    """

    id: str
    type: str
    created: Seconds
    livemode: bool
    facts: Facts | None
    account: str | None = None


class _KnownData(msgspec.Struct, frozen=True, gc=False):
    object: Facts


class _Known(msgspec.Struct, frozen=True, gc=False):
    """An event about one of the objects that are read here: decoded in one pass."""

    id: str
    type: str
    created: Seconds
    data: _KnownData
    livemode: bool = False
    account: str | None = None


class _OtherData(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class _Other(msgspec.Struct, frozen=True):
    """An event about anything, or about an object that does not say what it is."""

    id: str
    type: str
    created: Seconds
    data: _OtherData
    livemode: bool = False
    account: str | None = None


_known = msgspec.json.Decoder(_Known)
_other = msgspec.json.Decoder(_Other)
_whole = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()
_objects = {kind: msgspec.json.Decoder(kind) for kind in set(READ.values())}
_EVENT_ID = re.compile(r"evt_[A-Za-z0-9_]{1,240}", re.ASCII)
_EVENT_TYPE = re.compile(r"[a-z0-9_.]{1,120}", re.ASCII)
_ESCAPED_COLON = re.compile(rb"\\u003a", re.IGNORECASE)
# A text without an end takes all the rest, or each quote in it would be tried as a beginning.
_OPENERS_AND_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def read_event(body: bytes) -> Event:
    """The event in a body whose signature was checked.

    Read is only what decides something. Whether all the rest of the body has one meaning only,
    `check_names` looks at.

    Raises:
        InvalidPayload: too deep, not JSON, not an event, or not what its type promises.
    """
    _check_depth(body)
    event = _decode(body)
    if event is None:
        # Raised out here, because a UnicodeDecodeError carries the whole body, and with it personal
        # data, into every log of the error that it is the context of.
        raise InvalidPayload("The webhook's body is not a Stripe event.")
    if not _EVENT_ID.fullmatch(event.id) or not (
        event.type in READ or _EVENT_TYPE.fullmatch(event.type)
    ):
        raise InvalidPayload("The webhook's event id or type is malformed.")
    if event.facts is not None and b"\\" in body and b"\\u0000" in body:  # one byte is fast to find
        return msgspec.structs.replace(event, facts=storable(event.facts))
    return event


def check_names(body: bytes) -> None:
    """Refuse a body, of those that `read_event` has read, that can be read in two ways.

    Raises:
        InvalidPayload: somewhere in the body a name comes twice in an object (RFC 8259, section 4,
            leaves open what that means), or a number is beyond a float.
    """
    if not _is_unambiguous(body):
        raise InvalidPayload("The webhook's body can be read in two ways, or not at all.")


def read_data(body: bytes) -> dict[str, Any]:
    """All of the `data` in a body whose names were checked."""
    data: dict[str, Any] = _whole.decode(body)["data"]
    return data


def _is_unambiguous(body: bytes) -> bool:
    try:
        if b"\\" in body and _ESCAPED_COLON.search(body):  # one byte is fast to find
            json.loads(body, object_pairs_hook=_refuse_twice, parse_int=str, parse_float=str)
            _whole.decode(body)
            return True
        # Of a name that came twice one is gone now, and its colon with it. All other colons are
        # still there: that is several times faster than to look at each name.
        return _encoder.encode(_whole.decode(body)).count(b":") == body.count(b":")
    except (ValueError, RecursionError):  # DecodeError and UnicodeDecodeError are ValueErrors
        return False


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _decode(body: bytes) -> Event | None:
    try:
        if not body.isascii():
            body.decode()  # the decoder checks only the texts that it reads
        return _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read(body: bytes) -> Event:
    try:
        known = _known.decode(body)
    except msgspec.ValidationError:
        other = _other.decode(body)
        kind = READ.get(other.type)
        facts = None if kind is None else _objects[kind].decode(other.data.object)
        return Event(other.id, other.type, other.created, other.livemode, facts, other.account)
    kind = READ.get(known.type)
    if kind is not None and not isinstance(known.data.object, kind):
        raise msgspec.ValidationError(f"a {known.type} event about another kind of object")
    facts = None if kind is None else known.data.object
    return Event(known.id, known.type, known.created, known.livemode, facts, known.account)


def _check_depth(body: bytes) -> None:
    """Refuse deep nesting before a parser meets it."""
    # Fewer brackets than the bound cannot nest deeper than it: most bodies end here. Taking them
    # out and comparing the lengths is the fastest way to count a rare byte.
    without_openers = len(body.replace(b"{", b"")) + len(body.replace(b"[", b""))
    if 2 * len(body) - without_openers <= DEPTH_MAX:
        return
    depth = 0
    for token in _OPENERS_AND_TEXTS.findall(body):
        if token in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise InvalidPayload("The webhook's body nests too deep.")
        elif token in b"]}":
            depth -= 1


def from_object(data: Mapping[str, Any]) -> Event:
    """The event in plain JSON data, as the API tells it, by the rules of `read_event`.

    By way of its bytes, so that there is one set of rules and whoever tells of an event, a webhook
    or a list, makes the same one.

    Raises:
        InvalidPayload: as `read_event`, and where the data is not JSON's.

    >>> data = {"object": {"id": "cus_1", "object": "customer"}}
    >>> from_object({"id": "evt_1", "type": "customer.created", "created": 1, "data": data}).type
    'customer.created'
    """
    try:
        body = msgspec.json.encode(data)
    except (ArithmeticError, RecursionError, TypeError, ValueError):
        # Refused below as no event, outside of this handler: a UnicodeEncodeError carries a text.
        body = b""
    return read_event(body)
