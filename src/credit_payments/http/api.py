"""Answers requests: parse, call the core, and turn whatever comes of it into JSON."""

from __future__ import annotations

import traceback
from typing import Final

from credit_payments import logs
from credit_payments.errors import CreditPaymentsError, NotAuthenticated
from credit_payments.http.answers import (
    error_response,
    internal_error_response,
    success_response,
)
from credit_payments.http.idempotency import answer_once
from credit_payments.http.identity import identify
from credit_payments.http.local_demo import admit
from credit_payments.http.messages import Request, Response
from credit_payments.http.parsing import read_body, read_idempotency_key, read_query
from credit_payments.http.routes import Call, Route
from credit_payments.http.shapes import Answer
from credit_payments.http.system import System

_logger: Final = logs.logger("credit_payments.http")

_SERVER_ERROR: Final = 500
_FRAMES_MAX: Final = 20


class Api:
    """The endpoints over one system; safe to call from many threads at once.

    Args:
        system: what `credit_payments.connect()` returned.
    """

    def __init__(self, system: System) -> None:
        self._system = system

    def handle(self, route: Route, request: Request, caller: object = None) -> Response:
        """Answer one request; never raises an `Exception`.

        Args:
            route: one of `ROUTES`.
            request: what the framework received.
            caller: what the host's identity callable returned: a user id, an `Identity`, None, or
                `LOCAL_DEMO`.
        """
        try:
            answer = self._answer(route, request, caller)
            return answer if isinstance(answer, Response) else success_response(answer)
        except CreditPaymentsError as error:
            if error.http_status >= _SERVER_ERROR:
                _logger.warning("%s: %s (%s)", route.name, error.message, error.error_code)
            return error_response(error)
        except Exception as error:  # noqa: BLE001 - the last stop: the caller gets no traceback
            _log_unforeseen(route, error)
            return internal_error_response()

    def _answer(self, route: Route, request: Request, caller: object) -> Answer | Response:
        identity = identify(admit(caller, request, self._system))
        if route.needs_caller and identity is None:
            raise NotAuthenticated
        if route.body:
            fields = read_body(request.body, request.headers, route.body)
        else:
            fields = read_query(request.query, route.query)
        call = Call(request=request, fields=fields, caller=identity)
        if route.check is not None:
            route.check(call)
        key = read_idempotency_key(request.headers) if route.creates else None
        if key is None:
            return route.answer(self._system, call)
        return answer_once(self._system, route, call, key)


def _log_unforeseen(route: Route, error: BaseException) -> None:
    # The type and the place, not the message: drivers quote their arguments there, and with them
    # e-mail addresses and keys.
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    _logger.error(
        "%s: unforeseen %s.%s\n%s",
        route.name,
        type(error).__module__,
        type(error).__qualname__,
        "".join(traceback.format_list(frames)).rstrip(),
    )
