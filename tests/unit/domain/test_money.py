"""Currencies and amounts: the table of Stripe, and everything a caller may write for an amount."""

from __future__ import annotations

import decimal
import enum
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_payments.domain import money
from credit_payments.errors import InvalidAmount, InvalidCurrency
from credit_payments.testing import strategies

many = settings(max_examples=1000, deadline=None)


class TestTheTable:
    def test_the_zero_decimal_currencies_are_those_that_stripe_lists_but_ugx(self) -> None:
        zero = {unit.code for unit in money.CURRENCIES.values() if unit.exponent == 0}
        listed = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
        assert zero == set(listed.split())

    def test_three_decimal_amounts_end_in_zero(self) -> None:
        three = {unit.code for unit in money.CURRENCIES.values() if unit.exponent == 3}
        assert three == {"bhd", "jod", "kwd", "omr", "tnd"}
        assert all(money.currency(code).step_minor == 10 for code in three)

    def test_only_isk_and_ugx_count_hundredths_that_must_be_whole(self) -> None:
        whole = {unit.code for unit in money.CURRENCIES.values() if unit.step_minor == 100}
        assert whole == {"isk", "ugx"}
        assert {money.currency(code).exponent for code in whole} == {2}

    @pytest.mark.parametrize("code", ["huf", "twd"])
    def test_forint_and_taiwan_dollars_may_be_charged_with_decimals(self, code: str) -> None:
        assert money.parse_amount("200.45", code) == 20045

    @pytest.mark.parametrize(
        ("code", "minimum_minor"),
        [
            ("usd", 50),
            ("gbp", 30),
            ("jpy", 50),
            ("krw", 50),
            ("czk", 1500),
            ("huf", 17500),
            ("mxn", 1000),
            ("thb", 1000),
            ("zar", 50),
            ("kes", 1),
            ("isk", 100),
            ("bhd", 10),
        ],
    )
    def test_minimums_are_those_of_stripe_or_else_one_step(
        self, code: str, minimum_minor: int
    ) -> None:
        assert money.currency(code).minimum_minor == minimum_minor

    @pytest.mark.parametrize(
        ("code", "maximum_minor"),
        [
            ("usd", 99_999_999),
            ("jpy", 99_999_999),
            ("idr", 999_999_999_999),
            ("cop", 9_999_999_999),
            ("inr", 999_999_999),
            ("isk", 99_999_900),
            ("kwd", 99_999_990),
        ],
    )
    def test_maximums_are_the_digits_that_stripe_takes(self, code: str, maximum_minor: int) -> None:
        assert money.currency(code).maximum_minor == maximum_minor

    def test_every_limit_is_a_multiple_of_the_step(self) -> None:
        for unit in money.CURRENCIES.values():
            assert 0 < unit.minimum_minor < unit.maximum_minor
            assert unit.minimum_minor % unit.step_minor == 0
            assert unit.maximum_minor % unit.step_minor == 0

    def test_the_table_cannot_be_changed(self) -> None:
        with pytest.raises(TypeError):
            money.CURRENCIES["xxx"] = money.currency("usd")  # type: ignore[index]

    @pytest.mark.parametrize("code", ["usd", "USD", "Usd"])
    def test_codes_are_read_in_any_case(self, code: str) -> None:
        assert money.currency(code) is money.CURRENCIES["usd"]

    @pytest.mark.parametrize(
        "code",
        [
            "",
            "us",
            "usdd",
            " usd",
            "usd\n",
            "xxx",
            "\u212aes",
            "u\u017fd",
            None,
            840,
            b"usd",
            ["usd"],
            True,
            {"$gt": ""},
            "u" * 10**6,
            "xau",
            "btc",
        ],
    )
    def test_anything_else_is_no_currency(self, code: Any) -> None:
        with pytest.raises(InvalidCurrency) as caught:
            money.currency(code)
        assert caught.value.param == "currency"
        assert len(caught.value.message) < 200


class Dozen(enum.IntEnum):
    ONE = 12


class LoudFloat(float):
    def __repr__(self) -> str:
        return f"LoudFloat({float(self)})"


class TestReadingAmounts:
    @pytest.mark.parametrize(
        ("value", "code", "minor"),
        [
            (10, "usd", 1000),
            ("10", "usd", 1000),
            ("10.1", "USD", 1010),
            ("10.100", "usd", 1010),
            ("0010.10", "usd", 1010),
            (Decimal("10.10"), "usd", 1010),
            (Decimal("1E+1"), "usd", 1000),
            (Decimal("10." + "0" * 10_000), "usd", 1000),
            (10.1, "usd", 1010),
            (10.0, "usd", 1000),
            (0.01, "usd", 1),
            (LoudFloat(10.1), "usd", 1010),
            (Dozen.ONE, "usd", 1200),
            (500, "jpy", 500),
            ("500.00", "jpy", 500),
            (500.0, "jpy", 500),
            ("1.500", "bhd", 1500),
            ("1.01", "kwd", 1010),
            (5, "isk", 500),
            ("5.00", "ugx", 500),
            ("999999.99", "usd", 99_999_999),
            ("9999999999.99", "idr", 999_999_999_999),
        ],
    )
    def test_an_amount_becomes_minor_units(self, value: Any, code: str, minor: int) -> None:
        assert money.parse_amount(value, code) == minor

    @pytest.mark.parametrize(
        ("value", "code", "told"),
        [
            (-1, "usd", "greater than zero"),
            (0, "usd", "greater than zero"),
            (-0.0, "usd", "greater than zero"),
            (Decimal("-0"), "usd", "greater than zero"),
            (Decimal("0E+999999"), "usd", "greater than zero"),
            ("10.101", "usd", "at most 2 decimals"),
            (0.1 + 0.2, "usd", "at most 2 decimals"),
            (1e-7, "usd", "at most 2 decimals"),
            ("0.5", "jpy", "at most 0 decimals"),
            ("1.0001", "bhd", "at most 3 decimals"),
            ("1.005", "bhd", "multiple of 0.010 BHD"),
            ("10.50", "isk", "multiple of 1.00 ISK"),
            ("10.01", "ugx", "multiple of 1.00 UGX"),
            (1_000_000, "usd", "largest amount that can be charged is 999999.99 USD"),
            (1e22, "usd", "largest amount"),
            ("1e3", "usd", "plain digits"),
            ("-5", "usd", "plain digits"),
            ("10." + "0" * 62, "usd", "plain digits"),
            (True, "usd", "required"),
            (None, "usd", "required"),
            (b"10", "usd", "int, a Decimal, a string or a float"),
            (Fraction(1, 2), "usd", "int, a Decimal, a string or a float"),
            (float("nan"), "usd", "finite"),
            (Decimal("sNaN"), "usd", "finite"),
        ],
    )
    def test_a_refusal_names_the_limit(self, value: Any, code: str, told: str) -> None:
        with pytest.raises(InvalidAmount, match=told) as caught:
            money.parse_amount(value, code, param="price")
        assert caught.value.param == "price"

    @pytest.mark.parametrize(
        "value",
        [
            Decimal("1e999999999"),
            Decimal("1e-999999999"),
            1 << 10**6,
            "1" * 10**6,
            Decimal("1." + "0" * 10**5 + "1"),
            -(10**5000),
        ],
        ids=["huge", "tiny", "long-int", "long-text", "long-decimal", "long-negative"],
    )
    def test_monstrous_numbers_are_refused_without_work(self, value: Any) -> None:
        with pytest.raises(InvalidAmount):
            money.parse_amount(value, "usd")

    @many
    @given(strategies.bad_amounts(), strategies.currencies())
    def test_what_is_no_amount_is_refused_in_every_currency(
        self, value: Any, unit: money.Currency
    ) -> None:
        with pytest.raises(InvalidAmount) as caught:
            money.parse_amount(value, unit)
        assert caught.value.param == "amount"

    @many
    @given(st.data(), strategies.currencies())
    def test_every_way_to_write_an_amount_reads_the_same(
        self, data: st.DataObject, unit: money.Currency
    ) -> None:
        value = data.draw(strategies.amounts(unit))
        minor = money.parse_amount(value, unit)
        assert type(minor) is int
        assert Fraction(str(value)) * 10**unit.exponent == minor

    @many
    @given(st.integers(1, 99_999_999))
    def test_a_float_that_was_written_with_two_decimals_is_read_as_written(
        self, cents: int
    ) -> None:
        written = f"{cents // 100}.{cents % 100:02d}"
        assert money.parse_amount(float(written), "usd") == cents

    @many
    @given(st.text(max_size=20))
    def test_any_text_is_either_plain_digits_or_refused(self, text: str) -> None:
        try:
            minor = money.parse_amount(text, "usd")
        except InvalidAmount:
            return
        assert text.isascii()
        assert set(text) <= set("0123456789.")
        assert minor == Fraction(text) * 100

    @many
    @given(strategies.currencies(), st.integers(1, 10**6), st.integers(1, 9))
    def test_a_digit_beyond_the_currency_is_refused_not_rounded(
        self, unit: money.Currency, whole: int, digit: int
    ) -> None:
        value = Decimal(f"{whole % 1000 + 1}.{'0' * unit.exponent}{digit}")
        for written in (value, str(value), float(value)):
            with pytest.raises(InvalidAmount, match="decimals"):
                money.parse_amount(written, unit)

    def test_a_host_that_set_its_decimal_context_to_one_digit_changes_nothing(self) -> None:
        traps = [decimal.Inexact, decimal.Rounded, decimal.FloatOperation]
        with decimal.localcontext(decimal.Context(prec=1, traps=traps)):
            assert money.parse_amount("123.45", "usd") == 12345
            assert money.parse_amount(123.45, "usd") == 12345
            assert str(money.to_decimal(12345, "usd")) == "123.45"


class TestWritingAmounts:
    @pytest.mark.parametrize(
        ("minor", "code", "written"),
        [
            (1000, "usd", "10.00"),
            (1, "usd", "0.01"),
            (0, "usd", "0.00"),
            (-5, "usd", "-0.05"),
            (-1234, "usd", "-12.34"),
            (500, "jpy", "500"),
            (1500, "bhd", "1.500"),
            (500, "isk", "5.00"),
            (10**60 + 1, "usd", "1" + "0" * 57 + "0.01"),
        ],
    )
    def test_all_digits_of_the_currency_are_shown(
        self, minor: int, code: str, written: str
    ) -> None:
        assert str(money.to_decimal(minor, code)) == written
        assert money.format_amount(minor, code) == f"{written} {code.upper()}"

    @pytest.mark.parametrize("unit", money.CURRENCIES.values(), ids=money.CURRENCIES.keys())
    def test_every_currency_reads_back_what_it_writes(self, unit: money.Currency) -> None:
        for minor in (unit.step_minor, unit.minimum_minor, unit.maximum_minor):
            assert money.parse_amount(money.to_decimal(minor, unit), unit) == minor
            assert money.parse_amount(money.format_amount(minor, unit).split()[0], unit) == minor

    @many
    @given(st.data(), strategies.currencies())
    def test_reading_undoes_writing(self, data: st.DataObject, unit: money.Currency) -> None:
        minor = data.draw(strategies.amounts_minor(unit, chargeable=False))
        exact = money.to_decimal(minor, unit)
        assert type(exact) is Decimal
        exponent = exact.as_tuple().exponent
        assert exponent == -unit.exponent
        assert money.parse_amount(exact, unit) == minor
        assert money.parse_amount(str(exact), unit) == minor


class TestWhatStripeCharges:
    @pytest.mark.parametrize("unit", money.CURRENCIES.values(), ids=money.CURRENCIES.keys())
    def test_the_limits_themselves_can_be_charged_and_one_step_beyond_cannot(
        self, unit: money.Currency
    ) -> None:
        money.check_chargeable(unit.minimum_minor, unit)
        money.check_chargeable(unit.maximum_minor, unit)
        with pytest.raises(InvalidAmount, match="least amount"):
            money.check_chargeable(unit.minimum_minor - unit.step_minor, unit)
        with pytest.raises(InvalidAmount, match="largest amount"):
            money.check_chargeable(unit.maximum_minor + unit.step_minor, unit)

    @pytest.mark.parametrize(("minor", "code"), [(1050, "isk"), (1005, "kwd"), (101, "ugx")])
    def test_fractions_of_a_step_cannot_be_charged(self, minor: int, code: str) -> None:
        with pytest.raises(InvalidAmount, match="multiple"):
            money.check_chargeable(minor, code)

    @pytest.mark.parametrize("minor", [True, 10.0, "1000", None, Decimal(1000)])
    def test_only_integers_are_minor_units(self, minor: Any) -> None:
        with pytest.raises(InvalidAmount) as caught:
            money.check_chargeable(minor, "usd", param="price")
        assert caught.value.param == "price"


@pytest.mark.parametrize(
    "call",
    [
        lambda: money.parse_amount(1, "xxx"),
        lambda: money.to_decimal(1, "xxx"),
        lambda: money.format_amount(1, "xxx"),
        lambda: money.check_chargeable(1, "xxx"),
    ],
)
def test_every_function_refuses_an_unknown_currency(call: Callable[[], object]) -> None:
    with pytest.raises(InvalidCurrency):
        call()
