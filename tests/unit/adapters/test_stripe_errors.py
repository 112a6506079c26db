from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import stripe
import stripe.oauth_error
from stripe._api_requestor import _APIRequestor

from credit_payments.adapters.stripe_errors import (
    STRIPE_REPLAYS_FAILURE,
    least_wait_seconds,
    translate,
    withhold,
    word,
)
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

CARD_MESSAGE = "Your card has insufficient funds."


def vendor_error(
    status: int, headers: Mapping[str, str] | None = None, /, **body: object
) -> stripe.StripeError:
    """The error that the SDK itself makes of an answer."""
    answer = {"error": body}
    requestor: Any = _APIRequestor()
    with pytest.raises(stripe.StripeError) as caught:
        requestor.handle_error_response(str(answer), status, answer, headers or {}, "V1")
    return caught.value


def every_class(kind: type[stripe.StripeError]) -> Iterator[type[stripe.StripeError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every_class(child)


def bare(kind: type[stripe.StripeError]) -> stripe.StripeError:
    error = kind.__new__(kind)
    stripe.StripeError.__init__(error, "internal")
    return error


# What the classes that the SDK raises without a telling body mean; all others, now and in future
# versions, are "no usable answer".
MEANING: dict[str, type[CreditPaymentsError]] = {
    "AuthenticationError": StripeRefusedKey,
    "CardError": CardDeclined,
    "IdempotencyError": IdempotencyConflict,
    "InvalidRequestError": InvalidRequest,
    "PermissionError": StripeRefusedKey,
    "SignatureVerificationError": InvalidSignature,
}


@pytest.mark.parametrize("kind", sorted(set(every_class(stripe.StripeError)), key=str))
def test_every_class_of_the_sdk_has_its_place_in_our_tree(kind: type[stripe.StripeError]) -> None:
    error = translate(bare(kind))
    meant = StripeUnavailable
    if kind.__module__ == "stripe._error":
        meant = MEANING.get(kind.__name__, StripeUnavailable)  # type: ignore[assignment]
    assert type(error) is meant
    assert "internal" not in str(error)


def test_a_class_of_a_future_sdk_is_no_usable_answer() -> None:
    class FutureError(stripe.StripeError):
        pass

    assert type(translate(FutureError("?"))) is StripeUnavailable


def test_a_declined_card_keeps_the_sentence_for_the_customer_and_the_reason() -> None:
    error = translate(
        vendor_error(
            402,
            type="card_error",
            code="card_declined",
            decline_code="insufficient_funds",
            message=CARD_MESSAGE,
            payment_intent={"id": "pi_1", "status": "requires_payment_method"},
        )
    )
    assert isinstance(error, CardDeclined)
    assert error.message == CARD_MESSAGE
    assert error.error_code == "card_declined"
    assert error.decline_code == "insufficient_funds"
    assert error.status == "requires_payment_method"
    assert error.param is None


def test_a_card_error_without_a_sentence_gets_a_plain_one() -> None:
    error = translate(vendor_error(402, type="card_error", code="expired_card", param="exp_year"))
    assert isinstance(error, CardDeclined)
    assert error.message == "Your card was declined."
    assert (error.error_code, error.param) == ("expired_card", "exp_year")


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "param"),
    [
        (401, {"type": "invalid_request_error"}, StripeRefusedKey, "stripe_key_refused", None),
        (403, {"type": "invalid_request_error"}, StripeRefusedKey, "stripe_key_refused", None),
        (400, {"code": "resource_missing", "param": "customer"}, NotFound, None, "customer"),
        (404, {"message": "Unrecognized request URL"}, NotFound, None, None),
        (400, {"code": "amount_too_small", "param": "amount"}, InvalidAmount, "same", "amount"),
        (400, {"message": "more than is left", "param": "amount"}, InvalidAmount, None, "amount"),
        (400, {"message": "Invalid currency", "param": "currency"}, InvalidCurrency, None, None),
        (400, {"code": "parameter_unknown", "param": "x"}, InvalidRequest, "same", "x"),
        (400, {"code": "payment_intent_unexpected_state"}, Conflict, "same", None),
        (400, {"code": "charge_already_refunded"}, Conflict, "same", None),
        (400, {"type": "idempotency_error"}, IdempotencyConflict, None, "idempotency_key"),
        (409, {"type": "idempotency_error"}, IdempotencyConflict, None, "idempotency_key"),
        (409, {"code": "idempotency_key_in_use"}, StripeUnavailable, None, None),
        (409, {"code": "lock_timeout"}, StripeUnavailable, None, None),
        (429, {"code": "lock_timeout"}, StripeUnavailable, None, None),
        (429, {"code": "rate_limit"}, StripeUnavailable, None, None),
        (400, {"code": "rate_limit"}, StripeUnavailable, None, None),
        (500, {"type": "api_error"}, StripeUnavailable, None, None),
        (424, {"type": "api_error"}, StripeUnavailable, None, None),
    ],
)
def test_each_answer_of_stripe_becomes_the_error_that_says_what_to_do(
    status: int,
    body: dict[str, str],
    kind: type[CreditPaymentsError],
    code: str | None,
    param: str | None,
) -> None:
    error = translate(vendor_error(status, None, **{"message": "vendor internals", **body}))
    assert type(error) is kind
    assert "vendor internals" not in str(error)
    assert error.error_code == (body["code"] if code == "same" else code or kind.code)
    if param is not None:
        assert error.param == param


@pytest.mark.parametrize(
    "error",
    [
        bare(stripe.APIConnectionError),
        vendor_error(409, code="idempotency_key_in_use"),
        vendor_error(409, code="lock_timeout"),
        vendor_error(429, code="rate_limit"),
        vendor_error(400, code="rate_limit"),
        vendor_error(500, type="api_error"),
        vendor_error(503, type="api_error"),
        vendor_error(400, {"Stripe-Should-Retry": "true"}, type="api_error"),
    ],
    ids=str,
)
def test_what_passes_is_repeated(error: stripe.StripeError) -> None:
    assert least_wait_seconds(error) == 0.0


@pytest.mark.parametrize(
    "error",
    [
        vendor_error(402, type="card_error"),
        vendor_error(400, type="invalid_request_error"),
        vendor_error(400, type="idempotency_error"),
        vendor_error(401),
        vendor_error(404),
        vendor_error(500, {"stripe-should-retry": "false"}, type="api_error"),
        vendor_error(500, {"Idempotent-Replayed": "true"}, type="api_error"),
        stripe.StripeError("no status"),
        ZeroDivisionError(),
    ],
    ids=str,
)
def test_what_stays_is_not_repeated(error: Exception) -> None:
    assert least_wait_seconds(error) is None


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("7", 7.0), ("0", 0.0), ("", 0.0), ("-1", 0.0), ("soon", 0.0), ("1e9", 0.0), ("²", 0.0)],
)
def test_retry_after_is_read_as_whole_seconds_or_not_at_all(
    retry_after: str, seconds: float
) -> None:
    error = vendor_error(429, {"Retry-After": retry_after}, code="rate_limit")
    assert least_wait_seconds(error) == seconds


def test_a_failure_that_stripe_has_stored_for_the_key_is_told_apart() -> None:
    error = translate(vendor_error(500, {"Idempotent-Replayed": "true"}, type="api_error"))
    assert isinstance(error, StripeUnavailable)
    assert error.error_code == STRIPE_REPLAYS_FAILURE


@pytest.mark.parametrize("param", ["email", "name", "phone", "description", "metadata[user]"])
def test_a_cause_does_not_quote_what_may_be_about_a_person(param: str) -> None:
    error = vendor_error(400, message="Invalid: ada@example.com", param=param, code="email_invalid")
    printed = "".join(traceback.format_exception(withhold(error)))
    assert "ada@example.com" not in printed + repr(error) + repr(error.args) + repr(vars(error))
    assert "email_invalid" in printed


def test_a_cause_keeps_stripes_sentence_about_ids_and_amounts_and_the_request_id() -> None:
    error = vendor_error(
        404, {"request-id": "req_1"}, message="No such customer: 'cus_1'", param="customer"
    )
    assert str(withhold(error)) == "Request req_1: No such customer: 'cus_1'"
    assert error.http_body is None


def test_a_cause_does_not_quote_an_answer_that_is_no_json() -> None:
    requestor: Any = _APIRequestor()
    with pytest.raises(stripe.APIError) as caught:
        requestor._interpret_response(b'{"client_secret": "pi_1_secret_2"', 200, {}, "V1")
    error = withhold(caught.value)
    assert "secret_2" not in str(error) + repr(error) + repr(error.args) + repr(vars(error))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"type": "idempotency_error"}),
        (429, {"code": "rate_limit"}),
        (500, {"type": "api_error"}),
        (503, {}),
    ],
)
def test_a_cause_does_not_quote_what_is_neither_about_a_request_nor_about_a_key(
    status: int, body: Mapping[str, object]
) -> None:
    error = withhold(vendor_error(status, None, **body, message="of ada@example.com"))
    assert "ada@example.com" not in "".join(traceback.format_exception(error)) + repr(vars(error))


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
def test_a_sentence_that_stays_shows_no_key(status: int) -> None:
    said = "Invalid API Key provided: sk_live_abc123, for pi_1_secret_abc123"
    error = withhold(vendor_error(status, None, message=said, param="payment_intent"))
    told = str(error)
    assert "Invalid API Key provided: sk_live_***, for pi_1_secret_***" in told
    assert "abc123" not in told + repr(error) + repr(vars(error))


@pytest.mark.parametrize(
    "odd", ["ada@example.com", "sk_test_abc123", "a b", "Ada", "é", "x" * 65, "", 5, ["a"], {}]
)
def test_codes_and_names_that_stripe_would_not_write_go_no_further(odd: Any) -> None:
    """Whoever answers in Stripe's place may put anything there, and callers are told of them."""
    for status, kind in ((400, "invalid_request_error"), (402, "card_error"), (500, "api_error")):
        body = {"type": kind, "code": odd, "param": odd, "decline_code": odd, "message": "no"}
        vendor = vendor_error(status, None, **body, payment_intent={"status": odd})
        ours = translate(vendor)
        assert ours.error_code == type(ours).code
        assert ours.param is None
        if isinstance(ours, CardDeclined):
            assert (ours.decline_code, ours.status) == (None, None)
        withhold(vendor)
        assert (vendor.code, getattr(vendor, "param", None)) == (None, None)


@pytest.mark.parametrize("given", ["card_declined", "metadata[user_id]", "a[b][c]", "amount"])
def test_codes_and_names_of_stripes_stay(given: str) -> None:
    assert word(given) == given


def test_a_sentence_for_customers_has_an_end_and_no_secret() -> None:
    error = vendor_error(402, None, type="card_error", message="sk_live_abc " + "x" * 1_000)
    assert translate(error).message == "sk_live_*** " + "x" * 488
    error = vendor_error(402, None, type="card_error", message=["no", "text"])
    assert translate(error).message == "Your card was declined."


def test_a_cause_has_no_causes_of_its_own() -> None:
    """Those of the SDK carry the request, with its key, or the whole answer."""
    requestor: Any = _APIRequestor()
    with pytest.raises(stripe.APIError) as caught:
        requestor._interpret_response(b"<html>", 200, {}, "V1")
    error = caught.value
    assert error.__context__ is not None
    assert withhold(error).__context__ is None
    assert withhold(error).__cause__ is None
