"""The cipher that the settings ask for; what it needs is imported only then."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from credit_payments.config import Settings
from credit_payments.domain.key_ring import KeyRing
from credit_payments.errors import ConfigurationError
from credit_payments.ports.encryption import FieldCipher

if TYPE_CHECKING:
    from credit_payments.adapters.vault_transit import VaultTransit


def open_cipher(settings: Settings) -> FieldCipher | None:
    """What encrypts personal data; None where no keys are configured.

    Raises:
        ConfigurationError: an extra is missing, or Vault does not give the keys away.
        VaultUnavailable: the keys are encrypted by Vault, which did not answer.
    """
    keys, index = settings.encryption_keys, settings.encryption_index_key
    if keys is None or index is None:
        return None
    try:
        from credit_payments.adapters.encryption import AesGcmCipher  # noqa: PLC0415
    except ModuleNotFoundError as error:
        needs_extra(error, "cryptography", "encryption", param="encryption_keys")
    if settings.encryption_vault_transit_key is not None:
        with open_transit(settings) as transit:
            keys = tuple((name, transit.unwrap(key)) for name, key in keys)
            index = transit.unwrap(index)
    return AesGcmCipher(KeyRing.read(keys, index))


def open_transit(settings: Settings) -> VaultTransit:
    """The transit key that the settings name; to be closed.

    Raises:
        ConfigurationError: the extra is missing.
    """
    try:
        from credit_payments.adapters.vault_client import VaultAccess  # noqa: PLC0415
        from credit_payments.adapters.vault_transit import VaultTransit  # noqa: PLC0415
    except ModuleNotFoundError as error:
        needs_extra(error, "hvac", "vault", param="encryption_vault_transit_key")
    return VaultTransit(
        VaultAccess.of(settings),
        key=settings.encryption_vault_transit_key or "",
        mount=settings.vault_transit_mount,
    )


def needs_extra(error: ModuleNotFoundError, package: str, extra: str, *, param: str) -> NoReturn:
    """Say which extra brings the package that is missing; another one's absence is raised as is."""
    if not (error.name or "").startswith(package):
        raise error
    raise ConfigurationError(
        f"This setting needs an extra: pip install 'credit-payments[{extra}]'", param=param
    ) from error
