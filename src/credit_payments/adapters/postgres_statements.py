"""The SQL of the PostgreSQL adapter, derived from the records.

All values go as text, and the casts here say what they are: so a statement has one shape, whatever
the values, and stays prepared. Any number of rows goes as one JSON array of arrays: on both sides
that is cheaper than an array for each column, or a statement for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import get_type_hints

import msgspec

from credit_payments.domain.records import NEVER, Record

LOCK_SECONDS_MAX = 0.25
"""Others hold a row for some milliseconds, until their commit is on the disk. Who holds it for
longer is waited for outside of the queue, which everybody else wants to pass."""
READ_LOCK_SECONDS_MAX = 5.0
"""Readers wait for tables only that are locked whole."""
LATER_LOCK_SECONDS_MAX = 0.02
"""Of locks that are taken out of the one order: who waits there may be waiting for himself."""
STATEMENT_SECONDS_MAX = 10.0
IDLE_SECONDS_MAX = 30.0
"""A process that stops in the middle of a transaction loses it then, with its locks."""

CHANNEL = "credit_payments"
# Said each time, since the defaults are the role's or the database's to change.
BEGIN_WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE"
BEGIN_READING = "BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY"
BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_PLANS = {
    # Every statement but a scan is answered from an index, and there are no large joins. Said here,
    # as a plan that was made when a table was small would be kept when it is not.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1_000))


def _settings(settings: dict[str, str]) -> list[str]:
    """For the transaction alone, so that a pooler may give the next one another session."""
    return [f"set_config('{name}', '{value}', true)" for name, value in settings.items()]


DURABLE = (
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit') "
    "WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"
)
"""Whatever the role's or the database's default is, unless it is stricter
(https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT)."""

_TIMEOUTS = {
    "lock_timeout": _milliseconds(LOCK_SECONDS_MAX),
    "statement_timeout": _milliseconds(STATEMENT_SECONDS_MAX),
    "idle_in_transaction_session_timeout": _milliseconds(IDLE_SECONDS_MAX),
}
_SCAN_TIMEOUTS = {"lock_timeout": _milliseconds(READ_LOCK_SECONDS_MAX)}
_READ_TIMEOUTS = _SCAN_TIMEOUTS | {"statement_timeout": _milliseconds(STATEMENT_SECONDS_MAX)}

_ON_OUR_PATH = "set_config('search_path', $1::text, true)"
"""For whoever put a schema before ours meanwhile: another table of the same name is not ours."""

SET_FOR_WRITING = f"SELECT {', '.join([_ON_OUR_PATH, DURABLE, *_settings(_TIMEOUTS | _PLANS)])}"
SET_FOR_READING = f"SELECT {', '.join([_ON_OUR_PATH, *_settings(_READ_TIMEOUTS | _PLANS)])}"
SET_FOR_SNAPSHOT = f"SELECT {', '.join([_ON_OUR_PATH, *_settings(_SCAN_TIMEOUTS | _PLANS)])}"
SET_PLANS = f"SELECT {', '.join(_settings(_PLANS))}"
_SCAN = {"enable_seqscan": "on", "cursor_tuple_fraction": "1"}
SET_FOR_SCANNING = f"SELECT {', '.join(_settings(_SCAN))}"
IMPATIENT_LOCK_SECONDS_MAX = 0.01
SET_IMPATIENT_LOCKS = (
    f"SELECT {_settings({'lock_timeout': _milliseconds(IMPATIENT_LOCK_SECONDS_MAX)})[0]}"
)
SET_LATER_LOCKS = f"SELECT {_settings({'lock_timeout': _milliseconds(LATER_LOCK_SECONDS_MAX)})[0]}"

LOCK_NAMES = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"
"""Of what is not there yet; see https://www.postgresql.org/docs/current/explicit-locking.html."""

_LOCK = " FOR NO KEY UPDATE"
"""The lock that an update takes; a host's foreign keys may still point to the row meanwhile."""


def array(values: Sequence[object]) -> str:
    """An array as a literal; https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO."""
    quoted = (str(value).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return '{"' + '","'.join(quoted) + '"}' if values else "{}"


@cache
def select(kind: type[Record]) -> str:
    """One row by its key."""
    return f"SELECT {_columns(kind)} FROM {kind.TABLE} WHERE {kind.KEY} = $1::text"  # noqa: S608


@cache
def select_many(kind: type[Record], *, lock: bool) -> str:
    """The rows of the keys in an array, locked in the order of the keys."""
    return (
        f"SELECT {_columns(kind)} FROM {kind.TABLE} WHERE {kind.KEY} = ANY($1::text[]) "  # noqa: S608
        f"ORDER BY {kind.KEY}{_LOCK if lock else ''}"
    )


@cache
def select_first(
    kind: type[Record],
    equals: tuple[str, ...],
    order: tuple[str, ...],
    ending: str | None,
    *,
    lock: bool,
) -> str:
    """The first rows of each group in an array, behind the place of their group in it."""
    members = _conditions(kind, equals, ending, first_place=3)
    filtered = _filtered([f"{kind.GROUP} = asked.name", *members])
    return (
        f"SELECT asked.place, found.* FROM unnest($1::text[]) WITH ORDINALITY "  # noqa: S608
        f"AS asked (name, place) CROSS JOIN LATERAL (SELECT {_columns(kind)} FROM {kind.TABLE}"
        f"{filtered} ORDER BY {_ordered(kind, order, descending=False)} "
        f"LIMIT $2::bigint{_LOCK if lock else ''}) AS found"
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
    position = _places(kind, order, first_place=len(where) + 1) if behind else []
    if behind:
        names = ", ".join(order)
        conditions.append(f"({names}) {'<' if descending else '>'} ({', '.join(position)})")
    last = len(where) + len(position) + 1
    return (
        f"SELECT {_columns(kind)} FROM {kind.TABLE}{_filtered(conditions)} "  # noqa: S608
        f"ORDER BY {_ordered(kind, order, descending=descending)} LIMIT ${last}::bigint"
    )


@cache
def count(kind: type[Record], where: tuple[str, ...], ending: str | None) -> str:
    """How many rows have column values, up to a limit."""
    filtered = _filtered(_conditions(kind, where, ending))
    return (
        f"SELECT count(*) FROM (SELECT 1 FROM {kind.TABLE}{filtered} "  # noqa: S608
        f"LIMIT ${len(where) + 1}::bigint) AS found"
    )


def _conditions(
    kind: type[Record], equals: tuple[str, ...], ending: str | None, *, first_place: int = 1
) -> list[str]:
    places = _places(kind, equals, first_place=first_place)
    conditions = [f"{column} = {place}" for column, place in zip(equals, places, strict=True)]
    if ending is not None:  # as a literal: a partial index is used where it is seen to suffice
        conditions.append(f"{_known(kind, ending)} < '{NEVER}'")
    return conditions


def _places(kind: type[Record], columns: tuple[str, ...], *, first_place: int) -> list[str]:
    return [f"${place}::{_type(kind, column)}" for place, column in enumerate(columns, first_place)]


def _filtered(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def declare_scan(kind: type[Record], order: tuple[str, ...], cursor: str) -> str:
    """Every row in an order, through a cursor."""
    ordered = _ordered(kind, order, descending=False)
    return (
        f"DECLARE {cursor} NO SCROLL CURSOR FOR "  # noqa: S608 - names are our own
        f"SELECT {_columns(kind)} FROM {kind.TABLE} ORDER BY {ordered}"
    )


def fetch(cursor: str, rows: int) -> str:
    """The next rows of a scan."""
    return f"FETCH FORWARD {rows} FROM {cursor}"


@cache
def insert(kind: type[Record]) -> str:
    """New rows, all columns in the record's order."""
    names = kind.__struct_fields__
    return (
        f"INSERT INTO {kind.TABLE} ({', '.join(names)}) "  # noqa: S608
        f"SELECT {', '.join(_given(kind, names))} FROM jsonb_array_elements($1::jsonb) AS given"
    )


@cache
def update(kind: type[Record]) -> str:
    """Rows that exist: of each, its mutable columns and then its key."""
    values = _given(kind, (*kind.MUTABLE, kind.KEY))
    pairs = zip(kind.MUTABLE, values, strict=False)
    changes = ", ".join(f"{name} = {value}" for name, value in pairs)
    return (
        f"UPDATE {kind.TABLE} SET {changes} FROM jsonb_array_elements($1::jsonb) AS given "  # noqa: S608
        f"WHERE {kind.TABLE}.{kind.KEY} = {values[-1]}"
    )


def notify(kind: type[Record]) -> str:
    """Tell whoever listens that there are new rows.

    Commits of such transactions wait for one another: the server keeps notifications in the order
    of commits (https://www.postgresql.org/docs/current/sql-notify.html). That wait is no wait for
    somebody who holds a row.
    """
    patience = _settings({"lock_timeout": _milliseconds(READ_LOCK_SECONDS_MAX)})[0]
    return f"SELECT {patience}, pg_notify('{CHANNEL}', '{kind.TABLE}')"


def _given(kind: type[Record], names: Sequence[str]) -> list[str]:
    """The elements of one JSON array, as values of these columns."""
    values = []
    for place, name in enumerate(names):
        as_text, of_type = f"(given.value ->> {place})", _type(kind, name)
        values.append(as_text if of_type == "text" else f"{as_text}::{of_type}")
    return values


@cache
def _columns(kind: type[Record]) -> str:
    names = (field.name for field in msgspec.structs.fields(kind))
    return ", ".join(f"{name}::text AS {name}" if name in kind.DECIMALS else name for name in names)


@cache
def _type(kind: type[Record], column: str) -> str:
    if column in kind.DECIMALS:  # text in a record, so that it comes back digit by digit
        return "numeric"
    hint = get_type_hints(kind)[_known(kind, column)]
    return "bigint" if hint in (int, int | None) else "text"


def _ordered(kind: type[Record], order: tuple[str, ...], *, descending: bool) -> str:
    direction = "DESC" if descending else "ASC"
    return ", ".join(f"{_known(kind, column)} {direction}" for column in order)


def _known(kind: type[Record], column: str) -> str:
    """Column names come from our code alone; this keeps it so."""
    if column not in kind.__struct_fields__:
        raise ValueError(f"{kind.TABLE} has no column {column!r}")
    return column
