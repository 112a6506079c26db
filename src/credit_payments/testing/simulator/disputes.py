"""``/v1/disputes``, and what a bank does to a payment.

Source: https://docs.stripe.com/api/disputes

A dispute moves along two lines: its status, and its money (withdrawn, reinstated). Tests drive
each step on its own, so every order that Stripe can report can be played.
"""

from __future__ import annotations

from typing import Literal

from . import balance
from ._types import Json
from .account import Account
from .changes import changed, merge_metadata
from .early_fraud_warnings import settle_warnings
from .endpoint import Call, Endpoint, Routes
from .listing import list_page, matches
from .params import LIST, Schema, anything, boolean, clearable, metadata, string, time_range
from .problems import Problem

__all__ = [
    "ROUTES",
    "close_dispute",
    "open_dispute",
    "reinstate_funds",
    "withdraw_funds",
]

_EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy",
    "cancellation_policy_disclosure", "cancellation_rebuttal", "customer_communication",
    "customer_email_address", "customer_name", "customer_purchase_ip", "customer_signature",
    "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id",
    "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address",
    "shipping_carrier", "shipping_date", "shipping_documentation", "shipping_tracking_number",
    "uncategorized_file", "uncategorized_text",
)  # fmt: skip
_NETWORK_CODES = {"fraudulent": "10.4", "product_not_received": "13.1", "duplicate": "12.6.1"}
_EVIDENCE_SECONDS = 9 * 24 * 3600
_OPEN = {"needs_response", "under_review", "warning_needs_response", "warning_under_review"}

Outcome = Literal["won", "lost", "warning_closed"]


def open_dispute(
    account: Account,
    payment_intent_id: str,
    *,
    reason: str = "fraudulent",
    amount: int | None = None,
    withdraw: bool = True,
    inquiry: bool = False,
) -> Json:
    """Dispute a successful payment; an inquiry never moves money by itself.

    Raises:
        ValueError: if the payment has not succeeded, or the amount exceeds what was captured.
    """
    intent = account.payment_intents.get(payment_intent_id, "intent")
    charge = account.charges.rows.get(intent["latest_charge"] or "")
    if charge is None or not charge["captured"]:
        raise ValueError(f"{payment_intent_id} has no captured charge to dispute")
    disputed = charge["amount_captured"] if amount is None else amount
    if not 0 < disputed <= charge["amount_captured"]:
        raise ValueError(f"{disputed} is not within the captured {charge['amount_captured']}")
    dispute = account.disputes.add(_new_dispute(account, charge, disputed, reason, inquiry=inquiry))
    charge["disputed"] = True
    account.emit("charge.dispute.created", dispute)
    settle_warnings(account, charge)
    if withdraw and not inquiry:
        withdraw_funds(account, dispute["id"])
    return dispute


def withdraw_funds(account: Account, dispute_id: str) -> Json:
    """Take the disputed amount and the fee from the balance.

    Raises:
        ValueError: if the money is withdrawn already.
    """
    dispute = account.disputes.get(dispute_id)
    if _withdrawn(dispute) > 0:
        raise ValueError(f"the funds of {dispute_id} are withdrawn already")
    _move(account, dispute, "dispute")
    account.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def reinstate_funds(account: Account, dispute_id: str) -> Json:
    """Give the disputed amount back (the fee is not).

    Raises:
        ValueError: if no money is withdrawn.
    """
    dispute = account.disputes.get(dispute_id)
    if _withdrawn(dispute) == 0:
        raise ValueError(f"no funds of {dispute_id} are withdrawn")
    _move(account, dispute, "dispute_reversal")
    account.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


def close_dispute(
    account: Account, dispute_id: str, outcome: Outcome, *, reinstate: bool = True
) -> Json:
    """Decide a dispute; one that was won gives back what was withdrawn.

    Raises:
        ValueError: if it is decided already.
    """
    dispute = account.disputes.get(dispute_id)
    if dispute["status"] not in _OPEN:
        raise ValueError(f"{dispute_id} is already {dispute['status']}")
    previous = {"status": dispute["status"]}
    dispute["status"] = outcome
    if outcome != "lost" and reinstate and _withdrawn(dispute) > 0:
        reinstate_funds(account, dispute_id)
    account.emit("charge.dispute.closed", dispute, previous)
    return dispute


def retrieve(account: Account, call: Call) -> Json:
    """Return a dispute."""
    return account.disputes.get(call.id)


def update(account: Account, call: Call) -> Json:
    """Add evidence or metadata; submitting puts the dispute under review."""
    dispute = account.disputes.get(call.id)
    evidence: Json = call.params.get("evidence") or {}
    if evidence and dispute["status"] not in _OPEN:
        raise Problem("This dispute is already closed.")

    def change(row: Json) -> None:
        if "metadata" in call.params:
            row["metadata"] = merge_metadata(row["metadata"], call.params["metadata"])
        row["evidence"] = {**row["evidence"], **evidence}
        details = row["evidence_details"]
        details["has_evidence"] = details["has_evidence"] or bool(evidence)
        # Stripe submits by default: https://docs.stripe.com/api/disputes/update
        if evidence and call.params.get("submit", True):
            details["submission_count"] += 1
            details["submission_method"] = "manual"
            row["status"] = row["status"].replace("needs_response", "under_review")

    previous = changed(dispute, change)
    if previous:
        account.emit("charge.dispute.updated", dispute, previous)
    return dispute


def close(account: Account, call: Call) -> Json:
    """Accept a dispute, which loses it."""
    dispute = account.disputes.get(call.id)
    if dispute["status"] not in _OPEN:
        raise Problem("This dispute is already closed.")
    return close_dispute(account, call.id, "lost")


def list_all(account: Account, call: Call) -> Json:
    """List disputes, newest first."""
    return list_page(
        account.disputes,
        call.params,
        url="/v1/disputes",
        where=matches(call.params, "charge", "payment_intent"),
    )


def _move(account: Account, dispute: Json, kind: Literal["dispute", "dispute_reversal"]) -> None:
    sign = -1 if kind == "dispute" else 1
    booked = balance.record(account, kind, dispute, sign * dispute["amount"])
    dispute["balance_transactions"].append(booked)
    dispute["is_charge_refundable"] = kind == "dispute_reversal"


def _withdrawn(dispute: Json) -> int:
    moved: int = sum(row["amount"] for row in dispute["balance_transactions"])
    return -moved


def _new_dispute(
    account: Account, charge: Json, amount: int, reason: str, *, inquiry: bool
) -> Json:
    card = charge["payment_method_details"].get("card", {})
    code = _NETWORK_CODES.get(reason, "10.4")
    return {
        "id": account.ids.new("dp"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": account.now(),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": account.now() + _EVIDENCE_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": card.get("brand", "visa"),
                "case_type": "inquiry" if inquiry else "chargeback",
                "network": card.get("network", "visa"),
                "network_reason_code": code,
            },
            "type": "card",
        },
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }


ROUTES: Routes = {
    "GET /v1/disputes": Endpoint(
        list_all, Schema(charge=string(), payment_intent=string(), created=time_range(), **LIST)
    ),
    "GET /v1/disputes/*": Endpoint(retrieve),
    "POST /v1/disputes/*": Endpoint(
        update,
        Schema(evidence=clearable(anything()), metadata=metadata(), submit=boolean()),
    ),
    "POST /v1/disputes/*/close": Endpoint(close),
}
