"""Stripe's test cards: which number or ``pm_card_…`` name behaves how.

Source: https://docs.stripe.com/testing
"""

from __future__ import annotations

from typing import Literal

import attrs

__all__ = ["BY_NAME", "BY_NUMBER", "DECLINES", "Decline", "TestCard", "brand_of", "passes_luhn"]


@attrs.frozen
class Decline:
    """Why a charge fails.

    Attributes:
        code: the error's ``code``.
        decline_code: the error's ``decline_code``.
        message: what the cardholder may be told.
        blocked: Stripe's own fraud rules said no, not the bank.
    """

    code: str
    decline_code: str
    message: str
    blocked: bool = False


def _declined(decline_code: str, hint: str = "") -> Decline:
    return Decline("card_declined", decline_code, f"Your card was declined.{hint}")


DECLINES = {
    "generic": _declined("generic_decline"),
    "insufficient_funds": Decline(
        "card_declined", "insufficient_funds", "Your card has insufficient funds."
    ),
    "lost_card": _declined("lost_card"),
    "stolen_card": _declined("stolen_card"),
    "fraudulent": _declined("fraudulent"),
    "velocity": _declined("card_velocity_exceeded", " It was used too often or for too much."),
    "expired_card": Decline("expired_card", "expired_card", "Your card has expired."),
    "incorrect_cvc": Decline(
        "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."
    ),
    "processing_error": Decline(
        "processing_error",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
    ),
    "blocked": attrs.evolve(_declined("fraudulent"), blocked=True),
    "authentication_required": Decline(
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
}


@attrs.frozen
class TestCard:
    """How one test card behaves.

    Attributes:
        number: the card number.
        name: the ``pm_card_…`` name without that prefix; empty if Stripe has none.
        brand: as payment methods show it.
        funding: ``credit``, ``debit`` or ``prepaid``.
        country: where it was issued.
        decline: a key of :data:`DECLINES`, or ``None`` for a card that pays.
        attach_fails: whether attaching it to a customer is declined as well.
        authentication: ``always`` asks for 3-D Secure, ``on_session`` only while the customer is
            there to answer.
        after: what happens later: a refund that fails or waits, or a dispute.
    """

    __test__ = False  # pytest must not take the name for a test class

    number: str
    name: str = ""
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    decline: str | None = None
    attach_fails: bool = True
    authentication: Literal["never", "always", "on_session"] = "never"
    after: Literal["", "refund_fails", "refund_pending", "disputed", "not_received", "inquiry"] = ""


_CARDS = (
    TestCard("4242424242424242", "visa"),
    TestCard("4000056655665556", "visa_debit", funding="debit"),
    TestCard("5555555555554444", "mastercard", brand="mastercard"),
    TestCard("2223003122003222", "", brand="mastercard"),
    TestCard("5200828282828210", "mastercard_debit", brand="mastercard", funding="debit"),
    TestCard("5105105105105100", "mastercard_prepaid", brand="mastercard", funding="prepaid"),
    TestCard("378282246310005", "amex", brand="amex"),
    TestCard("371449635398431", "", brand="amex"),
    TestCard("6011111111111117", "discover", brand="discover"),
    TestCard("3056930009020004", "diners", brand="diners"),
    TestCard("3566002020360505", "jcb", brand="jcb"),
    TestCard("6200000000000005", "unionpay", brand="unionpay"),
    TestCard("4000002500001001", "visa_cartesBancaires", country="FR"),
    TestCard("4000002760000016", "de", country="DE"),
    TestCard("4000008260000000", "gb", country="GB"),
    TestCard("4000001240000000", "ca", country="CA"),
    TestCard("4000002500000003", "fr", country="FR"),
    TestCard("4000003720000005", "ie", country="IE"),
    TestCard("4000000360000006", "au", country="AU"),
    TestCard("4000003920000003", "jp", country="JP"),
    TestCard("4000000760000002", "br", country="BR"),
    TestCard("4000000000000077", "bypassPending"),
    TestCard("4000003720000278", "bypassPendingInternational", country="IE"),
    TestCard("4000000000000002", "chargeDeclined", decline="generic"),
    TestCard("4000000000009995", "chargeDeclinedInsufficientFunds", decline="insufficient_funds"),
    TestCard("4000000000009987", "chargeDeclinedLostCard", decline="lost_card"),
    TestCard("4000000000009979", "chargeDeclinedStolenCard", decline="stolen_card"),
    TestCard("4000000000000069", "chargeDeclinedExpiredCard", decline="expired_card"),
    TestCard("4000000000000127", "chargeDeclinedIncorrectCvc", decline="incorrect_cvc"),
    TestCard("4000000000000119", "chargeDeclinedProcessingError", decline="processing_error"),
    TestCard("4000000000006975", "chargeDeclinedVelocityLimitExceeded", decline="velocity"),
    TestCard("4000000000000341", "chargeCustomerFail", decline="generic", attach_fails=False),
    TestCard("4100000000000019", "radarBlock", decline="blocked", attach_fails=False),
    TestCard("4000002500003155", "authenticationRequiredOnSetup", authentication="always"),
    TestCard("4000002760003184", "authenticationRequired", authentication="always"),
    TestCard(
        "4000003800000446",
        "authenticationRequiredSetupForOffSession",
        authentication="on_session",
    ),
    TestCard(
        "4000008260003178",
        "authenticationRequiredChargeDeclinedInsufficientFunds",
        authentication="always",
        decline="insufficient_funds",
        attach_fails=False,
    ),
    TestCard("4000000000003220", "threeDSecure2Required", authentication="always"),
    TestCard("4000000000003063", "threeDSecureRequired", authentication="always"),
    TestCard(
        "4000008400001629",
        "threeDSecureRequiredChargeDeclined",
        authentication="always",
        decline="generic",
        attach_fails=False,
    ),
    TestCard("4000000000003055", "threeDSecureOptional"),
    TestCard("378282246310005", "amex_threeDSecureNotSupported", brand="amex"),
    TestCard("4000000000005126", "refundFail", after="refund_fails"),
    TestCard("4000000000007726", "pendingRefund", after="refund_pending"),
    TestCard("4000000000000259", "createDispute", after="disputed"),
    TestCard("4000000000002685", "createDisputeProductNotReceived", after="not_received"),
    TestCard("4000000000001976", "createDisputeInquiry", after="inquiry"),
)

BY_NAME = {f"pm_card_{card.name}": card for card in _CARDS if card.name}
BY_NUMBER = {card.number: card for card in reversed(_CARDS)}

_BRANDS = (
    ("4", "visa"), ("34", "amex"), ("37", "amex"), ("6011", "discover"), ("65", "discover"),
    ("62", "unionpay"), ("35", "jcb"), ("30", "diners"), ("36", "diners"),
    ("5", "mastercard"), ("2", "mastercard"),
)  # fmt: skip


def brand_of(number: str) -> str:
    """Return the brand that a card number's first digits stand for."""
    return next((brand for prefix, brand in _BRANDS if number.startswith(prefix)), "unknown")


def passes_luhn(number: str) -> bool:
    """Tell whether the check digit fits (ISO/IEC 7812-1, annex B).

    Example:
        >>> passes_luhn("4242424242424242"), passes_luhn("4242424242424241")
        (True, False)
    """
    if not number.isdecimal():
        return False
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0  # noqa: PLR2004
