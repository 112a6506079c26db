"""Calling the API from the same process: the same checks as over HTTP, without the sockets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from ._types import Json
from .api import Api
from .problems import Problem
from .wire import Request

__all__ = ["call", "form_pairs"]


def call(
    api: Api, method: str, path: str, params: Mapping[str, Any], headers: Mapping[str, str]
) -> Json:
    """Send one request through the API and return the decoded answer.

    Raises:
        Problem: with Stripe's error, if the answer is one.
        ConnectionError: if a planned fault lost the answer.
    """
    form = urlencode(list(form_pairs(params)))
    method = method.upper()
    # As the official SDKs do: only a POST carries its parameters in the body.
    query, body = ("", form.encode()) if method == "POST" else (form, b"")
    response = api.answer(Request(method, path, query, headers, body))
    if response.lost:
        raise ConnectionError(f"a planned fault lost the answer to {method} {path}")
    answer = msgspec.json.decode(response.body, type=Json)
    if not 200 <= response.status < 300:  # noqa: PLR2004
        raise Problem.told_by(response.status, answer)
    return answer


def form_pairs(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Flatten parameters into form fields as Stripe's SDKs do; ``None`` unsets a field.

    Example:
        >>> list(form_pairs({"amount": 5, "metadata": {"user": "u1"}, "expand": ["customer"]}))
        [('amount', '5'), ('metadata[user]', 'u1'), ('expand[0]', 'customer')]
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from form_pairs(item, f"{name}[{key}]" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from form_pairs(item, f"{name}[{index}]")
    elif isinstance(value, bool):
        yield name, str(value).lower()
    else:
        yield name, "" if value is None else str(value)
