"""Failures on request: what a network and a busy Stripe do to the best of clients."""

from __future__ import annotations

import threading
from fnmatch import fnmatchcase
from typing import Literal

import attrs

from .problems import Problem

__all__ = ["Fault", "Faults"]

Kind = Literal["status", "timeout", "lose_reply", "slow"]
_MESSAGES = {
    429: ("Request rate limit exceeded.", "invalid_request_error", "rate_limit"),
    500: ("An unknown error occurred.", "api_error", None),
    503: ("The service is temporarily unavailable.", "api_error", None),
}


@attrs.frozen
class Fault:
    """One planned failure.

    Attributes:
        kind: what happens.
        times: how many matching requests it still hits.
        method: the HTTP method that it waits for; ``None`` is any.
        path: the path that it waits for, as a shell pattern such as ``/v1/payment_intents/*``;
            ``None`` is any path of the API.
        seconds: how long ``timeout`` and ``slow`` wait, in real seconds.
        problem: what a ``status`` fault answers.
        remember: whether that answer is stored under the request's idempotency key.
        should_retry: the ``Stripe-Should-Retry`` header that goes with it.
    """

    kind: Kind
    times: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    method: str | None = None
    path: str | None = None
    seconds: float = 0.0
    problem: Problem | None = None
    remember: bool = False
    should_retry: bool | None = None

    def hits(self, method: str, path: str) -> bool:
        """Tell whether a request is one that the fault waits for."""
        return (self.method is None or self.method.upper() == method) and (
            self.path is None or fnmatchcase(path, self.path)
        )


class Faults:
    """The failures that are planned, in order; each request meets the first that fits it.

    Faults hit ``/v1`` only, never the simulator's own control paths. They happen before anything
    is executed unless they say otherwise.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Fault] = []
        self.stopping = threading.Event()

    @property
    def planned(self) -> tuple[Fault, ...]:
        """The faults that have not been used up."""
        with self._lock:
            return tuple(self._planned)

    def next(
        self,
        status: int = 500,
        *,
        times: int = 1,
        method: str | None = None,
        path: str | None = None,
        remember: bool = False,
    ) -> None:
        """Answer the next ``times`` matching requests with an error status.

        Args:
            status: 429, 500, 503 or any other error status.
            times: how many requests are hit.
            method: only requests with this method.
            path: only requests whose path fits this shell pattern.
            remember: store the answer under the request's idempotency key, as Stripe does with a
                500 that comes after execution began: repeating the key then replays the 500.

        Raises:
            ValueError: if the status is not an error or ``times`` is less than one.
        """
        if not 400 <= status <= 599:  # noqa: PLR2004
            raise ValueError(f"{status} is not an error status")
        message, kind, code = _MESSAGES.get(status, ("A planned fault.", "api_error", None))
        problem = Problem(message, status=status, kind=kind, code=code)
        self._plan(Fault("status", times, method, path, problem=problem, remember=remember))

    def lock_conflict(
        self,
        *,
        status: int = 429,
        times: int = 1,
        method: str | None = None,
        path: str | None = None,
    ) -> None:
        """Answer that another request holds the object (``lock_timeout``); it can be retried.

        Stripe reports it with 429: https://docs.stripe.com/rate-limits#object-lock-timeouts
        """
        problem = Problem(
            "This object cannot be accessed right now because another request is accessing it.",
            status=status,
            code="lock_timeout",
        )
        self._plan(Fault("status", times, method, path, problem=problem, should_retry=True))

    def timeout(
        self,
        seconds: float = 30.0,
        *,
        times: int = 1,
        method: str | None = None,
        path: str | None = None,
    ) -> None:
        """Execute nothing, stay silent for so many real seconds, then close the connection."""
        self._plan(Fault("timeout", times, method, path, seconds=seconds))

    def slow(
        self,
        seconds: float,
        *,
        times: int = 1,
        method: str | None = None,
        path: str | None = None,
    ) -> None:
        """Wait before executing; the request's idempotency key is in use meanwhile."""
        self._plan(Fault("slow", times, method, path, seconds=seconds))

    def lose_reply(
        self, *, times: int = 1, method: str | None = None, path: str | None = None
    ) -> None:
        """Execute the request, then close the connection without answering."""
        self._plan(Fault("lose_reply", times, method, path))

    def clear(self) -> None:
        """Forget every planned fault."""
        with self._lock:
            self._planned.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the first fault that fits this request, and use it up by one."""
        if not self._planned:
            return None
        with self._lock:
            for index, fault in enumerate(self._planned):
                if fault.hits(method, path):
                    left = fault.times - 1
                    self._planned[index : index + 1] = (
                        [attrs.evolve(fault, times=left)] if left else []
                    )
                    return fault
        return None

    def wait(self, seconds: float) -> None:
        """Wait in real time, but no longer than the simulator runs."""
        self.stopping.wait(seconds)

    def _plan(self, fault: Fault) -> None:
        with self._lock:
            self._planned.append(fault)
