"""Celery carries word of stored events to its workers: ids only, so a lost broker loses nothing.

See https://docs.celeryq.dev/en/stable/userguide/calling.html and, for what is passed to a broker's
transport, https://docs.celeryq.dev/projects/kombu/en/stable/reference/index.html.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

try:
    from celery import Celery, signals
except ModuleNotFoundError as error:
    raise ImportError(
        "credit_payments.adapters.celery needs Celery: pip install 'credit-payments[celery]'"
    ) from error

from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool

from credit_payments import logs
from credit_payments.errors import Conflict, TryAgain
from credit_payments.worker import Worker

APPLY = "credit_payments.apply_event"
WORK = "credit_payments.work"

EVERY_SECONDS = 30.0
"""How often Celery's beat has somebody look for what no message has told of."""
ROUNDS_MAX = 100
"""Steps of one task that looks: ten thousand payments' events, or a hundred of the host's."""
EXPIRES_SECONDS = 3_600
"""A message that is older tells of nothing that was not found long ago."""

BROKER_SECONDS_MAX = 0.3
"""How long one step towards the broker may take: to reach it, to be answered, to get a connection.

A webhook waits for three of them at most.
"""
REST_SECONDS = 5.0
"""How long a broker that did not answer is left alone, so that not every webhook waits for it."""
_CONNECTIONS_MAX = 10
_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}

_MARK = "_credit_payments_system"
"""The attribute of an application that has our tasks."""

_log = logs.logger(__name__)


class Works(Protocol):
    """What is asked of a system here."""

    def worker(self) -> Worker:
        """Somebody who applies stored events."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class CeleryJobs:
    """Has a Celery worker look at each event soon after it was stored; see `ports.jobs.Jobs`.

    A broker that is down, or hangs, costs a webhook less than a second, and only one in some
    seconds: the others are not told of, and found by `credit_payments.work`.

    Args:
        app: the host's application; only its broker is used.
        queue: where to; by default as the application routes its tasks.

    Example:
        >>> import credit_payments as cp
        >>> from celery import Celery
        >>> app = Celery("shop", broker="memory://")
        >>> system = cp.connect(
        ...     database="memory://", webhook_mode="queued", jobs=CeleryJobs(app)
        ... )
        >>> system.close()
    """

    def __init__(self, app: Celery, *, queue: str | None = None) -> None:
        self._app = app
        self._options: dict[str, Any] = {} if queue is None else {"queue": queue}
        self._producers: Any = None
        self._resting_until = float("-inf")
        self._process = 0
        self._start_over()

    def enqueue(self, event_id: str) -> None:
        """Put a message into the broker.

        Raises:
            kombu.exceptions.OperationalError: the broker did not take it, or not a moment ago.
            kombu.exceptions.LimitExceeded: all connections to it are in use, for too long.
        """
        if time.monotonic() < self._resting_until:
            raise OperationalError("The broker did not answer a moment ago; it is left alone.")
        try:
            self._send(event_id)
        except Exception:
            self._resting_until = time.monotonic() + REST_SECONDS
            raise

    def close(self) -> None:
        """Close the connections to the broker; a later `enqueue` opens others."""
        if self._process != os.getpid():
            return  # they are the parent's
        with self._lock:
            producers, self._producers = self._producers, None
        if producers is not None:
            producers.connections.force_close_all()

    def _start_over(self) -> None:
        """Also in a forked child: the parent's lock might be held, its connections are in use."""
        self._lock = threading.Lock()
        self._producers = None
        self._resting_until = float("-inf")
        self._process = os.getpid()

    def _send(self, event_id: str) -> None:
        with self._pool().acquire(block=True, timeout=BROKER_SECONDS_MAX) as producer:
            self._app.send_task(
                APPLY,
                args=[event_id],
                producer=producer,
                retry=True,
                retry_policy=_ONCE_MORE,
                ignore_result=True,
                expires=EXPIRES_SECONDS,
                **self._options,
            )

    def _pool(self) -> Any:
        """Connections of our own, with our patience."""
        if self._process != os.getpid():
            self._start_over()
        with self._lock:
            if self._producers is None:
                self._producers = self._new_pool()
            return self._producers

    def _new_pool(self) -> Any:
        app = cast("Any", self._app)
        options: dict[str, object] = {**_ONCE_MORE, "connect_retries_timeout": BROKER_SECONDS_MAX}
        options |= dict.fromkeys(_patience(str(app.conf.broker_write_url)), BROKER_SECONDS_MAX)
        connection = app.connection_for_write(
            connect_timeout=BROKER_SECONDS_MAX, transport_options=options
        )
        return ProducerPool(
            connections=connection.Pool(limit=_CONNECTIONS_MAX),
            limit=_CONNECTIONS_MAX,
            Producer=app.amqp.Producer,
        )


def _patience(url: str) -> tuple[str, ...]:
    """The options by which a transport bounds how long it waits for its server."""
    scheme = url.partition("://")[0]
    if "redis" in scheme or "sentinel" in scheme:
        return "socket_connect_timeout", "socket_timeout"
    return ("read_timeout", "write_timeout") if "amqp" in scheme else ()


def install(
    app: Celery,
    system: Works | Callable[[], Works],
    *,
    every_seconds: float = EVERY_SECONDS,
    queue: str | None = None,
) -> None:
    """Register the tasks that do what is stored, and have Celery's beat call for it.

    `credit_payments.apply_event` applies one event, `credit_payments.work` whatever is due: stored
    events, notifications, what expires and lapses. Messages that are lost, doubled or late change
    nothing. At least one worker has to run with beat.

    Args:
        app: the host's application.
        system: the system, with the host's handlers; or a function that opens one, which is called
            once in each process, by its first task (so after the fork of the prefork pool), and
            closed when the process ends.
        every_seconds: how often beat calls.
        queue: which queue it calls in; by default as the application routes its tasks.

    Raises:
        Conflict: the application works for a system already, and a message does not say for which.

    Example:
        >>> from celery import Celery
        >>> import credit_payments as cp
        >>> app = Celery("shop", broker="memory://")
        >>> install(app, lambda: cp.connect(database="sqlite:///credits.db"))
        >>> app.conf.beat_schedule["credit_payments.work"]["schedule"]
        30.0
    """
    if hasattr(app, _MARK):  # Celery would go on with the tasks that it has
        raise Conflict("This application works for a system already; give each its own.")
    opened = _Opened(system)
    setattr(app, _MARK, opened)

    # By default Celery would register them with every other application of the process, too.
    @app.task(name=APPLY, shared=False, acks_late=True, ignore_result=True)
    def apply_event(event_id: str) -> None:
        if not isinstance(event_id, str):  # whatever is in the broker
            raise TypeError("event_id must be a str")
        with _later(event_id):
            opened.get().worker().apply(event_id)

    @app.task(name=WORK, shared=False, acks_late=True, ignore_result=True)
    def work() -> None:
        with _later("What is due"):
            opened.get().worker().drain(rounds_max=ROUNDS_MAX)

    # Those that wait while nobody works need not be done one by one.
    options: dict[str, Any] = {"expires": every_seconds}
    if queue is not None:
        options["queue"] = queue
    app.add_periodic_task(every_seconds, work.s(), name=WORK, **options)
    signals.worker_process_shutdown.connect(opened.close, weak=False)
    signals.worker_shutdown.connect(opened.close, weak=False)


@contextmanager
def _later(what: str) -> Iterator[None]:
    """A database that is busy or down fails no task: what was to be done is still in it."""
    try:
        yield
    except TryAgain as error:
        _log.warning("%s is done later: %s", what, error)


class _Opened:
    """The system of this process: the one that was given, or what the host's function opened."""

    def __init__(self, given: Works | Callable[[], Works]) -> None:
        self._given = given
        self._lock = threading.Lock()
        self._system: Works | None = None
        self._process = 0

    def get(self) -> Works:
        if not callable(self._given):
            return self._given
        with self._lock:
            if self._system is None or self._process != os.getpid():
                self._system = self._given()
                self._process = os.getpid()
            return self._system

    def close(self, **_: object) -> None:
        """Of what is not ours nothing: the host closes it, or another process."""
        with self._lock:
            opened, self._system = self._system, None
            if opened is not None and self._process == os.getpid():
                opened.close()
