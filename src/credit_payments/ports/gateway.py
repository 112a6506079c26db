"""What the core asks of Stripe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from credit_payments.domain.stripe_facts import (
    CustomerFacts,
    PaymentIntentFacts,
    PaymentMethodFacts,
    RefundFacts,
)


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
