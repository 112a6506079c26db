"""JSON Schemas of the answers, made from their types, and examples made from the schemas."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from credit_payments.http.health import HEALTH_ROUTES
from credit_payments.http.routes import ROUTES
from credit_payments.http.shapes import Answer, Problem

Schema = dict[str, Any]

_PREFIX: Final = "#/components/"


def reference(kind: type[Answer]) -> Schema:
    """A pointer to the schema of an answer."""
    return {"$ref": f"{_PREFIX}schemas/{kind.__name__}"}


@functools.cache
def components() -> Mapping[str, Schema]:
    """The schemas of all answers, by name; not to be changed."""
    shapes = [route.shape for route in (*ROUTES, *HEALTH_ROUTES)]
    _, found = msgspec.json.schema_components(
        [Problem, *filter(None, shapes)], ref_template=f"{_PREFIX}schemas/{{name}}"
    )
    return {name: _as_written(found[name]) for name in sorted(found)}


def inlined(value: Any, parts: Mapping[str, Mapping[str, Any]]) -> Any:
    """A copy in which the components themselves stand where they are pointed to."""
    if isinstance(value, dict):
        if "$ref" in value:
            kind, name = value["$ref"].removeprefix(_PREFIX).split("/")
            return inlined(parts[kind][name], parts)
        return {key: inlined(part, parts) for key, part in value.items()}
    if isinstance(value, list):
        return [inlined(part, parts) for part in value]
    return value


def example(schema: Schema) -> Any:
    """A value of a schema, put together from the examples of its fields.

    Raises:
        LookupError: a field that is always there has none.
    """
    if "$ref" in schema:
        return example(components()[schema["$ref"].rpartition("/")[2]])
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    if schema.get("type") == "array":
        return [example(schema["items"])]
    if schema.get("type") == "object":
        return {
            name: example(part)
            for name, part in schema["properties"].items()
            if name in schema["required"] or "examples" in part
        }
    raise LookupError(f"no example: {schema}")


def _as_written(schema: Schema) -> Schema:
    """What msgspec writes; it describes what it would read."""
    properties = {name: _property(part) for name, part in schema["properties"].items()}
    # What has a default may be left out of what is read, and is always written. (What is `UNSET`
    # has none here.)
    required = [
        name
        for name, part in schema["properties"].items()
        if name in schema["required"] or "default" in part
    ]
    text = " ".join(schema["description"].split())
    return schema | {"description": text, "properties": properties, "required": required}


def _property(schema: Schema) -> Schema:
    written = {key: value for key, value in schema.items() if key != "default"}
    if written.get("format") == "decimal":
        # Our encoder writes a Decimal as a number; the digits after the point are the currency's.
        written["type"] = "number"
    return written
