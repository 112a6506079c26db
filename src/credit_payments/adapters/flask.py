"""The endpoints as a Flask blueprint: `pip install credit-payments[flask]`.

Example::

    app.register_blueprint(create_blueprint(system, current_user=lambda: session.get("user_id")))
    app.register_blueprint(create_health_blueprint(system))
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

try:
    import flask
except ModuleNotFoundError as error:
    raise ImportError(
        "credit_payments.adapters.flask needs Flask: pip install 'credit-payments[flask]'"
    ) from error

from credit_payments.errors import ConfigurationError, CreditPaymentsError, InvalidRequest
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
    document_response,
    error_response,
    health_routes,
    join_headers,
)

__all__ = [
    "LOCAL_DEMO",
    "CreditPayments",
    "Identity",
    "create_blueprint",
    "create_health_blueprint",
    "install_error_handlers",
]

_NAME = "credit_payments"


def create_blueprint(
    system: System,
    *,
    current_user: CurrentUser,
    url_prefix: str = "/stripe",
    openapi: bool = True,
) -> flask.Blueprint:
    """The endpoints as a blueprint.

    Args:
        system: what `credit_payments.connect()` returned.
        current_user: called without arguments inside the request's context; it returns the
            caller's user id, an `Identity`, or None for nobody. It may also abort. The webhook
            and the price list never call it.
        url_prefix: the mount.
        openapi: whether the blueprint describes itself at `<mount>/openapi.json`, to anybody.

    Raises:
        ConfigurationError: `current_user` cannot be called, or is `LOCAL_DEMO` before a live key.
    """
    check_current_user(current_user)
    check_mount(current_user, system)
    api = Api(system)
    blueprint = flask.Blueprint(_NAME, __name__, url_prefix=url_prefix)
    for route in ROUTES:
        _add(blueprint, api, route, current_user)
    if openapi:
        blueprint.add_url_rule(DOCUMENT_PATH, endpoint="openapi", view_func=_describe)
    # For errors of ours that `current_user` raises; those of the routes are answered by the API.
    blueprint.register_error_handler(CreditPaymentsError, _answer_error)
    return blueprint


def create_health_blueprint(
    system: System, *, metrics: Metrics | None = None, url_prefix: str = "/modules"
) -> flask.Blueprint:
    """How the system is, for monitors: `/modules/stripe/health` and `/modules/transactions/health`.

    Anybody may ask. The answers have numbers, and nothing of any user; they are 503 while the
    database does not answer.

    Args:
        system: what `credit_payments.connect()` returned.
        metrics: a `Prometheus`, for `/modules/stripe/metrics`; without it there is no such route.
        url_prefix: the mount.
    """
    api = Api(system)
    blueprint = flask.Blueprint(f"{_NAME}_health", __name__, url_prefix=url_prefix)
    for route in health_routes(metrics):
        _add(blueprint, api, route, _nobody)
    return blueprint


def install_error_handlers(app: flask.Flask) -> None:
    """Answer errors of this library from the host's own views in the endpoints' JSON."""
    app.register_error_handler(CreditPaymentsError, _answer_error)


@attrs.frozen
class CreditPayments:
    """The endpoints as a Flask extension.

    What is not known yet when the extension is made can be given to `init_app`.

    Args:
        system: what `credit_payments.connect()` returned.
        current_user: as for `create_blueprint`.
        url_prefix: the mount.
        health_prefix: the mount of the health endpoints; None leaves them out.
        openapi: as for `create_blueprint`.
        metrics: as for `create_health_blueprint`.
    """

    system: System | None = None
    current_user: CurrentUser | None = attrs.field(default=None, kw_only=True)
    url_prefix: str = attrs.field(default="/stripe", kw_only=True)
    health_prefix: str | None = attrs.field(default="/modules", kw_only=True)
    openapi: bool = attrs.field(default=True, kw_only=True)
    metrics: Metrics | None = attrs.field(default=None, kw_only=True)

    def init_app(
        self,
        app: flask.Flask,
        system: System | None = None,
        *,
        current_user: CurrentUser | None = None,
    ) -> None:
        """Mount the endpoints; the extension is then at `app.extensions["credit_payments"]`.

        Raises:
            ConfigurationError: there is no system, or no `current_user`, by now.
        """
        bound = self
        if system is not None or current_user is not None:
            # A second app may have a system of its own: what it was given stays with that app.
            bound = attrs.evolve(
                self,
                system=self.system if system is None else system,
                current_user=self.current_user if current_user is None else current_user,
            )
        if bound.system is None:
            raise ConfigurationError("CreditPayments needs a system", param="system")
        blueprint = create_blueprint(
            bound.system,
            current_user=check_current_user(bound.current_user),
            url_prefix=bound.url_prefix,
            openapi=bound.openapi,
        )
        app.register_blueprint(blueprint)
        if bound.health_prefix is not None:
            health = create_health_blueprint(
                bound.system, metrics=bound.metrics, url_prefix=bound.health_prefix
            )
            app.register_blueprint(health)
        app.extensions[_NAME] = bound


def _add(blueprint: flask.Blueprint, api: Api, route: Route, current_user: CurrentUser) -> None:
    blueprint.add_url_rule(
        route.path.replace("{", "<").replace("}", ">"),
        endpoint=route.name,
        view_func=_view(api, route, current_user),
        methods=[route.method],
    )


def _describe() -> flask.Response:
    # The path as it was asked for has the mounts that the host put before ours.
    return _to_flask(document_response(flask.request.script_root + flask.request.path))


def _nobody() -> None:
    """Who calls a route that asks for no caller."""


def _view(api: Api, route: Route, current_user: CurrentUser) -> Callable[..., flask.Response]:
    def view(**path_params: str) -> flask.Response:
        caller = flask.current_app.ensure_sync(current_user)() if route.needs_caller else None
        received = flask.request
        request = Request(
            method=received.method,
            path_params=path_params,
            query=received.query_string,
            headers=join_headers(received.headers.items()),
            body=_read(received, route.body_bytes_max),
            peer=_peer(received),
        )
        return _to_flask(api.handle(route, request, caller))

    return view


def _read(received: flask.Request, bytes_max: int) -> bytes:
    """At most one byte more than the route reads, so that the API can tell a body is too long."""
    if bytes_max == 0:
        return b""
    body = b""
    try:
        while len(body) <= bytes_max:
            chunk = received.stream.read(bytes_max + 1 - len(body))
            if not chunk:
                break
            body += chunk
        # Flask keeps what the host read before us, in a `before_request` for instance.
        return body or received.get_data()
    except OSError:  # what servers raise for chunks that are none, or that end too soon
        raise InvalidRequest("The body could not be read to its end") from None


def _peer(received: flask.Request) -> str | None:
    """The address that connected, also where `ProxyFix` has put in what a header says."""
    environ = received.environ
    original: dict[str, str] = environ.get("werkzeug.proxy_fix.orig", environ)
    return original.get("REMOTE_ADDR")


def _to_flask(response: Response) -> flask.Response:
    return flask.Response(response.body, response.status, dict(response.headers))


def _answer_error(error: CreditPaymentsError) -> flask.Response:
    return _to_flask(error_response(error))
