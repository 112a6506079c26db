"""What we read of Stripe's objects: the few fields that decide something, typed.

The same structs are filled from a webhook's bytes and from the API's answers, whatever API
version wrote them and whether references came expanded or not. Everything else in a payload is
skipped unread, personal data included.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Reference(msgspec.Struct, frozen=True):
    """An expanded object of which only the id matters."""

    id: str


Ref: TypeAlias = str | Reference | None


def ref_id(ref: Ref) -> str | None:
    """The id behind a reference, expanded or not.

    >>> ref_id("ch_1"), ref_id(Reference("ch_1")), ref_id(None)
    ('ch_1', 'ch_1', None)
    """
    return ref.id if isinstance(ref, Reference) else ref


class PaymentError(msgspec.Struct, frozen=True):
    """Why the last attempt to pay failed (`last_payment_error`)."""

    type: str = "api_error"
    code: str | None = None
    decline_code: str | None = None
    message: str | None = None
    charge: Ref = None


class PaymentIntentFacts(msgspec.Struct, frozen=True):
    """https://docs.stripe.com/api/payment_intents/object; amounts in minor units."""

    id: str
    status: str
    amount: int
    currency: str
    created: int
    amount_received: int = 0
    metadata: dict[str, str] = {}
    customer: Ref = None
    latest_charge: Ref = None
    last_payment_error: PaymentError | None = None
    client_secret: str | None = None
    livemode: bool = False

    def __repr__(self) -> str:
        # The client secret lets whoever holds it pay and read: it stays out of logs.
        return f"PaymentIntentFacts({self.id!r}, {self.status!r}, {self.amount} {self.currency})"


class RefundFacts(msgspec.Struct, frozen=True):
    """https://docs.stripe.com/api/refunds/object; `amount` in minor units."""

    id: str
    amount: int
    currency: str
    status: str | None = None
    payment_intent: Ref = None
    charge: Ref = None
    reason: str | None = None


class DisputeFacts(msgspec.Struct, frozen=True):
    """https://docs.stripe.com/api/disputes/object; `amount` in minor units."""

    id: str
    amount: int
    currency: str
    reason: str
    status: str
    created: int
    payment_intent: Ref = None
    charge: Ref = None


class CustomerFacts(msgspec.Struct, frozen=True):
    """https://docs.stripe.com/api/customers/object."""

    id: str
    created: int = 0
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    metadata: dict[str, str] = {}
    deleted: bool = False

    def __repr__(self) -> str:
        return f"CustomerFacts({self.id!r})"


class CardFacts(msgspec.Struct, frozen=True):
    """The card of a payment method: what may be shown of it."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int


class PaymentMethodFacts(msgspec.Struct, frozen=True):
    """https://docs.stripe.com/api/payment_methods/object."""

    id: str
    type: str
    created: int
    customer: Ref = None
    card: CardFacts | None = None
