"""Processes that drain a queue: all of them are ready before any of them begins.

So neither the start of an interpreter nor a connection is part of anybody's rate. They are begun
anew (`spawn`), as workers are by whoever runs them, and share nothing with this process.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import msgspec

from benchmarks.measure import WrongResult

SECONDS_MAX = 120
"""For one answer of a process: then something hangs."""


class Drained(msgspec.Struct, frozen=True):
    """What one process did, by a clock that all processes of the machine share.

    Attributes:
        began: when it asked for the first job.
        ended: when its last job was done, and that was durable.
        done: how many it did.
    """

    began: float
    ended: float
    done: int


Work: TypeAlias = Callable[["Order"], object]
"""What is done once the others are ready, too; the answer is handed back."""
Prepare: TypeAlias = Callable[..., AbstractContextManager[Work]]
"""Opens what is needed; a function of a module, since a fresh process has to find it."""


class Order:
    """How a process hears that it should end, where its work has no end of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def wait_for_end(self) -> None:
        """Return when this process is to stop."""
        _receive(self._connection)


class Consumers:
    """Processes that are ready."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._connections = connections

    def begin(self) -> None:
        """Let all of them work."""
        for connection in self._connections:
            connection.send("begin")

    def end(self) -> None:
        """Have those end that would go on."""
        for connection in self._connections:
            connection.send("end")

    def answers(self) -> list[Any]:
        """What each of them hands back, when it has ended."""
        return [_receive(connection) for connection in self._connections]

    def drain(self, jobs: int) -> float:
        """Have them do all jobs; how many a second.

        Raises:
            WrongResult: they have done more, or fewer.
        """
        self.begin()
        drained: list[Drained] = [one for one in self.answers() if one.done]
        done = sum(one.done for one in drained)
        if done != jobs:
            raise WrongResult(f"{done} jobs were done, of {jobs}.")
        began = min(one.began for one in drained)
        return jobs / (max(one.ended for one in drained) - began)


@contextmanager
def ready(number: int, prepare: Prepare, *arguments: object) -> Iterator[Consumers]:
    """So many processes, which have prepared themselves with these arguments."""
    context = multiprocessing.get_context("spawn")
    connections, processes = [], []
    try:
        for _ in range(number):
            ours, theirs = context.Pipe()
            connections.append(ours)
            process = context.Process(target=_run, args=(theirs, prepare, arguments), daemon=True)
            process.start()
            processes.append(process)
            theirs.close()  # so that a process that dies ends the conversation
        for connection in connections:
            _receive(connection)
        yield Consumers(connections)
        for process in processes:
            process.join(SECONDS_MAX)
    finally:
        for process in processes:
            process.kill()
            process.join(SECONDS_MAX)
            process.close()
        for connection in connections:
            connection.close()


def _receive(connection: Connection) -> Any:
    if not connection.poll(SECONDS_MAX):
        raise WrongResult("A process does not answer.")
    try:
        answer = connection.recv()
    except EOFError:
        raise WrongResult("A process has died.") from None
    if isinstance(answer, Exception):
        raise WrongResult(f"A process failed: {answer!r}") from answer
    return answer


def _run(connection: Connection, prepare: Prepare, arguments: tuple[object, ...]) -> None:
    """What such a process does."""
    try:
        with prepare(*arguments) as work:
            connection.send("ready")
            _receive(connection)
            connection.send(work(Order(connection)))
    except Exception as error:  # noqa: BLE001 - the other process raises it
        connection.send(WrongResult(f"{type(error).__name__}: {error}"))


def now() -> float:
    """The clock of `Drained`: seconds since the machine was started."""
    return time.monotonic()
