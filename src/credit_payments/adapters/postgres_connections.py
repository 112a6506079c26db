"""The connections of one process to one PostgreSQL database, and what a fork means for them."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from credit_payments.adapters.postgres_errors import of_connecting
from credit_payments.adapters.postgres_pipeline import Pipeline
from credit_payments.errors import StorageUnavailable

WRITERS_MAX = 4
"""A process writes through one queue, which needs one."""
READERS_MAX = 8
WAIT_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 20.0
"""Of a writer: longer than any statement may take there."""
SCAN_ANSWER_SECONDS_MAX = 1_800.0
"""Of a reader: longer than any statement of a report should take. Only a server that hangs, and
still acknowledges what it is sent, is awaited for so long; one that has vanished is noticed."""
LIFETIME_SECONDS = 1_800.0
"""So that a server behind a changed address, or a leak in the server, is left behind some day."""

_PREPARED_OFF = "prepared_statements=off"
_DEFAULTS = {
    "application_name": "credit-payments",
    "connect_timeout": "5",
    # A server that vanished without a word is noticed after some twenty seconds.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "20000",
}


def connect(conninfo: str) -> psycopg.Connection[Any]:
    """Open a connection, in autocommit mode.

    Raises:
        ConfigurationError: the server refuses the user or the password, or has no such database.
        StorageUnavailable: no server answers, or it is not ready.
    """
    try:
        given = conninfo_to_dict(conninfo)
        missing = {name: value for name, value in _DEFAULTS.items() if name not in given}
        full = make_conninfo(conninfo, **missing, client_encoding="utf8")
        return psycopg.connect(full, autocommit=True)
    except psycopg.Error as error:
        failure = of_connecting(error)
    # Raised out here: psycopg's error holds what the connection was to be made with, the password
    # included, and `from None` would only keep that from being printed.
    raise failure


def split_url(url: str) -> tuple[str, bool]:
    """What libpq is to read of a URL, and whether statements are to be kept prepared."""
    front, question_mark, query = url.partition("?")
    settings = query.split("&") if query else []
    if not question_mark or _PREPARED_OFF not in settings:
        return url, True
    return f"{front}?{'&'.join(name for name in settings if name != _PREPARED_OFF)}", False


class Connections:
    """A bounded number of connections, opened when they are wanted and then kept.

    None is used across a fork: two processes that speak on one socket get each other's answers.
    The child leaves what it inherited alone, unclosed, since closing would tell the server to end
    the parent's session; and opens its own.
    """

    def __init__(self, url: str) -> None:
        self.conninfo, self._prepare = split_url(url)
        self._closed = False
        self._start()
        _all.add(self)

    def _start(self) -> None:
        self._mutex = threading.Lock()
        self._writers = _Kept(WRITERS_MAX)
        self._readers = _Kept(READERS_MAX)

    @contextmanager
    def writer(self) -> Iterator[Pipeline]:
        """A connection to write with, for one thread at a time."""
        with self._taken(self._writers, ANSWER_SECONDS_MAX) as pipeline:
            yield pipeline

    @contextmanager
    def reader(self) -> Iterator[Pipeline]:
        """A connection to read with; a long report may keep it waiting."""
        with self._taken(self._readers, SCAN_ANSWER_SECONDS_MAX) as pipeline:
            yield pipeline

    @contextmanager
    def _taken(self, kept: _Kept, seconds: float) -> Iterator[Pipeline]:
        if not kept.places.acquire(timeout=WAIT_SECONDS_MAX):
            raise StorageUnavailable("All connections to PostgreSQL are in use for too long.")
        pipeline = None
        try:
            try:
                pipeline = self._idle(kept) or self._open(kept, seconds)
                yield pipeline
            finally:
                if pipeline is not None:
                    self._put_back(kept, pipeline)
        finally:
            if not kept.inherited:
                kept.places.release()

    def _idle(self, kept: _Kept) -> Pipeline | None:
        while True:
            with self._mutex:
                self.check_open()
                if not kept.idle:
                    return None
                pipeline = kept.idle.pop()
                kept.used.add(pipeline)
            if pipeline.is_silent() and time.monotonic() < pipeline.expires_at:
                return pipeline
            self._drop(kept, pipeline)

    def _open(self, kept: _Kept, seconds: float) -> Pipeline:
        # Not all at once, when all were opened at once.
        lifetime = LIFETIME_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
        pipeline = Pipeline(
            connect(self.conninfo),
            prepare=self._prepare,
            answer_seconds_max=seconds,
            lifetime_seconds=lifetime,
        )
        with self._mutex:
            kept.used.add(pipeline)
        return pipeline

    def _put_back(self, kept: _Kept, pipeline: Pipeline) -> None:
        with self._mutex:
            if kept.inherited:  # a fork came in between
                return
            if not self._closed and pipeline.is_clean():
                kept.used.discard(pipeline)
                kept.idle.append(pipeline)
                return
        self._drop(kept, pipeline)

    def _drop(self, kept: _Kept, pipeline: Pipeline) -> None:
        with self._mutex:
            kept.used.discard(pipeline)
        pipeline.close()

    def check_open(self) -> None:
        """Let nobody begin after the end.

        Raises:
            StorageUnavailable: they were closed.
        """
        if self._closed:
            raise StorageUnavailable("The database was closed.")

    def close(self) -> None:
        """Close those that are idle, and the others when they are given back."""
        with self._mutex:
            self._closed = True
            idle = [*self._writers.idle, *self._readers.idle]
            self._writers.idle.clear()
            self._readers.idle.clear()
        for pipeline in idle:
            pipeline.close()

    def start_in_child(self) -> None:
        """Begin anew: locks may be held by threads, and connections used, that are not here."""
        for kept in (self._writers, self._readers):
            for pipeline in (*kept.idle, *kept.used):
                pipeline.abandon()
                _abandoned.append(pipeline)
            kept.inherited = True
        self._start()


class _Kept:
    """The connections of one use; `places` is how many more there may be."""

    def __init__(self, places: int) -> None:
        self.places = threading.BoundedSemaphore(places)
        self.inherited = False
        self.idle: list[Pipeline] = []
        # Weakly: one that an exception out of nowhere (a signal's) has lost is nobody's.
        self.used: weakref.WeakSet[Pipeline] = weakref.WeakSet()


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_abandoned: list[Any] = []
"""Connections of a parent process, kept from being closed."""


def _after_fork_in_child() -> None:
    for connections in list(_all):
        connections.start_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
