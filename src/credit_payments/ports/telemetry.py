"""What the core tells whoever measures it."""

from __future__ import annotations

from typing import Protocol


class Telemetry(Protocol):
    """Takes counts and timings; quick, from any thread, and raises nothing.

    Names are dotted (`credit_payments.webhooks`), attributes have few different values, and none of
    them is personal.
    """

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        """Something has happened, so many times."""
        ...

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        """Something took so long."""
        ...


class Silent:
    """Tells nobody: the default."""

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        """Nothing."""

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        """Nothing."""
