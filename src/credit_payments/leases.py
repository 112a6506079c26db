"""Keeping a lease while the host's code works on its event."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from credit_payments import logs
from credit_payments.errors import CreditPaymentsError
from credit_payments.posting import PostingQueue
from credit_payments.settlement.intake import Lease, RenewLease

HANDLING_SECONDS_MAX = 3_600.0
_BEATS_PER_LEASE = 3

_log = logs.logger(__name__)


@contextmanager
def renewed(queue: PostingQueue, event_id: str, lease: Lease) -> Iterator[None]:
    """Renew a lease until the block ends, for an hour at most: the host's code may hang for ever.

    One that was taken over meanwhile stays with who took it.
    """
    ended = threading.Event()
    renew = RenewLease(event_id=event_id, lease=lease)
    pause_seconds = lease.seconds / _BEATS_PER_LEASE

    def beat() -> None:
        for _ in range(int(HANDLING_SECONDS_MAX / pause_seconds)):
            if ended.wait(pause_seconds):
                return
            try:
                queue.submit(renew)
            except CreditPaymentsError as error:
                _log.warning("A lease could not be renewed: %s", error)

    thread = threading.Thread(target=beat, name="credit-payments-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(lease.seconds)
