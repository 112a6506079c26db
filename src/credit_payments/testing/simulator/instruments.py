"""The ``card`` and ``us_bank_account`` parts of payment methods, and the checks of card data."""

from __future__ import annotations

import time

from ._types import Json
from .cards import TestCard, brand_of, passes_luhn
from .ids import digest_token
from .problems import BadParameter, CardProblem

__all__ = ["BANK_ACCOUNTS", "bank_hash", "card_hash", "charge_details", "check_card"]

_BANK_ROUTING = "110000000"
_BANK_NUMBER = "000123456789"
BANK_ACCOUNTS = {
    "default": TestCard(_BANK_NUMBER),
    "pm_usBankAccount_success": TestCard(_BANK_NUMBER),
    "pm_usBankAccount_insufficientFunds": TestCard(
        _BANK_NUMBER, decline="insufficient_funds", attach_fails=False
    ),
}
"""Bank accounts by test name; a decline shows only when the debit settles."""

_CVC_LENGTHS = (3, 4)
_MONTHS = 12


def check_card(data: Json, now: int) -> None:
    """Refuse card data that Stripe refuses before asking any bank.

    Raises:
        BadParameter: if the number or the expiry is missing.
        CardProblem: ``incorrect_number``, ``invalid_expiry_month``, ``invalid_expiry_year`` or
            ``invalid_cvc``.
    """
    for name in ("number", "exp_month", "exp_year"):
        if name not in data:
            raise BadParameter(
                f"Missing required param: card[{name}].",
                code="parameter_missing",
                param=f"card[{name}]",
            )
    if not passes_luhn(data["number"]):
        raise CardProblem("Your card number is incorrect.", code="incorrect_number", param="number")
    if not 1 <= data["exp_month"] <= _MONTHS:
        raise CardProblem(
            "Your card's expiration month is invalid.",
            code="invalid_expiry_month",
            param="exp_month",
        )
    today = time.gmtime(now)
    if (data["exp_year"], data["exp_month"]) < (today.tm_year, today.tm_mon):
        raise CardProblem(
            "Your card's expiration year is invalid.", code="invalid_expiry_year", param="exp_year"
        )
    cvc = data.get("cvc", "123")
    if len(cvc) not in _CVC_LENGTHS or not cvc.isdecimal():
        raise CardProblem("Your card's security code is invalid.", code="invalid_cvc", param="cvc")


def card_hash(card: TestCard, data: Json) -> Json:
    """Return the ``card`` hash of a payment method."""
    brand = card.brand if card.name else brand_of(card.number)
    return {
        "brand": brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass" if "cvc" in data else "unchecked",
        },
        "country": card.country,
        "display_brand": brand,
        "exp_month": data["exp_month"],
        "exp_year": data["exp_year"],
        # The same number has the same fingerprint everywhere, as at Stripe.
        "fingerprint": digest_token(f"fingerprint:{card.number}", 16),
        "funding": card.funding,
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": brand != "unknown"},
        "wallet": None,
    }


def bank_hash(data: Json) -> Json:
    """Return the ``us_bank_account`` hash of a payment method."""
    number = data.get("account_number", _BANK_NUMBER)
    return {
        "account_holder_type": data.get("account_holder_type", "individual"),
        "account_type": data.get("account_type", "checking"),
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": digest_token(f"fingerprint:{number}", 16),
        "last4": number[-4:],
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": data.get("routing_number", _BANK_ROUTING),
        "status_details": {},
    }


def charge_details(payment_method: Json, amount: int, *, authenticated: bool) -> Json:
    """Return a charge's ``payment_method_details``."""
    kind = payment_method["type"]
    if kind != "card":
        bank = dict(payment_method[kind])
        for name in ("financial_connections_account", "networks", "status_details"):
            del bank[name]
        return {"type": kind, kind: {**bank, "mandate": None, "payment_reference": None}}
    card = payment_method["card"]
    copied = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding",
              "last4", "regulated_status", "wallet")  # fmt: skip
    details = {name: card[name] for name in copied}
    unavailable = {"status": "unavailable"}
    details.update(
        amount_authorized=amount,
        authorization_code=None,
        extended_authorization={"status": "disabled"},
        incremental_authorization=unavailable,
        installments=None,
        mandate=None,
        multicapture=unavailable,
        network=card["brand"],
        network_token={"used": False},
        network_transaction_id=None,
        overcapture={"maximum_amount_capturable": amount, **unavailable},
        three_d_secure=_three_d_secure() if authenticated else None,
        transaction_link_id=None,
    )
    return {"type": "card", "card": details}


def _three_d_secure() -> Json:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": None,
        "version": "2.2.0",
    }
