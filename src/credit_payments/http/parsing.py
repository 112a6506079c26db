"""Reads what callers send, strictly: a request that could be read in two ways is refused.

Only shape is decided here (JSON, names, types, sizes). Whether an amount can be charged or an id
exists is for the core to say.

Sources:
    RFC 8259 (JSON), section 4: names should be unique; RFC 7493 (I-JSON): they must be, and text
    must be valid Unicode.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

import attrs

from credit_payments.errors import InvalidRequest

BODY_BYTES_MAX: Final = 64 * 1024
TEXT_CHARACTERS_MAX: Final = 512
"""The longest text that reaches the core, which has narrower bounds of its own: as long as the
longest e-mail address that Stripe keeps (https://docs.stripe.com/api/customers/create)."""
NUMBER_CHARACTERS_MAX: Final = 32
QUERY_FIELDS_MAX: Final = 32

# The media type in any case, and no parameter but the one charset that JSON has (RFC 8259, 8.1).
_JSON_TYPE: Final = re.compile(r'application/json\s*(;\s*charset="?utf-?8"?\s*)?', re.IGNORECASE)

# An opaque token for us: visible ASCII, and no comma, since a second field would be joined to the
# first by one (RFC 9110, section 5.3). Our own prefix goes before it at Stripe, which takes 255
# characters (https://docs.stripe.com/api/idempotent_requests).
IDEMPOTENCY_KEY: Final = re.compile(r"[!-+\--~]{1,200}")

_DIGITS: Final = re.compile(r"-?[0-9]{1,15}")


@attrs.frozen
class Field:
    """One value that a route reads from its JSON body or its query string.

    Args:
        name: as callers write it, and as errors name it in `param`.
        kind: `"text"` is a JSON string, `"amount"` a JSON number, read exactly, `"integer"` a whole
            number, also as the digits that a query string has.
        required: whether a request without it (or with null) is refused.
        description: for the reader of the API's description.
        bounds: what the core makes sure of, in the words of JSON Schema; not checked here.
        example: a value for the API's description.
    """

    name: str
    kind: Literal["text", "amount", "integer"] = "text"
    required: bool = False
    description: str = ""
    bounds: Mapping[str, object] = attrs.field(factory=dict)
    example: str | float | None = None

    def check(self, value: object) -> str | int | Decimal:
        """The value, if it is of this kind.

        Raises:
            InvalidRequest: another type, too long, or not valid Unicode; `param` is the name.
        """
        check = {
            "text": self._check_text,
            "amount": self._check_amount,
            "integer": self._check_integer,
        }[self.kind]
        return check(value)

    def _check_text(self, value: object) -> str:
        if not isinstance(value, str):
            raise InvalidRequest(f"{self.name} must be a string", param=self.name)
        if len(value) > TEXT_CHARACTERS_MAX:
            raise InvalidRequest(
                f"{self.name} must have at most {TEXT_CHARACTERS_MAX} characters", param=self.name
            )
        if not _is_unicode(value):
            raise InvalidRequest(f"{self.name} is not valid Unicode text", param=self.name)
        return value

    def _check_amount(self, value: object) -> int | Decimal:
        # A bool is an int to Python, and true is no amount of money.
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise InvalidRequest(f"{self.name} must be a JSON number", param=self.name)
        return value

    def _check_integer(self, value: object) -> int:
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidRequest(f"{self.name} must be a whole number", param=self.name)
        return value


def read_body(body: bytes, headers: Mapping[str, str], fields: Sequence[Field]) -> dict[str, Any]:
    """The fields of a JSON object; what is absent or null is left out.

    Raises:
        InvalidRequest: another content type, too long, no JSON object, a field that is unknown
            (a mistyped `curency` must not charge dollars), missing or of the wrong type.
    """
    # Demanding this type also keeps out forms that other sites post with the user's cookies:
    # a browser asks before it sends JSON across origins.
    if not _JSON_TYPE.fullmatch(headers.get("content-type", "").strip()):
        raise InvalidRequest("Content-Type must be application/json", param="Content-Type")
    values = _read_object(body)
    known = {field.name for field in fields}
    for name in values:
        if name not in known:
            shown = _shown(name)
            raise InvalidRequest(
                f"Received unknown parameter: {shown}", param=shown, code="parameter_unknown"
            )
    return _check(values, fields)


def read_query(query: bytes, fields: Sequence[Field]) -> dict[str, Any]:
    """The fields of a query string; others are ignored, since proxies and tools add their own.

    Raises:
        InvalidRequest: not readable, a field that is missing, or given twice.
    """
    if not fields:
        return {}  # what nobody reads need not be readable
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError:
        raise InvalidRequest("The query string cannot be read") from None
    known = {field.name for field in fields}
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise InvalidRequest(f"{name} was given more than once", param=name)
        if name in known:
            values[name] = value
    return _check(values, fields)


def read_idempotency_key(headers: Mapping[str, str]) -> str | None:
    """The `Idempotency-Key` header, if there is one.

    Raises:
        InvalidRequest: not one field of 1 to 200 visible ASCII characters without a comma.
    """
    key = headers.get("idempotency-key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key must be given once: 1 to 200 visible ASCII characters, no comma",
            param="Idempotency-Key",
        )
    return key


def missing(name: str) -> InvalidRequest:
    """The error for a parameter that is required and not there."""
    return InvalidRequest(
        f"Missing required parameter: {name}", param=name, code="parameter_missing"
    )


def _check(values: Mapping[str, object], fields: Sequence[Field]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for field in fields:
        value = values.get(field.name)
        if value is not None:
            checked[field.name] = field.check(value)
        elif field.required:
            raise missing(field.name)
    return checked


_UNREADABLE: Final = object()
"""Stands for a number beyond all reason, so that the field it is in refuses it by name."""


def _read_object(body: bytes) -> dict[str, Any]:
    if len(body) > BODY_BYTES_MAX:
        raise InvalidRequest(f"The body must have at most {BODY_BYTES_MAX} bytes")
    try:
        # Decoded here, for the module would guess UTF-16 and UTF-32 as well.
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_read_pairs,
            parse_float=_read_decimal,
            parse_int=_read_int,
            parse_constant=_refuse_constant,
        )
    except InvalidRequest:
        raise
    except (ValueError, RecursionError):
        # From nothing: the cause quotes the body.
        raise InvalidRequest("The body is not valid JSON") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object")
    return value


def _read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                shown = _shown(name)
                raise InvalidRequest(f"{shown} was given more than once", param=shown)
            seen.add(name)
    return values


def _read_int(text: str) -> object:
    # int() takes quadratic time over long texts, and nothing sold has this many digits.
    return int(text) if len(text) <= NUMBER_CHARACTERS_MAX else _UNREADABLE


def _read_decimal(text: str) -> object:
    if len(text) > NUMBER_CHARACTERS_MAX:
        return _UNREADABLE
    # 1e999999 is a short text and a huge number: one digit of exponent is plenty for money.
    exponent = text.lower().partition("e")[2]
    return Decimal(text) if len(exponent.lstrip("+-0")) <= 1 else _UNREADABLE


def _refuse_constant(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity, which JSON does not have


def _is_unicode(text: str) -> bool:
    # JSON may spell half of a surrogate pair, which no database and no answer can hold.
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _shown(name: str) -> str:
    """A name that the caller made up, safe to say back."""
    return name[:64].encode("ascii", "backslashreplace").decode("ascii")
