"""How a system is: what health tells, what of it counts as wrong, and the numbers to plot.

Nothing in here is secret or personal. Ages and lags are seconds, instants are text (ISO 8601, UTC);
what is counted is counted up to `COUNT_MAX`, which then means as many or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import attrs
import msgspec

from credit_payments.domain import ledger
from credit_payments.domain.records import Entry, Payment, Purchase, Quote

Status: TypeAlias = Literal["ok", "degraded", "down"]

COUNT_MAX = 10_000
"""How far anything is counted."""
EVENT_SECONDS_MAX = 300.0
"""How long an event may wait to be applied: as long as a webhook's signature holds."""
QUEUE_SHARE_MAX = 0.8
"""How full the database queue may be."""
WRITE_SECONDS_MAX = 10.0
"""How long a write may wait for its turn: by default it is given up after three times as long."""
RECONCILED = "reconciled"
"""The checkpoint whose state is the instant at which a reconciliation last ended."""


@attrs.frozen(kw_only=True)
class StripeSetup:
    """What is configured of Stripe's side; `livemode` is None without a secret key."""

    configured: bool
    livemode: bool | None
    webhooks_configured: bool
    webhook_mode: str


@attrs.frozen(kw_only=True)
class DatabaseState:
    """Whether the database answers; `schema_version` is None where there is no schema.

    It was checked when the database was opened: it is the one that this release needs.
    """

    kind: str
    answers: bool
    schema_version: int | None


@attrs.frozen(kw_only=True)
class QueueLength:
    """How many writes of this process wait, of how many that may, and the oldest one's age."""

    commands_waiting: int
    commands_max: int
    oldest_seconds: float

    @property
    def is_crowded(self) -> bool:
        """Whether nearly as many wait as may."""
        return self.commands_waiting >= QUEUE_SHARE_MAX * self.commands_max

    @property
    def is_late(self) -> bool:
        """Whether one has waited for longer than it should."""
        return self.oldest_seconds > WRITE_SECONDS_MAX


@attrs.frozen(kw_only=True)
class Inbox:
    """Events that are to be applied, how long the oldest one has waited, and dead letters.

    The oldest is looked for among those of each lane that are tried next.
    """

    waiting: int
    oldest_seconds: float
    dead: int

    @property
    def is_late(self) -> bool:
        """Whether one has waited for longer than it may."""
        return self.oldest_seconds > EVENT_SECONDS_MAX


@attrs.frozen(kw_only=True)
class Quarantine:
    """Incidents that wait for a person, and the oldest one's age."""

    open: int
    oldest_seconds: float


@attrs.frozen(kw_only=True)
class NotificationBacklog:
    """Notifications that are to be delivered, and those that were given up."""

    waiting: int
    dead: int


@attrs.frozen(kw_only=True)
class LastEvent:
    """The event that came last."""

    type: str
    received_at: str
    seconds_ago: float


@attrs.frozen(kw_only=True)
class DeliveryLag:
    """How long after they had happened the last events came, of so many.

    Stripe's instants are whole seconds, so a lag may look up to a second too long.
    """

    events: int
    median_seconds: float
    max_seconds: float


@attrs.frozen(kw_only=True)
class Conversions:
    """Of the purchases that the last events tell of: which brought what was promised.

    `inaccurate` names the payment intents of those that did not.
    """

    checked: int
    inaccurate: tuple[str, ...] = ()

    @property
    def accurate(self) -> int:
        """How many brought exactly what was promised."""
        return self.checked - len(self.inaccurate)


@attrs.frozen(kw_only=True)
class LastReconciliation:
    """The reconciliation with Stripe that ended last."""

    ended_at: str
    seconds_ago: float


@attrs.frozen(kw_only=True)
class Health:
    """How a system is.

    What is read from the database is None where that does not answer; `last_event`, `delivery_lag`
    and `last_reconciliation` also where there was none yet.
    """

    checked_at: str
    stripe: StripeSetup
    database: DatabaseState
    queue: QueueLength
    inbox: Inbox | None = None
    quarantine: Quarantine | None = None
    notifications: NotificationBacklog | None = None
    last_event: LastEvent | None = None
    delivery_lag: DeliveryLag | None = None
    conversions: Conversions | None = None
    last_reconciliation: LastReconciliation | None = None

    @property
    def status(self) -> Status:
        """`"down"` while the database does not answer, `"degraded"` while there are problems."""
        if not self.database.answers:
            return "down"
        return "degraded" if self.problems else "ok"

    @property
    def problems(self) -> tuple[str, ...]:
        """What a person should look at, in words and without any id."""
        return tuple(_problems(self))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, fit for JSON."""
        found = attrs.asdict(self)
        if self.conversions is not None:
            found["conversions"]["accurate"] = self.conversions.accurate
        return {"status": self.status, "problems": list(self.problems), **found}


def _problems(health: Health) -> Iterator[str]:
    if not health.database.answers:
        yield "the database does not answer"
    queue = health.queue
    if queue.is_crowded:
        yield f"{queue.commands_waiting} of {queue.commands_max} writes wait"
    if queue.is_late:
        yield f"a write has waited for {queue.oldest_seconds:.0f} seconds"
    if (inbox := health.inbox) is not None:
        if inbox.dead:
            yield f"dead letters: {counted(inbox.dead)}"
        if inbox.is_late:
            yield f"an event has waited for {inbox.oldest_seconds:.0f} seconds"
    if health.quarantine is not None and health.quarantine.open:
        yield f"incidents in quarantine: {counted(health.quarantine.open)}"
    found = health.conversions
    if found is not None and found.inaccurate:
        wrong = len(found.inaccurate)
        yield f"{wrong} of {found.checked} purchases brought other credits than promised"


def counted(number: int) -> str:
    """A count in words, which ends where counting did."""
    return f"{number} or more" if number >= COUNT_MAX else str(number)


def is_accurate(
    paid: Payment, quote: Quote | None, sale: Purchase | None, entry: Entry | None
) -> bool:
    """Whether a credited payment brought what was promised, wherever that is written down.

    Where a person has decided what it buys, the decision is the promise.
    """
    if sale is None or entry is None:
        return False
    found = {paid.credits, paid.credited, sale.credits_purchased, _posted(entry)}
    if paid.decided_by is None:
        found.add(None if quote is None else quote.credits)
    return len(found) == 1


def _posted(entry: Entry) -> int | None:
    """What came from sales: `credits` would leave out what went into paying a debt."""
    try:
        return -ledger.legs_of(entry).get(ledger.Contra.PURCHASES, 0)
    except msgspec.MsgspecError:
        return None


class Gauge(NamedTuple):
    """One number to plot; its name is dotted, and says its unit."""

    name: str
    description: str
    value: float


def gauges(health: Health) -> Iterator[Gauge]:
    """The numbers of a health that have a value, in an order that does not change."""
    for name, (description, read) in GAUGES.items():
        value = read(health)
        if value is not None:
            yield Gauge(name, description, value)


def _of(part: str, number: str) -> Any:
    def read(health: Health) -> float | None:
        found = getattr(health, part)
        return None if found is None else getattr(found, number)

    return read


GAUGES: dict[str, tuple[str, Any]] = {
    "credit_payments.database.up": (
        "1 while the database answers",
        lambda health: int(health.database.answers),
    ),
    "credit_payments.problems": (
        "Things that a person should look at",
        lambda health: len(health.problems),
    ),
    "credit_payments.queue.waiting": (
        "Writes of this process that wait",
        _of("queue", "commands_waiting"),
    ),
    "credit_payments.queue.oldest_seconds": (
        "Age of the oldest of them",
        _of("queue", "oldest_seconds"),
    ),
    "credit_payments.inbox.waiting": ("Events to be applied", _of("inbox", "waiting")),
    "credit_payments.inbox.oldest_seconds": (
        "Age of the oldest of them",
        _of("inbox", "oldest_seconds"),
    ),
    "credit_payments.inbox.dead": ("Dead letters", _of("inbox", "dead")),
    "credit_payments.quarantine.open": (
        "Incidents that wait for a person",
        _of("quarantine", "open"),
    ),
    "credit_payments.quarantine.oldest_seconds": (
        "Age of the oldest of them",
        _of("quarantine", "oldest_seconds"),
    ),
    "credit_payments.notifications.waiting": (
        "Notifications to be delivered",
        _of("notifications", "waiting"),
    ),
    "credit_payments.notifications.dead": (
        "Notifications that were given up",
        _of("notifications", "dead"),
    ),
    "credit_payments.last_event.age_seconds": (
        "Since the last event came",
        _of("last_event", "seconds_ago"),
    ),
    "credit_payments.delivery_lag.median_seconds": (
        "From Stripe's instant to ours, over the last events",
        _of("delivery_lag", "median_seconds"),
    ),
    "credit_payments.delivery_lag.max_seconds": (
        "The longest of them",
        _of("delivery_lag", "max_seconds"),
    ),
    "credit_payments.conversions.checked": (
        "Purchases that were held against their quotes",
        _of("conversions", "checked"),
    ),
    "credit_payments.conversions.accurate": (
        "Those that brought what was promised",
        _of("conversions", "accurate"),
    ),
    "credit_payments.last_reconciliation.age_seconds": (
        "Since the last reconciliation with Stripe ended",
        _of("last_reconciliation", "seconds_ago"),
    ),
}
"""Every number there may be, and what it means."""
