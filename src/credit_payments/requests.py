"""Requests over HTTP that their callers have named, kept where the ledger is."""

from __future__ import annotations

from collections.abc import Callable

from credit_payments.domain.requests import (
    BeginRequest,
    Begun,
    FinishRequest,
    KeptAnswer,
    Payload,
    ReleaseRequest,
    payload_fingerprint,
    request_id,
)
from credit_payments.posting import PostingQueue


class KeptRequests:
    """What callers have asked under keys of their own, and what they were answered.

    Args:
        queue: through which they are written.
        new_id: draws a fresh random name.
    """

    def __init__(self, queue: PostingQueue, *, new_id: Callable[[], str]) -> None:
        self._queue = queue
        self._new_id = new_id

    def begin(
        self,
        route: str,
        caller: str,
        key: str,
        payload: Payload,
        redo_seconds_max: float | None = None,
    ) -> Begun | KeptAnswer:
        """Take a request on, durably; or tell the answer that it was given before.

        Whoever has begun one finishes or releases it. Otherwise it is in progress for
        `LEASE_SECONDS`, and then anybody's again.

        Args:
            route: the name of the route.
            caller: the user id of who asks.
            key: the caller's name for the request.
            payload: the fields that were read.
            redo_seconds_max: how old it may be when it is done again; any age when None.

        Raises:
            IdempotencyConflict: the key was used with another payload.
            RequestInProgress: it was begun before, and has no answer yet.
            Conflict: it has no answer, and is too old to be done again.
            TryAgain: the database is busy or down.
        """
        return self._queue.submit(
            BeginRequest(
                request_id=request_id(route, caller, key),
                fingerprint=payload_fingerprint(key, payload),
                lease=self._new_id(),
                redo_seconds_max=redo_seconds_max,
            )
        )

    def finish(self, begun: Begun, answer: KeptAnswer) -> KeptAnswer:
        """Keep the answer to a request; the one that is kept, and so the one to give.

        It is another's where the lease was over, and somebody else was faster.

        Raises:
            RequestInProgress: the lease was over, and somebody else is at it.
            TryAgain: the database is busy or down.
        """
        return self._queue.submit(
            FinishRequest(request_id=begun.request_id, lease=begun.lease, answer=answer)
        )

    def release(self, begun: Begun) -> None:
        """Let a request be done again at once, by whoever repeats it.

        Raises:
            TryAgain: the database is busy or down.
        """
        self._queue.submit(ReleaseRequest(request_id=begun.request_id, lease=begun.lease))
