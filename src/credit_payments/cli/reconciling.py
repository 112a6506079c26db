"""`credit-payments reconcile`: Stripe against the ledger from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import attrs
import click
import msgspec

from credit_payments.cli.group import INTERRUPTED
from credit_payments.cli.systems import chosen, told
from credit_payments.domain.differences import Progress, ReconciliationReport

_STEPS = 1_000


def reconcile(
    database: str | None,
    app: str | None,
    since: str,
    until: str | None,
    *,
    repair: bool,
    restart: bool,
    as_json: bool,
) -> int:
    """Reconcile, print what was found, and return the exit code."""
    first, last = _instant(since), None if until is None else _instant(until)
    try:
        with told(), chosen(database, app) as system, _bar() as progress:
            report = system.reconcile(
                since=first, until=last, repair=repair, restart=restart, progress=progress
            )
    except KeyboardInterrupt:
        click.echo("Interrupted: the same command goes on here.", err=True)
        return INTERRUPTED
    _tell(report, as_json=as_json)
    return 0 if report.ok else 1


def _instant(text: str) -> datetime:
    """A day, or an instant in ISO 8601; in UTC where it does not say."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is neither a day nor an instant in ISO 8601") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None] | None]:
    """A progress bar where a person looks on, and nothing in a log."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=_STEPS, file=sys.stderr, item_show_func=lambda told: told) as bar:

        def progress(told: Progress) -> None:
            phase = told.phase.replace("_", " ")
            at = int(told.share * _STEPS)
            shown = f"{told.looked_at} {phase}, {told.differences} differences"
            bar.update(max(0, at - bar.pos), shown)

        yield progress


def _tell(report: ReconciliationReport, *, as_json: bool) -> None:
    if as_json:
        found = {"ok": report.ok, "complete": report.complete, **attrs.asdict(report)}
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    click.echo(f"From {report.since.isoformat()} until {report.until.isoformat()}, at Stripe:")
    looked_at = (
        ("payment intents", report.payment_intents),
        ("refunds", report.refunds),
        ("disputes", report.disputes),
        ("events", report.events),
        ("of these foreign", report.foreign),
        ("payments here", report.payments),
    )
    for what, count in looked_at:
        click.echo(f"  {what:<16} {count:>12,}")
    for one in report.differences:
        at = f"{one.payment_intent_id or '-'}  {one.subject}"
        done = "  (repaired)" if one.repaired else ""
        click.echo(f"  {one.kind:<18}  {one.user_id or '-'}  {at}  {one.detail}{done}")
    count = sum(report.found.values())
    if not report.complete:
        click.echo(f"  … and {count - len(report.differences)} more")
    if not count:
        click.echo("Nothing differs.")
    else:
        noun = "difference" if count == 1 else "differences"
        click.echo(f"{count} {noun}, {report.repaired} repaired.")
