"""`credit-payments audit …` and `report`: reading a ledger from the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import click
import msgspec

from credit_payments.cli.systems import opened
from credit_payments.domain.audit import VerificationReport
from credit_payments.domain.seals import Seal

SEAL_BYTES_MAX = 4_096


def verify(database: str | None, *, as_json: bool) -> int:
    """Verify, print what was found, and return the exit code."""
    with opened(database) as system:
        return _tell(system.verify(), as_json=as_json)


def seal(database: str | None) -> None:
    """Print a seal."""
    with opened(database) as system:
        click.echo(system.seal().to_json())


def check(database: str | None, text: bytes, *, as_json: bool) -> int:
    """Verify and hold against a seal, print what was found, and return the exit code."""
    with opened(database) as system:
        return _tell(system.check_seal(Seal.from_json(text)), as_json=as_json)


def report(
    database: str | None, since: datetime | None, until: datetime | None, *, money: bool
) -> None:
    """Print a report."""
    with opened(database) as system:
        found = system.report(
            since=since and since.replace(tzinfo=UTC), until=until and until.replace(tzinfo=UTC)
        )
        click.echo(found.money_to_csv() if money else found.to_csv(), nl=False)


def _tell(report: VerificationReport, *, as_json: bool) -> int:
    if as_json:
        found = {"ok": report.ok, **attrs.asdict(report)}
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        click.echo(f"{report.entries} entries in {report.wallets} wallets")
        for account, credits in sorted(report.trial_balance.items()):
            click.echo(f"  {account:<12} {credits:>16,}")
        for problem in report.problems:
            at = problem.transaction_id or "-"
            click.echo(f"  {problem.user_id}  {at}  {problem.message}")
        click.echo("Everything fits." if report.ok else f"{len(report.problems)} problems.")
    return 0 if report.ok else 1
