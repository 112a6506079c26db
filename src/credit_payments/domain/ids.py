"""What an identifier may look like, checked before it reaches a query, a URL or Stripe."""

from __future__ import annotations

import re

from credit_payments.errors import InvalidRequest, NotFound

USER_ID_CHARACTERS_MAX = 255
KEY_CHARACTERS_MAX = 200
"""Our own prefix is put in front of a key, and Stripe takes 255 characters in all
(https://docs.stripe.com/api/idempotent_requests)."""

STRIPE_ID_AFTER_PREFIX = "[A-Za-z0-9_]{1,240}"
"""What follows the prefix of an id, as a pattern."""

_STRIPE_ID = re.compile(f"[a-z]{{2,8}}_{STRIPE_ID_AFTER_PREFIX}", re.ASCII)


def check_user_id(value: object, *, param: str = "user_id") -> str:
    """The host's id of a user: 1 to 255 printable characters of any script.

    Raises:
        InvalidRequest: another type, empty, too long, or with control characters.
    """
    return _check_text(value, param, USER_ID_CHARACTERS_MAX)


def is_user_id(value: str) -> bool:
    """Whether a user of the host's can have this id; see `check_user_id`.

    >>> is_user_id("ada"), is_user_id("x" * 256)
    (True, False)
    """
    try:
        check_user_id(value)
    except InvalidRequest:
        return False
    return True


def check_key(value: object, *, param: str = "key") -> str:
    """An idempotency key of the caller's choice: 1 to 200 printable characters.

    Raises:
        InvalidRequest: another type, empty, too long, or with control characters.
    """
    return _check_text(value, param, KEY_CHARACTERS_MAX)


def check_text(value: object, *, param: str, characters_max: int = 500) -> str | None:
    """Optional free text, without control characters.

    Raises:
        InvalidRequest: another type, empty, too long, or with control characters.
    """
    return None if value is None else _check_text(value, param, characters_max)


def check_required_text(value: object, *, param: str, characters_max: int = 500) -> str:
    """Free text, without control characters.

    Raises:
        InvalidRequest: another type, empty, too long, or with control characters.
    """
    return _check_text(value, param, characters_max)


def check_cause(value: object, *, param: str) -> str:
    """The cause of an entry: its kind, a colon and a key.

    Raises:
        InvalidRequest: another type, empty, too long, or with control characters.
    """
    return _check_text(value, param, KEY_CHARACTERS_MAX + USER_ID_CHARACTERS_MAX)


def check_stripe_id(value: object, prefix: str, *, param: str) -> str:
    """An id as Stripe writes it, such as `pi_3Nq…` for the prefix `pi_`.

    Raises:
        InvalidRequest: not a string.
        NotFound: a string that no object of that kind can have as its id.
    """
    if not isinstance(value, str):
        raise InvalidRequest(f"{param} must be a string", param=param)
    if not value.startswith(prefix) or not _STRIPE_ID.fullmatch(value):
        raise NotFound(f"No such {param}", param=param)
    return value


def _check_text(value: object, param: str, characters_max: int) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{param} must be a string", param=param)
    if not 1 <= len(value) <= characters_max:
        raise InvalidRequest(f"{param} must have 1 to {characters_max} characters", param=param)
    if not value.isprintable() or value != value.strip():
        raise InvalidRequest(f"{param} must be printable, without outer spaces", param=param)
    return value
