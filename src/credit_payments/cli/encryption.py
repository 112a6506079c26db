"""`credit-payments encryption …`: keys for personal data."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import attrs
import click
import msgspec

from credit_payments.adapters.ciphers import open_transit
from credit_payments.adapters.secret_chain import open_chain
from credit_payments.cli.systems import opened, told
from credit_payments.config import load_settings
from credit_payments.domain import key_ring
from credit_payments.personal_data import RotationReport


def rotate(database: str | None, *, as_json: bool, dry_run: bool) -> int:
    """Rotate, print what was done, and return the exit code."""
    with opened(database) as system:
        report = system.rotate_encryption(dry_run=dry_run)
    if as_json:
        found = {"complete": report.complete, **attrs.asdict(report)}
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _tell(report, dry_run=dry_run)
    return 0 if report.complete or (dry_run and not report.unreadable) else 1


def new_key(name: str | None, *, transit_key: str | None, index: bool) -> None:
    """Print a key as the settings take it: with its id, unless it is for the index."""
    if index and name is not None:
        raise click.UsageError("the key for the index has no id: give --id or --index")
    name = name or datetime.now(UTC).date().isoformat()
    if not key_ring.is_id(name):
        raise click.UsageError("an id has 1 to 32 lower-case letters, digits, - and _")
    if transit_key is None:
        key = key_ring.encode(os.urandom(key_ring.KEY_BYTES))
    else:
        key = _key_from_vault(transit_key)
    click.echo(key if index else f"{name}:{key}")


def _key_from_vault(transit_key: str) -> str:
    given = {
        "encryption_vault_transit_key": transit_key,
        # There may be none yet, and those that there are need not be read.
        "encryption_keys": None,
        "encryption_index_key": None,
    }
    with told(), open_transit(load_settings(given, open_chain(given))) as transit:
        return transit.new_key()


def _tell(report: RotationReport, *, dry_run: bool) -> None:
    verb = "would be encrypted" if dry_run else "encrypted"
    click.echo(f"{report.customers} customers, {report.renewed} {verb} anew")
    for problem in report.problems:
        click.echo(f"  {problem}")
    if report.unreadable:
        click.echo(f"{report.unreadable} cannot be read, and are as they were.")
    if report.changed_meanwhile:
        click.echo(f"{report.changed_meanwhile} were changed meanwhile: run it again.")
    if report.complete and not dry_run:
        click.echo("Everything is under the primary key.")
