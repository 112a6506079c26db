"""Events that are stored first and applied afterwards: in whose turn, how often, and to what end.

Whoever has leased an event works on it. A lease ends, so that a worker that died is followed by
another; and every step that comes from a lease names it, so that a worker that was only slow, and
was followed, changes nothing any more. `attempts` grows with each lease: it tells two holders of
one event apart in their order, for whatever outside the database they touch (a fencing token, see
https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from credit_payments.domain import inbox, instants
from credit_payments.domain.decision import Ask, Command, Decision, View
from credit_payments.domain.records import NEVER, Event
from credit_payments.errors import Conflict, NotFound
from credit_payments.settlement.outcomes import Messenger, Settlement

_DEAD_BY_CRASH = "every process that tried it died with it, or took longer than its lease"


class Lease(NamedTuple):
    """Who works on an event, and for how long before others may."""

    token: str
    seconds: float


class StoreEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event has come, to be applied by whoever leases it; with `lease`, by who stores it."""

    messenger: Messenger
    subject: str
    lane: str
    payload: str
    lease: Lease | None = None

    def keys(self) -> Iterator[Ask]:
        """The event."""
        yield Event, self.messenger.event_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[Event | None]:
        """Keep it; None where nothing is to be done, because it was told of before.

        One that waits, and that nobody works on, is leased at once when it is told of again; one
        that was quarantined is decided again, as `is_done` has it.
        """
        known = view.get(Event, self.messenger.event_id)
        if known is None:
            new = self._leased(self._new(now), now)
            return Decision(new, (new,))
        if self.lease is None:
            return self._store_again(known, now)
        if known.status == inbox.DUE and (not known.lease or known.due_at <= now):
            return _take(known, self.lease, now)
        # Ours already where the reply to a commit was lost.
        return Decision(_held(view, known.event_id, self.lease.token))

    def _store_again(self, known: Event, now: str) -> Decision[Event | None]:
        if known.status != inbox.DONE or known.outcome != "quarantined":
            return Decision(None)
        again = msgspec.structs.replace(
            known, outcome="queued", status=inbox.DUE, payload=self.payload, attempts=0, due_at=now
        )
        return Decision(again, (again,))

    def _new(self, now: str) -> Event:
        return Event(
            event_id=self.messenger.event_id,
            type=self.messenger.type,
            subject=self.subject,
            outcome="queued",
            received_at=now,
            status=inbox.DUE,
            lane=self.lane,
            payload=self.payload,
            due_at=now,
            created_at=self.messenger.created_at,
        )

    def _leased(self, event: Event, now: str) -> Event:
        return event if self.lease is None else _lease(event, self.lease, now)


class _AboutEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A command that names one event, and nothing else."""

    event_id: str

    def keys(self) -> Iterator[Ask]:
        """The event."""
        yield Event, self.event_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()


class LeaseEvent(_AboutEvent, frozen=True, kw_only=True):
    """Take one event, if it is due."""

    lease: Lease

    def decide(self, view: View, now: str) -> Decision[Event | None]:
        """Lease it; None where there is nothing to do, or not yet."""
        event = view.get(Event, self.event_id)
        if event is None or event.status != inbox.DUE:
            return Decision(None)
        if event.due_at > now:
            # Ours already where the reply to a commit was lost.
            return Decision(_held(view, self.event_id, self.lease.token))
        return _take(event, self.lease, now)


class RenewLease(_AboutEvent, frozen=True, kw_only=True):
    """A worker is still at it."""

    lease: Lease

    def decide(self, view: View, now: str) -> Decision[bool]:
        """Let the lease begin anew; False where it was taken over, or the event is done."""
        event = _held(view, self.event_id, self.lease.token)
        if event is None:
            return Decision(False)  # noqa: FBT003 - the answer
        due_at = instants.later(now, self.lease.seconds)
        renewed = msgspec.structs.replace(event, due_at=due_at)
        return Decision(True, (renewed,))  # noqa: FBT003 - the answer


class ApplyEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Do what an event says, if it waits as it was read: `token` is its lease then, if it had one.

    It needs none: two that have read it do not both find it waiting.
    """

    event_id: str
    token: str
    command: Command[Settlement] | None

    def keys(self) -> Iterator[Ask]:
        """The event, and what its command names."""
        yield Event, self.event_id
        if self.command:
            yield from self.command.keys()

    def keys_after(self, view: View) -> Iterable[Ask]:
        """What its command names."""
        return self.command.keys_after(view) if self.command else ()

    def decide(self, view: View, now: str) -> Decision[Settlement | None]:
        """Apply it and mark it done, as one change; None where somebody else was faster."""
        event = _held(view, self.event_id, self.token)
        if event is None:
            return Decision(None)
        if self.command is None:  # about nothing that we know
            return Decision(Settlement(outcome="ignored"), (inbox.done(event, "ignored"),))
        decision = self.command.decide(view, now)
        changes = list(decision.changes)
        if not any(isinstance(row, Event) for row in changes):  # it says nothing about ours
            changes.append(inbox.done(event, decision.answer.outcome))
        return Decision(decision.answer, changes, decision.refusal)


class FinishEvent(_AboutEvent, frozen=True, kw_only=True):
    """A try of what is not ours to apply has ended well."""

    token: str

    def decide(self, view: View, now: str) -> Decision[bool]:  # noqa: ARG002 - part of the protocol
        """Mark it done; False where somebody else has it by now."""
        event = _held(view, self.event_id, self.token)
        if event is None:
            return Decision(False)  # noqa: FBT003 - the answer
        return Decision(True, (inbox.done(event, "applied"),))  # noqa: FBT003 - the answer


class FailEvent(_AboutEvent, frozen=True, kw_only=True):
    """A try has failed: `problem` is what a person will read, `jitter` spreads the next tries.

    One that `counts` not has met what is no fault of the event's, such as a database that is down.
    With `attempts`, only if nobody else has tried since they were read; without `leased`, the try
    was not counted when it began.
    """

    token: str
    problem: str
    jitter: float
    attempts: int | None = None
    leased: bool = True
    counts: bool = True

    def decide(self, view: View, now: str) -> Decision[str | None]:
        """Have it tried again later, or bury it; the status then, None where another has it."""
        event = _held(view, self.event_id, self.token)
        if event is None or self.attempts not in (None, event.attempts):
            return Decision(None)
        tries = event.attempts + (not self.leased)
        failed = msgspec.structs.replace(
            event,
            attempts=tries - (not self.counts),
            due_at=instants.later(now, inbox.back_off(tries, self.jitter)),
            lease="",
            problem=self.problem,
        )
        if failed.attempts >= inbox.ATTEMPTS_MAX:
            failed = _dead(failed, self.problem, now)
        return Decision(failed.status, (failed,))


class ReplayEvent(_AboutEvent, frozen=True, kw_only=True):
    """A person wants an event tried again, from the first try on."""

    def decide(self, view: View, now: str) -> Decision[Event]:
        """Make it due now.

        Raises:
            NotFound: no such event.
            Conflict: it was applied; or somebody works on it.
        """
        event = _to_decide(view, self.event_id, now)
        again = msgspec.structs.replace(
            event,
            outcome="queued",
            status=inbox.DUE,
            attempts=0,
            due_at=now,
            lease="",
        )
        return Decision(again, (again,))


class DiscardEvent(_AboutEvent, frozen=True, kw_only=True):
    """A person has decided that an event is not to be applied; it stays, with the reason."""

    reason: str
    actor: str

    def decide(self, view: View, now: str) -> Decision[Event]:
        """Put it away.

        Raises:
            NotFound: no such event.
            Conflict: it was applied; or somebody works on it.
        """
        event = _to_decide(view, self.event_id, now)
        if event.status == inbox.DISCARDED:
            return Decision(event)
        put_away = msgspec.structs.replace(
            event,
            outcome="discarded",
            status=inbox.DISCARDED,
            due_at=NEVER,
            lease="",
            problem=f"discarded by {self.actor}: {self.reason}",
        )
        return Decision(put_away, (put_away,))


def _take(event: Event, lease: Lease, now: str) -> Decision[Event | None]:
    """Lease an event that is free; one whose tries all ended without a word is buried."""
    if event.attempts >= inbox.ATTEMPTS_MAX:
        return Decision(None, (_dead(event, event.problem or _DEAD_BY_CRASH, now),))
    taken = _lease(event, lease, now)
    return Decision(taken, (taken,))


def _lease(event: Event, lease: Lease, now: str) -> Event:
    return msgspec.structs.replace(
        event,
        attempts=event.attempts + 1,
        due_at=instants.later(now, lease.seconds),
        lease=lease.token,
    )


def _dead(event: Event, problem: str, now: str) -> Event:
    return msgspec.structs.replace(event, status=inbox.DEAD, due_at=now, lease="", problem=problem)


def _held(view: View, event_id: str, token: str) -> Event | None:
    """The event, if it waits and that lease on it holds."""
    event = view.get(Event, event_id)
    if event is None or event.status != inbox.DUE or event.lease != token:
        return None
    return event


def _to_decide(view: View, event_id: str, now: str) -> Event:
    """The event, if it is still a person's to decide about."""
    event = view.get(Event, event_id)
    if event is None:
        raise NotFound(f"No event {event_id}", param="event_id")
    if event.status == inbox.DONE:
        raise Conflict(f"{event_id} was applied: its outcome is {event.outcome!r}.")
    if event.status == inbox.DUE and event.lease and event.due_at > now:
        raise Conflict(f"{event_id} is being applied.")
    return event
