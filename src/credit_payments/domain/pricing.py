"""What an operator may configure about prices: rates, tiers and bonuses.

Each is read into exact fractions once, checked, and joined with the others of its currency into
the `PriceCurve` that every conversion then uses.

The words are Stripe's (https://docs.stripe.com/products-prices/pricing-models#tiered-pricing):
`tiers`, `up_to` (inclusive, the last one open), `graduated`, `volume`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

import attrs

from credit_payments.domain import money
from credit_payments.domain.curve import Line, PriceCurve, check_never_falls, line_at
from credit_payments.domain.packages import is_credits
from credit_payments.errors import ConfigurationError, InvalidRequest

__all__ = [
    "Bonus",
    "Rate",
    "Tier",
    "TierSchedule",
    "format_rate",
    "price_curve",
    "read_currency",
    "read_rate",
]

Rate = int | str | Decimal | Fraction | float
"""Credits per major unit, or a percentage: `10`, `"12.5"`, `"1/3"`, `Fraction(1, 3)`."""

Mode = Literal["graduated", "volume"]

_RATIO: Final = re.compile(r"([0-9]{1,18})/([0-9]{1,18})")
# Keeps the integers of a curve small and its rule readable; no price comes near.
_RATE_TERM_MAX: Final = 10**18
_RATE_DECIMALS_MAX: Final = 18
_RATE_EXPONENT_MAX: Final = 64
_STEPS_MAX: Final = 100


def read_rate(value: object, *, param: str) -> Fraction:
    """Read a positive rational number that an operator wrote, exactly.

    Raises:
        ConfigurationError: not a number, not positive, or with terms beyond 10**18.
    """
    if isinstance(value, Fraction):
        rate = value
    elif isinstance(value, str) and (ratio := _RATIO.fullmatch(value)) and int(ratio[2]):
        rate = Fraction(int(ratio[1]), int(ratio[2]))
    else:
        try:
            number = money.read_decimal(value, param=param)
        except InvalidRequest as error:
            raise ConfigurationError(
                'A rate is a number above zero, like 10, "12.5" or "1/3".', param=param
            ) from error
        # Before the fraction is made, for its denominator would have that many digits.
        exponent = number.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -_RATE_EXPONENT_MAX:
            raise ConfigurationError("A rate has at most 18 decimals.", param=param)
        rate = Fraction(number)
    if rate <= 0:
        raise ConfigurationError("A rate must be greater than zero.", param=param)
    if max(rate.numerator, rate.denominator) > _RATE_TERM_MAX:
        raise ConfigurationError("A rate must not need terms above 10**18.", param=param)
    return rate


def format_rate(rate: Fraction) -> str:
    """Write a rate as a decimal where it is one, else as a fraction.

    Example:
        >>> format_rate(Fraction(25, 2)), format_rate(Fraction(1, 3))
        ('12.5', '1/3')
    """
    if rate.denominator == 1:
        return str(rate.numerator)
    # A fraction ends as a decimal exactly when it has no prime factors but 2 and 5.
    for decimals in range(1, _RATE_DECIMALS_MAX + 1):
        scaled = rate * 10**decimals
        if scaled.denominator == 1:
            whole, digits = divmod(scaled.numerator, 10**decimals)
            return f"{whole}.{digits:0{decimals}d}"
    return f"{rate.numerator}/{rate.denominator}"


def read_currency(value: object, *, param: str) -> money.Currency:
    """Look up a currency that an operator named.

    Raises:
        ConfigurationError: Stripe does not charge in it.
    """
    try:
        return money.currency(value)
    except InvalidRequest as error:
        raise ConfigurationError(f"{param}: {error}", param=param) from error


def _read_bound(value: object, param: str) -> Decimal:
    try:
        return money.read_decimal(value, param=param)
    except InvalidRequest as error:
        raise ConfigurationError(f"{param}: {error}", param=param) from error


def _bound_minor(value: Decimal, unit: money.Currency, param: str) -> int:
    try:
        return money.to_minor(value, unit, param=param)
    except InvalidRequest as error:
        raise ConfigurationError(f"{param}: {error}", param=param) from error


def _read_up_to(value: money.Amount | None) -> Decimal | None:
    return None if value is None or value == "inf" else _read_bound(value, "tiers")


def _read_tier_rate(value: Rate) -> Fraction:
    return read_rate(value, param="tiers")


@attrs.frozen
class Tier:
    """One step of a schedule.

    Args:
        up_to: the last amount of the tier, in major units, inclusive; `None` or `"inf"` for the
            last tier.
        rate: credits per major unit.
    """

    up_to: Decimal | None = attrs.field(converter=_read_up_to)
    rate: Fraction = attrs.field(converter=_read_tier_rate)


def _read_code_of_tiers(value: str) -> str:
    return read_currency(value, param="tiers").code


def _read_tiers(value: Iterable[Tier]) -> tuple[Tier, ...]:
    return tuple(value)


@attrs.frozen
class TierSchedule:
    """Rates that depend on the amount.

    Args:
        tiers: by rising `up_to`, the last one open; at most 100.
        mode: `"graduated"` counts each slice of the amount at its own tier's rate, `"volume"`
            the whole amount at the rate of the tier that it reaches.
        currency: the currency of the bounds.

    Raises:
        ConfigurationError: with `param="tiers"`; also where a larger amount would buy fewer
            credits, as volume tiers with falling rates would have it.
    """

    tiers: tuple[Tier, ...] = attrs.field(converter=_read_tiers)
    mode: Mode = attrs.field(default="graduated", kw_only=True)
    currency: str = attrs.field(default="usd", kw_only=True, converter=_read_code_of_tiers)

    def __attrs_post_init__(self) -> None:
        if self.mode not in {"graduated", "volume"}:
            raise ConfigurationError('tiers: mode is "graduated" or "volume".', param="tiers")
        if not 1 <= len(self.tiers) <= _STEPS_MAX:
            raise ConfigurationError(f"tiers: give 1 to {_STEPS_MAX} tiers.", param="tiers")
        if not all(isinstance(tier, Tier) for tier in self.tiers):
            raise ConfigurationError("tiers: every one must be a Tier.", param="tiers")
        *bounded, last = self.tiers
        if last.up_to is not None or any(tier.up_to is None for tier in bounded):
            raise ConfigurationError(
                "tiers: the last tier, and no other, has up_to=None.", param="tiers"
            )
        bounds = _bounds_minor(self)
        if any(lower >= upper for lower, upper in itertools.pairwise(bounds)):
            raise ConfigurationError("tiers: up_to must rise from tier to tier.", param="tiers")
        unit = money.currency(self.currency)
        check_never_falls(_tier_lines(self), unit, param="tiers")


def _read_from(value: money.Amount) -> Decimal:
    return _read_bound(value, "bonuses")


def _read_percent(value: Rate | None) -> Fraction | None:
    return None if value is None else read_rate(value, param="bonuses")


def _read_code_of_bonus(value: str) -> str:
    return read_currency(value, param="bonuses").code


@attrs.frozen
class Bonus:
    """Credits on top, from an amount on. Only the bonus with the highest threshold met applies.

    Args:
        from_amount: the least amount that earns it, in major units.
        credits: a fixed number of credits; give either this or `percent`.
        percent: this share of the credits bought, counted before any rounding.
        currency: the currency of `from_amount`.

    Raises:
        ConfigurationError: with `param="bonuses"`.
    """

    from_amount: Decimal = attrs.field(converter=_read_from)
    credits: int | None = attrs.field(default=None, kw_only=True)
    percent: Fraction | None = attrs.field(default=None, kw_only=True, converter=_read_percent)
    currency: str = attrs.field(default="usd", kw_only=True, converter=_read_code_of_bonus)

    def __attrs_post_init__(self) -> None:
        if (self.credits is None) == (self.percent is None):
            raise ConfigurationError("bonuses: give either credits or percent.", param="bonuses")
        if self.credits is not None and not is_credits(self.credits):
            raise ConfigurationError("bonuses: credits is an integer above zero.", param="bonuses")
        _bound_minor(self.from_amount, money.currency(self.currency), "bonuses")

    @property
    def from_minor(self) -> int:
        """The threshold in minor units."""
        return _bound_minor(self.from_amount, money.currency(self.currency), "bonuses")

    def __str__(self) -> str:
        what = (
            f"{self.credits} credits" if self.percent is None else f"{format_rate(self.percent)}%"
        )
        return f"bonus {what} from {money.format_amount(self.from_minor, self.currency)}"


def _bounds_minor(schedule: TierSchedule) -> list[int]:
    unit = money.currency(schedule.currency)
    return [
        _bound_minor(tier.up_to, unit, "tiers") for tier in schedule.tiers if tier.up_to is not None
    ]


def _rate_line(rate: Fraction, unit: money.Currency) -> Line:
    rule = f"{format_rate(rate)} credits per 1 {unit}"
    return Line(unit.step_minor, rate / 10**unit.exponent, Fraction(0), rule)


def _tier_lines(schedule: TierSchedule) -> list[Line]:
    unit = money.currency(schedule.currency)
    lines: list[Line] = []
    start, reached_minor, reached_credits = unit.step_minor, 0, Fraction(0)
    bounds: list[int | None] = [*_bounds_minor(schedule), None]
    for number, (tier, bound) in enumerate(zip(schedule.tiers, bounds, strict=True), 1):
        slope = tier.rate / 10**unit.exponent
        graduated = schedule.mode == "graduated"
        offset = reached_credits - slope * reached_minor if graduated else Fraction(0)
        rule = f"{format_rate(tier.rate)} credits per 1 {unit} ({schedule.mode} tier {number})"
        lines.append(Line(start, slope, offset, rule))
        if bound is not None:
            start, reached_minor = bound + unit.step_minor, bound
            reached_credits = lines[-1].at(bound)
    return lines


def _with_bonuses(lines: Sequence[Line], bonuses: Sequence[Bonus]) -> list[Line]:
    """Cut the lines at every threshold and lift each piece by the bonus that applies there."""
    starts = sorted({line.start_minor for line in lines} | {b.from_minor for b in bonuses})
    lifted = []
    for start in starts:
        line = line_at(lines, start)
        met = [bonus for bonus in bonuses if bonus.from_minor <= start]
        factor, extra, rule = Fraction(1), Fraction(0), line.rule
        if met:
            bonus = met[-1]
            factor += (bonus.percent or Fraction(0)) / 100
            extra += bonus.credits or 0
            rule = f"{rule}, {bonus}"
        lifted.append(Line(start, line.slope * factor, line.offset * factor + extra, rule))
    return lifted


def price_curve(
    unit: money.Currency, price: Fraction | TierSchedule, bonuses: Sequence[Bonus]
) -> PriceCurve:
    """Join a rate, or a schedule, with the bonuses of the same currency.

    Raises:
        ConfigurationError: with `param="bonuses"`, when two share a threshold, there are more than
            100, or a larger amount would buy fewer credits.
    """
    if len(bonuses) > _STEPS_MAX or len({b.from_minor for b in bonuses}) < len(bonuses):
        raise ConfigurationError(
            f"bonuses: at most {_STEPS_MAX} a currency, no two from the same amount.",
            param="bonuses",
        )
    plain = _tier_lines(price) if isinstance(price, TierSchedule) else [_rate_line(price, unit)]
    lifted = _with_bonuses(plain, sorted(bonuses, key=lambda bonus: bonus.from_minor))
    check_never_falls(lifted, unit, param="bonuses")
    return PriceCurve.build(unit, plain, lifted)
