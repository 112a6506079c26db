"""One HTTP request with the standard library alone, bounded in time and size."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import attrs
import msgspec

SECONDS_MAX: Final = 15.0
_BODY_BYTES_MAX: Final = 8 * 1024 * 1024

# Amounts are sent as JSON numbers with their digits, and never pass through a float.
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


class NoAnswer(Exception):
    """The other side closed the connection, or was silent for too long."""


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    body: bytes = attrs.field(repr=False)

    @property
    def data(self) -> Any:
        """The body as JSON, its numbers exact; an empty object where it is no JSON."""
        try:
            return json.loads(self.body, parse_float=Decimal)
        except ValueError:
            return {}


def send(
    method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request.

    Raises:
        NoAnswer: there was no whole answer within `SECONDS_MAX`.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS_MAX)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        with connection.getresponse() as response:
            return Answer(response.status, response.read(_BODY_BYTES_MAX))
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{method} {url} was not answered ({error!r})") from error
    finally:
        connection.close()


def send_json(
    method: str, url: str, fields: object, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send JSON, as the shop's endpoints want it."""
    typed = {"Content-Type": "application/json", **(headers or {})}
    return send(method, url, _encoder.encode(fields), typed)


def send_form(
    method: str, url: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> Answer:
    """Send a form, as Stripe's API wants it."""
    typed = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    return send(method, url, urlencode(fields).encode("ascii"), typed)
