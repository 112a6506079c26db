"""The answers as types: what is written to callers, and what the API's description says of it.

Fields are in the documented order. Each has an example, so that a whole answer can be shown; a
field that is `UNSET` is not written at all, where None is written as null.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from credit_payments.domain.ledger import Kind
from credit_payments.domain.packages import CREDITS_MAX
from credit_payments.domain.vitals import Status

_Amount = Annotated[
    Decimal, Meta(description="Major units, with all of the currency's digits.", examples=[10.0])
]
_Created = Annotated[int, Meta(description="In Unix seconds.", examples=[1640995200])]
_Credits = Annotated[int, Meta(ge=0, le=CREDITS_MAX, examples=[100])]
_CreditsOrNone = Annotated[int, Meta(ge=0, le=CREDITS_MAX, examples=[0])]
_Currency = Annotated[
    str,
    Meta(
        description="An ISO 4217 code in lower case.",
        pattern="^[a-z]{3}$",
        examples=["usd"],
    ),
]
_CustomerId = Annotated[str, Meta(examples=["cus_Example"])]
_Instant = Annotated[datetime, Meta(tz=True, examples=["2030-01-01T00:00:00Z"])]
_Moment = Annotated[
    str,
    Meta(examples=["2030-01-01T00:00:00.000000Z"], extra_json_schema={"format": "date-time"}),
]
_PaymentIntentId = Annotated[str, Meta(examples=["pi_3Example"])]
_PaymentMethodId = Annotated[str, Meta(examples=["pm_1Example"])]
_Seconds = Annotated[float, Meta(examples=[1.5])]
_Number = Annotated[int, Meta(ge=0, examples=[0])]
_Type = Annotated[str, Meta(description="Stripe's word for it.", examples=["card"])]
_EventType = Annotated[
    str, Meta(description="Stripe's type of the event.", examples=["payment_intent.succeeded"])
]
_TransactionId = Annotated[
    str, Meta(examples=["txn_0f1e2d3c4b5a69788796a5b4c3d2e1f0"], description="Of the ledger.")
]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a route answers: `success` comes first."""

    success: Annotated[bool, Meta(examples=[True])] = True


class Success(Answer, frozen=True, kw_only=True):
    """What was asked for."""

    success: Annotated[bool, Meta(extra_json_schema={"const": True})] = True


class Problem(Answer, frozen=True, kw_only=True):
    """Why it was not done, and what is at fault."""

    success: Annotated[bool, Meta(extra_json_schema={"const": False})] = False
    error: Annotated[str, Meta(description="A headline.", examples=["Invalid request parameters"])]
    error_code: Annotated[str, Meta(description="For programs.", examples=["parameter_invalid"])]
    decline_code: (
        Annotated[
            str, Meta(description="The bank's reason: https://docs.stripe.com/declines/codes.")
        ]
        | UnsetType
    ) = UNSET
    param: Annotated[str, Meta(description="What is at fault.")] | UnsetType = UNSET
    message: Annotated[str, Meta(description="May be shown to a person.", examples=["…"])]


class PaymentIntent(Success, frozen=True, kw_only=True):
    """An intent that waits to be paid."""

    client_secret: Annotated[
        str,
        Meta(
            description="For Stripe.js in the customer's browser, and for nothing else.",
            examples=["pi_3Example_secret_Example"],
        ),
    ]
    payment_intent_id: _PaymentIntentId
    amount: _Amount
    currency: _Currency


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a payment brought; the same each time it is asked for."""

    transaction_id: _TransactionId
    credits_purchased: _Credits
    amount_paid: _Amount
    payment_intent_id: _PaymentIntentId


class Confirmation(Success, frozen=True, kw_only=True):
    """A payment that was credited."""

    message: Annotated[str, Meta(examples=["Payment confirmed and credits added"])]
    data: Receipt


class CreditPackage(msgspec.Struct, frozen=True, kw_only=True):
    """Credits that are sold together: at `price_usd`, or at `price` in another `currency`."""

    id: Annotated[str, Meta(examples=["basic"])]
    name: Annotated[str, Meta(examples=["Basic Package"])]
    credits: _Credits
    price_usd: _Amount | UnsetType = UNSET
    price: Annotated[Decimal, Meta(description="In place of `price_usd`.")] | UnsetType = UNSET
    currency: Annotated[str, Meta(description="Of `price`.")] | UnsetType = UNSET
    description: Annotated[str, Meta(examples=["100 credits for $10"])]


class CreditPackages(Success, frozen=True, kw_only=True):
    """The price list."""

    packages: list[CreditPackage]


class PaymentStatus(Success, frozen=True, kw_only=True):
    """Where a payment is."""

    status: Annotated[
        str,
        Meta(
            description="Stripe's: https://docs.stripe.com/payments/paymentintents/lifecycle.",
            examples=["succeeded"],
        ),
    ]
    amount: _Amount
    currency: _Currency
    created: _Created


class CreatedCustomer(Success, frozen=True, kw_only=True):
    """A customer that was just created."""

    customer_id: _CustomerId
    email: Annotated[str | None, Meta(examples=["user@example.com"])]
    created: _Created


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer, as Stripe has it now."""

    id: _CustomerId
    email: Annotated[str | None, Meta(examples=["user@example.com"])]
    name: Annotated[str | None, Meta(examples=["Ada Lovelace"])]
    phone: Annotated[str | None, Meta(examples=["+15550100"])]
    created: _Created
    metadata: Annotated[
        dict[str, str], Meta(examples=[{"user_id": "user123", "source": "credit_system"}])
    ]


class OneCustomer(Success, frozen=True, kw_only=True):
    """A customer."""

    customer: Customer


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What may be shown of a card."""

    brand: Annotated[str, Meta(examples=["visa"])]
    last4: Annotated[str, Meta(examples=["4242"])]
    exp_month: Annotated[int, Meta(examples=[12])]
    exp_year: Annotated[int, Meta(examples=[2035])]


class ListedPaymentMethod(msgspec.Struct, frozen=True, kw_only=True):
    """A saved way to pay; `card` is there where it is one."""

    id: _PaymentMethodId
    type: _Type
    card: Card | UnsetType = UNSET
    created: _Created


class PaymentMethods(Success, frozen=True, kw_only=True):
    """A customer's saved ways to pay, newest first, at most 100."""

    payment_methods: list[ListedPaymentMethod]


class PaymentMethod(msgspec.Struct, frozen=True, kw_only=True):
    """A saved way to pay, and whose; `card` is there where it is one."""

    id: _PaymentMethodId
    type: _Type
    card: Card | UnsetType = UNSET
    customer: Annotated[str | None, Meta(examples=["cus_Example"])]
    created: _Created


class OnePaymentMethod(Success, frozen=True, kw_only=True):
    """A saved way to pay."""

    payment_method: PaymentMethod


class Delivery(Success, frozen=True, kw_only=True):
    """What became of a webhook; what is kept of it is durable."""

    event_id: Annotated[str, Meta(examples=["evt_1Example"])]
    type: _EventType
    outcome: Annotated[
        str,
        Meta(
            examples=["applied"],
            extra_json_schema={
                "enum": ["applied", "queued", "duplicate", "ignored", "quarantined"]
            },
        ),
    ]


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund, and the credits that were taken back for its payment so far."""

    id: Annotated[str, Meta(examples=["re_3Example"])]
    payment_intent_id: _PaymentIntentId
    amount: _Amount
    currency: _Currency
    status: Annotated[str, Meta(description="Stripe's.", examples=["succeeded"])]
    credits_reversed: _Credits


class OneRefund(Success, frozen=True, kw_only=True):
    """A refund."""

    refund: Refund


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What a wallet holds, in credits."""

    available: Annotated[_Credits, Meta(description="May be spent now.")]
    held: Annotated[_CreditsOrNone, Meta(description="Set aside for work that runs.")]
    frozen: Annotated[
        _CreditsOrNone, Meta(description="By a dispute, or because the wallet is suspended.")
    ]
    debt: Annotated[_CreditsOrNone, Meta(description="Repaid by the next credits that come.")]
    expires_next: Annotated[
        _Instant | None,
        Meta(
            description="When the first of what is available expires.",
            examples=["2030-01-01T00:00:00Z"],
        ),
    ]


class OneBalance(Success, frozen=True, kw_only=True):
    """The balance of a wallet."""

    balance: Balance


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a wallet."""

    transaction_id: _TransactionId
    type: Annotated[
        str, Meta(examples=["payment"], extra_json_schema={"enum": [str(kind) for kind in Kind]})
    ]
    credits: Annotated[int, Meta(description="The change of what is available.", examples=[100])]
    balance_after: _Credits
    reason: Annotated[str | None, Meta(examples=["welcome"])]
    created_at: _Instant


class Transactions(Success, frozen=True, kw_only=True):
    """A page of a wallet's history, newest first."""

    transactions: list[Transaction]
    next_cursor: Annotated[
        str | None, Meta(description="For the page after; null on the last.", examples=["WzQyXQ"])
    ]


class StripeSetup(msgspec.Struct, frozen=True, kw_only=True):
    """What is configured of Stripe's side."""

    configured: Annotated[bool, Meta(examples=[True])]
    livemode: Annotated[bool | None, Meta(examples=[False])]
    webhooks_configured: Annotated[bool, Meta(examples=[True])]
    webhook_mode: Annotated[
        str, Meta(examples=["inline"], extra_json_schema={"enum": ["inline", "queued"]})
    ]


class LastEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The event that came last."""

    type: _EventType
    received_at: _Moment
    seconds_ago: _Seconds


class DeliveryLag(msgspec.Struct, frozen=True, kw_only=True):
    """How long after they had happened the last events came."""

    events: _Number
    median_seconds: _Seconds
    max_seconds: _Seconds


class Conversions(msgspec.Struct, frozen=True, kw_only=True):
    """Of the last purchases: how many brought exactly what was promised."""

    checked: _Number
    accurate: _Number


class LastReconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """The reconciliation with Stripe that ended last."""

    ended_at: _Moment
    seconds_ago: _Seconds


class _Health(Answer, frozen=True, kw_only=True):
    status: Annotated[Status, Meta(examples=["ok"])]


class StripeHealth(_Health, frozen=True, kw_only=True):
    """How what Stripe reports is taken in; null where the database does not answer."""

    stripe: StripeSetup
    last_event: LastEvent | None
    delivery_lag: DeliveryLag | None
    dead_letters: Annotated[int | None, Meta(examples=[0])]
    quarantined: Annotated[int | None, Meta(examples=[0])]
    conversions: Conversions | None
    last_reconciliation: LastReconciliation | None


class QueueLength(msgspec.Struct, frozen=True, kw_only=True):
    """How many writes of the process wait, of how many that may."""

    commands_waiting: _Number
    commands_max: Annotated[int, Meta(examples=[10_000])]
    oldest_seconds: _Seconds


class DatabaseState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the database answers."""

    answers: Annotated[bool, Meta(examples=[True])]
    schema_version: Annotated[int | None, Meta(examples=[3])]


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """Events that are to be applied."""

    waiting: _Number
    oldest_seconds: _Seconds


class NotificationBacklog(msgspec.Struct, frozen=True, kw_only=True):
    """Notifications that are to be delivered, and those that were given up."""

    waiting: _Number
    dead: _Number


class TransactionsHealth(_Health, frozen=True, kw_only=True):
    """How the database and its queue are; null where the database does not answer."""

    queue: QueueLength
    database: DatabaseState
    inbox: Inbox | None
    notifications: NotificationBacklog | None
