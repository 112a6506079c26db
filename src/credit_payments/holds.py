"""A hold: credits set aside while some work runs whose price is known only afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from credit_payments.domain import answers, checks, instants, values
from credit_payments.domain.holding import CaptureHold, ExtendHold, Overage, ReleaseHold
from credit_payments.domain.records import Hold as HoldRow
from credit_payments.errors import CreditPaymentsError, HoldEnded
from credit_payments.posting import Poster


class Hold:
    """Credits of one user, set aside until they are captured, released or lapse.

    As a context manager it releases, when the block is left, what was not captured. A process
    that dies inside leaves the hold to its time to live, after which the credits are available
    again. All steps may be repeated: each takes effect once.
    """

    def __init__(self, queue: Poster, row: HoldRow) -> None:
        self._queue = queue
        self._row = row

    @property
    def key(self) -> str:
        """The caller's name for it."""
        return self._row.hold_id.partition(":")[2]

    @property
    def user_id(self) -> str:
        """Whose credits they are."""
        return self._row.user_id

    @property
    def credits(self) -> int:
        """How many were set aside."""
        return self._row.credits

    @property
    def captured(self) -> int:
        """How many were used, once it is captured."""
        return self._row.captured

    @property
    def status(self) -> str:
        """`held`, `captured`, `released` or `lapsed`, as of the last step taken here."""
        return self._row.status

    @property
    def lapses_at(self) -> datetime:
        """From when on it holds nothing, unless it is extended before."""
        return instants.from_text(self._row.lapses_at)

    def capture(
        self, credits: int | None = None, *, metadata: Mapping[str, object] | None = None
    ) -> values.Entry:
        """Use so many credits (all that are held, when left out), and let go of the rest.

        Args:
            credits: how many, at least 1. More than are held is an overage: refused, or taken
                from what is available, or owed, as the hold's `overage` says. A hold that has
                lapsed holds nothing, so that all of it is an overage.
            metadata: anything JSON can hold, kept with the entry; at most 4 KiB.

        Raises:
            HoldEnded: it was released, or it has lapsed and refuses an overage.
            InvalidRequest: an argument cannot be right, or more than is held was asked for.
            IdempotencyConflict: it was captured before, with other arguments.
            TryAgain: the database is busy or down.
        """
        command = CaptureHold(
            key=self.key,
            credits=self.credits if credits is None else checks.credits(credits),
            metadata=checks.metadata(metadata),
        )
        entry, self._row = self._queue.submit(command)
        return answers.entry(entry)

    def extend(self, ttl: float | timedelta) -> Self:
        """Let it run for so long from now; what is left of it is never cut short.

        Raises:
            HoldEnded: it was captured or released, or has lapsed.
            InvalidRequest: not a time to live.
            TryAgain: the database is busy or down.
        """
        self._row = self._queue.submit(ExtendHold(key=self.key, ttl_seconds=checks.ttl(ttl)))
        return self

    def release(self) -> Self:
        """Let go of all of it; one that has ended already stays as it is.

        Raises:
            TryAgain: the database is busy or down.
        """
        self._row = self._queue.submit(ReleaseHold(key=self.key))
        return self

    def __enter__(self) -> Self:
        """Begin the work that the credits are set aside for.

        Raises:
            HoldEnded: nothing is set aside any more, and the work would be for nothing: the hold
                was released, or it has lapsed and refuses an overage. A key names one attempt.
        """
        is_over = self.status == "lapsed" and self._row.overage == Overage.REFUSE
        if is_over or self.status == "released":
            raise HoldEnded(self.status)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._row.open:
            return
        # What went wrong in the block is what its caller should see; the hold lapses anyway.
        with nullcontext() if error is None else suppress(CreditPaymentsError):
            self.release()

    def __repr__(self) -> str:
        return f"<Hold {self.key!r}: {self.credits} credits of {self.user_id!r}, {self.status}>"
