"""``expand[]``: ids replaced by the objects they name, up to four levels deep.

Source: https://docs.stripe.com/api/expanding_objects
"""

from __future__ import annotations

from typing import Any

from ._types import Json
from .account import Account
from .problems import Problem

__all__ = ["expanded"]

_DEPTH_MAX = 4

_FIELDS = {
    "customer": "customers",
    "payment_method": "payment_methods",
    "default_payment_method": "payment_methods",
    "payment_intent": "payment_intents",
    "latest_charge": "charges",
    "charge": "charges",
    "balance_transaction": "balance_transactions",
    "failure_balance_transaction": "balance_transactions",
}
# Fields that hold an id but that Stripe does not expand, by the object they are on.
_PLAIN = {("charge", "payment_method"), ("payment_method", "payment_method")}
_SOURCES = {"ch": "charges", "re": "refunds", "dp": "disputes"}


def expanded(account: Account, body: Json, paths: list[str]) -> Json:
    """Return a copy of the answer with the named fields expanded.

    Raises:
        Problem: if a path is too deep or names a field that cannot be expanded.
    """
    for path in paths:
        parts = path.split(".")
        if len(parts) - (parts[0] == "data") > _DEPTH_MAX:
            raise Problem("A property can be expanded four levels deep.", param="expand")
        body = _expand(account, body, parts, path)
    return body


def _expand(account: Account, node: Any, parts: list[str], path: str) -> Any:
    if not parts or node is None:
        return node
    if isinstance(node, list):
        return [_expand(account, item, parts, path) for item in node]
    if not isinstance(node, dict):
        raise _not_expandable(path)
    name, rest = parts[0], parts[1:]
    if name == "refunds" and node.get("object") == "charge":
        value: Any = _refunds_of(account, node)
    elif name not in node or (node.get("object"), name) in _PLAIN:
        raise _not_expandable(path)
    else:
        value = node[name]
        if isinstance(value, str):
            value = _named(account, name, value, path)
        elif not rest and not isinstance(value, dict | list | None):
            raise _not_expandable(path)
    return {**node, name: _expand(account, value, rest, path)}


def _named(account: Account, field: str, object_id: str, path: str) -> Json:
    table_name = _FIELDS.get(field)
    if field == "source":
        table_name = _SOURCES.get(object_id.partition("_")[0])
    if table_name is None:
        raise _not_expandable(path)
    return account.table(table_name).rows.get(object_id, {"id": object_id, "deleted": True})


def _refunds_of(account: Account, charge: Json) -> Json:
    rows = account.refunds.of("charge", charge["id"])
    url = f"/v1/charges/{charge['id']}/refunds"
    return {"object": "list", "data": rows, "has_more": False, "url": url}


def _not_expandable(path: str) -> Problem:
    return Problem(f"This property cannot be expanded ({path}).", param="expand")
