"""Several processes on one database: no change is lost, none happens twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import credit_payments as cp

ROUNDS = 60
PROCESSES = 4
POSTER = Path(__file__).with_name("poster.py")

OPEN_AT = """
import sys, time
from credit_payments.adapters.sqlite import SqliteStorage
print("ready", flush=True)
moment = float(sys.stdin.readline())
while time.time() < moment: pass
try:
    SqliteStorage(sys.argv[1]).close()
    print("opened")
except Exception as error:
    print(repr(error))
"""

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def _post_from_processes(database: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, str(POSTER), database, f"process{number}-", str(ROUNDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for process in started:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        answer, complaint = process.communicate(timeout=60)
        assert answer.strip() == "done", complaint


def test_processes_that_post_to_the_same_wallets_lose_and_double_nothing(database: str) -> None:
    with cp.connect(database=database):
        pass
    _post_from_processes(database)
    with cp.connect(database=database) as system:
        report = system.verify()
        assert report.ok, report.problems
        assert report.entries == ROUNDS * (PROCESSES + 1)
        balances = [system.wallets.balance(f"user{number}").available for number in range(3)]
        assert balances == [ROUNDS * (PROCESSES + 1) // 3] * 3


def test_processes_may_start_at_once_on_a_database_that_does_not_exist_yet(
    tmp_path: Path,
) -> None:
    for attempt in range(8):
        command = [sys.executable, "-c", OPEN_AT, str(tmp_path / f"new{attempt}.db")]
        started = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        moment = time.time() + 0.05
        for process in started:
            assert process.stdin is not None
            process.stdin.write(f"{moment}\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=30)[0].strip() for process in started]
        assert answers == ["opened"] * 4


# -- forks ------------------------------------------------------------------------------------


FORK = """
import os, sys, threading
from pathlib import Path
import credit_payments as cp

def child_of(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid

system = cp.connect(database=sys.argv[1])
grant = lambda key: system.wallets.grant("ada", 1, key=key, reason="fork")
"""

FORK_WHILE_THREADS_WRITE = (
    FORK
    + """
grant("before")
stop = threading.Event()
def write(name):
    number = 0
    while not stop.is_set():
        number += 1
        grant(f"{name}{number}")
    counts.append(number)
counts = []
threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
for thread in threads: thread.start()
def in_child():
    for number in range(20):
        grant(f"child{os.getpid()}-{number}")
pids = [child_of(in_child) for _ in range(3)]
codes = [os.waitpid(pid, 0)[1] for pid in pids]
stop.set()
for thread in threads: thread.join()
assert codes == [0, 0, 0], codes
assert system.verify().ok
assert system.wallets.balance("ada").available == 1 + 60 + sum(counts)
system.close()
"""
)

FORK_DURING_A_LONG_READ = (
    FORK
    + """
from credit_payments.adapters import sqlite_connections
from credit_payments.domain.records import Wallet
from credit_payments.errors import StorageUnavailable
sqlite_connections.BUSY_SECONDS_MAX = 0.1
grant("before")
system.wallets.grant("bob", 1, key="bob", reason="fork")
reading = system._storage.scan(Wallet, order=("user_id",))
next(reading)
def in_child():
    for attempt in (grant, lambda key: cp.connect(database=sys.argv[1])):
        try:
            attempt("child")
        except (StorageUnavailable, cp.ConfigurationError):
            continue
        raise AssertionError("a write that nobody would find again")
pid = child_of(in_child)
assert os.waitpid(pid, 0)[1] == 0
reading.close()
assert grant("after").balance_after == 2
system.close()
"""
)

PARENT_CLOSES_FIRST = (
    FORK
    + """
grant("before")
closed, told = os.pipe(), os.pipe()
def in_child():
    grant("child 1")
    os.write(told[1], b"1")
    os.read(closed[0], 1)
    grant("child 2")
pid = child_of(in_child)
os.read(told[0], 1)
system.close()
os.write(closed[1], b"1")
assert os.waitpid(pid, 0)[1] == 0
with cp.connect(database=sys.argv[1]) as again:
    assert again.wallets.balance("ada").available == 3, again.wallets.balance("ada")
"""
)


FORK_WITH_A_HOSTS_CONNECTION = (
    FORK
    + """
import sqlite3
from credit_payments.errors import StorageUnavailable
grant("before")
mine = sqlite3.connect(sys.argv[1].removeprefix("sqlite:///"))
system.wallets.within(mine).spend("ada", 1, key="mine")
mine.commit()
def in_child():
    try:
        grant("child")
    except StorageUnavailable:
        return
    raise AssertionError("a write that nobody would find again")
assert os.waitpid(child_of(in_child), 0)[1] == 0
mine.close()
grant("after")
def in_second_child():
    grant("second child")
assert os.waitpid(child_of(in_second_child), 0)[1] == 0
system.close()
"""
)


def _run(script: str, database: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script, database],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@can_fork
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(PARENT_CLOSES_FIRST, id="parent closes first"),
        pytest.param(FORK_WHILE_THREADS_WRITE, id="fork while threads write"),
    ],
)
def test_a_forked_child_writes_on_connections_of_its_own(database: str, script: str) -> None:
    _run(script, database)


@can_fork
def test_a_child_that_was_forked_during_a_long_read_of_sqlite_is_refused(tmp_path: Path) -> None:
    _run(FORK_DURING_A_LONG_READ, f"sqlite:///{tmp_path / 'credits.db'}")


@can_fork
def test_a_child_that_was_forked_beside_a_hosts_connection_to_sqlite_is_refused(
    tmp_path: Path,
) -> None:
    _run(FORK_WITH_A_HOSTS_CONNECTION, f"sqlite:///{tmp_path / 'credits.db'}")
