"""The chain of secret sources: Vault where it is configured, then files, then the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from credit_payments.adapters.ciphers import needs_extra
from credit_payments.adapters.environment import Environment
from credit_payments.adapters.secret_files import SecretFiles
from credit_payments.config import NAMES_IN_SOURCES, Settings
from credit_payments.config import vault as vault_settings
from credit_payments.config.loading import look_up
from credit_payments.errors import ConfigurationError
from credit_payments.ports.secrets import SecretSource

if TYPE_CHECKING:
    from credit_payments.adapters.vault_client import VaultAccess


class _Unusable:
    """A source that is configured, and cannot be asked."""

    name = "Vault"
    optional = True

    def __init__(self, error: ConfigurationError) -> None:
        self._error = error

    def refresh(self) -> None:
        raise self._error

    def get(self, name: str) -> None:  # noqa: ARG002 - the port's
        return None


def open_chain(
    given: Mapping[str, object], plain: Sequence[SecretSource] | None = None
) -> Sequence[SecretSource]:
    """Where to look for settings, first to last.

    Vault is among the sources where its URL, a path and a way to log in are known, from `given` or
    from the other sources. `hvac` is imported only then. Nothing is asked of Vault yet.

    Args:
        given: what the application gives by name.
        plain: the sources after Vault; files in `/secrets` and the environment when left out.

    Raises:
        ConfigurationError: a file cannot be read; or Vault is required and its extra is missing.
    """
    plain = (SecretFiles(), Environment()) if plain is None else plain
    try:
        settings = _settings_for_vault(given, plain)
    except ConfigurationError:
        return plain  # loading meets the same problem, and tells it with all others
    if not vault_settings.is_asked(settings):
        return plain
    try:
        return (_open_vault(settings, given, plain), *plain)
    except ConfigurationError as error:
        if settings.vault_required:
            raise
        return (_Unusable(error), *plain)


def _open_vault(
    settings: Settings, given: Mapping[str, object], plain: Sequence[SecretSource]
) -> SecretSource:
    _refuse_unusable(settings)
    try:
        from credit_payments.adapters.vault import VaultSecrets  # noqa: PLC0415
        from credit_payments.adapters.vault_client import VaultAccess  # noqa: PLC0415
    except ModuleNotFoundError as error:
        needs_extra(error, "hvac", "vault", param="vault_url")

    def access() -> VaultAccess:
        # Looked up anew each time: a token in a file is replaced by whoever renews it.
        found = _settings_for_vault(given, plain)
        _refuse_unusable(found)
        return VaultAccess.of(found)

    return VaultSecrets(
        access,
        mount=settings.vault_mount,
        path=settings.vault_path or "",
        kv_version=settings.vault_kv_version,
        required=settings.vault_required,
    )


def _refuse_unusable(settings: Settings) -> None:
    for name, what in vault_settings.access_problems(settings):
        raise ConfigurationError(f"Vault cannot be asked: {name}: {what}", param=name)


def _settings_for_vault(given: Mapping[str, object], plain: Sequence[SecretSource]) -> Settings:
    names = [name for name in NAMES_IN_SOURCES if name.startswith("vault_") and name not in given]
    of_vault = {name: value for name, value in given.items() if name.startswith("vault_")}
    values = {**of_vault, **look_up(names, plain).values}
    return Settings(**cast("dict[str, Any]", values))
