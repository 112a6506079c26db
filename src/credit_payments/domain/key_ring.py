"""The keys that personal data is encrypted with: how they are written, and what can be wrong.

A key ring has one primary key, which encrypts, and further ones, which only decrypt what was
encrypted when they were primary. Beside them stands the key of the blind index. It is a key of its
own, because every index would have to be computed anew with it: replacing an encryption key leaves
look-ups alone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self, TypeAlias

import attrs

from credit_payments.errors import ConfigurationError

KEY_BYTES = 32
"""AES-256, and as much for HMAC-SHA256: its block takes 64, more than 32 add no strength
(RFC 2104, section 3)."""
KEYS_MAX = 16

KeyTexts: TypeAlias = tuple[tuple[str, str], ...]
"""Ids and keys as they are written, the primary first."""

_KEYS, _INDEX, _WRAPPER = "encryption_keys", "encryption_index_key", "encryption_vault_transit_key"
_ID = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)
# 43 digits of 6 bits are 32 bytes; both alphabets of RFC 4648, with or without padding.
_KEY = re.compile(r"[A-Za-z0-9+/_-]{43}=?", re.ASCII)
_STANDARD = str.maketrans("-_", "+/")
_WRAPPED = re.compile(r"vault:v[0-9]{1,9}:[A-Za-z0-9+/=]{1,1000}", re.ASCII)
_SEPARATOR = re.compile(r"[\s,]+")
_NEW_KEY = "`credit-payments encryption new-key` prints one"


def split(given: str | Sequence[str] | Mapping[str, str] | None) -> KeyTexts | None:
    """Ids and keys from one text, from several, or from a mapping; None where nothing is given.

    Example:
        >>> split("new:c2VjcmV0, old:aGlkZGVu")
        (('new', 'c2VjcmV0'), ('old', 'aGlkZGVu'))
    """
    if given is None:
        return None
    if isinstance(given, str):
        return tuple(map(_pair, _SEPARATOR.split(given)))
    try:
        return tuple(map(_pair, given.items() if isinstance(given, Mapping) else given))
    except TypeError:
        return (("", ""),)  # which `problems` tells about


def _pair(written: Any) -> tuple[str, str]:
    """What cannot be read becomes an empty pair, which `problems` tells about."""
    match written:
        case str():
            name, _, key = written.partition(":")
            return name, key
        case [str() as name, str() as key]:
            return name, key
    return "", ""


def is_id(name: str) -> bool:
    """Whether that may be the id of a key."""
    return _ID.fullmatch(name) is not None


def encode(key: bytes) -> str:
    """A key as it is written."""
    return base64.b64encode(key).decode()


def problems(keys: KeyTexts | None, index: object, *, wrapped: bool) -> Iterator[tuple[str, str]]:
    """Each setting at fault with what to do; nothing of a key is quoted, nor what could be one.

    Args:
        keys: the ring, as `split` reads it.
        index: the key of the blind index.
        wrapped: whether the keys are written as Vault has encrypted them.
    """
    if keys is None and index is None:
        return
    if keys is None:
        yield _KEYS, f"{_INDEX} needs them beside it; {_NEW_KEY}"
    else:
        yield from ((_KEYS, what) for what in _ring_problems(keys, wrapped=wrapped))
    if index is None:
        yield _INDEX, f"{_KEYS} need it beside them; {_NEW_KEY}"
    elif remedy := _remedy(index, wrapped=wrapped):
        yield _INDEX, remedy
    elif not wrapped and _decode(index) in [_decode(key) for _, key in keys or ()]:
        yield _INDEX, f"take a key of its own; {_NEW_KEY}"


def _ring_problems(keys: KeyTexts, *, wrapped: bool) -> Iterator[str]:
    if not keys:
        # An empty list must not come to mean that nothing is encrypted.
        yield "the list is empty: give keys, or leave it out"
    if len(keys) > KEYS_MAX:
        yield f"keep at most {KEYS_MAX} keys: rotate, then remove the old ones"
    names = [name for name, _ in keys]
    if len(set(names)) < len(names):
        yield "give each key an id of its own"
    for number, (name, key) in enumerate(keys, 1):
        if not is_id(name):
            yield (
                f"write key {number} as id:key, the id of 1 to 32 lower-case letters, digits, "
                "- and _"
            )
        elif remedy := _remedy(key, wrapped=wrapped):
            yield f"key {number}: {remedy}"


def _remedy(key: object, *, wrapped: bool) -> str | None:
    if wrapped:
        is_wrapped = isinstance(key, str) and _WRAPPED.fullmatch(key)
        return None if is_wrapped else f"give it as Vault has encrypted it, vault:v1:…; {_NEW_KEY}"
    if isinstance(key, str) and key.startswith("vault:"):
        return f"Vault has encrypted it: set {_WRAPPER} to the name of the transit key"
    return None if _decode(key) else f"give {KEY_BYTES} random bytes in base64; {_NEW_KEY}"


def _decode(key: object) -> bytes | None:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return None
    return base64.b64decode(key.rstrip("=").translate(_STANDARD) + "=")


def _check(keys: KeyTexts, index: object) -> None:
    found = list(problems(keys, index, wrapped=False))
    if found:
        lines = "".join(f"\n  - {name}: {what}" for name, what in found)
        raise ConfigurationError(
            f"The encryption keys cannot be used; to mend:{lines}", param=found[0][0]
        )


@attrs.frozen(repr=False)
class KeyRing:
    """Keys by their ids, the primary first, and the key of the blind index.

    It shows ids only, and is not pickled.

    Raises:
        ConfigurationError: it cannot be used; each problem is named with its remedy.

    Example:
        >>> KeyRing({"new": bytes(range(32)), "old": bytes(32)}, index_key=b"i" * 32)
        KeyRing(new, old)
    """

    keys: Mapping[str, bytes]
    index_key: bytes

    def __attrs_post_init__(self) -> None:
        written = tuple((name, encode(key)) for name, key in self.keys.items())
        _check(written, encode(self.index_key))

    @classmethod
    def read(cls, keys: KeyTexts, index: str) -> Self:
        """The ring that was written.

        Raises:
            ConfigurationError: it cannot be used; each problem is named with its remedy.
        """
        _check(keys, index)
        return cls({name: _decode(key) or b"" for name, key in keys}, _decode(index) or b"")

    @property
    def primary(self) -> str:
        """The id of the key that encrypts."""
        return next(iter(self.keys))

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.keys)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key ring holds secrets and is not pickled")
