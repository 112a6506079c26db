"""Indexes in SQL, as SQLite and PostgreSQL have them in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from credit_payments.domain.records import NEVER
from credit_payments.domain.traits import Index, MissingIndex, indexes, serves

_ENDING = re.compile(rf"\(*(\w+) < '{re.escape(NEVER)}'(?:::text)?\)*")


def missing(found: Iterable[Index]) -> Iterator[MissingIndex]:
    """Those that the records name and a database has not, with the statements that make them."""
    there = list(found)
    for wanted in indexes():
        if not any(serves(index, wanted) for index in there):
            yield MissingIndex(wanted, create_index(wanted))


def create_index(index: Index) -> str:
    """The statement that makes an index.

    >>> create_index(Index("wallets", ("due_at", "user_id")))
    'CREATE INDEX wallets_by_due_at_user_id ON wallets (due_at, user_id);'
    """
    unique = "UNIQUE " if index.unique else ""
    where = f"{index.table} ({', '.join(index.columns)})"
    ending = "" if index.ending is None else f" WHERE {index.ending} < '{NEVER}'"
    return f"CREATE {unique}INDEX {index.name} ON {where}{ending};"


def ending_of(condition: str | None) -> str | None:
    """The column whose instant ever comes in the rows of a partial index, by its condition.

    That of another partial index is answered as it is, which is no column.

    >>> ending_of(f"(due_at < '{NEVER}'::text)")
    'due_at'
    """
    match = _ENDING.fullmatch(condition or "")
    return match[1] if match else condition
