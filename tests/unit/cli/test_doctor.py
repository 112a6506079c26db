"""`credit-payments doctor`, as a person or a monitor runs it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import credit_payments as cp
from credit_payments.cli import doctor as doctor_module
from credit_payments.cli.commands import commands
from credit_payments.domain import events
from credit_payments.domain.diagnosis import Diagnosis, problem
from credit_payments.testing.simulator import StripeSimulator

pytestmark = pytest.mark.long

URL = "https://shop.example/stripe/webhook"
KEY = "sk_test_CANARY"
SECRET = "whsec_CANARY"
SECONDS_MAX = 30.0


@pytest.fixture
def stripe() -> Iterator[StripeSimulator]:
    with StripeSimulator(webhook_url=URL) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, stripe: StripeSimulator) -> None:
    monkeypatch.setenv("STRIPE_SECRET_KEY", KEY)
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("STRIPE_API_BASE", stripe.url)
    for name in ("NO_COLOR", "VAULT_ADDR", "CREDIT_PAYMENTS_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'credits.db'}"
    with cp.connect(database=url):
        return url


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(commands, ["doctor", *arguments])
    assert "CANARY" not in result.output
    return result


def found(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the findings of the JSON by name."""
    result = run("--json", *arguments)
    told = json.loads(result.output)
    assert set(told) == {"level", "findings"}
    levels = ["ok", "warning", "problem"]
    assert told["level"] == levels[result.exit_code]
    return result.exit_code, {one["name"]: one for one in told["findings"]}


def test_a_shop_that_is_well_exits_with_zero(database: str) -> None:
    result = run("--database", database, "--webhook-url", URL)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    starts = {line.index(line.split()[1]) for line in lines[:-2]}
    ends = {line.split()[0] for line in lines[:-2]}
    assert (starts, ends) == ({9}, {"ok"})
    assert lines[-2:] == ["", f"{len(lines) - 2} ok"]
    assert "\x1b" not in result.output, "no colour where nobody sees it"


def test_where_settings_come_from_is_told_and_the_commands_own_are_not(database: str) -> None:
    _, findings = found("--database", database)
    settings = {
        name.removeprefix("setting."): one["said"]
        for name, one in findings.items()
        if name.startswith("setting.")
    }
    assert settings == {
        "database": "from --database",
        "stripe_secret_key": "from environment",
        "stripe_webhook_secret": "from environment",
        "stripe_api_base": "from environment",
    }


def test_a_warning_exits_with_one_and_is_told_with_advice(
    database: str, stripe: StripeSimulator
) -> None:
    stripe.clock.advance(100)
    result = run("--database", database)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    (place,) = [place for place, line in enumerate(lines) if line.startswith("warning")]
    assert lines[place].split()[1] == "stripe.clock"
    assert lines[place + 1].startswith(" " * 9 + "set it by NTP")
    assert lines[-1].startswith("1 warning, ")


def test_problems_exit_with_two_and_are_counted(database: str, stripe: StripeSimulator) -> None:
    stripe.clock.advance(100)
    stripe.faults.next(401, path="/v1/payment_intents")
    result = run("--database", database)
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith("1 problem, 1 warning, ")


def test_as_json_it_is_one_object(database: str) -> None:
    code, findings = found("--database", database)
    assert code == 0
    assert findings["database"] == {
        "name": "database",
        "level": "ok",
        "said": findings["database"]["said"],
        "advice": None,
    }


def test_the_command_that_is_advised_mends_the_endpoint(
    database: str, stripe: StripeSimulator
) -> None:
    (endpoint,) = stripe.call("GET", "/v1/webhook_endpoints")["data"]
    path = f"/v1/webhook_endpoints/{endpoint['id']}"
    stripe.call("POST", path, {"enabled_events": ["invoice.paid", "refund.created"]})
    code, findings = found("--database", database, "--webhook-url", URL)
    assert code == 2
    words = shlex.split(findings["webhooks.events"]["advice"])
    assert words[:4] == ["stripe", "webhook_endpoints", "update", endpoint["id"]]
    options = [word.partition("=")[2] for word in words[4:] if word != "-d"]
    stripe.call("POST", path, {"enabled_events": options})
    code, findings = found("--database", database, "--webhook-url", URL)
    assert code == 0
    assert "invoice.paid" in options, "what was enabled stays so"


@pytest.mark.parametrize("name", ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"])
def test_settings_that_cannot_be_used_are_findings(
    database: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "CANARY")
    code, findings = found("--database", database)
    assert code == 2
    assert list(findings) == [f"setting.{name.lower()}"]


def test_a_database_that_is_not_there_is_a_finding_and_is_not_made(tmp_path: Path) -> None:
    code, findings = found("--database", f"sqlite:///{tmp_path / 'missing.db'}")
    assert code == 2
    assert findings["database"]["level"] == "problem"
    assert findings["stripe.key"]["level"] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_colour_is_for_terminals_whose_users_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert doctor_module._is_colored()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not doctor_module._is_colored()


def test_an_app_has_a_database_of_its_own() -> None:
    result = run("--app", "shop:make", "--database", "memory://")
    assert result.exit_code == 2
    assert "--app has a database of its own" in result.output


SHOP = """
import credit_payments as cp

def make():
    system = cp.connect(database="sqlite:///app.db", webhook_mode="queued")
    system.webhooks.on("invoice.paid")(print)
    return system

def broken():
    return cp.connect(database="sqlite:///app.db", webhook_mode="sometimes")

def nowhere():
    return cp.connect(database="sqlite:///no/such/folder/app.db")

def fails():
    raise RuntimeError("postgresql://ada:CANARY@host/x")

def leaves():
    raise SystemExit(0)
"""


def run_app(directory: Path, app: str) -> tuple[int, dict[str, Any], str]:
    (directory / "doctors_shop.py").write_text(SHOP)
    done = subprocess.run(
        [sys.executable, "-m", "credit_payments", "doctor", "--json", "--app", app],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert "CANARY" not in done.stdout + done.stderr
    findings = json.loads(done.stdout)["findings"] if done.stdout else []
    return done.returncode, {one["name"]: one for one in findings}, done.stderr


def test_the_hosts_own_system_is_examined_with_its_handlers(
    tmp_path: Path, stripe: StripeSimulator
) -> None:
    (endpoint,) = stripe.call("GET", "/v1/webhook_endpoints")["data"]
    path = f"/v1/webhook_endpoints/{endpoint['id']}"
    stripe.call("POST", path, {"enabled_events": list(events.READ)})
    code, findings, err = run_app(tmp_path, "doctors_shop:make")
    assert code == 1, err
    assert findings["webhooks.events"]["said"] == "not enabled: invoice.paid"
    assert findings["setting.webhook_mode"]["said"] == "given in code"
    assert findings["events.waiting"]["said"] == "none; webhooks are queued"


@pytest.mark.parametrize(
    ("app", "name"),
    [("doctors_shop:broken", "setting.webhook_mode"), ("doctors_shop:nowhere", "database")],
)
def test_a_system_that_the_host_cannot_build_is_a_finding(
    tmp_path: Path, app: str, name: str
) -> None:
    code, findings, err = run_app(tmp_path, app)
    assert code == 2
    assert "Traceback" not in err
    assert [(one["name"], one["level"]) for one in findings.values()] == [(name, "problem")]


@pytest.mark.parametrize(
    ("app", "kind"), [("fails", "RuntimeError"), ("leaves", "SystemExit"), ("run", "TypeError")]
)
def test_an_app_that_fails_is_a_finding_without_its_words(
    tmp_path: Path, app: str, kind: str
) -> None:
    (tmp_path / "subprocess_of.py").write_text("from subprocess import run")
    module = "subprocess_of" if app == "run" else "doctors_shop"
    code, findings, err = run_app(tmp_path, f"{module}:{app}")
    assert (code, err) == (2, "")
    (found,) = findings.values()
    assert (found["name"], found["level"]) == ("app", "problem")
    assert found["said"] == f"{module}:{app} cannot be had: {kind}"
    assert found["advice"].endswith(f"python -c 'import {module}; {module}.{app}()'")


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_terminal_that_has_not_every_letter_is_told_all_the_same(
    tmp_path: Path, options: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "credit_payments", "doctor", *options.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, b"")
    assert b"`credit-payments migrate --database ?`" in done.stdout
    assert not options or json.loads(done.stdout.decode("latin-1"))["level"] == "problem"


def test_what_others_have_named_stays_in_its_line() -> None:
    found = Diagnosis((problem("app", "\x1b[31mred\nok  fine", "one\ntwo\x07"),))
    lines = "\n".join(doctor_module._told(found)).splitlines()
    assert lines[0].endswith("  " + " [31mred ok  fine")
    assert lines[1:3] == [" " * 9 + "one", " " * 9 + "two "]


def test_without_any_output_nothing_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert not doctor_module._is_colored()


def test_an_app_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    code, findings, err = run_app(tmp_path, "doctors_shop:nothing")
    assert (code, findings) == (2, {})
    assert "doctors_shop has no nothing" in err
