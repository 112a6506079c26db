"""The values that the public methods answer with: frozen, exact, safe to log.

Amounts are `Decimal` in major units with exactly the currency's digits (`Decimal("10.00")` is ten
dollars), credits are integers, instants are aware datetimes in UTC. What Stripe counts in seconds
(`created`) stays an integer of Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, NoReturn, Self, TypeVar

import attrs

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class PaymentIntent:
    """An intent that waits to be paid; `client_secret` goes to Stripe.js and nowhere else.

    So it is not pickled, and reaches no job queue and no cache: hand on `payment_intent_id`.
    """

    client_secret: str = attrs.field(repr=False)
    payment_intent_id: str
    amount: Decimal
    currency: str
    credits: int

    def __reduce__(self) -> NoReturn:
        raise TypeError("A PaymentIntent holds a secret and is not pickled: hand on its id")

    def __copy__(self) -> Self:
        return self  # nothing in it can be changed

    def __deepcopy__(self, _: object) -> Self:
        return self


@attrs.frozen(kw_only=True)
class Receipt:
    """What a paid intent brought; the same for each call about the same payment."""

    transaction_id: str
    credits_purchased: int
    amount_paid: Decimal
    currency: str
    payment_intent_id: str


@attrs.frozen(kw_only=True)
class PaymentStatus:
    """Where a payment is, in Stripe's words; `created` is in Unix seconds."""

    status: str
    amount: Decimal
    currency: str
    created: int


@attrs.frozen(kw_only=True)
class Customer:
    """A Stripe customer of one of our users; `created` is in Unix seconds."""

    id: str
    email: str | None = attrs.field(default=None, repr=False)
    name: str | None = attrs.field(default=None, repr=False)
    phone: str | None = attrs.field(default=None, repr=False)
    created: int
    metadata: Mapping[str, str] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class KeptCustomer:
    """A Stripe customer as it is kept here, decrypted; Stripe may know it differently by now.

    What is personal is None where nothing is kept, and shows in no `repr`.
    """

    customer_id: str
    user_id: str
    email: str | None = attrs.field(repr=False)
    name: str | None = attrs.field(repr=False)
    phone: str | None = attrs.field(repr=False)
    created_at: datetime


@attrs.frozen(kw_only=True)
class Card:
    """What may be shown of a card: never its number."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int


@attrs.frozen(kw_only=True)
class PaymentMethod:
    """A saved way to pay; `card` is set when `type` is `"card"`, `created` in Unix seconds."""

    id: str
    type: str
    card: Card | None
    customer: str | None
    created: int


@attrs.frozen(kw_only=True)
class Purchase:
    """A completed sale, as listed in a user's purchase history."""

    payment_intent_id: str
    transaction_id: str
    user_id: str
    credits_purchased: int
    amount_paid: Decimal
    currency: str
    status: str
    created_at: datetime


@attrs.frozen(kw_only=True)
class Refund:
    """A refund as Stripe reports it, and the credits that it took back so far."""

    refund_id: str
    payment_intent_id: str
    amount: Decimal
    currency: str
    status: str
    credits_reversed: int


@attrs.frozen(kw_only=True)
class Entry:
    """One change of a wallet.

    `credits` is the change of what is available, and the fields `…_after` are what the wallet holds
    and owes afterwards. `legs` maps accounts to signed credits and sums to zero; `lots` says which
    lots changed, by what is available, held, frozen and expired in them. `actor` is who decided it,
    where a person did.
    """

    transaction_id: str
    user_id: str
    kind: str
    cause: str
    credits: int
    balance_after: int
    held_after: int
    frozen_after: int
    debt_after: int
    legs: Mapping[str, int]
    lots: Mapping[str, Mapping[str, int]]
    actor: str | None
    reason: str | None
    metadata: Mapping[str, object]
    created_at: datetime


@attrs.frozen(kw_only=True)
class Lot:
    """Credits that came in together, and how many of them are in which state.

    `source` is `"purchase"`, `"grant"` or `"correction"`; `credits` is how many came in.
    """

    lot_id: str
    user_id: str
    source: str
    credits: int
    available: int
    held: int
    frozen: int
    priority: int
    expires_at: datetime | None
    created_at: datetime


@attrs.frozen(kw_only=True)
class Balance:
    """What a wallet holds.

    `available` may be spent now, `held` is set aside for work that runs, `frozen` by a dispute (or
    because the wallet is suspended), `debt` is repaid by the next credits that come, and
    `expires_next` is when the first of what is available expires.
    """

    available: int
    held: int = 0
    frozen: int = 0
    debt: int = 0
    expires_next: datetime | None = None


@attrs.frozen(kw_only=True)
class Notification:
    """Something that has happened, for the host's handlers.

    It may come more than once: `id` is the same each time, and `attempt` counts from 1. `data`
    depends on the `type`; `user_id` is None where nobody could be told apart.
    """

    id: str
    type: str
    user_id: str | None
    data: Mapping[str, object]
    attempt: int
    created_at: datetime


@attrs.frozen(kw_only=True)
class StripeEvent:
    """An event of Stripe's for a handler of the host's (https://docs.stripe.com/api/events/object).

    It may come more than once: `id` is the same each time, and `attempt` counts from 1. `created`
    is in Unix seconds, and `data["object"]` what the event is about.
    """

    id: str
    type: str
    created: int
    livemode: bool
    account: str | None
    data: Mapping[str, Any] = attrs.field(repr=False)
    attempt: int


@attrs.frozen(kw_only=True)
class Delivery:
    """What became of a webhook.

    `outcome` is `"applied"`, `"queued"` (kept, and applied soon by a worker), `"duplicate"` (it was
    told of before, or its effect was there already), `"ignored"` (it says nothing about credits,
    and nothing is kept) or `"quarantined"` (kept for a person, with its `reason`). What is kept is
    durable; each of them is answered with 2xx.
    """

    event_id: str
    type: str
    outcome: str
    reason: str | None = None


@attrs.frozen(kw_only=True)
class KeptEvent:
    """A webhook event as it is kept here, and what became of it.

    `subject` is the id of the Stripe object that it is about. `status` is `"due"`, `"done"`,
    `"dead"` (too many tries have failed) or `"discarded"`, `outcome` as in `Delivery`. `due_at` is
    when it is tried next, or when others may try it that somebody works on now; None where it is
    not tried any more. `problem` is why the last try failed, or why it was discarded.
    """

    event_id: str
    type: str
    subject: str
    status: str
    outcome: str
    attempts: int
    due_at: datetime | None
    problem: str | None
    created_at: datetime | None
    received_at: datetime


@attrs.frozen(kw_only=True)
class Quarantined:
    """What was filed for a person to decide, with what is known for it.

    `status` is `"open"`, `"resolved"` or `"dismissed"`, and `decision` who decided what, where
    somebody has. `amount` is what was received, refunded or disputed, in major units of `currency`,
    where that is known. `user_id` is whom the intent's metadata names, or whose the payment is;
    the fields `quoted_…` are what its quote promised, to whom, for how much.
    """

    incident_id: str
    status: str
    reason: str
    payment_intent_id: str | None
    amount: Decimal | None
    currency: str | None
    user_id: str | None
    quoted_user_id: str | None
    quoted_amount: Decimal | None
    quoted_currency: str | None
    quoted_credits: int | None
    event_id: str | None
    decision: str | None
    created_at: datetime


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """Some items and the `cursor` of those after them; `cursor` is None on the last page."""

    items: tuple[T, ...]
    cursor: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
