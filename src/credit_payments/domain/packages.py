"""Credit packages: a number of credits at a price of its own, whatever the rates are."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

import attrs

from credit_payments.domain import money
from credit_payments.errors import ConfigurationError, InvalidRequest

__all__ = ["CREDITS_MAX", "DEFAULT_PACKAGES", "CreditPackage", "is_credits"]

CREDITS_MAX: Final = 2**53 - 1
"""The most credits one sale may give: the largest integer that every JSON reader keeps exact
(RFC 8259, section 6; JavaScript's `Number.MAX_SAFE_INTEGER`)."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TEXT_LENGTH_MAX: Final = 500


def is_credits(value: object) -> bool:
    """Tell whether `value` is a number of credits that can be sold: 1 to `CREDITS_MAX`."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= CREDITS_MAX


def _read_price(value: money.Amount) -> Decimal:
    try:
        return money.read_decimal(value, param="packages")
    except InvalidRequest as error:
        raise ConfigurationError(f"A package's price: {error}", param="packages") from error


def _read_code(value: str) -> str:
    try:
        return money.currency(value).code
    except InvalidRequest as error:
        raise ConfigurationError(f"A package's currency: {error}", param="packages") from error


@attrs.frozen
class CreditPackage:
    """Credits that are sold together, at their own price.

    Args:
        id: what the customer's choice is called in requests: 1 to 64 of `A-Z a-z 0-9 _ -`.
        name: what the customer reads.
        credits: how many credits it holds, 1 to `CREDITS_MAX`.
        price: in major units of `currency`; kept as a `Decimal` with all of its decimals.
        currency: an ISO 4217 code.
        description: a sentence for the customer.

    Raises:
        ConfigurationError: with `param="packages"`, when Stripe could not charge the price or
            another argument is out of its bounds.

    Example:
        >>> CreditPackage("basic", "Basic Package", 100, "10").price
        Decimal('10.00')
    """

    id: str
    name: str
    credits: int
    price: Decimal = attrs.field(converter=_read_price)
    currency: str = attrs.field(default="usd", converter=_read_code)
    description: str = ""

    def __attrs_post_init__(self) -> None:
        if not _is_text(self.id) or _ID.fullmatch(self.id) is None:
            raise ConfigurationError(
                "A package id is 1 to 64 letters, digits, '_' or '-'.", param="packages"
            )
        if not _is_text(self.name) or not self.name.strip():
            raise ConfigurationError(f"Package {self.id} needs a name.", param="packages")
        if not _is_text(self.description):
            raise ConfigurationError(
                f"The description of package {self.id} is no short text.", param="packages"
            )
        if not is_credits(self.credits):
            raise ConfigurationError(
                f"Package {self.id} must hold 1 to {CREDITS_MAX} credits.", param="packages"
            )
        try:
            price_minor = self.price_minor
            money.check_chargeable(price_minor, self.currency)
        except InvalidRequest as error:
            raise ConfigurationError(f"Package {self.id}: {error}", param="packages") from error
        object.__setattr__(self, "price", money.to_decimal(price_minor, self.currency))

    @property
    def price_minor(self) -> int:
        """The price in minor units, as Stripe is asked for it."""
        return money.to_minor(self.price, self.currency)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_LENGTH_MAX


DEFAULT_PACKAGES: Final = (
    CreditPackage(
        id="basic",
        name="Basic Package",
        credits=100,
        price=Decimal("10.00"),
        description="100 credits for $10",
    ),
    CreditPackage(
        id="standard",
        name="Standard Package",
        credits=500,
        price=Decimal("45.00"),
        description="500 credits for $45 (10% discount)",
    ),
)
"""What is sold where a host application configures no packages of its own."""
