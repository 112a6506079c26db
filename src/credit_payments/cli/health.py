"""`credit-payments health`: how the system is, from the command line."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from credit_payments.cli.systems import opened
from credit_payments.domain.vitals import Health

EXIT_CODES = {"ok": 0, "degraded": 1, "down": 2}


def health(database: str | None, *, as_json: bool) -> int:
    """Look, print what was found, and return the exit code."""
    with opened(database) as system:
        found = system.health()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found.as_dict()), indent=2).decode())
    else:
        click.echo("\n".join(_told(found)))
    return EXIT_CODES[found.status]


def _told(found: Health) -> Iterator[str]:
    yield found.status
    yield from (f"  ! {problem}" for problem in found.problems)
    yield f"  {'database':<20} {_database(found)}"
    yield f"  {'Stripe':<20} {_stripe(found)}"
    if (inbox := found.inbox) is not None:
        yield f"  {'events to apply':<20} {inbox.waiting}, {inbox.dead} dead letters"
    if (quarantine := found.quarantine) is not None:
        yield f"  {'quarantine':<20} {quarantine.open} open"
    if (told := found.notifications) is not None:
        yield f"  {'notifications':<20} {told.waiting} to deliver, {told.dead} given up"
    if (conversions := found.conversions) is not None:
        yield f"  {'conversions':<20} {conversions.accurate} of {conversions.checked} as promised"
        yield from (f"  ! {intent_id}" for intent_id in conversions.inaccurate)
    if (last := found.last_event) is not None:
        yield f"  {'last event':<20} {last.type}, {last.seconds_ago:.0f} seconds ago"
    if (lag := found.delivery_lag) is not None:
        median, longest = lag.median_seconds, lag.max_seconds
        yield f"  {'delivery lag':<20} {median:.1f} seconds, {longest:.1f} at most"
    if (reconciled := found.last_reconciliation) is not None:
        yield f"  {'last reconciliation':<20} {reconciled.ended_at}"


def _database(found: Health) -> str:
    answers = "answers" if found.database.answers else "does not answer"
    version = found.database.schema_version
    return f"{found.database.kind} {answers}" + ("" if version is None else f", schema {version}")


def _stripe(found: Health) -> str:
    setup = found.stripe
    mode = {True: "live", False: "test", None: "no secret key"}[setup.livemode]
    webhooks = (
        f"webhooks {setup.webhook_mode}" if setup.webhooks_configured else "no webhook secret"
    )
    return f"{mode}, {webhooks}"
