"""Database names in URLs."""

from __future__ import annotations

import secrets


def fresh_name() -> str:
    """A name that no other test uses, on a server that several workers may share."""
    return f"test_{secrets.token_hex(6)}"


def with_database(url: str, name: str) -> str:
    """The URL with this database in its path; by hand, as urllib forbids several hosts' ports."""
    front, question_mark, query = url.partition("?")
    scheme, _, rest = front.partition("://")
    hosts = rest.partition("/")[0]
    return f"{scheme}://{hosts}/{name}{question_mark}{query}"
