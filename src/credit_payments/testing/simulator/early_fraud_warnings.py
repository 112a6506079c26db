"""``/v1/radar/early_fraud_warnings``: a card's issuer suspects fraud before any dispute.

Source: https://docs.stripe.com/api/radar/early_fraud_warnings/object
"""

from __future__ import annotations

from ._types import Json
from .account import Account
from .endpoint import Call, Endpoint, Routes
from .listing import list_page, matches
from .params import LIST, Schema, string, time_range

__all__ = ["ROUTES", "settle_warnings", "warn"]

FRAUD_TYPES = (
    "card_never_received", "fraudulent_card_application", "made_with_counterfeit_card",
    "made_with_lost_card", "made_with_stolen_card", "misc", "unauthorized_use_of_card",
)  # fmt: skip


def warn(account: Account, payment_intent_id: str, fraud_type: str) -> Json:
    """Warn of a payment that succeeded.

    Raises:
        ValueError: if it has not succeeded, or the fraud type is none of Stripe's.
    """
    if fraud_type not in FRAUD_TYPES:
        raise ValueError(f"{fraud_type!r} is none of {', '.join(FRAUD_TYPES)}")
    intent = account.payment_intents.get(payment_intent_id, "intent")
    charge = account.charges.rows.get(intent["latest_charge"] or "")
    if charge is None or charge["status"] != "succeeded":
        raise ValueError(f"{payment_intent_id} has no successful charge to warn of")
    warning = account.early_fraud_warnings.add(
        {
            "id": account.ids.new("issfr"),
            "object": "radar.early_fraud_warning",
            "actionable": _is_actionable(charge),
            "charge": charge["id"],
            "created": account.now(),
            "fraud_type": fraud_type,
            "livemode": False,
            "payment_intent": payment_intent_id,
        }
    )
    account.emit("radar.early_fraud_warning.created", warning)
    return warning


def settle_warnings(account: Account, charge: Json) -> None:
    """Tell that nothing can be done any more once the charge is disputed or wholly refunded."""
    for warning in account.early_fraud_warnings.of("charge", charge["id"]):
        if warning["actionable"] and not _is_actionable(charge):
            warning["actionable"] = False
            account.emit("radar.early_fraud_warning.updated", warning, {"actionable": True})


def retrieve(account: Account, call: Call) -> Json:
    """Return a warning."""
    return account.early_fraud_warnings.get(call.id)


def list_all(account: Account, call: Call) -> Json:
    """List warnings, newest first."""
    return list_page(
        account.early_fraud_warnings,
        call.params,
        url="/v1/radar/early_fraud_warnings",
        where=matches(call.params, "charge", "payment_intent"),
    )


def _is_actionable(charge: Json) -> bool:
    return not charge["disputed"] and not charge["refunded"]


ROUTES: Routes = {
    "GET /v1/radar/early_fraud_warnings": Endpoint(
        list_all, Schema(charge=string(), payment_intent=string(), created=time_range(), **LIST)
    ),
    "GET /v1/radar/early_fraud_warnings/*": Endpoint(retrieve),
}
