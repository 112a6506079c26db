"""The commands: what they are called, what they take, and which module does the work."""

from __future__ import annotations

from datetime import datetime
from typing import IO

import click

import credit_payments


@click.group()
@click.version_option(credit_payments.__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Sell prepaid credits through Stripe."""


_DATABASE = click.option(
    "--database",
    metavar="URL",
    help="Such as sqlite:///credits.db; by default that of the settings.",
)


@commands.group()
def audit() -> None:
    """Let the ledger prove itself."""


@audit.command()
@_DATABASE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_context
def verify(context: click.Context, *, database: str | None, as_json: bool) -> None:
    """Recompute chains, balances, lots and debts from the entries.

    Exits with 1 if anything does not fit.
    """
    from credit_payments.cli import auditing  # noqa: PLC0415 - other commands are spared it

    context.exit(auditing.verify(database, as_json=as_json))


@audit.command()
@_DATABASE
def seal(*, database: str | None) -> None:
    """Print one digest over the ledger, as JSON, to be kept where nobody edits both."""
    from credit_payments.cli import auditing  # noqa: PLC0415 - other commands are spared it

    auditing.seal(database)


@audit.command()
@_DATABASE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.argument("file", type=click.File("rb"))
@click.pass_context
def check(context: click.Context, *, database: str | None, as_json: bool, file: IO[bytes]) -> None:
    """Verify the ledger, and hold it against a seal; FILE may be - for standard input.

    Exits with 1 if an entry that was sealed has been edited, removed, inserted or reordered, or if
    anything else does not fit.
    """
    from credit_payments.cli import auditing  # noqa: PLC0415 - other commands are spared it

    context.exit(auditing.check(database, file.read(auditing.SEAL_BYTES_MAX), as_json=as_json))


_DAY = click.DateTime(formats=["%Y-%m-%d"])


@commands.command()
@_DATABASE
@click.option("--since", type=_DAY, metavar="DAY", help="The first day, in UTC.")
@click.option("--until", type=_DAY, metavar="DAY", help="The day after the last, in UTC.")
@click.option("--money", is_flag=True, help="Paid credits and their value, instead of all credits.")
def report(
    *, database: str | None, since: datetime | None, until: datetime | None, money: bool
) -> None:
    """Print, as CSV, what was sold, granted, used, expired, refunded and disputed on each day."""
    from credit_payments.cli import auditing  # noqa: PLC0415 - other commands are spared it

    auditing.report(database, since, until, money=money)


@commands.command()
@click.option("--headless", is_flag=True, help="Play the customers in the terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--framework",
    type=click.Choice(["flask", "fastapi"]),
    default="flask",
    show_default=True,
    help="What the shop is built with.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Determines amounts and Stripe's ids.",
)
@click.pass_context
def demo(
    context: click.Context, *, headless: bool, as_json: bool, framework: str, seed: int
) -> None:
    """Sell credits in a real shop against a simulated Stripe, then check the books.

    Nothing leaves this machine, and nothing is left on it. Exits with 0 only if every invariant
    holds.
    """
    if not headless:
        raise click.UsageError(
            "the demo's web page is not there yet; run it in the terminal: "
            "credit-payments demo --headless"
        )
    from credit_payments.cli.demo.run import run  # noqa: PLC0415 - other commands are spared it

    context.exit(run(framework=framework, seed=seed, as_json=as_json))
