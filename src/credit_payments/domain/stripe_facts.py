"""What we read of Stripe's objects: the few fields that decide something, typed.

The same structs are filled from a webhook's bytes and from the API's answers, whatever API
version wrote them and whether references came expanded or not. Everything else in a payload is
skipped unread, personal data included.
"""

from __future__ import annotations

from typing import Annotated, Any, NoReturn, TypeAlias, TypeVar

import msgspec

F = TypeVar("F", bound=msgspec.Struct)

Minor: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""An amount in minor units; what no database could keep is refused where it is read."""
Seconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
"""An instant in Unix seconds, up to the year 9999."""


def _id(*prefixes: str) -> Any:
    # Not `$`, which lets a line feed follow.
    pattern = rf"^(?:{'|'.join(prefixes)})_[A-Za-z0-9_]{{1,240}}\Z"
    return msgspec.Meta(pattern=pattern, max_length=255)


AnyId: TypeAlias = Annotated[str, _id("[a-z]{2,8}")]
PaymentIntentId: TypeAlias = Annotated[str, _id("pi")]
RefundId: TypeAlias = Annotated[str, _id("re", "pyr")]
ChargeId: TypeAlias = Annotated[str, _id("ch", "py")]
DisputeId: TypeAlias = Annotated[str, _id("dp", "du", "pdp")]
CustomerId: TypeAlias = Annotated[str, _id("cus")]
FraudWarningId: TypeAlias = Annotated[str, _id("issfr")]


class Reference(msgspec.Struct, frozen=True, gc=False):
    """An expanded object of which only the id matters."""

    id: AnyId


Ref: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)] | Reference | None


def ref_id(ref: Ref) -> str | None:
    """The id behind a reference, expanded or not.

    >>> ref_id("ch_1"), ref_id(Reference("ch_1")), ref_id(None)
    ('ch_1', 'ch_1', None)
    """
    return ref.id if isinstance(ref, Reference) else ref


class PaymentError(msgspec.Struct, frozen=True, gc=False):
    """Why the last attempt to pay failed (`last_payment_error`)."""

    type: str = "api_error"
    code: str | None = None
    decline_code: str | None = None
    message: str | None = None
    charge: Ref = None


class PaymentIntentFacts(
    msgspec.Struct, frozen=True, gc=False, tag_field="object", tag="payment_intent"
):
    """https://docs.stripe.com/api/payment_intents/object; amounts in minor units."""

    id: PaymentIntentId
    status: str
    amount: Minor
    currency: str
    created: Seconds
    amount_received: Minor = 0
    metadata: dict[str, str] = {}
    customer: Ref = None
    latest_charge: Ref = None
    payment_method: Ref = None
    last_payment_error: PaymentError | None = None
    client_secret: str | None = None
    livemode: bool = False

    def __repr__(self) -> str:
        # The client secret lets whoever holds it pay and read: it stays out of logs.
        return f"PaymentIntentFacts({self.id!r}, {self.status!r}, {self.amount} {self.currency})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Facts of a payment may hold a secret and are not pickled: see inbox.pack")


class RefundFacts(msgspec.Struct, frozen=True, gc=False, tag_field="object", tag="refund"):
    """https://docs.stripe.com/api/refunds/object; `amount` in minor units."""

    id: RefundId
    amount: Minor
    currency: str
    status: str | None = None
    payment_intent: PaymentIntentId | Reference | None = None
    charge: Ref = None
    reason: str | None = None
    created: Seconds = 0


class ChargeFacts(msgspec.Struct, frozen=True, gc=False, tag_field="object", tag="charge"):
    """https://docs.stripe.com/api/charges/object; amounts in minor units."""

    id: ChargeId
    currency: str
    amount_refunded: Minor = 0
    payment_intent: Ref = None


class MovementFacts(msgspec.Struct, frozen=True, gc=False):
    """A balance transaction; `amount` in minor units of the account's currency, with its sign."""

    id: Annotated[str, msgspec.Meta(max_length=255)]
    amount: Annotated[int, msgspec.Meta(ge=-(2**53) + 1, le=2**53 - 1)]


Movements: TypeAlias = Annotated[list[MovementFacts | str], msgspec.Meta(max_length=100)]
"""Stripe makes one or two for a dispute; there has to be an end somewhere."""


class DisputeFacts(msgspec.Struct, frozen=True, gc=False, tag_field="object", tag="dispute"):
    """https://docs.stripe.com/api/disputes/object; `amount` in minor units."""

    id: DisputeId
    amount: Minor
    currency: str
    reason: str
    status: str
    created: Seconds
    payment_intent: Ref = None
    charge: Ref = None
    # Stripe makes one or two; there has to be an end somewhere.
    balance_transactions: (
        Annotated[list[MovementFacts | str], msgspec.Meta(max_length=100)] | None
    ) = None


class FraudWarningFacts(
    msgspec.Struct, frozen=True, gc=False, tag_field="object", tag="radar.early_fraud_warning"
):
    """https://docs.stripe.com/api/radar/early_fraud_warnings/object."""

    id: FraudWarningId
    created: Seconds
    fraud_type: str = "misc"
    actionable: bool = True
    payment_intent: Ref = None
    charge: Ref = None


class CustomerFacts(msgspec.Struct, frozen=True, tag_field="object", tag="customer"):
    """https://docs.stripe.com/api/customers/object."""

    id: CustomerId
    created: Seconds = 0
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

    id: AnyId
    type: str
    created: Seconds
    customer: Ref = None
    card: CardFacts | None = None


def storable(facts: F) -> F:
    """The facts with texts that every database keeps: U+FFFD stands where U+0000 was.

    PostgreSQL has no room for that one (https://www.postgresql.org/docs/current/datatype-character.html).
    What Stripe reports about money is not refused for it, and is the same on every database.

    Raises:
        ValueError: half of a surrogate pair, which no encoding has.

    >>> storable(PaymentIntentFacts("pi_1", f"a{chr(0)}b", 5, "usd", 0)).status
    'a�b'
    """
    try:
        text = msgspec.json.encode(facts)
    except UnicodeEncodeError:
        text = None
    if text is None:
        raise ValueError("half of a surrogate pair")  # out here, because the other carries the text
    if b"\\u0000" not in text:
        return facts
    return msgspec.convert(_without_nul(msgspec.to_builtins(facts)), type(facts))


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value
