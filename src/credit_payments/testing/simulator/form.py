"""Stripe's form encoding: ``a[b]=c``, ``a[0]=x``, ``a[]=x`` become nested dicts and lists."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from ._types import Json
from .problems import BadParameter

__all__ = ["decode_form"]

_FIELDS_MAX = 2_000
_DEPTH_MAX = 8
_LIST_MAX = 500
_SHAPE = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")


def decode_form(text: str) -> Json:
    """Return the nested parameters of a query string or a form body.

    Raises:
        BadParameter: if the encoding is malformed, too large or too deep.

    Example:
        >>> decode_form("amount=500&metadata[user]=u1&expand[]=customer")
        {'amount': '500', 'metadata': {'user': 'u1'}, 'expand': ['customer']}
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX, errors="strict")
    except ValueError as exc:
        raise BadParameter("The parameters are not valid form encoding.") from exc
    root: Json = {}
    for name, value in pairs:
        _put(root, _path(name), value, name)
    return {key: _lists(value, key) for key, value in root.items()}


def _path(name: str) -> list[str]:
    shape = _SHAPE.fullmatch(name)
    if shape is None:
        raise BadParameter(f"The parameter name '{name}' is malformed.", param=name)
    path = [shape[1], *_PART.findall(shape[2])]
    if len(path) > _DEPTH_MAX:
        raise BadParameter(f"The parameter '{name}' is nested too deeply.", param=name)
    return path


def _put(node: Json, path: list[str], value: str, name: str) -> None:
    for part in path[:-1]:
        node = node.setdefault(part or str(len(node)), {})
        if not isinstance(node, dict):
            raise BadParameter(f"The parameter '{name}' is both a value and a hash.", param=name)
    node[path[-1] or str(len(node))] = value


def _lists(value: Any, name: str) -> Any:
    """Turn dicts whose keys are all numbers into lists, from the inside out."""
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(item, name) for key, item in value.items()}
    if name == "metadata" or not all(key.isdecimal() for key in inner):
        return inner
    if len(inner) > _LIST_MAX:
        raise BadParameter(f"The parameter '{name}' has too many elements.", param=name)
    return [inner[key] for key in sorted(inner, key=int)]
