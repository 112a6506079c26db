"""Keys that a real server has encrypted: OpenBao, which speaks Vault's protocol."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest
from click.testing import CliRunner
from tests.support.servers.openbao import OpenBao

import credit_payments as cp
from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.vault_client import VaultAccess
from credit_payments.adapters.vault_transit import VaultTransit
from credit_payments.cli.commands import commands
from credit_payments.testing.simulator import StripeSimulator

KEY, MOUNT = "credits", "transit-test"
EMAIL = "canary-7f3a@example.com"


@pytest.fixture(scope="module")
def vault(openbao: OpenBao) -> Iterator[Any]:
    """The administrator's client, with a transit engine that has two keys."""
    client: Any = hvac.Client(openbao.url, openbao.token)
    client.sys.enable_secrets_engine("transit", path=MOUNT)
    for key in (KEY, "other"):
        client.secrets.transit.create_key(key, mount_point=MOUNT)
    yield client
    client.sys.disable_secrets_engine(MOUNT)


def open_transit(openbao: OpenBao, **changes: Any) -> VaultTransit:
    given = {"token": openbao.token, "key": KEY, "mount": MOUNT, **changes}
    access = VaultAccess(url=openbao.url, token=given.pop("token"))
    return VaultTransit(access, **given, retry=RetryPolicy.immediate())


def test_a_key_that_vault_made_is_unwrapped_to_32_bytes(vault: Any, openbao: OpenBao) -> None:
    with open_transit(openbao) as transit:
        wrapped = transit.new_key()
        assert wrapped.startswith("vault:v1:")
        assert len(base64.b64decode(transit.unwrap(wrapped))) == 32
        assert transit.new_key() != wrapped


def test_after_the_transit_key_is_rotated_both_generations_are_unwrapped(
    vault: Any, openbao: OpenBao
) -> None:
    with open_transit(openbao) as transit:
        before = transit.new_key()
        text = transit.unwrap(before)
        vault.secrets.transit.rotate_key(KEY, mount_point=MOUNT)
        assert transit.new_key().startswith("vault:v2:")
        assert transit.unwrap(before) == text


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"token": "hvs.wrong"}, "vault_token"),
        ({"key": "other"}, "encryption_vault_transit_key"),
        ({"key": "missing"}, "encryption_vault_transit_key"),
        ({"mount": "nowhere"}, "vault_transit_mount"),
        ({"mount": "secret"}, "vault_transit_mount"),
    ],
    ids=str,
)
def test_what_the_server_refuses_names_the_setting_at_fault(
    vault: Any, openbao: OpenBao, changes: dict[str, str], param: str
) -> None:
    with open_transit(openbao) as transit:
        wrapped = transit.new_key()
    with (
        open_transit(openbao, **changes) as transit,
        pytest.raises(cp.ConfigurationError) as caught,
    ):
        transit.unwrap(wrapped)
    assert caught.value.param == param
    assert "hvs." not in str(caught.value)


def test_what_vault_did_not_encrypt_is_refused(vault: Any, openbao: OpenBao) -> None:
    with open_transit(openbao) as transit:
        wrapped = transit.new_key()
        flipped = wrapped[:-3] + ("A" if wrapped[-3] != "A" else "B") + wrapped[-2:]
        with pytest.raises(cp.ConfigurationError, match="has not encrypted this"):
            transit.unwrap(flipped)


def test_a_token_whose_policy_only_decrypts_suffices_and_makes_no_keys(
    vault: Any, openbao: OpenBao
) -> None:
    rule = f'path "{MOUNT}/decrypt/{KEY}" {{ capabilities = ["update"] }}'
    vault.sys.create_or_update_policy("credits-decrypt", rule)
    token = vault.auth.token.create(policies=["credits-decrypt"], ttl="5m")["auth"]["client_token"]
    with open_transit(openbao) as transit:
        wrapped = transit.new_key()
    with open_transit(openbao, token=token) as transit:
        assert transit.unwrap(wrapped)
        with pytest.raises(cp.ConfigurationError) as caught:
            transit.new_key()
    assert caught.value.param == "vault_token"


def test_a_server_that_is_not_there_is_worth_another_try() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        access = VaultAccess(url=url, token="t")
        transit = VaultTransit(access, key=KEY, retry=RetryPolicy.immediate())
        with transit, pytest.raises(cp.VaultUnavailable):
            transit.new_key()


def new_key(openbao: OpenBao, *arguments: str) -> str:
    environment = {"VAULT_ADDR": openbao.url, "VAULT_TOKEN": openbao.token}
    command = ["encryption", "new-key", "--vault-transit", KEY, *arguments]
    result = CliRunner().invoke(commands, command, env=environment)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def default_mount(openbao: OpenBao) -> Iterator[None]:
    client: Any = hvac.Client(openbao.url, openbao.token)
    client.sys.enable_secrets_engine("transit")
    client.secrets.transit.create_key(KEY)
    yield
    client.sys.disable_secrets_engine("transit")


@pytest.mark.usefixtures("default_mount")
def test_a_system_whose_keys_vault_has_encrypted_keeps_and_finds_customers(
    openbao: OpenBao, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "database": f"sqlite:///{tmp_path / 'credits.db'}",
        "encryption_keys": new_key(openbao, "--id", "first"),
        "encryption_index_key": new_key(openbao, "--index"),
        "encryption_vault_transit_key": KEY,
        "vault_url": openbao.url,
        "vault_token": openbao.token,
    }
    with (
        StripeSimulator() as stripe,
        cp.connect(
            **settings, stripe_secret_key=stripe.secret_key, stripe_api_base=stripe.url
        ) as system,
    ):
        system.payments.create_customer("ada", EMAIL)
    settings["encryption_keys"] = (
        f"{new_key(openbao, '--id', 'second')},{settings['encryption_keys']}"
    )
    with cp.connect(**settings) as system:
        assert system.rotate_encryption().renewed == 1
        [found] = system.payments.customers_by_email(EMAIL)
        assert (found.user_id, found.email) == ("ada", EMAIL)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"v1.second." in content
    assert EMAIL.encode() not in content


@pytest.mark.usefixtures("default_mount")
def test_what_vault_unwraps_must_be_a_key(openbao: OpenBao) -> None:
    client: Any = hvac.Client(openbao.url, openbao.token)
    short = base64.b64encode(os.urandom(16)).decode()
    wrapped = client.secrets.transit.encrypt_data(KEY, short)["data"]["ciphertext"]
    with pytest.raises(cp.ConfigurationError, match="key 1: give 32 random bytes") as caught:
        cp.connect(
            database="memory://",
            encryption_keys=f"short:{wrapped}",
            encryption_index_key=new_key(openbao, "--index"),
            encryption_vault_transit_key=KEY,
            vault_url=openbao.url,
            vault_token=openbao.token,
        )
    assert short not in str(caught.value)
