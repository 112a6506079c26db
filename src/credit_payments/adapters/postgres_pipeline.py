"""Statements in a pipeline: many of them on their way before the first answer is awaited.

libpq's pipeline mode (https://www.postgresql.org/docs/current/libpq-pipeline-mode.html), through
psycopg's own binding of it: a batch's transaction is some ten statements in three or four round
trips. `psycopg.Connection.pipeline` needs four times as much of the interpreter's time for each of
them, which under load is what all threads wait for.
"""

from __future__ import annotations

import hashlib
import math
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

from credit_payments.adapters.postgres_errors import of_result, unencodable
from credit_payments.errors import StorageUnavailable

Row: TypeAlias = tuple[Any, ...]

_DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.PIPELINE_SYNC)
_BINARY = pq.Format.BINARY
_ROWS, _SYNC = "rows", "sync"
READ_SECONDS_MAX = 20.0
"""Of a read that is no scan: longer than any such statement may take."""
_INCURABLE = {b"26000", b"42P05", b"0A000", b"25006"}
"""A prepared statement that is missing, there twice, or older than its table; a server that only
reads since a fail-over."""


class Statement(NamedTuple):
    """SQL with `$1`, `$2` …, and their values as text; casts in the SQL say what they are."""

    sql: str
    values: Sequence[str | bytes | None] = ()


_COMMIT = Statement("COMMIT")
_ROLLBACK = Statement("ROLLBACK")


class Pipeline:
    """One connection, used by one thread at a time.

    An error of a statement is raised by the call that awaits its answer; then `settle` is next.

    Args:
        connection: in autocommit mode, and used by nobody else.
        prepare: whether the server keeps statements prepared.
        answer_seconds_max: how long an answer is awaited; without end, if None.
        lifetime_seconds: after which it is to be left behind; whoever keeps it sees to that.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        *,
        prepare: bool,
        answer_seconds_max: float | None,
        lifetime_seconds: float = math.inf,
    ) -> None:
        self.expires_at = time.monotonic() + lifetime_seconds
        self._connection = connection
        self._libpq = connection.pgconn
        self._reading = Transformer(connection)
        self._prepare = prepare
        self._answer_seconds_max = answer_seconds_max
        self._names: dict[str, bytes] = {}
        # Of what answers are to come: of rows, of syncs, or of the preparation of a statement.
        self._awaited: deque[str] = deque()
        # False while libpq is spoken to: an exception out of nowhere (a signal's) leaves it so.
        self._in_step = True
        self._libpq.enter_pipeline_mode()

    def send(self, statement: Statement) -> None:
        """Have it run behind those sent before."""
        sql, values = statement
        encoded = [_encoded(value) for value in values]
        if not self._prepare:
            send = partial(self._libpq.send_query_params, sql.encode())
        else:
            send = partial(self._libpq.send_query_prepared, self._prepared(sql))
        self._tell(partial(send, encoded, result_format=_BINARY), _ROWS)

    def ask(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run them in one round trip, within the transaction that runs; the rows of each."""
        for statement in statements:
            self.send(statement)
        # Not a mere flush: only after a sync the server counts how long it is kept waiting.
        self._send_sync()
        results = self._answers()
        return [self._rows(result) for result in results[len(results) - len(statements) :]]

    def read(self, begin: Sequence[Statement], statements: Sequence[Statement]) -> list[list[Row]]:
        """Run them as a transaction of their own, in one round trip; the rows of each."""
        for statement in (*begin, *statements, _COMMIT):
            self.send(statement)
        self._send_sync()
        results = self._answers(READ_SECONDS_MAX)
        return [self._rows(result) for result in results[len(begin) : -1]]

    def commit(self) -> None:
        """Make durable what was written."""
        self.send(_COMMIT)
        self._send_sync()
        if self._answers()[-1].command_status != b"COMMIT":
            # PostgreSQL's answer to COMMIT when an error came before, and somebody hid it.
            raise StorageUnavailable("The transaction had failed before its end.")

    def roll_back(self) -> None:
        """Take back what was written."""
        self.send(_ROLLBACK)
        self._send_sync()
        self._answers()

    def settle(self) -> None:
        """Roll back, whatever has happened; where that fails, it is not `is_clean` afterwards."""
        with suppress(StorageUnavailable):
            # What was sent behind an error is skipped up to a sync: so would be the ROLLBACK.
            self._send_sync()
            self._collect()
            if self._libpq.transaction_status != pq.TransactionStatus.IDLE:
                self.send(_ROLLBACK)
                self._send_sync()
                self._collect()

    def is_clean(self) -> bool:
        """Whether somebody else may have it next."""
        return (
            self._in_step
            and not self._awaited
            and self._libpq.status == pq.ConnStatus.OK
            and self._libpq.transaction_status == pq.TransactionStatus.IDLE
        )

    def is_silent(self) -> bool:
        """Whether the server has said nothing meanwhile, as it would to end the connection."""
        return not wait_for(self._libpq.socket, seconds=0)

    def close(self) -> None:
        """Close the connection."""
        self._in_step = False
        self._connection.close()

    def abandon(self) -> None:
        """Leave it to the parent process, of which this one is a copy."""
        self._in_step = False

    def _prepared(self, sql: str) -> bytes:
        """The name of a statement that is prepared, or will be when it is its turn."""
        name = self._names.get(sql)
        if name is None:
            # The same SQL has the same name in all sessions: if a pooler gives us another one, the
            # worst is that it does not know the name.
            digest = hashlib.blake2b(sql.encode(), digest_size=12).hexdigest()
            name = f"credit_payments_{digest}".encode()
            self._tell(partial(self._libpq.send_prepare, name, sql.encode()), sql)
            self._names[sql] = name
        return name

    def _send_sync(self) -> None:
        self._tell(self._libpq.pipeline_sync, _SYNC)

    def _tell(self, request: Callable[[], None], awaited: str) -> None:
        self._check_usable()
        self._in_step = False
        try:
            request()
        except psycopg.OperationalError:
            raise _lost() from None
        self._awaited.append(awaited)
        self._in_step = True

    def _answers(self, seconds_max: float | None = None) -> list[pq.abc.PGresult]:
        """Those of all statements that were sent.

        Raises:
            Exception: what the first one that failed is to the port.
        """
        results = self._collect(seconds_max)
        for result in results:
            if result.status not in _DONE:
                if result.error_field(pq.DiagnosticField.SQLSTATE) in _INCURABLE:
                    self._in_step = False  # another connection may do better
                raise of_result(result)
        return results

    def _collect(self, seconds_max: float | None = None) -> list[pq.abc.PGresult]:
        self._check_usable()
        self._in_step = False
        deadline = _deadline(seconds_max or self._answer_seconds_max)
        results = []
        try:
            self._flush(deadline)
            while self._awaited:
                result = self._next(deadline)
                awaited = self._awaited.popleft()
                if awaited == _ROWS or result.status not in _DONE:
                    results.append(result)
                    self._names.pop(awaited, None)  # if it was to be prepared, it is not
        except psycopg.OperationalError:
            raise _lost() from None
        self._in_step = True
        return results

    def _flush(self, deadline: float | None) -> None:
        while self._libpq.flush():
            # Also read, or both sides might wait for the other to take what it has to say.
            self._wait(deadline, writing=True)
            self._libpq.consume_input()

    def _next(self, deadline: float | None) -> pq.abc.PGresult:
        while True:
            while self._libpq.is_busy():
                self._wait(deadline)
                self._libpq.consume_input()
            result = self._libpq.get_result()
            if result is not None:  # None ends the results of each statement
                return result
            if self._libpq.status != pq.ConnStatus.OK:
                raise _lost()

    def _wait(self, deadline: float | None, *, writing: bool = False) -> None:
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not wait_for(self._libpq.socket, writing=writing, seconds=seconds):
            raise StorageUnavailable("PostgreSQL did not answer in time.")

    def _rows(self, result: pq.abc.PGresult) -> list[Row]:
        self._reading.set_pgresult(result)
        return self._reading.load_rows(0, result.ntuples, tuple)

    def _check_usable(self) -> None:
        if not self._in_step:
            raise _lost()


def wait_for(*sockets: int, writing: bool = False, seconds: float | None) -> bool:
    """Wait until one has something to read, or room to write; False when none has in time."""
    if sys.platform == "win32":
        ready = select.select(sockets, sockets if writing else (), (), seconds)
        return bool(ready[0] or ready[1])
    poll = select.poll()  # `select.select` knows no descriptors from 1024 on
    for socket in sockets:
        poll.register(socket, select.POLLIN | (select.POLLOUT if writing else 0))
    return bool(poll.poll(None if seconds is None else seconds * 1_000))


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _encoded(value: str | bytes | None) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise unencodable() from None
    if b"\0" in encoded:  # libpq would take it for the end
        raise unencodable()
    return encoded


def _lost() -> StorageUnavailable:
    return StorageUnavailable("The connection to PostgreSQL was lost.")
