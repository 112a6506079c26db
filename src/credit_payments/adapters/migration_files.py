"""The migrations of each database, as files beside the adapters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from credit_payments.domain.migrations import Migration


@cache
def migrations(database: str) -> Sequence[Migration]:
    """The steps of one database (`sqlite`, `postgres`, `mongo`), from `0001_name.…` on."""
    folder = files("credit_payments.adapters") / "migrations" / database
    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        number, _, name = file.name.rpartition(".")[0].partition("_")
        # Line ends are no part of the checksum: a checkout on Windows may have changed them.
        text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
        found.append(Migration(int(number), name.replace("_", " "), text))
    return tuple(found)
