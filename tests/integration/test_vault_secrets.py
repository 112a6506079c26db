"""Settings from a real server's KV engine: OpenBao, which speaks Vault's protocol."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import hvac
import pytest
from tests.conftest import TurnableClock
from tests.support.servers.openbao import OpenBao

import credit_payments as cp
from credit_payments.adapters.environment import Environment
from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.secret_chain import open_chain
from credit_payments.adapters.secret_files import SecretFiles
from credit_payments.adapters.vault import VaultSecrets
from credit_payments.adapters.vault_client import VaultAccess
from credit_payments.config import LiveSecrets

PATH = "flask-app/stripe"
NAMES = ("stripe_secret_key", "stripe_publishable_key", "stripe_webhook_secret")
KINDS = dict(zip(NAMES, ("sk_test", "pk_test", "whsec"), strict=True))
VAULT, FILES, ENVIRONMENT = "Vault (secret/flask-app/stripe)", "secret files in ", "environment"
SUBSETS = [
    subset
    for length in range(4)
    for subset in itertools.combinations(("vault", "files", "environment"), length)
]


def value_of(name: str, source: str) -> str:
    return f"{KINDS[name]}_{source}"


@attrs.define
class Sources:
    """The three sources of one test, and the system's look at them."""

    vault: Any
    server: OpenBao
    directory: Path
    variables: dict[str, str]
    clock: TurnableClock

    def put(self, values: Mapping[str, str]) -> None:
        secret = {name.removeprefix("stripe_"): value for name, value in values.items()}
        self.vault.secrets.kv.v2.create_or_update_secret(PATH, secret)

    def fill(self, places: Mapping[str, tuple[str, ...]]) -> None:
        """Each value into each of its places."""
        for name, sources in places.items():
            if "files" in sources:
                (self.directory / name).write_text(f"{value_of(name, 'files')}\n")
            if "environment" in sources:
                self.variables[name.upper()] = value_of(name, "environment")
        of_vault = [name for name, sources in places.items() if "vault" in sources]
        self.put({name: value_of(name, "vault") for name in of_vault})

    def look(self, **given: Any) -> LiveSecrets:
        given = {"vault_url": self.server.url, "vault_token": self.server.token, **given}
        plain = (SecretFiles(self.directory), Environment(self.variables))
        return LiveSecrets(given, open_chain(given, plain), self.clock)


@pytest.fixture
def sources(openbao: OpenBao, tmp_path: Path, clock: TurnableClock) -> Iterator[Sources]:
    client: Any = hvac.Client(openbao.url, openbao.token)
    yield Sources(client, openbao, tmp_path, {}, clock)
    client.secrets.kv.v2.delete_metadata_and_all_versions(PATH)
    client.adapter.close()


@pytest.mark.parametrize("subset", SUBSETS, ids=lambda subset: "+".join(subset) or "none")
def test_of_the_sources_that_hold_a_value_the_first_one_decides(
    sources: Sources, subset: tuple[str, ...]
) -> None:
    sources.fill(dict.fromkeys(NAMES, subset))
    live = sources.look()
    for name in NAMES:
        expected = value_of(name, subset[0]) if subset else None
        assert getattr(live.settings, name) == expected
        assert live.origins.get(name) == origin(sources, subset[0] if subset else None)


@pytest.mark.parametrize("places", list(itertools.permutations(("vault", "files", "environment"))))
def test_each_value_may_come_from_a_source_of_its_own(
    sources: Sources, places: tuple[str, ...]
) -> None:
    sources.fill({name: (place,) for name, place in zip(NAMES, places, strict=True)})
    live = sources.look()
    for name, place in zip(NAMES, places, strict=True):
        assert getattr(live.settings, name) == value_of(name, place)
        assert live.origins[name] == origin(sources, place)


def origin(sources: Sources, place: str | None) -> str | None:
    files = f"{FILES}{sources.directory}"
    return {"vault": VAULT, "files": files, "environment": ENVIRONMENT, None: None}[place]


def test_what_is_given_by_name_is_asked_of_no_source(sources: Sources) -> None:
    sources.fill(dict.fromkeys(NAMES, ("vault",)))
    live = sources.look(stripe_secret_key="sk_test_given", stripe_webhook_secret=None)
    assert live.secret_key() == "sk_test_given"
    assert live.signing_secrets() == ()
    assert live.origins["stripe_secret_key"] == "given by name"


def test_other_settings_have_their_whole_names_in_the_secret(sources: Sources) -> None:
    sources.put({"credit_payments_database_url": "memory://", "vault_addr": "https://elsewhere"})
    live = sources.look()
    assert live.settings.database == "memory://"
    assert live.settings.vault_url == sources.server.url


# -- engines and namespaces --------------------------------------------------------------------


def source_of(openbao: OpenBao, **changes: Any) -> VaultSecrets:
    access = {"url": openbao.url, "token": openbao.token}
    access |= {name: changes.pop(name) for name in list(changes) if name in attrs_of_access()}
    return VaultSecrets(lambda: VaultAccess(**access), **changes, retry=RetryPolicy.immediate())


def attrs_of_access() -> set[str]:
    return {field.name for field in attrs.fields(VaultAccess)}


@pytest.fixture
def kv1(openbao: OpenBao) -> Iterator[Any]:
    client: Any = hvac.Client(openbao.url, openbao.token)
    client.sys.enable_secrets_engine("kv", path="old/kv", options={"version": "1"})
    client.secrets.kv.v1.create_or_update_secret(
        PATH, {"secret_key": "sk_test_1"}, mount_point="old/kv"
    )
    yield client
    client.sys.disable_secrets_engine("old/kv")
    client.adapter.close()


@pytest.mark.parametrize("version", [None, 1])
def test_version_1_of_the_engine_is_read(kv1: Any, openbao: OpenBao, version: int | None) -> None:
    source = source_of(openbao, mount="old/kv", kv_version=version)
    source.refresh()
    assert source.get("stripe_secret_key") == "sk_test_1"
    assert source.name == "Vault (old/kv/flask-app/stripe)"


@pytest.mark.parametrize("version", [None, 2])
def test_version_2_of_the_engine_is_read(sources: Sources, version: int | None) -> None:
    sources.put({"stripe_secret_key": "sk_test_2"})
    source = source_of(sources.server, kv_version=version)
    source.refresh()
    assert source.get("stripe_secret_key") == "sk_test_2"
    assert source.get("stripe_api_version") is None


def test_a_namespace_has_secrets_of_its_own(sources: Sources) -> None:
    sources.put({"stripe_secret_key": "sk_test_root"})
    sources.vault.sys.create_namespace("team")
    client: Any = hvac.Client(sources.server.url, sources.server.token, namespace="team")
    client.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    client.secrets.kv.v2.create_or_update_secret(PATH, {"secret_key": "sk_test_team"})
    client.adapter.close()
    assert sources.look(vault_namespace="team").secret_key() == "sk_test_team"
    assert sources.look().secret_key() == "sk_test_root"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"path": "missing"}, "vault_path"),
        ({"mount": "nowhere"}, "vault_token"),  # which Vault does not tell apart
        ({"mount": "cubbyhole"}, "vault_mount"),
        ({"kv_version": 1}, "vault_path"),
        ({"token": "hvs.wrong"}, "vault_token"),
        ({"role_id": "wrong", "secret_id": "hvs.wrong"}, "vault_role_id"),
    ],
    ids=str,
)
def test_what_the_server_refuses_names_the_setting_at_fault(
    sources: Sources, changes: dict[str, Any], param: str
) -> None:
    sources.put({"stripe_secret_key": "sk_test_topsecret"})
    source = source_of(sources.server, **changes)
    with pytest.raises(cp.ConfigurationError) as caught:
        source.refresh()
    assert caught.value.param == param
    assert "hvs." not in str(caught.value)
    assert caught.value.__context__ is None
    assert source.get("stripe_secret_key") is None


def test_a_deleted_version_is_no_secret_and_what_was_read_before_it_stays(
    sources: Sources,
) -> None:
    sources.put({"stripe_secret_key": "sk_test_2"})
    source = source_of(sources.server)
    source.refresh()
    sources.vault.secrets.kv.v2.delete_latest_version_of_secret(PATH)
    with pytest.raises(cp.ConfigurationError, match="no secret at secret/flask-app/stripe"):
        source.refresh()
    assert source.get("stripe_secret_key") == "sk_test_2"


def test_a_value_that_is_no_text_is_refused(sources: Sources) -> None:
    sources.vault.secrets.kv.v2.create_or_update_secret(PATH, {"secret_key": 7})
    with pytest.raises(cp.ConfigurationError, match="secret_key is not text"):
        sources.look()


# -- who asks ----------------------------------------------------------------------------------

RULE = 'path "secret/data/flask-app/stripe" { capabilities = ["read"] }'


@pytest.fixture
def policy(sources: Sources) -> str:
    sources.vault.sys.create_or_update_policy("credits-read", RULE)
    sources.put({"stripe_secret_key": "sk_test_1"})
    return "credits-read"


def new_token(sources: Sources, policy: str, **options: Any) -> str:
    made = sources.vault.auth.token.create(policies=[policy], **options)
    return str(made["auth"]["client_token"])


def test_a_policy_for_the_secret_alone_suffices(sources: Sources, policy: str) -> None:
    token = new_token(sources, policy, no_default_policy=True)
    assert sources.look(vault_token=token).secret_key() == "sk_test_1"


def test_a_token_that_was_revoked_leaves_the_last_values_until_another_one_is_there(
    sources: Sources, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "credit_payments")
    token_file = sources.directory / "vault_token"
    token_file.write_text(new_token(sources, policy))
    (sources.directory / "vault_addr").write_text(sources.server.url)
    plain = (SecretFiles(sources.directory), Environment({}))
    live = LiveSecrets({}, open_chain({}, plain), sources.clock)
    sources.vault.auth.token.revoke(token_file.read_text())
    sources.put({"stripe_secret_key": "sk_test_2"})
    for _ in range(3):
        sources.clock.turn(61)
        assert live.secret_key() == "sk_test_1"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    token_file.write_text(new_token(sources, policy))
    sources.clock.turn(61)
    assert live.secret_key() == "sk_test_2"
    assert "can be read again" in caplog.text
    assert "hvs." not in caplog.text
    assert "sk_test" not in caplog.text


def test_a_token_is_renewed_before_it_ends(sources: Sources, policy: str) -> None:
    token = new_token(sources, policy, ttl="200s")
    for _ in range(2):
        before = ends_at(sources, token)
        assert sources.look(vault_token=token).secret_key() == "sk_test_1"
        assert ends_at(sources, token) >= before
    # A token of 100 seconds may end before the look after the next one.
    short = new_token(sources, policy, ttl="100s", period="300s")
    sources.vault.auth.token.renew(short, increment="100s")
    live = sources.look(vault_token=short)
    assert sources.vault.auth.token.lookup(short)["data"]["ttl"] > 150
    assert live.secret_key() == "sk_test_1"


def ends_at(sources: Sources, token: str) -> str:
    return str(sources.vault.auth.token.lookup(token)["data"]["expire_time"])


@pytest.fixture
def role(sources: Sources, policy: str) -> Iterator[dict[str, str]]:
    """An AppRole whose tokens may read the secret."""
    sources.vault.sys.enable_auth_method("approle", path="machines")
    approle = sources.vault.auth.approle
    options = {"token_policies": [policy], "mount_point": "machines"}
    approle.create_or_update_approle("credits", token_ttl="200s", token_max_ttl="300s", **options)
    role_id = approle.read_role_id("credits", mount_point="machines")["data"]["role_id"]
    secret = approle.generate_secret_id("credits", mount_point="machines")["data"]
    yield {
        "vault_role_id": role_id,
        "vault_secret_id": secret["secret_id"],
        "vault_auth_mount": "machines",
    }
    sources.vault.sys.disable_auth_method("machines")


def test_an_approle_logs_in_and_does_so_again_when_its_token_is_revoked(
    sources: Sources, role: dict[str, str]
) -> None:
    live = sources.look(vault_token=None, **role)
    assert live.secret_key() == "sk_test_1"
    for token in accessors(sources) - {root_accessor(sources)}:
        sources.vault.auth.token.revoke_accessor(token)
    sources.put({"stripe_secret_key": "sk_test_2"})
    sources.clock.turn(61)
    assert live.secret_key() == "sk_test_2"


def test_an_approle_that_is_not_known_is_refused(sources: Sources, role: dict[str, str]) -> None:
    wrong = {**role, "vault_secret_id": "wrong", "vault_required": True}
    with pytest.raises(cp.ConfigurationError, match="refused to log the role in") as caught:
        sources.look(**wrong)
    assert caught.value.param == "vault_role_id"


def accessors(sources: Sources) -> set[str]:
    return set(sources.vault.list("auth/token/accessors")["data"]["keys"])


def root_accessor(sources: Sources) -> str:
    return str(sources.vault.auth.token.lookup_self()["data"]["accessor"])


# -- connect -----------------------------------------------------------------------------------


def test_connect_takes_vault_from_the_environment(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources.fill(dict.fromkeys(NAMES, ("vault",)))
    monkeypatch.setenv("VAULT_ADDR", sources.server.url)
    monkeypatch.setenv("VAULT_TOKEN", sources.server.token)
    with cp.connect(database="memory://") as system:
        assert system.health().stripe.configured
        assert system.origins["stripe_secret_key"] == VAULT
        assert system.origins["vault_token"] == "environment"
    monkeypatch.setenv("CREDIT_PAYMENTS_VAULT_PATH", "none")
    with cp.connect(database="memory://") as system:
        assert not system.health().stripe.configured
