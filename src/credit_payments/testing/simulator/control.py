"""``/_simulator/…``: what the simulator's methods do, for other processes and for browsers.

These paths exist nowhere at Stripe. They take and answer JSON; the page for 3-D Secure takes the
forms that it shows.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs
import msgspec

from ._types import Json
from .problems import Problem
from .wire import Request, Response

if TYPE_CHECKING:
    from .simulator import StripeSimulator

__all__ = ["Control"]

_WAIT_SECONDS_MAX = 60.0
_FAULTS = ("next", "timeout", "slow", "lose_reply", "lock_conflict")
_TRICKS = (
    "hold", "withhold", "release", "duplicate", "drop", "delay", "misbehave", "behave", "resend",
)  # fmt: skip


class Control:
    """Answers the control paths of one simulator."""

    def __init__(self, simulator: StripeSimulator) -> None:
        self._simulator = simulator
        by_id: dict[str, Callable[..., Json]] = {
            "payment_intents/pay": simulator.pay,
            "payment_intents/complete_authentication": simulator.complete_authentication,
            "payment_intents/fail_authentication": simulator.fail_authentication,
            "payment_intents/settle": simulator.settle_payment,
            "payment_intents/dispute": simulator.open_dispute,
            "payment_intents/warn_of_fraud": simulator.warn_of_fraud,
            "refunds/settle": simulator.settle_refund,
            "refunds/fail": simulator.fail_refund,
            "disputes/withdraw_funds": simulator.withdraw_dispute_funds,
            "disputes/reinstate_funds": simulator.reinstate_dispute_funds,
            "disputes/close": simulator.close_dispute,
        }
        self._by_id = by_id
        fixed: dict[str, Callable[..., Any]] = {
            "GET health": lambda: {"url": simulator.url},
            "POST reset": simulator.reset,
            "GET clock": lambda: {"now": simulator.clock.now()},
            "POST clock/advance": lambda seconds: {"now": simulator.clock.advance(seconds)},
            "GET deliveries": lambda: {"data": [attrs.asdict(a) for a in simulator.deliveries]},
            "POST deliveries/wait": self._wait,
            "DELETE faults": simulator.faults.clear,
        }
        fixed |= {f"POST faults/{name}": getattr(simulator.faults, name) for name in _FAULTS}
        fixed |= {f"POST webhooks/{name}": getattr(simulator.webhooks, name) for name in _TRICKS}
        self._fixed = fixed

    def answer(self, request: Request) -> Response:
        """Answer one request on a control path."""
        parts = request.segments()[1:]
        if parts[2:] == ["authenticate"] and parts[0] == "payment_intents":
            return self._authentication_page(request, parts[1])
        try:
            body = self._run(request, parts)
        except Problem as exc:
            return _json(exc.status, exc.envelope())
        except (TypeError, ValueError, KeyError, TimeoutError, msgspec.DecodeError) as exc:
            return _json(400, {"error": {"message": str(exc), "type": "simulator_error"}})
        return _json(200, {"ok": True} if body is None else body)

    def _run(self, request: Request, parts: list[str]) -> Any:
        given: Json = msgspec.json.decode(request.body, type=Json) if request.body else {}
        name = f"{request.method} {'/'.join(parts)}"
        if name in self._fixed:
            return self._fixed[name](**given)
        if request.method == "POST" and len(parts) == 3:  # noqa: PLR2004
            kind, object_id, verb = parts
            if f"{kind}/{verb}" in self._by_id:
                return self._by_id[f"{kind}/{verb}"](object_id, **given)
        raise Problem(f"The simulator has no control path {request.path}.", status=404)

    def _wait(self, timeout: float = 10.0) -> None:
        self._simulator.wait_for_deliveries(min(timeout, _WAIT_SECONDS_MAX))

    def _authentication_page(self, request: Request, intent_id: str) -> Response:
        """Show the bank's page; its two buttons finish 3-D Secure and lead back to the shop."""
        if request.method != "POST":
            return Response(200, _PAGE.encode(), content_type="text/html; charset=utf-8")
        choice = dict(parse_qsl(request.body.decode("ascii", "replace"))).get("result")
        try:
            before = self._intent(intent_id)
            if choice == "complete":
                after = self._simulator.complete_authentication(intent_id)
            else:
                after = self._simulator.fail_authentication(intent_id)
        except (Problem, ValueError) as exc:
            page = f"<!doctype html><p>{html.escape(str(exc))}</p>"
            return Response(400, page.encode(), content_type="text/html; charset=utf-8")
        target = (before["next_action"] or {}).get("redirect_to_url", {}).get("return_url")
        if target is None:
            done = "<!doctype html><p>Done. You can close this page.</p>"
            return Response(200, done.encode(), content_type="text/html; charset=utf-8")
        return Response(303, b"", {"Location": _return_url(target, after)})

    def _intent(self, intent_id: str) -> Json:
        return self._simulator.peek("payment_intents", intent_id)


def _return_url(target: str, intent: Json) -> str:
    """Add what Stripe adds when it sends the customer back."""
    parts = urlsplit(target)
    succeeded = intent["status"] in {"succeeded", "requires_capture", "processing"}
    added = urlencode(
        {
            "payment_intent": intent["id"],
            "payment_intent_client_secret": intent["client_secret"],
            "redirect_status": "succeeded" if succeeded else "failed",
        }
    )
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))


def _json(status: int, body: Any) -> Response:
    return Response(status, msgspec.json.encode(body))


_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>3-D Secure (simulated)</title></head>
<body style="font-family: sans-serif; max-width: 30rem; margin: 4rem auto">
<h1>Is it you who pays?</h1>
<p>This page stands for the bank's. It is served by the Stripe simulator.</p>
<form method="post">
<button name="result" value="complete">Complete authentication</button>
<button name="result" value="fail">Fail authentication</button>
</form>
</body>
</html>
"""
