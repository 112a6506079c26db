"""The connections of one process to one SQLite file, and what a fork means for them."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from credit_payments.errors import StorageUnavailable

BUSY_SECONDS_MAX = 5.0
CHECKPOINT_PAGES = 4_000
"""How far the log grows (16 MB) before it is copied into the database: group commits write many
pages, and a checkpoint after each few of them would cost more than the commits."""
IDLE_READERS_MAX = 8
TURN_SECONDS = 0.001
"""How long a writer looks away at most, while another has the lock."""


class Connections:
    """One connection to write with, and a few idle ones to read with.

    None of them is used across a fork: SQLite keeps the locks of a file in a table of the process,
    and a child inherits that table but not the locks. It would write without any, while the
    parent, closing as if it were alone, removes the log under the child's commits
    (https://www.sqlite.org/howtocorrupt.html, section 2.6). So they are closed before a fork, as
    soon as what runs has ended. A child that was forked while something ran for too long can never
    use the file safely, neither through old connections nor through new ones, and is told so.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self._closed = False
        self._start()
        _all.add(self)

    def _start(self) -> None:
        self._process = os.getpid()
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._idle_readers: list[sqlite3.Connection] = []
        self._reads = 0
        self._forks = False
        self._changed = threading.Condition()

    @contextmanager
    def writer(self) -> Iterator[sqlite3.Connection]:
        """The one connection that writes, for one thread at a time."""
        writing = self._writing
        if not writing.acquire(timeout=BUSY_SECONDS_MAX):
            raise StorageUnavailable("Another transaction holds the database for too long.")
        try:
            self._check_open()
            if self._writer is None:
                self._writer = connect(self.path, busy_seconds=0.0)
            yield self._writer
        finally:
            writing.release()

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each concurrent read: readers never wait for the writer."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forks, timeout=2 * BUSY_SECONDS_MAX)
            self._check_open()
            process = self._process
            idle = self._idle_readers.pop() if self._idle_readers else None
            self._reads += 1
        try:
            connection = connect(self.path) if idle is None else idle
            try:
                yield connection
            finally:
                self._put_back(connection, process)
        finally:
            with self._changed:
                if process == self._process:
                    self._reads -= 1
                    self._changed.notify_all()

    def _put_back(self, connection: sqlite3.Connection, process: int) -> None:
        with self._changed:
            if process != self._process:  # a read that was begun before a fork ends in the child
                _abandoned.append(connection)
                return
            if not self._closed and len(self._idle_readers) < IDLE_READERS_MAX:
                self._idle_readers.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close them all, for good."""
        with self._writing, self._changed:
            self._closed = True
            self._close_all()

    def before_fork(self) -> bool:
        """Wait for what runs, then close; whether the writer's lock is held until after."""
        with self._changed:
            self._forks = True
            quiet = self._changed.wait_for(lambda: not self._reads, timeout=BUSY_SECONDS_MAX)
        locked = self._writing.acquire(timeout=BUSY_SECONDS_MAX)
        if quiet and locked:
            self._close_all()
        return locked

    def after_fork(self, *, locked: bool) -> None:
        """Go on, in the parent."""
        with self._changed:
            self._forks = False
            self._changed.notify_all()
        if locked:
            self._writing.release()

    def start_in_child(self) -> None:
        """Begin anew: locks may be held by threads, and connections used, that are not here."""
        inherited = [*self._idle_readers, *([self._writer] if self._writer else [])]
        _abandoned.extend(inherited)
        if inherited or self._reads or _is_open_here(self.path):
            _unsafe_here.add(self.path)
        self._start()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailable("The database was closed.")
        check_safe_here(self.path)

    def _close_all(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        while self._idle_readers:
            self._idle_readers.pop().close()


def _is_open_here(path: str) -> bool:
    """Whether this process holds the file open, on a connection that is not ours.

    The host's own may be, which `SqliteStorage.joined` works with.
    """
    try:
        file = Path(path).stat()
        numbers = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - names are wanted
    except (OSError, ValueError):
        return False
    for number in numbers:
        try:
            found = os.fstat(number)
        except OSError:  # the one that the list was read with
            continue
        if (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino):
            return True
    return False


def check_safe_here(path: str | Path) -> None:
    """Whether this process may use a file at all.

    Raises:
        StorageUnavailable: a parent had it open while it forked this one.
    """
    if os.path.realpath(path) in _unsafe_here:
        raise StorageUnavailable(
            "This process was forked while its parent had the database open: for a long read or "
            "write, or on a connection of its own. SQLite cannot be used here. Close connections "
            "before forking, or start processes by spawn."
        )


def begin_writing(connection: sqlite3.Connection) -> None:
    """Take the write lock, for which `BUSY_SECONDS_MAX` is waited; of a connection without waits.

    SQLite's own waiting sleeps up to a tenth of a second at a time, most of which nobody has the
    lock: writers of several processes hold it for milliseconds each.
    """
    deadline = time.monotonic() + BUSY_SECONDS_MAX
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(random.uniform(0, TURN_SECONDS))  # noqa: S311 - not a secret


def _is_busy(error: sqlite3.Error) -> bool:
    """Whether others have the lock: to write, or to recover a log that somebody left behind."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def connect(path: str | Path, *, busy_seconds: float | None = None) -> sqlite3.Connection:
    """A connection with which every commit is durable; whoever opens it closes it.

    Args:
        path: the file.
        busy_seconds: how long a statement waits for the locks of others.
    """
    connection = sqlite3.connect(
        path,
        timeout=BUSY_SECONDS_MAX if busy_seconds is None else busy_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two that open a file at once may be told `locked` without the usual wait."""
    deadline = time.monotonic() + BUSY_SECONDS_MAX
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_abandoned: list[sqlite3.Connection] = []
"""Connections of a parent process, kept from being closed: that would touch its locks."""
_unsafe_here: set[str] = set()
"""The files that a parent process had open while it forked this one."""
_fork_turn = threading.Lock()
_forking: list[tuple[Connections, bool]] = []


def _before_fork() -> None:
    _fork_turn.acquire()
    _forking.extend([(connections, connections.before_fork()) for connections in list(_all)])


def _after_fork_in_parent() -> None:
    while _forking:
        connections, locked = _forking.pop()
        connections.after_fork(locked=locked)
    _fork_turn.release()


def _after_fork_in_child() -> None:
    while _forking:
        connections, _ = _forking.pop()
        connections.start_in_child()
    _fork_turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
