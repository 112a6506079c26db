"""Bringing a database to the schema of this release."""

from __future__ import annotations

from credit_payments.domain import instants
from credit_payments.domain.migrations import Migration, pending
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
        ConfigurationError: the database's user may not change the schema.
    """
    if dry_run:
        return pending(schema.migrations, schema.applied())
    with schema.locked():
        left = pending(schema.migrations, schema.applied())
        for step in left:
            schema.apply(step, instants.to_text(clock.now()))
    return left
