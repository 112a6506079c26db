"""`credit-payments reconcile`, as a person or a cron job runs it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

import credit_payments as cp
from credit_payments.cli import reconciling
from credit_payments.cli.commands import commands
from credit_payments.domain.records import Notification
from credit_payments.testing.simulator import StripeSimulator

pytestmark = pytest.mark.long


@attrs.define
class Shop:
    """A database, and the Stripe that its payments are at."""

    simulator: StripeSimulator
    url: str
    settings: dict[str, str]

    def sell(self) -> str:
        """A payment of which nobody was told."""
        with cp.connect(database=self.url) as system:
            intent = system.payments.create_payment_intent("ada", 10).payment_intent_id
        self.simulator.pay(intent)
        return intent

    def run(self, *arguments: str) -> Result:
        command = ["reconcile", "--database", self.url, *arguments]
        return CliRunner().invoke(commands, command)

    def reconcile(self, *arguments: str) -> Result:
        """From yesterday until a minute from now, so that nothing is too young."""
        now = datetime.now(UTC)
        since = (now - timedelta(days=1)).date().isoformat()
        until = (now + timedelta(minutes=1)).isoformat()
        return self.run("--since", since, "--until", until, *arguments)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with StripeSimulator() as simulator:
        settings = {
            "STRIPE_SECRET_KEY": simulator.secret_key,
            "STRIPE_API_BASE": simulator.url,
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        url = f"sqlite:///{tmp_path / 'credits.db'}"
        with cp.connect(database=url):
            yield Shop(simulator, url, settings)


def test_nothing_differs_and_exits_with_zero(shop: Shop) -> None:
    intent = shop.sell()
    with cp.connect(database=shop.url) as system:
        system.payments.confirm_payment(intent)
    result = shop.reconcile()
    assert result.exit_code == 0, result.output
    assert "payment intents             1" in result.output
    assert result.output.endswith("Nothing differs.\n")
    assert result.stderr == "", "no bar where nobody looks on"


def test_a_difference_exits_with_one_until_it_is_repaired(shop: Shop) -> None:
    intent = shop.sell()
    result = shop.reconcile()
    assert result.exit_code == 1
    assert f"missing_payment     ada  {intent}  {intent}  Stripe received 1000 usd" in result.output
    assert "1 difference, 0 repaired." in result.output

    result = shop.reconcile("--repair")
    assert result.exit_code == 0
    assert "(repaired)" in result.output
    assert shop.reconcile().exit_code == 0


def test_json_is_one_object_and_nothing_else(shop: Shop) -> None:
    intent = shop.sell()
    result = shop.reconcile("--repair", "--json")
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert (found["ok"], found["complete"], found["repaired"]) == (True, True, 1)
    assert found["found"] == {"missing_payment": 1}
    [one] = found["differences"]
    assert (one["kind"], one["subject"], one["user_id"]) == ("missing_payment", intent, "ada")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--since", "yesterday"], "neither a day nor an instant"),
        (["--since", "2024-01-02", "--until", "2024-01-01"], "until must be later than since"),
        (["--since", "2999-01-01"], "since must be longer ago"),
        ([], "Missing option '--since'"),
    ],
)
def test_what_cannot_be_right_exits_with_two(shop: Shop, arguments: list[str], told: str) -> None:
    result = shop.run(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_stripe_that_is_down_exits_with_two_and_the_next_call_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sell()
    url = shop.simulator.url
    shop.simulator.stop()
    now = datetime.now(UTC)
    asked = ["--since", "2024-01-01", "--until", (now + timedelta(minutes=1)).isoformat()]
    monkeypatch.setenv("STRIPE_API_BASE", url)
    result = shop.run(*asked)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    shop.simulator.start()
    monkeypatch.setenv("STRIPE_API_BASE", shop.simulator.url)
    assert shop.run(*asked, "--restart").exit_code == 1


def test_instants_are_read_in_utc_unless_they_say_otherwise() -> None:
    instant = reconciling._instant
    assert instant("2024-01-02") == datetime(2024, 1, 2, tzinfo=UTC)
    assert instant("2024-01-02T03:04:05") == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert instant("2024-01-02T03:00:00+02:00") == datetime(2024, 1, 2, 1, tzinfo=UTC)


def test_a_person_at_a_terminal_sees_how_far_it_is(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal: Any = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    until = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    code = reconciling.reconcile(
        shop.url, None, "2024-01-01", until, repair=False, restart=False, as_json=True
    )
    assert code == 0
    shown = terminal.getvalue()
    assert "100%" in shown
    assert "0 payments, 0 differences" in shown


RULES = {
    "refund_policy": "clamp",
    "notifications": "payment.reversed,credits.low",
    "low_credits": 5,
}
HOST = """
import credit_payments as cp

def make():
    return cp.connect(database={url!r}, **{rules!r})
"""


def refunded_when_spent(shop: Shop) -> None:
    """Nobody was told of the refund."""
    intent = shop.sell()
    with cp.connect(database=shop.url) as system:
        system.payments.confirm_payment(intent)
        system.wallets.spend("ada", 100, key="all")
    shop.simulator.call("POST", "/v1/refunds", {"payment_intent": intent})


def outcome(shop: Shop) -> tuple[int, list[str]]:
    with cp.connect(database=shop.url) as system:
        rows = system._storage.scan(Notification, order=("notification_id",))
        return system.wallets.balance("ada").debt, [row.type for row in rows]


@pytest.mark.parametrize("way", ["app", "environment"])
def test_what_is_repaired_follows_the_rules_of_the_shop(
    shop: Shop, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refunded_when_spent(shop)
    now = datetime.now(UTC)
    words = ["reconcile", "--since", (now - timedelta(days=1)).isoformat(), "--repair"]
    words += ["--until", (now + timedelta(minutes=1)).isoformat()]
    if way == "app":
        name = f"rules_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(HOST.format(url=shop.url, rules=RULES))
        monkeypatch.syspath_prepend(tmp_path)
        words += ["--app", f"{name}:make"]
    else:
        for setting, value in RULES.items():
            monkeypatch.setenv(f"CREDIT_PAYMENTS_{setting.upper()}", str(value))
        words += ["--database", shop.url]
    result = CliRunner().invoke(commands, words)
    assert result.exit_code == 0, result.output
    assert "1 repaired" in result.output
    assert outcome(shop) == (0, ["payment.reversed"])


def test_an_app_and_a_database_are_one_too_many(shop: Shop) -> None:
    result = shop.run("--since", "2024-01-01", "--app", "shop:make")
    assert result.exit_code == 2
    assert "give one of the two" in result.output


def test_an_interrupted_run_does_not_exit_as_if_something_differed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cp.System, "reconcile", interrupted)
    result = shop.reconcile()
    assert result.exit_code == 130
    assert "goes on here" in result.output
