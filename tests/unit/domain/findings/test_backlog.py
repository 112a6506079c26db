"""What is made of health: each decision by itself."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from credit_payments.domain import vitals
from credit_payments.domain.diagnosis import Finding
from credit_payments.domain.findings import backlog

WELL = vitals.Health(
    checked_at="2024-01-01T00:00:00.000000Z",
    stripe=vitals.StripeSetup(
        configured=True, livemode=False, webhooks_configured=True, webhook_mode="queued"
    ),
    database=vitals.DatabaseState(kind="sqlite", answers=True, schema_version=3),
    queue=vitals.QueueLength(commands_waiting=0, commands_max=10, oldest_seconds=0),
    inbox=vitals.Inbox(waiting=0, oldest_seconds=0, dead=0),
    quarantine=vitals.Quarantine(open=0, oldest_seconds=0),
    notifications=vitals.NotificationBacklog(waiting=0, dead=0),
    last_event=vitals.LastEvent(
        type="charge.refunded", received_at="2024-01-01T00:00:00.000000Z", seconds_ago=5
    ),
    conversions=vitals.Conversions(checked=3),
)


def findings(**changes: Any) -> list[Finding]:
    return list(backlog.of_health(attrs.evolve(WELL, **changes)))


def changed(**changes: Any) -> Finding:
    """The one finding that is not as it was."""
    (one,) = [one for one in findings(**changes) if one not in findings()]
    return one


def test_when_all_is_well_every_finding_is() -> None:
    assert {one.level for one in findings()} == {"ok"}
    assert [one.name for one in findings()] == [
        "queue",
        "events.waiting",
        "events.dead",
        "events.last",
        "quarantine",
        "notifications",
        "purchases",
    ]


@pytest.mark.parametrize(
    ("part", "name", "level", "said", "advice"),
    [
        (
            vitals.Inbox(waiting=3, oldest_seconds=301, dead=0),
            "events.waiting",
            "warning",
            "3, the oldest for 301 seconds",
            "`credit-payments worker`",
        ),
        (
            vitals.Inbox(waiting=3, oldest_seconds=300, dead=0),
            "events.waiting",
            "ok",
            "3, the oldest for 300 seconds",
            "None",
        ),
        (
            vitals.Inbox(waiting=0, oldest_seconds=0, dead=10_000),
            "events.dead",
            "warning",
            "10000 or more",
            "`credit-payments events list`",
        ),
        (
            vitals.Quarantine(open=2, oldest_seconds=9),
            "quarantine",
            "warning",
            "for a person: 2",
            "--status quarantined",
        ),
        (
            vitals.NotificationBacklog(waiting=1, dead=4),
            "notifications",
            "warning",
            "given up: 4",
            "handlers",
        ),
        (
            vitals.Conversions(checked=3, inaccurate=("pi_1",)),
            "purchases",
            "problem",
            "1 of the last 3",
            "pi_1",
        ),
        (vitals.Conversions(checked=0), "purchases", "ok", "none yet", "None"),
        (
            vitals.QueueLength(commands_waiting=8, commands_max=10, oldest_seconds=0),
            "queue",
            "warning",
            "8 of 10",
            "the database is slow",
        ),
        (
            vitals.QueueLength(commands_waiting=1, commands_max=10, oldest_seconds=11),
            "queue",
            "warning",
            "11 seconds",
            "the database is slow",
        ),
    ],
)
def test_what_waits_too_long_or_in_vain_changes_its_own_line_alone(
    part: Any, name: str, level: str, said: str, advice: str
) -> None:
    field = {
        vitals.Inbox: "inbox",
        vitals.Quarantine: "quarantine",
        vitals.NotificationBacklog: "notifications",
        vitals.Conversions: "conversions",
        vitals.QueueLength: "queue",
    }[type(part)]
    found = changed(**{field: part})
    assert (found.name, found.level) == (name, level)
    assert said in found.said
    assert advice in str(found.advice)


def test_that_no_event_ever_came_is_told() -> None:
    found = changed(last_event=None)
    assert (found.level, found.said) == ("ok", "none has come yet")


def test_a_database_that_does_not_answer_is_told_instead_of_what_waits() -> None:
    down = vitals.Health(
        checked_at=WELL.checked_at,
        stripe=WELL.stripe,
        database=attrs.evolve(WELL.database, answers=False),
        queue=WELL.queue,
    )
    assert [(one.name, one.level) for one in backlog.of_health(down)] == [
        ("queue", "ok"),
        ("events", "problem"),
    ]
