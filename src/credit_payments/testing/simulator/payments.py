"""The life of a payment: attempt, authentication, success, failure, capture and cancellation.

Source: https://docs.stripe.com/payments/paymentintents/lifecycle
"""

from __future__ import annotations

from . import balance, disputes, refunds
from ._types import Json
from .account import Account
from .cards import DECLINES, Decline, TestCard
from .charges import new_charge, outcome
from .payment_methods import attach
from .problems import CardProblem

__all__ = [
    "attempt",
    "authenticate",
    "cancel",
    "capture",
    "decline_problem",
    "refuse",
    "require_action",
    "settle",
]

_DISPUTE_REASONS = {
    "disputed": ("fraudulent", False),
    "not_received": ("product_not_received", False),
    "inquiry": ("fraudulent", True),
}


def require_action(account: Account, intent: Json, *, origin: str, return_url: str | None) -> None:
    """Ask for 3-D Secure: a redirect where the caller gave a return URL, else for Stripe.js."""
    page = f"{origin}/_simulator/payment_intents/{intent['id']}/authenticate"
    if return_url is not None:
        next_action: Json = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": return_url, "url": page},
        }
    else:
        next_action = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": page},
        }
    intent["status"] = "requires_action"
    intent["next_action"] = next_action
    account.emit("payment_intent.requires_action", intent)


def authenticate(account: Account, intent_id: str, *, succeeds: bool) -> Json:
    """Finish 3-D Secure the way the customer did it.

    Raises:
        ValueError: if the intent does not wait for it.
    """
    intent = account.payment_intents.get(intent_id, "intent")
    if intent["status"] != "requires_action":
        raise ValueError(f"{intent_id} is {intent['status']}, not requires_action")
    intent["next_action"] = None
    if succeeds:
        attempt(account, intent, authenticated=True)
        return intent
    payment_method = account.payment_methods.get(intent["payment_method"])
    _back_to_start(
        account,
        intent,
        {
            "code": "payment_intent_authentication_failure",
            "doc_url": "https://docs.stripe.com/error-codes/payment-intent-authentication-failure",
            "message": "The provided payment method has failed authentication.",
            "payment_method": dict(payment_method),
            "type": "invalid_request_error",
        },
    )
    return intent


def attempt(account: Account, intent: Json, *, authenticated: bool = False) -> Decline | None:
    """Try to charge the intent's payment method; return the decline if the bank says no."""
    payment_method = account.payment_methods.get(intent["payment_method"])
    card: TestCard = account.test_cards[payment_method["id"]]
    if payment_method["type"] != "card":
        _process(account, intent, payment_method)
        return None
    if card.decline is not None:
        decline = DECLINES[card.decline]
        refuse(account, intent, decline)
        return decline
    charge = new_charge(account, intent, payment_method, authenticated=authenticated)
    charge["status"], charge["paid"] = "succeeded", True
    intent["latest_charge"] = charge["id"]
    intent["last_payment_error"] = None
    intent["next_action"] = None
    _keep_for_later(account, intent, payment_method)
    if intent["capture_method"] == "manual":
        intent["status"] = "requires_capture"
        intent["amount_capturable"] = intent["amount"]
        account.emit("charge.succeeded", charge)
        account.emit("payment_intent.amount_capturable_updated", intent)
        return None
    _receive(account, intent, charge, intent["amount"])
    if card.after in _DISPUTE_REASONS:
        reason, inquiry = _DISPUTE_REASONS[card.after]
        disputes.open_dispute(account, intent["id"], reason=reason, inquiry=inquiry)
    return None


def refuse(account: Account, intent: Json, decline: Decline) -> None:
    """Record a declined attempt: a failed charge, and the intent back where it began."""
    payment_method = account.payment_methods.get(intent["payment_method"])
    charge = new_charge(account, intent, payment_method, authenticated=False)
    intent["latest_charge"] = charge["id"]
    _fail(account, intent, charge, decline)


def settle(account: Account, intent_id: str, *, succeeds: bool) -> Json:
    """End the processing of a bank debit.

    Raises:
        ValueError: if the intent is not processing.
    """
    intent = account.payment_intents.get(intent_id, "intent")
    if intent["status"] != "processing":
        raise ValueError(f"{intent_id} is {intent['status']}, not processing")
    charge = account.charges.get(intent["latest_charge"])
    card: TestCard = account.test_cards[charge["payment_method"]]
    if succeeds and card.decline is None:
        charge["status"], charge["paid"] = "succeeded", True
        _receive(account, intent, charge, intent["amount"])
    else:
        _fail(account, intent, charge, DECLINES[card.decline or "generic"])
    return intent


def capture(account: Account, intent: Json, amount_minor: int) -> None:
    """Take up to the authorised amount; the rest is released as a refund."""
    charge = account.charges.get(intent["latest_charge"])
    intent["amount_capturable"] = 0
    charge["captured"] = True
    charge["amount_captured"] = amount_minor
    _book(account, charge)
    account.emit("charge.captured", charge, {"captured": False, "amount_captured": 0})
    rest = intent["amount"] - amount_minor
    if rest:
        charge["captured"] = False  # the released part was never captured, so nothing is booked
        released = refunds.open_refund(account, charge, rest)
        charge["captured"] = True
        account.emit("refund.created", released)
    intent["status"] = "succeeded"
    intent["amount_received"] = amount_minor
    account.emit("payment_intent.succeeded", intent)


def cancel(account: Account, intent: Json, reason: str | None) -> None:
    """Cancel an intent, and release what was authorised."""
    if intent["status"] == "requires_capture":
        charge = account.charges.get(intent["latest_charge"])
        refunds.release(account, charge, charge["amount"])
    intent["status"] = "canceled"
    intent["amount_capturable"] = 0
    intent["canceled_at"] = account.now()
    intent["cancellation_reason"] = reason
    intent["next_action"] = None
    account.emit("payment_intent.canceled", intent)


def decline_problem(
    account: Account, intent: Json, decline: Decline, *, shown: Json
) -> CardProblem:
    """Return the error that a caller of confirm gets, with the intent as that caller sees it."""
    error = intent["last_payment_error"]
    return CardProblem(
        decline.message,
        code=decline.code,
        decline_code=decline.decline_code,
        charge=intent["latest_charge"],
        payment_intent=shown,
        payment_method=error["payment_method"],
        request_log_url=f"https://dashboard.stripe.com/test/logs/{account.cause.request_id}",
    )


def _process(account: Account, intent: Json, payment_method: Json) -> None:
    charge = new_charge(account, intent, payment_method, authenticated=False)
    intent["latest_charge"] = charge["id"]
    intent["status"] = "processing"
    intent["last_payment_error"] = None
    _keep_for_later(account, intent, payment_method)
    account.emit("charge.pending", charge)
    account.emit("payment_intent.processing", intent)


def _receive(account: Account, intent: Json, charge: Json, amount_minor: int) -> None:
    charge["captured"] = True
    charge["amount_captured"] = amount_minor
    intent["status"] = "succeeded"
    intent["amount_received"] = amount_minor
    # Asynchronous capture (the default since 2024-04-10) reports success before the balance
    # transaction exists, and follows up with charge.updated.
    asynchronous = intent["capture_method"] == "automatic_async"
    if not asynchronous:
        _book(account, charge)
    account.emit("charge.succeeded", charge)
    account.emit("payment_intent.succeeded", intent)
    if asynchronous:
        _book(account, charge)
        account.emit("charge.updated", charge, {"balance_transaction": None})


def _book(account: Account, charge: Json) -> None:
    booked = balance.record(account, "charge", charge, charge["amount_captured"])
    charge["balance_transaction"] = booked["id"]


def _fail(account: Account, intent: Json, charge: Json, decline: Decline) -> None:
    payment_method = account.payment_methods.get(charge["payment_method"])
    charge["status"] = "failed"
    charge["failure_code"] = decline.code
    charge["failure_message"] = decline.message
    charge["outcome"] = outcome(decline)
    account.emit("charge.failed", charge)
    _back_to_start(
        account,
        intent,
        {
            "charge": charge["id"],
            "code": decline.code,
            "decline_code": decline.decline_code,
            "doc_url": "https://docs.stripe.com/error-codes/" + decline.code.replace("_", "-"),
            "message": decline.message,
            "payment_method": dict(payment_method),
            "type": "card_error",
        },
    )


def _back_to_start(account: Account, intent: Json, error: Json) -> None:
    intent["status"] = "requires_payment_method"
    intent["payment_method"] = None
    intent["next_action"] = None
    intent["last_payment_error"] = error
    account.emit("payment_intent.payment_failed", intent)


def _keep_for_later(account: Account, intent: Json, payment_method: Json) -> None:
    if payment_method["customer"] is not None:
        return
    if intent["setup_future_usage"] is not None and intent["customer"] is not None:
        attach(account, payment_method, intent["customer"])
        account.emit("payment_method.attached", payment_method)
    else:
        account.spent_payment_methods.add(payment_method["id"])
