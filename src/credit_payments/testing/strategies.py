"""Hypothesis strategies for money, prices and ids, for property-based tests of a host application.

They need Hypothesis, which the `test` extra installs; no other module of the library does.

Example:
    >>> from hypothesis import given
    >>> @given(calculators(), amounts("usd"))
    ... def test_the_price_of_what_an_amount_buys_is_no_higher(calculator, amount):
    ...     bought = calculator.credits_for(amount)
    ...     if bought:
    ...         assert calculator.amount_for(bought) <= Decimal(str(amount))
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    raise ImportError(
        "credit_payments.testing.strategies needs Hypothesis: pip install 'credit-payments[test]'"
    ) from error

from credit_payments.domain import money
from credit_payments.domain.credits import CreditCalculator
from credit_payments.domain.packages import CreditPackage
from credit_payments.domain.pricing import Bonus, Mode, Rate, Tier, TierSchedule

__all__ = [
    "amounts",
    "amounts_minor",
    "bad_amounts",
    "bonuses",
    "calculators",
    "currencies",
    "packages",
    "payment_intent_ids",
    "rates",
    "tier_schedules",
    "user_ids",
]

# Low enough that no amount of any currency buys more credits than one sale may give.
_RATE_MAX: Final = 10_000
_TIERS_MAX: Final = 5
_USER_ID_LENGTH_MAX: Final = 255


def currencies() -> st.SearchStrategy[money.Currency]:
    """Every currency that Stripe charges in, the unusual ones first among equals."""
    unusual = [money.currency(code) for code in ("usd", "jpy", "bhd", "isk", "ugx", "huf", "idr")]
    return st.one_of(st.sampled_from(unusual), st.sampled_from(list(money.CURRENCIES.values())))


def amounts_minor(
    currency: money.Currency | str = "usd", *, chargeable: bool = True
) -> st.SearchStrategy[int]:
    """Amounts in minor units that Stripe charges; or, not `chargeable`, also below its minimum."""
    unit = _unit(currency)
    least = unit.minimum_minor if chargeable else unit.step_minor
    return st.integers(-(-least // unit.step_minor), unit.maximum_minor // unit.step_minor).map(
        lambda steps: steps * unit.step_minor
    )


def amounts(
    currency: money.Currency | str = "usd", *, chargeable: bool = True
) -> st.SearchStrategy[money.Amount]:
    """Valid amounts in major units, in each way that a caller may write one."""
    unit = _unit(currency)

    def ways_to_write(minor: int) -> st.SearchStrategy[money.Amount]:
        exact = money.to_decimal(minor, unit)
        ways: list[money.Amount] = [exact, str(exact), exact.normalize()]
        if "." in str(exact):
            ways += [f"{exact}000", str(exact).rstrip("0").rstrip(".")]
        if exact == int(exact):
            ways.append(int(exact))
        # Fifteen digits survive the way into a double and back; no amount here has more.
        ways.append(float(str(exact)))
        return st.sampled_from(ways)

    return amounts_minor(unit, chargeable=chargeable).flatmap(ways_to_write)


def bad_amounts() -> st.SearchStrategy[Any]:
    """What no currency accepts as an amount: wrong types, signs, sizes, digits and notations."""
    negative = st.one_of(
        st.integers(max_value=0),
        st.decimals(max_value=0, allow_nan=False, allow_infinity=False),
        st.floats(max_value=0, allow_nan=False),
        st.integers(max_value=0).map(str),
    )
    too_large = st.one_of(
        st.integers(min_value=10**10),
        st.integers(min_value=10**10).map(str),
        st.floats(min_value=1e11),
        st.sampled_from([10**5000, Decimal("1e999999999"), "9" * 5000]),
    )
    too_precise = st.one_of(
        st.integers(1, 9).map(lambda digit: f"1.000{digit}"),
        st.integers(1, 9).map(lambda digit: Decimal((0, (1, 0, 0, 0, digit), -4))),
        st.sampled_from([0.1 + 0.2, 1e-9, Decimal("1e-999999999")]),
    )
    wrong_notation = st.sampled_from(
        [
            "",
            " ",
            " 10",
            "10 ",
            "10\n",
            "+10",
            "1_000",
            "1,000",
            "1e3",
            "0x10",
            "10.",
            ".5",
            "1.2.3",
            "nan",
            "NaN",
            "inf",
            "Infinity",
            "\u0661\u0660",
            "\uff11\uff10",
            "\u00b2",
            "$10",
            "ten",
            "1\x000",
            "10" + "0" * 100,
        ]
    )
    wrong_value = st.one_of(
        st.none(),
        st.booleans(),
        st.binary(),
        st.lists(st.integers()),
        st.dictionaries(st.text(max_size=3), st.integers()),
        st.complex_numbers(),
        st.fractions(),
        st.sampled_from([float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN")]),
        st.sampled_from([Decimal("Infinity"), Decimal("-Infinity"), object(), int, {1, 2}]),
    )
    return st.one_of(negative, too_large, too_precise, wrong_notation, wrong_value)


def rates() -> st.SearchStrategy[Rate]:
    """Credits per major unit, in each way that an operator may write them."""
    fractions = st.builds(Fraction, st.integers(1, _RATE_MAX), st.integers(1, 10**6))
    hundredths = st.integers(1, _RATE_MAX * 100).map(lambda n: Decimal((0, _digits(n), -2)))
    return st.one_of(
        st.integers(1, _RATE_MAX),
        hundredths,
        hundredths.map(str),
        hundredths.map(float),
        fractions,
        fractions.map(lambda rate: f"{rate.numerator}/{rate.denominator}"),
    )


@st.composite
def tier_schedules(draw: st.DrawFn, currency: money.Currency | str = "usd") -> TierSchedule:
    """Schedules of one to five tiers, graduated ones of any rates, volume ones of rising rates."""
    unit = _unit(currency)
    mode: Mode = draw(st.sampled_from(["graduated", "volume"]))
    bounds = draw(
        st.lists(amounts_minor(unit, chargeable=False), unique=True, max_size=_TIERS_MAX - 1)
    )
    up_to = [*(money.to_decimal(bound, unit) for bound in sorted(bounds)), None]
    tier_rates = draw(_fraction_lists(len(up_to)))
    if mode == "volume":
        tier_rates = sorted(tier_rates)
    tiers = [Tier(bound, rate) for bound, rate in zip(up_to, tier_rates, strict=True)]
    return TierSchedule(tiers, mode=mode, currency=unit.code)


@st.composite
def bonuses(draw: st.DrawFn, currency: money.Currency | str = "usd") -> tuple[Bonus, ...]:
    """Up to four bonuses that rise with the amount, all of credits or all of percentages."""
    unit = _unit(currency)
    thresholds = sorted(
        draw(st.lists(amounts_minor(unit, chargeable=False), unique=True, max_size=_TIERS_MAX - 1))
    )
    sizes = draw(
        st.lists(
            st.integers(1, 100),
            min_size=len(thresholds),
            max_size=len(thresholds),
        ).map(sorted)
    )
    in_percent = draw(st.booleans())
    return tuple(
        Bonus(
            money.to_decimal(threshold, unit),
            credits=None if in_percent else size,
            percent=size if in_percent else None,
            currency=unit.code,
        )
        for threshold, size in zip(thresholds, sizes, strict=True)
    )


@st.composite
def packages(draw: st.DrawFn, currency: money.Currency | str = "usd") -> CreditPackage:
    """Packages at any price that can be charged."""
    unit = _unit(currency)
    return CreditPackage(
        id=draw(st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)),
        name=draw(st.text("abcdefghij KLMNOP", min_size=1, max_size=30).filter(str.strip)),
        credits=draw(st.integers(1, 10**9)),
        price=money.to_decimal(draw(amounts_minor(unit)), unit),
        currency=unit.code,
    )


@st.composite
def calculators(draw: st.DrawFn, currency: money.Currency | str = "usd") -> CreditCalculator:
    """Calculators that sell in `currency`, by a rate or by tiers, with or without bonuses."""
    unit = _unit(currency)
    schedule = draw(st.none() | tier_schedules(unit))
    return CreditCalculator(
        {unit.code: draw(rates())},
        tiers=schedule,
        bonuses=draw(st.just(()) | bonuses(unit)),
        packages=draw(st.just([]) | st.lists(packages(unit), max_size=2, unique_by=lambda p: p.id)),
    )


def payment_intent_ids() -> st.SearchStrategy[str]:
    """Ids of payment intents, of the form that Stripe gives them."""
    alphabet = string.ascii_letters + string.digits
    return st.text(alphabet, min_size=14, max_size=30).map(lambda text: f"pi_{text}")


def user_ids() -> st.SearchStrategy[str]:
    """User ids of a host: 1 to 255 printable characters of any script, some of them awkward."""
    printable = st.characters(categories=("L", "M", "N", "P", "S"), include_characters=" ")
    awkward = ["0", "user-1", "user:1", "a/../b", "\u0130stanbul", "\u05e9\u05dc\u05d5\u05dd"]
    awkward += ["Zoe\u0308", "\U0001f4b3", "$gt", '{"$gt": ""}', "' OR 1=1 --", "%s", "x" * 255]
    return st.one_of(
        st.sampled_from(awkward),
        st.text(printable, min_size=1, max_size=_USER_ID_LENGTH_MAX).filter(
            lambda text: text == text.strip() and text.isprintable()
        ),
    )


def _unit(currency: money.Currency | str) -> money.Currency:
    return currency if isinstance(currency, money.Currency) else money.currency(currency)


def _digits(number: int) -> tuple[int, ...]:
    return tuple(int(digit) for digit in str(number))


def _fraction_lists(size: int) -> st.SearchStrategy[Sequence[Fraction]]:
    rate = st.builds(Fraction, st.integers(1, _RATE_MAX), st.integers(1, 1000))
    return st.lists(rate, min_size=size, max_size=size)
