"""``/v1/refunds``, and what banks do to refunds later.

Source: https://docs.stripe.com/api/refunds
"""

from __future__ import annotations

from . import balance
from ._types import Json
from .account import Account
from .changes import changed, merge_metadata
from .early_fraud_warnings import settle_warnings
from .endpoint import Call, Endpoint, Routes
from .listing import list_page, matches
from .params import LIST, Schema, integer, metadata, one_of, string, time_range
from .problems import Problem

__all__ = ["ROUTES", "fail", "open_refund", "release", "settle"]


def create(account: Account, call: Call) -> Json:
    """Refund a charge or a payment intent, all that is left of it unless an amount is given."""
    params = call.params
    charge = _charge_of(account, params)
    left = charge["amount"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if left == 0:
        raise Problem(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    if _lost_to_dispute(account, charge):
        raise Problem(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
        )
    if amount > left:
        raise Problem(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).",
            param="amount",
        )
    refund = open_refund(
        account,
        charge,
        amount,
        reason=params.get("reason"),
        metadata=merge_metadata({}, params.get("metadata")),
    )
    _announce(account, refund, charge)
    answer = dict(refund)
    if account.test_cards[charge["payment_method"]].after == "refund_fails":
        # The caller sees it succeed; that it failed is told by events, as at Stripe.
        fail(account, refund["id"])
    return answer


def open_refund(
    account: Account,
    charge: Json,
    amount_minor: int,
    *,
    reason: str | None = None,
    metadata: Json | None = None,
) -> Json:
    """Record a refund of captured or merely authorised money, without emitting anything."""
    card = account.test_cards[charge["payment_method"]]
    kind = charge["payment_method_details"]["type"]
    refund: Json = {
        "id": account.ids.new("re"),
        "object": "refund",
        "amount": amount_minor,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": account.now(),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": _destination(kind),
        "metadata": metadata or {},
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if card.after == "refund_pending" else "succeeded",
        "transfer_reversal": None,
    }
    if charge["captured"]:
        booked = balance.record(account, "refund", refund, -amount_minor)
        refund["balance_transaction"] = booked["id"]
    charge["amount_refunded"] += amount_minor
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    return account.refunds.add(refund)


def release(account: Account, charge: Json, amount_minor: int) -> None:
    """Give back an authorisation (or the rest of one), which Stripe shows as a refund."""
    _announce(account, open_refund(account, charge, amount_minor), charge)


def settle(account: Account, refund_id: str) -> Json:
    """Let a pending refund arrive.

    Raises:
        ValueError: if the refund is not pending.
    """
    refund = account.refunds.get(refund_id)
    if refund["status"] != "pending":
        raise ValueError(f"refund {refund_id} is {refund['status']}, not pending")
    _update_status(account, refund, {"status": "succeeded"}, "refund.updated")
    return refund


def fail(account: Account, refund_id: str, reason: str = "unknown") -> Json:
    """Let the bank send a refund back: the money returns to the account.

    Raises:
        ValueError: if the refund has already failed or was canceled.
    """
    refund = account.refunds.get(refund_id)
    if refund["status"] not in {"pending", "succeeded"}:
        raise ValueError(f"refund {refund_id} is already {refund['status']}")
    change: Json = {"status": "failed", "failure_reason": reason}
    _undo(account, refund, change)
    _update_status(account, refund, change, "refund.failed", "refund.updated")
    return refund


def cancel(account: Account, call: Call) -> Json:
    """Cancel a refund that has not arrived yet."""
    refund = account.refunds.get(call.id)
    if refund["status"] not in {"pending", "requires_action"}:
        raise Problem(f"A refund with status {refund['status']} cannot be canceled.")
    change: Json = {"status": "canceled"}
    _undo(account, refund, change)
    _update_status(account, refund, change, "refund.updated")
    return refund


def retrieve(account: Account, call: Call) -> Json:
    """Return a refund."""
    return account.refunds.get(call.id)


def retrieve_of_charge(account: Account, call: Call) -> Json:
    """Return a refund by its charge's path."""
    account.charges.get(call.ids[0])
    return account.refunds.get(call.id)


def update(account: Account, call: Call) -> Json:
    """Change a refund's metadata."""
    refund = account.refunds.get(call.id)
    merged = merge_metadata(refund["metadata"], call.params.get("metadata", {}))
    _update_status(account, refund, {"metadata": merged}, "refund.updated")
    return refund


def list_all(account: Account, call: Call) -> Json:
    """List refunds, newest first."""
    return list_page(
        account.refunds,
        call.params,
        url="/v1/refunds",
        where=matches(call.params, "charge", "payment_intent"),
    )


def list_of_charge(account: Account, call: Call) -> Json:
    """List the refunds of the charge in the path."""
    account.charges.get(call.id)
    return list_page(
        account.refunds,
        {**call.params, "charge": call.id},
        url=f"/v1/charges/{call.id}/refunds",
        where=lambda row: bool(row["charge"] == call.id),
    )


def _charge_of(account: Account, params: Json) -> Json:
    if "charge" in params:
        charge = account.charges.get(params["charge"], "charge")
        if params.get("payment_intent", charge["payment_intent"]) != charge["payment_intent"]:
            raise Problem("The charge does not belong to the payment intent.", param="charge")
    elif "payment_intent" in params:
        intent = account.payment_intents.get(params["payment_intent"], "payment_intent")
        charge = account.charges.rows.get(intent["latest_charge"] or "", {})
    else:
        raise Problem(
            "One of the following params should be provided for this request: payment_intent or "
            "charge.",
            code="parameter_missing",
        )
    if charge.get("status") != "succeeded":
        raise Problem("There is no successful charge to refund.", param="payment_intent")
    return charge


def _lost_to_dispute(account: Account, charge: Json) -> bool:
    return charge["disputed"] and any(
        not row["is_charge_refundable"] for row in account.disputes.of("charge", charge["id"])
    )


def _announce(account: Account, refund: Json, charge: Json) -> None:
    account.emit("refund.created", refund)
    before = charge["amount_refunded"] - refund["amount"]
    previous = {"amount_refunded": before}
    if charge["refunded"]:
        previous["refunded"] = False
    account.emit("charge.refunded", charge, previous)
    settle_warnings(account, charge)


def _undo(account: Account, refund: Json, change: Json) -> None:
    charge = account.charges.get(refund["charge"])
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    if refund["balance_transaction"] is not None:
        booked = balance.record(account, "refund_failure", refund, refund["amount"])
        change["failure_balance_transaction"] = booked["id"]


def _update_status(account: Account, refund: Json, change: Json, *event_types: str) -> None:
    previous = changed(refund, lambda row: row.update(change))
    if not previous:
        return
    for event_type in (*event_types, "charge.refund.updated"):
        account.emit(event_type, refund, previous)


def _destination(kind: str) -> Json:
    if kind != "card":
        return {"type": "us_bank_transfer", "us_bank_transfer": {}}
    details = {"reference_status": "pending", "reference_type": "acquirer_reference_number"}
    return {"type": "card", "card": {**details, "type": "refund"}}


_CREATE = Schema(
    amount=integer(1),
    charge=string(),
    payment_intent=string(),
    reason=one_of("duplicate", "fraudulent", "requested_by_customer"),
    metadata=metadata(),
    instructions_email=string(),
)

ROUTES: Routes = {
    "POST /v1/refunds": Endpoint(create, _CREATE),
    "GET /v1/refunds": Endpoint(
        list_all, Schema(charge=string(), payment_intent=string(), created=time_range(), **LIST)
    ),
    "GET /v1/refunds/*": Endpoint(retrieve),
    "POST /v1/refunds/*": Endpoint(update, Schema(metadata=metadata())),
    "POST /v1/refunds/*/cancel": Endpoint(cancel),
    "GET /v1/charges/*/refunds": Endpoint(list_of_charge, Schema(**LIST)),
    "GET /v1/charges/*/refunds/*": Endpoint(retrieve_of_charge),
}
