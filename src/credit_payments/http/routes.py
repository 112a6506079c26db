"""The endpoints: what each reads, calls and answers. Adapters register them one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from credit_payments.domain import looking
from credit_payments.errors import NotAllowed
from credit_payments.http import answers
from credit_payments.http.answers import Answer
from credit_payments.http.identity import Identity
from credit_payments.http.messages import Request, Response
from credit_payments.http.parsing import BODY_BYTES_MAX, Field, missing, read_idempotency_key
from credit_payments.http.system import System

# Stripe's largest events have some tens of kilobytes; the webhook processor has the last word.
_WEBHOOK_BYTES_MAX: Final = 1024 * 1024


@attrs.frozen(kw_only=True)
class Call:
    """A request whose shape was checked: the route's fields, and who calls."""

    request: Request
    fields: Mapping[str, Any] = attrs.field(repr=False)
    caller: Identity | None

    @property
    def owner(self) -> str | None:
        """Whose things may be reached: None means everybody's, for operators only."""
        return self._identity.owner

    def check_acts_for(self, user_id: str) -> None:
        """Let users act for themselves only.

        Raises:
            NotAllowed: the request names somebody else.
        """
        if self.owner not in (None, user_id):
            raise NotAllowed("user_id must be the caller's own", param="user_id")

    def check_is_operator(self) -> None:
        """Let the host's own staff only.

        Raises:
            NotAllowed: the caller is a user.
        """
        if self.owner is not None:
            raise NotAllowed("only an operator may do this")

    @property
    def subject(self) -> str:
        """Whose wallet is asked for: the caller's own, or the one that an operator names.

        Raises:
            NotAllowed: the request names somebody else.
        """
        user_id: str = self.fields.get("user_id", self._identity.user_id)
        self.check_acts_for(user_id)
        return user_id

    @property
    def _identity(self) -> Identity:
        if self.caller is None:
            raise AssertionError("a route that asks for its caller must have needs_caller")
        return self.caller


@attrs.frozen(kw_only=True)
class Route:
    """One endpoint.

    Args:
        name: unique; also the endpoint's name in a framework and its operation id.
        method: `"GET"` or `"POST"`.
        path: under the mount, with `{parameters}`.
        summary: one line for the API's description.
        answer: calls the system, and returns what stands beside `success` in the answer; or a whole
            response, where that is no plain success.
        body: the fields of the JSON object that is read; none means that no JSON is read.
        query: the fields of the query string.
        needs_caller: whether an anonymous request is refused.
        body_bytes_max: adapters read one byte more than this, and no further.
    """

    name: str
    method: str
    path: str
    summary: str
    answer: Callable[[System, Call], Answer | Response]
    body: tuple[Field, ...] = ()
    query: tuple[Field, ...] = ()
    needs_caller: bool = True
    body_bytes_max: int = 0

    @property
    def path_params(self) -> tuple[str, ...]:
        """The names in the path's braces."""
        return tuple(re.findall(r"{(\w+)}", self.path))


def _create_payment_intent(system: System, call: Call) -> Answer:
    call.check_acts_for(call.fields["user_id"])
    if not {"amount", "package_id"} & call.fields.keys():
        raise missing("amount")
    intent = system.payments.create_payment_intent(
        **call.fields, idempotency_key=read_idempotency_key(call.request.headers)
    )
    return answers.intent_answer(intent)


def _confirm_payment(system: System, call: Call) -> Answer:
    receipt = system.payments.confirm_payment(call.fields["payment_intent_id"], owner=call.owner)
    return answers.receipt_answer(receipt)


def _credit_packages(system: System, call: Call) -> Answer:  # noqa: ARG001 - one shape for all
    return {"packages": [answers.package_object(p) for p in system.payments.credit_packages()]}


def _payment_status(system: System, call: Call) -> Answer:
    payment_intent_id = call.request.path_params["payment_intent_id"]
    status = system.payments.payment_status(payment_intent_id, owner=call.owner)
    return answers.status_answer(status)


def _create_customer(system: System, call: Call) -> Answer:
    call.check_acts_for(call.fields["user_id"])
    return answers.created_customer_answer(system.payments.create_customer(**call.fields))


def _get_customer(system: System, call: Call) -> Answer:
    customer_id = call.request.path_params["customer_id"]
    customer = system.payments.get_customer(customer_id, owner=call.owner)
    return {"customer": answers.customer_object(customer)}


def _list_payment_methods(system: System, call: Call) -> Answer:
    methods = system.payments.list_payment_methods(call.fields["customer_id"], owner=call.owner)
    return {"payment_methods": [answers.listed_payment_method(method) for method in methods]}


def _get_payment_method(system: System, call: Call) -> Answer:
    payment_method_id = call.request.path_params["payment_method_id"]
    method = system.payments.get_payment_method(payment_method_id, owner=call.owner)
    return {"payment_method": answers.payment_method_object(method)}


def _refund(system: System, call: Call) -> Answer:
    call.check_is_operator()
    refund = system.payments.refund(
        **call.fields, idempotency_key=read_idempotency_key(call.request.headers)
    )
    return {"refund": answers.refund_object(refund)}


def _balance(system: System, call: Call) -> Answer:
    return {"balance": answers.balance_object(system.wallets.balance(call.subject))}


def _transactions(system: System, call: Call) -> Answer:
    kind = call.fields.get("type")
    page = system.wallets.history(
        call.subject,
        limit=call.fields.get("limit", 50),
        cursor=call.fields.get("cursor"),
        kinds=looking.check_kinds(None if kind is None else [kind], param="type"),
    )
    return answers.transactions_answer(page)


def _webhook(system: System, call: Call) -> Answer:
    # No signature header is the same as a wrong one, and the processor says so.
    signature = call.request.headers.get("stripe-signature", "")
    return answers.delivery_answer(system.webhooks.receive(call.request.body, signature))


_USER_ID: Final = Field(
    "user_id", required=True, description="The caller's own id; operators may name any user."
)
_WHOSE: Final = Field("user_id", description="The caller's own if left out; for operators.")

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        name="create_payment_intent",
        method="POST",
        path="/create-payment-intent",
        summary="Create a payment intent",
        answer=_create_payment_intent,
        body=(
            _USER_ID,
            Field("amount", "amount", description="In major units; required without package_id."),
            Field("currency", description="An ISO 4217 code, usd when left out."),
            Field("package_id", description="Buys a package at its own price."),
            Field("customer_id", description="A Stripe customer of the same user."),
        ),
        body_bytes_max=BODY_BYTES_MAX,
    ),
    Route(
        name="confirm_payment",
        method="POST",
        path="/confirm-payment",
        summary="Confirm a payment and add its credits",
        answer=_confirm_payment,
        body=(Field("payment_intent_id", required=True),),
        body_bytes_max=BODY_BYTES_MAX,
    ),
    Route(
        name="credit_packages",
        method="GET",
        path="/credit-packages",
        summary="List the credit packages",
        answer=_credit_packages,
        needs_caller=False,  # a price list is public
    ),
    Route(
        name="payment_status",
        method="GET",
        path="/payment-status/{payment_intent_id}",
        summary="Get the status of a payment",
        answer=_payment_status,
    ),
    Route(
        name="create_customer",
        method="POST",
        path="/customers",
        summary="Create a customer",
        answer=_create_customer,
        body=(_USER_ID, Field("email", required=True), Field("name"), Field("phone")),
        body_bytes_max=BODY_BYTES_MAX,
    ),
    Route(
        name="get_customer",
        method="GET",
        path="/customers/{customer_id}",
        summary="Get a customer",
        answer=_get_customer,
    ),
    Route(
        name="list_payment_methods",
        method="GET",
        path="/payment-methods",
        summary="List the payment methods of a customer",
        answer=_list_payment_methods,
        query=(Field("customer_id", required=True),),
    ),
    Route(
        name="get_payment_method",
        method="GET",
        path="/payment-methods/{payment_method_id}",
        summary="Get a payment method",
        answer=_get_payment_method,
    ),
    Route(
        name="webhook",
        method="POST",
        path="/webhook",
        summary="Receive an event from Stripe",
        answer=_webhook,
        needs_caller=False,  # Stripe's signature says who is calling
        body_bytes_max=_WEBHOOK_BYTES_MAX,
    ),
    Route(
        name="refund",
        method="POST",
        path="/refunds",
        summary="Refund a payment",
        answer=_refund,
        body=(
            Field("payment_intent_id", required=True),
            Field("amount", "amount", description="In major units; all that is left if left out."),
            Field("reason", description="One of Stripe's reasons for a refund."),
        ),
        body_bytes_max=BODY_BYTES_MAX,
    ),
    Route(
        name="balance",
        method="GET",
        path="/balance",
        summary="Get the balance of a wallet",
        answer=_balance,
        query=(_WHOSE,),
    ),
    Route(
        name="transactions",
        method="GET",
        path="/transactions",
        summary="List the transactions of a wallet",
        answer=_transactions,
        query=(
            _WHOSE,
            Field("limit", "integer", description="From 1 to 100; 50 if left out."),
            Field("cursor", description="The next_cursor of the page before."),
            Field("type", description="Only transactions of this type."),
        ),
    ),
)
"""Every endpoint, the documented nine first and in the documented order."""
