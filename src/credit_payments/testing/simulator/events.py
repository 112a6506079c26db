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
from .versions import existed, shown

__all__ = ["ROUTES"]

_TYPES_MAX = 20


def retrieve(account: Account, call: Call) -> Json:
    """Return an event of the last thirty days."""
    event = account.events.get(call.id)
    version = event["api_version"]
    if not _is_kept(account, event) or not existed(event, version):
        raise resource_missing("event", call.id, "id")
    return shown(event, version)


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
    delivered = params.get("delivery_success")
    for name in {"starting_after", "ending_before"} & set(params):
        cursor = account.events.get(params[name], name)
        if not _is_kept(account, cursor):
            raise resource_missing("event", params[name], name)

    def where(event: Json) -> bool:
        return (
            _is_kept(account, event)
            and (wanted is None or any(fnmatchcase(event["type"], name) for name in wanted))
            and (delivered is None or delivered == (event["pending_webhooks"] == 0))
            and existed(event, event["api_version"])
        )

    page = list_page(account.events, params, url="/v1/events", where=where)
    page["data"] = [shown(event, event["api_version"]) for event in page["data"]]
    return page


def _is_kept(account: Account, event: Json) -> bool:
    kept: bool = event["created"] >= account.now() - EVENT_RETENTION_SECONDS
    return kept


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
