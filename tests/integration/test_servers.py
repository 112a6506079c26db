"""The servers that tests start: each does what it is there for, and none outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import hvac
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from tests.support.servers import process
from tests.support.servers.fixtures import skipping_where_missing
from tests.support.servers.mongod import ReplicaSet
from tests.support.servers.openbao import OpenBao
from tests.support.servers.process import ServerFailed, ServerMissing, ServerProcess

ROOT = Path(__file__).parents[2]

# An owner that is killed before it can end its server.
OWNER = """
import time
from tests.support.servers.openbao import OpenBao
with OpenBao() as server:
    print(server.process.pid, server.process.directory, flush=True)
    time.sleep(60)
"""


def test_postgres_gives_each_test_an_empty_durable_database(
    postgres_url: str, postgres_database: str
) -> None:
    with closing(psycopg.connect(postgres_database)) as connection, connection:
        connection.execute("CREATE TABLE drop_me AS SELECT 1 AS one")
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)
    assert postgres_database != postgres_url


def test_a_postgres_database_is_dropped_though_somebody_is_connected(postgres_url: str) -> None:
    from tests.support.servers.postgres import temporary_database  # noqa: PLC0415

    with temporary_database(postgres_url) as url:
        connection = psycopg.connect(url)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
    name = conninfo_to_dict(url)["dbname"]
    with closing(psycopg.connect(postgres_url)) as admin:
        found = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        assert found is None


def test_mongo_has_transactions(mongo_database: str) -> None:
    assert commit_two(mongo_database) == 2


def test_a_standalone_mongo_has_none(standalone_mongo_url: str) -> None:
    with pytest.raises(OperationFailure, match="replica set"):
        commit_two(f"{standalone_mongo_url}test")


def test_a_replica_set_outlives_the_loss_of_its_primary() -> None:
    with skipping_where_missing(), ReplicaSet(nodes=3) as rs:
        resigned = rs.step_down()
        killed = rs.kill_primary()
        assert killed != resigned
        assert rs.wait_for_primary() != killed
        assert commit_two(f"{rs.url}&w=majority") == 2
        rs.restart(killed)
        assert all(node.running for node in rs.nodes)


def test_a_lone_node_that_steps_down_comes_back() -> None:
    with skipping_where_missing(), ReplicaSet() as rs:
        assert rs.step_down() == 0
        assert rs.wait_for_primary() == 0
        assert rs.kill_primary() == 0
        assert rs.primary() is None
        rs.restart(0)
        assert rs.wait_for_primary() == 0


def test_openbao_keeps_a_secret(openbao: OpenBao) -> None:
    client = hvac.Client(openbao.url, openbao.token)
    with closing(client.adapter):
        client.secrets.kv.v2.create_or_update_secret("shop", {"key": "sk_test_1"})
        answer = client.secrets.kv.v2.read_secret_version("shop", raise_on_deleted_version=True)
    assert answer["data"]["data"] == {"key": "sk_test_1"}


def test_a_server_ends_and_its_files_go_when_its_owner_is_killed(openbao: OpenBao) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid, directory = owner.stdout.readline().split()
        assert Path(directory).exists()
        owner.send_signal(signal.SIGKILL)
    within_seconds(20, lambda: not alive(int(pid)) and not Path(directory).exists())


def test_a_server_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ServerMissing, match="no-such-server"):
        scripted(tmp_path, [str(tmp_path / "no-such-server")]).start()


def test_a_file_that_cannot_be_executed_is_a_missing_server(tmp_path: Path) -> None:
    other_machines = tmp_path / "mongod"
    other_machines.write_bytes(b"\0made for another machine")
    other_machines.chmod(0o755)
    with pytest.raises(ServerMissing, match="Exec format error"):
        scripted(tmp_path, [str(other_machines)]).start()


def test_a_server_that_dies_at_its_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"(?s)ended at its start.*no room left"):
        scripted(tmp_path, ["sh", "-c", "echo no room left; exit 1"]).start()


def test_a_server_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_SECONDS", 0.5)
    server = scripted(tmp_path, ["sh", "-c", "echo thinking; exec sleep 60"])
    with pytest.raises(ServerFailed, match=r"(?s)not within.*thinking"):
        server.start()
    within_seconds(5, lambda: not alive(server.pid))


def test_a_port_that_somebody_else_took_is_given_up_for_another(
    openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, free = openbao.process.port, process.free_port()
    ports = iter([taken, free])
    monkeypatch.setattr(process, "free_port", lambda: next(ports))
    with OpenBao() as server:
        assert server.process.port == free


def commit_two(url: str) -> int:
    """How many documents there are after a transaction that wrote two."""
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=20_000) as client:
        things = client.get_default_database("test").things
        with client.start_session() as session, session.start_transaction():
            things.insert_one({"_id": 1}, session=session)
            things.insert_one({"_id": 2}, session=session)
        return things.count_documents({})


def scripted(directory: Path, command: list[str]) -> ServerProcess:
    return ServerProcess(lambda _port: command, directory, ready="never", name="a script")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def within_seconds(seconds: float, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
