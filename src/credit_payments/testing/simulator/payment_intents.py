"""``/v1/payment_intents``.

Source: https://docs.stripe.com/api/payment_intents
"""

from __future__ import annotations

from . import intent_params as accepted
from . import payments
from ._types import Json
from .account import Account
from .cards import DECLINES, TestCard
from .changes import merge_metadata
from .currencies import check_amount, check_currency
from .endpoint import Call, Endpoint, Routes
from .listing import list_page, matches
from .payment_methods import check_usable, from_data, resolve
from .problems import BadParameter, Problem, resource_missing, unexpected_state

__all__ = ["ROUTES", "confirm_intent"]

_ASYNC_CAPTURE_SINCE = "2024-04-10"
_AUTOMATIC_METHODS_SINCE = "2023-08-16"
_CONFIRMABLE = {"requires_payment_method", "requires_confirmation", "requires_action"}
_UPDATABLE = {"requires_payment_method", "requires_confirmation", "requires_action"}
_CANCELABLE = {*_CONFIRMABLE, "requires_capture", "processing"}

# What Stripe.js may see: https://docs.stripe.com/api/payment_intents/object (publishable fields)
_PUBLISHABLE = (
    "id", "object", "amount", "amount_details", "automatic_payment_methods", "canceled_at",
    "cancellation_reason", "capture_method", "client_secret", "confirmation_method", "created",
    "currency", "description", "last_payment_error", "livemode", "next_action", "payment_method",
    "payment_method_configuration_details", "payment_method_types", "processing", "receipt_email",
    "setup_future_usage", "shipping", "source", "status",
)  # fmt: skip


def create(account: Account, call: Call) -> Json:
    """Create a payment intent, and confirm it at once if asked to."""
    params = call.params
    currency = check_currency(params["currency"])
    check_amount(params["amount"], currency)
    if not params.get("confirm"):
        for name in ("return_url", "off_session", "error_on_requires_action", "mandate_data"):
            if name in params:
                raise BadParameter(f"'{name}' needs 'confirm' to be true.", param=name)
    automatic, method_types = _payment_method_types(account, params)
    intent_id = account.ids.new("pi")
    intent: Json = {
        "id": intent_id,
        "object": "payment_intent",
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": automatic,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": _default_capture(account),
        "client_secret": f"{intent_id}_secret_{account.ids.token('client_secret', 25)}",
        "confirmation_method": params.get("confirmation_method", "automatic"),
        "created": account.now(),
        "currency": currency,
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "managed_payments": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": _options(method_types),
        "payment_method_types": method_types,
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
    if "allowed_payment_method_types" in params:
        intent["allowed_payment_method_types"] = params["allowed_payment_method_types"]
    _apply(account, intent, params)
    if params.get("confirm"):
        # A call that cannot be confirmed must not leave an intent behind.
        _check_method_given(intent, call)
        _check_return_url(intent, call)
        _check_method_fits(account, intent)
    account.payment_intents.add(intent)
    account.emit("payment_intent.created", intent)
    return confirm_intent(account, intent, call) if params.get("confirm") else intent


def retrieve(account: Account, call: Call) -> Json:
    """Return an intent; a publishable key needs its client secret and sees less."""
    return _view(_intent(account, call), call)


def update(account: Account, call: Call) -> Json:
    """Change an intent that was not paid yet."""
    intent = _intent(account, call)
    params = call.params
    if intent["status"] not in _UPDATABLE and set(params) - accepted.ALWAYS_UPDATABLE:
        raise unexpected_state(
            f"This PaymentIntent's status is {intent['status']}, so it can no longer be updated "
            "that way.",
            payment_intent=intent,
        )
    currency = check_currency(str(params.get("currency", intent["currency"])))
    amount = int(params["amount"] if "amount" in params else intent["amount"])
    check_amount(amount, currency)
    _apply(account, intent, params)
    intent["amount"] = amount
    intent["currency"] = currency
    return intent


def confirm(account: Account, call: Call) -> Json:
    """Confirm an intent: attempt the payment, or ask for authentication."""
    intent = _intent(account, call)
    if intent["status"] not in _CONFIRMABLE:
        raise unexpected_state(
            f"You cannot confirm this PaymentIntent because its status is {intent['status']}.",
            payment_intent=intent,
        )
    # Everything that does not need the new values is checked before any is written.
    _check_method_given(intent, call)
    _check_return_url(intent, call)
    _apply(account, intent, call.params)
    _check_method_fits(account, intent)
    return _view(confirm_intent(account, intent, call), call)


def confirm_intent(account: Account, intent: Json, call: Call) -> Json:
    """Attempt the payment with what the intent now holds.

    Raises:
        CardProblem: if the bank says no; the intent has moved back by then.
    """
    payment_method = account.payment_methods.get(intent["payment_method"])
    card: TestCard = account.test_cards[payment_method["id"]]
    off_session = call.params.get("off_session") not in (None, False, "false")
    asks = card.authentication == "always" or (
        card.authentication == "on_session" and not off_session
    )
    if not asks:
        decline = payments.attempt(account, intent)
    elif off_session or call.params.get("error_on_requires_action"):
        decline = DECLINES["authentication_required"]
        payments.refuse(account, intent, decline)
    else:
        payments.require_action(
            account, intent, origin=call.origin, return_url=call.params.get("return_url")
        )
        return intent
    if decline is not None:
        raise payments.decline_problem(account, intent, decline, shown=_view(intent, call))
    return intent


def capture(account: Account, call: Call) -> Json:
    """Capture what was authorised, all of it unless an amount is given."""
    intent = _intent(account, call)
    if intent["status"] != "requires_capture":
        raise unexpected_state(
            "This PaymentIntent could not be captured because it has a status of "
            f"{intent['status']}.",
            payment_intent=intent,
        )
    left: int = intent["amount_capturable"]
    amount: int = call.params.get("amount_to_capture", left)
    if amount > intent["amount_capturable"]:
        raise Problem(
            f"The remaining amount ({intent['amount_capturable']}) is less than {amount}.",
            code="amount_too_large",
            param="amount_to_capture",
        )
    if "metadata" in call.params:
        intent["metadata"] = merge_metadata(intent["metadata"], call.params["metadata"])
    payments.capture(account, intent, amount)
    return intent


def cancel(account: Account, call: Call) -> Json:
    """Cancel an intent that was not paid."""
    intent = _intent(account, call)
    if intent["status"] not in _CANCELABLE:
        raise unexpected_state(
            f"You cannot cancel this PaymentIntent because its status is {intent['status']}.",
            payment_intent=intent,
        )
    payments.cancel(account, intent, call.params.get("cancellation_reason"))
    return intent


def list_all(account: Account, call: Call) -> Json:
    """List intents, newest first."""
    return list_page(
        account.payment_intents,
        call.params,
        url="/v1/payment_intents",
        where=matches(call.params, "customer"),
    )


def _intent(account: Account, call: Call) -> Json:
    intent = account.payment_intents.get(call.id, "intent")
    given = call.params.get("client_secret")
    if (call.publishable or given is not None) and given != intent["client_secret"]:
        if given is None:
            raise BadParameter(
                "Missing required param: client_secret.",
                code="parameter_missing",
                param="client_secret",
            )
        # A wrong secret must not reveal that the id exists.
        raise resource_missing("payment_intent", call.id, "intent")
    return intent


def _view(intent: Json, call: Call) -> Json:
    if not call.publishable:
        return intent
    return {name: intent[name] for name in _PUBLISHABLE}


def _payment_method_types(account: Account, params: Json) -> tuple[Json | None, list[str]]:
    automatic = params.get("automatic_payment_methods")
    types = params.get("payment_method_types")
    if types is not None:
        if automatic is not None and automatic["enabled"]:
            raise BadParameter(
                "You may only specify one of these parameters: automatic_payment_methods, "
                "payment_method_types.",
                param="payment_method_types",
            )
        return None, types
    if automatic is None and account.request_version >= _AUTOMATIC_METHODS_SINCE:
        automatic = {"enabled": True}
    if automatic is None or not automatic["enabled"]:
        return None, ["card"]
    redirects = automatic.get("allow_redirects", "always")
    allowed = params.get("allowed_payment_method_types") or ["card"]
    return {"allow_redirects": redirects, "enabled": True}, allowed


def _default_capture(account: Account) -> str:
    return "automatic_async" if account.request_version >= _ASYNC_CAPTURE_SINCE else "automatic"


def _options(method_types: list[str]) -> Json:
    card = {
        "installments": None,
        "mandate_options": None,
        "network": None,
        "request_three_d_secure": "automatic",
    }
    return {kind: dict(card) if kind == "card" else {} for kind in method_types}


def _apply(account: Account, intent: Json, params: Json) -> None:
    """Write parameters into the intent; a payment method is looked up or made."""
    customer_id = params.get("customer")
    if customer_id is not None:
        customer = account.customers.get(customer_id, "customer")
        if customer.get("deleted"):
            raise resource_missing("customer", customer_id, "customer")
    method_id = _method_id(account, intent, params)
    for name in accepted.COPIED & set(params):
        intent[name] = params[name]
    if "metadata" in params:
        intent["metadata"] = merge_metadata(intent["metadata"], params["metadata"])
    if method_id is not None:
        intent["payment_method"] = method_id
        if intent["status"] == "requires_payment_method":
            intent["status"] = "requires_confirmation"


def _method_id(account: Account, intent: Json, params: Json) -> str | None:
    if "payment_method_data" in params:
        payment_method = from_data(account, params["payment_method_data"], "payment_method_data")
    elif params.get("payment_method") is not None:
        payment_method = resolve(account, params["payment_method"])
    else:
        return None
    types = list(params.get("payment_method_types") or intent["payment_method_types"])
    if payment_method["type"] not in types:
        raise Problem(
            f"The PaymentMethod provided ({payment_method['type']}) is not allowed for this "
            f"PaymentIntent, which takes: {', '.join(types)}.",
            param="payment_method",
        )
    customer_id = params.get("customer", intent["customer"])
    if payment_method["customer"] not in (None, customer_id):
        raise Problem(
            "The payment method you provided is attached to a customer, so for security purposes "
            "you must provide that customer in the request.",
            param="payment_method",
        )
    check_usable(account, payment_method)
    found: str = payment_method["id"]
    return found


def _check_method_given(intent: Json, call: Call) -> None:
    named = {"payment_method", "payment_method_data"} & set(call.params)
    if not named and intent["payment_method"] is None:
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            payment_intent=_view(intent, call),
        )


def _check_return_url(intent: Json, call: Call) -> None:
    automatic = intent["automatic_payment_methods"]
    redirects = automatic is not None and automatic["allow_redirects"] == "always"
    # Stripe.js passes its own return URL; a server has to name one or rule redirects out.
    if redirects and not call.publishable and "return_url" not in call.params:
        raise Problem(
            "This PaymentIntent accepts payment methods that may redirect the customer, so you "
            "must provide a `return_url`, or create it with `automatic_payment_methods[enabled]` "
            "true and `automatic_payment_methods[allow_redirects]` `never`.",
            param="return_url",
        )


def _check_method_fits(account: Account, intent: Json) -> None:
    payment_method = account.payment_methods.get(intent["payment_method"])
    check_usable(account, payment_method)
    if intent["statement_descriptor"] is not None and payment_method["type"] == "card":
        raise Problem(
            "`statement_descriptor` cannot be used for card charges; use "
            "`statement_descriptor_suffix`.",
            param="statement_descriptor",
        )


ROUTES: Routes = {
    "POST /v1/payment_intents": Endpoint(create, accepted.CREATE),
    "GET /v1/payment_intents": Endpoint(list_all, accepted.LIST_INTENTS),
    "GET /v1/payment_intents/*": Endpoint(retrieve, accepted.RETRIEVE, publishable=True),
    "POST /v1/payment_intents/*": Endpoint(update, accepted.UPDATE),
    "POST /v1/payment_intents/*/confirm": Endpoint(confirm, accepted.CONFIRM, publishable=True),
    "POST /v1/payment_intents/*/capture": Endpoint(capture, accepted.CAPTURE),
    "POST /v1/payment_intents/*/cancel": Endpoint(cancel, accepted.CANCEL),
}
