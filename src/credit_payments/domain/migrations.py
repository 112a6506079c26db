"""The steps from one schema to the next: which were taken, which are left, and what does not fit.

Each database has its own steps, as files that never change once they were released; what is kept
of a step that was taken is its number, its name and a checksum of its text. So a database can tell
whether it is what this release believes it to be, before the first row is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import attrs

from credit_payments.errors import SchemaMismatch

COMMAND = "credit-payments migrate"


@attrs.frozen
class Migration:
    """One step, in the database's own language.

    Attributes:
        version: 1, 2, 3 …, in the order in which they are taken.
        name: for people.
        text: what is run.

    Example:
        >>> Migration(1, "ledger", "CREATE TABLE wallets …").checksum[:12]
        'acb50ab3282c'
    """

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@attrs.frozen
class Applied:
    """A step that a database has taken, as it remembers it; `applied_at` is an instant as text."""

    version: int
    name: str
    checksum: str
    applied_at: str


def pending(known: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    """The steps that are left, in order.

    Raises:
        SchemaMismatch: the database has taken steps that this release does not know, or others
            than it has under these numbers, or left one out.

    Example:
        >>> steps = [Migration(1, "ledger", "…"), Migration(2, "emails", "…")]
        >>> taken = [Applied(1, "ledger", steps[0].checksum, "2024-01-01T00:00:00.000000Z")]
        >>> [step.name for step in pending(steps, taken)]
        ['emails']
    """
    newest = known[-1].version
    taken = sorted(applied, key=lambda step: step.version)
    if taken and taken[-1].version > newest:
        raise SchemaMismatch(
            f"The database has schema version {taken[-1].version}, this release knows {newest}: "
            "install a newer credit-payments."
        )
    for number, (step, done) in enumerate(zip(known, taken, strict=False), 1):
        if done.version != number:
            raise SchemaMismatch(
                f"The database has not taken migration {number}, but has taken {done.version}: "
                "restore it from a backup."
            )
        if done.checksum != step.checksum:
            raise SchemaMismatch(
                f"The database has taken another migration {number} ({done.name}) than this "
                f"release has ({step.name}): it was written by a version that was never released."
            )
    return list(known[len(taken) :])


def check_current(known: Sequence[Migration], applied: Sequence[Applied]) -> None:
    """Whether a database can be used as it is.

    Raises:
        SchemaMismatch: it cannot; the message has the command to run.
    """
    left = pending(known, applied)
    if left:
        has = f"schema version {left[0].version - 1}" if applied else "no schema yet"
        raise SchemaMismatch(
            f"The database has {has}, this release needs {known[-1].version}: "
            f"run `{COMMAND} --database …` with the URL of this database."
        )
