"""The commands: what they are called, what they take, and which module does the work."""

from __future__ import annotations

from datetime import datetime
from typing import IO

import click

import credit_payments
from credit_payments.cli.group import Commands


@click.group(cls=Commands)
@click.version_option(credit_payments.__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Sell prepaid credits through Stripe."""


_DATABASE = click.option(
    "--database",
    metavar="URL",
    help="Such as sqlite:///credits.db; by default that of the settings.",
)
_APP = click.option(
    "--app",
    metavar="MODULE:ATTRIBUTE",
    help="Your system, or a function that returns one: with its handlers, policies and notices.",
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


@commands.command()
@_DATABASE
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def migrate(*, database: str | None, dry_run: bool, as_json: bool) -> None:
    """Bring a database to the schema of this release.

    Safe to run twice, and from two machines at once. Needs a database user who may create tables.
    """
    from credit_payments.cli import migrating  # noqa: PLC0415 - other commands are spared it

    migrating.run(database, dry_run=dry_run, as_json=as_json)


@commands.command()
@_DATABASE
@click.argument("file", type=click.Path(dir_okay=False, writable=True, allow_dash=True))
def export(*, database: str | None, file: str) -> None:
    """Verify the ledger, and write everything to FILE as JSON lines; - for standard output."""
    from credit_payments.cli import moving  # noqa: PLC0415 - other commands are spared it

    moving.export(database, file)


@commands.command("import")
@_DATABASE
@click.option("--resume", is_flag=True, help="Go on where an import of the same file broke off.")
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
def import_(*, database: str | None, resume: bool, file: str) -> None:
    """Write everything in FILE to a blank database, and verify the ledger there."""
    from credit_payments.cli import moving  # noqa: PLC0415 - other commands are spared it

    moving.import_dump(database, file, resume=resume)


@commands.group()
def encryption() -> None:
    """Keys for the personal data of customers."""


@encryption.command()
@_DATABASE
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_context
def rotate(context: click.Context, *, database: str | None, dry_run: bool, as_json: bool) -> None:
    """Encrypt anew what is not under the first key, and index anew what is not under its key.

    Safe to interrupt, and to run again. Exits with 1 if anything could not be read, or was changed
    by somebody else meanwhile.
    """
    from credit_payments.cli import encryption as keys  # noqa: PLC0415 - others are spared it

    context.exit(keys.rotate(database, as_json=as_json, dry_run=dry_run))


@encryption.command("new-key")
@click.option("--id", "name", metavar="ID", help="What it is called; the day when left out.")
@click.option("--index", is_flag=True, help="For encryption_index_key, whose key has no id.")
@click.option(
    "--vault-transit",
    "transit_key",
    metavar="NAME",
    help="Have Vault make it, and encrypt it with this key of its transit engine.",
)
def new_key(*, name: str | None, index: bool, transit_key: str | None) -> None:
    """Print a random key for the settings, and nothing else.

    It is shown once, here: without it, what it encrypts cannot be read by anybody.
    """
    from credit_payments.cli import encryption as keys  # noqa: PLC0415 - others are spared it

    keys.new_key(name, transit_key=transit_key, index=index)


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
@_DATABASE
@_APP
@click.option("--drain", is_flag=True, help="Only do what is due, and say how much that was.")
def worker(*, database: str | None, app: str | None, drain: bool) -> None:
    """Apply stored webhooks, deliver notifications, and post what expires and lapses.

    Works until SIGTERM or SIGINT comes; what is in hand is finished then. Start as many as you
    like.
    """
    from credit_payments.cli import worker as workers  # noqa: PLC0415 - others are spared it

    workers.run(database, app, drain=drain)


@commands.command()
@_DATABASE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_context
def health(context: click.Context, *, database: str | None, as_json: bool) -> None:
    """Print what waits, what a person should look at, and how late events come.

    Exits with 0 if all is well, with 1 if a person should look, and with 2 if the database does not
    answer.
    """
    from credit_payments.cli import health as vitals  # noqa: PLC0415 - other commands are spared it

    context.exit(vitals.health(database, as_json=as_json))


@commands.command()
@_DATABASE
@_APP
@click.option(
    "--webhook-url",
    metavar="URL",
    help="Your endpoint's, which has to be registered with Stripe exactly like this.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_context
def doctor(
    context: click.Context,
    *,
    database: str | None,
    app: str | None,
    webhook_url: str | None,
    as_json: bool,
) -> None:
    """Look at all that the shop rests on, and say what to do.

    At settings and where they came from, the database, Stripe, the clock, webhooks, and what waits.
    Changes nothing, and prints no secret. Exits with 0 if all is well, with 1 if there is something
    to know, and with 2 if there is something to mend.
    """
    from credit_payments.cli import doctor as doctors  # noqa: PLC0415 - others are spared it

    if database is not None and app is not None:
        raise click.UsageError("--app has a database of its own: give one of the two")
    context.exit(doctors.doctor(database, app, webhook_url=webhook_url, as_json=as_json))


@commands.group()
def events() -> None:
    """Dead letters and the quarantine: what waits for a person to decide."""


_ACTOR = click.option("--actor", metavar="NAME", help="Who decides; by default who runs this.")
_REASON = click.option("--reason", required=True, help="Why; it is kept.")


@events.command("list")
@_DATABASE
@click.option(
    "--status",
    type=click.Choice(["dead", "due", "discarded", "done", "all", "quarantined"]),
    default="dead",
    show_default=True,
    help="Which events; or what is in the quarantine.",
)
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True)
@click.option("--cursor", help="That of the page before.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def list_events(
    *, database: str | None, status: str, limit: int, cursor: str | None, as_json: bool
) -> None:
    """List what waits: the oldest first, with why."""
    from credit_payments.cli import events as letters  # noqa: PLC0415 - others are spared it

    letters.list_(database, status, limit=limit, cursor=cursor, as_json=as_json)


@events.command()
@_DATABASE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list and nothing else.")
@click.argument("name", metavar="ID")
def show(*, database: str | None, name: str, as_json: bool) -> None:
    """Print what is kept of ID: an event, an incident, or a payment intent."""
    from credit_payments.cli import events as letters  # noqa: PLC0415 - others are spared it

    letters.show(database, name, as_json=as_json)


@events.command()
@_DATABASE
@_APP
@click.option("--all", "every", is_flag=True, help="All dead letters.")
@click.argument("event_ids", metavar="[ID]...", nargs=-1)
@click.pass_context
def replay(
    context: click.Context,
    *,
    database: str | None,
    app: str | None,
    every: bool,
    event_ids: tuple[str, ...],
) -> None:
    """Have events tried again by the next worker, from the first attempt on."""
    from credit_payments.cli import events as letters  # noqa: PLC0415 - others are spared it

    if every == bool(event_ids):
        raise click.UsageError("give the ids of events, or --all")
    context.exit(letters.replay(database, app, event_ids, every=every))


@events.command()
@_DATABASE
@_APP
@_REASON
@_ACTOR
@click.argument("event_id", metavar="ID")
def discard(
    *, database: str | None, app: str | None, reason: str, actor: str | None, event_id: str
) -> None:
    """Put an event away that is not to be applied; it stays, with the reason."""
    from credit_payments.cli import events as letters  # noqa: PLC0415 - others are spared it

    letters.discard(database, app, event_id, reason=reason, actor=actor)


@events.command()
@_DATABASE
@_APP
@click.option("--user", "user_id", required=True, help="Who gets the credits.")
@click.option("--credits", "number", type=int, help="How many; by default those of its quote.")
@_REASON
@_ACTOR
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("payment_intent_id", metavar="PAYMENT_INTENT")
def resolve(
    *,
    database: str | None,
    app: str | None,
    user_id: str,
    number: int | None,
    reason: str,
    actor: str | None,
    yes: bool,
    payment_intent_id: str,
) -> None:
    """Decide whose a payment in the quarantine is, and credit it.

    Says what will be credited, and asks. Exits with 1 if the answer is no.
    """
    from credit_payments.cli import events as letters  # noqa: PLC0415 - others are spared it

    letters.resolve(
        database,
        app,
        payment_intent_id,
        user_id=user_id,
        credits=number,
        reason=reason,
        actor=actor,
        yes=yes,
    )


@events.command()
@_DATABASE
@_APP
@_REASON
@_ACTOR
@click.argument("incident_id", metavar="INCIDENT")
def dismiss(
    *, database: str | None, app: str | None, reason: str, actor: str | None, incident_id: str
) -> None:
    """Decide that nothing is to be done; the same facts ask nobody any more."""
    from credit_payments.cli import events as letters  # noqa: PLC0415 - others are spared it

    letters.dismiss(database, app, incident_id, reason=reason, actor=actor)


@commands.command()
@_DATABASE
@_APP
@click.option("--since", required=True, metavar="INSTANT", help="A day or an instant, in UTC.")
@click.option("--until", metavar="INSTANT", help="Ten minutes ago when left out.")
@click.option("--repair", is_flag=True, help="Post what is missing.")
@click.option("--restart", is_flag=True, help="Begin anew where a run broke off.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_context
def reconcile(
    context: click.Context,
    *,
    database: str | None,
    app: str | None,
    since: str,
    until: str | None,
    repair: bool,
    restart: bool,
    as_json: bool,
) -> None:
    """Hold what Stripe has against the ledger, and post what is missing.

    With --repair give --app, unless your system keeps to the settings of the environment: what is
    posted follows the policies of the system that posts it. Exits with 1 if anything differs that
    was not repaired. Safe to interrupt, which exits with 130: the next call goes on where it broke
    off.
    """
    from credit_payments.cli import reconciling  # noqa: PLC0415 - other commands are spared it

    context.exit(
        reconciling.reconcile(
            database, app, since, until, repair=repair, restart=restart, as_json=as_json
        )
    )


@commands.command()
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    default="-",
    help="By default standard output.",
)
@click.option(
    "--prefix", metavar="PATH", default="/stripe", show_default=True, help="Where they are mounted."
)
@click.option(
    "--health-prefix",
    metavar="PATH",
    default="/modules",
    show_default=True,
    help="Where the health endpoints are mounted; empty leaves them out.",
)
def openapi(*, output: str, prefix: str, health_prefix: str) -> None:
    """Print the description of the HTTP endpoints as OpenAPI 3.1 in JSON."""
    from credit_payments.cli import openapi as described  # noqa: PLC0415 - others are spared it

    described.write(output, prefix=prefix, health_prefix=health_prefix)


@commands.command()
@click.option("--headless", is_flag=True, help="In the terminal; needed, as there is no page yet.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--framework",
    type=click.Choice(["flask", "fastapi"]),
    default="flask",
    show_default=True,
    help="What the shop is built with; fastapi wants credit-payments[fastapi] and uvicorn.",
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
