"""What each of Stripe's errors means to our callers.

Read together with https://docs.stripe.com/api/errors and https://docs.stripe.com/error-codes.
The official SDK picks the class of an error by its HTTP status; where the body says more (`type`,
`code`), the body decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from credit_payments.errors import (
    CardDeclined,
    Conflict,
    CreditPaymentsError,
    IdempotencyConflict,
    InvalidAmount,
    InvalidCurrency,
    InvalidRequest,
    InvalidSignature,
    NotFound,
    StripeRefusedKey,
    StripeUnavailable,
)
from credit_payments.redaction import redact

if TYPE_CHECKING:
    from stripe import StripeError

STRIPE_REPLAYS_FAILURE = "stripe_replays_failure"
"""`error_code` of a `StripeUnavailable` that the same idempotency key will meet again.

Stripe stores the answer to a key, a 500 too, and repeats it until the key is pruned (after 24
hours at the earliest). Nothing tells whether the write took effect: look for its object, or wait
for its webhook, before the same thing is tried under another key.
"""

BUSY_CODES = frozenset({"idempotency_key_in_use", "lock_timeout", "rate_limit"})
"""Another request holds the key or the object at this moment: the same call will do later."""

STATE_CODES = {
    "payment_intent_unexpected_state": "The payment's present state does not allow this.",
    "payment_intent_incompatible_payment_method": "The payment has no payment method to use.",
    "intent_invalid_state": "The payment's present state does not allow this.",
    "charge_already_captured": "The charge was captured before.",
    "charge_already_refunded": "The payment was refunded before.",
    "charge_disputed": "The payment is disputed.",
    "charge_not_refundable": "The payment cannot be refunded.",
}
"""Codes of well-formed requests that came at the wrong time."""

PLAIN_WORDS = {
    "amount_too_small": "The amount is smaller than the least that Stripe charges.",
    "amount_too_large": "The amount is larger than the most that Stripe charges.",
    "email_invalid": "The e-mail address is not valid.",
}

PERSONAL_PARAMS = frozenset({"description", "email", "metadata", "name", "phone"})
"""Parameters whose refused value Stripe quotes in its message, and which may be about a person."""

# Codes and names of parameters are ours to say on; whoever answers in Stripe's place might put
# anything there.
_WORD = re.compile(r"[a-z0-9_]{1,64}(?:\[[a-z0-9_]{1,64}\]){0,4}", re.ASCII)
CUSTOMERS_SENTENCE_CHARACTERS_MAX = 500

HTTP_CONFLICT = 409
HTTP_TOO_MANY_REQUESTS = 429
HTTP_SERVER_ERROR = 500


def translate(error: StripeError) -> CreditPaymentsError:
    """The error of our tree that says what to do about one of Stripe's.

    Only a refused card keeps Stripe's own sentence, which is written for customers. A class that
    this version does not know becomes `StripeUnavailable`: nothing is claimed about its outcome.
    """
    import stripe  # noqa: PLC0415 - it is loaded already, or there would be no error of it

    details = _details(error)
    code = word(details.get("code") or error.code)
    if code in BUSY_CODES:
        return StripeUnavailable("Stripe is busy with another request; try again.")
    if isinstance(error, stripe.IdempotencyError) or details.get("type") == "idempotency_error":
        return IdempotencyConflict(param="idempotency_key")
    if isinstance(error, stripe.CardError) or details.get("type") == "card_error":
        return _card_declined(error, details, code)
    return _by_class(error, code)


def least_wait_seconds(error: Exception) -> float | None:
    """Whether the same request may succeed in a moment, and how long to wait for it at least.

    None means that repeating cannot help. Stripe's own word (`Stripe-Should-Retry`) comes before
    the status: https://docs.stripe.com/error-low-level. Every request that is repeated carries its
    idempotency key or only reads.
    """
    import stripe  # noqa: PLC0415

    if not isinstance(error, stripe.StripeError):
        return None
    if isinstance(error, stripe.APIConnectionError):
        return 0.0
    headers = _headers(error)
    advice = headers.get("stripe-should-retry")
    if advice == "false" or (advice != "true" and not _is_passing(error)):
        return None
    # Stripe sends seconds. The other form, a date, is read as no advice.
    retry_after = headers.get("retry-after", "")
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0


def withhold(error: StripeError) -> StripeError:
    """Take bodies and personal data out of an error that becomes the cause of ours.

    A logged traceback prints causes too, and whoever collects errors looks into them. Stripe's
    sentence stays where it says what is wrong with a request or a key; it goes where it may be
    about a person, or quotes whatever was answered. The SDK's own causes go: those of a connection
    carry the request with its key, those of a parser the whole answer.
    """
    error.code = word(error.code)
    if hasattr(error, "param"):
        error.param = word(error.param)
    if _keeps_its_sentence(error):
        error._message = redact(error._message or "")  # noqa: SLF001 - the SDK has no other way
    else:
        error._message = f"[withheld] (status {error.http_status}, code {error.code})"  # noqa: SLF001
    error.http_body = error.json_body = error.error = None
    error.args = (error.user_message,)
    error.__cause__ = error.__context__ = None
    return error


def word(given: object) -> str | None:
    """A code, or the name of a parameter, as Stripe writes them; None for anything else."""
    if not isinstance(given, str) or not _WORD.fullmatch(given):
        return None
    return given if redact(given) == given else None


def _keeps_its_sentence(error: StripeError) -> bool:
    import stripe  # noqa: PLC0415

    if isinstance(error, stripe.APIConnectionError):
        return True  # the SDK's own
    param = getattr(error, "param", None)
    is_personal = isinstance(param, str) and param.split("[")[0] in PERSONAL_PARAMS
    kinds = (
        stripe.AuthenticationError,
        stripe.CardError,
        stripe.InvalidRequestError,
        stripe.PermissionError,
    )
    return isinstance(error, kinds) and bool(_details(error)) and not is_personal


def _details(error: StripeError) -> Mapping[str, Any]:
    body = error.json_body
    details = body.get("error") if isinstance(body, dict) else None
    return details if isinstance(details, dict) else {}


def _headers(error: StripeError) -> dict[str, str]:
    # requests' mapping ignores case, that of another HTTP client may not.
    return {name.lower(): value for name, value in (error.headers or {}).items()}


def _is_passing(error: StripeError) -> bool:
    if _is_replayed_failure(error):
        return False
    status = error.http_status or 0
    return (
        status in (HTTP_CONFLICT, HTTP_TOO_MANY_REQUESTS)
        or status >= HTTP_SERVER_ERROR
        or (_details(error).get("code") or error.code) in BUSY_CODES
    )


def _is_replayed_failure(error: StripeError) -> bool:
    replayed = _headers(error).get("idempotent-replayed") == "true"
    return replayed and (error.http_status or 0) >= HTTP_SERVER_ERROR


def _by_class(error: StripeError, code: str | None) -> CreditPaymentsError:
    import stripe  # noqa: PLC0415

    if isinstance(error, (stripe.AuthenticationError, stripe.PermissionError)):
        return StripeRefusedKey(
            "Stripe refused the API key: it is wrong, expired or lacks a permission.",
            param="stripe_secret_key",
        )
    if isinstance(error, stripe.InvalidRequestError):
        return _invalid_request(error, code)
    if isinstance(error, stripe.SignatureVerificationError):
        return InvalidSignature()
    if _is_replayed_failure(error):
        return StripeUnavailable(
            "Stripe failed, and repeats that answer for this idempotency key.",
            code=STRIPE_REPLAYS_FAILURE,
        )
    return StripeUnavailable()


def _card_declined(
    error: StripeError, details: Mapping[str, Any], code: str | None
) -> CardDeclined:
    intent = details.get("payment_intent")
    said = details.get("message")
    return CardDeclined(
        redact(said)[:CUSTOMERS_SENTENCE_CHARACTERS_MAX] if isinstance(said, str) else None,
        decline_code=word(details.get("decline_code")),
        code=code,
        param=word(details.get("param") or getattr(error, "param", None)),
        status=word(intent.get("status")) if isinstance(intent, dict) else None,
    )


def _invalid_request(error: StripeError, code: str | None) -> InvalidRequest:
    param = word(getattr(error, "param", None))
    if code == "resource_missing" or error.http_status == NotFound.http_status:
        return NotFound(param=param)
    if code in STATE_CODES:
        return Conflict(STATE_CODES[code], param=param, code=code)
    kind = {"amount": InvalidAmount, "currency": InvalidCurrency}.get(param or "", InvalidRequest)
    message = PLAIN_WORDS.get(code or "")
    if message is None and param is not None:
        message = f"Stripe did not accept {param}."
    return kind(message, param=param, code=code)
