"""Being told of new rows: a thread that listens, on a connection of its own."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from credit_payments import logs
from credit_payments.adapters.postgres_connections import connect
from credit_payments.adapters.postgres_pipeline import wait_for
from credit_payments.adapters.postgres_statements import CHANNEL
from credit_payments.errors import CreditPaymentsError

RECONNECT_SECONDS_MIN = 0.1
RECONNECT_SECONDS_MAX = 30.0
END_SECONDS_MAX = 5.0

_log = logs.logger(__name__)


class PostgresWatch:
    """Calls a function soon after each commit that has added rows to a table; see the port.

    Also after each connection that is made, since something may have been missed before. In a
    forked child there is no such thread: whoever works there has to watch anew.

    Args:
        conninfo: of the database; a pooler in between must not share out sessions.
        table: whose new rows are told of.
        wake: called by the thread.
    """

    def __init__(self, conninfo: str, table: str, wake: Callable[[], None]) -> None:
        self._conninfo = conninfo
        self._table = table.encode()
        self._wake = wake
        self._process = os.getpid()
        self._closed = threading.Event()
        self._ending, self._end = socket.socketpair()
        self._thread = threading.Thread(
            target=self._run, name=f"credit-payments-watch-{table}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """See the port."""
        if self._closed.is_set() or self._process != os.getpid():
            return
        self._closed.set()
        # A thread that has seen that it is to end no longer reads.
        with self._end, suppress(OSError):
            self._end.send(b".")
        if self._thread is not threading.current_thread():
            self._thread.join(END_SECONDS_MAX)

    def _run(self) -> None:
        with self._ending:
            wait_seconds = RECONNECT_SECONDS_MIN
            while not self._closed.is_set():
                try:
                    with connect(self._conninfo) as connection:
                        connection.execute(f"LISTEN {CHANNEL}".encode())
                        wait_seconds = RECONNECT_SECONDS_MIN
                        self._call()
                        self._listen(connection)
                except (psycopg.Error, CreditPaymentsError):
                    # Not all processes at once when the server is back.
                    self._closed.wait(wait_seconds * random.uniform(0.5, 1.0))  # noqa: S311
                    wait_seconds = min(wait_seconds * 2, RECONNECT_SECONDS_MAX)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        libpq = connection.pgconn
        while not self._closed.is_set():
            wait_for(libpq.socket, self._ending.fileno(), seconds=None)
            libpq.consume_input()
            is_ours = False
            while notification := libpq.notifies():
                is_ours |= notification.extra == self._table
            if is_ours:
                self._call()

    def _call(self) -> None:
        try:
            self._wake()
        except Exception:  # noqa: BLE001 - whatever it is, the next row should wake it again
            _log.exception("What was to be woken by a new row has failed")
