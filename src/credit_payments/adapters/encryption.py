"""Fields encrypted with AES-256-GCM, through the `cryptography` package.

An envelope reads `v1.<key id>.<nonce, ciphertext and tag>`, the last part in URL-safe base64
without padding. What stands around the text (version, key id, row and column) is authenticated with
it, as one JSON array, in which no two different places can look alike.

The nonce is random and has 96 bits. NIST SP 800-38D, section 8.3, allows 2^32 encryptions under one
key with such nonces: four thousand million, before which a key has to be rotated.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from credit_payments.domain import key_ring
from credit_payments.domain.key_ring import KEY_BYTES, KeyRing
from credit_payments.errors import DecryptionFailed, InvalidRequest

ENVELOPE_CHARACTERS_MAX: Final = 16 * 1024
"""Far more than the longest field needs; what is longer was never one of ours."""

_VERSION = "v1"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class _Envelope(NamedTuple):
    key_id: str
    nonce: bytes
    sealed: bytes


class AesGcmCipher:
    """A `FieldCipher` over a key ring.

    Args:
        ring: the keys; the primary one encrypts, all of them decrypt.
        random_bytes: draws so many random bytes; only a test hands in another.

    Example:
        >>> ring = KeyRing({"2026-07": os.urandom(32)}, index_key=os.urandom(32))
        >>> cipher = AesGcmCipher(ring)
        >>> envelope = cipher.encrypt("ada@example.com", record="customers/1", field="email")
        >>> envelope.rpartition(".")[0]
        'v1.2026-07'
        >>> cipher.decrypt(envelope, record="customers/1", field="email")
        'ada@example.com'
        >>> cipher
        AesGcmCipher(KeyRing(2026-07))
    """

    def __init__(self, ring: KeyRing, *, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._ring = ring
        self._primary = ring.primary
        self._random_bytes = random_bytes
        self._ciphers = {key_id: AESGCM(key) for key_id, key in ring.keys.items()}

    def encrypt(self, text: str, *, record: str, field: str) -> str:
        """See the port."""
        nonce = self._random_bytes(_NONCE_BYTES)
        place = _place(self._primary, record, field)
        sealed = self._ciphers[self._primary].encrypt(nonce, _to_bytes(text), place)
        envelope = f"{_VERSION}.{self._primary}.{_to_base64(nonce + sealed)}"
        if len(envelope) > ENVELOPE_CHARACTERS_MAX:
            raise InvalidRequest(f"{field} is too long to be encrypted", param=field)
        return envelope

    def decrypt(self, envelope: str, *, record: str, field: str) -> str:
        """See the port."""
        read = _read(envelope)
        if read is None:
            raise DecryptionFailed(f"The {field} of {record} is not an envelope.")
        cipher = self._ciphers.get(read.key_id)
        if cipher is None:
            raise DecryptionFailed(
                f"The {field} of {record} is encrypted with the key {read.key_id!r}, which is "
                "missing: add it to encryption_keys.",
                param="encryption_keys",
            )
        try:
            text = cipher.decrypt(read.nonce, read.sealed, _place(read.key_id, record, field))
        except InvalidTag:
            # Which of them it is cannot be told: to GCM all are one.
            raise DecryptionFailed(
                f"The {field} of {record} was changed or moved, or {read.key_id!r} is another key "
                "than the one that encrypted it."
            ) from None
        return text.decode("utf-8", "surrogatepass")

    def blind(self, text: str, *, field: str) -> str:
        """See the port.

        HMAC-SHA256 with a key that HKDF (RFC 5869) derives from the index key for the field.
        """
        # Derived each time: that takes microseconds, and look-ups go to a database anyway.
        derivation = HKDF(
            algorithm=SHA256(),
            length=KEY_BYTES,
            salt=None,
            info=f"credit-payments/blind-index/{_VERSION}/{field}".encode(),
        )
        digest = HMAC(derivation.derive(self._ring.index_key), SHA256())
        digest.update(_to_bytes(text))
        return _to_base64(digest.finalize())

    def is_current(self, envelope: str) -> bool:
        """See the port."""
        read = _read(envelope)
        return read is not None and read.key_id == self._primary

    def __repr__(self) -> str:
        return f"AesGcmCipher({self._ring!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A cipher holds keys and is not pickled")


def _read(envelope: str) -> _Envelope | None:
    """The parts of an envelope, or None where it has not exactly the form that we write."""
    version, _, rest = envelope.partition(".")
    key_id, _, body = rest.partition(".")
    if len(envelope) > ENVELOPE_CHARACTERS_MAX or version != _VERSION or not key_ring.is_id(key_id):
        return None
    content = _from_base64(body)
    if content is None or len(content) < _NONCE_BYTES + _TAG_BYTES:
        return None
    return _Envelope(key_id, content[:_NONCE_BYTES], content[_NONCE_BYTES:])


def _place(key_id: str, record: str, field: str) -> bytes:
    return msgspec.json.encode([_VERSION, key_id, record, field])


def _to_bytes(text: str) -> bytes:
    # Half a surrogate pair, as JSON can hold it, comes back as it came; and the UnicodeEncodeError
    # that it would be otherwise carries the whole text.
    return text.encode("utf-8", "surrogatepass")


def _to_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _from_base64(text: str) -> bytes | None:
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    # The decoder skips what is no digit and ignores the last one's unused bits.
    return content if _to_base64(content) == text else None
