"""Describes a route in OpenAPI's words, from the same fields that its requests are read by."""

from __future__ import annotations

from typing import Any

from credit_payments.http.parsing import TEXT_CHARACTERS_MAX, Field
from credit_payments.http.routes import Route


def describe(route: Route) -> dict[str, Any]:
    """The `parameters` and the `requestBody` of an operation (OpenAPI 3.1, section 4.8.10)."""
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.path_params
    ]
    parameters += [
        {"name": field.name, "in": "query", "required": field.required, "schema": _schema(field)}
        for field in route.query
    ]
    operation: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if route.body:
        schema = {
            "type": "object",
            "properties": {field.name: _schema(field) for field in route.body},
            "required": [field.name for field in route.body if field.required],
            "additionalProperties": False,
        }
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _schema(field: Field) -> dict[str, Any]:
    schemas: dict[str, dict[str, Any]] = {
        "text": {"type": "string", "maxLength": TEXT_CHARACTERS_MAX},
        "amount": {"type": "number", "exclusiveMinimum": 0},
        "integer": {"type": "integer"},
    }
    return schemas[field.kind] | ({"description": field.description} if field.description else {})
