"""The one identity that trusts the request: where it may stand, and whom it turns away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import fastapi
import flask
import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

import credit_payments as cp
from credit_payments.adapters.fastapi import create_router
from credit_payments.adapters.flask import CreditPayments, create_blueprint
from credit_payments.errors import ConfigurationError
from credit_payments.http import LOCAL_DEMO, ROUTES, Api, Request
from credit_payments.testing.simulator import StripeSimulator

BALANCE = next(route for route in ROUTES if route.name == "balance")
HOST = {"host": "localhost:5000"}


def ask(
    system: Any,
    *,
    peer: str | None = "127.0.0.1",
    headers: dict[str, str] | None = None,
    query: bytes = b"user_id=ada",
    caller: object = LOCAL_DEMO,
) -> tuple[int, Any]:
    request = Request(method="GET", query=query, headers=HOST | (headers or {}), peer=peer)
    response = Api(system).handle(BALANCE, request, caller)
    return response.status, json.loads(response.body)


# --- who gets in ------------------------------------------------------------------------------


def test_the_user_of_the_request_is_believed(system: Any) -> None:
    assert ask(system)[0] == 200
    assert system.calls == [("balance", ("ada",), {})]


def test_without_a_user_it_is_the_demos_own(system: Any) -> None:
    assert ask(system, query=b"")[0] == 200
    assert system.calls == [("balance", ("demo",), {})]


def test_a_callable_of_the_host_may_hand_it_on(system: Any) -> None:
    assert ask(system, caller=LOCAL_DEMO())[0] == 200
    assert ask(system, caller=LOCAL_DEMO(), peer="192.0.2.1")[0] == 403


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::1%lo", "::ffff:127.0.0.1"])
def test_this_machine_is_let_in(system: Any, peer: str) -> None:
    assert ask(system, peer=peer)[0] == 200


@pytest.mark.parametrize(
    "peer",
    [
        None,
        "",
        "192.0.2.1",
        "10.0.0.1",
        "172.17.0.1",
        "0.0.0.0",
        "::",
        "::2",
        "fe80::1%lo",
        "::ffff:192.0.2.1",
        "::127.0.0.1",
        "localhost",
        "testclient",
        "127.0.0.1:80",
        "127.1",
        "2130706433",
        "127.0.0.1,192.0.2.1",
    ],
)
def test_another_peer_is_turned_away(system: Any, peer: str | None) -> None:
    status, answer = ask(system, peer=peer)
    assert (status, answer["error_code"]) == (403, "not_allowed")
    assert "this machine only" in answer["message"]
    assert system.calls == []


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:80", "127.0.0.1", "127.0.0.1:5000", "[::1]", "[::1]:5000"]
)
def test_the_names_of_this_machine_are_answered(system: Any, host: str) -> None:
    assert ask(system, headers={"host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "shop.example",
        "localhost.shop.example",
        "shop.example:5000",
        "localhost.",
        "localhost:",
        "localhost:port",
        "user@localhost",
        "localhost,shop.example",
        "localhost\n",
        "127.0.0.1.nip.io",
        "0.0.0.0",
        "::1",
        "[::ffff:127.0.0.1]",
    ],
)
def test_another_name_is_turned_away_whoever_made_it_lead_here(system: Any, host: str) -> None:
    """DNS rebinding: a web site's own name, which leads to 127.0.0.1 by now."""
    status, answer = ask(system, headers={"host": host})
    assert (status, answer["param"]) == (403, "Host")
    assert system.calls == []


def test_a_request_without_a_name_is_turned_away(system: Any) -> None:
    request = Request(method="GET", peer="127.0.0.1")
    assert Api(system).handle(BALANCE, request, LOCAL_DEMO).status == 403


@pytest.mark.parametrize(
    "name",
    [
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded",
        "x-real-ip",
        "x-original-host",
        "cf-connecting-ip",
        "true-client-ip",
        "x-cluster-client-ip",
        "fly-client-ip",
        "x-envoy-external-address",
        "x-amzn-trace-id",
        "x_forwarded_for",
        "x_real_ip",
    ],
)
@pytest.mark.parametrize("value", ["127.0.0.1", ""])
def test_what_came_through_a_proxy_is_turned_away(system: Any, name: str, value: str) -> None:
    status, answer = ask(system, headers={name: value})
    assert status == 403
    assert "proxy" in answer["message"]
    assert system.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:5000", "sec-fetch-site": "same-origin"},
        {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
        {"origin": "https://127.0.0.1"},
        {"sec-fetch-site": "none"},
    ],
)
def test_pages_of_this_machine_may_ask(system: Any, headers: dict[str, str]) -> None:
    assert ask(system, headers=headers)[0] == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", ""),
        ("origin", "http://localhost.evil.example"),
        ("origin", "http://localhost:5000,https://evil.example"),
        ("origin", "http://localhost@evil.example"),
        ("origin", "file://"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin,cross-site"),
        ("sec-fetch-site", ""),
    ],
)
def test_the_page_of_another_site_is_turned_away(system: Any, name: str, value: str) -> None:
    status, answer = ask(system, headers={name: value})
    assert (status, answer["param"]) == (403, name.title())
    assert system.calls == []


def test_a_key_that_has_become_live_is_refused_at_each_request(system: Any) -> None:
    assert ask(system)[0] == 200
    system.livemode = True
    system.calls.clear()
    status, answer = ask(system)
    assert (status, answer["message"]) == (403, "LOCAL_DEMO refuses a live key")
    assert system.calls == []


def test_a_caller_whom_the_host_knows_is_not_asked_where_they_come_from(system: Any) -> None:
    system.livemode = True
    headers = {"host": "shop.example", "via": "1.1 proxy"}
    assert ask(system, caller="ada", peer=None, headers=headers)[0] == 200


# --- where it may stand -----------------------------------------------------------------------

MOUNTS: dict[str, Callable[[Any], Any]] = {
    "flask": lambda system: create_blueprint(system, current_user=LOCAL_DEMO),
    "flask_extension": lambda system: CreditPayments(current_user=LOCAL_DEMO).init_app(
        flask.Flask("shop"), system
    ),
    "fastapi": lambda system: create_router(system, current_user=LOCAL_DEMO),
}


@pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS)
@pytest.mark.parametrize("key", ["sk_live_simulator", "rk_live_simulator"])
def test_it_is_not_mounted_over_a_live_key(mount: Callable[[Any], Any], key: str) -> None:
    with (
        cp.connect(database="memory://", stripe_secret_key=key) as system,
        pytest.raises(ConfigurationError) as caught,
    ):
        mount(system)
    assert caught.value.param == "current_user"
    assert "live key" in caught.value.message
    assert key not in caught.value.message


@pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS)
@pytest.mark.parametrize("livemode", [False, None])
def test_each_mount_says_once_in_the_log_what_it_is(
    system: Any,
    mount: Callable[[Any], Any],
    livemode: bool | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    system.livemode = livemode
    with caplog.at_level(logging.WARNING, logger="credit_payments"):
        mount(system)
        ask(system)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("LOCAL_DEMO is mounted: every caller on this machine")


@pytest.mark.parametrize("mount", [create_blueprint, create_router])
def test_it_is_nobodys_default(system: Any, mount: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="current_user"):
        mount(system)


# --- what the frameworks say of a request -----------------------------------------------------


def make_flask(system: Any) -> flask.Flask:
    app = flask.Flask("shop")
    app.register_blueprint(create_blueprint(system, current_user=LOCAL_DEMO))
    return app


def test_flask_tells_who_connected(system: Any) -> None:
    client = make_flask(system).test_client()
    assert client.get("/stripe/balance").status_code == 200
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    assert client.get("/stripe/balance", environ_base=elsewhere).status_code == 403
    nowhere = {"REMOTE_ADDR": ""}  # a Unix socket
    assert client.get("/stripe/balance", environ_base=nowhere).status_code == 403


def test_flask_tells_who_connected_whatever_its_proxy_fix_was_told(system: Any) -> None:
    app = make_flask(system)
    inner = app.wsgi_app

    def without_a_trace(environ: Any, start_response: Any) -> Any:
        del environ["HTTP_X_FORWARDED_FOR"]
        assert environ["REMOTE_ADDR"] == "127.0.0.1"
        return inner(environ, start_response)

    app.wsgi_app = ProxyFix(without_a_trace)  # type: ignore[method-assign]
    answer = app.test_client().get(
        "/stripe/balance",
        environ_base={"REMOTE_ADDR": "192.0.2.1"},
        headers={"X-Forwarded-For": "127.0.0.1"},
    )
    assert (answer.status_code, system.calls) == (403, [])
    assert "this machine only" in answer.get_json()["message"]


def ask_fastapi(system: Any, client: tuple[str, int] | None, host: bytes = b"localhost") -> int:
    app = fastapi.FastAPI()
    app.include_router(create_router(system, current_user=LOCAL_DEMO))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/stripe/balance",
        "raw_path": b"/stripe/balance",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", host)],
        "client": client,
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(app(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (("127.0.0.1", 4), 200),
        (("::1", 4), 200),
        (("testclient", 50000), 403),
        (("192.0.2.1", 4), 403),
        (None, 403),
    ],
)
def test_fastapi_tells_who_connected(
    system: Any, client: tuple[str, int] | None, status: int
) -> None:
    assert ask_fastapi(system, client) == status


def test_fastapi_tells_the_name_that_was_asked_for(system: Any) -> None:
    assert ask_fastapi(system, ("127.0.0.1", 4), b"shop.example") == 403


def test_a_purchase_for_any_user_on_a_machine_of_ones_own() -> None:
    with (
        StripeSimulator() as simulator,
        cp.connect(
            database="memory://",
            stripe_secret_key=simulator.secret_key,
            stripe_api_base=simulator.url,
        ) as system,
    ):
        client = make_flask(system).test_client()
        made = client.post("/stripe/create-payment-intent", json={"user_id": "ada", "amount": 10})
        intent = {"payment_intent_id": made.get_json()["payment_intent_id"]}
        simulator.pay(intent["payment_intent_id"])
        assert client.post("/stripe/confirm-payment", json=intent).status_code == 200
        shown = client.get("/stripe/balance?user_id=ada").get_json()
        assert shown["balance"]["available"] == 100
        assert client.post("/stripe/refunds", json=intent).status_code == 200
        form = client.post("/stripe/refunds", data=intent)  # what a page's form could send
        assert form.status_code == 400
