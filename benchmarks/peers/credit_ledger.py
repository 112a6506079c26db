"""A peer that keeps credits in PostgreSQL: credit-ledger."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import psycopg

from benchmarks.measure import WrongResult
from benchmarks.peers.turn import WARM_UP, by_threads, key
from benchmarks.writing import CREDITS_AT_FIRST

PACKAGE = "credit-ledger"
_CONNECTIONS = 4

_TABLES = """
CREATE TABLE tenants (id uuid PRIMARY KEY, slug text, name text);

CREATE TABLE credit_balance (
    tenant_id uuid PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
    credits numeric(18, 4) NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE credit_ledger (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    delta numeric(18, 4) NOT NULL,
    reason varchar(120) NOT NULL DEFAULT 'usage',
    idempotency_key varchar(200),
    balance_after numeric(18, 4),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, idempotency_key)
);

CREATE INDEX ON credit_ledger (tenant_id);
"""
"""What its functions expect: they come without the schema, which only its repository holds.

The row-level policies of that schema are left out, to its advantage: the benchmark's user is a
superuser, to whom they would not apply."""


class CreditLedger:
    """The other library.

    Its functions take an engine, as in its own benchmark. That has a connection for each caller;
    here there are fewer, because more only wait for the row of the one balance and for processors:
    with 64 it is slower by a third and more.

    Each spend has a key, as ours has. Without one it would save one of its four statements, and
    might be repeated by mistake.
    """

    retries = 0
    """It repeats a transaction only where a key is used twice, and here none is."""

    def __init__(self) -> None:
        self._metering = import_module("credit_ledger.metering")
        self._sqlalchemy = import_module("sqlalchemy")

    def spend(self, url: str, operations: int, callers: int) -> float:
        """Decrements of one balance of an empty database; how many a second."""
        tenant = _create(url)
        decrement = self._metering.decrement
        with self._engine(url) as engine:
            self._metering.grant(tenant, CREDITS_AT_FIRST, idempotency_key="opening", engine=engine)

            def spend(number: int) -> None:
                charge = decrement(
                    tenant, 1, reason="render", idempotency_key=key(number), engine=engine
                )
                if not charge.ok or charge.deduped:
                    raise WrongResult(f"A spend of {PACKAGE} was answered with {charge}.")

            rate = by_threads(spend, operations, callers)
            balance = self._metering.balance(tenant, engine=engine)
        _check(url, balance, [key(n) for n in range(WARM_UP + operations)])
        return rate

    @contextmanager
    def _engine(self, url: str) -> Iterator[Any]:
        engine = self._sqlalchemy.create_engine(
            url.replace("postgresql://", "postgresql+psycopg://", 1),
            pool_size=_CONNECTIONS,
            max_overflow=0,
        )
        try:
            yield engine
        finally:
            engine.dispose()


def _create(url: str) -> str:
    """The tables, and a tenant whose id is answered."""
    tenant = str(uuid.uuid4())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLES)
        connection.execute("INSERT INTO tenants (id) VALUES (%s)", (tenant,))
    return tenant


def _check(url: str, balance: object, keys: list[str]) -> None:
    """Each operation took effect once; it has no check of its own."""
    query = "SELECT idempotency_key, delta FROM credit_ledger"
    with psycopg.connect(url) as connection:
        posted = sorted(connection.execute(query).fetchall())
    expected = [("opening", CREDITS_AT_FIRST), *((name, -1) for name in keys)]
    if posted != sorted(expected) or balance != CREDITS_AT_FIRST - len(keys):
        raise WrongResult(f"{PACKAGE} posted {len(posted)} entries and holds {balance}.")
