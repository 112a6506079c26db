"""The one doorway to `hvac`: connections to Vault, logging in, and what its errors mean.

OpenBao speaks the same protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import attrs
import hvac
from hvac import exceptions as vault_errors
from requests import exceptions as http_errors
from requests.adapters import HTTPAdapter
from urllib3.exceptions import DecodeError, HTTPError

from credit_payments.adapters.retries import RetryPolicy
from credit_payments.config import Settings
from credit_payments.errors import ConfigurationError, CreditPaymentsError, VaultUnavailable

T = TypeVar("T")
Meanings: TypeAlias = Sequence[
    tuple[tuple[type[Exception], ...], Callable[[], CreditPaymentsError]]
]
"""Which error of ours some errors of hvac and requests mean; the first that fits."""

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 5.0
"""For the next piece of an answer,"""
WHOLE_ANSWER_SECONDS = 10.0
"""and from the request until the end of its body."""
DEFAULT_RETRIES = RetryPolicy(wait_seconds_max=2.0, total_seconds_max=6.0)
ANSWER_BYTES_MAX = 2 * 1024 * 1024
"""Vault stores no entry of more than 1 MiB by default
(https://developer.hashicorp.com/vault/docs/internals/limits)."""
JWT_BYTES_MAX = 16 * 1024
RENEW_SECONDS = 150.0
"""How long before its end a token is renewed, or before half of its time if that is earlier: more
than twice the usual pause between two looks."""

# Their policy does not allow it, or the token is not valid any more: Vault does not tell which.
REFUSED = (vault_errors.Unauthorized, vault_errors.Forbidden)


@attrs.frozen(kw_only=True)
class VaultAccess:
    """Where Vault is, and how to log in: with a token, AppRole or a Kubernetes service account."""

    url: str = attrs.field(repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    namespace: str | None = None
    ca: str | None = None
    role_id: str | None = attrs.field(default=None, repr=False)
    secret_id: str | None = attrs.field(default=None, repr=False)
    kubernetes_role: str | None = None
    kubernetes_token_path: str = ""
    auth_mount: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings say, which have been checked."""
        return cls(
            url=settings.vault_url or "",
            token=settings.vault_token,
            namespace=settings.vault_namespace,
            ca=settings.vault_ca,
            role_id=settings.vault_role_id,
            secret_id=settings.vault_secret_id,
            kubernetes_role=settings.vault_kubernetes_role,
            kubernetes_token_path=settings.vault_kubernetes_token_path,
            auth_mount=settings.vault_auth_mount,
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("Access to Vault holds a token and is not pickled")

    @property
    def has_role(self) -> bool:
        """Whether one can log in anew, and is not left with a token that somebody gave."""
        return self.role_id is not None or self.kubernetes_role is not None


class VaultClient:
    """A few requests to Vault, over connections of their own; to be closed.

    Args:
        access: where Vault is.
        retry: how failed requests are repeated; they only read, or ask for another token.
    """

    def __init__(self, access: VaultAccess, *, retry: RetryPolicy = DEFAULT_RETRIES) -> None:
        self.access = access
        self._retry = retry
        url = urlsplit(access.url)
        self.hvac = hvac.Client(
            access.url,
            "",  # None would have it look for one in the environment, and in the home directory
            verify=access.ca,
            namespace=access.namespace,
            # requests takes both limits, which the annotation of hvac does not know.
            timeout=cast("Any", (CONNECT_SECONDS, ANSWER_SECONDS)),
            # What is not encrypted stays on this machine, whatever proxy the environment names.
            proxies={"no_proxy": url.hostname or ""} if url.scheme == "http" else None,
        )
        session = self.hvac.adapter.session
        session.mount("https://", _Bounded())
        session.mount("http://", _Bounded())
        if url.scheme == "https":
            # A standby redirects to the active node, and the token goes along: never in the clear.
            # Vault's own client follows no such redirect, either.
            del session.adapters["http://"]

    def ask(self, request: Callable[[Any], T], meanings: Meanings) -> T:
        """The result of a request, which gets the client of hvac.

        Raises:
            ConfigurationError: somebody has to mend something; `param` names the setting.
            VaultUnavailable: no usable answer from Vault.
        """
        try:
            return self._retry.call(
                lambda: request(self.hvac), least_wait_seconds=_least_wait_seconds
            )
        except (vault_errors.VaultError, OSError) as error:  # those of requests are OSErrors
            failure = translate(error, meanings)
        except (AttributeError, KeyError, TypeError, ValueError):
            # A page in HTML, or the JSON of something else.
            failure = _not_vault()
        # Raised out here: what `requests` raises carries the request, and with it the token.
        raise failure

    def ask_if_allowed(self, request: Callable[[Any], T]) -> T | None:
        """The same; None where Vault refuses."""
        refused = object()

        def asked(client: Any) -> Any:
            try:
                return request(client)
            except (*REFUSED, vault_errors.InvalidRequest):
                return refused

        answer: Any = self.ask(asked, ())
        return None if answer is refused else answer

    def close(self) -> None:
        """Let the connections go."""
        self.hvac.adapter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("A connection to Vault holds a token and is not pickled")


class _Bounded(HTTPAdapter):
    """Takes no longer body than Vault gives, and reads it for no longer than Vault needs."""

    def send(self, *args: Any, **options: Any) -> Any:
        deadline = time.monotonic() + WHOLE_ANSWER_SECONDS
        response = super().send(*args, **{**options, "stream": True})
        try:
            content = _read(response.raw, deadline)
        except BaseException:
            response.close()
            raise
        response._content = content  # noqa: SLF001 - as `content` keeps what it has read
        return response


def _read(raw: Any, deadline: float) -> bytes:
    """Piece by piece as they come: requests would wait until a piece is full, however long."""
    content = bytearray()
    try:
        while part := raw.read1(64 * 1024, decode_content=True):
            content += part
            if len(content) > ANSWER_BYTES_MAX:
                raise http_errors.RequestException
            if time.monotonic() > deadline:
                raise http_errors.ReadTimeout
    except DecodeError:
        raise http_errors.ContentDecodingError from None
    except HTTPError:
        raise http_errors.ConnectionError from None
    return bytes(content)


@attrs.frozen
class _Lease:
    """How long a token holds, in seconds of the clock that was asked."""

    lasts_seconds: float
    ends_at: float
    renew_at: float
    is_renewable: bool

    @classmethod
    def of(cls, answer: Any, seconds: str, now: float) -> _Lease:
        lasts = float(answer[seconds]) or float("inf")  # 0 is a token without an end
        renew_in = min(lasts / 2, lasts - RENEW_SECONDS)
        return cls(lasts, now + lasts, now + renew_in, answer["renewable"])


class VaultTokens:
    """The token to ask with: logs in, renews before its end, and logs in anew where that fails.

    One thread at a time. It is kept from one client to the next, and never shown.

    Args:
        now: seconds that only grow.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._access: VaultAccess | None = None
        self._token: str | None = None
        self._lease: _Lease | None = None

    def __repr__(self) -> str:
        return "<VaultTokens>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A token is not pickled")

    def sign_in(self, client: VaultClient) -> None:
        """Give the client its token.

        Raises:
            ConfigurationError: Vault refuses the role, or there is no such method.
            VaultUnavailable: no usable answer from Vault.
        """
        if client.access != self._access:
            self.forget()
            self._access = client.access
        if self._token is None or (self._lease is not None and self._now() >= self._lease.ends_at):
            self._log_in(client)
        client.hvac.token = self._token or ""

    def keep_alive(self, client: VaultClient) -> None:
        """Renew the token of a client that has signed in, where it is time to.

        Raises:
            ConfigurationError: as above.
            VaultUnavailable: no usable answer from Vault.
        """
        if self._lease is None:
            found = client.ask_if_allowed(lambda c: c.auth.token.lookup_self()["data"])
            self._lease = None if found is None else _Lease.of(found, "ttl", self._now())
        lease = self._lease
        if lease is None or self._now() < lease.renew_at:
            return
        renewed = None
        if lease.is_renewable:
            renewed = client.ask_if_allowed(lambda c: c.auth.token.renew_self()["auth"])
        if renewed is not None:
            self._lease = _Lease.of(renewed, "lease_duration", self._now())
        # Near its longest time a token is renewed for what is left of that, which may be nothing.
        if client.access.has_role and (
            renewed is None or float(renewed["lease_duration"]) < lease.lasts_seconds / 2
        ):
            self._log_in(client)

    def forget(self) -> None:
        """Have the next client log in."""
        self._token = self._lease = None

    def _log_in(self, client: VaultClient) -> None:
        access = client.access
        if not access.has_role:
            self._token, self._lease = access.token or "", None
            return
        login = _approle if access.role_id is not None else _kubernetes
        client.hvac.token = ""
        answer = client.ask(login(access), LOGIN_MEANINGS)
        self._token = answer["client_token"]
        self._lease = _Lease.of(answer, "lease_duration", self._now())
        client.hvac.token = self._token


def _approle(access: VaultAccess) -> Callable[[Any], Any]:
    return lambda c: _auth(
        c.auth.approle.login(
            access.role_id,
            access.secret_id,
            use_token=False,
            mount_point=access.auth_mount or "approle",
        )
    )


def _kubernetes(access: VaultAccess) -> Callable[[Any], Any]:
    # Read at each login: Kubernetes replaces it within the hour.
    jwt = _service_account_token(Path(access.kubernetes_token_path))
    return lambda c: _auth(
        c.auth.kubernetes.login(
            access.kubernetes_role,
            jwt,
            use_token=False,
            mount_point=access.auth_mount or "kubernetes",
        )
    )


def _auth(answer: Any) -> dict[str, Any]:
    auth = answer["auth"]
    if not isinstance(auth["client_token"], str):
        raise TypeError
    return {name: auth[name] for name in ("client_token", "lease_duration", "renewable")}


def _service_account_token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(JWT_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"The service account's token {path} cannot be read ({error.strerror}).",
            param="vault_kubernetes_token_path",
        ) from error
    if len(content) > JWT_BYTES_MAX or not content.strip() or not content.isascii():
        raise ConfigurationError(
            f"The file {path} holds no service account's token.",
            param="vault_kubernetes_token_path",
        )
    return content.decode().strip()


def translate(error: Exception, meanings: Meanings = ()) -> CreditPaymentsError:
    """The error of the library that one of hvac or requests means."""
    for kinds, meaning in (*meanings, *_COMMON):
        if isinstance(error, kinds):
            return meaning()
    return _not_vault()


def _least_wait_seconds(error: Exception) -> float | None:
    return 0.0 if isinstance(translate(error), VaultUnavailable) else None


def _not_vault() -> ConfigurationError:
    return ConfigurationError(
        "What answers at vault_url does not answer as Vault does.", param="vault_url"
    )


LOGIN_MEANINGS: Meanings = (
    (
        (*REFUSED, vault_errors.InvalidRequest, vault_errors.ParamValidationError),
        lambda: ConfigurationError(
            "Vault refused to log the role in: check its name or id, its secret id or service "
            "account, and the mount of the auth method.",
            param="vault_role_id",
        ),
    ),
    (
        (vault_errors.InvalidPath, vault_errors.UnsupportedOperation),
        lambda: ConfigurationError(
            "Vault has no such auth method at that path.", param="vault_auth_mount"
        ),
    ),
)

_COMMON: Meanings = (
    (
        (http_errors.SSLError,),  # before ConnectionError, of which it is one
        lambda: ConfigurationError(
            "Vault's certificate is not trusted: name its authority in vault_ca (VAULT_CACERT).",
            param="vault_ca",
        ),
    ),
    (
        (
            vault_errors.BadGateway,
            vault_errors.InternalServerError,
            vault_errors.PreconditionFailed,  # a standby that lags behind
            vault_errors.RateLimitExceeded,
            vault_errors.VaultDown,  # sealed, or a standby without a leader
            vault_errors.VaultNotInitialized,
            http_errors.ChunkedEncodingError,
            http_errors.ConnectionError,
            http_errors.Timeout,
        ),
        lambda: VaultUnavailable("Vault could not be reached, is sealed, or failed; try again."),
    ),
    ((http_errors.RequestException,), _not_vault),
    (
        (OSError,),  # requests looks for the file before it connects
        lambda: ConfigurationError("The file of vault_ca cannot be read.", param="vault_ca"),
    ),
)
