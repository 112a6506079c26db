"""The endpoints as a FastAPI router: `pip install credit-payments[fastapi]`.

Example::

    app.include_router(create_router(system, current_user=current_user))
    app.include_router(create_health_router(system))
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

try:
    import fastapi
except ModuleNotFoundError as error:
    raise ImportError(
        "credit_payments.adapters.fastapi needs FastAPI: pip install 'credit-payments[fastapi]'"
    ) from error

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from credit_payments.errors import CreditPaymentsError, InvalidRequest
from credit_payments.http import (
    DOCUMENT_PATH,
    LOCAL_DEMO,
    ROUTES,
    Api,
    CurrentUser,
    Identity,
    Metrics,
    Request,
    Response,
    Route,
    System,
    check_current_user,
    check_mount,
    describe,
    document_response,
    error_response,
    health_routes,
    join_headers,
    operation_id,
)

__all__ = [
    "LOCAL_DEMO",
    "Identity",
    "create_health_router",
    "create_router",
    "install_error_handlers",
]


_DOCUMENT = "openapi_of_payments"
"""The name of the route; FastAPI's own is `openapi`."""


def create_router(
    system: System,
    *,
    current_user: CurrentUser,
    prefix: str = "/stripe",
    openapi: bool = True,
) -> fastapi.APIRouter:
    """The endpoints as a router.

    Each runs in the thread pool, so that no database or network call blocks the event loop.

    Args:
        system: what `credit_payments.connect()` returned.
        current_user: a FastAPI dependency, sync or async, with any parameters of its own; it
            returns the caller's user id, an `Identity`, or None for nobody. It may also raise.
            The webhook and the price list never call it.
        prefix: the mount.
        openapi: whether the router describes itself at `<mount>/openapi.json`, to anybody. The
            application's own description has the endpoints in any case.

    Raises:
        ConfigurationError: `current_user` cannot be called, or is `LOCAL_DEMO` before a live key.
    """
    check_current_user(current_user)
    check_mount(current_user, system)
    api = Api(system)
    router = fastapi.APIRouter(prefix=prefix, tags=["payments"], route_class=_Route)
    # Routes are tried one after the other: the one that Stripe calls all the time comes first.
    for route in sorted(ROUTES, key=lambda route: route.name != "webhook"):
        _add(router, api, route, current_user)
    if openapi:
        router.add_api_route(DOCUMENT_PATH, _describe, name=_DOCUMENT, include_in_schema=False)
    return router


def create_health_router(
    system: System, *, metrics: Metrics | None = None, prefix: str = "/modules"
) -> fastapi.APIRouter:
    """How the system is, for monitors: `/modules/stripe/health` and `/modules/transactions/health`.

    Anybody may ask. The answers have numbers, and nothing of any user; they are 503 while the
    database does not answer.

    Args:
        system: what `credit_payments.connect()` returned.
        metrics: a `Prometheus`, for `/modules/stripe/metrics`; without it there is no such route.
        prefix: the mount.
    """
    api = Api(system)
    router = fastapi.APIRouter(prefix=prefix, tags=["health"], route_class=_Route)
    for route in health_routes(metrics):
        _add(router, api, route, _nobody)
    return router


def install_error_handlers(app: fastapi.FastAPI) -> None:
    """Answer errors of this library from the host's own endpoints in the routes' JSON."""

    async def answer(_: fastapi.Request, error: Exception) -> fastapi.Response:
        if not isinstance(error, CreditPaymentsError):
            raise error
        return _to_fastapi(error_response(error))

    app.add_exception_handler(CreditPaymentsError, answer)


def _add(router: fastapi.APIRouter, api: Api, route: Route, current_user: CurrentUser) -> None:
    described = describe(route)
    router.add_api_route(
        route.path,
        _endpoint(api, route, current_user),
        methods=[route.method],
        name=route.name,
        summary=route.summary,
        operation_id=operation_id(route),
        response_model=None,
        # Its media type would stand beside ours, where FastAPI's default is JSON.
        response_class=fastapi.Response,
        # Given this way, and not as extra, FastAPI adds no 422 of its own where there is one.
        responses=described.pop("responses"),
        openapi_extra=described,
    )


async def _describe(received: fastapi.Request) -> fastapi.Response:
    # The path as it was asked for has the mounts that the host put before ours.
    return _to_fastapi(document_response(received.url.path))


def _nobody() -> None:
    """Who calls a route that asks for no caller."""


class _Route(APIRoute):
    """Answers errors of ours that `current_user` raises; a router has no exception handlers."""

    def get_route_handler(
        self,
    ) -> Callable[[fastapi.Request], Coroutine[Any, Any, fastapi.Response]]:
        # Without a caller there is nothing to resolve, and resolving nothing takes FastAPI longer
        # than a webhook takes us.
        handle = self.endpoint if self.endpoint in _plain else super().get_route_handler()

        async def answer(received: fastapi.Request) -> fastapi.Response:
            try:
                return await handle(received)
            except CreditPaymentsError as error:
                return _to_fastapi(error_response(error))

        return answer


_plain: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()
"""Endpoints that take the request and nothing else."""


def _endpoint(api: Api, route: Route, current_user: CurrentUser) -> Callable[..., Any]:
    read_body = _body_reader(route.body_bytes_max)

    async def answer(received: fastapi.Request, caller: Any) -> fastapi.Response:
        # The body is read after the caller is known: who is turned away uploads nothing.
        request = Request(
            method=received.method,
            path_params=received.path_params,
            query=received.scope["query_string"],
            headers=join_headers(received.headers.items()),
            body=await read_body(received),
            peer=received.client.host if received.client else None,
        )
        return _to_fastapi(await run_in_threadpool(api.handle, route, request, caller))

    async def for_anybody(received: fastapi.Request) -> fastapi.Response:
        return await answer(received, None)

    async def for_a_caller(
        received: fastapi.Request, caller: Any = fastapi.Depends(current_user)
    ) -> fastapi.Response:
        return await answer(received, caller)

    if route.needs_caller:
        return for_a_caller
    _plain.add(for_anybody)
    return for_anybody


def _body_reader(bytes_max: int) -> Callable[[fastapi.Request], Awaitable[bytes]]:
    """Reads at most one byte more than the route does, so that the API can tell it is too long."""

    async def read(received: fastapi.Request) -> bytes:
        body = bytearray()
        try:
            async for chunk in received.stream():
                body += chunk
                if len(body) > bytes_max:
                    break
        except ClientDisconnect:
            raise InvalidRequest("The connection closed before the body was complete") from None
        return bytes(body[: bytes_max + 1])

    async def read_nothing(_: fastapi.Request) -> bytes:
        return b""

    return read if bytes_max else read_nothing


def _to_fastapi(response: Response) -> fastapi.Response:
    return fastapi.Response(response.body, response.status, dict(response.headers))
