"""What the routes ask of the core: `credit_payments.connect()` returns such a system."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Protocol

from credit_payments.domain.packages import CreditPackage
from credit_payments.domain.requests import Begun, KeptAnswer, Payload
from credit_payments.domain.values import (
    Balance,
    Customer,
    Delivery,
    Entry,
    Page,
    PaymentIntent,
    PaymentMethod,
    PaymentStatus,
    Receipt,
    Refund,
)
from credit_payments.domain.vitals import Health


class Payments(Protocol):
    """Payments, customers and payment methods.

    With `owner` given, something of another user raises `NotFound` exactly as a missing one does.
    """

    def create_payment_intent(
        self,
        user_id: str,
        amount: int | Decimal | None = None,
        currency: str = "usd",
        *,
        package_id: str | None = None,
        customer_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> PaymentIntent:
        """Keep what the amount buys, then create the intent."""
        ...

    def confirm_payment(self, payment_intent_id: str, *, owner: str | None = None) -> Receipt:
        """Credit a paid intent, once."""
        ...

    def credit_packages(self) -> Sequence[CreditPackage]:
        """What is sold in packages."""
        ...

    def payment_status(self, payment_intent_id: str, *, owner: str | None = None) -> PaymentStatus:
        """Where a payment is."""
        ...

    def client_secret(self, payment_intent_id: str, *, owner: str | None = None) -> str:
        """What pays an intent, as Stripe tells it again."""
        ...

    def create_customer(
        self, user_id: str, email: str, name: str | None = None, phone: str | None = None
    ) -> Customer:
        """Create a Stripe customer for the user."""
        ...

    def get_customer(self, customer_id: str, *, owner: str | None = None) -> Customer:
        """One customer."""
        ...

    def list_payment_methods(
        self, customer_id: str, *, owner: str | None = None
    ) -> Sequence[PaymentMethod]:
        """The customer's saved payment methods."""
        ...

    def get_payment_method(
        self, payment_method_id: str, *, owner: str | None = None
    ) -> PaymentMethod:
        """One saved payment method."""
        ...

    def refund(
        self,
        payment_intent_id: str,
        amount: int | Decimal | None = None,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Refund:
        """Give money back, and take the credits that it bought."""
        ...


class Wallets(Protocol):
    """What users hold."""

    def balance(self, user_id: str) -> Balance:
        """What a user holds now."""
        ...

    def history(
        self,
        user_id: str,
        *,
        limit: int = 50,
        cursor: str | None = None,
        kinds: Collection[str] | None = None,
    ) -> Page[Entry]:
        """A user's entries, newest first."""
        ...


class Webhooks(Protocol):
    """The intake of what Stripe reports."""

    def receive(self, body: bytes, signature: str, /) -> Delivery:
        """Verify, keep and apply one delivery; returning means that it is durable."""
        ...


class Requests(Protocol):
    """Requests that their callers have named, each with the answer it was given."""

    def begin(
        self,
        route: str,
        caller: str,
        key: str,
        payload: Payload,
        redo_seconds_max: float | None = None,
    ) -> Begun | KeptAnswer:
        """Take a request on, or tell the answer that it was given before."""
        ...

    def finish(self, begun: Begun, answer: KeptAnswer) -> KeptAnswer:
        """Keep an answer, unless there is one; the answer to give."""
        ...

    def release(self, begun: Begun) -> None:
        """Let a request be done again at once."""
        ...


class System(Protocol):
    """The services behind the routes."""

    @property
    def payments(self) -> Payments:
        """Payments, customers and payment methods."""
        ...

    @property
    def wallets(self) -> Wallets:
        """What users hold."""
        ...

    @property
    def webhooks(self) -> Webhooks:
        """The intake of what Stripe reports."""
        ...

    @property
    def livemode(self) -> bool | None:
        """Whether Stripe's key moves real money; None without one."""
        ...

    @property
    def requests(self) -> Requests:
        """Requests that their callers have named."""
        ...

    def health(self) -> Health:
        """How it is now."""
        ...
