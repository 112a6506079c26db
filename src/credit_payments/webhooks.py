"""Webhooks: from the bytes that Stripe sent to a durable effect, or a clear refusal."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Sequence

from credit_payments import event_log, intake, logs
from credit_payments.config import FixedSecrets
from credit_payments.domain import events, inbox, signature, values
from credit_payments.domain.clawback import Policies
from credit_payments.domain.customers import ChangedCustomer
from credit_payments.errors import HandlerFailed, InvalidPayload, InvalidSignature, NotConfigured
from credit_payments.intake import H, Handlers
from credit_payments.ports.clock import Clock
from credit_payments.ports.encryption import FieldCipher
from credit_payments.ports.jobs import DatabaseJobs, Jobs
from credit_payments.ports.secrets import CurrentSecrets
from credit_payments.ports.telemetry import Silent, Telemetry
from credit_payments.posting import PostingQueue
from credit_payments.settlement.intake import FailEvent, FinishEvent, Lease, StoreEvent

BODY_BYTES_MAX = 1 << 20
HANDLER_SECONDS = 60.0
"""How long the host's handlers may take before a worker may try the same event."""

_log = logs.logger(__name__)


class WebhookProcessor:
    """Receives Stripe's webhooks.

    Args:
        queue: through which effects are written.
        clock: against which a signature's timestamp is held.
        secrets: the endpoint's signing secrets, several while one is being rotated; or who knows
            the present ones, and the mode with them.
        tolerance_seconds: how far a timestamp may be from now, in both directions.
        body_bytes_max: the longest body that is read.
        policies: what becomes of credits that are to be taken back and are spent already.
        mode: `"inline"` applies an event before it is answered, `"queued"` only stores it, and
            leaves it to a worker.
        livemode: which events are taken: those that move real money, those that do not, or both
            where it is None.
        connect_accounts: connected accounts whose events are taken, besides the account's own.
        cipher: encrypts what is personal in events about customers.
        handlers: the host's own, shared with the workers of this process.
        jobs: has a worker look soon for what was stored.
        telemetry: counts deliveries, and times them.
    """

    def __init__(
        self,
        queue: PostingQueue,
        clock: Clock,
        *,
        secrets: Sequence[str] | CurrentSecrets = (),
        tolerance_seconds: int = 300,
        body_bytes_max: int = BODY_BYTES_MAX,
        policies: Policies | None = None,
        mode: str = "inline",
        livemode: bool | None = None,
        connect_accounts: Collection[str] = (),
        cipher: FieldCipher | None = None,
        handlers: Handlers | None = None,
        jobs: Jobs | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._secrets = (
            FixedSecrets(webhook_secrets=secrets, livemode=livemode)
            if isinstance(secrets, Sequence)
            else secrets
        )
        self._policies = policies or Policies()
        self._queue = queue
        self._clock = clock
        self._tolerance_seconds = tolerance_seconds
        self._body_bytes_max = body_bytes_max
        self._mode = mode
        self._connect_accounts = frozenset(connect_accounts)
        self._cipher = cipher
        self._handlers = handlers or Handlers()
        self._jobs = jobs or DatabaseJobs()
        self._telemetry = telemetry or Silent()

    def on(self, kind: str) -> Callable[[H], H]:
        """Have a function called with each event of a type that the library does not apply itself.

        At least once: inline before the webhook is answered, else by a worker of a process that has
        registered the same function. If it raises, the event is tried again, at growing intervals,
        and at last is a dead letter (see `System.events`). Inline the webhook is then answered with
        503, so that Stripe delivers it again, too.

        Raises:
            InvalidRequest: no event type, or one that the library applies.

        Example:
            >>> import credit_payments as cp
            >>> with cp.connect(database="memory://") as system:
            ...     @system.webhooks.on("invoice.paid")
            ...     def thank(event):
            ...         print(event.data["object"]["id"])
        """
        return self._handlers.on(kind)

    def receive(self, body: bytes, signature_header: str) -> values.Delivery:
        """Verify, read, and apply or store one webhook; when it returns, that is durable.

        Args:
            body: the raw bytes of the request, untouched.
            signature_header: the `Stripe-Signature` header.

        Raises:
            NotConfigured: there is no webhook secret.
            InvalidSignature: not signed by Stripe, or not within the tolerance; nothing is kept.
            InvalidPayload: signed, but no event that can be read, or not one of this account and
                mode; nothing is kept.
            HandlerFailed: one of the host's handlers raised; the event is kept and tried again.
            TryAgain: the database is busy or down; Stripe will deliver again.
        """
        began = time.perf_counter()
        try:
            event = self.verify(body, signature_header)
            events.check_names(body)
            delivery = self._take(event, body)
        except Exception as error:
            self._telemetry.count("credit_payments.webhooks.refused", error=type(error).__name__)
            raise
        self._tell(event, delivery, time.perf_counter() - began)
        return delivery

    def verify(self, body: bytes, signature_header: str) -> events.Event:
        """Only check the signature and read the event.

        Besides, `receive` refuses a body in which a name comes twice in an object.

        Raises:
            NotConfigured: there is no webhook secret.
            InvalidSignature: not signed by Stripe, or not within the tolerance.
            InvalidPayload: too long, or not an event.
        """
        secrets = self._secrets.signing_secrets()
        if not secrets:
            raise NotConfigured(param="stripe_webhook_secret")
        if not isinstance(body, bytes):
            raise InvalidPayload("The webhook's body must be the raw bytes.", param="body")
        if len(body) > self._body_bytes_max:
            raise InvalidPayload(f"The webhook's body exceeds {self._body_bytes_max} bytes.")
        try:
            self._check(body, signature_header, secrets)
        except InvalidSignature:
            # Perhaps of a secret that has just been made, and that we have not read yet.
            others = self._secrets.signing_secrets_after(secrets)
            if not others:
                raise
            self._check(body, signature_header, others)
        return events.read_event(body)

    def _check(
        self, body: bytes, signature_header: str, secrets: Sequence[signature.SigningSecret]
    ) -> None:
        signature.verify(
            body,
            signature_header,
            secrets=secrets,
            now_seconds=self._clock.now().timestamp(),
            tolerance_seconds=self._tolerance_seconds,
        )

    def _take(self, event: events.Event, body: bytes) -> values.Delivery:
        if event.account is not None and event.account not in self._connect_accounts:
            # Whoever owns a connected account may write any user's id into its intents.
            raise InvalidPayload("The event is of a connected account that is not configured.")
        if self._secrets.livemode not in (None, event.livemode):
            return self._other_mode(event)
        facts = intake.kept_facts(event, self._cipher)
        if facts is None:
            return self._for_the_host(event, body)
        command = intake.command_of(facts, intake.messenger_of(event), self._policies)
        if command is None:
            return _delivery(event, "ignored")
        # What is personal does not wait: rotating keys and forgetting customers could not reach it.
        if self._mode == "queued" and not isinstance(facts, ChangedCustomer):
            return self._store(event, facts)
        settlement = self._queue.submit(command)
        return _delivery(event, settlement.outcome, settlement.reason)

    def _other_mode(self, event: events.Event) -> values.Delivery:
        """Stripe sends test events to live Connect endpoints, too, which is nobody's mistake.

        Real money that is told of to a test system is one: the refusal shows in Stripe's dashboard.
        See https://docs.stripe.com/connect/webhooks.
        """
        if event.livemode:
            raise InvalidPayload("The event is about real money, and the secret key is a test key.")
        return _delivery(event, "ignored", "a test event, and the secret key is a live key")

    def _for_the_host(self, event: events.Event, body: bytes) -> values.Delivery:
        if event.type not in self._handlers:
            return _delivery(event, "ignored")
        if self._mode == "queued":
            return self._store(event, None)
        lease = Lease(uuid.uuid4().hex, HANDLER_SECONDS)
        stored = self._queue.submit(_to_store(event, None, lease))
        if stored is None:
            return _delivery(event, "duplicate")
        told = intake.stripe_event(event, events.read_data(body), stored.attempts)
        problem = self._handlers.run(told)
        if problem is None:
            self._queue.submit(FinishEvent(event_id=event.id, token=lease.token))
            return _delivery(event, "applied")
        status = self._queue.submit(
            FailEvent(event_id=event.id, token=lease.token, problem=problem, jitter=1.0)
        )
        event_log.count_failed(self._telemetry, event.type, status)
        if status == inbox.DEAD:
            raise HandlerFailed(f"{problem}; the event is a dead letter")
        raise HandlerFailed(f"{problem}; the event is kept, and tried again")

    def _store(self, event: events.Event, facts: inbox.Kept | None) -> values.Delivery:
        if self._queue.submit(_to_store(event, facts)) is None:
            return _delivery(event, "duplicate")
        try:
            self._jobs.enqueue(event.id)
        except Exception as error:  # noqa: BLE001 - it is stored: workers find it by themselves
            _log.warning(
                "No worker could be told of %s: %s",
                event.id,
                type(error).__name__,
                extra=_extra(event, "queued"),
            )
            self._telemetry.count("credit_payments.jobs.failed")
        return _delivery(event, "queued")

    def _tell(self, event: events.Event, delivery: values.Delivery, seconds: float) -> None:
        self._telemetry.count("credit_payments.webhooks", type=event.type, outcome=delivery.outcome)
        self._telemetry.took("credit_payments.webhooks.duration", seconds)
        if _log.isEnabledFor(logging.INFO):
            _log.info(
                "%s %s: %s",
                event.type,
                event.id,
                delivery.outcome,
                extra=_extra(event, delivery.outcome),
            )


def _to_store(
    event: events.Event, facts: inbox.Kept | None, lease: Lease | None = None
) -> StoreEvent:
    """With the facts; nothing of an event that is the host's but whose account it is of.

    It may hold personal data. Who applies it later asks Stripe for it.
    """
    return StoreEvent(
        messenger=intake.messenger_of(event),
        subject=inbox.subject_of(facts) if facts else event.id,
        lane=inbox.lane_of(facts) if facts else inbox.HOSTS,
        payload=inbox.pack(facts) if facts else event.account or "",
        lease=lease,
    )


def _extra(event: events.Event, outcome: str) -> dict[str, object]:
    return event_log.fields(event.id, event.type, _subject(event), outcome)


def _subject(event: events.Event) -> str | None:
    facts = event.facts
    subject = getattr(facts, "payment_intent", facts)
    found = getattr(subject, "id", subject)
    return found if isinstance(found, str) else None


def _delivery(event: events.Event, outcome: str, reason: str | None = None) -> values.Delivery:
    return values.Delivery(event_id=event.id, type=event.type, outcome=outcome, reason=reason)
