"""PostgreSQL's errors as the port's: by their codes alone.

No message and no detail of the server is passed on, since they quote what was written ("Key
(user_id)=(ada) already exists"): not as a cause, either, which a log would print. Only what speaks
of the schema, names of tables and columns, is kept.
See https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors, pq

from credit_payments.domain.migrations import COMMAND
from credit_payments.errors import (
    ConfigurationError,
    CreditPaymentsError,
    SchemaMismatch,
    StorageUnavailable,
)
from credit_payments.ports.storage import WriteConflict

_QUOTED = re.compile(r':? "[^"]*"')
_MISCONFIGURED = re.compile(
    r"password|does not exist|pg_hba\.conf|permission denied|not permitted|authentication"
)


def translation(sqlstate: str | None, message: str = "") -> Exception:
    """What an error is to the library.

    Args:
        sqlstate: the five characters; None where there was no answer of the server.
        message: the primary one; used only where it can name nothing but tables and columns.
    """
    if sqlstate is None:
        return StorageUnavailable("The connection to PostgreSQL was lost.")
    for codes, meaning in _MEANINGS.items():
        if sqlstate.startswith(codes):
            return meaning(f"{sqlstate} {_name_of(sqlstate)}", message)
    # Shutting down, timeouts, disk full, read-only after a fail-over: may be otherwise soon.
    return StorageUnavailable(f"The PostgreSQL database failed: {sqlstate} {_name_of(sqlstate)}")


def _conflict(what: str, _message: str) -> Exception:
    return WriteConflict(what)


def _no_right(_what: str, message: str) -> Exception:
    return ConfigurationError(
        f"The database's user lacks a right that the library needs: {message}.", param="database"
    )


def _another_schema(what: str, _message: str) -> Exception:
    return SchemaMismatch(
        f"The database has another schema than this release needs ({what}): "
        f"run `{COMMAND} --database …` with the URL of this database."
    )


def _no_statement(what: str, _message: str) -> Exception:
    return StorageUnavailable(
        f"PostgreSQL has lost a prepared statement ({what}): behind a pooler that does not keep "
        "them, add prepared_statements=off to the URL."
    )


def _not_let_in(what: str, _message: str) -> Exception:
    return ConfigurationError(f"PostgreSQL refuses the connection: {what}.", param="database")


def _row_refused(what: str, _message: str) -> Exception:
    return CreditPaymentsError(f"PostgreSQL refused a row: {what}.", code="row_refused")


_MEANINGS: dict[tuple[str, ...], Callable[[str, str], Exception]] = {
    # unique_violation, serialization_failure, deadlock_detected, lock_not_available
    ("23505", "40001", "40P01", "55P03"): _conflict,
    ("42501",): _no_right,
    ("26000", "42P05"): _no_statement,
    ("42", "3F"): _another_schema,
    ("28", "3D"): _not_let_in,
    # Bad data, constraints, views with checks, limits, and what a host's trigger raises.
    ("22", "23", "44", "54", "P0"): _row_refused,
}
"""By the beginnings of codes, the more precise ones first."""


def of_result(result: pq.abc.PGresult) -> Exception:
    """The translation of a result that is an error."""
    state = result.error_field(pq.DiagnosticField.SQLSTATE)
    message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
    return translation(
        None if state is None else state.decode(), (message or b"").decode(errors="replace")
    )


def _name_of(sqlstate: str) -> str:
    try:
        return errors.lookup(sqlstate).__name__
    except KeyError:
        return "(a code of its own)"


@contextmanager
def translated() -> Iterator[None]:
    """Around calls of psycopg: what it raises becomes the port's, without a cause (see above)."""
    try:
        yield
    except psycopg.Error as error:
        raise of_error(error) from None
    except UnicodeEncodeError:
        raise unencodable() from None


def of_error(error: psycopg.Error) -> Exception:
    """The translation of what psycopg raises on a connection that was open."""
    if error.sqlstate is None and isinstance(error, psycopg.DataError):  # psycopg's own: a NUL
        return unencodable()
    if error.sqlstate is None and isinstance(error, psycopg.ProgrammingError):
        return StorageUnavailable("The connection cannot be used as it is.")
    return translation(error.sqlstate, error.diag.message_primary or "")


def unencodable() -> CreditPaymentsError:
    """Text that PostgreSQL cannot keep: with NUL in it, or half a surrogate pair."""
    return CreditPaymentsError("PostgreSQL refused a row: invalid text", code="row_refused")


def of_connecting(error: psycopg.Error) -> Exception:
    """Why there is no connection.

    The server's code does not come with this error, only its words; those of other languages count
    as a server that is not ready yet.
    """
    if isinstance(error, psycopg.ProgrammingError):
        # Its message may quote any part of the URL: a password, say.
        return ConfigurationError("The PostgreSQL URL cannot be read.", param="database")
    reason = str(error).rpartition("failed: ")[2].partition("\n")[0]
    if "FATAL" in reason and _MISCONFIGURED.search(reason):
        return ConfigurationError(f"PostgreSQL refuses the connection: {reason}", param="database")
    if "failed: " not in str(error):  # no server was found: its name may be part of a password
        told = _QUOTED.sub("", str(error))  # and so may a port, or any other value
        reason = told.rpartition(": ")[2] if ": " in told else "no answer in time"
    return StorageUnavailable(f"PostgreSQL cannot be reached: {reason}")
