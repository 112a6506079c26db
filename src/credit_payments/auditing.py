"""Letting the ledger prove itself: the part of a system that only reads."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from credit_payments import verifying
from credit_payments.domain import audit, checks, reports, seals
from credit_payments.domain.records import Entry, Purchase
from credit_payments.errors import InvalidRequest
from credit_payments.ports.clock import Clock
from credit_payments.ports.storage import Storage

SETTLED_AFTER = timedelta(minutes=1)
"""Longer than a write may wait for its commit."""


class Auditor:
    """The part of `System` that verifies, seals and reports.

    Args:
        storage: where the ledger is.
        clock: tells what may still be on its way.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    def verify(self) -> audit.VerificationReport:
        """Recompute every wallet from its entries, at one instant.

        Reads the whole ledger; the report names what does not fit.

        Raises:
            StorageUnavailable: the database failed.
        """
        with self._storage.snapshot() as reader:
            return verifying.verify(reader)

    def seal(self, *, through: datetime | None = None) -> seals.Seal:
        """One digest over all entries before an instant, to be kept elsewhere.

        The clocks of all machines that write must agree within the minute: an entry that comes
        later, and is dated earlier by a clock that is slow, breaks the seal.

        Args:
            through: the instant, exclusive; a minute ago when left out, because what is decided
                now may be committed a moment later. Later ones are refused for the same reason.

        Raises:
            InvalidRequest: not a datetime with a time zone, or less than a minute ago.
            StorageUnavailable: the database failed.
        """
        settled = self._clock.now() - SETTLED_AFTER
        at = settled if through is None else through
        text = checks.instant(at, param="through")
        if at > settled:
            raise InvalidRequest("through must be a minute ago or earlier", param="through")
        with self._storage.snapshot() as reader:
            return seals.seal(reader.scan(Entry, order=audit.ORDERS[Entry]), text)

    def check_seal(self, seal: seals.Seal) -> audit.VerificationReport:
        """Verify the ledger, and whether it still holds what was sealed.

        Raises:
            StorageUnavailable: the database failed.
        """
        report = self.verify()
        with self._storage.snapshot() as reader:
            found = seals.seal(reader.scan(Entry, order=audit.ORDERS[Entry]), seal.through)
        if seal.matches(found):
            return report
        broken = audit.Problem(
            user_id="*",
            transaction_id=None,
            message=f"the seal through {seal.through} is broken: {seal.entries} entries in "
            f"{seal.wallets} wallets were sealed, {found.entries} in {found.wallets} are there",
        )
        return attrs.evolve(report, problems=(broken, *report.problems))

    def report(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> reports.Report:
        """What happened from one instant (inclusive) to another (exclusive), for the books.

        Reads the whole ledger. An expiry counts on the day on which it was posted, which may be
        later than the instant itself; see `Wallets.post_due`.

        Args:
            since: the first instant; the beginning of the ledger when left out.
            until: the instant after the last; everything so far when left out.

        Raises:
            InvalidRequest: not datetimes with a time zone, or `until` is before `since`.
            Conflict: the ledger is broken; `verify` tells where.
            StorageUnavailable: the database failed.
        """
        first = None if since is None else checks.instant(since, param="since")
        last = None if until is None else checks.instant(until, param="until")
        with self._storage.snapshot() as reader:
            return reports.report(
                reader.scan(Entry, order=audit.ORDERS[Entry]),
                reader.scan(Purchase, order=audit.ORDERS[Purchase]),
                since=first,
                until=last,
            )
