"""What is needed to judge the absolute numbers, and nothing that names the host."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import stripe

_SYNCS = 50


class Machine(msgspec.Struct, frozen=True):
    """Where a measurement was made; `fsync_ms` is that of 4 KiB appended in the folder used."""

    cpus: int
    system: str
    python: str
    sqlite: str
    stripe: str
    fsync_ms: float

    def __str__(self) -> str:
        return (
            f"{self.cpus} CPUs, {self.system}, {self.python}, SQLite {self.sqlite}, "
            f"stripe {self.stripe}, fsync {self.fsync_ms:.3f} ms"
        )


def this_machine(folder: Path) -> Machine:
    """Describe the machine, and how long its disk takes to make something durable."""
    return Machine(
        cpus=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        stripe=stripe.VERSION,
        fsync_ms=_fsync_ms(folder),
    )


def _fsync_ms(folder: Path) -> float:
    spent = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4_096))
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            spent.append(time.perf_counter() - start)
    return statistics.median(spent) * 1_000
