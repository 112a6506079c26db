"""Single reads, for whoever can open a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from credit_payments.domain.decision import Range
from credit_payments.domain.records import Record
from credit_payments.ports.storage import Reader

R = TypeVar("R", bound=Record)


class SingleReads:
    """Answers each read of `Reader` but `scan` by opening a reader for it.

    For storages, which share what differs (a connection, a lock, a time limit) with `_reading`.
    """

    def _reading(self) -> AbstractContextManager[Reader]:
        """Open a reader for one read."""
        raise NotImplementedError

    def get(self, kind: type[R], key: str) -> R | None:
        """As `Reader.get`."""
        with self._reading() as reader:
            return reader.get(kind, key)

    def page(
        self,
        kind: type[R],
        where: Mapping[str, str | int],
        *,
        order: Sequence[str],
        after: Sequence[str | int] | None = None,
        limit: int,
        descending: bool = False,
        ending: str | None = None,
    ) -> list[R]:
        """As `Reader.page`."""
        with self._reading() as reader:
            return reader.page(
                kind,
                where,
                order=order,
                after=after,
                limit=limit,
                descending=descending,
                ending=ending,
            )

    def count(
        self,
        kind: type[Record],
        where: Mapping[str, str | int],
        *,
        limit: int,
        ending: str | None = None,
    ) -> int:
        """As `Reader.count`."""
        with self._reading() as reader:
            return reader.count(kind, where, limit=limit, ending=ending)

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        """As `Reader.first`."""
        with self._reading() as reader:
            return reader.first(ranges)
