"""Packages: what may be sold at a price of its own."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from credit_payments.domain import money
from credit_payments.domain.packages import CREDITS_MAX, DEFAULT_PACKAGES, CreditPackage
from credit_payments.errors import ConfigurationError
from credit_payments.testing import strategies


def test_the_default_packages_are_basic_and_standard() -> None:
    basic, standard = DEFAULT_PACKAGES
    assert (basic.id, basic.name, basic.credits, basic.price) == (
        "basic",
        "Basic Package",
        100,
        Decimal("10.00"),
    )
    assert (standard.credits, standard.price_minor) == (500, 4500)
    assert standard.description == "500 credits for $45 (10% discount)"


@pytest.mark.parametrize(
    ("price", "currency", "kept"),
    [(10, "usd", "10.00"), ("10.5", "USD", "10.50"), (10.1, "usd", "10.10"), ("500", "jpy", "500")],
)
def test_a_price_is_kept_with_all_digits_of_its_currency(
    price: money.Amount, currency: str, kept: str
) -> None:
    package = CreditPackage("a", "A", 1, price, currency)
    assert str(package.price) == kept
    assert package.currency == currency.lower()


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": "a b"},
        {"id": "a\n"},
        {"id": "\u00e4"},
        {"id": "a" * 65},
        {"id": 1},
        {"name": ""},
        {"name": "  "},
        {"name": None},
        {"description": None},
        {"description": "x" * 501},
        {"credits": 0},
        {"credits": -1},
        {"credits": True},
        {"credits": 1.5},
        {"credits": "100"},
        {"credits": CREDITS_MAX + 1},
        {"price": 0},
        {"price": "0.49"},
        {"price": "10.001"},
        {"price": 1_000_000},
        {"price": "ten"},
        {"price": None},
        {"currency": "xxx"},
        {"currency": None},
        {"currency": "isk", "price": "100.50"},
    ],
)
def test_a_package_that_cannot_be_sold_names_the_setting(wrong: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"id": "a", "name": "A", "credits": 1, "price": 10}
    with pytest.raises(ConfigurationError) as caught:
        CreditPackage(**(fields | wrong))
    assert caught.value.param == "packages"


@settings(max_examples=1000, deadline=None)
@given(strategies.packages("bhd"))
def test_a_package_survives_being_written_and_read(package: CreditPackage) -> None:
    assert CreditPackage(**attrs.asdict(package)) == package
    assert money.to_decimal(package.price_minor, package.currency) == package.price
