"""`credit-payments migrate`: bringing a database to the schema of this release."""

from __future__ import annotations

from contextlib import closing

import click
import msgspec

from credit_payments.adapters.databases import open_schema
from credit_payments.adapters.secret_chain import open_chain
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.cli.systems import told
from credit_payments.config import load_settings
from credit_payments.domain.migrations import Migration
from credit_payments.migrating import migrate


def run(database: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Migrate, and print which steps were taken, or would be."""
    given = {} if database is None else {"database": database}
    with told():
        url = load_settings(given, open_chain(given)).database
        with closing(open_schema(url)) as schema:
            steps = migrate(schema, SystemClock(), dry_run=dry_run)
            newest = schema.migrations[-1].version
    _tell(steps, newest, dry_run=dry_run, as_json=as_json)


def _tell(steps: list[Migration], newest: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        told = {
            "schema_version": newest,
            "dry_run": dry_run,
            "migrations": [
                {"version": step.version, "name": step.name, "checksum": step.checksum}
                for step in steps
            ],
        }
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    for step in steps:
        click.echo(f"{'would take' if dry_run else 'took'} {step.version:04} {step.name}")
    if not steps:
        click.echo(f"Nothing to do: the schema version is {newest}.")
