"""``/v1/webhook_endpoints``.

Source: https://docs.stripe.com/api/webhook_endpoints
"""

from __future__ import annotations

from ._types import Json
from .account import Account
from .changes import merge_metadata
from .endpoint import Call, Endpoint, Routes
from .listing import list_page
from .params import LIST, Schema, boolean, clearable, list_of, metadata, string
from .problems import BadParameter
from .versions import existed

__all__ = ["ROUTES", "new_endpoint", "subscribed", "wants"]

_ENDPOINTS_MAX = 16


def new_endpoint(
    account: Account,
    *,
    url: str,
    enabled_events: list[str],
    secret: str | None = None,
    api_version: str | None = None,
    description: str | None = None,
    metadata: Json | None = None,
) -> Json:
    """Register an endpoint; its secret is kept beside it, for Stripe shows it only once."""
    if len(account.webhook_endpoints.rows) >= _ENDPOINTS_MAX:
        raise BadParameter(f"An account can have up to {_ENDPOINTS_MAX} webhook endpoints.")
    endpoint: Json = {
        "id": account.ids.new("we"),
        "object": "webhook_endpoint",
        "api_version": api_version,
        "application": None,
        "created": account.now(),
        "description": description,
        "enabled_events": enabled_events,
        "livemode": False,
        "metadata": metadata or {},
        "status": "enabled",
        "url": url,
    }
    account.secrets[endpoint["id"]] = secret or f"whsec_{account.ids.token('whsec', 32)}"
    return account.webhook_endpoints.add(endpoint)


def subscribed(account: Account, event: Json) -> list[Json]:
    """Return the enabled endpoints that want this event and whose version knows it."""
    return [
        endpoint
        for endpoint in account.webhook_endpoints.rows.values()
        if endpoint["status"] == "enabled" and wants(endpoint, event)
    ]


def wants(endpoint: Json, event: Json) -> bool:
    """Tell whether an endpoint asked for such an event and its version knows it."""
    enabled = endpoint["enabled_events"]
    return ("*" in enabled or event["type"] in enabled) and existed(
        event, endpoint["api_version"] or event["api_version"]
    )


def create(account: Account, call: Call) -> Json:
    """Register an endpoint and show its secret, this once."""
    params = call.params
    _check(params)
    endpoint = new_endpoint(
        account,
        url=params["url"],
        enabled_events=params["enabled_events"],
        api_version=params.get("api_version"),
        description=params.get("description"),
        metadata=merge_metadata({}, params.get("metadata")),
    )
    return {**endpoint, "secret": account.secrets[endpoint["id"]]}


def retrieve(account: Account, call: Call) -> Json:
    """Return an endpoint without its secret."""
    return account.webhook_endpoints.get(call.id)


def update(account: Account, call: Call) -> Json:
    """Change an endpoint."""
    endpoint = account.webhook_endpoints.get(call.id)
    params = call.params
    _check(params)
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    if "metadata" in params:
        endpoint["metadata"] = merge_metadata(endpoint["metadata"], params["metadata"])
    for name in {"url", "enabled_events", "description"} & set(params):
        endpoint[name] = params[name]
    return endpoint


def delete(account: Account, call: Call) -> Json:
    """Forget an endpoint; what still waits for it is never sent."""
    account.webhook_endpoints.get(call.id)
    account.webhook_endpoints.remove(call.id)
    return {"id": call.id, "object": "webhook_endpoint", "deleted": True}


def list_all(account: Account, call: Call) -> Json:
    """List endpoints, newest first."""
    return list_page(
        account.webhook_endpoints,
        call.params,
        url="/v1/webhook_endpoints",
        where=lambda _row: True,
    )


def _check(params: Json) -> None:
    url = params.get("url")
    if url is not None and not url.startswith(("http://", "https://")):
        raise BadParameter("Invalid URL: it must start with http:// or https://.", param="url")
    if params.get("enabled_events") == []:
        raise BadParameter("At least one event type is needed.", param="enabled_events")


_FIELDS = {
    "url": string(),
    "enabled_events": list_of(string()),
    "description": clearable(string()),
    "metadata": metadata(),
}

ROUTES: Routes = {
    "POST /v1/webhook_endpoints": Endpoint(
        create, Schema("url enabled_events", api_version=string(), **_FIELDS)
    ),
    "GET /v1/webhook_endpoints": Endpoint(list_all, Schema(**LIST)),
    "GET /v1/webhook_endpoints/*": Endpoint(retrieve),
    "POST /v1/webhook_endpoints/*": Endpoint(update, Schema(disabled=boolean(), **_FIELDS)),
    "DELETE /v1/webhook_endpoints/*": Endpoint(delete),
}
