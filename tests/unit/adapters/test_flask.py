"""What is Flask's own; tests/unit/http runs every endpoint through the blueprint."""

from __future__ import annotations

import types
from typing import Any, cast

import flask
import pytest
from werkzeug.exceptions import Unauthorized

from credit_payments.adapters.flask import (
    CreditPayments,
    Identity,
    create_blueprint,
    create_health_blueprint,
    install_error_handlers,
)
from credit_payments.bootstrap import connect
from credit_payments.domain.values import Delivery
from credit_payments.errors import (
    ConfigurationError,
    InsufficientCredits,
    NotAllowed,
    NotFound,
)
from credit_payments.http import document


class Webhooks:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def receive(self, body: bytes, signature: str) -> Delivery:
        self.bodies.append(body)
        return Delivery(event_id="evt_1", type="ping", outcome="ignored")


class Payments:
    """Says in its one error what it was asked."""

    def payment_status(self, payment_intent_id: str, *, owner: str | None) -> None:
        raise NotFound(f"{payment_intent_id} for {owner}")


def make_system() -> Any:
    return types.SimpleNamespace(payments=Payments(), webhooks=Webhooks())


@pytest.fixture
def system() -> Any:
    return make_system()


@pytest.fixture
def app() -> flask.Flask:
    return flask.Flask(__name__)


STATUS = "/stripe/payment-status/pi_1"


@pytest.mark.parametrize("current_user", [None, "alice"])
def test_a_blueprint_without_an_identity_callable_is_refused(
    system: Any, current_user: object
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        create_blueprint(system, current_user=cast("Any", current_user))
    assert caught.value.param == "current_user"
    with pytest.raises(TypeError, match="current_user"):
        create_blueprint(system)  # type: ignore[call-arg]


def test_the_identity_callable_runs_inside_the_request(app: flask.Flask, system: Any) -> None:
    app.secret_key = "not a secret"
    app.register_blueprint(
        create_blueprint(system, current_user=lambda: flask.session.get("user_id"))
    )
    client = app.test_client()
    assert client.get(STATUS).status_code == 401
    with client.session_transaction() as session:
        session["user_id"] = "alice"
    assert client.get(STATUS).json["message"] == "pi_1 for alice"  # type: ignore[index]


def test_the_mount_can_be_elsewhere(app: flask.Flask, system: Any) -> None:
    app.register_blueprint(
        create_blueprint(system, current_user=lambda: "alice", url_prefix="/api/pay")
    )
    client = app.test_client()
    assert client.get("/api/pay/payment-status/pi_1").json["error"] == "Not found"  # type: ignore[index]
    assert client.get(STATUS).status_code == 404
    with app.test_request_context():
        assert flask.url_for("credit_payments.webhook") == "/api/pay/webhook"


def test_a_host_that_aborts_is_not_overruled(app: flask.Flask, system: Any) -> None:
    def current_user() -> str:
        raise Unauthorized(www_authenticate=None, description="log in first")

    app.register_blueprint(create_blueprint(system, current_user=current_user))
    answer = app.test_client().get(STATUS)
    assert (answer.status_code, b"log in first" in answer.data) == (401, True)


def test_an_error_of_ours_from_the_identity_callable_answers_in_json(
    app: flask.Flask, system: Any
) -> None:
    def current_user() -> str:
        raise NotAllowed("suspended")

    app.register_blueprint(create_blueprint(system, current_user=current_user))
    answer = app.test_client().get(STATUS)
    assert answer.status_code == 403
    assert answer.json["message"] == "suspended"  # type: ignore[index]


def test_the_webhook_never_asks_who_is_calling(app: flask.Flask, system: Any) -> None:
    def current_user() -> str:
        raise AssertionError("not for webhooks")

    app.register_blueprint(create_blueprint(system, current_user=current_user))
    assert app.test_client().post("/stripe/webhook", data=b"{}").status_code == 200


def test_a_body_that_the_host_has_read_already_is_still_there(
    app: flask.Flask, system: Any
) -> None:
    app.before_request(lambda: flask.request.get_data() and None)
    app.register_blueprint(create_blueprint(system, current_user=lambda: "alice"))
    app.test_client().post("/stripe/webhook", data=b"raw bytes")
    assert system.webhooks.bodies == [b"raw bytes"]


def test_a_chunked_body_is_read_to_its_bound_and_no_further(app: flask.Flask, system: Any) -> None:
    class Endless:
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert size >= 0, "an unbounded read of an endless body"
            given = min(size, 10_000)  # a server may give less than was asked for
            self.given += given
            return b"x" * given

    stream = Endless()
    app.register_blueprint(create_blueprint(system, current_user=lambda: "alice"))
    environ = {"wsgi.input": stream, "wsgi.input_terminated": True}
    app.test_client().post("/stripe/webhook", environ_overrides=environ)
    assert stream.given == len(system.webhooks.bodies[0]) == 1024 * 1024 + 1


def test_a_chunked_body_that_is_none_is_refused_in_the_endpoints_json(
    app: flask.Flask, system: Any
) -> None:
    class Stream:
        def read(self, size: int = -1) -> bytes:
            raise OSError("Missing chunk terminating newline")

    app.register_blueprint(create_blueprint(system, current_user=lambda: "alice"))
    environ = {"wsgi.input": Stream(), "wsgi.input_terminated": True}
    answer = app.test_client().post("/stripe/webhook", environ_overrides=environ)
    assert (answer.status_code, answer.get_json()["error_code"]) == (400, "parameter_invalid")


def test_the_extension_mounts_the_endpoints_and_can_be_found(app: flask.Flask, system: Any) -> None:
    extension = CreditPayments(system, current_user=lambda: Identity("olga", operator=True))
    extension.init_app(app)
    assert app.extensions["credit_payments"] is extension
    assert app.test_client().get(STATUS).json["message"] == "pi_1 for None"  # type: ignore[index]


def test_one_extension_serves_apps_with_systems_of_their_own() -> None:
    extension = CreditPayments(current_user=lambda: "alice")
    for _ in range(2):
        app, system = flask.Flask(__name__), make_system()
        extension.init_app(app, system)
        app.test_client().post("/stripe/webhook", data=b"1")
        assert system.webhooks.bodies == [b"1"]
        assert app.extensions["credit_payments"].system is system
    assert extension.system is None


@pytest.mark.parametrize(
    ("extension", "param"),
    [
        (CreditPayments(current_user=lambda: "alice"), "system"),
        (CreditPayments(make_system()), "current_user"),
    ],
)
def test_an_incomplete_extension_does_not_mount(
    app: flask.Flask, extension: CreditPayments, param: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        extension.init_app(app)
    assert caught.value.param == param
    assert app.blueprints == {}


def test_the_hosts_own_views_can_answer_errors_in_the_same_json(app: flask.Flask) -> None:
    @app.get("/render")
    def render() -> str:
        raise InsufficientCredits(available=3, required=5)

    install_error_handlers(app)
    answer = app.test_client().get("/render")
    assert (answer.status_code, answer.json) == (
        402,
        {
            "success": False,
            "error": "Insufficient credits",
            "error_code": "insufficient_credits",
            "message": "Insufficient credits: 5 required, 3 available.",
        },
    )


# -- the description ---------------------------------------------------------------------------


def test_the_blueprint_describes_itself_wherever_it_is_mounted(
    app: flask.Flask, system: Any
) -> None:
    outer = flask.Blueprint("shop", __name__, url_prefix="/shop")
    outer.register_blueprint(
        create_blueprint(system, current_user=lambda: "alice", url_prefix="/pay")
    )
    app.register_blueprint(outer)
    answer = app.test_client().get("/shop/pay/openapi.json", base_url="http://localhost/below")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.json == document(prefix="/below/shop/pay", health_prefix=None)


def test_the_blueprint_can_keep_its_description_to_itself(app: flask.Flask, system: Any) -> None:
    CreditPayments(system, current_user=lambda: "alice", openapi=False).init_app(app)
    assert app.test_client().get("/stripe/openapi.json").status_code == 404


# -- health ------------------------------------------------------------------------------------


class Scraped:
    content_type = "text/plain; version=1.0.0; charset=utf-8"

    def text(self) -> bytes:
        return b"up 1.0\n"


def paths(app: flask.Flask) -> set[str]:
    return {rule.rule for rule in app.url_map.iter_rules() if "static" not in rule.rule}


def test_health_is_mounted_apart_from_the_endpoints(app: flask.Flask) -> None:
    with connect(database="memory://") as system:
        app.register_blueprint(create_health_blueprint(system))
        later = create_health_blueprint(system, url_prefix="/later")
        app.register_blueprint(later, name="later")
        client = app.test_client()
        assert client.get("/modules/stripe/health").json["status"] == "ok"  # type: ignore[index]
        assert client.get("/modules/transactions/health").status_code == 200
    assert client.get("/later/transactions/health").status_code == 503  # with no look behind it
    assert client.get("/modules/stripe/metrics").status_code == 404
    assert client.post("/modules/stripe/health").status_code == 405


def test_metrics_are_mounted_where_there_are_any(app: flask.Flask, system: Any) -> None:
    app.register_blueprint(
        create_health_blueprint(system, metrics=Scraped(), url_prefix="/internal")
    )
    answer = app.test_client().get("/internal/stripe/metrics")
    assert (answer.status_code, answer.data) == (200, b"up 1.0\n")
    assert answer.content_type == Scraped.content_type


def test_the_extension_mounts_health_beside_the_endpoints(app: flask.Flask, system: Any) -> None:
    CreditPayments(system, current_user=lambda: "alice", metrics=Scraped()).init_app(app)
    assert {path for path in paths(app) if path.startswith("/modules")} == {
        "/modules/stripe/health",
        "/modules/transactions/health",
        "/modules/stripe/metrics",
    }


def test_the_extension_can_leave_health_out(app: flask.Flask, system: Any) -> None:
    CreditPayments(system, current_user=lambda: "alice", health_prefix=None).init_app(app)
    assert all(path.startswith("/stripe/") for path in paths(app))
