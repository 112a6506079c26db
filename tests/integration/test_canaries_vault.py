"""Secrets for Vault through each of its refusals: found nowhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest
from tests.support.canaries import MARK, SECRETS, Finder, finding
from tests.support.servers.openbao import OpenBao
from tests.support.watched_shop import EchoingStripe

import credit_payments as cp
from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.vault import VaultSecrets
from credit_payments.adapters.vault_client import VaultAccess
from credit_payments.adapters.vault_transit import VaultTransit

TOKEN: dict[str, str] = {"token": SECRETS["vault token"]}
ROLE = {"role_id": SECRETS["vault role"], "secret_id": SECRETS["vault secret id"]}
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def finder() -> Iterator[Finder]:
    with finding() as made:
        yield made


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """Where somebody quotes whatever was sent, the token among it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EchoingStripe) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def fail(finder: Finder, access: VaultAccess) -> None:
    once = RetryPolicy(attempts=1)
    source = VaultSecrets(lambda: access, retry=once)
    with VaultTransit(access, key="k", retry=once) as transit:
        for call in (source.refresh, lambda: transit.unwrap(f"vault:v1:{MARK}"), transit.new_key):
            with pytest.raises(cp.CreditPaymentsError) as caught:
                call()
            finder.error(caught.value)
        finder.objects([source, transit, access])


@pytest.mark.parametrize("login", [TOKEN, ROLE], ids=["token", "role"])
def test_no_secret_turns_up_where_vault_refuses_it(
    openbao: OpenBao, finder: Finder, login: dict[str, str]
) -> None:
    fail(finder, VaultAccess(url=openbao.url, **login))
    fail(finder, VaultAccess(url=NOBODY, **login))


@pytest.mark.parametrize("login", [TOKEN, ROLE], ids=["token", "role"])
def test_no_secret_turns_up_where_something_else_answers(
    echo: str, finder: Finder, login: dict[str, str]
) -> None:
    for status in (200, 400, 403, 404, 429, 500, 503):
        for kind in ("html", "list", "object", "error"):
            EchoingStripe.status, EchoingStripe.kind = status, kind
            fail(finder, VaultAccess(url=echo, **login))


def test_a_system_that_goes_on_without_vault_shows_none(openbao: OpenBao, finder: Finder) -> None:
    token = SECRETS["vault token"]
    with cp.connect(
        database="memory://", vault_url=openbao.url, vault_path="a/b", vault_token=token
    ) as one:
        finder.add("reports", dict(one.origins))
        finder.objects(one)
    assert finder.seen["logs"] > 0
    assert finder.seen["reprs"] > 0
