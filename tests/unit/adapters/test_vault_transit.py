"""Every error of hvac and requests means one of ours, and none brings the token along."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from hvac import exceptions as vault_errors
from requests import exceptions as http_errors

from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.vault_client import VaultAccess, translate
from credit_payments.adapters.vault_transit import MEANINGS, VaultTransit
from credit_payments.errors import ConfigurationError, VaultUnavailable

TOKEN = "hvs.canary-7f3a"
ACCESS = VaultAccess(url="http://127.0.0.1:9", token=TOKEN)

PASSING = {
    *("BadGateway", "InternalServerError", "PreconditionFailed", "RateLimitExceeded"),
    *("VaultDown", "VaultNotInitialized", "ChunkedEncodingError", "ConnectionError"),
    *("ConnectTimeout", "ProxyError", "ReadTimeout", "Timeout"),
}
"""What may be over in a moment; everything else somebody has to mend."""


def every_class(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every_class(child)


def classes() -> set[type[Exception]]:
    found = {*every_class(vault_errors.VaultError), *every_class(http_errors.RequestException)}
    return {kind for kind in found if kind.__module__.startswith(("hvac.", "requests."))}


@pytest.mark.parametrize("kind", sorted(classes(), key=str))
def test_every_error_is_told_as_one_to_mend_or_one_that_passes(kind: type[Exception]) -> None:
    error = kind.__new__(kind, TOKEN)
    meaning = translate(error, MEANINGS)
    if kind.__name__ in PASSING:
        assert isinstance(meaning, VaultUnavailable)
    else:
        assert isinstance(meaning, ConfigurationError)
        assert meaning.param
    assert TOKEN not in str(meaning)


@pytest.mark.parametrize(
    ("status", "param"),
    [
        (400, "encryption_vault_transit_key"),
        (401, "vault_token"),
        (403, "vault_token"),
        (404, "vault_transit_mount"),
        (405, "vault_url"),
        (418, "vault_url"),
    ],
)
def test_an_answer_names_the_setting_at_fault(status: int, param: str) -> None:
    error = vault_errors.VaultError.from_status(status, "no")
    meaning = translate(error, MEANINGS)
    assert type(meaning) is ConfigurationError
    assert meaning.param == param


def test_what_passes_is_tried_again_and_the_error_brings_nothing_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transit = VaultTransit(ACCESS, key="credits", retry=RetryPolicy.immediate(attempts=3))
    asked = []

    def fail(*arguments: Any, **options: Any) -> None:
        asked.append(arguments)
        raise http_errors.ConnectionError(TOKEN)

    monkeypatch.setattr(transit._client.hvac.session, "request", fail)
    with pytest.raises(VaultUnavailable) as caught:
        transit.unwrap("vault:v1:AbC=")
    assert len(asked) == 3
    assert caught.value.__context__ is None
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("answer", [None, "<html>", {}, {"data": None}, {"data": {}}])
def test_an_answer_that_is_not_vaults_is_told_as_such(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    transit = VaultTransit(ACCESS, key="credits")
    monkeypatch.setattr(transit._client.hvac.adapter, "request", lambda *_, **__: answer)
    with pytest.raises(ConfigurationError, match="does not answer as Vault does") as caught:
        transit.new_key()
    assert caught.value.param == "vault_url"


def test_the_token_shows_nowhere() -> None:
    with VaultTransit(ACCESS, key="credits") as transit:
        assert TOKEN not in repr(transit)
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(transit)
