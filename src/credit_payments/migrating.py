"""Bringing a database to the schema of this release."""

from __future__ import annotations

from credit_payments.domain import instants
from credit_payments.domain.migrations import Migration, pending
from credit_payments.errors import ConfigurationError
from credit_payments.ports.clock import Clock
from credit_payments.ports.schema import Schema


def migrate(schema: Schema, clock: Clock, *, dry_run: bool = False) -> list[Migration]:
    """Take the steps that are left, one after the other; which they were.

    Safe to run twice, and from two machines at once: the second waits, and finds nothing left.

    Args:
        schema: of the database.
        clock: tells when each step was taken.
        dry_run: only say which steps are left.

    Raises:
        SchemaMismatch: the database is not one that this release can migrate; nothing was done.
        StorageUnavailable: the database failed; what was done before is remembered.
        ConfigurationError: the database's user may not change the schema; or something that is not
            ours has one of our names, and nothing was done.
    """
    left = _left(schema)
    if dry_run:
        return left
    with schema.locked():
        left = pending(schema.migrations, schema.applied())
        for step in left:
            schema.apply(step, instants.to_text(clock.now()))
    return left


def _left(schema: Schema) -> list[Migration]:
    # In this order: what somebody else makes at this moment is found together with its steps.
    foreign = schema.foreign()
    applied = schema.applied()
    if foreign and not applied:
        raise ConfigurationError(
            "The database already has something of these names that this library has not made: "
            f"{', '.join(foreign)}; {schema.elsewhere}.",
            param="database",
        )
    return pending(schema.migrations, applied)
