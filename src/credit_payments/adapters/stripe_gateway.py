"""The one doorway to Stripe's SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import msgspec

from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.stripe_clients import StripeClients, unlogged
from credit_payments.adapters.stripe_errors import least_wait_seconds, translate, withhold
from credit_payments.adapters.stripe_inspection import inspected
from credit_payments.adapters.stripe_listing import (
    OBJECTS_MAX,
    Page,
    asked,
    check_types,
    read_page,
    reader,
)
from credit_payments.config import FixedSecrets
from credit_payments.domain import events
from credit_payments.domain.stripe_facts import (
    CustomerFacts,
    DisputeFacts,
    PaymentIntentFacts,
    PaymentMethodFacts,
    RefundFacts,
    storable,
)
from credit_payments.domain.traits import StripeTraits
from credit_payments.errors import (
    InvalidRequest,
    NotConfigured,
    NotFound,
    StripeUnavailable,
)
from credit_payments.ports.gateway import Listed
from credit_payments.ports.secrets import CurrentSecrets

if TYPE_CHECKING:
    from stripe import RequestOptions, StripeClient, StripeObject
    from stripe.params import (
        CustomerCreateParams,
        PaymentIntentCreateParams,
        RefundCreateParams,
    )

T = TypeVar("T")
F = TypeVar("F", bound=msgspec.Struct)

IDEMPOTENCY_KEY_CHARACTERS_MAX = 255
"""https://docs.stripe.com/api/idempotent_requests"""

DEFAULT_RETRIES = RetryPolicy()

# What the SDK raises of its own when an answer is JSON but not one of Stripe's objects.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

_payment_intent = reader(PaymentIntentFacts)
_refund = reader(RefundFacts)
_dispute = reader(DisputeFacts)


class _PaymentMethodPage(msgspec.Struct, frozen=True):
    data: list[PaymentMethodFacts]


class StripeGateway:
    """The `PaymentGateway` over HTTPS, through Stripe's official SDK.

    One instance serves all threads of a process, and goes on working in a forked child, which
    gets connections of its own. The SDK is imported and a client built at the first call. Every
    call is one HTTP request, repeated only here: connection errors, 409, 429 and 5xx, under the
    same idempotency key, within the limits of `retry`, and as `Stripe-Should-Retry` and
    `Retry-After` advise.

    Stripe stores the first answer to an idempotency key and repeats it, a 500 too. Such a replay
    is not tried again; it raises `StripeUnavailable` with the `error_code`
    `stripe_replays_failure` (see `stripe_errors.STRIPE_REPLAYS_FAILURE`).

    While a call runs, what the SDK would log below WARNING is dropped, because at DEBUG it logs
    whole bodies with e-mail addresses and client secrets. Setting the SDK's own `STRIPE_LOG`
    prints them to stderr all the same: leave it unset in production. Whether the SDK reports
    latencies to Stripe is a switch of the whole process (`stripe.enable_telemetry`) and is left
    to the application.

    Args:
        secret_key: `sk_…` or `rk_…`, or who knows the present one, which may change; without a key
            every call raises `NotConfigured`.
        api_version: pins the API version, `2023-10-16` for example; None takes the SDK's own.
        api_base: another server than Stripe's, such as the simulator's URL.
        timeout_seconds: how long to wait for each piece of an answer.
        retry: how failed calls are repeated.
    """

    def __init__(
        self,
        secret_key: str | CurrentSecrets | None,
        *,
        api_version: str | None = None,
        api_base: str | None = None,
        timeout_seconds: float = 30.0,
        retry: RetryPolicy = DEFAULT_RETRIES,
    ) -> None:
        self._secrets = (
            FixedSecrets(secret_key=secret_key)
            if secret_key is None or isinstance(secret_key, str)
            else secret_key
        )
        self._api_base = api_base
        self._retry = retry
        self._clients = StripeClients(
            api_version=api_version, api_base=api_base, timeout_seconds=timeout_seconds
        )

    def __repr__(self) -> str:
        state = "configured" if self._secrets.secret_key() else "not configured"
        return f"StripeGateway({state}, api_base={self._api_base!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a StripeGateway holds a secret key and is not pickled: build one anew")

    def close(self) -> None:
        """Let this process's connections go; a later call opens new ones."""
        self._clients.close()

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
        params: PaymentIntentCreateParams = {
            "amount": amount_minor,
            "currency": currency,
            "metadata": dict(metadata),
            "automatic_payment_methods": {"enabled": True},
        }
        if customer is not None:
            params["customer"] = customer
        if description is not None:
            params["description"] = description
        options = _under(idempotency_key)
        return self._ask(
            PaymentIntentFacts,
            lambda client: client.v1.payment_intents.create(params=params, options=options),
        )

    def retrieve_payment_intent(self, payment_intent_id: str) -> PaymentIntentFacts:
        """The intent as it is now."""
        return self._ask(
            PaymentIntentFacts,
            lambda client: client.v1.payment_intents.retrieve(payment_intent_id),
        )

    def confirm_payment_intent(
        self, payment_intent_id: str, *, idempotency_key: str
    ) -> PaymentIntentFacts:
        """Confirm an intent that already has its payment method."""
        options = _under(idempotency_key)
        return self._ask(
            PaymentIntentFacts,
            lambda client: client.v1.payment_intents.confirm(payment_intent_id, options=options),
        )

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
        params: RefundCreateParams = {
            "payment_intent": payment_intent_id,
            "metadata": dict(metadata),
        }
        if amount_minor is not None:
            params["amount"] = amount_minor
        if reason is not None:
            # Stripe is the judge of its list of reasons, which may grow.
            params["reason"] = cast("Any", reason)
        options = _under(idempotency_key)
        return self._ask(
            RefundFacts, lambda client: client.v1.refunds.create(params=params, options=options)
        )

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
        params: CustomerCreateParams = {"email": email, "metadata": dict(metadata)}
        if name is not None:
            params["name"] = name
        if phone is not None:
            params["phone"] = phone
        options = _under(idempotency_key)
        return self._ask(
            CustomerFacts, lambda client: client.v1.customers.create(params=params, options=options)
        )

    def retrieve_customer(self, customer_id: str) -> CustomerFacts:
        """The customer as it is now; a deleted one raises `NotFound`."""
        customer = self._ask(
            CustomerFacts, lambda client: client.v1.customers.retrieve(customer_id)
        )
        if customer.deleted:
            raise NotFound(param="id")
        return customer

    def list_payment_methods(self, customer_id: str) -> list[PaymentMethodFacts]:
        """The customer's saved payment methods, newest first, at most 100."""
        page = self._ask(
            _PaymentMethodPage,
            lambda client: client.v1.customers.payment_methods.list(
                customer_id, params={"limit": OBJECTS_MAX}
            ),
        )
        return page.data

    def retrieve_payment_method(self, payment_method_id: str) -> PaymentMethodFacts:
        """One payment method."""
        return self._ask(
            PaymentMethodFacts,
            lambda client: client.v1.payment_methods.retrieve(payment_method_id),
        )

    def retrieve_refund(self, refund_id: str) -> RefundFacts:
        """The refund as it is now."""
        return self._ask(RefundFacts, lambda client: client.v1.refunds.retrieve(refund_id))

    def retrieve_dispute(self, dispute_id: str) -> DisputeFacts:
        """The dispute as it is now."""
        return self._ask(DisputeFacts, lambda client: client.v1.disputes.retrieve(dispute_id))

    def list_payment_intents(
        self, *, since: int, until: int | None, cursor: str | None
    ) -> Listed[PaymentIntentFacts]:
        """One page of the payment intents."""
        params = asked(since, until, cursor)
        return self._list(
            _payment_intent, lambda client: client.v1.payment_intents.list(params), cursor
        )

    def list_refunds(
        self, *, since: int, until: int | None, cursor: str | None
    ) -> Listed[RefundFacts]:
        """One page of the refunds, those of payments without an intent included."""
        params = asked(since, until, cursor)
        return self._list(_refund, lambda client: client.v1.refunds.list(params), cursor)

    def list_disputes(
        self, *, since: int, until: int | None, cursor: str | None
    ) -> Listed[DisputeFacts]:
        """One page of the disputes, those of payments without an intent included."""
        params = asked(since, until, cursor)
        return self._list(_dispute, lambda client: client.v1.disputes.list(params), cursor)

    def list_events(
        self, *, since: int, until: int | None, types: Sequence[str], cursor: str | None
    ) -> Listed[events.Event]:
        """One page of the events of those types (1 to 20), as far back as Stripe keeps them."""
        params = asked(since, until, cursor)
        params["types"] = check_types(types)
        return self._list(events.from_object, lambda client: client.v1.events.list(params), cursor)

    def retrieve_event(self, event_id: str, *, account: str | None = None) -> Mapping[str, Any]:
        """A whole event as plain JSON data; `NotFound` where Stripe has it no more."""
        options: RequestOptions = {} if account is None else {"stripe_account": account}
        return self._fetch(
            lambda client: client.v1.events.retrieve(event_id, options=options), _whole_event
        )

    def inspect(self, now: Callable[[], datetime]) -> StripeTraits:
        """What the key may do, Stripe's clock, and the webhook endpoints registered with it."""
        return inspected(self._fetch, now)

    def _ask(self, kind: type[F], request: Callable[[StripeClient], StripeObject]) -> F:
        return self._fetch(request, lambda answer: storable(msgspec.convert(answer, type=kind)))

    def _list(
        self,
        read: Callable[[Any], T],
        request: Callable[[StripeClient], StripeObject],
        cursor: str | None,
    ) -> Listed[T]:
        return self._fetch(
            request, lambda answer: read_page(msgspec.convert(answer, type=Page), read, cursor)
        )

    def _fetch(
        self,
        request: Callable[[StripeClient], StripeObject],
        read: Callable[[dict[str, Any]], T],
    ) -> T:
        key = self._secrets.secret_key()
        if not key:
            raise NotConfigured(param="stripe_secret_key")
        import stripe  # noqa: PLC0415

        try:
            with unlogged():
                answer = self._call(request, key)
            return read(answer.to_dict(for_json=True))
        except stripe.StripeError as error:
            raise translate(error) from withhold(error)
        except UNREADABLE as error:
            # msgspec.ValidationError is a ValueError; it names the place, never the value.
            raise StripeUnavailable("Stripe's answer could not be understood.") from error

    def _call(self, request: Callable[[StripeClient], StripeObject], key: str) -> StripeObject:
        """Ask under a key, and once more under the next one where Stripe refuses it.

        A key that was rolled is refused from one instant on, which a source may know before we do.
        What was refused took no effect, and an idempotency key belongs to the account.
        """
        import stripe  # noqa: PLC0415

        try:
            return self._repeat(request, self._clients.client(key))
        except stripe.AuthenticationError:
            other = self._secrets.secret_key_after(key)
            if other is None:
                raise
        return self._repeat(request, self._clients.client(other))

    def _repeat(
        self, request: Callable[[StripeClient], StripeObject], client: StripeClient
    ) -> StripeObject:
        return self._retry.call(lambda: request(client), least_wait_seconds=least_wait_seconds)


def _under(idempotency_key: str) -> RequestOptions:
    if not (
        0 < len(idempotency_key) <= IDEMPOTENCY_KEY_CHARACTERS_MAX
        and idempotency_key.isascii()
        and idempotency_key.isprintable()
    ):
        # It travels as an HTTP header, where anything else fails late and looks like a lost line.
        raise InvalidRequest(
            "An idempotency key has 1 to 255 printable ASCII characters.", param="idempotency_key"
        )
    return {"idempotency_key": idempotency_key}


def _whole_event(answer: dict[str, Any]) -> dict[str, Any]:
    if answer.get("object") != "event":
        raise ValueError("not an event")
    return answer
