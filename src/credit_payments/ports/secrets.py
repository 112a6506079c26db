"""What the core asks of a place that keeps secrets."""

from __future__ import annotations

from typing import Protocol


class SecretSource(Protocol):
    """One link of the chain in which a setting is looked for."""

    name: str
    """What `doctor` calls this source; never holds a secret."""

    def get(self, name: str) -> str | None:
        """The value of that name (`stripe_secret_key`), or None where this source has none.

        Raises `ConfigurationError` when the source exists but cannot be read.
        """
        ...
