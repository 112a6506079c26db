"""What tests of the PostgreSQL adapter do to a database from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict

import credit_payments as cp
from credit_payments.bootstrap import over
from credit_payments.config import load_settings
from credit_payments.domain.records import Wallet
from credit_payments.ports.storage import Storage

WAIT_SECONDS_MAX = 30.0
ADA = Wallet("ada", available=1, updated_at="now")
BOB = Wallet("bob", available=1, updated_at="now")


@contextmanager
def administrator(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def port_of(url: str) -> int:
    return int(str(conninfo_to_dict(url)["port"]))


def through_port(url: str, port: int) -> str:
    return url.replace(f":{port_of(url)}/", f":{port}/")


def as_role(url: str, role: str) -> str:
    return url.replace("postgres@", f"{role}@")


def system(storage: Storage) -> cp.System:
    settings = load_settings({"database": "memory://"}, [])
    return over(storage, settings)


def add_one(storage: Storage, key: str) -> None:
    with storage.transaction() as transaction:
        row = transaction.load([(Wallet, key)])[Wallet, key]
        assert isinstance(row, Wallet)
        transaction.write([], [msgspec.structs.replace(row, available=row.available + 1)])


def available(storage: Storage, key: str) -> int:
    row = storage.get(Wallet, key)
    assert row is not None
    return row.available


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.01)


def is_waiting(url: str) -> bool:
    """Whether any session waits for a lock."""
    query = (
        "SELECT count(*) > 0 FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with administrator(url) as connection:
        return connection.execute(query).fetchone() == (True,)


def terminate_all(url: str) -> int:
    """End every session of the database; how many there were."""
    query = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with administrator(url) as connection:
        return len(connection.execute(query).fetchall())
