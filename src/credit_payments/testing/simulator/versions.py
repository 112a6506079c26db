"""Events in the shape of an older API version: what was not told then, and what looked otherwise.

The simulator keeps every object in the current shape, and an event gets the shape of its receiver's
version when it is shown. Only what differs between 2023-10-16 and today is here:

- ``refund.created``, ``refund.updated`` and ``refund.failed`` tell of refunds of charges since
  2024-10-28.acacia; before, ``charge.refunded`` and ``charge.refund.updated`` alone did.
  https://docs.stripe.com/changelog/acacia/2024-10-28/refund-webhook-update
- Payment intents and charges lost ``invoice`` with 2025-03-31.basil.
  https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices
- What Stripe added since the named releases began is left out of events that are older than them.
  Stripe may show such additions to old versions as well, so nobody can rely on either.
  https://docs.stripe.com/upgrades#what-changes-does-stripe-consider-to-be-backward-compatible
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ._types import Json

__all__ = ["existed", "is_older", "reshaped", "shown"]

_NAMED_RELEASES_SINCE = "2024-09-30"
_REFUNDS_OF_CHARGES_SINCE = "2024-10-28"
_WITHOUT_INVOICE_SINCE = "2025-03-31"
_SHAPE_SINCE = "2026-10-28"

_REFUND_EVENTS = {"refund.created", "refund.updated", "refund.failed"}
_HAD_INVOICE = {"payment_intent", "charge"}

# Fields by the object that they were added to; a dot leads into a hash.
_ADDED: Mapping[str, tuple[str, ...]] = {
    "balance_transaction": ("balance_type",),
    "charge": (
        "billing_details.tax_id",
        "outcome.advice_code",
        "outcome.network_advice_code",
        "outcome.network_decline_code",
        "payment_method_details.card.authorization_code",
        "payment_method_details.card.network_transaction_id",
        "payment_method_details.card.regulated_status",
        "payment_method_details.card.transaction_link_id",
    ),
    "customer": ("customer_account",),
    "dispute": (
        "enhanced_eligibility_types",
        "evidence.enhanced_evidence",
        "evidence_details.enhanced_eligibility",
        "evidence_details.submission_method",
    ),
    "payment_intent": (
        "customer_account",
        "excluded_payment_method_types",
        "managed_payments",
    ),
    "payment_method": ("billing_details.tax_id", "card.regulated_status", "customer_account"),
    "refund": ("customer", "customer_account", "payment_method"),
}


def is_older(version: str, date: str) -> bool:
    """Tell whether an API version such as ``2024-10-28.acacia`` is from before a date."""
    return version[: len(date)] < date


def existed(event: Json, version: str) -> bool:
    """Tell whether receivers of that version are sent such an event at all."""
    if event["type"] not in _REFUND_EVENTS or not is_older(version, _REFUNDS_OF_CHARGES_SINCE):
        return True
    subject = _decoded(event["data"]["object"])
    return not isinstance(subject, dict) or subject.get("charge") is None


def shown(event: Json, version: str) -> Json:
    """Return an event as receivers of that version see it; the event itself stays as it is."""
    seen = {**event, "api_version": version}
    if is_older(version, _SHAPE_SINCE):
        data = event["data"]
        subject = _decoded(data["object"])
        seen["data"] = {**data, "object": reshaped(subject, version)}
        previous = data.get("previous_attributes")
        if previous is not None:
            kind = subject.get("object") if isinstance(subject, dict) else None
            seen["data"]["previous_attributes"] = _without_additions(kind, previous, version)
    return seen


def reshaped(subject: Any, version: str) -> Any:
    """Return an object, and all objects inside it, in the shape of an older version."""
    if isinstance(subject, list):
        return [reshaped(item, version) for item in subject]
    if not isinstance(subject, dict):
        return subject
    old = {name: reshaped(value, version) for name, value in subject.items()}
    kind = old.get("object")
    old = _without_additions(kind, old, version)
    if kind in _HAD_INVOICE and is_older(version, _WITHOUT_INVOICE_SINCE):
        old.setdefault("invoice", None)
    return old


def _without_additions(kind: Any, subject: Json, version: str) -> Json:
    removed: tuple[str, ...] = ()
    if kind == "payment_intent" and is_older(version, _SHAPE_SINCE):
        removed = ("allowed_payment_method_types",)
    if is_older(version, _NAMED_RELEASES_SINCE):
        removed += _ADDED.get(kind, ())
    for path in removed:
        subject = _without(subject, path.split("."))
    return subject


def _without(node: Json, path: list[str]) -> Json:
    name, rest = path[0], path[1:]
    if name not in node:
        return node
    if not rest:
        return {key: value for key, value in node.items() if key != name}
    inner = node[name]
    return {**node, name: _without(inner, rest)} if isinstance(inner, dict) else node


def _decoded(subject: Any) -> Any:
    return msgspec.json.decode(subject) if isinstance(subject, msgspec.Raw) else subject
