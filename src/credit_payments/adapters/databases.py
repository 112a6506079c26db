"""Which adapter a database URL names; the module of each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

import attrs

from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.migration_files import migrations
from credit_payments.errors import ConfigurationError
from credit_payments.ports.schema import Schema
from credit_payments.ports.storage import Storage


@attrs.frozen(kw_only=True)
class Opening:
    """How a database is opened.

    Attributes:
        create: whether one that is blank, or not there, is made into one of ours.
        livemode: whether real money will be at stake.
    """

    create: bool = True
    livemode: bool = False


@attrs.frozen
class _Database:
    """How one kind of database is opened, for the rows and for its schema."""

    storage: Callable[[str, Opening], Storage]
    schema: Callable[[str], Schema]
    migrations: str | None
    """Where its steps are; None where it has no schema."""


def open_storage(url: str, opening: Opening) -> Storage:
    """The storage that a URL names: `sqlite:///…`, `postgresql://…`, `mongodb://…` or `memory://`.

    Raises:
        ConfigurationError: no such database, or one that cannot be used; real money, and a database
            that has no transactions.
        SchemaMismatch: it has to be migrated first.
        StorageUnavailable: it does not answer.
    """
    return _database(url).storage(url, opening)


def open_schema(url: str) -> Schema:
    """The schema of the database that a URL names.

    Raises:
        ConfigurationError: no such database, one that cannot be used, or one without a schema.
        StorageUnavailable: it does not answer.
    """
    return _database(url).schema(url)


def schema_version(url: str) -> int | None:
    """The version of the schema that an opened database of that URL has; None without a schema."""
    steps = _database(url).migrations
    return None if steps is None else migrations(steps)[-1].version


def _database(url: str) -> _Database:
    if not all(character < "\ud800" or character > "\udfff" for character in url):
        # What os.environ makes of bytes that are not UTF-8. Drivers would raise an error with the
        # whole URL in it, and so with the password.
        raise ConfigurationError("The database URL is not UTF-8 text.", param="database")
    scheme = url.partition("://")[0]
    database = _DATABASES.get(scheme)
    if database is None:
        raise ConfigurationError(
            f"No storage for {scheme}:// URLs; use sqlite:///file.db, postgresql://…, mongodb://… "
            "or memory://.",
            param="database",
        )
    return database


def _open_sqlite(url: str, opening: Opening) -> Storage:
    from credit_payments.adapters.sqlite import SqliteStorage  # noqa: PLC0415

    path = _sqlite_path(url)
    if not opening.create and not path.exists():
        raise ConfigurationError(f"There is no database {path}.", param="database")
    return SqliteStorage(path, create=opening.create)


def _sqlite_schema(url: str) -> Schema:
    from credit_payments.adapters.sqlite_schema import SqliteSchema  # noqa: PLC0415

    return SqliteSchema(_sqlite_path(url))


def _sqlite_path(url: str) -> Path:
    # As SQLAlchemy writes it: three slashes for a relative path, four for an absolute one.
    path = unquote(url.removeprefix("sqlite:///"))
    is_odd = any(character in url for character in "?#") or "\0" in path
    if not url.startswith("sqlite:///") or is_odd or path in ("", ":memory:"):
        raise ConfigurationError(
            "Write sqlite:///file.db, sqlite:////absolute/file.db (with %3F and %23 for ? and #), "
            "or memory://.",
            param="database",
        )
    return Path(path)


def _open_postgres(url: str, opening: Opening) -> Storage:
    try:
        from credit_payments.adapters.postgres import PostgresStorage  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _needs_extra(error, "psycopg", "postgres")
    return PostgresStorage(url, create=opening.create)


def _postgres_schema(url: str) -> Schema:
    try:
        from credit_payments.adapters.postgres_schema import PostgresSchema  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _needs_extra(error, "psycopg", "postgres")
    return PostgresSchema(url)


def _open_mongo(url: str, opening: Opening) -> Storage:
    try:
        from credit_payments.adapters.mongo import MongoStorage  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _needs_extra(error, "pymongo", "mongo")
    return MongoStorage(url, create=opening.create, development=not opening.livemode)


def _mongo_schema(url: str) -> Schema:
    try:
        from credit_payments.adapters.mongo_schema import MongoSchema  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _needs_extra(error, "pymongo", "mongo")
    return MongoSchema(url)


def _no_schema(_url: str) -> NoReturn:
    raise ConfigurationError("memory:// is made anew by each process.", param="database")


def _needs_extra(error: ModuleNotFoundError, package: str, extra: str) -> NoReturn:
    if not (error.name or "").startswith(package):
        raise error
    raise ConfigurationError(
        f"This database needs an extra: pip install 'credit-payments[{extra}]'", param="database"
    ) from error


_POSTGRES = _Database(_open_postgres, _postgres_schema, "postgres")
_MONGO = _Database(_open_mongo, _mongo_schema, "mongo")
_DATABASES = {
    "memory": _Database(lambda _url, _opening: MemoryStorage(), _no_schema, None),
    "sqlite": _Database(_open_sqlite, _sqlite_schema, "sqlite"),
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "mongodb": _MONGO,
    "mongodb+srv": _MONGO,
}
