"""A process that is killed at any moment: what it acknowledged is there, and nothing twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.contracts.victim import USERS, user_of

import credit_payments as cp
from credit_payments.domain.records import Entry

VICTIM = Path(__file__).with_name("victim.py")
LIFE_SECONDS_MAX = 0.15


def _kill_one(database: str, name: str, chance: random.Random) -> list[str]:
    """Let a process post for a moment after its first acknowledgement; what it said until then."""
    process = subprocess.Popen(
        [sys.executable, str(VICTIM), database, name], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said: list[str] = []
    # It may have to wait for the locks of the one that was killed before.
    while not said or not said[-1].startswith("did"):
        said.append(process.stdout.readline())
        assert said[-1], "it ended by itself"
    time.sleep(chance.uniform(0, LIFE_SECONDS_MAX))
    process.kill()
    said += process.stdout.readlines()
    process.stdout.close()
    assert process.wait(30) == -9, "it ended by itself"
    return said


def _kill(database: str, times: int) -> None:
    with cp.connect(database=database):
        pass
    chance = random.Random(times)
    tried: set[str] = set()
    for number in range(times):
        said = [line.split() for line in _kill_one(database, f"life{number}", chance)]
        tried |= {key for word, key in said if word == "try"}
        done = {key for word, key in said if word == "did"}
        assert done
        with cp.connect(database=database) as system:
            # Nothing is counted here: a server may still be at what the dead had sent last.
            for key in done:
                for kind in ("grant", "spend"):
                    kept = system._storage.get(Entry, f"{kind}:{key}")
                    assert kept is not None, f"{kind}:{key} was acknowledged, and is not there"
            report = system.verify()
            assert report.ok, report.problems
    with cp.connect(database=database) as system:
        for key in tried:
            system.wallets.grant(user_of(key), 2, key=key, reason="race")
            system.wallets.spend(user_of(key), 1, key=key)
        report = system.verify()
        assert report.ok, report.problems
        assert report.entries == 2 * len(tried)
        balances = [system.wallets.balance(f"user{user}").available for user in range(USERS)]
        assert sum(balances) == len(tried)


@pytest.mark.long
def test_a_process_that_is_killed_loses_and_doubles_nothing(database: str) -> None:
    _kill(database, 20)


@pytest.mark.torture
def test_many_processes_that_are_killed_lose_and_double_nothing(database: str) -> None:
    _kill(database, 200)
