"""Jobs of pgqueuer in the same PostgreSQL, with the payloads of our webhooks and nothing to do.

As its documentation has it: connections of asyncpg, `Queries.enqueue` for each job, or for a
hundred at once, and a `QueueManager` that runs an entrypoint, here a hundred jobs a batch, until
the queue is empty. Single jobs come from as many connections as make that fastest here; a consumer
is a process with one connection and the event loop of pgqueuer's own command line. With psycopg it
is slower, and its listener keeps a consumer's connection for up to a second at a time. Its tables
stay as it makes them: logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from importlib import import_module, metadata
from typing import Any

from benchmarks.consumers import Drained, Order, Work, now, ready
from benchmarks.delivering import Turn
from benchmarks.measure import WrongResult, prepared

PACKAGE = "pgqueuer"
DRIVER = "asyncpg"
_CONNECTIONS = 4
_BATCH = 100
_ENTRYPOINT = "webhook"
_LOOK_AGAIN = timedelta(seconds=0.1)
"""A consumer that finds nothing looks again, its default is half a minute: the others may be slow
to finish, and none should sleep meanwhile."""


def installed() -> bool:
    """Whether it can be measured here."""
    return all(any(metadata.distributions(name=name)) for name in (PACKAGE, DRIVER))


def name() -> str:
    """As rows call it."""
    return f"{PACKAGE} {metadata.version(PACKAGE)}"


def turn(bodies: Sequence[bytes], workers: int, url: str) -> Turn:
    """Enqueue all in batches, and again one by one, and drain these, in an empty database."""
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_install(url))
        with ready(workers, _consumer, url) as consumers, prepared():
            in_batches = runner.run(_enqueue_batches(url, bodies))
            singly = runner.run(_enqueue_singly(url, bodies))
            drained = consumers.drain(len(bodies))
        runner.run(_check(url, len(bodies)))
    return Turn(singly, drained, in_batches)


def _loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop


async def _queries(stack: AsyncExitStack, url: str) -> Any:
    """On a connection of its own, which is closed at the end."""
    connection = await import_module(DRIVER).connect(url)
    stack.push_async_callback(connection.close)
    driver = import_module("pgqueuer.db").AsyncpgDriver(connection)
    return import_module("pgqueuer.queries").Queries(driver)


async def _install(url: str) -> None:
    async with AsyncExitStack() as stack:
        await (await _queries(stack, url)).install()


async def _enqueue_batches(url: str, bodies: Sequence[bytes]) -> float:
    """By one connection; they are taken out again."""
    async with AsyncExitStack() as stack:
        queries = await _queries(stack, url)
        await queries.enqueue(_ENTRYPOINT, bodies[0])
        began = now()
        for first in range(0, len(bodies), _BATCH):
            batch = bodies[first : first + _BATCH]
            ids = await queries.enqueue([_ENTRYPOINT] * len(batch), list(batch), [0] * len(batch))
            if len(set(ids)) != len(batch):
                raise WrongResult(f"{len(batch)} jobs were enqueued as {ids}.")
        rate = len(bodies) / (now() - began)
        await queries.clear_queue()
    return rate


async def _enqueue_singly(url: str, bodies: Sequence[bytes]) -> float:
    async with AsyncExitStack() as stack:
        callers = [await _queries(stack, url) for _ in range(_CONNECTIONS)]
        waiting = iter(bodies)

        async def call(queries: Any) -> None:
            for body in waiting:
                await queries.enqueue(_ENTRYPOINT, body)

        began = now()
        await asyncio.gather(*map(call, callers))
        return len(bodies) / (now() - began)


async def _check(url: str, jobs: int) -> None:
    """Nothing is left, and its own log has each job once."""
    async with AsyncExitStack() as stack:
        queries = await _queries(stack, url)
        left = await queries.queue_size()
        rows = await queries.queue_log()
    done = {row.job_id for row in rows if row.status == "successful"}
    if left or len(done) != jobs:
        raise WrongResult(f"{PACKAGE} has done {len(done)} jobs of {jobs}; left: {left}")


# -- in processes of their own ----------------------------------------------------------------


@contextmanager
def _consumer(url: str) -> Iterator[Work]:
    with asyncio.Runner(loop_factory=_loop) as runner:
        stack = AsyncExitStack()
        try:
            queries = runner.run(_queries(stack, url))
            watched = _Watched(queries)

            def work(_order: Order) -> Drained:
                runner.run(_drain(queries))
                return Drained(watched.began, watched.ended, watched.done)

            yield work
        finally:
            runner.run(stack.aclose())


async def _drain(queries: Any) -> None:
    manager = import_module("pgqueuer.qm").QueueManager(queries)

    async def nothing(job: Any) -> None:
        pass

    # Said, not read from the signature, whose annotations are strings here.
    manager.entrypoint(_ENTRYPOINT, accepts_context=False)(nothing)
    mode = import_module("pgqueuer.domain.types").QueueExecutionMode.drain
    await manager.run(dequeue_timeout=_LOOK_AGAIN, batch_size=_BATCH, mode=mode)


class _Watched:
    """When it first asked for jobs, and when the last batch was recorded as done.

    What it does before and after that, such as waiting for its listener, is not counted.
    """

    def __init__(self, queries: Any) -> None:
        self.began = self.ended = 0.0
        self.done = 0
        self._dequeue, self._log_jobs = queries.dequeue, queries.log_jobs
        queries.dequeue, queries.log_jobs = self.dequeue, self.log_jobs

    async def dequeue(self, **options: Any) -> Any:
        self.began = self.began or now()
        return await self._dequeue(**options)

    async def log_jobs(self, jobs: Sequence[Any]) -> None:
        await self._log_jobs(jobs)
        self.ended = now()
        self.done += len(jobs)
