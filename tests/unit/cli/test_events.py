"""`credit-payments events …`, as a person runs it who has to decide."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.conftest import WEBHOOK_SECRET, Shop, TurnableClock
from tests.unit.test_inbox import bury, intent, promise, refund, succeed

import credit_payments as cp
from credit_payments.cli.commands import commands

OF_EVE = {"user_id": "eve", "quote_id": "quote_1"}


@pytest.fixture
def database(tmp_path: Path, clock: TurnableClock) -> str:
    """With a dead letter, a payment that names another user, one without a quote, a refund."""
    url = f"sqlite:///{tmp_path / 'credits.db'}"
    with cp.connect(database=url, clock=clock, stripe_webhook_secret=WEBHOOK_SECRET) as system:
        shop = Shop(system, clock)
        promise(shop)
        succeed(shop, intent(metadata=OF_EVE), "evt_1")
        clock.turn(1)
        succeed(shop, intent(id="pi_2", metadata={}), "evt_2")
        clock.turn(1)
        shop.deliver("refund.created", refund(payment_intent="pi_3"), "evt_3")
        clock.turn(1)
        bury(shop, "evt_dead", intent(id="pi_4"))
    return url


def run(database: str, *arguments: str, given: str = "") -> Result:
    command, *others = arguments
    line = ["events", command, "--database", database, *others]
    return CliRunner().invoke(commands, line, input=given)


def balance(database: str, user_id: str) -> int:
    with cp.connect(database=database) as system:
        assert system.verify().ok
        return system.wallets.balance(user_id).available


def columns(output: str) -> list[list[str]]:
    """The cells of a table, each cut where its column begins in the first line."""
    first, *others = output.splitlines()
    begins = [0, *(at + 2 for at in range(len(first)) if first[at : at + 2] == "  ")]
    begins = [at for at in begins if first[at] != " "]
    ends = [*begins[1:], None]
    cut = [[line[a:b] for a, b in zip(begins, ends, strict=True)] for line in (first, *others)]
    assert all(cell.endswith(" ") for row in cut for cell in row[:-1]), "they run into each other"
    return [[cell.strip() for cell in row] for row in cut]


def test_dead_letters_are_listed_in_columns(database: str) -> None:
    result = run(database, "list")
    assert result.exit_code == 0
    succeeded, received = "payment_intent.succeeded", "2024-01-01 00:00:03Z"
    assert columns(result.output) == [
        ["EVENT", "TYPE", "ABOUT", "STATUS", "TRIES", "RECEIVED", "PROBLEM"],
        ["evt_dead", succeeded, "pi_4", "dead", "12", received, "it broke"],
    ]


def test_the_quarantine_is_listed_in_columns(database: str) -> None:
    result = run(database, "list", "--status", "quarantined")
    assert result.exit_code == 0
    at, amount = "2024-01-01 00:00:0", "10.00 USD"
    other_user = "the intent's metadata names another user than its quote"
    early = "a refund or dispute of a payment that is not recorded"
    assert columns(result.output) == [
        ["INCIDENT", "SINCE", "AMOUNT", "USER", "REASON"],
        ["payment:pi_1", f"{at}0Z", amount, "eve", other_user],
        ["payment:pi_2", f"{at}1Z", amount, "-", "no quote is known for this payment"],
        ["reversals:pi_3", f"{at}2Z", "-", "-", early],
    ]


def test_all_events_are_listed_page_by_page(database: str) -> None:
    names: list[str] = []
    cursor: list[str] = []
    for _ in range(2):
        result = run(database, "list", "--status", "all", "--limit", "3", "--json", *cursor)
        page = json.loads(result.output)
        names += [event["event_id"] for event in page["items"]]
        cursor = ["--cursor", page["cursor"]]
    assert names == ["evt_dead", "evt_3", "evt_2", "evt_1"]
    assert page["cursor"] is None
    shown = run(database, "list", "--status", "all", "--limit", "3").output.splitlines()
    assert shown[-1].startswith("There may be more: --cursor ")
    assert run(database, "list", "--status", "due").output == "Nothing.\n"


def test_what_is_kept_of_a_payment_is_shown(database: str) -> None:
    shown = run(database, "show", "pi_1")
    assert shown.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in shown.output.splitlines())
    assert lines["incident_id"] == "payment:pi_1"
    assert (lines["user_id"], lines["quoted_user_id"]) == ("eve", "ada")
    assert (lines["amount"], lines["quoted_credits"]) == ("10.00", "100")
    [found] = json.loads(run(database, "show", "pi_3", "--json").output)
    assert (found["incident_id"], found["event_id"]) == ("reversals:pi_3", "evt_3")


@pytest.mark.parametrize(
    ("name", "told"), [("evt_dead", "it broke"), ("reversals:pi_3", "a refund or dispute")]
)
def test_one_event_or_incident_is_shown(database: str, name: str, told: str) -> None:
    result = run(database, "show", name)
    assert (result.exit_code, told in result.output) == (0, True)


@pytest.mark.parametrize("name", ["pi_9", "evt_9", "payment:pi_9"])
def test_what_is_not_there_is_told_in_a_sentence(database: str, name: str) -> None:
    result = run(database, "show", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert name in result.stderr


def test_events_are_replayed_by_name_and_each_is_tried(database: str) -> None:
    result = run(database, "replay", "evt_9", "evt_dead", "evt_1")
    assert result.exit_code == 2
    assert result.stdout == "evt_dead is due now; a worker applies what is due.\n"
    assert "No event evt_9" in result.stderr
    assert "evt_1 was applied" in result.stderr
    assert "evt_dead" in run(database, "list", "--status", "due").output
    assert run(database, "replay", "evt_dead").exit_code == 0


def test_all_dead_letters_are_replayed(database: str) -> None:
    told = "1 dead letters are due now; a worker applies what is due.\n"
    result = run(database, "replay", "--all")
    assert (result.exit_code, result.output) == (0, told)
    assert run(database, "list").output == "Nothing.\n"


@pytest.mark.parametrize("arguments", [[], ["--all", "evt_dead"]])
def test_a_replay_wants_names_or_all(database: str, arguments: list[str]) -> None:
    result = run(database, "replay", *arguments)
    assert (result.exit_code, "or --all" in result.stderr) == (2, True)


def test_an_event_is_discarded_with_a_reason(database: str) -> None:
    assert run(database, "discard", "evt_dead").exit_code == 2
    result = run(database, "discard", "evt_dead", "--reason", "a test", "--actor", "kim")
    assert (result.exit_code, result.output) == (0, "evt_dead is discarded by kim: a test\n")
    assert "discarded by kim" in run(database, "list", "--status", "discarded").output


def test_a_payment_is_credited_after_a_question(database: str) -> None:
    arguments = ["resolve", "pi_1", "--user", "ada", "--reason", "ticket 7", "--actor", "kim"]
    refused = run(database, *arguments, given="n\n")
    assert refused.exit_code == 1
    assert "10.00 USD; the intent's metadata names another user" in refused.output
    assert "100 credits for ada, decided by kim: ticket 7" in refused.output
    assert balance(database, "ada") == 0

    done = run(database, *arguments, given="y\n")
    assert done.exit_code == 0
    assert "Credited, as txn_" in done.output
    assert balance(database, "ada") == 100
    again = run(database, *arguments, "--yes")
    assert (again.exit_code, balance(database, "ada")) == (0, 100)
    other = run(database, *arguments, "--credits", "7", "--yes")
    assert (other.exit_code, "credited already" in other.stderr) == (2, True)


def test_a_payment_without_a_quote_needs_a_number(database: str) -> None:
    arguments = ["resolve", "pi_2", "--user", "bob", "--reason", "ticket 8", "--yes"]
    unsaid = run(database, *arguments)
    assert (unsaid.exit_code, "give --credits" in unsaid.stderr) == (2, True)
    assert run(database, *arguments, "--credits", "0").exit_code == 2
    assert run(database, *arguments, "--credits", "70").exit_code == 0
    assert balance(database, "bob") == 70


def test_what_cannot_be_decided_is_told_in_a_sentence(database: str) -> None:
    result = run(database, "resolve", "pi_9", "--user", "ada", "--reason", "r", "--yes")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "payment:pi_9" in result.stderr


def test_an_incident_is_dismissed_by_who_runs_the_command(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "kim")
    result = run(database, "dismiss", "reversals:pi_3", "--reason", "not ours")
    told = "reversals:pi_3 is dismissed by kim: not ours\n"
    assert (result.exit_code, result.output) == (0, told)
    assert "reversals:pi_3" not in run(database, "list", "--status", "quarantined").output


def test_a_user_without_a_name_has_to_give_one(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> Any:
        raise KeyError("uid")

    monkeypatch.setattr(getpass, "getuser", nobody)
    result = run(database, "dismiss", "reversals:pi_3", "--reason", "not ours")
    assert (result.exit_code, "--actor is needed" in result.stderr) == (2, True)
