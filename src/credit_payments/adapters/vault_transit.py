"""Keys that Vault's transit engine has encrypted, through `hvac`; OpenBao speaks the same protocol.

What may decrypt them is then a token of Vault, which expires, can be revoked and is audited, and
the settings hold nothing that is of use without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Self

import hvac
from hvac import exceptions as vault_errors
from requests import exceptions as http_errors

from credit_payments.adapters.retries import RetryPolicy
from credit_payments.errors import ConfigurationError, CreditPaymentsError, VaultUnavailable

TIMEOUT_SECONDS = 10
DEFAULT_RETRIES = RetryPolicy(wait_seconds_max=2.0)


class VaultTransit:
    """One key of the transit engine.

    Both calls are HTTP requests. Nothing is changed at Vault, so each may be repeated: after a
    lost connection, a time-out, 429 and 5xx, within the limits of `retry`.

    Args:
        url: the server.
        token: may use the key.
        key: its name.
        mount: where the engine is mounted.
        namespace: for servers that have them.
        retry: how failed calls are repeated.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        key: str,
        mount: str = "transit",
        namespace: str | None = None,
        retry: RetryPolicy = DEFAULT_RETRIES,
    ) -> None:
        self._key = key
        self._mount = mount
        self._retry = retry
        self._client = hvac.Client(url, token, namespace=namespace, timeout=TIMEOUT_SECONDS)

    def unwrap(self, wrapped: str) -> str:
        """The key, in base64, that Vault has encrypted as `vault:v1:…`.

        Raises:
            ConfigurationError: Vault does not know the token, the engine or the key, or did not
                encrypt this with it; `param` names the setting.
            VaultUnavailable: no usable answer from Vault.
        """
        transit = self._client.secrets.transit
        return self._ask(
            lambda: transit.decrypt_data(self._key, wrapped, mount_point=self._mount), "plaintext"
        )

    def new_key(self) -> str:
        """A fresh key of 32 bytes, made by Vault and encrypted: nobody has seen it.

        Raises:
            ConfigurationError: as above.
            VaultUnavailable: no usable answer from Vault.
        """
        transit: Any = self._client.secrets.transit  # untyped, as far as data keys go
        return self._ask(
            lambda: transit.generate_data_key(
                self._key, "wrapped", bits=256, mount_point=self._mount
            ),
            "ciphertext",
        )

    def close(self) -> None:
        """Let the connections go."""
        self._client.adapter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("A connection to Vault holds a token and is not pickled")

    def _ask(self, request: Callable[[], Any], part: str) -> str:
        try:
            answer = self._retry.call(request, least_wait_seconds=_least_wait_seconds)
            return str(answer["data"][part])
        except (vault_errors.VaultError, http_errors.RequestException) as error:
            failure = translate(error)
        except (KeyError, TypeError):  # a page in HTML, or the JSON of something else
            failure = _not_vault()
        # Raised out here: what `requests` raises carries the request, and with it the token.
        raise failure


def translate(error: Exception) -> CreditPaymentsError:
    """The error of the library that one of hvac or requests means."""
    for kinds, meaning in _MEANINGS:
        if isinstance(error, kinds):
            return meaning()
    return _not_vault()


def _least_wait_seconds(error: Exception) -> float | None:
    return 0.0 if isinstance(translate(error), VaultUnavailable) else None


def _not_vault() -> ConfigurationError:
    return ConfigurationError(
        "What answers at vault_url does not answer as Vault does.", param="vault_url"
    )


_MEANINGS: tuple[tuple[tuple[type[Exception], ...], Callable[[], CreditPaymentsError]], ...] = (
    (
        (vault_errors.Unauthorized, vault_errors.Forbidden),
        lambda: ConfigurationError(
            "Vault refused the token: it has expired, or its policy does not allow to use "
            "the transit key.",
            param="vault_token",
        ),
    ),
    (
        (vault_errors.InvalidRequest, vault_errors.ParamValidationError),
        lambda: ConfigurationError(
            "Vault has no such transit key, or has not encrypted this with it.",
            param="encryption_vault_transit_key",
        ),
    ),
    (
        (vault_errors.InvalidPath, vault_errors.UnsupportedOperation),
        lambda: ConfigurationError(
            "Vault has no transit engine at that path.", param="vault_transit_mount"
        ),
    ),
    (
        (http_errors.SSLError,),  # before ConnectionError, of which it is one
        lambda: ConfigurationError(
            "Vault's certificate is not trusted: name its authority in VAULT_CACERT.",
            param="vault_url",
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
)
