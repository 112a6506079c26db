"""``/v1/balance_transactions``: what moved on the account's balance, and why.

Source: https://docs.stripe.com/api/balance_transactions
"""

from __future__ import annotations

from typing import Literal

from ._types import Json
from .account import Account
from .endpoint import Call, Endpoint, Routes
from .listing import list_page, matches
from .params import LIST, Schema, string, time_range

__all__ = ["ROUTES", "record"]

Kind = Literal["charge", "refund", "refund_failure", "dispute", "dispute_reversal"]

# Type and reporting category: https://docs.stripe.com/reports/reporting-categories
_TYPES: dict[Kind, tuple[str, str]] = {
    "charge": ("charge", "charge"),
    "refund": ("refund", "refund"),
    "refund_failure": ("refund_failure", "refund_failure"),
    "dispute": ("adjustment", "dispute"),
    "dispute_reversal": ("adjustment", "dispute_reversal"),
}
_FEE_DESCRIPTIONS = {"charge": "Stripe processing fees", "dispute": "Dispute fee"}
_DISPUTE_FEE_MINOR = 1_500
_FIXED_FEE_MINOR = 30
_FEE_PER_MILLE = 29
_SETTLES_AFTER_SECONDS = 2 * 24 * 3600


def record(account: Account, kind: Kind, source: Json, amount_minor: int) -> Json:
    """Book a movement of ``amount_minor`` (negative when money leaves) and return it."""
    transaction_type, category = _TYPES[kind]
    fee = _fee(kind, amount_minor)
    now = account.now()
    return account.balance_transactions.add(
        {
            "id": account.ids.new("txn"),
            "object": "balance_transaction",
            "amount": amount_minor,
            "available_on": now + _SETTLES_AFTER_SECONDS,
            "balance_type": "payments",
            "created": now,
            "currency": source["currency"],
            "description": source.get("description"),
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [
                {
                    "amount": fee,
                    "application": None,
                    "currency": source["currency"],
                    "description": _FEE_DESCRIPTIONS[kind],
                    "type": "stripe_fee",
                }
            ]
            if fee
            else [],
            "net": amount_minor - fee,
            "reporting_category": category,
            "source": source["id"],
            "status": "pending",
            "type": transaction_type,
        }
    )


def _fee(kind: Kind, amount_minor: int) -> int:
    if kind == "charge":
        return min(amount_minor, (amount_minor * _FEE_PER_MILLE + 500) // 1000 + _FIXED_FEE_MINOR)
    return _DISPUTE_FEE_MINOR if kind == "dispute" else 0


def retrieve(account: Account, call: Call) -> Json:
    """Return a balance transaction."""
    return _settled(account, account.balance_transactions.get(call.id))


def list_all(account: Account, call: Call) -> Json:
    """List balance transactions, newest first."""
    page = list_page(
        account.balance_transactions,
        call.params,
        url="/v1/balance_transactions",
        where=matches(call.params, "currency", "source", "type"),
    )
    page["data"] = [_settled(account, row) for row in page["data"]]
    return page


def balance(account: Account, _call: Call) -> Json:
    """Return the balance by currency, available and pending."""
    amounts: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for row in account.balance_transactions.rows.values():
        part = amounts[_settled(account, row)["status"]]
        part[row["currency"]] = part.get(row["currency"], 0) + row["net"]
    parts = {
        status: [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sorted(by_currency.items())
        ]
        for status, by_currency in amounts.items()
    }
    return {"object": "balance", "livemode": False, **parts}


def _settled(account: Account, row: Json) -> Json:
    """Show pending money as available once the clock has passed its date."""
    if row["status"] == "pending" and row["available_on"] <= account.now():
        row["status"] = "available"
    return row


ROUTES: Routes = {
    "GET /v1/balance": Endpoint(balance),
    "GET /v1/balance_transactions": Endpoint(
        list_all,
        Schema(currency=string(), source=string(), type=string(), created=time_range(), **LIST),
    ),
    "GET /v1/balance_transactions/*": Endpoint(retrieve),
}
