"""Currencies and amounts, exactly as Stripe counts them.

Inside the library an amount is an integer of minor units (1000 is ten dollars, 500 is five hundred
yen). This module is the border: it reads what callers write (`int`, `str`, `Decimal`, or a `float`
by its shortest `repr`) and writes `Decimal` back. No arithmetic is ever done on a binary float.

Sources:
    The table and its limits follow https://docs.stripe.com/currencies (presentment currencies,
    zero-decimal, special cases, minimum and maximum charge amounts, read in 2026). The rule for
    three-decimal currencies comes from the 2022 and 2023 editions of that page, which spelled it
    out. Digits are those of ISO 4217, except where Stripe says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation
from types import MappingProxyType
from typing import Final

import attrs

from credit_payments.errors import InvalidAmount, InvalidCurrency

__all__ = [
    "CURRENCIES",
    "Amount",
    "Currency",
    "check_chargeable",
    "currency",
    "format_amount",
    "parse_amount",
    "read_decimal",
    "to_decimal",
    "to_minor",
]

Amount = int | str | Decimal | float
"""What a caller may write for an amount of major units: `10`, `"10.00"`, `Decimal(10)`, `10.1`."""


@attrs.frozen
class Currency:
    """A currency as Stripe's API counts it.

    Args:
        code: the ISO 4217 code in lower case, as Stripe writes it.
        exponent: decimals of the amounts sent to Stripe (2: the amount counts hundredths).
        step_minor: amounts must be multiples of this many minor units.
        minimum_minor: the least amount Stripe charges when the account settles in this currency;
            where Stripe publishes none it is the step, and Stripe decides after conversion.
        maximum_minor: the largest amount that every payment method of this currency can carry.
    """

    code: str
    exponent: int
    step_minor: int
    minimum_minor: int
    maximum_minor: int

    def __str__(self) -> str:
        return self.code.upper()


_TWO_DECIMAL_CODES: Final = """
    usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad
    cdf chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg
    huf idr ils inr isk jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr
    mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek
    sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx uyu uzs wst xcd xcg yer zar zmw
"""
_ZERO_DECIMAL_CODES: Final = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_THREE_DECIMAL_CODES: Final = "bhd jod kwd omr tnd"

# ISO 4217 gives these two no decimals any more. Stripe keeps counting hundredths, which must be 00
# (https://docs.stripe.com/currencies#special-cases). HUF and TWD stand in the same table, but
# there only payouts must be whole: charges may have two decimals, so they are not listed here.
_WHOLE_UNITS_IN_HUNDREDTHS: Final = frozenset({"isk", "ugx"})

# Stripe's partners want the last of three decimals to be 0: 5.124 KWD goes as 5120 or 5130.
_STEP_MINOR_THREE_DECIMAL: Final = 10

# https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, here in minor units.
# The lev stood in earlier editions of that table, before Bulgaria took the euro.
_MINIMUM_MINOR: Final[Mapping[str, int]] = {
    "usd": 50, "aed": 200, "ars": 50, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50,
    "cop": 50, "czk": 1500, "dkk": 250, "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "idr": 50,
    "ils": 50, "inr": 50, "jpy": 50, "krw": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50,
    "php": 50, "pln": 200, "ron": 200, "rub": 50, "sek": 300, "sgd": 50, "thb": 1000, "zar": 50,
}  # fmt: skip

# Most cards could carry twelve digits. The intent does not know yet how it will be paid, so the
# limits of the other payment methods hold: eight digits, more where a unit is worth little.
_MAXIMUM_MINOR: Final = 99_999_999
_MAXIMUM_MINOR_EXCEPTIONS: Final[Mapping[str, int]] = {
    "idr": 999_999_999_999,
    "cop": 9_999_999_999,
    "inr": 999_999_999,
}


def _build(code: str, exponent: int) -> Currency:
    step_minor = 1
    if code in _WHOLE_UNITS_IN_HUNDREDTHS:
        step_minor = 100
    elif code in _THREE_DECIMAL_CODES.split():
        step_minor = _STEP_MINOR_THREE_DECIMAL
    maximum_minor = _MAXIMUM_MINOR_EXCEPTIONS.get(code, _MAXIMUM_MINOR)
    return Currency(
        code=code,
        exponent=exponent,
        step_minor=step_minor,
        minimum_minor=_MINIMUM_MINOR.get(code, step_minor),
        maximum_minor=maximum_minor - maximum_minor % step_minor,
    )


_TABLE: Final[dict[str, Currency]] = {
    code: _build(code, exponent)
    for codes, exponent in (
        (_TWO_DECIMAL_CODES, 2),
        (_ZERO_DECIMAL_CODES, 0),
        (_THREE_DECIMAL_CODES, 3),
    )
    for code in codes.split()
}

CURRENCIES: Final[Mapping[str, Currency]] = MappingProxyType(_TABLE)
"""Every currency that Stripe charges in, by its lower-case code."""

_CODE_LENGTH: Final = 3


def currency(code: object, *, param: str = "currency") -> Currency:
    """Look a currency up by its ISO 4217 code, in whatever case.

    Raises:
        InvalidCurrency: `code` is no string, or names nothing that Stripe charges in.

    Example:
        >>> currency("JPY").exponent
        0
    """
    if isinstance(code, str):
        # Three ASCII letters first: the Kelvin sign, too, becomes a plain k in lower case.
        known = _TABLE.get(code.lower()) if code.isascii() and len(code) == _CODE_LENGTH else None
        if known is not None:
            return known
    raise InvalidCurrency("Stripe does not charge in this currency.", param=param)


def _resolve(value: Currency | str) -> Currency:
    return value if isinstance(value, Currency) else currency(value)


# Ours, with room for every amount here and a trap for every lost digit. The thread's own context
# would not do: a host may have set it to three digits or other traps.
_EXACT: Final = Context(prec=64, traps=[Inexact, InvalidOperation])
_QUANTA: Final = {exponent: Decimal((0, (1,), -exponent)) for exponent in (0, 2, 3)}

# Plain decimal notation only. `[0-9]`, for `\d` would take the digits of every script; no sign,
# blank, underscore or exponent, all of which `Decimal` would read.
_PLAIN_DECIMAL: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_TEXT_LENGTH_MAX: Final = 64
_INT_BITS_MAX: Final = 192  # below 64 digits, far above every amount: no endless conversions
_ADJUSTED_MAX: Final = 40


def read_decimal(value: object, *, param: str = "amount") -> Decimal:
    """Read a number that a caller wrote, exactly, without looking at any currency yet.

    A `float` is taken by its shortest `repr`, the text that a person would write for it.

    Raises:
        InvalidAmount: not a number of an accepted type and notation, or absurdly large.
    """
    if isinstance(value, bool) or value is None:
        raise InvalidAmount("An amount is required, as a number or a decimal string.", param=param)
    if isinstance(value, int):
        if value.bit_length() > _INT_BITS_MAX:
            raise InvalidAmount("The amount is too large.", param=param)
        return Decimal(value)
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, float):
        # Not repr(value): subclasses such as NumPy's write their own name around the digits.
        number = Decimal(float.__repr__(value))
    elif isinstance(value, str):
        if len(value) > _TEXT_LENGTH_MAX or _PLAIN_DECIMAL.fullmatch(value) is None:
            raise InvalidAmount('Write the amount as plain digits, like "10.50".', param=param)
        number = Decimal(value)
    else:
        raise InvalidAmount("An amount is an int, a Decimal, a string or a float.", param=param)
    if not number.is_finite():
        raise InvalidAmount("The amount must be a finite number.", param=param)
    if number and number.adjusted() > _ADJUSTED_MAX:
        raise InvalidAmount("The amount is too large.", param=param)
    return number


def to_minor(value: Decimal, in_currency: Currency | str, *, param: str = "amount") -> int:
    """Count a finite `Decimal` of major units in minor units, if it is a whole, positive number.

    Raises:
        InvalidAmount: zero, negative, too large, with more decimals than the currency has, or no
            multiple of the currency's step.
    """
    unit = _resolve(in_currency)
    if value <= 0:
        raise InvalidAmount("The amount must be greater than zero.", param=param)
    if value.adjusted() > _ADJUSTED_MAX:
        raise _too_large(unit, param)
    try:
        whole = _EXACT.quantize(value, _QUANTA[unit.exponent])
    except Inexact:
        raise InvalidAmount(
            f"{unit} amounts have at most {unit.exponent} decimals.", param=param
        ) from None
    minor = int(_EXACT.scaleb(whole, unit.exponent))
    if minor > unit.maximum_minor:
        raise _too_large(unit, param)
    _check_step(minor, unit, param)
    return minor


def parse_amount(value: object, in_currency: Currency | str, *, param: str = "amount") -> int:
    """Read an amount of major units as a caller wrote it, and return it in minor units.

    Args:
        value: `10`, `"10.10"`, `Decimal("10.1")` or `10.1`. Zeros beyond the currency's decimals
            are fine, other digits there are not: nothing is rounded.
        in_currency: a `Currency` or its code.
        param: the name that errors carry.

    Raises:
        InvalidAmount: anything that is not exactly a positive amount of this currency, up to the
            largest that Stripe takes. Whether it reaches Stripe's minimum is for
            `check_chargeable` to say: a partial refund may well be smaller.
        InvalidCurrency: an unknown currency.

    Example:
        >>> parse_amount("10.10", "usd"), parse_amount(10.1, "usd"), parse_amount(500, "jpy")
        (1010, 1010, 500)
        >>> parse_amount(0.1 + 0.2, "usd")
        Traceback (most recent call last):
        credit_payments.errors.InvalidAmount: USD amounts have at most 2 decimals.
    """
    unit = _resolve(in_currency)
    return to_minor(read_decimal(value, param=param), unit, param=param)


def check_chargeable(minor: int, in_currency: Currency | str, *, param: str = "amount") -> None:
    """Refuse what Stripe would refuse to charge.

    Stripe applies the minimum of the currency that the account settles in, after conversion; only
    for accounts that settle in the charge's own currency is ours the last word.

    Raises:
        InvalidAmount: below the minimum, above the maximum, or not a multiple of the step.

    Example:
        >>> check_chargeable(49, "usd")
        Traceback (most recent call last):
        credit_payments.errors.InvalidAmount: The least amount that can be charged is 0.50 USD.
    """
    unit = _resolve(in_currency)
    if isinstance(minor, bool) or not isinstance(minor, int):
        raise InvalidAmount("An amount of minor units is an integer.", param=param)
    if minor < unit.minimum_minor:
        least = format_amount(unit.minimum_minor, unit)
        raise InvalidAmount(f"The least amount that can be charged is {least}.", param=param)
    if minor > unit.maximum_minor:
        raise _too_large(unit, param)
    _check_step(minor, unit, param)


def to_decimal(minor: int, in_currency: Currency | str) -> Decimal:
    """Write minor units as major units, exactly, with all of the currency's decimals.

    Example:
        >>> to_decimal(1000, "usd"), to_decimal(500, "jpy"), to_decimal(1500, "bhd")
        (Decimal('10.00'), Decimal('500'), Decimal('1.500'))
    """
    # Through text, because that constructor ignores the thread's context.
    return Decimal(to_text(minor, in_currency))


def to_text(minor: int, in_currency: Currency | str) -> str:
    """Write minor units as major units, as `to_decimal` does, in plain text.

    Example:
        >>> to_text(1000, "usd")
        '10.00'
    """
    return _digits(minor, _resolve(in_currency).exponent)


def format_amount(minor: int, in_currency: Currency | str) -> str:
    """Write minor units for people and logs; not localised.

    Example:
        >>> format_amount(1050, "usd")
        '10.50 USD'
    """
    unit = _resolve(in_currency)
    return f"{_digits(minor, unit.exponent)} {unit}"


def _digits(minor: int, exponent: int) -> str:
    if exponent == 0:
        return str(minor)
    whole, fraction = divmod(abs(minor), 10**exponent)
    return f"{'-' if minor < 0 else ''}{whole}.{fraction:0{exponent}d}"


def _check_step(minor: int, unit: Currency, param: str) -> None:
    if minor % unit.step_minor:
        step = format_amount(unit.step_minor, unit)
        raise InvalidAmount(f"The amount must be a multiple of {step}.", param=param)


def _too_large(unit: Currency, param: str) -> InvalidAmount:
    most = format_amount(unit.maximum_minor, unit)
    return InvalidAmount(f"The largest amount that can be charged is {most}.", param=param)
