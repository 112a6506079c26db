"""Deciding on committed rows without writing: what a command would answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from credit_payments.domain.decision import Command, Range
from credit_payments.domain.records import Key, Record
from credit_payments.ports.storage import Loaded, Reader
from credit_payments.posting import batch

A = TypeVar("A")


def answer(reader: Reader, command: Command[A], now: str) -> A:
    """What a command decides at that instant; nothing of it is kept."""
    view = batch.load(_Loading(reader), [command], now)
    return command.decide(view, now).answer


class _Loading:
    """A reader that loads as a transaction does, and locks nothing."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        rows = {key: self._reader.get(*key) for key in keys}
        return {key: row for key, row in rows.items() if row is not None}

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        return self._reader.first(ranges)

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        return Loaded(self.load(keys), self.first(ranges))
