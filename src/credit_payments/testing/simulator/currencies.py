"""Which amounts can be charged, from Stripe's own pages and from nothing else of this library.

The simulator is an oracle for the library's own table of currencies, so it must not share it.
Sources: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts (minimums) and
https://docs.stripe.com/currencies#special-cases (amounts that must be multiples).
"""

from __future__ import annotations

from .problems import BadParameter

__all__ = ["SUPPORTED", "check_amount", "check_currency"]

AMOUNT_MAX = 99_999_999

_CODES = (
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd "
    "bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad "
    "cdf chf clp cny cop crc cve czk djf dkk dop dzd egp "
    "etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl "
    "htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf "
    "krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd "
    "mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok "
    "npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd "
    "rub rwf sar sbd scr sek sgd shp sle sos srd std szl "
    "thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd "
    "vuv wst xaf xcd xcg xof xpf yer zar zmw"
)
SUPPORTED = frozenset(_CODES.split(" "))


_MINIMUM = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500,
    "dkk": 250, "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000,
    "myr": 200, "nok": 300, "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip

# Three-decimal currencies end in 0; ISK and UGX are written with two decimals that must be 00.
_MULTIPLE = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}


def check_currency(currency: str) -> str:
    """Return the code in lower case.

    Raises:
        BadParameter: if Stripe does not charge in it.
    """
    code = currency.lower()
    if code not in SUPPORTED:
        raise BadParameter(
            f"Invalid currency: {code}. It is not one that can be charged.", param="currency"
        )
    return code


def check_amount(amount_minor: int, currency: str) -> None:
    """Refuse an amount outside the bounds of its currency.

    Raises:
        BadParameter: ``amount_too_small``, ``amount_too_large`` or ``invalid_charge_amount``.
    """
    minimum = _MINIMUM.get(currency, 1)
    if amount_minor < minimum:
        raise BadParameter(
            f"Amount must be at least {minimum} minor units of {currency}.",
            code="amount_too_small",
            param="amount",
        )
    if amount_minor > AMOUNT_MAX:
        raise BadParameter(
            f"Amount must be no more than {AMOUNT_MAX} minor units of {currency}.",
            code="amount_too_large",
            param="amount",
        )
    if amount_minor % _MULTIPLE.get(currency, 1):
        raise BadParameter(
            f"An amount in {currency} must be a multiple of {_MULTIPLE[currency]} minor units.",
            code="invalid_charge_amount",
            param="amount",
        )
