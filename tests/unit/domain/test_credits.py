"""What money buys: exact against a model of fractions, never falling, and readable backwards."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from credit_payments.domain import money
from credit_payments.domain.credits import (
    CREDITS_MAX,
    Bonus,
    Conversion,
    CreditCalculator,
    Tier,
    TierSchedule,
)
from credit_payments.domain.packages import DEFAULT_PACKAGES
from credit_payments.domain.pricing import Rate, read_rate
from credit_payments.errors import (
    ConfigurationError,
    InvalidAmount,
    InvalidCurrency,
    InvalidRequest,
)
from credit_payments.testing import strategies

many = settings(max_examples=1000, deadline=None)

GRADUATED = TierSchedule([Tier(10, 10), Tier(100, 12), Tier(None, 15)])
VOLUME = TierSchedule([Tier(10, 10), Tier(100, 12), Tier("inf", 15)], mode="volume")


def model(calculator: CreditCalculator, minor: int, unit: money.Currency) -> Fraction:
    """The exact credits of an amount, told the long way round, in major units."""
    amount = Fraction(minor, 10**unit.exponent)
    exact = amount * calculator.rates.get(unit.code, Fraction(0))
    for schedule in calculator.tiers:
        exact = model_of_tiers(schedule, amount)
    met = [bonus for bonus in calculator.bonuses if Fraction(bonus.from_amount) <= amount]
    if met:
        best = max(met, key=lambda bonus: bonus.from_amount)
        exact += exact * best.percent / 100 if best.percent is not None else (best.credits or 0)
    return exact


def model_of_tiers(schedule: TierSchedule, amount: Fraction) -> Fraction:
    exact, below = Fraction(0), Fraction(0)
    for tier in schedule.tiers:
        reached = tier.up_to is None or amount <= Fraction(tier.up_to)
        if schedule.mode == "volume" and reached:
            return amount * tier.rate
        top = amount if tier.up_to is None else min(amount, Fraction(tier.up_to))
        if schedule.mode == "graduated":
            exact += (top - below) * tier.rate
        if reached:
            return exact
        below = Fraction(tier.up_to or 0)
    return exact


class TestTheDefault:
    def test_ten_credits_a_dollar(self) -> None:
        calculator = CreditCalculator()
        assert calculator.credits_for("10.00") == 100
        assert calculator.credits_for(Decimal(1)) == 10
        assert calculator.amount_for(100) == Decimal("10.00")

    def test_only_dollars_are_sold(self) -> None:
        with pytest.raises(InvalidCurrency) as caught:
            CreditCalculator().credits_for(10, "eur")
        assert caught.value.param == "currency"

    def test_an_amount_too_small_for_one_credit_buys_none(self) -> None:
        assert CreditCalculator().credits_for("0.09") == 0
        assert CreditCalculator().credits_for("0.10") == 1

    def test_a_quote_tells_its_rule(self) -> None:
        assert CreditCalculator().quote(1009) == Conversion(
            credits=100, base_credits=100, bonus_credits=0, rule="10 credits per 1 USD"
        )

    def test_its_repr_is_short(self) -> None:
        calculator = CreditCalculator({"usd": "12.5", "eur": "1/3"}, tiers=GRADUATED)
        assert repr(calculator) == "<CreditCalculator graduated/usd 1/3/eur packages=0>"

    def test_it_cannot_be_changed_and_survives_a_pickle(self) -> None:
        calculator = CreditCalculator(tiers=VOLUME, bonuses=[Bonus(50, percent=10)])
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            calculator.packages = ()  # type: ignore[misc]
        with pytest.raises(TypeError):
            calculator.rates["usd"] = 1  # type: ignore[index]
        copied = pickle.loads(pickle.dumps(calculator))
        assert copied == calculator
        assert copied.credits_for(60) == calculator.credits_for(60)


class TestRates:
    @pytest.mark.parametrize(
        ("rate", "exact"),
        [
            (10, Fraction(10)),
            ("10", Fraction(10)),
            ("12.5", Fraction(25, 2)),
            (12.5, Fraction(25, 2)),
            (0.1, Fraction(1, 10)),
            ("1/3", Fraction(1, 3)),
            (Fraction(1, 3), Fraction(1, 3)),
            (Decimal("0.001"), Fraction(1, 1000)),
        ],
    )
    def test_a_rate_is_read_exactly(self, rate: Rate, exact: Fraction) -> None:
        assert read_rate(rate, param="rates") == exact
        assert CreditCalculator({"usd": rate}).rates == {"usd": exact}

    @pytest.mark.parametrize(
        "rate",
        [
            0,
            -1,
            "-1",
            "1/0",
            "0/1",
            "1/-3",
            " 1",
            "1e3",
            "",
            None,
            True,
            b"10",
            float("nan"),
            float("inf"),
            10**19,
            Fraction(1, 10**19),
            Fraction(-1, 3),
            Decimal("1e999999999"),
            Decimal("1e-999999999"),
            Decimal("0E-999999999"),
            [10],
        ],
    )
    def test_what_is_no_rate_names_the_setting(self, rate: Any) -> None:
        with pytest.raises(ConfigurationError) as caught:
            CreditCalculator({"usd": rate})
        assert caught.value.param == "rates"

    @pytest.mark.parametrize("rates", [{"xxx": 1}, {"usd": 1, "USD": 1}, {1: 1}, [("usd", 1)], 10])
    def test_rates_map_known_currencies_once(self, rates: Any) -> None:
        with pytest.raises(ConfigurationError) as caught:
            CreditCalculator(rates)
        assert caught.value.param == "rates"

    def test_a_currency_is_found_in_any_case(self) -> None:
        calculator = CreditCalculator({"JPY": "1/15"})
        assert calculator.credits_for(500, "Jpy") == 33

    def test_a_third_is_rounded_down_once_at_the_end(self) -> None:
        calculator = CreditCalculator({"usd": "1/3"})
        assert [calculator.credits_for(dollars) for dollars in (1, 2, 3, 299, 300)] == [
            0,
            0,
            1,
            99,
            100,
        ]


class TestTiers:
    @pytest.mark.parametrize(
        ("amount", "graduated", "volume"),
        [
            ("10.00", 100, 100),
            ("10.01", 100, 120),
            ("20", 220, 240),
            ("100", 1180, 1200),
            ("100.01", 1180, 1500),
            ("200", 2680, 3000),
        ],
    )
    def test_up_to_is_inclusive_and_modes_differ(
        self, amount: str, graduated: int, volume: int
    ) -> None:
        assert CreditCalculator(tiers=GRADUATED).credits_for(amount) == graduated
        assert CreditCalculator(tiers=[VOLUME]).credits_for(amount) == volume

    def test_plain_tiers_are_graduated_dollars(self) -> None:
        assert CreditCalculator(tiers=GRADUATED.tiers) == CreditCalculator(tiers=GRADUATED)

    def test_each_currency_may_have_its_own(self) -> None:
        yen = TierSchedule([Tier(1000, "0.1"), Tier(None, "0.2")], currency="JPY")
        calculator = CreditCalculator({}, tiers=[GRADUATED, yen])
        assert calculator.credits_for(2000, "jpy") == 300
        assert calculator.credits_for(20) == 220

    def test_a_quote_names_the_tier(self) -> None:
        rule = CreditCalculator(tiers=GRADUATED).quote(2000).rule
        assert rule == "12 credits per 1 USD (graduated tier 2)"

    def test_falling_rates_are_fine_where_slices_keep_theirs(self) -> None:
        tiers = TierSchedule([Tier(10, 10), Tier(None, 5)])
        assert CreditCalculator(tiers=tiers).credits_for(20) == 150

    @pytest.mark.parametrize(
        "build",
        [
            lambda: TierSchedule([]),
            lambda: TierSchedule([Tier(10, 1)]),
            lambda: TierSchedule([Tier(None, 1), Tier(None, 1)]),
            lambda: TierSchedule([Tier(20, 1), Tier(10, 1), Tier(None, 1)]),
            lambda: TierSchedule([Tier(10, 1), Tier("10.00", 2), Tier(None, 1)]),
            lambda: TierSchedule([Tier("10.001", 1), Tier(None, 1)]),
            lambda: TierSchedule([Tier("10.50", 1), Tier(None, 1)], currency="isk"),
            lambda: TierSchedule([Tier(10**7, 1), Tier(None, 1)]),
            lambda: TierSchedule([Tier(None, 1)], currency="xxx"),
            lambda: TierSchedule([Tier(None, 1)], mode="tiered"),  # type: ignore[arg-type]
            lambda: TierSchedule([(None, 1)]),  # type: ignore[list-item]
            lambda: TierSchedule([Tier(n, 1) for n in range(1, 101)] + [Tier(None, 1)]),
            lambda: Tier(None, 0),
            lambda: Tier(None, "-1"),
            lambda: Tier("ten", 1),
            lambda: TierSchedule([Tier(10, 10), Tier(None, 5)], mode="volume"),
            lambda: CreditCalculator(tiers=[GRADUATED, VOLUME]),
            lambda: CreditCalculator(tiers=[GRADUATED, Tier(None, 1)]),  # type: ignore[arg-type]
            lambda: CreditCalculator(tiers=["tier"]),  # type: ignore[arg-type]
        ],
    )
    def test_a_schedule_that_cannot_work_names_the_setting(
        self, build: Callable[[], object]
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            build()
        assert caught.value.param == "tiers"

    def test_a_last_tier_beyond_the_largest_amount_is_out_of_reach(self) -> None:
        tiers = TierSchedule([Tier("999999.99", 1), Tier(None, 100)], mode="volume")
        calculator = CreditCalculator(tiers=tiers)
        assert calculator.amount_for(999_999) == 999_999
        with pytest.raises(InvalidRequest):
            calculator.amount_for(1_000_000)


class TestBonuses:
    def test_the_highest_threshold_met_counts_alone(self) -> None:
        calculator = CreditCalculator(bonuses=[Bonus(100, percent="12.5"), Bonus(50, credits=30)])
        assert calculator.credits_for("49.99") == 499
        assert calculator.credits_for(50) == 530
        assert calculator.credits_for(100) == 1125

    def test_a_quote_shows_base_and_bonus(self) -> None:
        calculator = CreditCalculator(bonuses=[Bonus(50, percent=10)])
        assert calculator.quote(5009) == Conversion(
            credits=550,
            base_credits=500,
            bonus_credits=50,
            rule="10 credits per 1 USD, bonus 10% from 50.00 USD",
        )

    def test_a_share_is_counted_before_rounding(self) -> None:
        # 0.9 credits and 20% of them make 1.08: rounded apart, they would make none.
        calculator = CreditCalculator(bonuses=[Bonus("0.05", percent=20)])
        assert calculator.credits_for("0.09") == 1

    @pytest.mark.parametrize(
        "build",
        [
            lambda: Bonus(10),
            lambda: Bonus(10, credits=1, percent=1),
            lambda: Bonus(10, credits=0),
            lambda: Bonus(10, credits=True),
            lambda: Bonus(10, credits=1.5),  # type: ignore[arg-type]
            lambda: Bonus(10, percent=0),
            lambda: Bonus(0, credits=1),
            lambda: Bonus("ten", credits=1),
            lambda: Bonus("10.001", credits=1),
            lambda: Bonus(10, credits=1, currency="xxx"),
            lambda: CreditCalculator(bonuses=[Bonus(10, credits=1, currency="eur")]),
            lambda: CreditCalculator(bonuses=[Bonus(10, credits=1), Bonus("10.0", credits=2)]),
            lambda: CreditCalculator(bonuses=[Bonus(10, percent=50), Bonus(20, credits=5)]),
            lambda: CreditCalculator(bonuses=["bonus"]),  # type: ignore[list-item]
        ],
    )
    def test_a_bonus_that_cannot_work_names_the_setting(self, build: Callable[[], object]) -> None:
        with pytest.raises(ConfigurationError) as caught:
            build()
        assert caught.value.param == "bonuses"


class TestPackagesOfACalculator:
    calculator = CreditCalculator(packages=DEFAULT_PACKAGES, bonuses=[Bonus(1, percent=50)])

    def test_a_package_has_a_price_of_its_own(self) -> None:
        quote = self.calculator.quote(4500, "usd", "standard")
        assert quote == Conversion(
            credits=500, base_credits=500, bonus_credits=0, rule="package standard"
        )

    def test_a_package_can_be_sold_in_a_currency_without_a_rate(self) -> None:
        quote = CreditCalculator({}, packages=DEFAULT_PACKAGES).quote(1000, "USD", "basic")
        assert quote.credits == 100

    def test_a_package_costs_its_price_and_nothing_else(self) -> None:
        with pytest.raises(InvalidAmount, match=r"costs 45\.00 USD") as caught:
            self.calculator.quote(4499, "usd", "standard")
        assert caught.value.param == "amount"
        with pytest.raises(InvalidCurrency):
            self.calculator.quote(4500, "eur", "standard")

    @pytest.mark.parametrize("package_id", ["", "BASIC", "gold", 1, ["basic"], {"$gt": ""}])
    def test_an_unknown_package_is_the_callers_mistake(self, package_id: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            self.calculator.package(package_id)
        assert (caught.value.param, caught.value.error_code) == ("package_id", "package_unknown")
        with pytest.raises(InvalidRequest):
            self.calculator.quote(1000, "usd", package_id)

    @pytest.mark.parametrize(
        "packages", [["basic"], [DEFAULT_PACKAGES[0], attrs.evolve(DEFAULT_PACKAGES[0], name="B")]]
    )
    def test_packages_are_packages_of_different_ids(self, packages: Any) -> None:
        with pytest.raises(ConfigurationError) as caught:
            CreditCalculator(packages=packages)
        assert caught.value.param == "packages"


class TestBadCalls:
    @many
    @given(strategies.bad_amounts())
    def test_what_is_no_amount_buys_nothing(self, amount: Any) -> None:
        with pytest.raises(InvalidAmount) as caught:
            CreditCalculator().credits_for(amount)
        assert caught.value.param == "amount"

    @pytest.mark.parametrize("minor", [0, -1, True, 10.0, "1000", None, Decimal(1000)])
    def test_minor_units_are_positive_integers(self, minor: Any) -> None:
        for call in (CreditCalculator().credits_for_minor, CreditCalculator().quote):
            with pytest.raises(InvalidAmount):
                call(minor, "usd")

    @pytest.mark.parametrize("currency", ["xxx", "eur", None, 1, ["usd"], {"$gt": ""}])
    def test_a_currency_that_is_not_sold_is_refused_by_every_method(self, currency: Any) -> None:
        calculator = CreditCalculator(packages=DEFAULT_PACKAGES)
        for call in (
            lambda: calculator.credits_for(10, currency),
            lambda: calculator.credits_for_minor(1000, currency),
            lambda: calculator.amount_for(10, currency),
            lambda: calculator.quote(1000, currency),
            lambda: calculator.quote(1000, currency, "basic"),
        ):
            with pytest.raises(InvalidCurrency) as caught:
                call()
            assert caught.value.param == "currency"

    @pytest.mark.parametrize(
        "wanted", [0, -1, True, 1.0, "10", None, CREDITS_MAX + 1, 10_000_000, Decimal(10)]
    )
    def test_credits_that_no_amount_buys_are_refused(self, wanted: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            CreditCalculator().amount_for(wanted)
        assert caught.value.param == "credits"

    def test_no_sale_gives_more_than_every_json_reader_can_hold(self) -> None:
        calculator = CreditCalculator({"usd": CREDITS_MAX})
        assert calculator.credits_for(1) == CREDITS_MAX
        for call in (calculator.credits_for, calculator.credits_for_minor, calculator.quote):
            with pytest.raises(InvalidAmount, match=str(CREDITS_MAX)):
                call(101)
        with pytest.raises(InvalidAmount):
            calculator.credits_for_minor(10**5000)

    def test_a_rate_that_leaps_over_the_limit_reaches_no_further(self) -> None:
        calculator = CreditCalculator({"usd": 10**18})  # 10**16 credits a cent, over the limit
        with pytest.raises(InvalidRequest) as caught:
            calculator.amount_for(1)
        assert caught.value.param == "credits"


@pytest.mark.long
class TestLaws:
    @many
    @given(st.data(), strategies.currencies())
    def test_credits_are_the_exact_value_rounded_down(
        self, data: st.DataObject, unit: money.Currency
    ) -> None:
        calculator = data.draw(strategies.calculators(unit))
        minor = data.draw(strategies.amounts_minor(unit, chargeable=False))
        bought = calculator.credits_for_minor(minor, unit.code)
        assert type(bought) is int
        assert bought <= model(calculator, minor, unit) < bought + 1
        assert calculator.credits_for(money.to_decimal(minor, unit), unit.code) == bought

    @many
    @given(st.data(), strategies.currencies())
    def test_a_quote_adds_up_and_agrees_with_the_conversion(
        self, data: st.DataObject, unit: money.Currency
    ) -> None:
        calculator = data.draw(strategies.calculators(unit))
        minor = data.draw(strategies.amounts_minor(unit, chargeable=False))
        quote = calculator.quote(minor, unit.code)
        plain = attrs.evolve(calculator, bonuses=())
        assert quote.credits == calculator.credits_for_minor(minor, unit.code)
        assert quote.base_credits == plain.credits_for_minor(minor, unit.code)
        assert quote.bonus_credits == quote.credits - quote.base_credits >= 0
        assert 0 < len(quote.rule) <= 200

    @many
    @given(st.data(), strategies.currencies())
    def test_more_money_never_buys_fewer_credits(
        self, data: st.DataObject, unit: money.Currency
    ) -> None:
        calculator = data.draw(strategies.calculators(unit))
        amounts = strategies.amounts_minor(unit, chargeable=False)
        less, more = sorted((data.draw(amounts), data.draw(amounts)))
        assert calculator.credits_for_minor(less, unit.code) <= calculator.credits_for_minor(
            more, unit.code
        )

    @many
    @given(st.data(), strategies.currencies())
    def test_the_amount_for_credits_buys_them_and_one_step_less_does_not(
        self, data: st.DataObject, unit: money.Currency
    ) -> None:
        calculator = data.draw(strategies.calculators(unit))
        most = calculator.credits_for_minor(unit.maximum_minor, unit.code)
        assume(most)
        wanted = data.draw(st.integers(1, most) | st.integers(1, min(most, 1000)))
        amount = calculator.amount_for(wanted, unit.code)
        assert type(amount) is Decimal
        assert calculator.credits_for(amount, unit.code) >= wanted
        one_step_less = money.parse_amount(amount, unit) - unit.step_minor
        if one_step_less:
            assert calculator.credits_for_minor(one_step_less, unit.code) < wanted

    @many
    @given(st.integers(1, 99_999_999), strategies.rates())
    def test_a_float_buys_what_its_shortest_text_buys(self, cents: int, rate: Rate) -> None:
        calculator = CreditCalculator({"usd": rate})
        written = f"{cents // 100}.{cents % 100:02d}"
        assert calculator.credits_for(float(written)) == calculator.credits_for(written)
