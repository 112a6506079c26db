"""In which order a transaction locks rows, and what it does where it cannot keep to it.

All transactions lock in one order, so that of two the second waits, and not each for the other. But
a batch learns only from the rows of its first load which others it needs, and these may come before
in the order. For such locks nobody waits long: they end in a conflict, the batch is run again, and
then locks at once, in order, all that it was led to.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence

from credit_payments.adapters import postgres_statements as statements
from credit_payments.adapters.postgres_pipeline import Statement
from credit_payments.domain.records import RECORDS, Key, Record

PLACES = {kind: place for place, kind in enumerate(RECORDS)}
"""Of each kind in the order."""

_LAST = "\U0010ffff"
_FIRST = (-1, "")


class LockOrder:
    """The locks of one transaction.

    Args:
        ahead: keys to lock with those of the first load.
    """

    def __init__(self, ahead: Iterable[Key] = ()) -> None:
        self.keys: set[Key] = set()
        self._ahead = set(ahead)
        self._reached = _FIRST

    def with_those_ahead(self, keys: Iterable[Key]) -> dict[type[Record], list[str]]:
        """What to load when these keys are asked for, by kind and in order."""
        by_kind: dict[type[Record], list[str]] = {}
        for kind, key in (*keys, *self._ahead):
            by_kind.setdefault(kind, []).append(key)
        self._ahead.clear()
        return {kind: by_kind[kind] for kind in sorted(by_kind, key=PLACES.__getitem__)}

    def before_load(self, by_kind: Mapping[type[Record], Sequence[str]]) -> list[Statement]:
        """What is run before such rows are locked."""
        locked = {kind: names for kind, names in by_kind.items() if kind.MUTABLE}
        if not locked:
            return []
        guarded = {_guard(kind, key) for kind in locked if kind.GUARDED for key in locked[kind]}
        places = [(PLACES[kind], name) for kind, names in locked.items() for name in names]
        self.keys.update((kind, name) for kind, names in locked.items() for name in names)
        before = self._step(_FIRST if guarded else min(places), max(places))
        if guarded:
            # A statement of its own: the next one sees what those who held these locks have added.
            names = statements.array(sorted(guarded))
            before.append(Statement(statements.LOCK_NAMES, (names,)))
        return before

    def before_series(self, kinds: Iterable[type[Record]]) -> list[Statement]:
        """What is run before rows of series are locked, whose keys are not known."""
        places = [PLACES[kind] for kind in kinds if kind.MUTABLE]
        return self._step((min(places), ""), (max(places), _LAST)) if places else []

    def _step(self, first: tuple[int, str], last: tuple[int, str]) -> list[Statement]:
        is_in_order = self._reached == _FIRST or first > self._reached
        self._reached = max(self._reached, last)
        return [] if is_in_order else [_SET_LATER_LOCKS]


class Retries:
    """What each thread's last transaction had locked, if that ended in a conflict."""

    def __init__(self) -> None:
        self._here = threading.local()

    def take(self) -> set[Key]:
        """What to lock ahead now; the next time, nothing."""
        keys: set[Key] = getattr(self._here, "keys", set())
        self._here.keys = set()
        return keys

    def keep(self, order: LockOrder) -> None:
        """A conflict: whoever runs the same commands again, does it in this thread."""
        self._here.keys = order.keys


def _guard(kind: type[Record], key: str) -> int:
    """The number under which a row is locked that may not be there: 64 bits, signed."""
    name = f"{kind.TABLE} {key}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)


_SET_LATER_LOCKS = Statement(statements.SET_LATER_LOCKS)
