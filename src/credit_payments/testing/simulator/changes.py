"""Changing an object: metadata merges, and what an update event calls ``previous_attributes``."""

from __future__ import annotations

import copy
from collections.abc import Callable

from ._types import Json

__all__ = ["changed", "merge_metadata", "previous_attributes"]


def merge_metadata(current: Json, update: Json | None) -> Json:
    """Return metadata after an update: ``None`` clears it, an empty value deletes its key."""
    if update is None:
        return {}
    merged = {**current, **update}
    return {key: value for key, value in merged.items() if value != ""}


def previous_attributes(before: Json, after: Json) -> Json:
    """Return the old values of what differs, only the differing keys of nested hashes.

    Example:
        >>> previous_attributes({"a": 1, "m": {"x": "1", "y": "2"}}, {"a": 1, "m": {"x": "3", "y": "2"}})
        {'m': {'x': '1'}}
    """  # noqa: E501
    previous: Json = {}
    for key in before | after:
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        nested = isinstance(old, dict) and isinstance(new, dict)
        previous[key] = previous_attributes(old, new) if nested else old  # type: ignore[arg-type]
    return previous


def changed(subject: Json, change: Callable[[Json], None]) -> Json:
    """Apply a change in place and return the previous attributes (empty if nothing changed)."""
    before = copy.deepcopy(subject)
    change(subject)
    return previous_attributes(before, subject)
