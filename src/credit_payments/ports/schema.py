"""What migrating asks of a database."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from credit_payments.domain.migrations import Applied, Migration


class Schema(Protocol):
    """The schema of one database, and the steps that lead to it.

    Raises `StorageUnavailable` when the database cannot be reached or fails, and
    `ConfigurationError` when the user that it is opened with may not change it.
    """

    @property
    def migrations(self) -> Sequence[Migration]:
        """All steps that this release knows, in order."""
        ...

    @property
    def elsewhere(self) -> str:
        """How to give the ledger a place where nothing has its names; half a sentence."""
        ...

    def foreign(self) -> list[str]:
        """What has the name of a table of ours, and was there before the first step.

        Only of meaning for a database that has taken no step: of any other these are our tables.
        """
        ...

    def applied(self) -> list[Applied]:
        """The steps that the database has taken; none of an empty one."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else migrates this database before the block has ended."""
        ...

    def apply(self, migration: Migration, at: str) -> None:
        """Take one step and remember it with its instant, inside of `locked`.

        Either whole, or so that taking it again ends the same.
        """
        ...

    def close(self) -> None:
        """Release the connections; safe to call twice."""
        ...
