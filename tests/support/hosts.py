"""A host's own connection to each database, with a row of its own to commit or roll back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Protocol


class Host(Protocol):
    """What a host does with its connection."""

    handle: Any
    """What is handed to the library."""

    def begin(self) -> None: ...
    def write(self, name: str) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def names(self) -> list[str]: ...


class SqliteHost:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.handle = connection
        connection.execute("CREATE TABLE IF NOT EXISTS host_rows (name TEXT)")

    def begin(self) -> None:
        """The first write begins it."""

    def write(self, name: str) -> None:
        self.handle.execute("INSERT INTO host_rows VALUES (?)", (name,))

    def commit(self) -> None:
        self.handle.commit()

    def rollback(self) -> None:
        self.handle.rollback()

    def names(self) -> list[str]:
        return [name for (name,) in self.handle.execute("SELECT name FROM host_rows").fetchall()]


class PostgresHost(SqliteHost):
    def __init__(self, connection: Any) -> None:
        self.handle = connection
        connection.execute("CREATE TABLE IF NOT EXISTS host_rows (name text)")
        connection.commit()

    def write(self, name: str) -> None:
        self.handle.execute("INSERT INTO host_rows VALUES (%s)", (name,))

    def names(self) -> list[str]:
        found = super().names()
        self.handle.commit()
        return found


class MongoHost:
    def __init__(self, session: Any, database: Any) -> None:
        self.handle = session
        self._rows = database["host_rows"]

    def begin(self) -> None:
        self.handle.start_transaction()

    def write(self, name: str) -> None:
        self._rows.insert_one({"name": name}, session=self.handle)

    def commit(self) -> None:
        self.handle.commit_transaction()

    def rollback(self) -> None:
        self.handle.abort_transaction()

    def names(self) -> list[str]:
        return [row["name"] for row in self._rows.find()]


@contextmanager
def host_of(database: str) -> Iterator[Host]:
    """A host on the database of that URL."""
    if database.startswith("sqlite:"):
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"), timeout=0.2)) as lite:
            yield SqliteHost(lite)
    elif database.startswith("postgres"):
        import psycopg  # noqa: PLC0415

        with psycopg.connect(database) as connection:
            yield PostgresHost(connection)
    else:
        import pymongo  # noqa: PLC0415

        with pymongo.MongoClient[dict[str, Any]](database) as client:
            rows = client.get_default_database(write_concern=pymongo.WriteConcern("majority"))
            rows.create_collection("host_rows")
            with client.start_session() as session:
                yield MongoHost(session, rows)
