"""Posting what is due in wallets: holds that lapse, and lots that expire."""

from __future__ import annotations

import time

from credit_payments import logs
from credit_payments.domain import instants
from credit_payments.domain.records import Wallet
from credit_payments.domain.spending import PostDue
from credit_payments.errors import TryAgain
from credit_payments.ports.clock import Clock
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue

BATCH = 100
"""Wallets that are looked at together."""
SWEEP_SECONDS = 1.0
"""How often is looked for wallets in which something has expired or lapsed."""

_log = logs.logger(__name__)


class Sweep:
    """Looks through the wallets in which something is due, page by page, again every second.

    Nobody's balance waits for this: what is due counts from its instant on, and is posted by
    whoever touches the wallet first. This is for the books, and for who is told.
    """

    def __init__(self, storage: Storage, queue: PostingQueue, clock: Clock) -> None:
        self._storage = storage
        self._queue = queue
        self._clock = clock
        self._ended_at = float("-inf")
        self._last: tuple[str, str] | None = None

    @property
    def is_midway(self) -> bool:
        """Whether there are pages left, behind those that were looked at."""
        return self._last is not None

    def restart(self) -> None:
        """Look now, from the first wallet on."""
        self._ended_at = float("-inf")
        self._last = None

    def post(self) -> int:
        """Post what is due in one page of wallets; how many entries that made.

        Raises:
            StorageUnavailable: the database failed.
        """
        if time.monotonic() - self._ended_at < SWEEP_SECONDS:
            return 0
        due = self._page()
        if len(due) == BATCH:  # there are more, behind those that may fail
            self._last = (due[-1].due_at, due[-1].user_id)
        else:
            self._last = None
            self._ended_at = time.monotonic()
        commands = [PostDue(user_id=wallet.user_id) for wallet in due]
        posted = 0
        for outcome in self._queue.submit_all(commands):
            if isinstance(outcome, TryAgain):
                _log.warning("What is due in a wallet is posted later: %s", outcome)
            elif isinstance(outcome, Exception):
                _log.error("What is due in a wallet cannot be posted.", exc_info=outcome)
            else:
                posted += outcome
        return posted

    def _page(self) -> list[Wallet]:
        now = instants.to_text(self._clock.now())
        wallets = self._storage.page(
            Wallet,
            {},
            order=("due_at", "user_id"),
            after=self._last,
            limit=BATCH,
            ending="due_at",
        )
        return [wallet for wallet in wallets if wallet.due_at <= now]
