"""What of a MongoDB database the storage's promises rest on, as it is now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pymongo.errors import OperationFailure

from credit_payments.adapters.mongo_connections import Client, Connections, is_imitation
from credit_payments.adapters.mongo_documents import Document
from credit_payments.adapters.mongo_errors import within
from credit_payments.domain.records import NEVER, RECORDS, Record
from credit_payments.domain.traits import (
    DatabaseSetting,
    DatabaseTraits,
    Index,
    MissingIndex,
    indexes,
    serves,
)

_KEY_INDEX = "_id_"
_MAJORITY_IN_JOURNALS = "writeConcernMajorityJournalDefault"


def inspected(connections: Connections, *, has_transactions: bool) -> DatabaseTraits:
    """What was observed of the server, and of our collections."""
    client = connections.client
    if is_imitation(client):
        return DatabaseTraits(kind="mongomock", is_kept=False, has_transactions=False)
    with within(connections.seconds_max):
        collections = {
            found["name"]: found.get("options", {})
            for found in connections.database.list_collections()
        }
        hello = client.admin.command("hello")
        return DatabaseTraits(
            kind=f"MongoDB {client.server_info()['version']}, {_form(hello)}",
            has_transactions=has_transactions,
            is_writable=bool(hello.get("isWritablePrimary", True)),
            settings=tuple(_settings(connections, hello)),
            missing_tables=tuple(kind.TABLE for kind in RECORDS if kind.TABLE not in collections),
            missing_indexes=tuple(_missing(connections)),
            unchecked=tuple(_unchecked(collections)),
        )


def _form(hello: Mapping[str, Any]) -> str:
    if "setName" in hello:
        members = len([*hello.get("hosts", ()), *hello.get("passives", ())])
        return f"a replica set of {members} member{'s' if members > 1 else ''}"
    return "a sharded cluster" if hello.get("msg") == "isdbgrid" else "a server that is alone"


def _settings(connections: Connections, hello: Mapping[str, Any]) -> Iterator[DatabaseSetting]:
    asked = connections.database.write_concern.document
    is_durable = asked.get("w") == "majority" and asked.get("j") is True
    value = f"{asked.get('w')}{', journaled' if asked.get('j') else ''}"
    yield DatabaseSetting("writeConcern", value, "majority, journaled", fits=is_durable)
    default = _majority_in_journals(connections.client) if "setName" in hello else None
    if default is not None:
        # Without it the others of the majority may have it in memory only.
        said = str(default).lower()
        yield DatabaseSetting(_MAJORITY_IN_JOURNALS, said, "true", fits=default)


def _majority_in_journals(client: Client) -> bool | None:
    """Whether a majority's word comes from its journals; None where the user may not know."""
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure:
        return None
    return bool(config.get(_MAJORITY_IN_JOURNALS, True))


def _missing(connections: Connections) -> Iterator[MissingIndex]:
    for kind in RECORDS:
        documents = connections.database[kind.TABLE].list_indexes()
        found = [_index(kind, document) for document in documents if not document.get("hidden")]
        for wanted in indexes([kind]):
            if not any(serves(index, wanted) for index in found):
                yield MissingIndex(wanted, _create_index(kind, wanted))


def _index(kind: type[Record], document: Mapping[str, Any]) -> Index:
    columns = tuple(
        _column(kind, name) if direction == 1 else f"{name} {direction}"
        for name, direction in document["key"].items()
    )
    unique = bool(document.get("unique")) or document["name"] == _KEY_INDEX
    return Index(kind.TABLE, columns, unique, _ending(document.get("partialFilterExpression")))


def _column(kind: type[Record], name: str) -> str:
    return kind.KEY if name == "_id" else name


def _ending(condition: Mapping[str, Any] | None) -> str | None:
    """The column whose instant ever comes; that of another partial index is no column."""
    if not condition:
        return None
    column, bound = next(iter(condition.items()))
    return column if len(condition) == 1 and bound == {"$lt": NEVER} else str(condition)


def _create_index(kind: type[Record], index: Index) -> str:
    """As mongosh reads it, and named as the migrations name it."""
    names = ["_id" if name == kind.KEY else name for name in index.columns]
    options: Document = {"name": f"by_{'_'.join(name.removeprefix('_') for name in names)}"}
    if index.unique:
        options["unique"] = True
    if index.ending is not None:
        options["partialFilterExpression"] = {index.ending: {"$lt": NEVER}}
    keys = json.dumps(dict.fromkeys(names, 1))
    return f"db.{index.table}.createIndex({keys}, {json.dumps(options)})"


def _unchecked(collections: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for kind in RECORDS:
        ours = collections.get(kind.TABLE, {})
        is_strict = ours.get("validationLevel", "strict") == "strict"
        refuses = ours.get("validationAction", "error") == "error"
        if not (ours.get("validator") and is_strict and refuses):
            yield kind.TABLE
