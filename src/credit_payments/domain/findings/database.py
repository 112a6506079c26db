"""Of the database: whether it keeps what it acknowledges, and has all that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from credit_payments.domain.diagnosis import Finding, ok, problem, warning
from credit_payments.domain.migrations import COMMAND
from credit_payments.domain.traits import DatabaseSetting, DatabaseTraits, MissingIndex
from credit_payments.errors import CreditPaymentsError, SchemaMismatch, TryAgain

_FOR_REAL = "name a database that keeps it: sqlite:///…, postgresql://…, or a MongoDB replica set"


def of_traits(
    traits: DatabaseTraits, *, is_live: bool, schema_version: int | None
) -> Iterator[Finding]:
    """What was observed of it.

    Args:
        traits: as its adapter has seen them.
        is_live: whether real money is at stake.
        schema_version: the one that it was opened with, which fits; None where there is none.
    """
    yield _of_kind(traits, is_live=is_live)
    if not traits.is_writable:
        yield problem(
            "database.writes",
            "it only reads: it follows another server, or its file is read-only",
            "name the server that takes writes, or make the file and its folder writable",
        )
    if schema_version is not None:
        yield ok("database.schema", f"version {schema_version}, which this release needs")
    if traits.settings:
        yield _of_settings(traits.settings)
    gone = traits.missing_tables
    if traits.is_kept:
        yield _of_tables(gone)
        yield _of_indexes([one for one in traits.missing_indexes if one.index.table not in gone])
    if traits.missing_rights is not None:
        yield _of_rights(traits.missing_rights)
    if traits.unchecked is not None:
        yield _of_checks([name for name in traits.unchecked if name not in gone])


def of_error(error: CreditPaymentsError) -> Finding:
    """Why it could not be opened, or asked."""
    if isinstance(error, SchemaMismatch):
        return problem("database.schema", error.message, _mending(error.message))
    if isinstance(error, TryAgain):
        return problem(
            "database",
            error.message,
            "start it, mend its address and the way there, or end what locks it; meanwhile "
            "webhooks are answered with 503, and Stripe delivers them again for three days",
        )
    return problem(
        "database",
        error.message,
        f"mend the URL or the user's rights; `{COMMAND} --database …` makes a new one",
    )


def _mending(message: str) -> str:
    if COMMAND in message:
        return (
            f"take a backup, then run `{COMMAND} --database …`: first with --dry-run, which says "
            "what it would do. Where that is nothing, somebody has changed the schema: restore a "
            "backup"
        )
    return "install the release that has written it, or restore a backup"


def _of_kind(traits: DatabaseTraits, *, is_live: bool) -> Finding:
    if traits.is_kept and traits.has_transactions:
        return ok("database", f"{traits.kind} answers")
    lacks = (
        "without transactions a crash may leave half of a write"
        if traits.is_kept
        else "all is gone with the process"
    )
    said = f"{traits.kind} is for development only: {lacks}"
    if is_live:
        return problem("database", f"{said}; and the key is live", _FOR_REAL)
    return warning("database", said, f"before real money comes, {_FOR_REAL}")


def _of_settings(settings: Sequence[DatabaseSetting]) -> Finding:
    unfit = [one for one in settings if not one.fits]
    said = ", ".join(f"{one.name} is {one.value}" for one in unfit or settings)
    if not unfit:
        return ok("database.durability", said)
    wanted = ", ".join(f"{one.name} to {one.wanted}" for one in unfit)
    return problem(
        "database.durability", f"{said}: power loss may take what was acknowledged", f"set {wanted}"
    )


def _of_tables(missing: Sequence[str]) -> Finding:
    if not missing:
        return ok("database.tables", "all are there")
    return problem(
        "database.tables",
        f"missing: {', '.join(missing)}",
        "stop what writes, and restore a backup: they were made with the schema, so somebody has "
        "dropped them since",
    )


def _of_indexes(missing: Sequence[MissingIndex]) -> Finding:
    if not missing:
        return ok("database.indexes", "all are there")
    names = ", ".join(f"{one.index.table} ({', '.join(one.index.columns)})" for one in missing)
    remedy = "\n".join(one.remedy for one in missing)
    if any(one.index.unique for one in missing):
        return problem(
            "database.indexes",
            f"missing: {names}; without a unique one, a cause may be posted twice",
            remedy,
        )
    return warning(
        "database.indexes", f"missing: {names}; reads become slower with each row", remedy
    )


def _of_rights(missing: Sequence[str]) -> Finding:
    if not missing:
        return ok("database.rights", "its user has all that are needed")
    said = f"its user lacks {len(missing)} of those that are needed"
    return problem("database.rights", said, "\n".join(missing))


def _of_checks(unchecked: Sequence[str]) -> Finding:
    if not unchecked:
        return ok("database.checks", "the server checks every document")
    return warning(
        "database.checks",
        f"the server does not check the documents of {', '.join(unchecked)} any more",
        f"give them the validator that they have in a database which `{COMMAND}` has just made "
        '(db.getCollectionInfos(), then db.runCommand({collMod: "…", validator: …}))',
    )
