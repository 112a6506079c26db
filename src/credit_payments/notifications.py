"""Delivering notifications to the host, at least once."""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import TypeAlias, TypeVar

from credit_payments import logs
from credit_payments.domain import instants, notices, values
from credit_payments.domain.decision import Range, View
from credit_payments.domain.records import Notification, Record
from credit_payments.errors import CreditPaymentsError, InvalidRequest
from credit_payments.ports.clock import Clock
from credit_payments.ports.notifications import Notifier
from credit_payments.ports.storage import Storage, Watch
from credit_payments.posting import PostingQueue

Handler: TypeAlias = Callable[[values.Notification], object]
H = TypeVar("H", bound=Handler)

LEASE_SECONDS = 60.0
"""How long a handler may take before somebody else may be told, too."""
BATCH = 50
ROWS = 8
"""How many of each type are looked at, to be tried one after the other."""
POLL_SECONDS = 1.0
"""How often is looked for what other processes recorded, or is due again."""
_CLOSE_SECONDS_MAX = 10.0

_log = logs.logger(__name__)


class Telling:
    """Which types are told of: the queue's observer, which adds the notifications to the changes.

    Nothing is recorded of a type that nobody asked for.
    """

    def __init__(self, wanted: Iterable[str] = (), *, low_credits: int | None = None) -> None:
        self._wanted = frozenset(wanted)
        self._low_credits = low_credits
        self.wake: Callable[[], None] = lambda: None

    def want(self, kind: str) -> None:
        """Record notifications of this type from now on."""
        self._wanted |= {kind}

    def observe(self, changes: Iterable[Record], view: View) -> Iterable[Record]:
        """See the port."""
        if not self._wanted:
            return ()
        return notices.notices(changes, view, wanted=self._wanted, low_credits=self._low_credits)

    def committed(self) -> None:
        """See the port."""
        try:
            self.wake()
        except RuntimeError:  # no more threads: the next commit tries again
            _log.exception("The notifications' thread could not be started.")


class Notifications:
    """Delivers what was recorded, to handlers and to a notifier.

    A notification whose handlers raise is tried again, at growing intervals, ten times in all;
    then it is `dead`, and stays in the database for a person to see.

    Args:
        storage: where those that are due are read; tells when others record some, where it can.
        queue: through which leases are taken.
        clock: tells what is due.
        telling: decides what is recorded.
        notifier: gets every notification, before the handlers.
        in_background: whether a thread of this process delivers as soon as there is a handler.
    """

    def __init__(
        self,
        storage: Storage,
        queue: PostingQueue,
        clock: Clock,
        telling: Telling,
        *,
        notifier: Notifier | None = None,
        in_background: bool = True,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._clock = clock
        self._telling = telling
        self._notifier = notifier
        self._in_background = in_background
        self._handlers: dict[str, list[Handler]] = {}
        self._closed = False
        self.start_over()
        _all.add(self)
        telling.wake = self._wake
        if notifier is not None:
            self._wake()

    def on(self, kind: str) -> Callable[[H], H]:
        """Have a function called with each notification of a type.

        Raises:
            InvalidRequest: there is no such type.
        """
        if kind not in notices.TYPES:
            raise InvalidRequest(f"type must be one of {', '.join(notices.TYPES)}", param="type")

        def register(handler: H) -> H:
            self._handlers.setdefault(kind, []).append(handler)
            self._telling.want(kind)
            self._wake()  # some may be waiting since an earlier life of this process
            return handler

        return register

    def deliver(self, limit: int = BATCH) -> int:
        """Try what is due now, in this thread; how many notifications were delivered.

        Raises:
            TryAgain: the database is busy or down; what was leased is tried again later.
        """
        return sum(self.tries(limit))

    def tries(self, limit: int = BATCH) -> Iterator[bool]:
        """Try one after the other of what is due now; of each, whether it was delivered.

        Between two of them nothing is in hand: whoever asks for no more leaves nothing behind.

        Raises:
            TryAgain: the database is busy or down; what was leased is tried again later.
        """
        tried = 0
        for _ in range(limit):
            due = self._due(min(ROWS, limit - tried))
            for row in due:
                if self._closed:
                    return
                # One at a time: a process that dies with it costs no other notification a try.
                token = uuid.uuid4().hex
                leased = self._queue.submit(
                    notices.Lease(
                        notification_id=row.notification_id, token=token, seconds=LEASE_SECONDS
                    )
                )
                if leased is not None:  # else another process was faster
                    tried += 1
                    yield self._try(leased, token)
            if not due or tried >= limit:
                return

    def close(self) -> None:
        """Stop the background thread; what it has not delivered is kept for the next."""
        self._closed = True
        self._work.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS_MAX)

    def _due(self, limit: int) -> list[Notification]:
        """The first that are due: of other types another process may have the handlers."""
        types = tuple(self._handlers) if self._notifier is None else notices.TYPES
        now = instants.to_text(self._clock.now())
        ranges = [Range(notices.of(kind, notices.DUE), limit) for kind in types]
        found = self._storage.first(ranges) if ranges else {}
        due = [
            row
            for rows in found.values()
            for row in rows
            if isinstance(row, Notification) and row.due_at <= now
        ]
        due.sort(key=attrgetter("due_at", "notification_id"))
        return due[:limit]

    def _try(self, row: Notification, token: str) -> bool:
        delivered = self._handled(notices.public(row))
        self._queue.submit(
            notices.Finish(notification_id=row.notification_id, token=token, delivered=delivered)
        )
        return delivered

    def _handled(self, notification: values.Notification) -> bool:
        try:
            if self._notifier is not None:
                self._notifier.send(notification)
            for handler in self._handlers_of(notification.type):
                handler(notification)
        except Exception:  # noqa: BLE001 - whatever the host's code raises
            _log.exception("A handler of %s failed: %s", notification.type, notification.id)
            return False
        return True

    def _handlers_of(self, kind: str) -> Sequence[Handler]:
        return tuple(self._handlers.get(kind, ()))

    # -- in the background ---------------------------------------------------------------------

    def start_over(self) -> None:
        """Without a thread; also in a forked child, which has none of its parent's."""
        self._starting = threading.Lock()
        self._work = threading.Event()
        self._thread: threading.Thread | None = None

    def _wake(self) -> None:
        """Have the thread look now; start it where there is none, also after a fork."""
        if not self._in_background or self._closed or not (self._handlers or self._notifier):
            return
        self._work.set()
        with self._starting:
            # One that a handler ended, by SystemExit for example, is followed by another.
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(
                    target=self._run, name="credit-payments-notifications", daemon=True
                )
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        with self._watching():
            while True:
                self._work.wait(POLL_SECONDS)
                self._work.clear()
                if self._closed:
                    return
                try:
                    while sum(1 for _ in self.tries()) == BATCH:  # also where all of them failed
                        pass
                except CreditPaymentsError as error:
                    _log.warning("Notifications wait: %s", error)
                except Exception:  # noqa: BLE001 - the thread goes on, whatever it was
                    _log.exception("Notifications wait.")

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Be woken by other processes, too; without that, polling finds what they recorded."""
        watch: Watch | None = None
        try:
            watch = self._storage.watch(Notification, self._work.set)
        except Exception:  # noqa: BLE001 - without it they are found a second later
            _log.warning("Notifications are looked for every second.", exc_info=True)
        try:
            yield
        finally:
            if watch is not None:
                watch.close()


_all: weakref.WeakSet[Notifications] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for notifications in list(_all):
        notifications.start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
