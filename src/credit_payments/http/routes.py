"""The endpoints: what each reads, calls and answers. Adapters register them one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, get_type_hints

import attrs

from credit_payments.customers import no_such
from credit_payments.domain import looking
from credit_payments.domain.requests import REDO_SECONDS_MAX, outcome_unknown, request_id
from credit_payments.errors import (
    HandlerFailed,
    InvalidPayload,
    InvalidSignature,
    NotAllowed,
    NotConfigured,
    NotFound,
)
from credit_payments.http import answers, failures, fields, shapes
from credit_payments.http.failures import Errors
from credit_payments.http.identity import Identity
from credit_payments.http.messages import Request, Response
from credit_payments.http.parsing import BODY_BYTES_MAX, Field, missing, read_idempotency_key
from credit_payments.http.shapes import Answer
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
    def caller_id(self) -> str:
        """Who asks."""
        return self._identity.user_id

    @property
    def core_key(self) -> str | None:
        """The `Idempotency-Key` as the core is told it.

        The core keeps apart the keys of users, and of payments. An operator's, who acts for users,
        must meet neither theirs nor another operator's.
        """
        key = read_idempotency_key(self.request.headers)
        if key is None or self.owner is not None:
            return key
        return request_id("operator", self.caller_id, key)

    @property
    def _identity(self) -> Identity:
        if self.caller is None:
            raise AssertionError("a route that asks for its caller must have needs_caller")
        return self.caller


Recall = Callable[[System, Call, Mapping[str, Any]], object]
"""Tells a part of an answer that was not kept, from the same request and the rest of the answer."""


@attrs.frozen(kw_only=True)
class Route:
    """One endpoint.

    Args:
        name: unique; also the endpoint's name in a framework and its operation id.
        method: `"GET"` or `"POST"`.
        path: under the mount, with `{parameters}`.
        summary: one line for the API's description.
        answer: calls the system, and returns what is to be written; or a whole response, where
            that is no JSON. The type that it declares is the one that is described.
        parts: the fields of the path.
        body: the fields of the JSON object that is read; none means that no JSON is read.
        query: the fields of the query string.
        needs_caller: whether an anonymous request is refused.
        body_bytes_max: adapters read one byte more than this, and no further.
        check: refuses what this caller may not ask, before anything is done.
        creates: whether the header `Idempotency-Key` names what is asked, so that it is done once.
        redo_seconds_max: how old what has no answer under such a key may be when it is done again,
            where doing it twice would move money twice.
        unkept: the names at the top of a success that are not kept under such a key, being secret
            or personal, each with what tells it again.
        headers: what else is read, for the API's description.
        errors: examples of what it raises beside what any route does.
    """

    name: str
    method: str
    path: str
    summary: str
    answer: Callable[[System, Call], Answer | Response]
    parts: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    query: tuple[Field, ...] = ()
    needs_caller: bool = True
    body_bytes_max: int = 0
    check: Callable[[Call], None] | None = None
    creates: bool = False
    redo_seconds_max: float | None = None
    unkept: Mapping[str, Recall] = attrs.field(factory=dict)
    headers: tuple[Field, ...] = ()
    errors: Errors = ()

    @property
    def shape(self) -> type[Answer] | None:
        """The type of its answer, as `answer` declares it; None where that is no JSON."""
        declared: type = get_type_hints(self.answer)["return"]
        return declared if issubclass(declared, Answer) else None


def _check_acts_for_user(call: Call) -> None:
    call.check_acts_for(call.fields["user_id"])


def _check_sale(call: Call) -> None:
    _check_acts_for_user(call)
    if not {"amount", "package_id"} & call.fields.keys():
        raise missing("amount")


def _create_payment_intent(system: System, call: Call) -> shapes.PaymentIntent:
    intent = system.payments.create_payment_intent(**call.fields, idempotency_key=call.core_key)
    return answers.intent_answer(intent)


def _recall_client_secret(system: System, call: Call, answer: Mapping[str, Any]) -> str:
    return system.payments.client_secret(answer["payment_intent_id"], owner=call.owner)


def _confirm_payment(system: System, call: Call) -> shapes.Confirmation:
    receipt = system.payments.confirm_payment(call.fields["payment_intent_id"], owner=call.owner)
    return answers.receipt_answer(receipt)


def _credit_packages(
    system: System,
    call: Call,  # noqa: ARG001 - one shape for all
) -> shapes.CreditPackages:
    return answers.packages_answer(system.payments.credit_packages())


def _payment_status(system: System, call: Call) -> shapes.PaymentStatus:
    payment_intent_id = call.request.path_params["payment_intent_id"]
    status = system.payments.payment_status(payment_intent_id, owner=call.owner)
    return answers.status_answer(status)


def _create_customer(system: System, call: Call) -> shapes.CreatedCustomer:
    return answers.created_customer_answer(system.payments.create_customer(**call.fields))


def _recall_email(system: System, call: Call, answer: Mapping[str, Any]) -> str:  # noqa: ARG001
    # The same payload has the same address.
    email: str = call.fields["email"]
    return email


def _get_customer(system: System, call: Call) -> shapes.OneCustomer:
    customer_id = call.request.path_params["customer_id"]
    customer = system.payments.get_customer(customer_id, owner=call.owner)
    return answers.customer_answer(customer)


def _list_payment_methods(system: System, call: Call) -> shapes.PaymentMethods:
    methods = system.payments.list_payment_methods(call.fields["customer_id"], owner=call.owner)
    return answers.payment_methods_answer(methods)


def _get_payment_method(system: System, call: Call) -> shapes.OnePaymentMethod:
    payment_method_id = call.request.path_params["payment_method_id"]
    method = system.payments.get_payment_method(payment_method_id, owner=call.owner)
    return answers.payment_method_answer(method)


def _refund(system: System, call: Call) -> shapes.OneRefund:
    refund = system.payments.refund(**call.fields, idempotency_key=call.core_key)
    return answers.refund_answer(refund)


def _balance(system: System, call: Call) -> shapes.OneBalance:
    return answers.balance_answer(system.wallets.balance(call.subject))


def _transactions(system: System, call: Call) -> shapes.Transactions:
    kind = call.fields.get("type")
    page = system.wallets.history(
        call.subject,
        limit=call.fields.get("limit", 50),
        cursor=call.fields.get("cursor"),
        kinds=looking.check_kinds(None if kind is None else [kind], param="type"),
    )
    return answers.transactions_answer(page)


def _webhook(system: System, call: Call) -> shapes.Delivery:
    # No signature header is the same as a wrong one, and the processor says so.
    signature = call.request.headers.get("stripe-signature", "")
    return answers.delivery_answer(system.webhooks.receive(call.request.body, signature))


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        name="create_payment_intent",
        method="POST",
        path="/create-payment-intent",
        summary="Create a payment intent",
        answer=_create_payment_intent,
        body=(
            fields.USER_ID,
            fields.AMOUNT,
            fields.CURRENCY,
            fields.PACKAGE_ID,
            fields.INTENTS_CUSTOMER,
        ),
        body_bytes_max=BODY_BYTES_MAX,
        check=_check_sale,
        creates=True,
        unkept={"client_secret": _recall_client_secret},
        errors=(no_such("customer_id"), *failures.STRIPE, *failures.WRITES),
    ),
    Route(
        name="confirm_payment",
        method="POST",
        path="/confirm-payment",
        summary="Confirm a payment and add its credits",
        answer=_confirm_payment,
        body=(fields.PAYMENT_INTENT_ID,),
        body_bytes_max=BODY_BYTES_MAX,
        errors=(
            failures.DECLINED,
            no_such("payment_intent_id"),
            failures.UNPAID,
            failures.QUARANTINED,
            *failures.STRIPE,
            *failures.WRITES,
        ),
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
        parts=(fields.PAYMENT_INTENT_ID,),
        errors=(no_such("payment_intent_id"), *failures.STRIPE, *failures.READS),
    ),
    Route(
        name="create_customer",
        method="POST",
        path="/customers",
        summary="Create a customer",
        answer=_create_customer,
        body=(fields.USER_ID, fields.EMAIL, fields.NAME, fields.PHONE),
        body_bytes_max=BODY_BYTES_MAX,
        check=_check_acts_for_user,
        creates=True,
        unkept={"email": _recall_email},
        errors=(NotFound("No such user", param="user_id"), *failures.STRIPE, *failures.WRITES),
    ),
    Route(
        name="get_customer",
        method="GET",
        path="/customers/{customer_id}",
        summary="Get a customer",
        answer=_get_customer,
        parts=(fields.CUSTOMER_ID,),
        errors=(no_such("customer_id"), *failures.STRIPE, *failures.READS),
    ),
    Route(
        name="list_payment_methods",
        method="GET",
        path="/payment-methods",
        summary="List the payment methods of a customer",
        answer=_list_payment_methods,
        query=(fields.CUSTOMER_ID,),
        errors=(no_such("customer_id"), *failures.STRIPE, *failures.READS),
    ),
    Route(
        name="get_payment_method",
        method="GET",
        path="/payment-methods/{payment_method_id}",
        summary="Get a payment method",
        answer=_get_payment_method,
        parts=(fields.PAYMENT_METHOD_ID,),
        errors=(no_such("payment_method_id"), *failures.STRIPE, *failures.READS),
    ),
    Route(
        name="webhook",
        method="POST",
        path="/webhook",
        summary="Receive an event from Stripe",
        answer=_webhook,
        needs_caller=False,  # Stripe's signature says who is calling
        body_bytes_max=_WEBHOOK_BYTES_MAX,
        headers=(fields.SIGNATURE_HEADER,),
        errors=(
            InvalidSignature(),
            InvalidPayload(),
            NotConfigured(),
            HandlerFailed(),
            *failures.WRITES,
        ),
    ),
    Route(
        name="refund",
        method="POST",
        path="/refunds",
        summary="Refund a payment",
        answer=_refund,
        body=(fields.PAYMENT_INTENT_ID, fields.REFUNDED, fields.REASON),
        body_bytes_max=BODY_BYTES_MAX,
        check=Call.check_is_operator,
        creates=True,
        redo_seconds_max=REDO_SECONDS_MAX,
        errors=(
            no_such("payment_intent_id"),
            failures.UNPAID,
            failures.REFUNDED,
            outcome_unknown(),
            *failures.STRIPE,
            *failures.WRITES,
        ),
    ),
    Route(
        name="balance",
        method="GET",
        path="/balance",
        summary="Get the balance of a wallet",
        answer=_balance,
        query=(fields.WHOSE,),
        errors=failures.READS,
    ),
    Route(
        name="transactions",
        method="GET",
        path="/transactions",
        summary="List the transactions of a wallet",
        answer=_transactions,
        query=(fields.WHOSE, fields.LIMIT, fields.CURSOR, fields.TYPE),
        errors=failures.READS,
    ),
)
"""Every endpoint, the documented nine first and in the documented order."""
