"""``/v1/payment_methods``.

Source: https://docs.stripe.com/api/payment_methods
"""

from __future__ import annotations

from ._types import Json
from .account import Account
from .cards import BY_NAME, BY_NUMBER, DECLINES, TestCard
from .changes import changed, merge_metadata
from .endpoint import Call, Endpoint, Routes
from .instruments import BANK_ACCOUNTS, bank_hash, card_hash, check_card
from .listing import list_page, matches
from .params import (
    LIST,
    Reader,
    Schema,
    anything,
    hash_of,
    integer,
    metadata,
    one_of,
    string,
)
from .problems import BadParameter, CardProblem, Problem, resource_missing
from .shapes import BILLING_DETAILS, billing_details

__all__ = ["DATA", "ROUTES", "attach", "check_usable", "from_data", "resolve"]

TYPES = ("card", "us_bank_account")
ATTACHED_MAX = 100

_REDISPLAY = one_of("always", "limited", "unspecified")
_CARD = hash_of(
    number=string(),
    exp_month=integer(),
    exp_year=integer(),
    cvc=string(),
    token=string(),
    networks=anything(),
)
_BANK = hash_of(
    account_number=string(),
    routing_number=string(),
    account_holder_type=one_of("individual", "company"),
    account_type=one_of("checking", "savings"),
)
_FIELDS: dict[str, Reader] = {
    "allow_redisplay": _REDISPLAY,
    "billing_details": BILLING_DETAILS,
    "card": _CARD,
    "metadata": metadata(),
    "type": one_of(*TYPES),
    "us_bank_account": _BANK,
}
DATA = hash_of("type", radar_options=anything(), **_FIELDS)
"""Reader of ``payment_method_data`` inside a payment intent's parameters."""


def create(account: Account, call: Call) -> Json:
    """Create a payment method from card or bank data."""
    return from_data(account, call.params)


def retrieve(account: Account, call: Call) -> Json:
    """Return a payment method."""
    return account.payment_methods.get(call.id)


def retrieve_of_customer(account: Account, call: Call) -> Json:
    """Return a payment method if it is attached to that customer."""
    customer_id, payment_method_id = call.ids
    account.customers.get(customer_id)
    payment_method = account.payment_methods.get(payment_method_id)
    if payment_method["customer"] != customer_id:
        raise resource_missing("PaymentMethod", payment_method_id, "id")
    return payment_method


def update(account: Account, call: Call) -> Json:
    """Change billing details, expiry or metadata of an attached payment method."""
    payment_method = account.payment_methods.get(call.id)
    if payment_method["customer"] is None:
        raise Problem("You must save this PaymentMethod to a customer before you can update it.")
    previous = changed(payment_method, lambda row: _apply(row, call.params))
    if previous:
        account.emit("payment_method.updated", payment_method, previous)
    return payment_method


def attach_call(account: Account, call: Call) -> Json:
    """Attach a payment method to a customer."""
    customer_id = call.params["customer"]
    customer = account.customers.get(customer_id, "customer")
    if customer.get("deleted"):
        raise resource_missing("customer", customer_id, "customer")
    payment_method = resolve(account, call.id, param="id")
    attach(account, payment_method, customer_id)
    account.emit("payment_method.attached", payment_method)
    return payment_method


def detach(account: Account, call: Call) -> Json:
    """Detach a payment method for good: Stripe never lets it be used again."""
    payment_method = account.payment_methods.get(call.id)
    customer_id = payment_method["customer"]
    if customer_id is None:
        raise Problem(
            "The payment method you provided is not attached to a customer.",
            param="payment_method",
        )
    payment_method["customer"] = None
    account.spent_payment_methods.add(payment_method["id"])
    account.emit("payment_method.detached", payment_method, {"customer": customer_id})
    return payment_method


def list_all(account: Account, call: Call) -> Json:
    """List the payment methods of the customer that the parameters name."""
    customer_id = call.params.get("customer")
    if customer_id is not None:
        account.customers.get(customer_id, "customer")
    same = matches(call.params, "type", "allow_redisplay")
    return list_page(
        account.payment_methods,
        call.params,
        url="/v1/payment_methods",
        # Without a customer Stripe lists Treasury methods only, which nobody has here.
        where=lambda row: customer_id is not None and row["customer"] == customer_id and same(row),
    )


def list_of_customer(account: Account, call: Call) -> Json:
    """List the payment methods of the customer in the path."""
    account.customers.get(call.id)
    same = matches(call.params, "type", "allow_redisplay")
    return list_page(
        account.payment_methods,
        call.params,
        url=f"/v1/customers/{call.id}/payment_methods",
        where=lambda row: row["customer"] == call.id and same(row),
    )


def resolve(account: Account, reference: str, param: str = "payment_method") -> Json:
    """Return a payment method by id, or a new one for a test name such as ``pm_card_visa``."""
    if reference in BY_NAME:
        year = _next_year(account)
        return _new_card(account, BY_NAME[reference], {"exp_month": 12, "exp_year": year})
    if reference in BANK_ACCOUNTS:
        return _new(account, "us_bank_account", bank_hash({}), BANK_ACCOUNTS[reference])
    return account.payment_methods.get(reference, param)


def from_data(account: Account, data: Json, prefix: str = "") -> Json:
    """Return a new payment method made from request parameters."""
    kind = data.get("type")
    if kind is None or kind not in data:
        missing = "type" if kind is None else kind
        param = f"{prefix}[{missing}]" if prefix else missing
        raise BadParameter(
            f"Missing required param: {param}.", code="parameter_missing", param=param
        )
    if kind == "card":
        payment_method = _from_card(account, data["card"])
    else:
        payment_method = _new(account, kind, bank_hash(data[kind]), BANK_ACCOUNTS["default"])
    _apply(payment_method, {key: value for key, value in data.items() if key in _DESCRIPTIVE})
    return payment_method


_DESCRIPTIVE = ("billing_details", "metadata", "allow_redisplay")


def attach(account: Account, payment_method: Json, customer_id: str) -> None:
    """Attach a payment method.

    Raises:
        CardProblem: if it is a test card that declines when it is attached.
        Problem: if it belongs to another customer or may not be used again.
    """
    card: TestCard = account.test_cards[payment_method["id"]]
    if payment_method["customer"] not in (None, customer_id):
        raise Problem(
            "The payment method you provided has already been attached to a customer.",
            param="payment_method",
        )
    check_usable(account, payment_method)
    if card.decline is not None and card.attach_fails:
        decline = DECLINES[card.decline]
        raise CardProblem(decline.message, code=decline.code, decline_code=decline.decline_code)
    if sum(row["customer"] == customer_id for row in account.payment_methods.rows.values()) >= (
        ATTACHED_MAX
    ):
        raise Problem("The customer has too many payment methods.", param="customer")
    payment_method["customer"] = customer_id


def check_usable(account: Account, payment_method: Json) -> None:
    """Refuse a payment method that was detached, or used once without a customer.

    Raises:
        Problem: with Stripe's ``payment_method`` parameter.
    """
    if payment_method["customer"] is None and payment_method["id"] in account.spent_payment_methods:
        raise Problem(
            "This PaymentMethod was used before without being attached to a Customer, or was "
            "detached from one. It may not be used again.",
            param="payment_method",
        )


def _from_card(account: Account, data: Json) -> Json:
    if "token" in data:
        name = data["token"].replace("tok_", "pm_card_", 1)
        if name not in BY_NAME:
            raise resource_missing("token", data["token"], "card[token]")
        return resolve(account, name)
    check_card(data, account.now())
    number = data["number"]
    card = BY_NUMBER.get(number) or TestCard(number)
    return _new_card(account, card, data)


def _new_card(account: Account, card: TestCard, data: Json) -> Json:
    return _new(account, "card", card_hash(card, data), card)


def _new(account: Account, kind: str, details: Json, behaviour: TestCard) -> Json:
    payment_method: Json = {
        "id": account.ids.new("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(None),
        "created": account.now(),
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": kind,
        kind: details,
    }
    account.test_cards[payment_method["id"]] = behaviour
    return account.payment_methods.add(payment_method)


def _apply(payment_method: Json, params: Json) -> None:
    for name, value in params.items():
        match name:
            case "metadata":
                payment_method[name] = merge_metadata(payment_method[name], value)
            case "billing_details":
                payment_method[name] = billing_details(value, payment_method[name])
            case "card" | "us_bank_account":
                payment_method[name] = {**payment_method[name], **value}
            case "allow_redisplay":
                payment_method[name] = value


def _next_year(account: Account) -> int:
    return 1971 + account.now() // 31_556_952


_UPDATE = Schema(
    allow_redisplay=_REDISPLAY,
    billing_details=BILLING_DETAILS,
    card=hash_of(exp_month=integer(1, 12), exp_year=integer(2000, 9999)),
    metadata=metadata(),
)
_LIST = {"type": string(), "allow_redisplay": _REDISPLAY, **LIST}

ROUTES: Routes = {
    "POST /v1/payment_methods": Endpoint(
        create, Schema("type", radar_options=anything(), **_FIELDS), publishable=True
    ),
    "GET /v1/payment_methods": Endpoint(list_all, Schema(customer=string(), **_LIST)),
    "GET /v1/payment_methods/*": Endpoint(retrieve),
    "POST /v1/payment_methods/*": Endpoint(update, _UPDATE),
    "POST /v1/payment_methods/*/attach": Endpoint(
        attach_call, Schema("customer", customer=string())
    ),
    "POST /v1/payment_methods/*/detach": Endpoint(detach),
    "GET /v1/customers/*/payment_methods": Endpoint(list_of_customer, Schema(**_LIST)),
    "GET /v1/customers/*/payment_methods/*": Endpoint(retrieve_of_customer),
}
