"""Settings from a secret of Vault's KV engine, version 1 or 2: the first link of the chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

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
from credit_payments.errors import ConfigurationError, CreditPaymentsError

AGAIN_RETRIES = RetryPolicy(attempts=2, wait_seconds_max=0.2, total_seconds_max=2.0)
"""For looks while the process runs, where somebody waits, and the last values are at hand."""


class VaultSecrets:
    """A `SecretSource` over one secret, read as a whole: `stripe_secret_key` is its `secret_key`.

    All other settings have their whole names in it, such as `credit_payments_database_url`. What
    says where Vault is cannot come from there. Each look is two or three HTTP requests: the token
    is looked up once, and renewed before it ends; where there is a role, one that was revoked is
    replaced. With a token that somebody gave, `access` is asked again each time, so that another
    one is taken up.

    Args:
        access: where Vault is, and how to log in, as of now.
        mount: where the KV engine is mounted.
        path: the secret's.
        kv_version: 1 or 2; None has Vault asked.
        required: whether a system refuses to start without it.
        retry: how failed requests are repeated at the start.
        tokens: keeps the token.
    """

    def __init__(
        self,
        access: Callable[[], VaultAccess],
        *,
        mount: str = "secret",
        path: str = "flask-app/stripe",
        kv_version: int | None = None,
        required: bool = False,
        retry: RetryPolicy = DEFAULT_RETRIES,
        tokens: VaultTokens | None = None,
    ) -> None:
        self.name = f"Vault ({mount}/{path})"
        self.optional = not required
        self._access = access
        self._mount = mount
        self._path = path
        self._given_version = self._version = kv_version
        self._retry = retry
        self._tokens = tokens or VaultTokens()
        self._found: Mapping[str, object] = {}

    def __repr__(self) -> str:
        return f"VaultSecrets({self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets of Vault are not pickled: read them where they are used")

    def refresh(self) -> None:
        """Read the secret anew.

        Raises:
            ConfigurationError: Vault does not know the token or the role, or has no such secret;
                `param` names the setting.
            VaultUnavailable: no usable answer from Vault.
        """
        retry, self._retry = self._retry, AGAIN_RETRIES
        with VaultClient(self._access(), retry=retry) as client:
            try:
                self._found = self._look(client)
            except CreditPaymentsError:
                self._version = self._given_version  # the engine may be another one by now
                raise

    def get(self, name: str) -> str | None:
        """The value of that name in the secret that was read last, or None.

        Raises:
            ConfigurationError: it is not text.
        """
        if name.startswith(("vault_", "credit_payments_vault_")):
            return None
        key = name.removeprefix("stripe_")
        value = self._found.get(key)
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{self.name}: {key} is not text.", param=name)
        return value

    def _look(self, client: VaultClient) -> Mapping[str, object]:
        self._tokens.sign_in(client)
        self._tokens.keep_alive(client)
        if client.access.has_role:
            found = client.ask_if_allowed(self._read)
            if found is not None:
                return found
            # Revoked, perhaps: that looks the same as a policy that does not allow it.
            self._tokens.forget()
            self._tokens.sign_in(client)
        return client.ask(self._read, self._meanings())

    def _read(self, client: Any) -> Mapping[str, object]:
        if self._version is None:
            self._version = self._ask_version(client)
        kv = client.secrets.kv
        if self._version == 1:
            found = kv.v1.read_secret(self._path, mount_point=self._mount)["data"]
        else:
            found = kv.v2.read_secret_version(
                self._path, mount_point=self._mount, raise_on_deleted_version=True
            )["data"]["data"]
        if not isinstance(found, dict):
            raise TypeError
        return found

    def _ask_version(self, client: Any) -> int:
        """As Vault's own command line does: whoever may read the secret may ask this.

        https://developer.hashicorp.com/vault/api-docs/system/internal-ui-mounts
        """
        path = f"/v1/sys/internal/ui/mounts/{self._mount}/{self._path}"
        engine = client.adapter.get(path)["data"]
        if engine["type"] not in ("kv", "generic"):
            raise vault_errors.UnsupportedOperation
        return 2 if (engine["options"] or {}).get("version") == "2" else 1

    def _meanings(self) -> Meanings:
        secret = f"{self._mount}/{self._path}"
        silent = 'set vault_path to None ("none") if Vault holds no settings of this system'
        return (
            (
                REFUSED,
                lambda: ConfigurationError(
                    "Vault refused the token: it has expired or was revoked, its policy does not "
                    f"allow to read {secret}, or there is no engine; {silent}.",
                    param="vault_token",
                ),
            ),
            (
                (vault_errors.InvalidPath, vault_errors.InvalidRequest),
                lambda: ConfigurationError(
                    f"Vault has no secret at {secret}; {silent}.", param="vault_path"
                ),
            ),
            (
                (vault_errors.UnsupportedOperation,),
                lambda: ConfigurationError(
                    f"Vault has no KV engine at {self._mount}.", param="vault_mount"
                ),
            ),
        )
