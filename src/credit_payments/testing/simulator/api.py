"""From an HTTP request to an answer: faults, keys, parameters, execution, expansion."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from email.utils import formatdate

import attrs
import msgspec

from credit_payments import logs

from . import (
    balance,
    charges,
    customers,
    disputes,
    early_fraud_warnings,
    events,
    payment_intents,
    payment_methods,
    refunds,
    webhook_endpoints,
)
from ._types import Json
from .account import Account, Cause
from .endpoint import Call, Endpoint, Routes
from .expansion import expanded
from .faults import Fault, Faults
from .form import decode_form
from .idempotency import IdempotencyKeys, Stored
from .params import list_of, string
from .problems import BadParameter, Problem
from .wire import Request, Response

__all__ = ["ROUTES", "Api", "Keys"]

_log = logs.logger(__name__)

ROUTES: Routes = {
    **customers.ROUTES,
    **payment_methods.ROUTES,
    **payment_intents.ROUTES,
    **charges.ROUTES,
    **refunds.ROUTES,
    **balance.ROUTES,
    **disputes.ROUTES,
    **early_fraud_warnings.ROUTES,
    **events.ROUTES,
    **webhook_endpoints.ROUTES,
}

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z_]+)?")
_EXPAND = list_of(string(500))
_CROSS_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "*",
}


@attrs.frozen
class Keys:
    """Which API keys are accepted.

    Attributes:
        secret: the account's secret key.
        publishable: the account's publishable key.
        any_test_key: whether every other ``sk_test_…`` and ``pk_test_…`` is accepted as well.
    """

    secret: str
    publishable: str
    any_test_key: bool = True

    def is_publishable(self, key: str) -> bool:
        """Tell which kind of key it is.

        Raises:
            Problem: 401, if it is neither.
        """
        if key == self.secret or (self.any_test_key and key.startswith("sk_test_")):
            return False
        if key == self.publishable or (self.any_test_key and key.startswith("pk_test_")):
            return True
        if not key:
            raise Problem("You did not provide an API key.", status=401)
        raise Problem(f"Invalid API Key provided: {key[:8]}****{key[-4:]}", status=401)


@attrs.define
class _Exchange:
    """One request on its way through."""

    request: Request
    request_id: str
    fault: Fault | None
    version: str = ""
    key: str | None = None
    replayed: bool = False
    original: str | None = None

    @property
    def scope(self) -> str:
        return self.request.headers.get("stripe-account", "")


class Api:
    """The ``/v1`` part of the simulator.

    Args:
        account: what the requests act on.
        keys: who may call.
        faults: planned failures.
        origin: returns the simulator's own address.
    """

    def __init__(
        self, account: Account, keys: Keys, faults: Faults, origin: Callable[[], str]
    ) -> None:
        self._account = account
        self._keys = keys
        self._faults = faults
        self._origin = origin
        self.idempotency = IdempotencyKeys()

    def answer(self, request: Request) -> Response:
        """Answer one request; every failure becomes an error envelope."""
        if request.method == "OPTIONS":
            return Response(204, b"", _CROSS_ORIGIN)
        with self._account.lock:
            request_id = self._account.ids.new("req")
        exchange = _Exchange(request, request_id, self._faults.take(request.method, request.path))
        fault = exchange.fault
        if fault is not None and fault.kind == "timeout":
            self._faults.wait(fault.seconds)
            return Response(504, b"", lost=True)
        try:
            status, body = self._respond(exchange)
        except Problem as problem:
            status, body = problem.status, _told(problem, request_id)
        except Exception as exc:  # noqa: BLE001 - the connection's thread must answer
            _log.exception("the simulator failed on %s %s", request.method, request.path)
            bug = Problem(f"Simulator bug: {exc!r}", status=500, kind="api_error")
            status, body = 500, _told(bug, request_id)
        lost = fault is not None and fault.kind == "lose_reply"
        headers = {**_headers(exchange), "Date": formatdate(self._account.now(), usegmt=True)}
        return Response(status, body, headers, lost=lost)

    def _respond(self, exchange: _Exchange) -> tuple[int, bytes]:
        fault, request = exchange.fault, exchange.request
        if fault is not None and fault.problem is not None and not fault.remember:
            raise fault.problem
        raw = _raw_params(request)
        publishable = self._keys.is_publishable(_api_key(request, raw))
        exchange.version = _version(request, self._account.api_version)
        endpoint, ids = _route(request)
        if publishable and not endpoint.publishable:
            raise Problem(
                "This API call cannot be made with a publishable API key. Please use a secret "
                "API key.",
                status=401,
                code="secret_key_required",
            )
        if request.method == "POST":
            exchange.key = request.headers.get("idempotency-key")
        if exchange.key is None:
            return self._execute(exchange, endpoint, ids, raw, publishable=publishable)[:2]
        return self._once(exchange, endpoint, ids, raw, publishable=publishable)

    def _once(
        self,
        exchange: _Exchange,
        endpoint: Endpoint,
        ids: tuple[str, ...],
        raw: Json,
        *,
        publishable: bool,
    ) -> tuple[int, bytes]:
        key = exchange.key or ""
        fingerprint = (exchange.request.method, exchange.request.path, dict(raw))
        stored = self.idempotency.begin(exchange.scope, key, fingerprint, self._account.now())
        if stored is not None:
            exchange.replayed, exchange.original = True, stored.request_id
            return stored.status, stored.body
        answer: Stored | None = None
        try:
            status, body, began = self._execute(
                exchange, endpoint, ids, raw, publishable=publishable
            )
            if began:
                answer = Stored(status, body, exchange.request_id)
        finally:
            # Whatever happened, the key does not stay in use.
            self.idempotency.finish(exchange.scope, key, answer)
        return status, body

    def _execute(
        self,
        exchange: _Exchange,
        endpoint: Endpoint,
        ids: tuple[str, ...],
        raw: Json,
        *,
        publishable: bool,
    ) -> tuple[int, bytes, bool]:
        """Return status, body, and whether execution began (so that a key remembers it)."""
        fault = exchange.fault
        if fault is not None and fault.kind == "slow":
            self._faults.wait(fault.seconds)
        cause = Cause(exchange.request_id, exchange.key)
        # Answers are encoded under the lock, as snapshots of the very state they report.
        with self._account.caused_by(cause, exchange.version):
            try:
                if fault is not None and fault.problem is not None:
                    raise fault.problem
                expand = _EXPAND(raw.pop("expand", []), "expand")
                params = endpoint.schema.read(raw)
                call = Call(params, ids, exchange.request.path, publishable, self._origin())
                body = expanded(self._account, endpoint.run(self._account, call), expand)
                return 200, msgspec.json.encode(body), True
            except Problem as problem:
                told = _told(problem, exchange.request_id)
                return problem.status, told, problem.remembered


def _told(problem: Problem, request_id: str) -> bytes:
    envelope = problem.envelope()
    url = f"https://dashboard.stripe.com/test/logs/{request_id}"
    envelope["error"].setdefault("request_log_url", url)
    return msgspec.json.encode(envelope)


def _headers(exchange: _Exchange) -> dict[str, str]:
    headers = {"Request-Id": exchange.request_id, **_CROSS_ORIGIN}
    if exchange.version:
        headers["Stripe-Version"] = exchange.version
    if exchange.key is not None:
        headers["Idempotency-Key"] = exchange.key
    if exchange.replayed:
        headers["Idempotent-Replayed"] = "true"
        headers["Original-Request"] = exchange.original or ""
    if exchange.fault is not None and exchange.fault.should_retry is not None:
        headers["Stripe-Should-Retry"] = str(exchange.fault.should_retry).lower()
    return headers


def _raw_params(request: Request) -> Json:
    raw = decode_form(request.query) if request.query else {}
    if request.body:
        try:
            raw |= decode_form(request.body.decode("utf-8"))
        except UnicodeDecodeError as exc:
            raise BadParameter("The body is not UTF-8.") from exc
    return raw


def _api_key(request: Request, raw: Json) -> str:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    # A browser sends the key among the parameters to spare itself a preflight request.
    in_params = raw.pop("key", "")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return in_params if isinstance(in_params, str) else ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _version(request: Request, default: str) -> str:
    version = request.headers.get("stripe-version", default)
    if not _VERSION.fullmatch(version):
        raise Problem(f"Invalid Stripe API version: {version}")
    return version


def _route(request: Request) -> tuple[Endpoint, tuple[str, ...]]:
    segments = request.segments()[1:]
    if segments[:1] == ["radar"]:
        segments[:2] = ["/".join(segments[:2])]  # a namespace is no collection of its own
    pattern = "/".join("*" if index % 2 else name for index, name in enumerate(segments))
    ids = tuple(segments[1::2])
    endpoint = ROUTES.get(f"{request.method} /v1/{pattern}")
    if endpoint is None or not all(ids):
        raise Problem(
            f"Unrecognized request URL ({request.method}: {request.path}). The simulator does not "
            "have it; see its documentation for what it has.",
            status=404,
        )
    return endpoint, ids
