"""Servers as fixtures: a session's first test that wants one starts it.

Imports wait for that, too: a run that needs no server loads no driver.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.servers.process import ServerMissing

if TYPE_CHECKING:
    from tests.support.servers.openbao import OpenBao

# ruff: noqa: PLC0415 - see above


@contextmanager
def skipping_where_missing() -> Iterator[None]:
    """Skip what wants a server that is not there; the root conftest makes that a failure in CI."""
    try:
        yield
    except (ServerMissing, ImportError) as missing:
        pytest.skip(f"server missing: {missing}")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The administrator's database of a PostgreSQL server."""
    if given := os.environ.get("CREDIT_PAYMENTS_TEST_POSTGRES_URL"):
        yield given
        return
    with ExitStack() as stack:
        with skipping_where_missing():
            from tests.support.servers.postgres import PostgresServer

            server = stack.enter_context(PostgresServer())
        yield server.url


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """An empty database for one test."""
    from tests.support.servers.postgres import temporary_database

    with temporary_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def mongo_url() -> Iterator[str]:
    """A replica set of one node: transactions work."""
    if given := os.environ.get("CREDIT_PAYMENTS_TEST_MONGO_URL"):
        yield given
        return
    with ExitStack() as stack:
        with skipping_where_missing():
            from tests.support.servers.mongod import ReplicaSet

            server = stack.enter_context(ReplicaSet())
        yield server.url


@pytest.fixture
def mongo_database(mongo_url: str) -> Iterator[str]:
    """A database that nobody uses yet, for one test."""
    from tests.support.servers.mongod import temporary_database

    with temporary_database(mongo_url) as url:
        yield url


@pytest.fixture(scope="session")
def standalone_mongo_url() -> Iterator[str]:
    """A MongoDB server without a replica set: no transactions."""
    with ExitStack() as stack:
        with skipping_where_missing():
            from tests.support.servers.mongod import StandaloneMongod

            server = stack.enter_context(StandaloneMongod())
        yield server.url


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """A secret store that speaks Vault's protocol."""
    with ExitStack() as stack:
        with skipping_where_missing():
            from tests.support.servers.openbao import OpenBao

            server = stack.enter_context(OpenBao())
        yield server
