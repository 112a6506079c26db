"""Each database in turn, fresh and empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

DATABASES = ("sqlite", "postgres", "mongo")


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database; what runs on a server is dropped afterwards."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'credits.db'}"
    url: str = request.getfixturevalue(f"{request.param}_database")
    return url


@pytest.fixture
def another_postgres_database(postgres_url: str) -> Iterator[str]:
    """One more, beside `postgres_database`."""
    from tests.support.servers.postgres import temporary_database  # noqa: PLC0415

    with temporary_database(postgres_url) as url:
        yield url


@pytest.fixture
def another_mongo_database(mongo_url: str) -> Iterator[str]:
    """One more, beside `mongo_database`."""
    from tests.support.servers.mongod import temporary_database  # noqa: PLC0415

    with temporary_database(mongo_url) as url:
        yield url
