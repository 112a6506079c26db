from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from credit_payments.adapters.environment import Environment
from credit_payments.adapters.secret_chain import open_chain
from credit_payments.adapters.secret_files import SecretFiles
from credit_payments.config import Settings, load_settings
from credit_payments.errors import ConfigurationError

URL, TOKEN = "http://127.0.0.1:9", "hvs.topsecret"


def refused(**values: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    assert "topsecret" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "wrong",
    [
        {"vault_mount": ""},
        {"vault_mount": "../sys"},
        {"vault_path": ""},
        {"vault_path": "/flask-app/stripe"},
        {"vault_path": "a/../b"},
        {"vault_path": "a//b"},
        {"vault_path": "a?version=1"},
        {"vault_path": 5},
        {"vault_kv_version": 3},
        {"vault_kv_version": "two"},
        {"vault_kv_version": True},
        {"vault_auth_mount": "a/../b"},
        {"vault_ca": ""},
        {"vault_kubernetes_token_path": ""},
        {"vault_kubernetes_token_path": None},
        {"vault_required": "yes"},
        {"vault_required": None},
        {"vault_required": 1},
        {"secrets_refresh_seconds": 0},
        {"webhook_secret_overlap_seconds": -1},
        {"webhook_secret_overlap_seconds": float("nan")},
    ],
    ids=str,
)
def test_what_cannot_be_right_is_refused(wrong: dict[str, Any]) -> None:
    error = refused(**wrong)
    assert error.param == next(iter(wrong))
    assert error.message.count("\n  - ") == 1


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"vault_url": None}, "vault_url"),
        ({"vault_url": "http://vault.example.com:8200"}, "vault_url"),
        ({"vault_token": None}, "vault_token"),
        ({"vault_token": ""}, "vault_token"),
        ({"vault_token": "hvs.topsecret\nX: 1"}, "vault_token"),
        ({"vault_namespace": "a b"}, "vault_namespace"),
        ({"vault_role_id": ""}, "vault_role_id"),
        ({"vault_secret_id": "top secret"}, "vault_secret_id"),
        ({"vault_role_id": "r", "vault_kubernetes_role": "k"}, "vault_kubernetes_role"),
        ({"vault_path": None}, "vault_path"),
    ],
    ids=str,
)
def test_what_is_required_must_be_complete(changes: dict[str, Any], param: str) -> None:
    given = {"vault_url": URL, "vault_token": TOKEN, "vault_required": True, **changes}
    assert refused(**given).param == param
    if param != "vault_path":
        assert Settings(**{**given, "vault_required": False}).vault_required is False


def test_an_environment_says_switches_numbers_and_none_in_words() -> None:
    variables = {
        "CREDIT_PAYMENTS_VAULT_REQUIRED": "true",
        "CREDIT_PAYMENTS_VAULT_KV_VERSION": "2",
        "CREDIT_PAYMENTS_VAULT_PATH": "shop/stripe",
        "VAULT_ADDR": URL,
        "VAULT_TOKEN": TOKEN,
        "VAULT_CACERT": "/etc/ca.pem",
    }
    settings = load_settings({}, [Environment(variables)])
    assert settings.vault_required is True
    assert settings.vault_kv_version == 2
    assert settings.vault_path == "shop/stripe"
    assert settings.vault_ca == "/etc/ca.pem"
    off = {"CREDIT_PAYMENTS_VAULT_REQUIRED": "false", "CREDIT_PAYMENTS_VAULT_PATH": "none"}
    settings = load_settings({}, [Environment(off)])
    assert settings.vault_required is False
    assert settings.vault_path is None


def test_a_role_may_decrypt_with_the_transit_key_in_place_of_a_token() -> None:
    given: dict[str, Any] = {
        "encryption_keys": "new:vault:v1:AbC=",
        "encryption_index_key": "vault:v1:AbC=",
        "encryption_vault_transit_key": "credits",
        "vault_url": URL,
    }
    assert refused(**given).param == "vault_token"
    assert Settings(**given, vault_role_id="topsecret").vault_token is None
    assert "topsecret" not in repr(Settings(**given, vault_role_id="topsecret"))


# -- the chain ---------------------------------------------------------------------------------


def names(given: Mapping[str, object], variables: Mapping[str, str]) -> list[str]:
    return [source.name for source in open_chain(given, [Environment(variables)])]


CONFIGURED = {"VAULT_ADDR": URL, "VAULT_TOKEN": TOKEN}


def test_vault_comes_first_where_its_url_and_a_way_to_log_in_are_known() -> None:
    vault = ["Vault (secret/flask-app/stripe)", "environment"]
    assert names({}, CONFIGURED) == vault
    assert names({"vault_url": URL, "vault_kubernetes_role": "credits"}, {}) == vault
    assert names({"vault_role_id": "credits"}, {"VAULT_ADDR": URL}) == vault


@pytest.mark.parametrize(
    ("given", "variables"),
    [
        ({}, {}),
        ({}, {"VAULT_ADDR": URL}),
        ({}, {"VAULT_TOKEN": TOKEN}),
        ({"vault_url": None}, CONFIGURED),
        ({"vault_path": None}, CONFIGURED),
        ({}, {**CONFIGURED, "CREDIT_PAYMENTS_VAULT_PATH": "none"}),
    ],
    ids=str,
)
def test_vault_is_not_asked_otherwise(given: dict[str, object], variables: dict[str, str]) -> None:
    assert names(given, variables) == ["environment"]


def test_what_another_program_has_set_for_vault_is_warned_of_and_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for variables in (
        {"VAULT_ADDR": "unix:///run/vault", "VAULT_TOKEN": TOKEN},
        {"VAULT_ADDR": URL, "VAULT_TOKEN": ""},
    ):
        caplog.clear()
        variables["STRIPE_SECRET_KEY"] = "sk_test_environment"
        chain = open_chain({}, [Environment(variables)])
        assert load_settings({}, chain).stripe_secret_key == "sk_test_environment"
        [told] = caplog.records
        assert "Vault is passed over: Vault cannot be asked" in told.getMessage()


def test_problems_with_vault_are_told_together_with_all_others() -> None:
    given = {"vault_required": True, "vault_mount": "", "queue_commands_max": 0}
    with pytest.raises(ConfigurationError) as caught:
        load_settings(given, open_chain(given, [Environment({"STRIPE_SECRET_KEY": ""})]))
    assert caught.value.message.count("\n  - ") == 5


def test_a_file_that_cannot_be_read_is_told_when_settings_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "vault_token").mkdir()
    with pytest.raises(ConfigurationError, match="not a regular file"):
        load_settings({}, open_chain({}, [SecretFiles(tmp_path), Environment(CONFIGURED)]))


@pytest.mark.parametrize("required", [True, False])
def test_a_missing_extra_is_named(
    required: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "hvac", None)
    for module in ("vault", "vault_client"):
        monkeypatch.delitem(sys.modules, f"credit_payments.adapters.{module}", raising=False)
    given = {"vault_url": URL, "vault_token": TOKEN, "vault_required": required}
    if required:
        with pytest.raises(ConfigurationError, match=r"credit-payments\[vault\]"):
            open_chain(given, [])
        return
    assert load_settings(given, open_chain(given, [])).stripe_secret_key is None
    assert "credit-payments[vault]" in caplog.text


def test_without_vault_hvac_is_not_imported() -> None:
    program = (
        "import sys, credit_payments as cp\n"
        "cp.connect(database='memory://', vault_url=None).close()\n"
        "sys.exit(bool({'hvac', 'requests'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert done.returncode == 0
