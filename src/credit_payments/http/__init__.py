"""The endpoints without any web framework: bytes in, bytes out.

`ROUTES` and `HEALTH_ROUTES` say what there is, `Api` answers it. An adapter for a framework
registers each route, turns the framework's request into a `Request`, asks the host who is calling,
and hands the `Response` back; it decides nothing.
"""

from __future__ import annotations

from credit_payments.http.answers import error_response
from credit_payments.http.api import Api
from credit_payments.http.health import HEALTH_ROUTES, Metrics, health_routes
from credit_payments.http.identity import CurrentUser, Identity, check_current_user
from credit_payments.http.local_demo import LOCAL_DEMO, check_mount
from credit_payments.http.messages import Request, Response, join_headers
from credit_payments.http.openapi import (
    DOCUMENT_PATH,
    describe,
    document,
    document_response,
    operation_id,
)
from credit_payments.http.routes import ROUTES, Route
from credit_payments.http.system import System

__all__ = [
    "DOCUMENT_PATH",
    "HEALTH_ROUTES",
    "LOCAL_DEMO",
    "ROUTES",
    "Api",
    "CurrentUser",
    "Identity",
    "Metrics",
    "Request",
    "Response",
    "Route",
    "System",
    "check_current_user",
    "check_mount",
    "describe",
    "document",
    "document_response",
    "error_response",
    "health_routes",
    "join_headers",
    "operation_id",
]
