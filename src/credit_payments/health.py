"""Health: a few bounded reads that say how the system is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from credit_payments.domain import inbox, instants, notices, payment, vitals
from credit_payments.domain.decision import Range, Series
from credit_payments.domain.records import (
    Checkpoint,
    Entry,
    Event,
    Incident,
    Payment,
    Purchase,
    Quote,
    Record,
)
from credit_payments.domain.vitals import COUNT_MAX, Health
from credit_payments.errors import CreditPaymentsError
from credit_payments.ports.clock import Clock
from credit_payments.ports.storage import Reader, Storage
from credit_payments.posting import PostingQueue

ROWS = 50
"""How many rows of a series are read; where there are more, they are counted."""
EVENTS = 500
"""Among how many of the last events purchases are looked for."""
PURCHASES = 200
LAG_EVENTS = 100
_SUCCEEDED = "payment_intent.succeeded"


class HealthCheck:
    """Looks how the system is.

    It costs a handful of round trips, and four more for each purchase that it sees for the first
    time.

    Args:
        storage: where the rows are.
        queue: whose length is told.
        clock: tells ages.
        stripe: tells what is configured of Stripe's side, which may change while it runs.
        commands_max: how many commands the queue takes.
        database: what kind of database it is.
        schema_version: that of the database, which fitted when it was opened.
    """

    def __init__(
        self,
        storage: Storage,
        queue: PostingQueue,
        clock: Clock,
        *,
        stripe: Callable[[], vitals.StripeSetup],
        commands_max: int,
        database: str,
        schema_version: int | None,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._clock = clock
        self._stripe = stripe
        self._commands_max = commands_max
        self._database = database
        self._schema_version = schema_version
        self._accurate: frozenset[str] = frozenset()

    def run(self) -> Health:
        """How the system is now; a database that does not answer is told of, and not raised."""
        now = self._clock.now()
        try:
            with self._storage.snapshot() as reader:
                return self._read(reader, now)
        except CreditPaymentsError:
            return Health(
                checked_at=instants.to_text(now),
                stripe=self._stripe(),
                database=self._database_state(answers=False),
                queue=self._queue_length(),
            )

    def _read(self, reader: Reader, now: datetime) -> Health:
        latest = _latest_events(reader)
        return Health(
            checked_at=instants.to_text(now),
            stripe=self._stripe(),
            database=self._database_state(answers=True),
            queue=self._queue_length(),
            inbox=_inbox(reader, now),
            quarantine=_quarantine(reader, now),
            notifications=_notifications(reader),
            last_event=_last_event(latest, now),
            delivery_lag=_delivery_lag(latest),
            conversions=self._conversions(reader, latest),
            last_reconciliation=_last_reconciliation(reader, now),
        )

    def _database_state(self, *, answers: bool) -> vitals.DatabaseState:
        return vitals.DatabaseState(
            kind=self._database, answers=answers, schema_version=self._schema_version
        )

    def _queue_length(self) -> vitals.QueueLength:
        length = self._queue.health()
        return vitals.QueueLength(
            commands_waiting=length.commands_waiting,
            commands_max=self._commands_max,
            oldest_seconds=round(length.oldest_seconds, 3),
        )

    def _conversions(self, reader: Reader, latest: Sequence[Event]) -> vitals.Conversions:
        """Hold the last purchases against their quotes; each only until it was found accurate.

        What it brought does not change afterwards; `System.verify` notices where it did.
        """
        found: dict[str, bool] = {}
        for intent_id in dict.fromkeys(row.subject for row in latest if row.type == _SUCCEEDED):
            is_accurate = intent_id in self._accurate or _is_accurate(reader, intent_id)
            if is_accurate is not None:
                found[intent_id] = is_accurate
            if len(found) == PURCHASES:
                break
        inaccurate = tuple(intent_id for intent_id, accurate in found.items() if not accurate)
        self._accurate = frozenset(found).difference(inaccurate)
        return vitals.Conversions(checked=len(found), inaccurate=inaccurate)


def _is_accurate(reader: Reader, intent_id: str) -> bool | None:
    """Whether a purchase brought what was promised; None where nothing was credited."""
    paid = reader.get(Payment, intent_id)
    if paid is None or not paid.credited:
        return None
    return vitals.is_accurate(
        paid,
        reader.get(Quote, paid.quote_id),
        reader.get(Purchase, intent_id),
        reader.get(Entry, payment.cause(intent_id)),
    )


# -- what waits --------------------------------------------------------------------------------


def _inbox(reader: Reader, now: datetime) -> vitals.Inbox:
    due = [inbox.due(lane) for lane in inbox.LANES]
    dead = [series._replace(equals=(("status", inbox.DEAD),)) for series in due]
    rows = _first(reader, [*due, *dead])
    received = [row.received_at for series in due for row in rows[series] if isinstance(row, Event)]
    return vitals.Inbox(
        waiting=_count(reader, due, rows),
        oldest_seconds=_age(min(received, default=None), now),
        dead=_count(reader, dead, rows),
    )


def _notifications(reader: Reader) -> vitals.NotificationBacklog:
    due, dead = (
        [notices.of(kind, status) for kind in notices.TYPES]
        for status in (notices.DUE, notices.DEAD)
    )
    rows = _first(reader, [*due, *dead])
    return vitals.NotificationBacklog(
        waiting=_count(reader, due, rows), dead=_count(reader, dead, rows)
    )


def _quarantine(reader: Reader, now: datetime) -> vitals.Quarantine:
    where = {"status": "open"}
    oldest = reader.page(Incident, where, order=("created_at", "incident_id"), limit=1)
    return vitals.Quarantine(
        open=reader.count(Incident, where, limit=COUNT_MAX) if oldest else 0,
        oldest_seconds=_age(oldest[0].created_at if oldest else None, now),
    )


def _first(reader: Reader, asked: Sequence[Series]) -> Mapping[Series, Sequence[Record]]:
    found = reader.first([Range(series, ROWS) for series in asked])
    return {ranged.series: rows for ranged, rows in found.items()}


def _count(reader: Reader, asked: Iterable[Series], rows: Mapping[Series, Sequence[Record]]) -> int:
    """How many rows several series have, counted only where those that were read are not all."""
    return min(COUNT_MAX, sum(_count_one(reader, series, rows[series]) for series in asked))


def _count_one(reader: Reader, series: Series, rows: Sequence[Record]) -> int:
    if len(rows) < ROWS:
        return len(rows)
    where = {str(series.kind.GROUP): series.group, **dict(series.equals)}
    return reader.count(series.kind, where, limit=COUNT_MAX, ending=series.ending)


# -- what came last ----------------------------------------------------------------------------


def _latest_events(reader: Reader) -> Sequence[Event]:
    order = ("received_at", "event_id")
    return reader.page(Event, {}, order=order, limit=EVENTS, descending=True)


def _last_event(latest: Sequence[Event], now: datetime) -> vitals.LastEvent | None:
    if not latest:
        return None
    event = latest[0]
    return vitals.LastEvent(
        type=event.type, received_at=event.received_at, seconds_ago=_age(event.received_at, now)
    )


def _delivery_lag(latest: Sequence[Event]) -> vitals.DeliveryLag | None:
    dated = [event for event in latest if event.created_at][:LAG_EVENTS]
    lags = sorted(_age(event.created_at, instants.from_text(event.received_at)) for event in dated)
    if not lags:
        return None
    median = (lags[(len(lags) - 1) // 2] + lags[len(lags) // 2]) / 2
    return vitals.DeliveryLag(
        events=len(lags), median_seconds=round(median, 3), max_seconds=lags[-1]
    )


def _last_reconciliation(reader: Reader, now: datetime) -> vitals.LastReconciliation | None:
    row = reader.get(Checkpoint, vitals.RECONCILED)
    if row is None:
        return None
    return vitals.LastReconciliation(ended_at=row.state, seconds_ago=_age(row.state, now))


def _age(instant: str | None, now: datetime) -> float:
    """Seconds since an instant; none since one that a clock which is ahead has given."""
    if instant is None:
        return 0.0
    return round(max(0.0, (now - instants.from_text(instant)).total_seconds()), 3)
