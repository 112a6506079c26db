"""Idempotency keys as Stripe keeps them.

The first answer of a key is stored once execution began, whether it succeeded or not, and
replayed for the same request for 24 hours. Source: https://docs.stripe.com/api/idempotent_requests
"""

from __future__ import annotations

import threading
from itertools import takewhile
from typing import Any

import attrs

from .problems import Problem

__all__ = ["IdempotencyKeys", "Stored"]

KEY_CHARACTERS_MAX = 255
KEPT_SECONDS = 24 * 3600


@attrs.frozen
class Stored:
    """An answer under its key."""

    status: int
    body: bytes
    request_id: str


@attrs.define
class _Entry:
    fingerprint: Any
    created: int
    answer: Stored | None = None


class IdempotencyKeys:
    """All keys of all connected accounts; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], _Entry] = {}

    def begin(self, scope: str, key: str, fingerprint: Any, now: int) -> Stored | None:
        """Claim a key, or return what is stored under it.

        Raises:
            Problem: if the key is too long, was used with another request, or is in flight.
        """
        if not 0 < len(key) <= KEY_CHARACTERS_MAX:
            raise Problem(
                f"Idempotency keys have 1 to {KEY_CHARACTERS_MAX} characters; this one has "
                f"{len(key)}.",
                kind="idempotency_error",
            )
        with self._lock:
            self._prune(now)
            entry = self._entries.get((scope, key))
            if entry is None:
                self._entries[scope, key] = _Entry(fingerprint, now)
                return None
            if entry.fingerprint != fingerprint:
                raise Problem(
                    "Keys for idempotent requests can only be used with the same endpoint and "
                    f"parameters they were first used with. Use another key than '{key}'.",
                    kind="idempotency_error",
                )
            if entry.answer is None:
                raise Problem(
                    f"Another request with the key '{key}' is in progress.",
                    status=409,
                    kind="idempotency_error",
                    code="idempotency_key_in_use",
                )
            return entry.answer

    def finish(self, scope: str, key: str, answer: Stored | None) -> None:
        """Store the answer, or free the key if execution never began."""
        with self._lock:
            entry = self._entries.get((scope, key))
            if entry is None:
                return
            if answer is None:
                del self._entries[scope, key]
            else:
                entry.answer = answer

    def clear(self) -> None:
        """Forget every key."""
        with self._lock:
            self._entries.clear()

    def _prune(self, now: int) -> None:
        # Entries are in the order of their creation, so the first young one ends the search.
        expired = takewhile(
            lambda item: now - item[1].created >= KEPT_SECONDS, self._entries.items()
        )
        for key in [key for key, entry in expired if entry.answer is not None]:
            del self._entries[key]
