"""From an event to what is to be done about it: shared by webhooks, workers and reconciliation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from credit_payments import event_log, logs, personal_data
from credit_payments.domain import events, inbox, instants, values
from credit_payments.domain.clawback import Policies
from credit_payments.domain.customers import ChangedCustomer
from credit_payments.domain.decision import Command
from credit_payments.domain.records import NEVER
from credit_payments.domain.stripe_facts import (
    CustomerFacts,
    DisputeFacts,
    FraudWarningFacts,
    PaymentIntentFacts,
    ref_id,
)
from credit_payments.errors import InvalidRequest
from credit_payments.ports.encryption import FieldCipher
from credit_payments.settlement import (
    Messenger,
    ReportCustomer,
    ReportDispute,
    ReportFraudWarning,
    ReportPayment,
    ReportRefund,
    Settlement,
)

Handler: TypeAlias = Callable[[values.StripeEvent], object]
H = TypeVar("H", bound=Handler)

_TYPE = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)+", re.ASCII)

_log = logs.logger(__name__)


def messenger_of(event: events.Event) -> Messenger:
    """Who tells."""
    return Messenger(
        event_id=event.id, type=event.type, created_at=instants.from_unix(event.created)
    )


def kept_facts(event: events.Event, cipher: FieldCipher | None) -> inbox.Kept | None:
    """The facts of an event as they may be kept; None for an event that is not ours to apply.

    What is personal in them is encrypted here, or left out where there is no cipher.
    """
    facts = event.facts
    if not isinstance(facts, CustomerFacts):
        return facts
    if event.type == events.CUSTOMER_DELETED:
        return ChangedCustomer(customer_id=facts.id, as_of=NEVER)
    sealed = None
    if cipher is not None:
        sealed = personal_data.seal(
            cipher, facts.id, email=facts.email, name=facts.name, phone=facts.phone
        )
    as_of = instants.from_unix(event.created)
    return ChangedCustomer(customer_id=facts.id, as_of=as_of, sealed=sealed)


def command_of(
    facts: inbox.Kept, messenger: Messenger, policies: Policies
) -> Command[Settlement] | None:
    """What facts mean; None when they say nothing about a payment intent, or a customer."""
    if isinstance(facts, PaymentIntentFacts):
        return ReportPayment(facts=facts, messenger=messenger, policies=policies)
    if isinstance(facts, DisputeFacts):
        created_at = instants.from_unix(facts.created)
        return ReportDispute(
            facts=facts, created_at=created_at, messenger=messenger, policies=policies
        )
    if isinstance(facts, FraudWarningFacts):
        return ReportFraudWarning(facts=facts, messenger=messenger)
    if isinstance(facts, ChangedCustomer):
        return ReportCustomer(facts=facts, messenger=messenger)
    intent_id = ref_id(facts.payment_intent)
    if intent_id is None:
        return None
    return ReportRefund(
        facts=facts, payment_intent_id=intent_id, messenger=messenger, policies=policies
    )


class Handlers:
    """The host's own handlers, by the type of event that they are for."""

    def __init__(self) -> None:
        self._handlers: dict[str, tuple[Handler, ...]] = {}

    def on(self, kind: str) -> Callable[[H], H]:
        """See `WebhookProcessor.on`."""
        if not _TYPE.fullmatch(kind):
            raise InvalidRequest("type must be an event type of Stripe's", param="type")
        if kind in events.READ:
            raise InvalidRequest(
                f"{kind} is applied by the library itself; see the notifications for what follows",
                param="type",
            )

        def register(handler: H) -> H:
            self._handlers[kind] = (*self._handlers.get(kind, ()), handler)
            return handler

        return register

    def __contains__(self, kind: str) -> bool:
        return kind in self._handlers

    @property
    def types(self) -> Sequence[str]:
        """The types that there are handlers for."""
        return tuple(self._handlers)

    def run(self, event: values.StripeEvent) -> str | None:
        """Call them in turn; None if all returned, else what went wrong, in words for a person."""
        for handler in self._handlers.get(event.type, ()):
            try:
                handler(event)
            except Exception as error:  # noqa: BLE001 - whatever the host's code raises
                _log.exception(
                    "A handler of %s failed: %s",
                    event.type,
                    event.id,
                    extra=event_log.fields(event.id, event.type, None, "failed", event.attempt),
                )
                # Not its message: it may hold anything.
                return f"a handler raised {type(error).__name__}"
        return None


def stripe_event(event: events.Event, data: dict[str, Any], attempt: int) -> values.StripeEvent:
    """An event as handlers get it; `data` is the event's own `data`."""
    return values.StripeEvent(
        id=event.id,
        type=event.type,
        created=event.created,
        livemode=event.livemode,
        account=event.account,
        data=data,
        attempt=attempt,
    )
