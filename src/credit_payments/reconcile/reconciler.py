"""The run itself: phase by phase, page by page, kept after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from credit_payments.domain import checks, instants
from credit_payments.domain.clawback import Policies
from credit_payments.domain.differences import Progress, ReconciliationReport
from credit_payments.domain.records import Checkpoint
from credit_payments.domain.vitals import RECONCILED
from credit_payments.errors import InvalidRequest, NotFound
from credit_payments.ports.clock import Clock
from credit_payments.ports.encryption import FieldCipher
from credit_payments.ports.gateway import PaymentGateway
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue
from credit_payments.reconcile import checkpoints
from credit_payments.reconcile.checkpoints import (
    ENDED,
    PHASES,
    WHOLE_PHASES,
    KeepCheckpoint,
    State,
)
from credit_payments.reconcile.examining import Examiner
from credit_payments.reconcile.phases import Phases
from credit_payments.reconcile.walks import REQUESTS_PER_SECOND, Pace, Stripe

SETTLED_AFTER = timedelta(minutes=10)
"""By then a webhook has come, if it comes at all."""
SLACK = timedelta(hours=1)
"""How much earlier than here something may have been created by Stripe's clock."""
RESUMED_WITHIN = timedelta(days=1)
"""A run that broke off longer ago is begun anew: much has changed since."""
RESTARTS_MAX = 3
"""How often a list may lose the object that a cursor names."""


class Reconciler:
    """Holds what Stripe has against what is here.

    It keeps the ids of what it has met in memory: about 100 bytes for each payment, refund and
    dispute of ours in the span of time; all else comes page by page.

    Args:
        storage: where our own rows are read.
        queue: through which is asked what a report would change, and what is missing is posted.
        clock: tells what is recent.
        gateway: Stripe.
        policies: what becomes of credits that are to be taken back and are spent already.
        cipher: encrypts what is personal in events about customers.
        settled_after: what is younger than this is left to its webhook.
        requests_per_second: how many requests to Stripe at most.
        monotonic: seconds that only grow.
        sleep: waits.
    """

    def __init__(
        self,
        storage: Storage,
        queue: PostingQueue,
        clock: Clock,
        gateway: PaymentGateway,
        *,
        policies: Policies | None = None,
        cipher: FieldCipher | None = None,
        settled_after: timedelta = SETTLED_AFTER,
        requests_per_second: float = REQUESTS_PER_SECOND,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._clock = clock
        self._gateway = gateway
        self._policies = policies or Policies()
        self._cipher = cipher
        self._settled_after = settled_after
        self._pace = Pace(requests_per_second, clock=monotonic, sleep=sleep)

    def run(
        self,
        *,
        since: datetime,
        until: datetime | None = None,
        repair: bool = False,
        restart: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> ReconciliationReport:
        """See `System.reconcile`."""
        first = checks.instant(since, param="since")
        last = None if until is None else checks.instant(until, param="until")
        if last is not None and last <= first:
            raise InvalidRequest("until must be later than since", param="until")
        name = checkpoints.name_of(first, repair=repair)
        state = self._state(name, first, last, repair=repair, restart=restart)
        phases = self._phases(state)
        restarts = 0
        while state.phase != ENDED:
            try:
                cursor = phases.step(state.cursor)
            except NotFound as error:
                restarts += 1
                if error.param != "starting_after" or restarts > RESTARTS_MAX:
                    raise
                state.begin_phase_anew()
                continue
            told = _progress(state, 1.0 if cursor is None else phases.share)
            state.go_on(cursor)
            self._keep(name, state)
            if progress is not None:
                progress(told)
        report = state.report()
        now = instants.to_text(self._clock.now())
        state.end(now)
        self._queue.submit(KeepCheckpoint(name=RECONCILED, state=now))
        self._keep(name, state)
        return report

    def _state(
        self, name: str, since: str, until: str | None, *, repair: bool, restart: bool
    ) -> State:
        """That of the run that broke off, or a new one."""
        now = self._clock.now()
        settled = instants.to_text(now - self._settled_after)
        if until is None and settled <= since:
            raise InvalidRequest(
                f"since must be longer ago than {self._settled_after}, or until be given",
                param="since",
            )
        row = self._storage.get(Checkpoint, name)
        known = checkpoints.read(row)
        if row is not None and known is not None and known.phase != ENDED and not restart:
            is_recent = row.updated_at >= instants.to_text(now - RESUMED_WITHIN)
            if is_recent and until in (None, known.until):
                if known.phase in WHOLE_PHASES:
                    known.begin_phase_anew()
                return known
        return State(
            since=since,
            until=until or settled,
            repair=repair,
            started_at=instants.to_text(now),
        )

    def _phases(self, state: State) -> Phases:
        # In seconds, since there may be no earlier instant than the one that was given.
        since = instants.from_text(state.since).timestamp() - SLACK.total_seconds()
        until = instants.from_text(state.until)
        stripe = Stripe(
            self._gateway,
            self._pace,
            max(0, math.floor(since)),
            math.ceil(until.timestamp()),
        )
        recent = int((self._clock.now() - self._settled_after).timestamp())
        examiner = Examiner(
            self._queue,
            stripe,
            state,
            policies=self._policies,
            recent_since=max(stripe.until, recent),
        )
        return Phases(self._storage, stripe, state, examiner, cipher=self._cipher)

    def _keep(self, name: str, state: State) -> None:
        self._queue.submit(KeepCheckpoint(name=name, state=checkpoints.write(state)))


def _progress(state: State, share: float) -> Progress:
    return Progress(
        phase=state.phase,
        looked_at=state.looked_at.get(state.phase, 0),
        differences=sum(state.found.values()),
        share=(PHASES.index(state.phase) + share) / len(PHASES),
    )
