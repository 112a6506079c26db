"""From a recorded event to the bytes that one receiver gets: its version, its references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ._types import Json
from .account import Account
from .expansion import expanded
from .versions import shown

__all__ = ["encoded", "payload", "with_objects"]

_REFERENCES: Mapping[str, tuple[str, ...]] = {
    "charge": ("balance_transaction", "customer", "payment_intent"),
    "dispute": ("charge", "payment_intent"),
    "payment_intent": ("customer", "latest_charge", "payment_method"),
    "radar.early_fraud_warning": ("charge", "payment_intent"),
    "refund": ("balance_transaction", "charge", "payment_intent"),
}
"""What is expanded in an expanded delivery, by the object of its event."""


def payload(account: Account, event: Json, version: str, *, expand: bool = False) -> bytes:
    """Return an event's body for a receiver of that version.

    Args:
        account: where the objects of expanded references are looked up, as they are now.
        event: a recorded event in the current shape.
        version: the receiver's API version.
        expand: whether references come as objects instead of ids.
    """
    if expand:
        subject: Any = event["data"]["object"]
        if isinstance(subject, msgspec.Raw):
            subject = msgspec.json.decode(subject)
        names = [n for n in _REFERENCES.get(subject.get("object"), ()) if n in subject]
        event = with_objects(account, event, subject, names)
    return encoded(shown(event, version))


def with_objects(account: Account, event: Json, subject: Json, paths: Iterable[str]) -> Json:
    """Return an event about ``subject`` in which the named references are objects.

    Raises:
        Problem: if a path names nothing that can be expanded.
    """
    whole = expanded(account, subject, list(paths))
    return {**event, "data": {**event["data"], "object": whole}}


def encoded(event: Json) -> bytes:
    """Return an event as Stripe writes it: indented by two."""
    return msgspec.json.format(msgspec.json.encode(event), indent=2)
