"""One webhook delivery: what is sent where, one attempt at it, and the record of that attempt."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import attrs

__all__ = ["Attempt", "Delivery", "post"]

_ANSWER_BYTES_MAX = 64 * 1024


@attrs.frozen
class Delivery:
    """An event on its way to one endpoint.

    Attributes:
        number: which attempt comes next, from 1.
    """

    event_id: str
    event_type: str
    endpoint_id: str
    url: str
    secret: str = attrs.field(repr=False)
    payload: bytes = attrs.field(repr=False)
    number: int = 1


@attrs.frozen
class Attempt:
    """What came of one attempt.

    Attributes:
        event_id: the event that was sent.
        event_type: its type.
        endpoint_id: the endpoint it was for.
        url: where it was sent.
        attempt: counts the attempts of one delivery from 1; 0 for one that was dropped.
        status: the receiver's HTTP status, ``None`` if there was no answer.
        error: why there was none.
    """

    event_id: str
    event_type: str
    endpoint_id: str
    url: str
    attempt: int
    status: int | None = None
    error: str | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it: any 2xx, as at Stripe; a redirect is a failure."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


def post(
    delivery: Delivery, signature: str, timeout_seconds: float
) -> tuple[int | None, str | None]:
    """Send a delivery once; return the status, or why there was none."""
    target = urlsplit(delivery.url)
    kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(target.hostname or "", target.port, timeout=timeout_seconds)
    except (ValueError, http.client.HTTPException) as exc:
        return None, repr(exc)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signature,
        "Connection": "close",
    }
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    try:
        connection.request("POST", path, body=delivery.payload, headers=headers)
        with connection.getresponse() as response:
            response.read(_ANSWER_BYTES_MAX)
            return response.status, None
    except (OSError, http.client.HTTPException) as exc:
        return None, repr(exc)
    finally:
        connection.close()
