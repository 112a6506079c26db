"""Deliveries by the ten thousand, without HTTP: recorded events as a network would bring them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ._types import Json
from .account import Account
from .network import OLDER_VERSION, Arrival, Fate, Network
from .rendering import payload
from .signing import signature_header
from .versions import existed
from .webhook_endpoints import wants

__all__ = ["arrivals"]


def arrivals(
    account: Account,
    network: Network,
    *,
    secret: str,
    event_ids: Iterable[str] | None,
    endpoint_id: str | None,
) -> Iterator[Arrival]:
    """Return the signed deliveries of recorded events in the order of their arrival.

    The order is settled at once; bodies are made one by one, so 100,000 of them need no room.

    Raises:
        Problem: if there is no such event or endpoint.
    """
    with account.lock:
        table = account.events
        chosen = list(table.rows.values() if event_ids is None else map(table.get, event_ids))
        if endpoint_id is None:
            pinned = None
            chosen = [event for event in chosen if existed(event, event["api_version"])]
        else:
            endpoint = account.webhook_endpoints.get(endpoint_id)
            pinned, secret = endpoint["api_version"], account.secrets[endpoint_id]
            chosen = [event for event in chosen if wants(endpoint, event)]
    coming = _schedule(chosen, network, endpoint_id or "")
    return _signed(account, coming, pinned, secret)


def _schedule(
    events: list[Json], network: Network, endpoint_id: str
) -> list[tuple[float, int, Json, Fate]]:
    coming: list[tuple[float, int, Json, Fate]] = []
    for event in events:
        fate = network.fate(event["id"], endpoint_id)
        for late_seconds in fate.delays:
            coming.append((event["created"] + late_seconds, len(coming), event, fate))
    # The running number keeps what arrives at the same instant in the order of its creation.
    coming.sort(key=lambda each: each[:2])
    return coming


def _signed(
    account: Account,
    coming: list[tuple[float, int, Json, Fate]],
    pinned: str | None,
    secret: str,
) -> Iterator[Arrival]:
    for instant, _, event, fate in coming:
        version = pinned or event["api_version"]
        if fate.outdated and existed(event, OLDER_VERSION):
            version = OLDER_VERSION
        with account.lock:
            body = payload(account, event, version, expand=fate.expanded)
        at_seconds = int(instant)
        signature = signature_header(body, secret=secret, timestamp=at_seconds)
        yield Arrival(body, signature, event["id"], at_seconds)
