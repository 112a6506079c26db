"""``/v1/events``: thirty days of what happened.

Source: https://docs.stripe.com/api/events
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from ._types import Json
from .account import EVENT_RETENTION_SECONDS, Account
from .endpoint import Call, Endpoint, Routes
from .listing import list_page
from .params import LIST, Schema, boolean, list_of, string, time_range
from .problems import BadParameter, resource_missing

__all__ = ["ROUTES"]

_TYPES_MAX = 20


def retrieve(account: Account, call: Call) -> Json:
    """Return an event of the last thirty days."""
    event = account.events.get(call.id)
    if event["created"] < account.now() - EVENT_RETENTION_SECONDS:
        raise resource_missing("event", call.id, "id")
    return event


def list_all(account: Account, call: Call) -> Json:
    """List the events of the last thirty days, newest first."""
    params = call.params
    wanted = params.get("types")
    if wanted is not None and "type" in params:
        raise BadParameter("You may specify either 'type' or 'types'.", param="types")
    if wanted is not None and len(wanted) > _TYPES_MAX:
        raise BadParameter(f"Up to {_TYPES_MAX} types can be given.", param="types")
    if wanted is None and "type" in params:
        wanted = [params["type"]]
    oldest = account.now() - EVENT_RETENTION_SECONDS
    delivered = params.get("delivery_success")

    def where(event: Json) -> bool:
        return (
            event["created"] >= oldest
            and (wanted is None or any(fnmatchcase(event["type"], name) for name in wanted))
            and (delivered is None or delivered == (event["pending_webhooks"] == 0))
        )

    return list_page(account.events.newest_first(), params, url="/v1/events", where=where)


ROUTES: Routes = {
    "GET /v1/events": Endpoint(
        list_all,
        Schema(
            type=string(),
            types=list_of(string()),
            created=time_range(),
            delivery_success=boolean(),
            **LIST,
        ),
    ),
    "GET /v1/events/*": Endpoint(retrieve),
}
