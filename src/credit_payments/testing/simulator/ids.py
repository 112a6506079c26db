"""Ids that look like Stripe's and depend on the seed alone."""

from __future__ import annotations

import hashlib
from collections import Counter

__all__ = ["IdFactory"]

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Names are half of what a new object costs, and two letters a step halve that.
_PAIRS = [first + second for second in _ALPHABET for first in _ALPHABET]
_LENGTHS = {"cus": 14, "req": 14}
_LENGTH_OTHERWISE = 24


class IdFactory:
    """Names the n-th object of each kind; the caller holds the account's lock.

    Each prefix counts for itself, so the third refund of a seed has the same id whatever else
    happened in between.

    Example:
        >>> IdFactory(seed=0).new("pi") == IdFactory(seed=0).new("pi")
        True
        >>> IdFactory(seed=0).new("pi") == IdFactory(seed=1).new("pi")
        False
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counts: Counter[str] = Counter()

    def new(self, prefix: str) -> str:
        """Return the next id of that prefix, such as ``pi_…``."""
        return f"{prefix}_{self.token(prefix, _LENGTHS.get(prefix, _LENGTH_OTHERWISE))}"

    def token(self, purpose: str, length: int) -> str:
        """Return the next random-looking token for a purpose, without a prefix."""
        self._counts[purpose] += 1
        return digest_token(f"{self._seed}:{purpose}:{self._counts[purpose]}", length)


def digest_token(text: str, length: int) -> str:
    """Return a token of letters and digits that depends on ``text`` alone."""
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=32).digest(), "big")
    pairs = []
    for _ in range(0, length, 2):
        number, index = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[index])
    return "".join(pairs)[:length]
