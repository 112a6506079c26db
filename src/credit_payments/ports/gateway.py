"""What the core asks of Stripe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import attrs

from credit_payments.domain.events import Event
from credit_payments.domain.stripe_facts import (
    CustomerFacts,
    DisputeFacts,
    PaymentIntentFacts,
    PaymentMethodFacts,
    RefundFacts,
)
from credit_payments.domain.traits import StripeTraits

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Listed(Generic[T]):
    """One page of what the provider has, newest first.

    Attributes:
        items: the objects that could be read.
        cursor: where the next page begins; None on the last page.
        unreadable: the ids of the page's other objects, which are not what we know as such an
            object. They do not end a walk, but they are somebody's money: report them.
    """

    items: Sequence[T]
    cursor: str | None = None
    unreadable: Sequence[str] = ()


class PaymentGateway(Protocol):
    """A payment provider that speaks Stripe's terms.

    Every writing call takes the idempotency key under which the provider answers a repetition
    with the first answer: the adapter repeats a call on its own (a lost connection, 409 lock, 429,
    5xx) only under that key, a bounded number of times, each with a time-out. Ids arrive already
    checked for their form.

    All calls raise errors of `credit_payments.errors` and nothing else:
    `NotConfigured` without a key, `StripeRefusedKey`, `InvalidRequest` (with Stripe's `param`),
    `NotFound` for an unknown id, `CardDeclined`, `IdempotencyConflict`, and `StripeUnavailable`
    when the outcome is not known or the provider cannot serve; then nothing is known to have
    happened, and the same call under the same key is safe.

    A list is walked one page a call, each one request of at most 100 objects, newest first, from
    `since` (inclusive) up to `until` (exclusive, None for no end), both by the object's creation
    in Unix seconds. `cursor` is the last page's, None for the first page. A cursor names an object
    and not a position: what is created during a walk neither repeats nor displaces an older
    object, and is found by the next walk. `NotFound` (`starting_after`) says that the provider
    has the cursor's object no more: begin anew. A page that says that more follows without leading
    on to it raises `StripeUnavailable`, so that no walk goes round in circles or ends too early.
    """

    def create_payment_intent(
        self,
        *,
        amount_minor: int,
        currency: str,
        metadata: Mapping[str, str],
        customer: str | None,
        description: str | None,
        idempotency_key: str,
    ) -> PaymentIntentFacts:
        """Create an intent for automatic payment methods, not yet confirmed."""
        ...

    def retrieve_payment_intent(self, payment_intent_id: str) -> PaymentIntentFacts:
        """The intent as it is now."""
        ...

    def confirm_payment_intent(
        self, payment_intent_id: str, *, idempotency_key: str
    ) -> PaymentIntentFacts:
        """Confirm an intent that already has its payment method."""
        ...

    def create_refund(
        self,
        *,
        payment_intent_id: str,
        amount_minor: int | None,
        reason: str | None,
        metadata: Mapping[str, str],
        idempotency_key: str,
    ) -> RefundFacts:
        """Give back an amount in minor units, or all that is left when it is None."""
        ...

    def create_customer(
        self,
        *,
        email: str,
        name: str | None,
        phone: str | None,
        metadata: Mapping[str, str],
        idempotency_key: str,
    ) -> CustomerFacts:
        """Create a customer."""
        ...

    def retrieve_customer(self, customer_id: str) -> CustomerFacts:
        """The customer as it is now; a deleted one raises `NotFound`."""
        ...

    def list_payment_methods(self, customer_id: str) -> list[PaymentMethodFacts]:
        """The customer's saved payment methods, newest first, at most 100."""
        ...

    def retrieve_payment_method(self, payment_method_id: str) -> PaymentMethodFacts:
        """One payment method."""
        ...

    def retrieve_refund(self, refund_id: str) -> RefundFacts:
        """The refund as it is now."""
        ...

    def retrieve_dispute(self, dispute_id: str) -> DisputeFacts:
        """The dispute as it is now."""
        ...

    def list_payment_intents(
        self, *, since: int, until: int | None, cursor: str | None
    ) -> Listed[PaymentIntentFacts]:
        """One page of the payment intents."""
        ...

    def list_refunds(
        self, *, since: int, until: int | None, cursor: str | None
    ) -> Listed[RefundFacts]:
        """One page of the refunds, those of payments without an intent included."""
        ...

    def list_disputes(
        self, *, since: int, until: int | None, cursor: str | None
    ) -> Listed[DisputeFacts]:
        """One page of the disputes, those of payments without an intent included."""
        ...

    def list_events(
        self, *, since: int, until: int | None, types: Sequence[str], cursor: str | None
    ) -> Listed[Event]:
        """One page of the events of those types (1 to 20), as far back as the provider keeps them.

        Stripe keeps 30 days: https://docs.stripe.com/api/events. Each has the form it had when it
        happened. `InvalidRequest` for another number of types.
        """
        ...

    def retrieve_event(self, event_id: str, *, account: str | None = None) -> Mapping[str, Any]:
        """A whole event as plain JSON data; `NotFound` where the provider has it no more."""
        ...

    def inspect(self, now: Callable[[], datetime]) -> StripeTraits:
        """What the key may do, the provider's clock, and the webhook endpoints registered with it.

        A few reads. How the provider answers them is what is told: of the errors above it raises
        `NotConfigured` only.

        Args:
            now: our clock, read just before and after a request.
        """
        ...

    def close(self) -> None:
        """Release the connections; safe to call twice."""
        ...
