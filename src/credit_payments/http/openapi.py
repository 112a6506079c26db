"""Describes the routes in OpenAPI's words, from what reads requests, writes answers and raises.

Source:
    OpenAPI 3.1.0 (https://spec.openapis.org/oas/v3.1.0), whose schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

import copy
import functools
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from credit_payments.errors import (
    ConfigurationError,
    CreditPaymentsError,
    IdempotencyConflict,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    RequestInProgress,
)
from credit_payments.http import fields, schemas
from credit_payments.http.answers import REPLAYED_HEADER, error_response, internal_error_response
from credit_payments.http.health import HEALTH_ROUTES
from credit_payments.http.messages import Response
from credit_payments.http.parsing import TEXT_CHARACTERS_MAX, Field, missing
from credit_payments.http.routes import ROUTES, Route
from credit_payments.http.shapes import Problem, Success

Object = dict[str, Any]

DOCUMENT_PATH: Final = "/openapi.json"
"""Under a mount, where its description is."""

_MOUNTS_MAX: Final = 8
_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = 503
_SHARED: Final[Mapping[int, str]] = {
    401: "NotAuthenticated",
    403: "NotAllowed",
    500: "InternalError",
}
_KEPT: Final = frozenset({400, 402, 404, 409, 422})
"""Where an answer may be one that was given before."""


_RETRY_AFTER: Final[Mapping[str, Any]] = {
    "Retry-After": {
        "description": "Seconds, where the same request may succeed later.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_REPLAYED: Final[Mapping[str, Any]] = {
    REPLAYED_HEADER: {
        "description": "There where the answer was given before, under the same Idempotency-Key.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}

_TAGS: Final[Mapping[str, str]] = {
    "payments": "Sells credits, and tells what users hold.",
    "health": "How the system is; for monitors.",
}


def document(
    *,
    prefix: str = "/stripe",
    health_prefix: str | None = "/modules",
    title: str = "Credit payments",
    version: str | None = None,
    security: Mapping[str, Mapping[str, Any]] | None = None,
) -> Object:
    """The endpoints as an OpenAPI 3.1 document: plain data, fit for JSON.

    Args:
        prefix: the mount of the endpoints, as a path.
        health_prefix: the mount of the health endpoints; None leaves them out.
        title: of the API.
        version: of the API; that of this library when left out.
        security: how callers say who they are, which only the host knows: OpenAPI's security
            schemes by name. Any one of them is enough.

    Example:
        >>> session = {"type": "apiKey", "in": "cookie", "name": "session"}
        >>> described = document(prefix="/pay", security={"session": session})
        >>> described["paths"]["/pay/balance"]["get"]["security"]
        [{'session': []}]
    """
    mounts = [("payments", prefix, ROUTES)]
    if health_prefix is not None:
        mounts.append(("health", health_prefix, HEALTH_ROUTES))
    paths: dict[str, Object] = {}
    for tag, mount, routes in mounts:
        for route in routes:
            operation: Object = {
                "operationId": operation_id(route),
                "summary": route.summary,
                "tags": [tag],
                **_operation(route),
            }
            if security and route.needs_caller:
                operation["security"] = [{name: []} for name in security]
            paths.setdefault(mount + route.path, {})[route.method.lower()] = operation
    parts: Object = {"schemas": dict(schemas.components()), "responses": _shared_responses()}
    if security:
        parts["securitySchemes"] = {name: dict(scheme) for name, scheme in security.items()}
    described = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version or _library_version()},
        "paths": paths,
        "components": parts,
        "tags": [{"name": tag, "description": _TAGS[tag]} for tag, _, _ in mounts],
    }
    return copy.deepcopy(described)  # parts of it are ours, and the caller's to change


def _library_version() -> str:
    return importlib.metadata.version("credit-payments")


def document_response(path: str) -> Response:
    """The description of a mount, for anybody.

    Args:
        path: as it was asked for; it ends with `DOCUMENT_PATH`, and begins with the mount wherever
            the host has put that.
    """
    return Response(
        status=200,
        body=_encoded(path.removesuffix(DOCUMENT_PATH)),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )


@functools.lru_cache(maxsize=_MOUNTS_MAX)
def _encoded(prefix: str) -> bytes:
    return msgspec.json.encode(document(prefix=prefix, health_prefix=None))


def operation_id(route: Route) -> str:
    """The name of an operation, also beside those of the host."""
    return f"credit_payments_{route.name}"


def describe(route: Route) -> Object:
    """An operation by itself, for a document that has no components of ours.

    Returns:
        Its `parameters` and `requestBody`, where it has any, and its `responses`.
    """
    parts = {"schemas": schemas.components(), "responses": _shared_responses()}
    described: Object = schemas.inlined(_operation(route), parts)
    return described


def _operation(route: Route) -> Object:
    """What is described of a route (OpenAPI 3.1, section 4.8.10)."""
    headers = (*route.headers, *((fields.KEY_HEADER,) if route.creates else ()))
    parameters = [
        _parameter(field, place)
        for place, read in (("path", route.parts), ("query", route.query), ("header", headers))
        for field in read
    ]
    operation: Object = {"parameters": parameters} if parameters else {}
    body = _request_body(route)
    if body is not None:
        operation["requestBody"] = body
    return operation | {"responses": _responses(route)}


# -- what is read ------------------------------------------------------------------------------


def _parameter(field: Field, place: str) -> Object:
    # The bounds of text are those of what is read; a header is not read as a field.
    schema = {"type": "string", **field.bounds} if place == "header" else _schema(field)
    parameter: Object = {
        "name": field.name,
        "in": place,
        "required": field.required,
        "schema": schema,
    }
    if field.description:
        parameter["description"] = field.description
    if field.example is not None:
        parameter["example"] = field.example
    return parameter


def _request_body(route: Route) -> Object | None:
    if not route.body:
        # Bytes whose signature is checked before anything is read of them.
        return _content({"type": "object"}, required=True) if route.body_bytes_max else None
    properties = {field.name: _property(field) for field in route.body}
    schema: Object = {
        "type": "object",
        "properties": properties,
        "required": [field.name for field in route.body if field.required],
        "additionalProperties": False,
    }
    shown = {field.name: field.example for field in route.body if field.example is not None}
    return _content(schema, example=shown, required=True)


def _property(field: Field) -> Object:
    """A field of a body; where it may be left out, null is the same."""
    schema = _schema(field)
    if not field.required:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    if field.description:
        schema["description"] = field.description
    return schema


def _schema(field: Field) -> Object:
    kinds: dict[str, Object] = {
        "text": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX},
        "amount": {"type": "number", "exclusiveMinimum": 0},
        "integer": {"type": "integer"},
    }
    if "enum" in field.bounds:
        return {"type": "string", **field.bounds}
    return {**kinds[field.kind], **field.bounds}


# -- what is answered --------------------------------------------------------------------------


def _responses(route: Route) -> Object:
    by_status: dict[int, list[CreditPaymentsError]] = {}
    for error in errors_of(route):
        by_status.setdefault(error.http_status, []).append(error)
    responses = {"200": _success(route)}
    by_status[_SERVER_ERROR] = []
    for status in sorted(by_status):
        if status in _SHARED:
            responses[str(status)] = {"$ref": f"#/components/responses/{_SHARED[status]}"}
        else:
            replayed = route.creates and status in _KEPT
            responses[str(status)] = _failure(by_status[status], replayed=replayed)
    shape = route.shape
    if shape is not None and not issubclass(shape, Success):
        # Health, whose success is not a constant; or why nobody could look for too long.
        either = {"anyOf": [schemas.reference(shape), schemas.reference(Problem)]}
        responses[str(_UNAVAILABLE)] = {
            "description": "The database does not answer.",
            "headers": _RETRY_AFTER,
            **_content(either),
        }
    return responses


def errors_of(route: Route) -> Iterator[CreditPaymentsError]:
    """An example of each error that a route answers with, the general ones first."""
    read = (*route.body, *route.query)
    if read:
        yield InvalidRequest(f"{read[0].name} must be a string", param=read[0].name)
    yield from [missing(field.name) for field in read if field.required][:1]
    if route.body:
        yield InvalidRequest(
            "Received unknown parameter: curency", param="curency", code="parameter_unknown"
        )
    if route.needs_caller:
        yield NotAuthenticated()
        yield NotAllowed()
        yield ConfigurationError("current_user must return a user id (str), an Identity or None")
    if route.creates:
        yield IdempotencyConflict()
        yield RequestInProgress()
    yield from route.errors


def _success(route: Route) -> Object:
    if route.shape is None:
        text = {"text/plain": {"schema": {"type": "string"}}}
        return {"description": route.summary, "content": text}
    schema = schemas.reference(route.shape)
    described: Object = {
        "description": schemas.components()[route.shape.__name__]["description"],
        **_content(schema, example=schemas.example(schema)),
    }
    return described | ({"headers": _REPLAYED} if route.creates else {})


def _failure(errors: Sequence[CreditPaymentsError], *, replayed: bool = False) -> Object:
    """The errors of one status, with an example of each code."""
    shown = {
        error.error_code: {"summary": error.title, "value": _body(error_response(error))}
        for error in reversed(errors)  # the first of a code is the one that is shown
    }
    retryable = any(error.retryable for error in errors)
    headers = {**(_REPLAYED if replayed else {}), **(_RETRY_AFTER if retryable else {})}
    return {
        "description": ". ".join(dict.fromkeys(error.title for error in errors)) + ".",
        **_content(schemas.reference(Problem), examples=dict(reversed(shown.items()))),
        **({"headers": headers} if headers else {}),
    }


def _shared_responses() -> Object:
    """What is the same for every route that answers it."""
    internal = _body(internal_error_response())
    return {
        _SHARED[401]: _failure([NotAuthenticated()]),
        _SHARED[403]: _failure([NotAllowed()]),
        _SHARED[500]: {
            "description": "Something that nobody foresaw; the log says what.",
            **_content(schemas.reference(Problem), example=internal),
        },
    }


def _body(response: Response) -> Object:
    body: Object = msgspec.json.decode(response.body)
    return body


def _content(schema: Object, *, required: bool = False, **shown: object) -> Object:
    content: Object = {"content": {"application/json": {"schema": schema, **shown}}}
    return content | ({"required": True} if required else {})
