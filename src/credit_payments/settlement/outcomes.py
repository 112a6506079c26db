"""What all reports of Stripe have in common: who told, what became of it, what was filed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from credit_payments.domain import clawback, inbox, needs, payment, reversal
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.lots import Take
from credit_payments.domain.records import (
    Event,
    Incident,
    Lot,
    Payment,
    Record,
    Wallet,
)

Outcome: TypeAlias = Literal["applied", "duplicate", "ignored", "quarantined", "queued"]

_OPEN = ("quarantined", "queued")
"""Outcomes of events that are decided again when they are told again."""


class Messenger(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The event that told of the facts, at Stripe's instant; a confirmation has none."""

    event_id: str
    type: str
    created_at: str = ""


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of a report, and how the payment stands after it."""

    outcome: Outcome
    payment: Payment | None = None
    reason: str | None = None


def needs_of(view: View, known: Payment) -> Iterator[Ask]:
    """What posting about a payment needs: its wallet, and what is due there.

    Where something may be taken back, also its lot, those that gave, and those that may have to.
    """
    yield Wallet, known.user_id
    if known.refunds != reversal.NOTHING or known.disputes != reversal.NOTHING or known.credited:
        if known.credited:
            own = payment.cause(known.payment_intent_id)
            lenders = clawback.lenders(known, view.peek(Lot, own))
            yield from needs.to_give_back(view, [Take(own, 0), *lenders])
        yield from needs.to_spend(view, known.user_id, known.credits)
    if view.knows((Wallet, known.user_id)):
        yield from needs.to_post_due(view, known.user_id)


def is_done(view: View, messenger: Messenger | None) -> bool:
    """Whether this very event was applied; one that waits, or is quarantined, is decided again."""
    event = view.get(Event, messenger.event_id) if messenger else None
    return event is not None and event.outcome not in _OPEN


def handled(
    view: View, messenger: Messenger | None, subject: str, outcome: Outcome, now: str
) -> list[Record]:
    """The event's own row, which commits together with its effects."""
    if messenger is None:
        return []
    known = view.get(Event, messenger.event_id)
    if known is not None:
        return [inbox.done(known, outcome)]
    return [
        Event(
            messenger.event_id,
            messenger.type,
            subject,
            outcome,
            now,
            created_at=messenger.created_at,
        )
    ]


def file(
    view: View,
    incident_id: str,
    subject: str,
    messenger: Messenger | None,
    reason: str,
    facts: str,
    known: Payment | None,
    now: str,
) -> Decision[Settlement]:
    """Keep a report where a person will find it, under a name of its own.

    One that a person has dismissed opens again only with other facts: nobody is asked twice.
    """
    earlier = view.get(Incident, incident_id)
    seen = handled(view, messenger, subject, "quarantined", now)
    if was_dismissed(earlier, facts):
        return Decision(Settlement(outcome="quarantined", payment=known, reason=reason), seen)
    incident = Incident(
        incident_id=incident_id,
        status="open",
        reason=reason,
        event_id=messenger.event_id if messenger else None,
        facts=facts,
        created_at=earlier.created_at if earlier else now,
        decision=earlier.decision if earlier else None,
    )
    changes = [incident, *seen]
    if known is not None and view.get(Payment, known.payment_intent_id) is not None:
        # So that whoever settles it later knows that there is something to close.
        known = msgspec.structs.replace(known, quarantined=1, updated_at=now)
        changes.append(known)
    return Decision(Settlement(outcome="quarantined", payment=known, reason=reason), changes)


def was_dismissed(filed: Incident | None, facts: str) -> bool:
    """Whether a person has decided already that nothing is to be done about these facts."""
    return filed is not None and filed.status == "dismissed" and filed.facts == facts


def closed_incident(view: View, incident_id: str) -> list[Record]:
    """What was filed about these facts is settled now; what a person has dismissed stays that."""
    incident = view.peek(Incident, incident_id)
    if incident is None or incident.status != "open":
        return []
    return [msgspec.structs.replace(incident, status="resolved")]
