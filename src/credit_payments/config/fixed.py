"""Secrets that do not change: those that were given by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from credit_payments.domain.signature import SigningSecret


class FixedSecrets:
    """The `CurrentSecrets` of somebody who has no sources to look at again.

    Args:
        secret_key: Stripe's; None where there is none.
        webhook_secrets: the endpoint's; empty ones are left out, with which anybody could sign.
        livemode: whether the key moves real money; None where that is not known.
    """

    def __init__(
        self,
        *,
        secret_key: str | None = None,
        webhook_secrets: Sequence[str] = (),
        livemode: bool | None = None,
    ) -> None:
        self._secret_key = secret_key
        self._signing = tuple(SigningSecret(secret) for secret in webhook_secrets if secret)
        self.livemode = livemode
        self.origins: Mapping[str, str] = {}
        self.troubles: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return "<FixedSecrets>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled: load them where they are used")

    def secret_key(self) -> str | None:
        """Stripe's secret key, or None."""
        return self._secret_key

    def secret_key_after(self, refused: str) -> str | None:  # noqa: ARG002 - the port's
        """None: there is no other."""
        return None

    def signing_secrets(self) -> Sequence[SigningSecret]:
        """The webhook secrets."""
        return self._signing

    def signing_secrets_after(
        self,
        seen: Sequence[SigningSecret],  # noqa: ARG002 - the port's
    ) -> Sequence[SigningSecret]:
        """None: there are no others."""
        return ()
