"""`credit-payments audit …`, as a person or a cron job runs it."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner, Result

import credit_payments as cp
from credit_payments.cli.commands import commands


@attrs.define
class LongAgo:
    """So that the command, by the real clock, finds entries that are old enough to seal."""

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "credits.db"
    with cp.connect(database=f"sqlite:///{path}", clock=LongAgo()) as system:
        system.wallets.grant("ada", 50, key="g", reason="welcome")
        system.wallets.spend("ada", 20, key="s")
    return path


def run(*arguments: str, database: Path, given: str = "") -> Result:
    command = ["audit", *arguments, "--database", f"sqlite:///{database}"]
    return CliRunner().invoke(commands, command, input=given)


def edit(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)


def test_a_ledger_in_order_exits_with_zero(database: Path) -> None:
    result = run("verify", database=database)
    assert result.exit_code == 0
    assert "2 entries in 1 wallets" in result.output
    assert "Everything fits." in result.output


def test_an_edited_entry_is_named_and_exits_with_one(database: Path) -> None:
    edit(database, "UPDATE entries SET reason = 'theft' WHERE cause = 'spend:s'")
    result = run("verify", "--json", database=database)
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert not found["ok"]
    [problem] = [p for p in found["problems"] if p["transaction_id"]]
    assert problem["user_id"] == "ada"
    assert "changed after it was posted" in problem["message"]


def test_a_seal_holds_while_the_ledger_grows_and_breaks_with_what_it_sealed(
    database: Path,
) -> None:
    seal = run("seal", database=database).output
    with cp.connect(database=f"sqlite:///{database}") as system:
        system.wallets.spend("ada", 1, key="later")
    assert run("check", "-", database=database, given=seal).exit_code == 0

    edit(database, "UPDATE entries SET reason = 'theft' WHERE cause = 'spend:s'")
    result = run("check", "-", database=database, given=seal)
    assert result.exit_code == 1
    edit(database, "DELETE FROM entries WHERE cause = 'spend:s'")
    result = run("check", "-", database=database, given=seal)
    assert result.exit_code == 1
    assert "seal" in result.output


@pytest.mark.parametrize("given", ["", "{}", "nonsense", "[1]", '{"version": 9}'])
def test_what_is_no_seal_is_refused_with_a_sentence(database: Path, given: str) -> None:
    result = run("check", "-", database=database, given=given)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")


def test_a_report_is_csv_of_the_days_asked_for(database: Path) -> None:
    url = f"sqlite:///{database}"
    result = CliRunner().invoke(commands, ["report", "--database", url])
    assert result.exit_code == 0
    [row] = csv.DictReader(result.output.splitlines())
    assert (row["granted"], row["used"], row["closing_wallet"]) == ("50", "20", "30")
    later = ["report", "--database", url, "--since", "2999-01-01"]
    assert len(CliRunner().invoke(commands, later).output.splitlines()) == 1
    money = CliRunner().invoke(commands, ["report", "--database", url, "--money"])
    assert money.output.startswith("day,currency,")


@pytest.mark.parametrize(
    "given", [["--since", "yesterday"], ["--since", "2030-01-02", "--until", "2030-01-01"]]
)
def test_days_that_cannot_be_right_are_refused(database: Path, given: list[str]) -> None:
    result = CliRunner().invoke(commands, ["report", "--database", f"sqlite:///{database}", *given])
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_a_misspelt_path_is_no_ledger_in_order(tmp_path: Path) -> None:
    missing = tmp_path / "misspelt.db"
    result = run("verify", database=missing)
    assert result.exit_code == 2
    assert "There is no database" in result.stderr
    assert not missing.exists()


def test_a_file_that_is_no_database_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "credits.db"
    path.write_text("dear diary, " * 1_000)
    result = run("verify", database=path)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
