"""Of what waits: events, dead letters, the quarantine, notifications."""

from __future__ import annotations

from collections.abc import Iterator

from credit_payments.domain.diagnosis import Finding, ok, problem, warning
from credit_payments.domain.vitals import (
    Conversions,
    Health,
    Inbox,
    LastEvent,
    QueueLength,
    counted,
)


def of_health(health: Health) -> Iterator[Finding]:
    """What health has read; of the database no more than that where it did not answer."""
    yield _of_queue(health.queue)
    if health.inbox is not None:
        yield _of_waiting(health.inbox, health.stripe.webhook_mode)
        yield _of_dead(health.inbox)
    if health.database.answers:
        yield _of_last(health.last_event)
    else:
        yield problem(
            "events",
            "what waits cannot be read",
            "see what else is said of the database, and what its own log says; then ask again",
        )
    if health.quarantine is not None:
        yield _of_quarantine(health.quarantine.open)
    if health.notifications is not None:
        yield _of_notifications(health.notifications.waiting, health.notifications.dead)
    if health.conversions is not None:
        yield _of_purchases(health.conversions)


def _of_queue(queue: QueueLength) -> Finding:
    said = f"{queue.commands_waiting} of {queue.commands_max} writes of this process wait"
    if queue.is_late or queue.is_crowded:
        return warning(
            "queue",
            f"{said}, the oldest for {queue.oldest_seconds:.0f} seconds",
            "the database is slow, another program locks it, or too much is asked of it",
        )
    return ok("queue", said)


def _of_waiting(inbox: Inbox, mode: str) -> Finding:
    if not inbox.waiting:
        return ok("events.waiting", f"none; webhooks are {mode}")
    said = f"{counted(inbox.waiting)}, the oldest for {inbox.oldest_seconds:.0f} seconds"
    if not inbox.is_late:
        return ok("events.waiting", said)
    return warning(
        "events.waiting",
        said,
        "start a worker (`credit-payments worker`), or see why those that run do not come to them",
    )


def _of_dead(inbox: Inbox) -> Finding:
    if not inbox.dead:
        return ok("events.dead", "no dead letters")
    return warning(
        "events.dead",
        f"dead letters: {counted(inbox.dead)}",
        "see why (`credit-payments events list`), mend the cause, then "
        "`credit-payments events replay --all`",
    )


def _of_last(last: LastEvent | None) -> Finding:
    if last is None:
        return ok("events.last", "none has come yet")
    return ok("events.last", f"{last.type}, {last.seconds_ago:.0f} seconds ago")


def _of_quarantine(waiting: int) -> Finding:
    if not waiting:
        return ok("quarantine", "empty")
    return warning(
        "quarantine",
        f"incidents that wait for a person: {counted(waiting)}",
        "`credit-payments events list --status quarantined`, then resolve or dismiss each",
    )


def _of_notifications(waiting: int, dead: int) -> Finding:
    if not dead:
        return ok("notifications", f"{counted(waiting)} to deliver")
    return warning(
        "notifications",
        f"given up: {counted(dead)}",
        "mend the handlers that failed; what was given up stands in the table `notifications`, "
        "with the status `dead`",
    )


def _of_purchases(found: Conversions) -> Finding:
    if not found.checked:
        return ok("purchases", "none yet")
    if not found.inaccurate:
        return ok("purchases", f"the last {found.checked} brought what was promised")
    return problem(
        "purchases",
        f"{len(found.inaccurate)} of the last {found.checked} brought other credits than promised",
        f"run `credit-payments audit verify`, and look into {', '.join(found.inaccurate)}",
    )
