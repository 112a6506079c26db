"""`credit-payments health`, as a person or a monitor runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import credit_payments as cp
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.cli.commands import commands
from credit_payments.domain.records import Checkpoint, Event, Incident, Notification

AT = "2024-01-01T00:00:00.000000Z"


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "credits.db"
    with cp.connect(database=f"sqlite:///{path}"):
        return path


def run(database: Path, *arguments: str) -> Result:
    command = ["health", *arguments, "--database", f"sqlite:///{database}"]
    return CliRunner().invoke(commands, command)


def plant(database: Path, *rows: Any) -> None:
    storage = SqliteStorage(database)
    with storage.transaction() as transaction:
        transaction.write(rows, [])
    storage.close()


def test_a_system_that_is_well_exits_with_zero(database: Path) -> None:
    result = run(database)
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "ok"
    assert "no secret key, no webhook secret" in result.output


def test_what_a_person_should_look_at_exits_with_one_and_is_told(database: Path) -> None:
    plant(
        database,
        Event("evt_1", "charge.refunded", "pi_1", "queued", AT, "dead", due_at=AT, created_at=AT),
        Incident("payment:pi_1", "open", "reason", None, "{}", AT),
        Notification("n", "credits.low", "ada", "{}", "dead", 0, AT, "", AT),
        Checkpoint("reconciled", AT, AT),
    )
    result = run(database)
    assert result.exit_code == 1
    assert result.output.splitlines()[:3] == [
        "degraded",
        "  ! dead letters: 1",
        "  ! incidents in quarantine: 1",
    ]
    for told in ("0, 1 dead letters", "1 open", "0 to deliver, 1 given up", "charge.refunded", AT):
        assert told in result.output


def test_as_json_it_is_one_object(database: Path) -> None:
    result = run(database, "--json")
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert (found["status"], found["database"]["answers"]) == ("ok", True)


def test_a_database_that_cannot_be_opened_exits_with_two(tmp_path: Path) -> None:
    result = run(tmp_path / "missing.db")
    assert result.exit_code == 2
    assert "Error: " in result.output


def test_a_database_that_does_not_answer_exits_with_two(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot(_: SqliteStorage) -> None:
        raise cp.StorageUnavailable("the disk is gone")

    monkeypatch.setattr(SqliteStorage, "snapshot", snapshot)
    result = run(database)
    assert result.exit_code == 2
    assert "  ! the database does not answer" in result.output
