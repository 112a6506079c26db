"""The SQL of the SQLite adapter, derived from the records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec

from credit_payments.domain.records import NEVER, Record


def _conditions(kind: type[Record], equals: tuple[str, ...], ending: str | None) -> list[str]:
    conditions = [f"{_known(kind, column)} = ?" for column in equals]
    return conditions if ending is None else [*conditions, _ends(kind, ending)]


def _filtered(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _ends(kind: type[Record], column: str) -> str:
    """As a literal, since SQLite uses a partial index only where it sees that it suffices."""
    return f"{_known(kind, column)} < '{NEVER}'"


def _columns(kind: type[Record]) -> str:
    return ", ".join(field.name for field in msgspec.structs.fields(kind))


@cache
def select(kind: type[Record]) -> str:
    """One row by its key."""
    return f"SELECT {_columns(kind)} FROM {kind.TABLE} WHERE {kind.KEY} = ?"  # noqa: S608


@cache
def select_many(kind: type[Record]) -> str:
    """The rows of the keys in a JSON array, as one JSON array of arrays.

    One value in and one out, because each row that SQLite hands over one by one gives other
    threads a turn at the interpreter, and under load getting it back costs more than the row.
    """
    return (
        f"SELECT json_group_array(json_array({_columns(kind)})) FROM {kind.TABLE} "  # noqa: S608
        f"WHERE {kind.KEY} IN (SELECT value FROM json_each(?))"
    )


@cache
def select_first_of_one(
    kind: type[Record], equals: tuple[str, ...], order: tuple[str, ...], ending: str | None
) -> str:
    """The first rows of one group, one by one."""
    filtered = _filtered([f"{kind.GROUP} = ?", *_conditions(kind, equals, ending)])
    return (
        f"SELECT {_columns(kind)} FROM {kind.TABLE}{filtered} "  # noqa: S608 - names are our own
        f"ORDER BY {_ordered(kind, order, descending=False)} LIMIT ?"
    )


@cache
def select_first(
    kind: type[Record], equals: tuple[str, ...], order: tuple[str, ...], ending: str | None
) -> str:
    """The first rows of the groups in a JSON array, as a JSON array of arrays of arrays."""
    filtered = _filtered([f"{kind.GROUP} = asked.value", *_conditions(kind, equals, ending)])
    return (
        f"SELECT json_group_array(json((SELECT json_group_array(json_array({_columns(kind)})) "  # noqa: S608
        f"FROM (SELECT * FROM {kind.TABLE}{filtered} "
        f"ORDER BY {_ordered(kind, order, descending=False)} LIMIT ?)))) "
        f"FROM json_each(?) AS asked"
    )


@cache
def select_page(
    kind: type[Record],
    where: tuple[str, ...],
    order: tuple[str, ...],
    *,
    behind: bool,
    descending: bool,
    ending: str | None = None,
) -> str:
    """Rows by column values, in an order, from a position on."""
    conditions = _conditions(kind, where, ending)
    if behind:
        places = ", ".join("?" * len(order))
        names = ", ".join(_known(kind, column) for column in order)
        # Before what ends: of two bounds on one side, SQLite enters the index at the first.
        conditions.insert(len(where), f"({names}) {'<' if descending else '>'} ({places})")
    return (
        f"SELECT {_columns(kind)} FROM {kind.TABLE}{_filtered(conditions)} "  # noqa: S608
        f"ORDER BY {_ordered(kind, order, descending=descending)} LIMIT ?"
    )


@cache
def count(kind: type[Record], where: tuple[str, ...], ending: str | None) -> str:
    """How many rows have column values, up to a limit."""
    filtered = _filtered(_conditions(kind, where, ending))
    return f"SELECT count(*) FROM (SELECT 1 FROM {kind.TABLE}{filtered} LIMIT ?)"  # noqa: S608


@cache
def select_all(kind: type[Record], order: tuple[str, ...]) -> str:
    """Every row in an order."""
    ordered = _ordered(kind, order, descending=False)
    return f"SELECT {_columns(kind)} FROM {kind.TABLE} ORDER BY {ordered}"  # noqa: S608


@cache
def insert(kind: type[Record], rows: int) -> str:
    """New rows, all columns in the record's order."""
    one = f"({', '.join('?' * len(kind.__struct_fields__))})"
    return f"INSERT INTO {kind.TABLE} ({_columns(kind)}) VALUES {', '.join([one] * rows)}"  # noqa: S608


def unindexed(kind: type[Record]) -> tuple[str, ...]:
    """The mutable columns that no index holds."""
    groups = (*kind.INDEXES, *kind.UNIQUE, *(columns for _, columns in kind.SPARSE))
    indexed = {column for columns in groups for column in columns}
    return tuple(name for name in kind.MUTABLE if name not in indexed)


@cache
def update(kind: type[Record], columns: tuple[str, ...], rows: int) -> str:
    """Rows that exist: of each, the columns and then its key."""
    if rows == 1:
        changes = ", ".join(f"{name} = ?" for name in columns)
        return f"UPDATE {kind.TABLE} SET {changes} WHERE {kind.KEY} = ?"  # noqa: S608
    one = f"({', '.join('?' * (len(columns) + 1))})"
    changes = ", ".join(f"{name} = given.column{i}" for i, name in enumerate(columns, 1))
    return (
        f"UPDATE {kind.TABLE} SET {changes} FROM (VALUES {', '.join([one] * rows)}) AS given "  # noqa: S608
        f"WHERE {kind.TABLE}.{kind.KEY} = given.column{len(columns) + 1}"
    )


def _ordered(kind: type[Record], order: tuple[str, ...], *, descending: bool) -> str:
    direction = "DESC" if descending else "ASC"
    return ", ".join(f"{_known(kind, column)} {direction}" for column in order)


def _known(kind: type[Record], column: str) -> str:
    """Column names come from our code alone; this keeps it so."""
    if column not in kind.__struct_fields__:
        raise ValueError(f"{kind.TABLE} has no column {column!r}")
    return column
