"""`credit-payments demo`, as people and programs run it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from credit_payments.cli.commands import commands
from credit_payments.cli.demo import children, evidence

SECONDS_MAX = 60
DEMO = [sys.executable, "-W", "error", "-m", "credit_payments", "demo", "--headless"]


@pytest.fixture(autouse=True)
def own_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the demo leaves behind would lie here; keys of whoever runs the tests do no harm."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_not_for_demos")
    monkeypatch.setenv("STRIPE_API_VERSION", "nonsense")
    return tmp_path


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments], capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )


@cache
def told(framework: str, seed: int) -> Any:
    """What a program is told by a demo in which all goes well."""
    done = run_demo("--json", "--framework", framework, "--seed", str(seed))
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("framework", ["flask", "fastapi"])
def test_the_demo_sells_races_and_balances(framework: str, tmp_path: Path) -> None:
    outcome = told(framework, 3)
    assert outcome.keys() == {"invariants", "broken", "counts", "seconds"}
    assert (outcome["invariants"], outcome["broken"]) == ("hold", [])
    counts = outcome["counts"]
    assert counts["payments"] == counts["credited"] == counts["entries"] == 27
    assert (counts["races"], counts["declined"], counts["wallets"]) == (20, 2, 10)
    assert counts["credits"] > 0
    # Four reports of one payment, and a second delivery of each of the racers' events.
    assert counts["duplicates"] >= 3 + 20
    assert counts["webhooks"] > counts["payments"] + counts["duplicates"]
    assert outcome["seconds"] < 15
    assert list(tmp_path.iterdir()) == []


def test_people_read_steps_ledger_wallets_and_checks_without_color() -> None:
    done = run_demo()
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "BROKEN" not in done.stdout
    for title in ("Good card", "3-D Secure", "Races", "Forged webhooks", "Bad requests"):
        assert f"  ok      {title}" in done.stdout
    assert "The ledger, 27 entries" in done.stdout
    assert "Every invariant holds: 27 payments" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 112


def test_the_seed_decides_what_is_bought() -> None:
    sold = [told(*run)["counts"]["credits"] for run in (("flask", 3), ("fastapi", 3), ("flask", 4))]
    assert sold[0] == sold[1] != sold[2]


def test_a_broken_invariant_is_named_and_makes_the_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_books = evidence.read_books

    def read_after_tampering(database: Path) -> evidence.ShopBooks:
        connection = sqlite3.connect(database)
        with connection:
            connection.execute("UPDATE wallets SET available = available + 1 WHERE user_id = 'ada'")
        connection.close()
        return read_books(database)

    monkeypatch.setattr(evidence, "read_books", read_after_tampering)
    result = CliRunner().invoke(commands, ["demo", "--headless", "--json"])
    assert result.exit_code == 1
    outcome = json.loads(result.stdout)
    assert outcome["invariants"] == "broken"
    assert outcome["broken"] == [
        "ledger: ada: the wallet's balance is not what its entries sum to",
        "wallets: ada holds 101 credits and bought 100",
    ]


def test_a_shop_that_dies_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    tell = children.Child.tell

    def tell_nonsense(child: children.Child, settings: dict[str, Any]) -> None:
        tell(child, settings | {"stripe_api_base": "http://shop.example"})

    monkeypatch.setattr(children.Child, "tell", tell_nonsense)
    result = CliRunner().invoke(commands, ["demo", "--headless", "--json"])
    assert result.exit_code == 1
    outcome = json.loads(result.stdout)
    assert (outcome["invariants"], outcome["broken"]) == (
        "broken",
        ["the shop ended with exit code 1"],
    )
    assert "stripe_api_base: use https" in result.stderr


@contextmanager
def started_demo(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A demo that is under way, and the processes it has started."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*DEMO, "--json"], stdout=pipe, stderr=pipe, text=True) as demo:
        wait_until(lambda: len(list(tmp_path.glob("*/*.out"))) == 2)
        time.sleep(0.3)
        yield demo, children_of(demo.pid)


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    if not tasks.exists():
        pytest.skip("only Linux tells the children of a process")
    return [int(child) for child in tasks.read_text().split()]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing_behind(number: int, tmp_path: Path) -> None:
    with started_demo(tmp_path) as (demo, started):
        assert len(started) == 2
        demo.send_signal(number)
        assert demo.wait(SECONDS_MAX) != 0
        assert "Traceback" not in demo.communicate()[1]
    assert not any(map(runs, started))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_processes_of_a_demo_that_is_killed_end_by_themselves(tmp_path: Path) -> None:
    with started_demo(tmp_path) as (demo, started):
        assert len(started) == 2
        demo.kill()
        demo.wait(SECONDS_MAX)
    wait_until(lambda: not any(map(runs, started)))
