from __future__ import annotations

import pytest

from credit_payments.adapters.environment import Environment


def test_a_name_is_looked_up_in_capitals() -> None:
    assert Environment({"STRIPE_SECRET_KEY": "sk_test_1"}).get("stripe_secret_key") == "sk_test_1"


def test_a_variable_that_is_not_set_is_none() -> None:
    assert Environment({}).get("stripe_secret_key") is None


def test_an_empty_variable_is_not_taken_for_a_missing_one() -> None:
    assert Environment({"STRIPE_SECRET_KEY": ""}).get("stripe_secret_key") == ""


def test_the_environment_of_the_process_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Environment()
    monkeypatch.setenv("STRIPE_API_VERSION", "2023-10-16")
    assert source.get("stripe_api_version") == "2023-10-16"


def test_the_repr_shows_no_variable() -> None:
    assert repr(Environment({"STRIPE_SECRET_KEY": "sk_test_1"})) == "Environment()"
