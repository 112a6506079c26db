"""``/v1/charges``: the attempts to move money.

Source: https://docs.stripe.com/api/charges
"""

from __future__ import annotations

from ._types import Json
from .account import Account
from .cards import Decline
from .changes import changed, merge_metadata
from .endpoint import Call, Endpoint, Routes
from .ids import digest_token
from .instruments import charge_details
from .listing import list_page, matches
from .params import LIST, Schema, clearable, metadata, string, time_range
from .shapes import SHIPPING

__all__ = ["ROUTES", "new_charge"]

_INHERITED = (
    "amount", "currency", "customer", "description", "metadata", "on_behalf_of", "receipt_email",
    "shipping", "statement_descriptor", "statement_descriptor_suffix", "transfer_group",
)  # fmt: skip


def new_charge(
    account: Account, intent: Json, payment_method: Json, *, authenticated: bool
) -> Json:
    """Return a new charge for an intent, neither succeeded nor failed yet."""
    charge_id = account.ids.new("ch" if payment_method["type"] == "card" else "py")
    charge: Json = {name: intent[name] for name in _INHERITED}
    charge.update(
        id=charge_id,
        object="charge",
        amount_captured=0,
        amount_refunded=0,
        application=None,
        application_fee=None,
        application_fee_amount=None,
        balance_transaction=None,
        billing_details=payment_method["billing_details"],
        calculated_statement_descriptor="SIMULATOR",
        captured=False,
        created=account.now(),
        disputed=False,
        failure_balance_transaction=None,
        failure_code=None,
        failure_message=None,
        fraud_details={},
        livemode=False,
        metadata=dict(intent["metadata"]),
        outcome=outcome(None),
        paid=False,
        payment_intent=intent["id"],
        payment_method=payment_method["id"],
        payment_method_details=charge_details(
            payment_method, intent["amount"], authenticated=authenticated
        ),
        receipt_number=None,
        receipt_url=f"https://pay.stripe.com/receipts/{digest_token(charge_id, 40)}",
        refunded=False,
        review=None,
        source=None,
        source_transfer=None,
        status="pending",
        transfer_data=None,
    )
    return account.charges.add(charge)


def outcome(decline: Decline | None) -> Json:
    """Return a charge's ``outcome``."""
    if decline is None:
        kind, status, reason = "authorized", "approved_by_network", None
        message = "Payment complete."
    elif decline.blocked:
        kind, status, reason = "blocked", "not_sent_to_network", "highest_risk_level"
        message = "Stripe blocked this payment as too risky."
    else:
        kind, status, reason = "issuer_declined", "declined_by_network", decline.decline_code
        message = "The bank declined the payment."
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": status,
        "reason": reason,
        "risk_level": "highest" if decline is not None and decline.blocked else "normal",
        "risk_score": 90 if decline is not None and decline.blocked else 20,
        "seller_message": message,
        "type": kind,
    }


def retrieve(account: Account, call: Call) -> Json:
    """Return a charge."""
    return account.charges.get(call.id)


def update(account: Account, call: Call) -> Json:
    """Change what describes a charge."""
    charge = account.charges.get(call.id)

    def change(row: Json) -> None:
        for name, value in call.params.items():
            if name == "metadata":
                row[name] = merge_metadata(row[name], value)
            elif name != "expand":
                row[name] = value

    previous = changed(charge, change)
    if previous:
        account.emit("charge.updated", charge, previous)
    return charge


def list_all(account: Account, call: Call) -> Json:
    """List charges, newest first."""
    return list_page(
        account.charges,
        call.params,
        url="/v1/charges",
        where=matches(call.params, "customer", "payment_intent", "transfer_group"),
    )


_TEXT = clearable(string())

ROUTES: Routes = {
    "GET /v1/charges": Endpoint(
        list_all,
        Schema(
            customer=string(),
            payment_intent=string(),
            transfer_group=string(),
            created=time_range(),
            **LIST,
        ),
    ),
    "GET /v1/charges/*": Endpoint(retrieve),
    "POST /v1/charges/*": Endpoint(
        update,
        Schema(description=_TEXT, receipt_email=_TEXT, metadata=metadata(), shipping=SHIPPING),
    ),
}
