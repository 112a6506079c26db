"""Keys that Vault's transit engine has encrypted, through `hvac`; OpenBao speaks the same protocol.

What may decrypt them is then a token of Vault, which expires, can be revoked and is audited, and
the settings hold nothing that is of use without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Self

from hvac import exceptions as vault_errors

from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.vault_client import (
    DEFAULT_RETRIES,
    REFUSED,
    Meanings,
    VaultAccess,
    VaultClient,
    VaultTokens,
)
from credit_payments.errors import ConfigurationError


class VaultTransit:
    """One key of the transit engine.

    Both calls are HTTP requests. Nothing is changed at Vault, so each may be repeated: after a
    lost connection, a time-out, 429 and 5xx, within the limits of `retry`.

    Args:
        access: where Vault is, and who asks, who may use the key.
        key: its name.
        mount: where the engine is mounted.
        retry: how failed calls are repeated.
    """

    def __init__(
        self,
        access: VaultAccess,
        *,
        key: str,
        mount: str = "transit",
        retry: RetryPolicy = DEFAULT_RETRIES,
    ) -> None:
        self._key = key
        self._mount = mount
        self._client = VaultClient(access, retry=retry)
        self._tokens = VaultTokens()

    def unwrap(self, wrapped: str) -> str:
        """The key, in base64, that Vault has encrypted as `vault:v1:…`.

        Raises:
            ConfigurationError: Vault does not know the token, the engine or the key, or did not
                encrypt this with it; `param` names the setting.
            VaultUnavailable: no usable answer from Vault.
        """
        return self._ask(
            lambda transit: transit.decrypt_data(self._key, wrapped, mount_point=self._mount),
            "plaintext",
        )

    def new_key(self) -> str:
        """A fresh key of 32 bytes, made by Vault and encrypted: nobody has seen it.

        Raises:
            ConfigurationError: as above.
            VaultUnavailable: no usable answer from Vault.
        """
        return self._ask(
            lambda transit: transit.generate_data_key(
                self._key, "wrapped", bits=256, mount_point=self._mount
            ),
            "ciphertext",
        )

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("A connection to Vault holds a token and is not pickled")

    def _ask(self, request: Callable[[Any], Any], part: str) -> str:
        self._tokens.sign_in(self._client)
        return self._client.ask(
            lambda client: str(request(client.secrets.transit)["data"][part]), MEANINGS
        )


MEANINGS: Meanings = (
    (
        REFUSED,
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
)
