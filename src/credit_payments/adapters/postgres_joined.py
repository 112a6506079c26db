"""Taking part in a transaction that the host began, on the host's own psycopg connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import pq
from psycopg.rows import tuple_row

from credit_payments.adapters import postgres_statements as statements
from credit_payments.adapters.postgres_errors import translated
from credit_payments.adapters.postgres_pipeline import Row, Statement
from credit_payments.domain.records import RECORDS
from credit_payments.errors import CreditPaymentsError, InvalidRequest, StorageUnavailable


class Identity(NamedTuple):
    """Tells one ledger from all others: the database, its tables, and when they were made.

    A host and a port would tell nothing: there may be a pooler, or several addresses.
    """

    database: str
    tables: str
    created_at: str


class HostSession:
    """Runs statements on a connection whose settings are the host's."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        (((self.isolation,),),) = self.ask([_ISOLATION])
        self.sync()

    def send(self, statement: Statement) -> None:
        """Run it, and wait for that also in a pipeline of the host's, so that errors come now."""
        with translated():
            self._execute(statement)
        self.sync()

    def ask(self, asked: Sequence[Statement]) -> list[list[Row]]:
        """Run them; the rows of each."""
        with translated():
            return [self._execute(statement).fetchall() for statement in asked]

    def sync(self) -> None:
        """In a pipeline of the host's, have all that was sent answered."""
        if self._connection.pgconn.pipeline_status != pq.PipelineStatus.OFF:
            with translated(), self._connection.pipeline() as pipeline:
                pipeline.sync()

    def _execute(self, statement: Statement) -> psycopg.RawCursor[Row]:
        values = [v.decode() if isinstance(v, bytes) else v for v in statement.values]
        cursor = psycopg.RawCursor(self._connection, row_factory=tuple_row)
        return cursor.execute(statement.sql.encode(), values or None)


@contextmanager
def within_host(connection: object, identity: Identity) -> Iterator[HostSession]:
    """Statements within the transaction of a host's connection, undone when the block raises.

    Raises:
        InvalidRequest: not a connection of psycopg, one without a transaction, or another database.
    """
    host = _session(connection)
    host.send(_SAVEPOINT)
    try:
        _check(host, identity)
        host.ask([_DURABLE])
        yield host
    except BaseException:
        with suppress(CreditPaymentsError):
            host.sync()  # in a pipeline whatever follows an error is skipped up to here
        with suppress(StorageUnavailable):  # what the block has raised says more
            host.send(_UNDO)
            host.send(_RELEASE)
        raise
    host.send(_RELEASE)


def _session(connection: object) -> HostSession:
    if not isinstance(connection, psycopg.Connection):
        raise InvalidRequest("connection must be a psycopg.Connection", param="connection")
    if connection.closed:
        raise InvalidRequest("connection is closed", param="connection")
    if connection.pgconn.transaction_status == pq.TransactionStatus.INERROR:
        raise InvalidRequest("connection is in a transaction that failed", param="connection")
    if connection.pgconn.pipeline_status != pq.PipelineStatus.OFF:
        with connection.pipeline() as pipeline:
            pipeline.sync()  # what the host has sent before fails as its own
    host = HostSession(connection)  # its first statement begins psycopg's own transaction
    if connection.pgconn.transaction_status != pq.TransactionStatus.INTRANS:
        raise InvalidRequest(
            "connection is in autocommit mode and has no transaction: begin one first",
            param="connection",
        )
    return host


def _check(host: HostSession, identity: Identity) -> None:
    another = InvalidRequest(
        "connection is to another database, or finds other tables by its search_path",
        param="connection",
    )
    (((database, tables),),) = host.ask([_TABLE])
    if (database, tables) != identity[:2]:
        raise another
    try:
        (rows,) = host.ask([_CREATED])
    except CreditPaymentsError:
        raise another from None
    if rows != [(identity.created_at,)]:
        raise another


def identity_statements() -> list[str]:
    """What `Identity` is made of."""
    return [_TABLE.sql, _CREATED.sql]


_ISOLATION = Statement("SHOW transaction_isolation")
_OIDS = ", ".join(f"to_regclass('{kind.TABLE}')::oid" for kind in RECORDS)
_TABLE = Statement(f"SELECT current_database()::text, concat_ws(' ', {_OIDS})")
_CREATED = Statement("SELECT applied_at FROM credit_payments_migrations WHERE version = 1")
_DURABLE = Statement(f"SELECT {statements.DURABLE}")
_SAVEPOINT = Statement("SAVEPOINT credit_payments")
_UNDO = Statement("ROLLBACK TO SAVEPOINT credit_payments")
_RELEASE = Statement("RELEASE SAVEPOINT credit_payments")
