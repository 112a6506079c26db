"""Telling whether Stripe signed these bytes, just now.

The scheme is https://docs.stripe.com/webhooks/signature.

Written here rather than left to the SDK, which accepts timestamps from the future, takes one
secret a call, and raises errors of other trees on odd headers.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import NoReturn

from credit_payments.errors import InvalidSignature

_USUAL_HEADER = re.compile(r"t=(\d{1,10}),v1=([0-9a-f]{64})", re.ASCII)
HEADER_CHARACTERS_MAX = 2_048
SIGNATURES_MAX = 16
_BLOCK_BYTES = 64
_PIECE_BYTES = 2_000
"""hashlib gives the interpreter away for inputs of 2,048 bytes and more. For a body of a few
kilobytes that costs more than hashing it: with many threads, getting the interpreter back means
waiting for all that are in line."""


class SigningSecret:
    """An endpoint's secret, ready to sign: the key schedule is done once, and repr is silent."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: str) -> None:
        # HMAC as RFC 2104 composes it (section 2): two keyed hashes, copied for each body. `hmac`
        # does the same in Python, at the price of a quarter of the whole; a test holds the two
        # against each other.
        key = secret.encode()
        key = (key if len(key) <= _BLOCK_BYTES else sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in key))

    def digest(self, timestamp: str, body: bytes) -> str:
        """HMAC-SHA256 over `timestamp.body`, in hexadecimal."""
        inner = self._inner.copy()
        inner.update(f"{timestamp}.".encode() + body[:_PIECE_BYTES])
        for start in range(_PIECE_BYTES, len(body), _PIECE_BYTES):
            inner.update(body[start : start + _PIECE_BYTES])
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()

    def __repr__(self) -> str:
        return "<SigningSecret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled: load them where they are used")


def verify(
    body: bytes,
    header: object,
    *,
    secrets: Sequence[SigningSecret],
    now_seconds: float,
    tolerance_seconds: int,
) -> None:
    """Return if one of the secrets signed `body`, no longer ago or ahead than the tolerance.

    Raises:
        InvalidSignature: anything else.
    """
    timestamp, signatures = _read(header)
    if abs(now_seconds - int(timestamp)) > tolerance_seconds:
        raise InvalidSignature("The webhook's timestamp is too far from the present.")
    for secret in secrets:
        expected = secret.digest(timestamp, body)
        matches = False
        for given in signatures:  # all of them, so that time tells nothing about the secret
            matches |= hmac.compare_digest(expected, given)
        if matches:
            return
    raise InvalidSignature("No signature of the webhook matches.")


def sign(body: bytes, *, secret: SigningSecret, timestamp: int) -> str:
    """The header with which Stripe would deliver `body`.

    >>> secret = SigningSecret("whsec_test")
    >>> header = sign(b"{}", secret=secret, timestamp=1_700_000_000)
    >>> verify(b"{}", header, secrets=[secret], now_seconds=1_700_000_001, tolerance_seconds=300)
    """
    return f"t={timestamp},v1={secret.digest(str(timestamp), body)}"


def _read(header: object) -> tuple[str, list[str]]:
    """The timestamp and the `v1` signatures of a `Stripe-Signature` header."""
    if not isinstance(header, str) or not header:
        raise InvalidSignature("The webhook has no Stripe-Signature header.")
    if usual := _USUAL_HEADER.fullmatch(header):
        return usual[1], [usual[2]]
    if len(header) > HEADER_CHARACTERS_MAX or not header.isascii():
        raise InvalidSignature("The Stripe-Signature header is malformed.")
    timestamps, signatures = [], []
    for item in header.split(","):
        name, _, value = item.partition("=")
        if name == "t":
            timestamps.append(value)
        elif name == "v1":
            signatures.append(value)
    # Ten digits reach to the year 2286; isdecimal alone would let int() read huge numbers.
    if len(timestamps) != 1 or not timestamps[0].isdecimal() or len(timestamps[0]) > 10:  # noqa: PLR2004
        raise InvalidSignature("The Stripe-Signature header needs one timestamp.")
    if not 1 <= len(signatures) <= SIGNATURES_MAX:
        raise InvalidSignature("The Stripe-Signature header needs a v1 signature.")
    return timestamps[0], signatures
