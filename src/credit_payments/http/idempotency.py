"""Answers a request that its caller has named once: repeated, it gets the first answer again.

What the process does when it dies: before `begin` has committed nothing was done; after it, the
request is in progress until its lease ends, and whoever repeats it then has the core do it again,
under the same key, with the same effect; after `finish` has committed the answer is kept. An answer
is given only after it was kept, so nobody is ever given two that differ.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from credit_payments import logs
from credit_payments.domain.requests import Begun, KeptAnswer
from credit_payments.errors import CreditPaymentsError
from credit_payments.http.answers import error_response, replayed_response, success_response
from credit_payments.http.messages import Response
from credit_payments.http.routes import Call, Route
from credit_payments.http.system import System

_logger: Final = logs.logger("credit_payments.http")

_OK: Final = 200
_SERVER_ERROR: Final = 500

# Through both of them JSON goes unchanged: numbers keep their digits, and names their order.
_DECODER: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def answer_once(system: System, route: Route, call: Call, key: str) -> Response:
    """Answer what was not answered for good under this key; otherwise repeat that answer.

    A success is for good, and so is an error that repeating the request cannot mend. Anything else
    is not kept, and the request may be repeated at once.

    Raises:
        IdempotencyConflict: the key was used with another payload.
        RequestInProgress: somebody is at it.
        Conflict: it has no answer, and is too old to be done again.
        CreditPaymentsError: what the route raises that is not for good.
    """
    begun = system.requests.begin(
        route.name, call.caller_id, key, call.fields, route.redo_seconds_max
    )
    if isinstance(begun, KeptAnswer):
        return _replay(system, route, call, begun)
    response = _answer(system, route, call, begun)
    answer = KeptAnswer(response.status, _without_unkept(route, response))
    kept = system.requests.finish(begun, answer)
    return response if kept == answer else _replay(system, route, call, kept)


def _answer(system: System, route: Route, call: Call, begun: Begun) -> Response:
    try:
        answer = route.answer(system, call)
    except Exception as error:
        if isinstance(error, CreditPaymentsError) and _is_for_good(error):
            return error_response(error)
        _release(system, route, begun)
        raise
    return answer if isinstance(answer, Response) else success_response(answer)


def _is_for_good(error: CreditPaymentsError) -> bool:
    return not error.retryable and error.http_status < _SERVER_ERROR


def _release(system: System, route: Route, begun: Begun) -> None:
    try:
        system.requests.release(begun)
    except CreditPaymentsError as error:
        # The lease ends by itself; the caller is to learn of the error that was first.
        _logger.warning("%s: a request stays leased (%s)", route.name, error.error_code)


def _without_unkept(route: Route, response: Response) -> str:
    """The body as it is kept: null stands for what is secret or personal."""
    if response.status != _OK or not route.unkept:
        return response.body.decode()
    answer = _DECODER.decode(response.body)
    return _ENCODER.encode(answer | dict.fromkeys(route.unkept)).decode()


def _replay(system: System, route: Route, call: Call, kept: KeptAnswer) -> Response:
    body = kept.body.encode()
    if kept.status == _OK and route.unkept:
        answer = _DECODER.decode(body)
        told = {name: recall(system, call, answer) for name, recall in route.unkept.items()}
        body = _ENCODER.encode(answer | told)
    return replayed_response(kept.status, body)
