"""What is said and counted of an event, wherever it is applied."""

from __future__ import annotations

import logging

from credit_payments.domain import inbox
from credit_payments.domain.records import Event
from credit_payments.ports.telemetry import Telemetry


class EventLog:
    """Says in one way what became of stored events.

    Args:
        logger: in whose name.
        telemetry: where it is counted, too.
    """

    def __init__(self, logger: logging.Logger, telemetry: Telemetry) -> None:
        self._logger = logger
        self._telemetry = telemetry

    def applied(self, event: Event, outcome: str, *, waited_seconds: float) -> None:
        """It was done, and with what outcome."""
        self._telemetry.count("credit_payments.events", type=event.type, outcome=outcome)
        self._telemetry.took("credit_payments.events.wait", waited_seconds)
        if self._logger.isEnabledFor(logging.INFO):
            self._logger.info(
                "%s %s: %s", event.type, event.event_id, outcome, extra=_fields_of(event, outcome)
            )

    def failed(self, event: Event, status: str, problem: str) -> None:
        """A try has failed: `event` counts it, `status` is what the event is in now."""
        count_failed(self._telemetry, event.type, status)
        is_dead = status == inbox.DEAD
        self._logger.log(
            logging.ERROR if is_dead else logging.WARNING,
            "%s %s failed at attempt %d, and is %s: %s",
            event.type,
            event.event_id,
            event.attempts,
            "a dead letter" if is_dead else "tried again",
            problem,
            extra=_fields_of(event, "dead" if is_dead else "failed"),
        )

    def put_off(self, event: Event, problem: str) -> None:
        """What came in the way is no fault of the event's, and no try of it."""
        self._logger.warning(
            "%s %s waits: %s",
            event.type,
            event.event_id,
            problem,
            extra=_fields_of(event, "put_off"),
        )

    def raised(self, event: Event, error: Exception) -> None:
        """Applying it met a bug."""
        self._logger.error(
            "%s cannot be applied.",
            event.event_id,
            exc_info=error,
            extra=_fields_of(event, "failed"),
        )


def count_failed(telemetry: Telemetry, kind: str, status: str | None) -> None:
    """Count a try that failed, and the dead letter that the event may be by now."""
    telemetry.count("credit_payments.events.failed", type=kind)
    if status == inbox.DEAD:
        telemetry.count("credit_payments.events.dead", type=kind)


def fields(
    event_id: str, kind: str, subject: str | None, outcome: str, attempt: int | None = None
) -> dict[str, object]:
    """The fields of a log record about an event; of one that is applied at once no attempt."""
    is_payment = subject is not None and subject.startswith("pi_")
    known: dict[str, object] = {
        "event_id": event_id,
        "event_type": kind,
        "payment_intent_id": subject if is_payment else None,
        "outcome": outcome,
    }
    return known if attempt is None else {**known, "attempt": attempt}


def _fields_of(event: Event, outcome: str) -> dict[str, object]:
    return fields(event.event_id, event.type, event.subject, outcome, event.attempts)
