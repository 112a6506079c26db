"""What of a PostgreSQL database the storage's promises rest on, as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from credit_payments.adapters.postgres_connections import Connections
from credit_payments.adapters.postgres_pipeline import Pipeline, Row, Statement
from credit_payments.adapters.postgres_statements import array
from credit_payments.adapters.sql_indexes import ending_of, missing
from credit_payments.domain.records import RECORDS
from credit_payments.domain.traits import DatabaseSetting, DatabaseTraits, Index
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.storage import WriteConflict

_SERVER = Statement(
    "SELECT current_setting('server_version'), pg_is_in_recovery(), quote_ident(current_user)"
)
_NAMES = ("fsync", "full_page_writes", "synchronous_commit")
_SETTINGS = Statement(f"SELECT {', '.join(f'current_setting({name!r})' for name in _NAMES)}")
_SAFE = ("on", "remote_apply")
_MISSING_TABLES = """
SELECT name FROM unnest($1::text[]) WITH ORDINALITY AS wanted(name, place)
WHERE to_regclass(quote_ident(name)) IS NULL
ORDER BY place
"""
_INDEXES = """
SELECT tables.relname::text, indexes.indisunique,
    pg_get_expr(indexes.indpred, indexes.indrelid),
    (SELECT string_agg(pg_get_indexdef(indexes.indexrelid, place, true), ',' ORDER BY place)
     FROM generate_series(1, indexes.indnkeyatts::int) AS place)
FROM unnest($1::text[]) AS wanted(name)
JOIN pg_class AS tables ON tables.oid = to_regclass(quote_ident(wanted.name))
JOIN pg_index AS indexes ON indexes.indrelid = tables.oid
WHERE indexes.indisvalid AND indexes.indislive
"""
# Of a table that is not there nothing is said.
_RIGHTS = """
SELECT wanted.place
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
    AS wanted(name, right_, columns, place)
WHERE NOT CASE WHEN wanted.columns = ''
    THEN has_table_privilege(to_regclass(quote_ident(wanted.name)), wanted.right_)
    ELSE (SELECT bool_and(has_column_privilege(
              to_regclass(quote_ident(wanted.name)), one, wanted.right_))
          FROM unnest(string_to_array(wanted.columns, ',')) AS one) END
ORDER BY wanted.place
"""


def inspected(
    connections: Connections, *, reading: Sequence[Statement], writing: Sequence[Statement]
) -> DatabaseTraits:
    """What the server says.

    Args:
        connections: to it.
        reading: how transactions begin that read.
        writing: how transactions begin that write; the settings are those in force there.
    """
    needed = list(_needed())
    tables = array([kind.TABLE for kind in RECORDS])
    ((version, follows, user),), absent, indexes, lacking = _ask(
        connections.reader(),
        reading,
        _SERVER,
        Statement(_MISSING_TABLES, (tables,)),
        Statement(_INDEXES, (tables,)),
        Statement(_RIGHTS, [array(column) for column in zip(*needed, strict=True)]),
    )
    # A server that follows another one begins no such transaction.
    settings = () if follows else _ask(connections.writer(), writing, _SETTINGS)[0][0]
    return DatabaseTraits(
        kind=f"PostgreSQL {version.partition(' ')[0]}",
        is_writable=not follows,
        settings=tuple(map(_setting, _NAMES, settings)),
        missing_tables=tuple(name for (name,) in absent),
        missing_indexes=tuple(missing(map(_index, indexes))),
        missing_rights=tuple(_grant(*needed[int(place) - 1], user) for (place,) in lacking),
    )


def _ask(
    connection: AbstractContextManager[Pipeline],
    begin: Sequence[Statement],
    *statements: Statement,
) -> list[list[Row]]:
    with connection as pipeline:
        try:
            return pipeline.read(begin, statements)
        except BaseException as error:
            pipeline.settle()
            if isinstance(error, WriteConflict):  # a reader knows none
                raise StorageUnavailable("Somebody else locks what was to be read.") from None
            raise


def _needed() -> Iterator[tuple[str, str, str]]:
    """The least rights: on which table, what, and for which columns only."""
    for kind in RECORDS:
        yield kind.TABLE, "SELECT", ""
        yield kind.TABLE, "INSERT", ""
        if kind.MUTABLE:
            yield kind.TABLE, "UPDATE", ",".join(kind.MUTABLE)


def _grant(table: str, right: str, columns: str, user: str) -> str:
    only = f" ({columns.replace(',', ', ')})" if columns else ""
    return f"GRANT {right}{only} ON {table} TO {user};"


def _setting(name: str, value: str) -> DatabaseSetting:
    return DatabaseSetting(name, value, "on", fits=value in _SAFE)


def _index(row: Row) -> Index:
    table, unique, condition, columns = row
    return Index(table, tuple(columns.split(",")), unique, ending_of(condition))
