"""What the core asks of places that keep secrets, and of whoever knows those that hold now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from credit_payments.domain.signature import SigningSecret


class SecretSource(Protocol):
    """One link of the chain in which a setting is looked for.

    One thread at a time calls `refresh`; others may call `get` meanwhile.
    """

    name: str
    """What `doctor` calls this source; never holds a secret."""

    optional: bool
    """Whether a system may start, with a warning, while this source cannot be read."""

    def refresh(self) -> None:
        """Look anew, within seconds; after it `get` answers with what the source holds now.

        Raises `ConfigurationError` or `TryAgain` when the source cannot be read. `get` then goes
        on answering with what was found last, or None where nothing ever was.
        """
        ...

    def get(self, name: str) -> str | None:
        """The value of that name (`stripe_secret_key`), or None where this source has none.

        Raises `ConfigurationError` when the source exists but cannot be read.
        """
        ...


class CurrentSecrets(Protocol):
    """The secrets that hold now: each may change while the process runs.

    Safe to call from any thread and on every request. What is returned is never logged.
    """

    @property
    def livemode(self) -> bool | None:
        """Whether the secret key moves real money; None without one."""
        ...

    @property
    def origins(self) -> Mapping[str, str]:
        """Which source gave each setting that was not left at its default; no value."""
        ...

    @property
    def troubles(self) -> Mapping[str, str]:
        """What went wrong at the last look with sources that were passed over, by their names."""
        ...

    def secret_key(self) -> str | None:
        """Stripe's secret key, or None where there is none."""
        ...

    def secret_key_after(self, refused: str) -> str | None:
        """Another key than the one that Stripe refused, if a look at the sources finds one.

        How often it really looks is limited.
        """
        ...

    def signing_secrets(self) -> Sequence[SigningSecret]:
        """Every webhook secret whose signatures are accepted at this instant."""
        ...

    def signing_secrets_after(self, seen: Sequence[SigningSecret]) -> Sequence[SigningSecret]:
        """Secrets that are none of those seen, if a look at the sources finds any.

        How often it really looks is limited, because anybody can send a wrong signature.
        """
        ...
