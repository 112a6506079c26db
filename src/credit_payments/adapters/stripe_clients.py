"""The SDK's clients: one for each process and key, and silent about what they carry."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, cast

from credit_payments.logs import RedactingFilter

if TYPE_CHECKING:
    from stripe import HTTPClient, StripeClient

CONNECT_TIMEOUT_SECONDS_MAX = 5.0
"""A connection to Stripe stands in milliseconds or not at all."""


class StripeClients:
    """Builds the SDK's client for the present key, at its first call.

    Args:
        api_version: pins the API version; None takes the SDK's own.
        api_base: another server than Stripe's.
        timeout_seconds: how long to wait for each piece of an answer.
    """

    def __init__(
        self, *, api_version: str | None, api_base: str | None, timeout_seconds: float
    ) -> None:
        self._api_version = api_version
        self._api_base = api_base
        self._timeout_seconds = timeout_seconds
        self._clients: dict[tuple[int, str], StripeClient] = {}

    def __repr__(self) -> str:
        return "<StripeClients>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("StripeClients hold a secret key and are not pickled: build them anew")

    def client(self, key: str) -> StripeClient:
        """This process's client for a key.

        By process: a connection shared with a forked child would mix up both sides' answers.
        `setdefault` is atomic, so threads that build at once all go on with the same client, and
        there is no lock that a fork could copy while it is held. The client of a key that was
        replaced ends with the last call that uses it.
        """
        place = os.getpid(), key
        found = self._clients.get(place)
        if found is None:
            found = self._clients.setdefault(place, self._build(key))
            self._forget(but=place)
        return found

    def close(self) -> None:
        """Let this process's connections go; a later call opens new ones."""
        self._forget()

    def _forget(self, but: tuple[int, str] | None = None) -> None:
        # Those of a parent are left alone: their connections are the parent's, too.
        for place in list(self._clients):
            if place[0] == os.getpid() and place != but:
                self._clients.pop(place, None)

    def _build(self, key: str) -> StripeClient:
        import stripe  # noqa: PLC0415

        logging.getLogger("stripe").addFilter(_private)
        return stripe.StripeClient(
            key,
            stripe_version=self._api_version,
            base_addresses={"api": self._api_base} if self._api_base else None,
            max_network_retries=0,
            http_client=self._http_client(),
        )

    def _http_client(self) -> HTTPClient:
        from urllib.parse import urlsplit  # noqa: PLC0415

        import stripe  # noqa: PLC0415

        url = urlsplit(self._api_base or "")
        connect_seconds = min(self._timeout_seconds, CONNECT_TIMEOUT_SECONDS_MAX)
        return stripe.RequestsClient(
            timeout=(connect_seconds, self._timeout_seconds),
            # A simulator on this machine (plain http) is not reached through the environment's
            # proxy: requests knows this key, the SDK's annotation does not.
            proxy=cast("Any", {"no_proxy": url.hostname}) if url.scheme == "http" else None,
        )


_redacting = RedactingFilter()
_in_our_call: ContextVar[bool] = ContextVar("credit_payments_in_stripe_call", default=False)


def _private(record: logging.LogRecord) -> bool:
    # Only inside our own calls: an application may use the SDK, and its log, beside us.
    if not _in_our_call.get():
        return True
    return record.levelno >= logging.WARNING and _redacting.filter(record)


@contextmanager
def unlogged() -> Iterator[None]:
    """While this lasts, drop what the SDK would log of bodies, and redact its warnings."""
    token = _in_our_call.set(True)
    try:
        yield
    finally:
        _in_our_call.reset(token)
