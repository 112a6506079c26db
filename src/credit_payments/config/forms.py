"""The forms that several settings share, and what to do where one does not fit."""

from __future__ import annotations

import re

# Names become parts of a path, and must not lead out of it.
MOUNT = re.compile(r"[A-Za-z0-9_-]{1,64}(?:/[A-Za-z0-9_-]{1,64}){0,7}", re.ASCII)
HEADER = re.compile(r"[!-~]{1,4096}", re.ASCII)
_LOOPBACK_HOST = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1", re.ASCII)


def matches(form: re.Pattern[str], value: object) -> bool:
    """Whether a value is text of that form, from its first character to its last."""
    return isinstance(value, str) and form.fullmatch(value) is not None


def url_remedy(base: object, *, example: str) -> str | None:
    """What is wrong with the URL of a server that secrets are sent to; None where nothing is."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - few processes configure a base

    form = f"give scheme, host and port only, such as {example}"
    if not isinstance(base, str) or not base.isascii() or not base.isprintable():
        return form
    try:
        url = urlsplit(base)
        host, _ = url.hostname, url.port
    except ValueError:
        return form
    bare = not (url.path or url.query or url.fragment or "@" in url.netloc)
    if url.scheme not in ("http", "https") or not host or not bare or " " in base:
        return form
    if url.scheme == "http" and not matches(_LOOPBACK_HOST, host):
        return "use https: http would send the key in the clear, and is for loopback only"
    return None
