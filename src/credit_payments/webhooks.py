"""Webhooks: from the bytes that Stripe sent to a durable effect, or a clear refusal."""

from __future__ import annotations

from collections.abc import Sequence

from credit_payments.domain import events, instants, signature, values
from credit_payments.domain.clawback import Policies
from credit_payments.domain.stripe_facts import DisputeFacts, PaymentIntentFacts, ref_id
from credit_payments.errors import InvalidPayload, NotConfigured
from credit_payments.ports.clock import Clock
from credit_payments.posting import PostingQueue
from credit_payments.settlement import (
    Messenger,
    ReportDispute,
    ReportPayment,
    ReportRefund,
)

BODY_BYTES_MAX = 1 << 20


class WebhookProcessor:
    """Receives Stripe's webhooks.

    Args:
        queue: through which effects are written.
        clock: against which a signature's timestamp is held.
        secrets: the endpoint's signing secrets; several while one is being rotated.
        tolerance_seconds: how far a timestamp may be from now, in both directions.
        body_bytes_max: the longest body that is read.
        policies: what becomes of credits that are to be taken back and are spent already.
    """

    def __init__(
        self,
        queue: PostingQueue,
        clock: Clock,
        *,
        secrets: Sequence[str] = (),
        tolerance_seconds: int = 300,
        body_bytes_max: int = BODY_BYTES_MAX,
        policies: Policies | None = None,
    ) -> None:
        # An empty secret would let anybody sign.
        self._secrets = tuple(signature.SigningSecret(secret) for secret in secrets if secret)
        self._policies = policies or Policies()
        self._queue = queue
        self._clock = clock
        self._tolerance_seconds = tolerance_seconds
        self._body_bytes_max = body_bytes_max

    def receive(self, body: bytes, signature_header: str) -> values.Delivery:
        """Verify, read and apply one webhook; when it returns, the effect is durable.

        Args:
            body: the raw bytes of the request, untouched.
            signature_header: the `Stripe-Signature` header.

        Raises:
            NotConfigured: there is no webhook secret.
            InvalidSignature: not signed by Stripe, or not within the tolerance; nothing is kept.
            InvalidPayload: signed, but no event that can be read; nothing is kept.
            TryAgain: the database is busy or down; Stripe will deliver again.
        """
        event = self.verify(body, signature_header)
        command = _command(event, self._policies)
        if command is None:
            return values.Delivery(event_id=event.id, type=event.type, outcome="ignored")
        settlement = self._queue.submit(command)
        return values.Delivery(
            event_id=event.id,
            type=event.type,
            outcome=settlement.outcome,
            reason=settlement.reason,
        )

    def verify(self, body: bytes, signature_header: str) -> events.Event:
        """Only check the signature and read the event.

        Raises:
            NotConfigured: there is no webhook secret.
            InvalidSignature: not signed by Stripe, or not within the tolerance.
            InvalidPayload: too long, or not an event.
        """
        if not self._secrets:
            raise NotConfigured(param="stripe_webhook_secret")
        if not isinstance(body, bytes):
            raise InvalidPayload("The webhook's body must be the raw bytes.", param="body")
        if len(body) > self._body_bytes_max:
            raise InvalidPayload(f"The webhook's body exceeds {self._body_bytes_max} bytes.")
        signature.verify(
            body,
            signature_header,
            secrets=self._secrets,
            now_seconds=self._clock.now().timestamp(),
            tolerance_seconds=self._tolerance_seconds,
        )
        return events.read_event(body)


def _command(
    event: events.Event, policies: Policies
) -> ReportPayment | ReportRefund | ReportDispute | None:
    """What the event says, as a command; None when it says nothing about a payment intent."""
    facts = event.facts
    messenger = Messenger(event_id=event.id, type=event.type)
    if isinstance(facts, PaymentIntentFacts):
        return ReportPayment(facts=facts, messenger=messenger, policies=policies)
    if isinstance(facts, DisputeFacts):
        created_at = instants.from_unix(facts.created)
        return ReportDispute(
            facts=facts, created_at=created_at, messenger=messenger, policies=policies
        )
    intent_id = ref_id(facts.payment_intent) if facts else None
    if facts is None or intent_id is None:
        return None
    return ReportRefund(
        facts=facts, payment_intent_id=intent_id, messenger=messenger, policies=policies
    )
