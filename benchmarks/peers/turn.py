"""What a turn of either side is made of: a fresh database, a warm-up, and callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

from benchmarks.measure import prepared
from benchmarks.writing import CALLERS, run_all

WALLET = "user-0000"
WARM_UP = CALLERS
"""Operations before the timed ones in every turn: they open connections, start the threads of an
application, and fill the other's cache of compiled statements, which each engine begins anew."""

Operation: TypeAlias = Callable[[int], None]
"""The n-th grant or spend; raises `WrongResult` when it is answered wrongly."""
Task: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""One operation in an event loop."""
Turn: TypeAlias = Callable[[int, int], float]
"""So many operations by so many callers on a fresh database; how many a second."""


def key(number: int) -> str:
    """By which the n-th operation is known."""
    return f"job-{number:08d}"


def by_threads(operation: Operation, operations: int, callers: int) -> float:
    """The rate at which threads get through all but the warm-up."""
    commands = [partial(operation, number) for number in range(WARM_UP + operations)]
    run_all(commands[:WARM_UP], callers)
    return run_all(commands[WARM_UP:], callers)


def by_tasks(tasks: Sequence[Task], callers: int) -> float:
    """The rate at which callers in one event loop get through all but the warm-up."""

    async def call(own: Sequence[Task]) -> None:
        for task in own:
            await task()

    async def run(some: Sequence[Task]) -> float:
        start = time.perf_counter()
        await asyncio.gather(*(call(some[first::callers]) for first in range(callers)))
        return len(some) / (time.perf_counter() - start)

    async def main() -> float:
        await run(tasks[:WARM_UP])
        with prepared():
            return await run(tasks[WARM_UP:])

    return asyncio.run(main())
