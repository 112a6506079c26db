"""A database of the first schema, with rows in it, and what becomes of it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import msgspec
import pytest
from tests.support.filled import everything, fill, verified

import credit_payments as cp
from credit_payments.adapters.databases import Opening, open_schema, open_storage
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.records import Record
from credit_payments.migrating import migrate

CAME_LATER = {
    "stripe_customers": {"phone", "email_index", "as_of"},
    "events": {
        "status",
        "lane",
        "payload",
        "attempts",
        "due_at",
        "lease",
        "problem",
        "created_at",
    },
    "payments": {"decided_by"},
    "lots": {"covered_by"},
    "quarantine": {"decision"},
}
"""The fields that the first schema did not have."""
NEW_TABLES = {"checkpoints", "idempotent_requests"}
"""Those that it did not have at all."""


@pytest.fixture
def rows() -> dict[str, list[Record]]:
    storage = MemoryStorage()
    fill(storage)
    with storage.snapshot() as reader:
        return {
            table: [_as_first(row) for row in rows] for table, rows in everything(reader).items()
        }


def _as_first(row: Record) -> Record:
    """As a release that knew the first schema had written it."""
    known = {n: v for n, v in _fields(row) if n not in CAME_LATER.get(row.TABLE, ())}
    return type(row)(**known)


def _create_first(database: str, rows: dict[str, list[Record]]) -> None:
    """As the first release did, and without any of today's code that writes rows."""
    with closing(open_schema(database)) as schema, schema.locked():
        schema.apply(schema.migrations[0], "2024-01-01T00:00:00.000000Z")
    rows.update({table: [] for table in NEW_TABLES})
    old = {table: records for table, records in rows.items() if table not in NEW_TABLES}
    tables = {
        table: [
            {name: value for name, value in _fields(row) if name not in CAME_LATER.get(table, ())}
            for row in records
        ]
        for table, records in old.items()
    }
    _insert(database, tables, {table: records[0].KEY for table, records in old.items()})


def _fields(row: Record) -> Iterable[tuple[str, Any]]:
    return msgspec.structs.asdict(row).items()


def _insert(database: str, tables: dict[str, list[dict[str, Any]]], keys: dict[str, str]) -> None:
    if database.startswith("mongodb"):
        import pymongo  # noqa: PLC0415
        from bson import Decimal128  # noqa: PLC0415

        for purchase in tables["credit_purchases"]:
            usd = purchase["amount_usd"]
            purchase["amount_usd"] = None if usd is None else Decimal128(usd)
        with pymongo.MongoClient[dict[str, Any]](database) as client:
            for table, documents in tables.items():
                client.get_default_database()[table].insert_many(
                    [{"_id": document[keys[table]], **document} for document in documents]
                )
        return
    is_lite = database.startswith("sqlite")
    place = "?" if is_lite else "%s"
    for table, records in tables.items():
        names = ", ".join(records[0])
        places = ", ".join([place] * len(records[0]))
        statement = f"INSERT INTO {table} ({names}) VALUES ({places})"
        values = [tuple(record.values()) for record in records]
        if is_lite:
            with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as lite, lite:
                lite.executemany(statement, values)
        else:
            import psycopg  # noqa: PLC0415

            with psycopg.connect(database) as connection:
                connection.cursor().executemany(statement, values)


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "credit_payments", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_database_of_the_first_schema_is_refused_then_migrated_and_keeps_every_row(
    database: str, rows: dict[str, list[Record]]
) -> None:
    _create_first(database, rows)
    with pytest.raises(cp.SchemaMismatch, match=r"schema version 1.*credit-payments migrate"):
        cp.connect(database=database)
    looked = _command("migrate", "--database", database, "--dry-run", "--json")
    names = [step["name"] for step in json.loads(looked.stdout)["migrations"]]
    with pytest.raises(cp.SchemaMismatch):
        cp.connect(database=database)
    done = _command("migrate", "--database", database)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" ", 2)[2] for line in done.stdout.splitlines()] == names
    assert "Nothing to do" in _command("migrate", "--database", database).stdout
    with closing(open_storage(database, Opening())) as storage, storage.snapshot() as reader:
        assert everything(reader) == rows
    verified(database)
    with cp.connect(database=database) as system:
        assert system.wallets.spend("bob", 5, key="after").credits == -5


def test_two_machines_that_migrate_at_once_take_each_step_once(
    database: str, rows: dict[str, list[Record]]
) -> None:
    _create_first(database, rows)

    def run(_number: int) -> list[str]:
        with closing(open_schema(database)) as schema:
            return [step.name for step in migrate(schema, SystemClock())]

    with ThreadPoolExecutor(4) as threads:
        taken = [name for names in threads.map(run, range(4)) for name in names]
    with closing(open_schema(database)) as schema:
        assert taken == [step.name for step in schema.migrations[1:]]
        assert [step.version for step in schema.applied()] == [
            step.version for step in schema.migrations
        ]
    verified(database)


def test_two_processes_may_be_first_at_once(database: str) -> None:
    def open_it(_number: int) -> None:
        open_storage(database, Opening()).close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(open_it, range(4)))
    verified(database)


def test_a_blank_database_is_not_made_into_one_of_ours_against_the_setting(database: str) -> None:
    with pytest.raises(cp.ConfigurationError):
        cp.connect(database=database, create_database=False)


def test_a_newer_database_is_refused(database: str) -> None:
    verified(database)
    with closing(open_schema(database)) as schema:
        step = schema.migrations[-1]
        later = type(step)(step.version + 1, "later", _harmless(database))
        with schema.locked():
            schema.apply(later, "2030-01-01T00:00:00.000000Z")
    with pytest.raises(cp.SchemaMismatch, match="newer"):
        cp.connect(database=database)
    assert "newer" in _command("migrate", "--database", database).stderr


def _harmless(database: str) -> str:
    return "[]" if database.startswith("mongodb") else "CREATE TABLE later (name TEXT);"
