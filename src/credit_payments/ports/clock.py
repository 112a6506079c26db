"""What the core asks of time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time; a test hands in one that it can turn."""

    def now(self) -> datetime:
        """The present instant, aware and in UTC."""
        ...
