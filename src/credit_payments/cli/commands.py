"""The commands: what they are called, what they take, and which module does the work."""

from __future__ import annotations

import click

import credit_payments


@click.group()
@click.version_option(credit_payments.__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Sell prepaid credits through Stripe."""


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
