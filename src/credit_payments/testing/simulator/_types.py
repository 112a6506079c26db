"""The one alias that every module of the simulator speaks in."""

from __future__ import annotations

from typing import Any

__all__ = ["Json"]

Json = dict[str, Any]
"""A Stripe object as it travels: a JSON object with string keys."""
