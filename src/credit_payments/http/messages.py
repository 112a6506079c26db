"""A request and a response as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

import attrs


@attrs.frozen(kw_only=True)
class Request:
    """What a framework received.

    Nothing of a body or a header shows in `repr`: they carry personal data and credentials.

    Args:
        method: upper case.
        path_params: the parts of the path that the route's template names, decoded.
        query: the query string as it was sent, without its question mark.
        headers: by lower-case name; `join_headers` makes them.
        body: raw bytes, cut after one byte more than the route reads.
        peer: the address at the other end of the connection, whatever headers say; None where it
            is not known, behind a Unix socket for instance.
    """

    method: str
    path_params: Mapping[str, str] = attrs.field(factory=dict)
    query: bytes = attrs.field(default=b"", repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    peer: str | None = attrs.field(default=None, repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A request holds credentials and is not pickled")


@attrs.frozen(kw_only=True)
class Response:
    """What to send back; a body may hold a client secret and stays out of `repr`."""

    status: int
    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str]

    def __reduce__(self) -> NoReturn:
        raise TypeError("A response may hold a client secret and is not pickled")


def join_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header fields by lower-case name; a repeated one is joined (RFC 9110, section 5.3).

    WSGI servers join before we see them and ASGI servers do not: joining here makes both alike. So
    does taking off the white space around a value, which is none of it (section 5.5).

    Example:
        >>> join_headers([("Accept", "a"), ("accept", "b"), ("Host", "c ")])
        {'accept': 'a,b', 'host': 'c'}
    """
    headers: dict[str, str] = {}
    for name, sent in pairs:
        key, value = name.lower(), sent.strip(" \t")
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    return headers
