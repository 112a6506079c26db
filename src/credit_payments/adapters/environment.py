"""Settings from environment variables: the last link of the chain."""

from __future__ import annotations

import os
from collections.abc import Mapping


class Environment:
    """A `SecretSource` over environment variables: `stripe_secret_key` is STRIPE_SECRET_KEY.

    The variables are looked up when asked for, so a process that changes its environment before
    it connects gets what it set. An empty variable counts as given: the settings then refuse it,
    because a deployment that meant to pass a secret and passed nothing must not fall through to
    another one.

    Args:
        variables: the mapping to read; the process's environment when left out.

    >>> Environment({"STRIPE_API_VERSION": "2023-10-16"}).get("stripe_api_version")
    '2023-10-16'
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self.name = "environment"
        self.optional = False
        self._variables = os.environ if variables is None else variables

    def refresh(self) -> None:
        """Nothing: a variable is looked up whenever it is asked for."""

    def get(self, name: str) -> str | None:
        """The variable of that name in capitals, or None where it is not set."""
        return self._variables.get(name.upper())

    def __repr__(self) -> str:
        return "Environment()"
