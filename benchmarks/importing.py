"""What a process pays for importing the library."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.measure import Plan, Row, WrongResult, take_turns

NOT_LOADED = ("stripe", "pymongo", "hvac", "flask", "fastapi")
_SECONDS_MAX = 60

_BARE = "pass"
_IMPORT = "import credit_payments"
_ALL = "from credit_payments import *"
_CONNECT = "from credit_payments import connect; connect(database='memory://')"


def rows(plan: Plan) -> Iterator[Row]:
    """Fresh processes that import more and more, over one that imports nothing."""
    check_nothing_heavy_is_loaded()
    programs = (_BARE, _IMPORT, _ALL, _CONNECT)
    spent = take_turns({program: _process(program) for program in programs}, plan.processes)
    yield _row("import", "import credit_payments", spent[_BARE], spent[_IMPORT], target=60)
    yield _row("import_all", "import every public name", spent[_BARE], spent[_ALL])
    yield _row("import_connect", 'import and connect("memory://")', spent[_BARE], spent[_CONNECT])


def check_nothing_heavy_is_loaded() -> None:
    """After the import, and after every public name was used, no vendor's package is there.

    Raises:
        WrongResult: one is.
    """
    for program in (_IMPORT, _ALL):
        report = f"{program}; import sys; print(*sorted(set({NOT_LOADED!r}) & set(sys.modules)))"
        loaded = subprocess.run(
            [sys.executable, "-c", report],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS_MAX,
        ).stdout.split()
        if loaded:
            raise WrongResult(f"{program!r} loads {', '.join(loaded)}.")


def _row(
    name: str,
    what: str,
    bare: Sequence[float],
    loaded: Sequence[float],
    target: float | None = None,
) -> Row:
    return Row(
        name=name,
        what=what,
        against="a bare interpreter",
        unit="ms",
        samples=tuple(ours - theirs for ours, theirs in zip(loaded, bare, strict=True)),
        target=target,
        absolute={
            f"{what} (ms)": statistics.median(loaded),
            "a bare interpreter (ms)": statistics.median(bare),
        },
    )


def _process(program: str) -> Callable[[], float]:
    """A side that answers the milliseconds a fresh interpreter takes, from start to exit."""
    # Settings of whoever measures are no part of it.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STRIPE_", "CREDIT_PAYMENTS_"))
    }

    def run() -> float:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", program], env=environment)
        # Waiting with a timeout would poll, with pauses as long as what is measured here.
        watchdog = threading.Timer(_SECONDS_MAX, process.kill)
        watchdog.start()
        try:
            status = process.wait()
        finally:
            watchdog.cancel()
        spent = time.perf_counter() - start
        if status:
            raise WrongResult(f"{program!r} ended with status {status}.")
        return spent * 1_000

    return run
