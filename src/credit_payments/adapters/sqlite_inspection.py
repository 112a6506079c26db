"""What of an SQLite file the storage's promises rest on, as it is now."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from credit_payments.adapters.sql_indexes import ending_of, missing
from credit_payments.adapters.sqlite_connections import begin_writing
from credit_payments.domain.records import RECORDS
from credit_payments.domain.traits import DatabaseSetting, DatabaseTraits, Index

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
_READ_ONLY = sqlite3.SQLITE_READONLY
_PRIMARY_CODE = 0xFF  # further bits tell which kind it is: https://www.sqlite.org/rescode.html
_CHANGE_NOTHING = "UPDATE credit_payments_migrations SET name = name WHERE 0"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_INDEXES = """
SELECT tables.name, found."unique", partial.sql,
    (SELECT json_group_array(name) FROM (SELECT name FROM pragma_index_info(found.name)
     ORDER BY seqno))
FROM sqlite_master AS tables JOIN pragma_index_list(tables.name) AS found
LEFT JOIN sqlite_master AS partial ON partial.name = found.name AND found.partial
WHERE tables.type = 'table'
"""


def inspected(connection: sqlite3.Connection) -> DatabaseTraits:
    """What was observed through a connection that the storage writes with."""
    return DatabaseTraits(
        kind=f"SQLite {sqlite3.sqlite_version}",
        is_writable=_is_writable(connection),
        settings=tuple(_settings(connection)),
        missing_tables=tuple(_missing_tables(connection)),
        missing_indexes=tuple(missing(_indexes(connection))),
    )


def _is_writable(connection: sqlite3.Connection) -> bool:
    """Not where the file, or the file system, is read-only."""
    try:
        begin_writing(connection)
        connection.execute(_CHANGE_NOTHING)  # beginning is let pass for a file to be read only
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY_CODE == _READ_ONLY:
            return False
        raise
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return True


def _settings(connection: sqlite3.Connection) -> Iterator[DatabaseSetting]:
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    yield DatabaseSetting("journal_mode", journal, "wal", fits=journal == "wal")
    (level,) = connection.execute("PRAGMA synchronous").fetchone()
    is_full = level >= _SYNCHRONOUS.index("FULL")
    yield DatabaseSetting("synchronous", _SYNCHRONOUS[level], "FULL", fits=is_full)


def _missing_tables(connection: sqlite3.Connection) -> Iterator[str]:
    there = {name for (name,) in connection.execute(_TABLES)}
    yield from (kind.TABLE for kind in RECORDS if kind.TABLE not in there)


def _indexes(connection: sqlite3.Connection) -> Iterator[Index]:
    for table, unique, statement, columns in connection.execute(_INDEXES):
        condition = statement and statement.rpartition(" WHERE ")[2]
        names = msgspec.json.decode(columns, type=tuple[str, ...])
        yield Index(table, names, bool(unique), ending_of(condition))
