"""``/v1/customers``.

Source: https://docs.stripe.com/api/customers
"""

from __future__ import annotations

from ._types import Json
from .account import Account
from .changes import changed, merge_metadata
from .endpoint import Call, Endpoint, Routes
from .ids import digest_token
from .listing import list_page, matches
from .params import (
    LIST,
    Reader,
    Schema,
    anything,
    clearable,
    hash_of,
    integer,
    list_of,
    metadata,
    one_of,
    string,
    time_range,
)
from .payment_methods import attach, resolve
from .shapes import ADDRESS, SHIPPING, address

__all__ = ["ROUTES"]

_TEXT = clearable(string())
_FIELDS: dict[str, Reader] = {
    "address": ADDRESS,
    "balance": integer(-(10**9)),
    "description": _TEXT,
    "email": clearable(string(512)),
    "invoice_prefix": string(12),
    "invoice_settings": hash_of(
        custom_fields=anything(),
        default_payment_method=_TEXT,
        footer=_TEXT,
        rendering_options=anything(),
    ),
    "metadata": metadata(),
    "name": clearable(string(256)),
    "next_invoice_sequence": integer(1),
    "phone": clearable(string(20)),
    "preferred_locales": list_of(string()),
    "shipping": SHIPPING,
    "tax_exempt": clearable(one_of("none", "exempt", "reverse")),
}
_SETTINGS = ("custom_fields", "default_payment_method", "footer", "rendering_options")


def create(account: Account, call: Call) -> Json:
    """Create a customer, with a payment method attached if one is named."""
    payment_method = None
    if "payment_method" in call.params:
        payment_method = resolve(account, call.params["payment_method"])
    customer_id = account.ids.new("cus")
    customer: Json = {
        "id": customer_id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": account.now(),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": digest_token(customer_id, 8).upper(),
        "invoice_settings": dict.fromkeys(_SETTINGS),
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    _apply(customer, call.params)
    if payment_method is not None:
        attach(account, payment_method, customer_id)
    account.customers.add(customer)
    account.emit("customer.created", customer)
    if payment_method is not None:
        account.emit("payment_method.attached", payment_method)
    return customer


def retrieve(account: Account, call: Call) -> Json:
    """Return a customer; a deleted one answers as a stub."""
    return account.customers.get(call.id)


def update(account: Account, call: Call) -> Json:
    """Change a customer."""
    customer = living(account, call.id)
    previous = changed(customer, lambda row: _apply(row, call.params))
    if previous:
        account.emit("customer.updated", customer, previous)
    return customer


def delete(account: Account, call: Call) -> Json:
    """Delete a customer and detach its payment methods."""
    customer = living(account, call.id)
    account.emit("customer.deleted", customer)
    stub = {"id": customer["id"], "object": "customer", "deleted": True}
    account.customers.put(stub)
    for payment_method in account.payment_methods.rows.values():
        if payment_method["customer"] == customer["id"]:
            payment_method["customer"] = None
            account.spent_payment_methods.add(payment_method["id"])
    return stub


def list_all(account: Account, call: Call) -> Json:
    """List customers, newest first."""
    same = matches(call.params, "email")
    return list_page(
        account.customers,
        call.params,
        url="/v1/customers",
        where=lambda row: not row.get("deleted") and same(row),
    )


def living(account: Account, customer_id: str, param: str = "id") -> Json:
    """Return a customer that was not deleted.

    Raises:
        Problem: ``resource_missing``.
    """
    customer = account.customers.get(customer_id, param)
    if customer.get("deleted"):
        customer = account.customers.get("", param)
    return customer


def _apply(customer: Json, params: Json) -> None:
    for name, value in params.items():
        match name:
            case "metadata":
                customer["metadata"] = merge_metadata(customer["metadata"], value)
            case "address":
                customer["address"] = address(value) if value else None
            case "invoice_settings":
                customer["invoice_settings"] = {**customer["invoice_settings"], **value}
            case "expand" | "payment_method":
                pass
            case _:
                customer[name] = value


ROUTES: Routes = {
    "POST /v1/customers": Endpoint(create, Schema(payment_method=string(), **_FIELDS)),
    "GET /v1/customers": Endpoint(list_all, Schema(email=string(), created=time_range(), **LIST)),
    "GET /v1/customers/*": Endpoint(retrieve),
    "POST /v1/customers/*": Endpoint(update, Schema(**_FIELDS)),
    "DELETE /v1/customers/*": Endpoint(delete),
}
