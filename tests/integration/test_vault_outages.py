"""A real server that is down, sealed, restarted or slow, and a Kubernetes that is scripted."""

from __future__ import annotations

import base64
import ipaddress
import json
import logging
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hvac
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.conftest import TurnableClock
from tests.support.servers.fixtures import skipping_where_missing
from tests.support.servers.openbao import OpenBao

import credit_payments as cp
from credit_payments.adapters.environment import Environment
from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.secret_chain import open_chain
from credit_payments.adapters.vault import VaultSecrets
from credit_payments.adapters.vault_client import VaultAccess
from credit_payments.config import LiveSecrets
from credit_payments.ports.secrets import SecretSource

PATH = "flask-app/stripe"


@pytest.fixture
def vault() -> Iterator[OpenBao]:
    """A server of this test's own, which it may end."""
    with ExitStack() as stack:
        with skipping_where_missing():
            server = stack.enter_context(OpenBao())
        yield server


def put(vault: OpenBao, key: str) -> None:
    client: Any = hvac.Client(vault.url, vault.token)
    client.secrets.kv.v2.create_or_update_secret(PATH, {"secret_key": key})
    client.adapter.close()


def chain(url: str, **changes: Any) -> list[SecretSource]:
    """Vault, which is tried without pauses, and then a variable."""
    access = VaultAccess(url=url, token="root")
    source = VaultSecrets(lambda: access, retry=RetryPolicy.immediate(), **changes)
    return [source, Environment({"STRIPE_SECRET_KEY": "sk_test_environment"})]


def test_what_is_down_at_the_start_is_passed_over_and_taken_up_when_it_is_back(
    vault: OpenBao, clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "credit_payments.config")
    vault.process.kill()
    live = LiveSecrets({}, chain(vault.url), clock)
    assert live.secret_key() == "sk_test_environment"
    clock.turn(61)
    assert live.secret_key() == "sk_test_environment"
    [told] = caplog.records
    assert "Vault (secret/flask-app/stripe) is passed over: Vault could not be" in told.getMessage()
    vault.process.start()
    put(vault, "sk_test_vault")
    clock.turn(61)
    assert live.secret_key() == "sk_test_vault"
    assert live.origins["stripe_secret_key"] == "Vault (secret/flask-app/stripe)"


def test_what_is_required_and_down_at_the_start_refuses_to_start(
    vault: OpenBao, clock: TurnableClock
) -> None:
    vault.process.kill()
    with pytest.raises(cp.VaultUnavailable):
        LiveSecrets({}, chain(vault.url, required=True), clock)


def test_what_goes_down_later_leaves_the_last_good_values(
    vault: OpenBao, clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "credit_payments.config")
    put(vault, "sk_test_vault")
    live = LiveSecrets({}, chain(vault.url, required=True), clock)
    vault.process.kill()
    for _ in range(5):
        clock.turn(61)
        assert live.secret_key() == "sk_test_vault"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    # It comes back blank: a secret that is gone is no better than a server that is.
    vault.process.start()
    clock.turn(61)
    assert live.secret_key() == "sk_test_vault"
    put(vault, "sk_test_restarted")
    clock.turn(61)
    assert live.secret_key() == "sk_test_restarted"
    assert "sk_test" not in caplog.text


def test_what_is_sealed_leaves_the_last_good_values_until_it_is_unsealed(
    vault: OpenBao, clock: TurnableClock
) -> None:
    put(vault, "sk_test_vault")
    live = LiveSecrets({}, chain(vault.url), clock)
    put(vault, "sk_test_second")
    client: Any = hvac.Client(vault.url, vault.token)
    client.sys.seal()
    clock.turn(61)
    assert live.secret_key() == "sk_test_vault"
    [key] = re.findall(r"Unseal Key: (\S+)", vault.process.log.read_text())
    client.sys.submit_unseal_key(key)
    client.adapter.close()
    clock.turn(61)
    assert live.secret_key() == "sk_test_second"


def test_what_is_sealed_at_the_start_is_passed_over(vault: OpenBao, clock: TurnableClock) -> None:
    put(vault, "sk_test_vault")
    client: Any = hvac.Client(vault.url, vault.token)
    client.sys.seal()
    client.adapter.close()
    live = LiveSecrets({}, chain(vault.url), clock)
    assert live.secret_key() == "sk_test_environment"


def test_what_takes_connections_and_never_answers_is_given_up(
    clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.vault_client.ANSWER_SECONDS", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        live = LiveSecrets({}, chain(url), clock)
        assert live.secret_key() == "sk_test_environment"


# -- TLS ---------------------------------------------------------------------------------------


def new_certificate(directory: Path) -> Path:
    """A certificate for this machine that nobody has signed, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vault.test")])
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = directory / "certificate.pem"
    path.write_bytes(certificate.public_bytes(encoding))
    (directory / "key.pem").write_bytes(key.private_bytes(encoding, form, plain))
    return path


@pytest.fixture
def behind_tls(vault: OpenBao, tmp_path: Path) -> Iterator[str]:
    """A server that ends TLS and answers as Vault does, once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(new_certificate(tmp_path), tmp_path / "key.pem")
    put(vault, "sk_test_vault")
    upstream = vault.url

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = {"X-Vault-Token": self.headers["X-Vault-Token"]}
            answer = requests.get(f"{upstream}{self.path}", headers=token, timeout=10)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *args: object) -> None:
            """The test's output is not the server's log."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """A client that does not trust the certificate hangs up."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_certificate_is_trusted_only_if_its_authority_is_named(
    behind_tls: str, tmp_path: Path, clock: TurnableClock
) -> None:
    given: dict[str, Any] = {
        "vault_url": behind_tls,
        "vault_token": "root",
        "vault_required": True,
    }
    nothing = [Environment({})]
    with pytest.raises(cp.ConfigurationError, match="certificate is not trusted") as caught:
        LiveSecrets(given, open_chain(given, nothing), clock)
    assert caught.value.param == "vault_ca"
    given["vault_ca"] = str(tmp_path / "missing.pem")
    with pytest.raises(cp.ConfigurationError, match="file of vault_ca cannot be read"):
        LiveSecrets(given, open_chain(given, nothing), clock)
    given["vault_ca"] = str(tmp_path / "certificate.pem")
    live = LiveSecrets(given, open_chain(given, nothing), clock)
    assert live.secret_key() == "sk_test_vault"


# -- Kubernetes --------------------------------------------------------------------------------


class Kubernetes:
    """The one call of Kubernetes' API that Vault makes: whose token is this?"""

    def __init__(self) -> None:
        self.reviewed: list[str] = []
        kubernetes = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                kubernetes.reviewed.append(asked["spec"]["token"])
                user = {"username": "system:serviceaccount:shop:credits", "uid": "1", "groups": []}
                status = {"authenticated": True, "user": user}
                body = json.dumps({**asked, "status": status}).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """The test's output is not the server's log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def kubernetes() -> Iterator[Kubernetes]:
    server = Kubernetes()
    yield server
    server.stop()


def service_account_token(number: int) -> str:
    """As Kubernetes writes them, with a signature that only Kubernetes itself would check."""
    account = {"serviceaccount": {"name": "credits", "uid": "1"}, "namespace": "shop"}
    claims = {
        "iss": "kubernetes",
        "sub": "system:serviceaccount:shop:credits",
        "kubernetes.io": account,
        "jti": str(number),
    }
    parts = [{"alg": "RS256", "typ": "JWT"}, claims, "signature"]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join(encoded).decode()


def test_a_service_account_logs_in_with_the_token_that_kubernetes_renews(
    vault: OpenBao, kubernetes: Kubernetes, clock: TurnableClock, tmp_path: Path
) -> None:
    put(vault, "sk_test_vault")
    client: Any = hvac.Client(vault.url, vault.token)
    client.sys.create_or_update_policy(
        "credits", f'path "secret/data/{PATH}" {{ capabilities = ["read"] }}'
    )
    client.sys.enable_auth_method("kubernetes")
    config = {
        "kubernetes_host": kubernetes.url,
        "token_reviewer_jwt": service_account_token(0),
        "disable_local_ca_jwt": True,
        "kubernetes_ca_cert": new_certificate(tmp_path).read_text(),
    }
    client.write_data("auth/kubernetes/config", data=config)
    client.auth.kubernetes.create_role("shop", ["credits"], ["shop"], policies=["credits"])
    token_file = tmp_path / "token"
    token_file.write_text(f"{service_account_token(1)}\n")
    given: dict[str, Any] = {
        "vault_url": vault.url,
        "vault_kubernetes_role": "shop",
        "vault_kubernetes_token_path": str(token_file),
        "vault_required": True,
    }
    live = LiveSecrets(given, open_chain(given, [Environment({})]), clock)
    assert live.secret_key() == "sk_test_vault"
    token_file.write_text(service_account_token(2))
    for accessor in client.list("auth/token/accessors")["data"]["keys"]:
        if accessor != client.auth.token.lookup_self()["data"]["accessor"]:
            client.auth.token.revoke_accessor(accessor)
    put(vault, "sk_test_second")
    clock.turn(61)
    assert live.secret_key() == "sk_test_second"
    assert kubernetes.reviewed == [service_account_token(1), service_account_token(2)]
    client.adapter.close()
