"""Declared parameters: what a request may carry, checked as strictly as Stripe checks it.

A *reader* takes a decoded form value and the parameter's full name and returns the typed value,
or raises :class:`BadParameter`. A :class:`Schema` names the readers of one endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ._types import Json
from .problems import BadParameter

__all__ = [
    "LIST",
    "UNSET",
    "Schema",
    "anything",
    "boolean",
    "clearable",
    "hash_of",
    "integer",
    "list_of",
    "metadata",
    "one_of",
    "string",
    "time_range",
]

Reader = Callable[[Any, str], Any]

UNSET = None
"""What an empty string means for a clearable parameter."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_METADATA_KEYS_MAX = 50
_METADATA_KEY_CHARACTERS_MAX = 40
_METADATA_VALUE_CHARACTERS_MAX = 500


class Schema:
    """The parameters of one endpoint, or of one hash inside them.

    Args:
        required: names that must be present, separated by spaces.
        fields: a reader for each parameter.
    """

    def __init__(self, required: str = "", /, **fields: Reader) -> None:
        self.required = tuple(required.split())
        self.fields: Mapping[str, Reader] = fields

    def read(self, raw: Json, prefix: str = "") -> Json:
        """Return typed parameters; what was not sent is absent."""
        unknown = [name for name in raw if name not in self.fields]
        if unknown:
            name = _full(prefix, unknown[0])
            raise BadParameter(
                f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )
        for name in self.required:
            if name not in raw:
                raise BadParameter(
                    f"Missing required param: {_full(prefix, name)}.",
                    code="parameter_missing",
                    param=_full(prefix, name),
                )
        return {name: self.fields[name](value, _full(prefix, name)) for name, value in raw.items()}


def string(max_length: int = 5_000) -> Reader:
    """Read text that may not be empty."""

    def read(raw: Any, name: str) -> str:
        if not isinstance(raw, str):
            raise BadParameter(f"Invalid string for '{name}'.", param=name)
        if not raw:
            raise BadParameter(
                f"'{name}' was an empty string, and cannot be unset.",
                code="parameter_invalid_empty",
                param=name,
            )
        if len(raw) > max_length:
            raise BadParameter(f"'{name}' is longer than {max_length} characters.", param=name)
        return raw

    return read


def integer(minimum: int = 0, maximum: int = 10**15) -> Reader:
    """Read a whole number written in decimal digits; ``10.0`` and ``true`` are refused."""

    def read(raw: Any, name: str) -> int:
        if not isinstance(raw, str) or not _INTEGER.fullmatch(raw):
            raise BadParameter(
                f"Invalid integer: {_shown(raw)}", code="parameter_invalid_integer", param=name
            )
        value = int(raw)
        if not minimum <= value <= maximum:
            bound = f"at least {minimum}" if value < minimum else f"at most {maximum}"
            raise BadParameter(
                f"'{name}' must be {bound}.", code="parameter_invalid_integer", param=name
            )
        return value

    return read


def boolean() -> Reader:
    """Read ``true`` or ``false``."""

    def read(raw: Any, name: str) -> bool:
        if raw not in ("true", "false"):
            raise BadParameter(f"Invalid boolean: {_shown(raw)}", param=name)
        return bool(raw == "true")

    return read


def one_of(*choices: str) -> Reader:
    """Read one of a fixed set of words."""

    def read(raw: Any, name: str) -> str:
        if raw not in choices:
            raise BadParameter(f"Invalid {name}: must be one of {', '.join(choices)}", param=name)
        return str(raw)

    return read


def clearable(reader: Reader) -> Reader:
    """Read a value, or an empty string as "unset it"."""

    def read(raw: Any, name: str) -> Any:
        return UNSET if raw == "" else reader(raw, name)

    return read


def list_of(reader: Reader) -> Reader:
    """Read a list, each element by the same reader."""

    def read(raw: Any, name: str) -> list[Any]:
        if raw == "":
            return []
        if not isinstance(raw, list):
            raise BadParameter("Invalid array", param=name)
        return [reader(item, f"{name}[{index}]") for index, item in enumerate(raw)]

    return read


def hash_of(required: str = "", /, **fields: Reader) -> Reader:
    """Read a nested hash with its own declared parameters."""
    schema = Schema(required, **fields)

    def read(raw: Any, name: str) -> Json:
        if not isinstance(raw, dict):
            raise BadParameter("Invalid hash", param=name)
        return schema.read(raw, name)

    return read


def anything() -> Reader:
    """Accept a value that the simulator takes note of but does not interpret."""
    return lambda raw, _name: raw


def metadata() -> Reader:
    """Read up to 50 pairs; an empty value deletes its key, an empty string deletes all.

    Source: https://docs.stripe.com/api/metadata
    """

    def read(raw: Any, name: str) -> Json | None:
        if raw == "":
            return UNSET
        if not isinstance(raw, dict) or not all(isinstance(v, str) for v in raw.values()):
            raise BadParameter("Invalid metadata: a flat hash of strings is needed.", param=name)
        if len(raw) > _METADATA_KEYS_MAX:
            raise BadParameter("Metadata can have up to 50 keys.", param=name)
        for key, value in raw.items():
            if len(key) > _METADATA_KEY_CHARACTERS_MAX:
                raise BadParameter("Metadata keys can have up to 40 characters.", param=name)
            if len(value) > _METADATA_VALUE_CHARACTERS_MAX:
                raise BadParameter(
                    "Metadata values can have up to 500 characters.", param=f"{name}[{key}]"
                )
        return raw

    return read


def time_range() -> Reader:
    """Read a timestamp, or a hash of ``gt``, ``gte``, ``lt``, ``lte``."""
    bounds = hash_of(gt=integer(), gte=integer(), lt=integer(), lte=integer())

    def read(raw: Any, name: str) -> Json:
        if isinstance(raw, dict):
            found: Json = bounds(raw, name)
            return found
        moment = integer()(raw, name)
        return {"gte": moment, "lte": moment}

    return read


def _full(prefix: str, name: str) -> str:
    return f"{prefix}[{name}]" if prefix else name


def _shown(raw: Any) -> str:
    return raw[:100] if isinstance(raw, str) else "a hash or an array"


LIST: dict[str, Reader] = {
    "limit": integer(1, 100),
    "starting_after": string(),
    "ending_before": string(),
}
"""The parameters that every list endpoint shares."""
