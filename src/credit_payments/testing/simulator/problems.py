"""The ways in which a request fails, as Stripe's error envelope tells them.

Source: https://docs.stripe.com/api/errors
"""

from __future__ import annotations

from typing import Any

from ._types import Json

__all__ = ["BadParameter", "CardProblem", "Problem", "resource_missing", "unexpected_state"]

_DOCS = "https://docs.stripe.com/error-codes/"


class Problem(Exception):
    """A request that Stripe answers with an error.

    Args:
        message: one sentence for the developer.
        status: the HTTP status.
        kind: the envelope's ``type``.
        code: the envelope's ``code``, where Stripe gives one.
        param: the parameter at fault.
        details: further fields of the envelope, such as ``payment_intent``.
    """

    remembered = True
    """Whether the answer is stored under the request's idempotency key."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.details = details

    def envelope(self) -> Json:
        """Return the JSON body that tells the problem."""
        error: Json = {"message": self.message, "type": self.kind}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = _DOCS + self.code.replace("_", "-")
        if self.param is not None:
            error["param"] = self.param
        error.update(self.details)
        return {"error": error}

    @classmethod
    def told_by(cls, status: int, envelope: Json) -> Problem:
        """Return the problem that an answer's status and JSON body tell."""
        error: Json = {"message": "", "type": "api_error", **envelope.get("error", {})}
        error.pop("doc_url", None)  # follows from the code
        return Problem(
            error.pop("message"),
            status=status,
            kind=error.pop("type"),
            code=error.pop("code", None),
            param=error.pop("param", None),
            **error,
        )


class BadParameter(Problem):
    """A parameter that fails validation: execution never began, so no key remembers it."""

    remembered = False


class CardProblem(Problem):
    """The bank said no: HTTP 402 with a code, and for declines a ``decline_code``."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        decline_code: str | None = None,
        param: str | None = None,
        **details: Any,
    ) -> None:
        if decline_code is not None:
            details["decline_code"] = decline_code
        super().__init__(message, status=402, kind="card_error", code=code, param=param, **details)


def resource_missing(kind: str, object_id: str, param: str) -> Problem:
    """Return the problem of naming an object that does not exist."""
    # Stripe answers 404 for an id in the path and 400 for an id inside the parameters.
    status = 404 if param in {"id", "intent"} else 400
    return Problem(
        f"No such {kind}: '{object_id}'", status=status, code="resource_missing", param=param
    )


def unexpected_state(message: str, **details: Any) -> Problem:
    """Return the problem of a call that the payment intent's status does not allow."""
    return Problem(message, code="payment_intent_unexpected_state", **details)
