"""The calculator: what an amount of money buys, and what a number of credits costs.

All of it is exact rational arithmetic. There is one rounding rule: **down, once, at the end**, for
a customer who got too little can be topped up, while one who got too much cannot be asked back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import TypeVar, cast

import attrs

from credit_payments.domain import money
from credit_payments.domain.curve import PriceCurve
from credit_payments.domain.packages import CREDITS_MAX, CreditPackage, is_credits
from credit_payments.domain.pricing import (
    Bonus,
    Rate,
    Tier,
    TierSchedule,
    format_rate,
    price_curve,
    read_currency,
    read_rate,
)
from credit_payments.errors import (
    ConfigurationError,
    InvalidAmount,
    InvalidCurrency,
    InvalidRequest,
)

Found = TypeVar("Found")

__all__ = [
    "CREDITS_MAX",
    "Bonus",
    "Conversion",
    "CreditCalculator",
    "Tier",
    "TierSchedule",
]


@attrs.frozen(kw_only=True)
class Conversion:
    """What an amount buys, and why; kept with the payment, so that it can be explained later.

    Args:
        credits: all of them; `base_credits + bonus_credits`.
        base_credits: what the rate, the tiers or the package give, rounded down.
        bonus_credits: the rest.
        rule: the rule that applied, in a few words, such as `"10 credits per 1 USD"`.
    """

    credits: int
    base_credits: int
    bonus_credits: int
    rule: str


def _read_rates(rates: Mapping[str, Rate]) -> Mapping[str, Fraction]:
    if not isinstance(rates, Mapping):
        raise ConfigurationError('rates maps currencies to rates: {"usd": 10}.', param="rates")
    read: dict[str, Fraction] = {}
    for code, rate in rates.items():
        unit = read_currency(code, param="rates")
        if unit.code in read:
            raise ConfigurationError(f"rates: {unit} is given twice.", param="rates")
        read[unit.code] = read_rate(rate, param="rates")
    return read


def _read_tiers(
    tiers: TierSchedule | Iterable[TierSchedule] | Iterable[Tier] | None,
) -> tuple[TierSchedule, ...]:
    if tiers is None:
        return ()
    if isinstance(tiers, TierSchedule):
        return (tiers,)
    given = tuple(tiers)
    schedules = tuple(item for item in given if isinstance(item, TierSchedule))
    if len(schedules) == len(given):
        if len({schedule.currency for schedule in schedules}) < len(schedules):
            raise ConfigurationError("tiers: one schedule a currency.", param="tiers")
        return schedules
    # A schedule refuses whatever is no tier, so a mixture of both does not pass either.
    return (TierSchedule(cast("tuple[Tier, ...]", given)),)


def _read_packages(packages: Iterable[CreditPackage]) -> tuple[CreditPackage, ...]:
    given = tuple(packages)
    if not all(isinstance(package, CreditPackage) for package in given):
        raise ConfigurationError("packages: every one must be a CreditPackage.", param="packages")
    if len({package.id for package in given}) < len(given):
        raise ConfigurationError("packages: every id must be different.", param="packages")
    return given


def _read_bonuses(bonuses: Iterable[Bonus]) -> tuple[Bonus, ...]:
    given = tuple(bonuses)
    if not all(isinstance(bonus, Bonus) for bonus in given):
        raise ConfigurationError("bonuses: every one must be a Bonus.", param="bonuses")
    return given


@attrs.frozen(repr=False)
class CreditCalculator:
    """Converts money to credits and credits to money. Immutable, so threads may share it.

    Args:
        rates: credits per **one major unit** (a dollar, a yen), by currency. A currency without a
            rate and without tiers is not sold. This replaces the hook that applications used to
            override to change the price of a credit.
        tiers: a `TierSchedule`, several (one a currency), or plain tiers, which are graduated
            ones in US dollars. A schedule takes the place of its currency's rate.
        packages: what is sold at a price of its own; neither tiers nor bonuses touch it.
        bonuses: credits on top from an amount on; only the highest threshold met counts.

    Raises:
        ConfigurationError: naming the argument in `param`.

    Example:
        >>> calculator = CreditCalculator(rates={"usd": 10, "jpy": "1/15"})
        >>> calculator.credits_for("10.00"), calculator.credits_for(500, "jpy")
        (100, 33)
        >>> calculator.amount_for(101)
        Decimal('10.10')
    """

    _rates: Mapping[str, Fraction] = attrs.field(factory=lambda: {"usd": 10}, converter=_read_rates)
    tiers: tuple[TierSchedule, ...] = attrs.field(default=None, kw_only=True, converter=_read_tiers)
    packages: tuple[CreditPackage, ...] = attrs.field(
        default=(), kw_only=True, converter=_read_packages
    )
    bonuses: tuple[Bonus, ...] = attrs.field(default=(), kw_only=True, converter=_read_bonuses)
    _curves: dict[str, PriceCurve] = attrs.field(init=False, eq=False)
    _packages_by_id: dict[str, CreditPackage] = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        prices: dict[str, Fraction | TierSchedule] = dict(self._rates)
        prices.update((schedule.currency, schedule) for schedule in self.tiers)
        for bonus in self.bonuses:
            if bonus.currency not in prices:
                raise ConfigurationError(
                    f"bonuses: {bonus.currency.upper()} has no rate.", param="bonuses"
                )
        curves = {
            code: price_curve(
                money.currency(code),
                price,
                [bonus for bonus in self.bonuses if bonus.currency == code],
            )
            for code, price in prices.items()
        }
        object.__setattr__(self, "_curves", curves)
        by_id = {package.id: package for package in self.packages}
        object.__setattr__(self, "_packages_by_id", by_id)

    @property
    def rates(self) -> Mapping[str, Fraction]:
        """Credits per major unit, by currency, exactly."""
        return MappingProxyType(dict(self._rates))

    def credits_for(self, amount: money.Amount, currency: str = "usd") -> int:
        """How many credits `amount` (major units) buys, rounded down.

        The answer is 0 where the amount is too small to buy one credit; the payments client
        refuses to sell that.

        Raises:
            InvalidAmount: not an amount of this currency, or it would buy over `CREDITS_MAX`.
            InvalidCurrency: unknown, or not sold here.

        Example:
            >>> CreditCalculator().credits_for("0.19")
            1
        """
        curve = self._curve(currency)
        return _bounded(curve.credits(money.parse_amount(amount, curve.unit)))

    def credits_for_minor(self, amount_minor: int, currency: str = "usd") -> int:
        """How many credits an amount in minor units buys, rounded down.

        Any positive integer is taken, also one that Stripe would not charge: what has been paid
        already is not refused for its size.

        Raises:
            InvalidAmount: not a positive integer, or it would buy over `CREDITS_MAX`.
            InvalidCurrency: unknown, or not sold here.
        """
        curve = self._curve(currency)
        return _bounded(curve.credits(_positive(amount_minor)))

    def amount_for(self, credits: int, currency: str = "usd") -> Decimal:
        """The least amount, in major units, that buys at least `credits`.

        It may lie below the least that Stripe charges.

        Raises:
            InvalidRequest: with `param="credits"`: not an integer from 1 to `CREDITS_MAX`, or
                more than the currency's largest amount buys.
            InvalidCurrency: unknown, or not sold here.
        """
        curve = self._curve(currency)
        if not is_credits(credits):
            raise InvalidRequest(f"Credits are an integer, 1 to {CREDITS_MAX}.", param="credits")
        minor = curve.least_minor(credits)
        # At a very high rate a single step can leap from below `credits` to beyond what is sold.
        if minor is None or curve.credits(minor) > CREDITS_MAX:
            raise InvalidRequest("No amount buys this many credits.", param="credits")
        return money.to_decimal(minor, curve.unit)

    def quote(
        self, amount_minor: int, currency: str = "usd", package_id: str | None = None
    ) -> Conversion:
        """What a sale gives, and by which rule.

        Raises:
            InvalidAmount: as `credits_for_minor`, or not the price of the package.
            InvalidCurrency: unknown, not sold here, or not the package's.
            InvalidRequest: an unknown package.

        Example:
            >>> CreditCalculator().quote(1000).rule
            '10 credits per 1 USD'
        """
        if package_id is not None:
            return self._quote_package(_positive(amount_minor), currency, package_id)
        curve = self._curve(currency)
        minor = _positive(amount_minor)
        total = _bounded(curve.credits(minor))
        base_credits = curve.plain_credits(minor)
        return Conversion(
            credits=total,
            base_credits=base_credits,
            bonus_credits=total - base_credits,
            rule=curve.rule(minor),
        )

    def package(self, package_id: str) -> CreditPackage:
        """The package of this id.

        Raises:
            InvalidRequest: with `code="package_unknown"`, when there is none.
        """
        package = _by_text(self._packages_by_id, package_id)
        if package is None:
            raise InvalidRequest(
                "There is no such credit package.", param="package_id", code="package_unknown"
            )
        return package

    def _quote_package(self, minor: int, currency: str, package_id: str) -> Conversion:
        package = self.package(package_id)
        if money.currency(currency).code != package.currency:
            raise InvalidCurrency(
                f"Package {package.id} is sold in {package.currency.upper()}.", param="currency"
            )
        if minor != package.price_minor:
            price = money.format_amount(package.price_minor, package.currency)
            raise InvalidAmount(f"Package {package.id} costs {price}.", param="amount")
        return Conversion(
            credits=package.credits,
            base_credits=package.credits,
            bonus_credits=0,
            rule=f"package {package.id}",
        )

    def _curve(self, currency: str) -> PriceCurve:
        # The usual spelling first; anything else is looked up, or refused, by `money`.
        curve = _by_text(self._curves, currency)
        if curve is None:
            curve = self._curves.get(money.currency(currency).code)
        if curve is None:
            raise InvalidCurrency("Credits are not sold in this currency.", param="currency")
        return curve

    def __repr__(self) -> str:
        prices = {code: f"{format_rate(rate)}/{code}" for code, rate in self._rates.items()}
        prices.update((tiers.currency, f"{tiers.mode}/{tiers.currency}") for tiers in self.tiers)
        return f"<CreditCalculator {' '.join(prices.values())} packages={len(self.packages)}>"


def _by_text(table: Mapping[str, Found], key: object) -> Found | None:
    """Look up what a caller sent; it may be anything, even unhashable."""
    return table.get(key) if isinstance(key, str) else None


def _positive(amount_minor: object) -> int:
    if isinstance(amount_minor, bool) or not isinstance(amount_minor, int) or amount_minor <= 0:
        raise InvalidAmount("An amount of minor units is an integer above zero.", param="amount")
    return amount_minor


def _bounded(bought: int) -> int:
    if bought > CREDITS_MAX:
        raise InvalidAmount(f"The amount buys more than {CREDITS_MAX} credits.", param="amount")
    return bought
