"""Everything that is in a database, as text, for looking for what must not be there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def dump_of(database: str) -> str:
    """Everything in a database, as text; not by the library's own reading."""
    if database.startswith("sqlite"):
        path = Path(database.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(path)) as connection:
            text = "\n".join(connection.iterdump())
        files = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
        return text + files.decode("latin-1")
    if database.startswith("postgres"):
        import psycopg  # noqa: PLC0415

        with psycopg.connect(database) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            ).fetchall()
            return "\n".join(
                str(row)
                for (table,) in tables
                for row in connection.execute(f"SELECT t::text FROM {table} AS t")
            )
    import pymongo  # noqa: PLC0415

    with pymongo.MongoClient[dict[str, Any]](database) as client:
        rows = client.get_default_database()
        return "\n".join(
            str(document) for name in rows.list_collection_names() for document in rows[name].find()
        )
