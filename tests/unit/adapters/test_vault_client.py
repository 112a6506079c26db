"""Logging in to a Vault whose answers are scripted, and what its errors mean."""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest
from hvac import exceptions as vault_errors
from hvac.adapters import RawAdapter
from requests import exceptions as http_errors

from credit_payments.adapters import vault_client
from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.vault import VaultSecrets
from credit_payments.adapters.vault_client import (
    ANSWER_BYTES_MAX,
    LOGIN_MEANINGS,
    VaultAccess,
    VaultClient,
    VaultTokens,
    translate,
)
from credit_payments.config import Settings
from credit_payments.errors import ConfigurationError, VaultUnavailable

CANARY = "hvs.canary-7f3a"
URL = "http://127.0.0.1:9"


@attrs.define
class Script:
    """Answers in place of the server: what a path answers with, or raises."""

    answers: dict[str, Any] = attrs.field(factory=dict)
    asked: list[str] = attrs.field(factory=list)
    tokens: list[str] = attrs.field(factory=list)
    seconds: float = 0.0

    def client(self, monkeypatch: pytest.MonkeyPatch, **access: Any) -> VaultClient:
        client = VaultClient(VaultAccess(url=URL, **access), retry=RetryPolicy.immediate(3))

        def request(method: str, url: str, **_: Any) -> Any:
            self.asked.append(f"{method} {url}")
            self.tokens.append(client.hvac.token)
            answer = self.answers[url]
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(client.hvac.adapter, "request", request)
        return client

    def login(self, seconds: int, number: int = 1, *, renewable: bool = True) -> None:
        auth = {"client_token": f"hvs.{number}", "lease_duration": seconds, "renewable": renewable}
        self.answers["/v1/auth/approle/login"] = {"auth": auth}

    def renewal(self, seconds: int) -> None:
        auth = {"lease_duration": seconds, "renewable": True}
        self.answers["/v1/auth/token/renew-self"] = {"auth": auth}


@pytest.fixture
def script() -> Script:
    return Script()


def look(script: Script, tokens: VaultTokens, client: VaultClient) -> list[str]:
    """What is asked when somebody looks."""
    script.asked.clear()
    tokens.sign_in(client)
    tokens.keep_alive(client)
    return [asked.rpartition("/")[2] for asked in script.asked]


def test_a_role_logs_in_once_renews_in_time_and_logs_in_anew_when_renewing_gains_little(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = script.client(monkeypatch, role_id="r", secret_id=CANARY)
    tokens = VaultTokens(lambda: script.seconds)
    script.login(3_600)
    script.renewal(3_600)
    assert look(script, tokens, client) == ["login"]
    script.seconds = 1_799
    assert look(script, tokens, client) == []
    script.seconds = 1_800
    assert look(script, tokens, client) == ["renew-self"]
    script.seconds = 3_599
    assert look(script, tokens, client) == []
    script.seconds = 3_600
    script.renewal(60)
    script.login(3_600, 2)
    assert look(script, tokens, client) == ["renew-self", "login"]
    assert client.hvac.token == "hvs.2"


def test_a_token_that_ended_is_not_sent_any_more(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = script.client(monkeypatch, role_id="r")
    tokens = VaultTokens(lambda: script.seconds)
    script.login(3_600)
    look(script, tokens, client)
    script.seconds = 4_000
    script.login(3_600, 2)
    assert look(script, tokens, client) == ["login"]
    assert script.tokens == ["", ""]


@pytest.mark.parametrize("refusal", [vault_errors.Forbidden(CANARY), vault_errors.InvalidRequest()])
def test_a_role_whose_token_cannot_be_renewed_logs_in_anew(
    script: Script, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    client = script.client(monkeypatch, role_id="r")
    tokens = VaultTokens(lambda: script.seconds)
    script.login(3_600)
    look(script, tokens, client)
    script.answers["/v1/auth/token/renew-self"] = refusal
    script.seconds = 3_000
    assert look(script, tokens, client) == ["renew-self", "login"]
    script.login(3_600, renewable=False)
    script.seconds = 6_000
    assert look(script, tokens, client) == ["renew-self", "login"]
    script.seconds = 9_000
    assert look(script, tokens, client) == ["login"]


def test_a_short_token_is_renewed_at_each_look(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = script.client(monkeypatch, role_id="r")
    tokens = VaultTokens(lambda: script.seconds)
    script.login(100)
    script.renewal(100)
    for asked in (["login", "renew-self"], ["renew-self"], ["renew-self"]):
        assert look(script, tokens, client) == asked
        script.seconds += 60


def test_a_token_that_was_given_is_looked_up_once_and_renewed_in_time(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = script.client(monkeypatch, token=CANARY)
    tokens = VaultTokens(lambda: script.seconds)
    script.answers["/v1/auth/token/lookup-self"] = {"data": {"ttl": 3_600, "renewable": True}}
    script.renewal(3_600)
    assert look(script, tokens, client) == ["lookup-self"]
    script.seconds = 1_800
    assert look(script, tokens, client) == ["renew-self"]
    assert look(script, tokens, client) == []
    other = script.client(monkeypatch, token="hvs.other")
    assert look(script, tokens, other) == ["lookup-self"]
    assert other.hvac.token == "hvs.other"


@pytest.mark.parametrize(
    "answer", [{"data": {"ttl": 0, "renewable": False}}, vault_errors.Forbidden()]
)
def test_a_token_without_an_end_or_that_may_not_look_itself_up_is_used_as_it_is(
    script: Script, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    client = script.client(monkeypatch, token=CANARY)
    tokens = VaultTokens(lambda: script.seconds)
    script.answers["/v1/auth/token/lookup-self"] = answer
    assert look(script, tokens, client) == ["lookup-self"]
    script.seconds = 1e9
    look(script, tokens, client)
    assert client.hvac.token == CANARY


# -- errors ------------------------------------------------------------------------------------

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


SOURCE = VaultSecrets(lambda: VaultAccess(url=URL, token=CANARY))


@pytest.mark.parametrize("kind", sorted(classes(), key=str))
@pytest.mark.parametrize("meanings", [LOGIN_MEANINGS, SOURCE._meanings()], ids=["login", "read"])
def test_every_error_is_told_as_one_to_mend_or_one_that_passes(
    kind: type[Exception], meanings: Any
) -> None:
    meaning = translate(kind.__new__(kind, CANARY), meanings)
    if kind.__name__ in PASSING:
        assert isinstance(meaning, VaultUnavailable)
    else:
        assert isinstance(meaning, ConfigurationError)
        assert meaning.param
    assert CANARY not in str(meaning)


@pytest.mark.parametrize("answer", [None, "<html>", {}, {"auth": None}, {"auth": {}}])
def test_an_answer_that_is_not_vaults_is_told_as_such(
    script: Script, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    client = script.client(monkeypatch, role_id="r")
    script.answers["/v1/auth/approle/login"] = answer
    with pytest.raises(ConfigurationError, match="does not answer as Vault does") as caught:
        VaultTokens().sign_in(client)
    assert caught.value.param == "vault_url"


def test_what_passes_is_tried_again_and_the_error_brings_nothing_along(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = script.client(monkeypatch, role_id=CANARY, secret_id=CANARY)
    script.answers["/v1/auth/approle/login"] = http_errors.ConnectionError(CANARY)
    with pytest.raises(VaultUnavailable) as caught:
        VaultTokens().sign_in(client)
    assert len(script.asked) == 3
    assert caught.value.__context__ is None
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff", b"x" * 20_000])
def test_a_service_account_without_a_token_is_told_by_its_file(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    client = script.client(monkeypatch, kubernetes_role="k", kubernetes_token_path=str(path))
    with pytest.raises(ConfigurationError, match=str(path)) as caught:
        VaultTokens().sign_in(client)
    assert caught.value.param == "vault_kubernetes_token_path"
    assert script.asked == []


# -- secrecy and bounds ------------------------------------------------------------------------


def test_no_environment_and_no_home_directory_lends_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    with VaultClient(VaultAccess(url=URL, role_id="r")) as client:
        assert client.hvac.token == ""


def test_every_request_has_limits_and_stays_on_this_machine_where_it_is_not_encrypted() -> None:
    with VaultClient(VaultAccess(url=URL)) as client:
        adapter: Any = client.hvac.adapter
        assert adapter._kwargs["timeout"] == (3.0, 5.0)
        assert client.hvac.session.proxies == {"no_proxy": "127.0.0.1"}
    with VaultClient(VaultAccess(url="https://vault.example.com")) as client:
        assert client.hvac.session.proxies is None


def test_no_secret_shows_and_nothing_is_pickled() -> None:
    settings = Settings(
        vault_url=URL, vault_token=CANARY, vault_role_id=CANARY, vault_secret_id=CANARY
    )
    access = VaultAccess.of(settings)
    tokens = VaultTokens()
    with VaultClient(access) as client:
        for shown in (access, client, tokens, SOURCE, settings):
            assert CANARY not in repr(shown)
            with pytest.raises(TypeError, match="not pickled"):
                pickle.dumps(shown)


class Talking(BaseHTTPRequestHandler):
    """Answers with as much JSON as the path says, or byte by byte for ever."""

    def do_GET(self) -> None:
        if self.path.endswith("/slow"):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.01)
            return
        size = int(self.path.rpartition("/")[2])
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        with contextlib.suppress(OSError):  # whoever asked has heard enough
            self.wfile.write(b'"' + b"a" * (size - 2) + b'"')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def talker() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Talking) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_no_more_is_read_of_an_answer_than_vault_gives(talker: str) -> None:
    def ask(client: VaultClient, size: int) -> object:
        return client.ask(lambda c: c.adapter.get(f"/v1/{size}").json(), ())

    with VaultClient(VaultAccess(url=talker), retry=RetryPolicy.immediate(3)) as client:
        client.hvac.adapter = RawAdapter.from_adapter(client.hvac.adapter)
        assert ask(client, ANSWER_BYTES_MAX) == "a" * (ANSWER_BYTES_MAX - 2)
        with pytest.raises(ConfigurationError, match="does not answer as Vault does") as caught:
            ask(client, ANSWER_BYTES_MAX + 1)
    assert caught.value.param == "vault_url"


def test_an_answer_that_comes_byte_by_byte_is_not_awaited_for_ever(
    talker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_client, "WHOLE_ANSWER_SECONDS", 0.1)
    client = VaultClient(VaultAccess(url=talker), retry=RetryPolicy.immediate(2))
    with client, pytest.raises(VaultUnavailable):
        client.ask(lambda c: c.adapter.get("/v1/slow"), ())


def test_the_token_follows_no_redirect_that_leaves_tls() -> None:
    with VaultClient(VaultAccess(url="https://vault.example.com")) as client:
        session = client.hvac.adapter.session
        assert session.get_adapter("https://other.example.com") is not None
        with pytest.raises(http_errors.InvalidSchema) as caught:
            session.get_adapter("http://vault.example.com")
    assert isinstance(translate(caught.value), ConfigurationError)
