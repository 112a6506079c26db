"""That the benchmarks run and report; how fast anything is depends on the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long

IN_CI = os.environ.get("CI", "") not in {"", "false"}
"""Where a server is missing a contributor has no rows for it; in CI that is an error."""
ROOT = Path(__file__).parents[2]
PROMISED = {
    "read_against_sdk": 40,
    "read_against_limit": 0.5,
    "webhook_1_caller": 0.4,
    "webhook_64_callers": 3,
    "spend_on_one_wallet_1_caller": 0.4,
    "spend_on_one_wallet_64_callers": 3,
    "spend_long_history": 0.667,
    "spend_many_lots": 0.667,
    "balance_long_history": 0.667,
    "balance_many_lots": 0.667,
    "import": 60,
}
FOR_ORIENTATION = {
    "webhook_64_callers_to_batches",
    "spend_1_caller",
    "spend_64_callers",
    "spend_64_callers_to_batches",
    "spend_on_one_wallet_64_callers_to_batches",
    "import_all",
    "import_connect",
}
PROMISED_AGAINST_THE_PEER = {
    f"peer_{what}_{callers}": target
    for what in ("grant", "spend", "webhook")
    for callers, target in (("1_caller", 5), ("64_callers", 10))
}
PROMISED_ON_SERVERS: dict[str, float | None] = {}
for _server, _many in (("postgresql", 10), ("mongodb", 15)):
    for _what in ("webhook_to_credit", "spend", "spend_on_one_wallet"):
        PROMISED_ON_SERVERS |= {
            f"{_server}_{_what}_1_caller": 0.5,
            f"{_server}_{_what}_16_callers": None,
            f"{_server}_{_what}_64_callers": _many,
            f"{_server}_{_what}_64_callers_to_batches": 0.4,
        }
    PROMISED_ON_SERVERS |= {
        f"{_server}_{_what}_{_size}": 0.769
        for _what in ("spend", "balance")
        for _size in ("long_history", "many_lots")
    }
PROMISED_AGAINST_POSTGRES_PEERS = {
    f"peer_postgres_{_peer}_{_callers}": _target
    for _peer in ("hf_nostro", "credit_ledger")
    for _callers, _target in (("1_caller", None), ("64_callers", 8))
}

WITH_THE_PEER_FOR_ORIENTATION = {"peer_grant_1_caller_kept", "peer_spend_1_caller_kept"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def peer_is_installed(name: str) -> bool:
    """`make bench` brings them, nothing else does."""
    return any(metadata.distributions(name=name))


def intake_on(
    database: str, peer: str | None = None, target: float | None = None
) -> dict[str, float | None]:
    """The rows of webhooks that are stored first, with their targets."""
    rows: dict[str, float | None] = dict.fromkeys(("inline", "stored", "latency_load"))
    rows["drained_4_workers_to_1_worker"] = None
    for workers in ("1_worker", "4_workers"):
        rows |= dict.fromkeys((f"drained_{workers}", f"stored_and_drained_{workers}"))
        if peer is not None and peer_is_installed(peer):
            rows |= dict.fromkeys((f"{peer}_stored", f"{peer}_drained_{workers}"))
            rows[f"stored_and_drained_{workers}_to_{peer}"] = None
            rows[f"drained_{workers}_to_{peer}"] = target
            if peer == "pgqueuer":
                rows["pgqueuer_stored_in_batches"] = None
    for by in ("inline", "1_worker", "4_workers"):
        rows |= dict.fromkeys((f"latency_{by}_p50", f"latency_{by}_p99"))
    return {f"intake_{database}_{name}": promised for name, promised in rows.items()}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("databases")
    done = run("--quick", "--json", "--folder", str(folder))
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == [], "the databases were left behind"
    return dict(json.loads(done.stdout))


def test_every_promise_has_a_row_with_its_target(report: dict[str, Any]) -> None:
    targets = {row["name"]: row["target"] for row in report["rows"]}
    expected = PROMISED | dict.fromkeys(FOR_ORIENTATION) | intake_on("sqlite", "huey", 3)
    servers = {name for name in targets if name.startswith(("postgresql", "mongodb"))}
    if servers or IN_CI:
        expected |= PROMISED_ON_SERVERS
        expected |= intake_on("postgresql", "pgqueuer", 1) | intake_on("mongodb")
    if peer_is_installed("hf-nostro") and servers:
        expected |= PROMISED_AGAINST_POSTGRES_PEERS
    if peer_is_installed("gringotts-api"):
        expected |= PROMISED_AGAINST_THE_PEER | dict.fromkeys(WITH_THE_PEER_FOR_ORIENTATION)
    assert targets == expected


def test_a_row_says_whether_its_target_was_met(report: dict[str, Any]) -> None:
    for row in report["rows"]:
        assert row["min"] <= row["median"] <= row["max"]
        assert row["unit"] in {"times", "ms", "per second"}
        reached = row["target"] is not None and (row["median"] >= row["target"]) == (
            row["unit"] != "ms"
        )
        assert row["met"] == (None if row["target"] is None else reached)


def test_both_sides_of_a_comparison_are_given_in_absolute_numbers(report: dict[str, Any]) -> None:
    for row in report["rows"]:
        assert len(row["absolute"]) == (2 if row["against"] else 0)
        assert all(number > 0 for number in row["absolute"].values())


def test_the_machine_is_described_without_naming_it(report: dict[str, Any]) -> None:
    assert set(report["machine"]) == {"cpus", "system", "python", "sqlite", "stripe", "fsync_ms"}
    assert str(Path.home()) not in json.dumps(report)
    assert str(ROOT) not in json.dumps(report)


def test_an_unknown_option_is_refused() -> None:
    assert run("--fast").returncode == 2
