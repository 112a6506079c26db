"""`credit-payments encryption …`, as a person runs it when a key is to be replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import credit_payments as cp
from credit_payments.cli.commands import commands
from credit_payments.domain.key_ring import KeyRing, split
from credit_payments.testing.simulator import StripeSimulator

EMAIL = "canary-7f3a@example.com"


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(commands, ["encryption", *arguments], env=environment)


def new_key(*arguments: str) -> str:
    result = run("new-key", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.strip()


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeSimulator]:
    with StripeSimulator() as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEYS", "INDEX_KEY", "VAULT_TRANSIT_KEY"):
        monkeypatch.delenv(f"CREDIT_PAYMENTS_ENCRYPTION_{name}", raising=False)


@pytest.fixture
def keys() -> dict[str, str]:
    return {
        "CREDIT_PAYMENTS_ENCRYPTION_KEYS": new_key("--id", "old"),
        "CREDIT_PAYMENTS_ENCRYPTION_INDEX_KEY": new_key("--index"),
    }


@pytest.fixture
def database(
    stripe: StripeSimulator,
    keys: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    url = f"sqlite:///{tmp_path / 'credits.db'}"
    with monkeypatch.context() as patched:
        for name, value in keys.items():
            patched.setenv(name, value)
        with cp.connect(
            database=url, stripe_secret_key=stripe.secret_key, stripe_api_base=stripe.url
        ) as system:
            system.payments.create_customer("ada", EMAIL)
    return url


def test_new_keys_are_what_the_settings_take() -> None:
    keys = split(f"{new_key()},{new_key('--id', 'other')}")
    assert keys is not None
    ring = KeyRing.read(keys, new_key("--index"))
    assert list(ring.keys)[1] == "other"
    assert new_key("--index") != new_key("--index")


@pytest.mark.parametrize("name", ["New", "a:b", "a b", "n" * 33])
def test_an_id_that_cannot_be_one_is_refused(name: str) -> None:
    result = run("new-key", "--id", name)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_the_key_for_the_index_takes_no_id() -> None:
    result = run("new-key", "--id", "x", "--index")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "give --id or --index" in result.stderr


def test_a_rotation_tells_what_it_has_done(database: str, keys: dict[str, str]) -> None:
    old = keys["CREDIT_PAYMENTS_ENCRYPTION_KEYS"]
    keys["CREDIT_PAYMENTS_ENCRYPTION_KEYS"] = f"{new_key('--id', 'new')},{old}"

    planned = run("rotate", "--dry-run", "--database", database, **keys)
    assert (planned.exit_code, planned.output) == (
        0, "1 customers, 1 would be encrypted anew\n"
    )  # fmt: skip
    done = run("rotate", "--database", database, **keys)
    assert (done.exit_code, done.output) == (
        0, "1 customers, 1 encrypted anew\nEverything is under the primary key.\n"
    )  # fmt: skip
    again = run("rotate", "--json", "--database", database, **keys)
    assert again.exit_code == 0
    assert json.loads(again.output) == {
        "complete": True,
        "dry_run": False,
        "customers": 1,
        "renewed": 0,
        "changed_meanwhile": 0,
        "unreadable": 0,
        "problems": [],
    }


def test_a_rotation_without_the_old_key_says_which_one_is_missing(
    database: str, keys: dict[str, str]
) -> None:
    keys["CREDIT_PAYMENTS_ENCRYPTION_KEYS"] = new_key("--id", "new")
    result = run("rotate", "--database", database, **keys)
    assert result.exit_code == 1
    assert "is encrypted with the key 'old', which is missing" in result.output
    assert "1 cannot be read, and are as they were." in result.output
    assert "7f3a" not in result.output


def test_a_rotation_without_keys_is_refused_with_a_sentence(database: str) -> None:
    result = run("rotate", "--database", database)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: Encryption is not configured")


def test_a_rotation_makes_no_database(tmp_path: Path, keys: dict[str, str]) -> None:
    missing = tmp_path / "misspelt.db"
    result = run("rotate", "--database", f"sqlite:///{missing}", **keys)
    assert result.exit_code == 2
    assert "There is no database" in result.stderr
    assert not missing.exists()


def test_vault_cannot_be_asked_without_its_settings() -> None:
    result = run("new-key", "--vault-transit", "credits", VAULT_ADDR="", VAULT_TOKEN="")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "vault_url" in result.stderr
    assert "vault_token" in result.stderr
