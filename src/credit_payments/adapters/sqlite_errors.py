"""SQLite's errors as the port's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from credit_payments.errors import ConfigurationError, CreditPaymentsError, StorageUnavailable
from credit_payments.ports.storage import WriteConflict

_TAKEN = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def translated() -> Iterator[None]:
    """Raise what happens in the block as an error of the port."""
    try:
        yield
    except sqlite3.Error as error:
        raise translation(error) from error


def translation(error: sqlite3.Error) -> Exception:
    """What an error is to the library. The messages are SQLite's own and hold no values."""
    code = getattr(error, "sqlite_errorcode", None)
    if code in _TAKEN or code == sqlite3.SQLITE_BUSY_SNAPSHOT:
        return WriteConflict(str(error))
    if isinstance(error, sqlite3.IntegrityError):
        return CreditPaymentsError(f"SQLite refused a row: {error}", code="row_refused")
    # Locked, disk full, I/O error.
    return StorageUnavailable(f"The SQLite database failed: {error}")


@contextmanager
def translated_at_start(path: Path) -> Iterator[None]:
    """The same, while it is looked whether there is a database of ours at all."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
            raise StorageUnavailable(f"The SQLite database is busy: {error}") from error
        raise ConfigurationError(
            f"The SQLite database {path} cannot be used: {error}", param="database"
        ) from error
