"""What is made of settings and their sources: each decision by itself."""

from __future__ import annotations

import pickle

import pytest

from credit_payments.config import load_settings
from credit_payments.domain.findings import configuration
from credit_payments.errors import ConfigurationError, CreditPaymentsError, VaultUnavailable


def test_each_setting_is_told_with_where_it_came_from() -> None:
    found = list(configuration.of_origins({"stripe_secret_key": "from Vault", "database": "x"}))
    assert [(one.name, one.level, one.said) for one in found] == [
        ("setting.database", "ok", "x"),
        ("setting.stripe_secret_key", "ok", "from Vault"),
    ]


def test_a_source_that_could_not_be_read_is_a_warning() -> None:
    (found,) = configuration.of_troubles({"Vault": "it is sealed"})
    assert (found.name, found.level) == ("source", "warning")
    assert found.said == "Vault cannot be read, and is passed over: it is sealed"
    assert "vault_required" in str(found.advice)


def test_every_setting_at_fault_is_a_problem_of_its_own() -> None:
    with pytest.raises(ConfigurationError) as wrong:
        load_settings({"stripe_secret_key": "hunter2", "webhook_mode": "sometimes"}, [])
    for error in (wrong.value, pickle.loads(pickle.dumps(wrong.value))):
        found = list(configuration.of_error(error))
        assert [(one.name, one.level) for one in found] == [
            ("setting.stripe_secret_key", "problem"),
            ("setting.webhook_mode", "problem"),
        ]
        assert found[1].advice == 'choose "inline" or "queued"'
        assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ConfigurationError("no such extra", param="encryption_keys"), "setting.encryption_keys"),
        (ConfigurationError("the file cannot be read"), "settings"),
        (VaultUnavailable("it is sealed"), "source"),
    ],
)
def test_whatever_is_wrong_is_told_with_advice(error: CreditPaymentsError, name: str) -> None:
    (found,) = configuration.of_error(error)
    assert (found.name, found.level, found.said) == (name, "problem", error.message)
    assert found.advice


def test_without_keys_to_encrypt_with_all_is_well() -> None:
    without = configuration.of_encryption(is_configured=False)
    assert (without.level, "stays with Stripe" in without.said) == ("ok", True)
    assert configuration.of_encryption(is_configured=True).said.endswith("kept, encrypted")
