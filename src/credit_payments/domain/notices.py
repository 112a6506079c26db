"""What the host is told: notifications that follow from what a decision changes.

They are rows, written in the same transaction as what they tell of, so that none is lost and none
tells of what did not happen; and they are named after their cause, so that a repetition adds none.
Delivering them is a matter of leases: who has one tries, and whoever dies with one is followed by
somebody else when it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from credit_payments.domain import inbox, instants, ledger, reversal, values
from credit_payments.domain.decision import Ask, Decision, Series, View
from credit_payments.domain.ledger import Contra, Kind
from credit_payments.domain.records import (
    Dispute,
    Entry,
    Event,
    FailedPayment,
    Incident,
    Notification,
    Payment,
    Record,
    key_of,
)

LOW = "credits.low"
_OF_ENTRIES = {
    Kind.PAYMENT: "credits.purchased",
    Kind.GRANT: "credits.granted",
    Kind.SPEND: "credits.spent",
    Kind.CAPTURE: "credits.spent",
    Kind.UNDO: "credits.restored",
    Kind.EXPIRY: "credits.expired",
    Kind.LAPSE: "hold.lapsed",
    Kind.REVERSAL: "payment.reversed",
    Kind.FREEZE: "wallet.suspended",
    Kind.SUSPEND: "wallet.suspended",
    Kind.RESUME: "wallet.resumed",
}
_OF_ROWS = {
    FailedPayment: "payment.failed",
    Dispute: "dispute.opened",
    Incident: "payment.quarantined",
}
FRAUD_WARNED = "payment.fraud_warned"
EVENT_DEAD = "event.dead"
TYPES = tuple(
    sorted(
        {
            *_OF_ENTRIES.values(),
            *_OF_ROWS.values(),
            LOW,
            FRAUD_WARNED,
            EVENT_DEAD,
            "dispute.closed",
        }
    )
)
"""Every type of notification there is."""

DUE, DELIVERED, DEAD = "due", "delivered", "dead"
ATTEMPTS_MAX = 10
_BACK_OFF_SECONDS_MAX = 3_600.0


def notices(
    changes: Iterable[Record], view: View, *, wanted: frozenset[str], low_credits: int | None
) -> Iterator[Notification]:
    """The notifications of the wanted types that follow from changes, before they are made.

    Args:
        changes: what a decision changes.
        view: the rows as they were before.
        wanted: the types that somebody is to be told of.
        low_credits: below how many available credits a wallet is low; None for never.
    """
    for record in changes:
        for kind, subject, user_id, data in _told(record, view, low_credits):
            if kind in wanted:
                payload = msgspec.json.encode(data, order="deterministic").decode()
                yield Notification(
                    f"{kind}:{subject}", kind, user_id, payload, DUE, 0, view.now, "", view.now
                )


_Told = tuple[str, str, str, dict[str, Any]]


def _told(record: Record, view: View, low_credits: int | None) -> Iterator[_Told]:
    if isinstance(record, Entry):
        yield from _of_entry(record, low_credits)
    elif isinstance(record, FailedPayment):
        data = {
            "payment_intent_id": record.payment_intent_id,
            "failure_reason": record.failure_reason,
            "decline_code": record.decline_code,
        }
        yield _OF_ROWS[FailedPayment], record.failure_id, record.user_id, data
    elif isinstance(record, Dispute):
        yield from _of_dispute(record, view.peek(*key_of(record)), view)  # type: ignore[arg-type]
    elif isinstance(record, Incident) and record.status == "open":
        yield from _of_incident(record, view.peek(Incident, record.incident_id), view)
    elif isinstance(record, Event) and record.status == inbox.DEAD:
        before = view.peek(Event, record.event_id)
        if before is None or before.status != inbox.DEAD:
            data = {"event_id": record.event_id, "type": record.type, "problem": record.problem}
            # It may be replayed, and die again.
            yield EVENT_DEAD, f"{record.event_id}:{view.now}", "", data


def _of_incident(incident: Incident, known: Incident | None, view: View) -> Iterator[_Told]:
    if known is not None and known.status == "open":
        return
    # It may be opened again, and is told of again then.
    subject = incident.incident_id if known is None else f"{incident.incident_id}:{view.now}"
    data: dict[str, Any] = {"incident_id": incident.incident_id, "reason": incident.reason}
    if not incident.incident_id.startswith("fraud:"):
        yield _OF_ROWS[Incident], subject, "", data
        return
    intent_id = msgspec.json.decode(incident.facts)["payment_intent"]
    data["payment_intent_id"] = intent_id
    yield FRAUD_WARNED, subject, _payer(intent_id, view), data


def _of_entry(entry: Entry, low_credits: int | None) -> Iterator[_Told]:
    data: dict[str, Any] = {
        "transaction_id": entry.transaction_id,
        "cause": entry.cause,
        "credits": entry.credits,
        "available": entry.balance_after,
        "debt": entry.debt_after,
    }
    kind = _OF_ENTRIES.get(Kind(entry.kind))
    if kind == "payment.reversed":
        legs = ledger.legs_of(entry)
        data["refunded"] = legs.get(Contra.REFUNDS, 0)
        data["disputed"] = legs.get(Contra.DISPUTES, 0)
        data["payment_intent_id"] = entry.cause.split(":")[1]
    if kind is not None:
        yield kind, entry.cause, entry.user_id, data
    if low_credits is not None and (
        entry.balance_after < low_credits <= entry.balance_after - entry.credits
    ):
        yield LOW, entry.cause, entry.user_id, {**data, "threshold": low_credits}


def _of_dispute(dispute: Dispute, known: Dispute | None, view: View) -> Iterator[_Told]:
    user_id = _payer(dispute.payment_intent_id, view)
    data = {
        "dispute_id": dispute.dispute_id,
        "payment_intent_id": dispute.payment_intent_id,
        "amount_minor": dispute.amount,
        "currency": dispute.currency,
        "reason": dispute.reason,
        "status": dispute.status,
    }
    if known is None:
        yield _OF_ROWS[Dispute], dispute.dispute_id, user_id, data
    was_open = known is None or not reversal.is_closed(known.status)
    if was_open and reversal.is_closed(dispute.status):
        yield "dispute.closed", f"{dispute.dispute_id}:{dispute.status}", user_id, data


def _payer(payment_intent_id: str | None, view: View) -> str:
    paid = view.peek(Payment, payment_intent_id) if payment_intent_id else None
    return paid.user_id if paid else ""


def of(kind: str, status: str) -> Series:
    """The notifications of a type that have a status, those that are due for longest first."""
    return Series(Notification, kind, (("status", status),), ("due_at", "notification_id"))


class _AboutNotification(msgspec.Struct, frozen=True, kw_only=True):
    """A command that names one notification, and nothing else."""

    notification_id: str
    token: str

    def keys(self) -> Iterator[Ask]:
        """The notification."""
        yield Notification, self.notification_id

    def keys_after(self, view: View) -> Iterator[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return iter(())


class Lease(_AboutNotification, frozen=True, kw_only=True):
    """Take a notification, if it is due, to try it until the lease ends."""

    seconds: float

    def decide(self, view: View, now: str) -> Decision[Notification | None]:
        """Lease it; one whose last try died with its process counts that as a try."""
        row = view.get(Notification, self.notification_id)
        if row is None or row.status != DUE:
            return Decision(None)
        if row.due_at > now:
            # Ours already where the reply to a commit was lost.
            return Decision(row if row.lease == self.token else None)
        if row.attempts >= ATTEMPTS_MAX:
            return Decision(None, (msgspec.structs.replace(row, status=DEAD, lease=""),))
        taken = msgspec.structs.replace(
            row,
            attempts=row.attempts + 1,
            due_at=instants.later(now, self.seconds),
            lease=self.token,
        )
        return Decision(taken, (taken,))


class Finish(_AboutNotification, frozen=True, kw_only=True):
    """A try has ended."""

    delivered: bool

    def decide(self, view: View, now: str) -> Decision[None]:
        """Close it, or have it tried again later; nothing if somebody else has it by now."""
        row = view.get(Notification, self.notification_id)
        if row is None or row.lease != self.token or row.status != DUE:
            return Decision(None)
        if self.delivered:
            changed = msgspec.structs.replace(row, status=DELIVERED, lease="")
        elif row.attempts >= ATTEMPTS_MAX:
            changed = msgspec.structs.replace(row, status=DEAD, lease="")
        else:
            wait = min(2.0**row.attempts, _BACK_OFF_SECONDS_MAX)
            changed = msgspec.structs.replace(row, due_at=instants.later(now, wait), lease="")
        return Decision(None, (changed,))


def public(row: Notification) -> values.Notification:
    """A notification, as handlers get it."""
    return values.Notification(
        id=row.notification_id,
        type=row.type,
        user_id=row.user_id or None,
        data=msgspec.json.decode(row.payload),
        attempt=row.attempts,
        created_at=instants.from_text(row.created_at),
    )
