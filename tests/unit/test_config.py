from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from credit_payments.config import NAMES_IN_SOURCES, Settings, load_settings
from credit_payments.domain.packages import DEFAULT_PACKAGES
from credit_payments.errors import ConfigurationError

SECRET = "sk_test_simulator"
WEBHOOK = "whsec_simulator"


@attrs.define
class Source:
    """A secret source over a mapping, which notes what it was asked for."""

    values: Mapping[str, str] = attrs.field(factory=dict)
    asked: list[str] = attrs.field(factory=list)
    name: str = "test"
    optional: bool = False

    def refresh(self) -> None:
        pass

    def get(self, name: str) -> str | None:
        self.asked.append(name)
        return self.values.get(name)


def refused(**values: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    return caught.value


def test_the_defaults_need_nothing() -> None:
    settings = Settings()
    assert settings.database == "sqlite:///credits.db"
    assert settings.packages == DEFAULT_PACKAGES
    assert settings.livemode is None
    assert settings.webhook_secrets == ()


@pytest.mark.parametrize(
    ("key", "livemode"),
    [
        ("sk_test_simulator", False),
        ("rk_test_51Abc_9", False),
        ("sk_live_51Abc9", True),
        ("rk_live_51Abc9", True),
    ],
)
def test_the_key_tells_whether_money_is_real(key: str, livemode: bool) -> None:
    assert Settings(stripe_secret_key=key).livemode is livemode


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("", "it is empty"),
        (" ", "it is empty"),
        (f"{SECRET}\n", "white space"),
        ("pk_test_123", "it holds a publishable key"),
        ("whsec_123", "it holds a webhook secret"),
        ("sk_prod_123", "copy it again"),
        ("sk_test_", "copy it again"),
        ("sk_test_ключ", "copy it again"),
        (b"sk_test_123", "give text"),
    ],
)
def test_a_secret_key_of_the_wrong_form_is_refused_with_a_remedy(key: object, remedy: str) -> None:
    error = refused(stripe_secret_key=key)
    assert remedy in error.message
    assert error.param == "stripe_secret_key"


@pytest.mark.parametrize("key", ["sk_test_topsecret", "rk_live_topsecret", "whsec_topsecret"])
def test_a_secret_in_the_place_of_the_publishable_key_is_refused_and_not_quoted(key: str) -> None:
    error = refused(stripe_publishable_key=key)
    assert "pk_test_" in error.message
    assert "topsecret" not in repr(error) + str(error)


@pytest.mark.parametrize(("one", "other"), [("live", "test"), ("test", "live")])
def test_keys_of_two_modes_are_refused(one: str, other: str) -> None:
    error = refused(stripe_secret_key=f"sk_{one}_123", stripe_publishable_key=f"pk_{other}_123")
    assert "from the same mode" in error.message


@pytest.mark.parametrize(
    ("given", "secrets"),
    [
        (None, ()),
        (WEBHOOK, (WEBHOOK,)),
        ([WEBHOOK, "whsec_old"], (WEBHOOK, "whsec_old")),
        ((WEBHOOK,), (WEBHOOK,)),
        ("whsec_new, whsec_old", ("whsec_new", "whsec_old")),
        ("whsec_aB+/3=", ("whsec_aB+/3=",)),
    ],
)
def test_one_webhook_secret_or_several_are_taken(given: Any, secrets: tuple[str, ...]) -> None:
    assert Settings(stripe_webhook_secret=given).webhook_secrets == secrets


@pytest.mark.parametrize(
    "given", ["", " ", ",", [], [""], "topsecret", "sk_test_topsecret", [WEBHOOK, ""], "whsec_", 5]
)
def test_an_empty_or_malformed_webhook_secret_is_refused_and_not_quoted(given: object) -> None:
    error = refused(stripe_webhook_secret=given)
    assert "topsecret" not in str(error)


@pytest.mark.parametrize(
    "base",
    [
        "https://api.stripe.com",
        "https://api.stripe.com/",
        "http://127.0.0.1:12111",
        "http://localhost:12111/",
        "http://[::1]:12111",
        "https://stripe.test.example",
    ],
)
def test_a_base_is_https_or_on_this_machine(base: str) -> None:
    settings = Settings(stripe_secret_key=SECRET, stripe_api_base=base)
    assert settings.stripe_api_base == base.rstrip("/")


@pytest.mark.parametrize(
    "base",
    [
        "",
        "127.0.0.1:12111",
        "http://stripe.test.example",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com",
        "https://user:password@example.com",
        "https://example.com/v1",
        "https://example.com?x=1",
        "https://example.com:port",
        "ftp://127.0.0.1",
        "http://127.0.0.1:1\n2",
        "https://[",
        5,
    ],
)
def test_a_base_that_would_carry_the_key_elsewhere_is_refused(base: object) -> None:
    error = refused(stripe_secret_key=SECRET, stripe_api_base=base)
    assert error.param == "stripe_api_base"
    assert "password" not in error.message


@pytest.mark.parametrize("base", ["http://127.0.0.1:12111", "https://proxy.example"])
def test_a_live_key_goes_to_stripe_only(base: str) -> None:
    error = refused(stripe_secret_key="sk_live_123", stripe_api_base=base)
    assert "live key" in error.message
    own = Settings(stripe_secret_key="sk_live_123", stripe_api_base="https://api.stripe.com")
    assert own.livemode is True


@pytest.mark.parametrize("version", ["2023-10-16", "2026-10-28.endive"])
def test_an_api_version_as_stripe_writes_it_is_taken(version: str) -> None:
    assert Settings(stripe_api_version=version).stripe_api_version == version


@pytest.mark.parametrize("version", ["", "latest", "2023-10-16\n", "v1", "2023-10", 20231016])
def test_another_api_version_is_refused(version: object) -> None:
    assert refused(stripe_api_version=version).param == "stripe_api_version"


@pytest.mark.parametrize(
    "database", ["", "credits.db", None, "://x", "sqlite:///x.db ", "\tmemory://"]
)
def test_a_database_that_is_no_url_is_refused(database: object) -> None:
    assert refused(database=database).param == "database"


@pytest.mark.parametrize(
    "wrong",
    [
        {"stripe_timeout_seconds": 0},
        {"stripe_timeout_seconds": float("nan")},
        {"stripe_timeout_seconds": float("inf")},
        {"stripe_attempts_max": 0},
        {"stripe_attempts_max": True},
        {"stripe_attempts_max": 2.5},
        {"stripe_wait_seconds_max": -1},
        {"queue_commands_max": 0},
        {"batch_commands_max": "128"},
        {"webhook_tolerance_seconds": 0},
        {"webhook_body_bytes_max": 10},
    ],
    ids=str,
)
def test_a_number_out_of_bounds_is_refused(wrong: dict[str, object]) -> None:
    assert refused(**wrong).param == next(iter(wrong))


def test_all_problems_come_in_one_error() -> None:
    message = refused(
        database="x",
        stripe_secret_key="",
        stripe_webhook_secret="",
        stripe_api_version="x",
        queue_commands_max=0,
    ).message
    assert message.count("\n  - ") == 5


def test_packages_that_are_no_list_are_refused() -> None:
    assert "lists" in refused(packages=5).message


def test_no_secret_is_shown() -> None:
    settings = Settings(
        database="postgresql://ada:pass/word?@host/credits?password=word",
        stripe_secret_key="sk_test_topsecret",
        stripe_webhook_secret=["whsec_topsecret"],
    )
    shown = repr(settings) + str(settings)
    assert "topsecret" not in shown
    assert "word" not in shown
    assert "ada" not in shown
    assert "'postgresql://***@host/credits'" in shown


def test_settings_are_neither_pickled_nor_copied_by_accident() -> None:
    settings = Settings(stripe_secret_key=SECRET)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(settings)
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(settings)


def test_settings_do_not_change() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Settings().database = "memory://"  # type: ignore[misc]


def test_each_value_comes_from_the_first_source_that_has_it() -> None:
    vault = Source({"stripe_secret_key": "sk_test_vault"})
    environment = Source(
        {
            "stripe_secret_key": "sk_test_environment",
            "stripe_webhook_secret": "whsec_environment",
            "credit_payments_database_url": "memory://",
        }
    )
    settings = load_settings({}, [vault, environment])
    assert settings.stripe_secret_key == "sk_test_vault"
    assert settings.webhook_secrets == ("whsec_environment",)
    assert settings.database == "memory://"
    assert "stripe_secret_key" not in environment.asked


def test_what_is_given_is_not_looked_for_even_when_it_is_none() -> None:
    source = Source({"stripe_secret_key": SECRET, "credit_payments_database_url": "memory://"})
    settings = load_settings({"stripe_secret_key": None, "database": "sqlite:///x.db"}, [source])
    assert settings.stripe_secret_key is None
    assert settings.database == "sqlite:///x.db"
    assert {"stripe_secret_key", "credit_payments_database_url"}.isdisjoint(source.asked)


def test_without_any_value_the_defaults_hold() -> None:
    assert load_settings({}, [Source()]) == Settings()


def test_an_empty_value_does_not_fall_through_to_the_next_source() -> None:
    sources = [Source({"stripe_webhook_secret": ""}), Source({"stripe_webhook_secret": WEBHOOK})]
    with pytest.raises(ConfigurationError, match="stripe_webhook_secret: it is empty"):
        load_settings({}, sources)


def test_a_misspelt_name_is_refused_with_the_close_ones() -> None:
    with pytest.raises(ConfigurationError, match="did you mean") as caught:
        load_settings({"stripe_secret": SECRET, "zzz": 1}, [])
    assert "stripe_secret_key" in caught.value.message
    assert "\n  - zzz" in caught.value.message
    assert SECRET not in caught.value.message
    assert caught.value.param == "stripe_secret"


def test_an_error_of_a_source_is_not_hidden() -> None:
    class Broken:
        name = "broken"
        optional = False

        def refresh(self) -> None:
            pass

        def get(self, name: str) -> str | None:
            raise ConfigurationError("cannot be read")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings({}, [Broken(), Source({"stripe_secret_key": SECRET})])


def test_the_names_in_sources_are_fields() -> None:
    assert set(NAMES_IN_SOURCES) <= {field.name for field in attrs.fields(Settings)}


KEY, INDEX_KEY = "QUFB" * 10 + "QUE=", "QkJC" * 10 + "QkI="
WRAPPED = "vault:v1:AbC="
VAULT: dict[str, Any] = {
    "encryption_keys": f"new:{WRAPPED}",
    "encryption_index_key": WRAPPED,
    "encryption_vault_transit_key": "credits",
    "vault_url": "https://vault.example.com:8200/",
    "vault_token": "hvs.topsecret",
}


def test_encryption_keys_come_from_the_sources_as_one_text() -> None:
    source = Source(
        {
            "credit_payments_encryption_keys": f"new:{KEY},old:{KEY}",
            "credit_payments_encryption_index_key": INDEX_KEY,
        }
    )
    settings = load_settings({}, [source])
    assert settings.encryption_keys == (("new", KEY), ("old", KEY))
    assert settings.encryption_index_key == INDEX_KEY


def test_encryption_keys_that_cannot_be_used_are_all_told_and_none_is_quoted() -> None:
    error = refused(encryption_keys=["new:topsecret", KEY], encryption_index_key="topsecret")
    assert error.message.count("\n  - ") == 3
    assert error.param == "encryption_keys"
    assert "topsecret" not in error.message
    assert KEY not in error.message


def test_vault_is_asked_for_only_where_it_wraps_the_keys() -> None:
    settings = load_settings({}, [Source({"vault_addr": "unix:///run/vault", "vault_token": " "})])
    assert settings.encryption_vault_transit_key is None


def test_settings_for_vault_are_taken_and_kept_out_of_sight() -> None:
    settings = Settings(**VAULT, vault_namespace="team/a")
    assert settings.vault_url == "https://vault.example.com:8200"
    assert settings.vault_transit_mount == "transit"
    assert "topsecret" not in repr(settings)
    assert WRAPPED not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"vault_url": None},
        {"vault_url": "http://vault.example.com:8200"},
        {"vault_url": "https://vault.example.com/v1"},
        {"vault_token": None},
        {"vault_token": ""},
        {"vault_token": "hvs.x\nX-Injected: 1"},
        {"vault_namespace": ""},
        {"vault_namespace": "a\nb"},
        {"vault_transit_mount": ""},
        {"vault_transit_mount": "../sys"},
        {"vault_transit_mount": None},
        {"encryption_vault_transit_key": ""},
        {"encryption_vault_transit_key": "../decrypt/other"},
        {"encryption_vault_transit_key": ".."},
        {"encryption_keys": f"new:{KEY}"},
        {"encryption_index_key": INDEX_KEY},
    ],
    ids=str,
)
def test_settings_for_vault_that_cannot_be_right_are_refused(wrong: dict[str, Any]) -> None:
    error = refused(**{**VAULT, **wrong})
    assert error.param == next(iter(wrong))
    assert error.message.count("\n  - ") == 1
    assert "topsecret" not in error.message
