"""Requests that their callers have named with a key: done once, answered alike ever after.

Whoever begins a request has it leased until it is finished or released. A lease ends, so that a
process that died is followed by another; and what finishes a request names the lease, so that a
process that was only slow, and was followed, keeps no second answer.

Two runs of one request may thus overlap. They do no harm: both hand the same key to the core,
under which an intent, a refund and a customer are made once, for as long as Stripe keeps the key. A
request that is older, has no answer, and would move money a second time is not done again.

Sources:
    https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/, sections 2.4 (the
    fingerprint of a payload), 2.6 and 2.7 (what is answered).
    https://docs.stripe.com/api/idempotent_requests: keys are kept for 24 hours at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import msgspec

from credit_payments.domain import instants, ledger
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import KeptRequest
from credit_payments.errors import Conflict, IdempotencyConflict, RequestInProgress

IN_FLIGHT, ANSWERED = "in_flight", "answered"
NOBODY = ""
"""The lease of a request that was released."""

LEASE_SECONDS = 60.0
"""How long whoever repeats a request waits for a process that died with it. Nearly every request
has its answer by then; one that has not is done twice at once, which does no harm."""

CLOCKS_DIFFER_SECONDS_MAX = 3600.0
REDO_SECONDS_MAX = 24 * 3600.0 - CLOCKS_DIFFER_SECONDS_MAX
"""How old a request that moves money may be when it is done again: Stripe has its key until then,
also where clocks differ."""

HEADER = "Idempotency-Key"
Payload: TypeAlias = Mapping[str, str | int | Decimal]


class Begun(NamedTuple):
    """A request that is the holder's to do: its name, and the lease on it."""

    request_id: str
    lease: str


class KeptAnswer(NamedTuple):
    """An answer as it is kept: the HTTP status, and the body as JSON text."""

    status: int
    body: str


def request_id(route: str, caller: str, key: str) -> str:
    """The name under which a request is kept: nothing can be read from it.

    Args:
        route: its name; what one route was asked is nothing to another.
        caller: who asks; a key is the caller's own.
        key: the caller's name for the request.
    """
    # The host's ids are any text, be it none that UTF-8 can write; `ascii` tells all of them apart.
    return ledger.fingerprint("request", route, ascii(caller), key)


def payload_fingerprint(key: str, payload: Payload) -> str:
    """Tells requests under one key apart by what they ask.

    The order of the fields and how a number is written make no difference (`10` is `10.00`). All
    else does: text is compared as it is, and a field that is left out differs from one that says
    what would have been assumed. The key is mixed in because it is kept nowhere: an e-mail address
    alone could be guessed from its digest.

    >>> ten, also_ten = {"amount": 10}, {"amount": Decimal("10.00")}
    >>> payload_fingerprint("order-1", ten) == payload_fingerprint("order-1", also_ten)
    True
    """
    fields = [(name, _plain(payload[name])) for name in sorted(payload)]
    return ledger.fingerprint("payload", key, fields)


def _plain(value: str | int | Decimal) -> str:
    # Exact, and one text for all numbers that are equal.
    return value if isinstance(value, str) else str(Fraction(value))


class _AboutRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A command that names one request, and nothing else."""

    request_id: str

    def keys(self) -> Iterator[Ask]:
        """The request."""
        yield KeptRequest, self.request_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()


class BeginRequest(_AboutRequest, frozen=True, kw_only=True):
    """A caller asks for something, and has named it: `lease` is a fresh random name."""

    fingerprint: str
    lease: str
    redo_seconds_max: float | None = None

    def decide(self, view: View, now: str) -> Decision[Begun | KeptAnswer]:
        """Lease it, or tell the answer that it was given.

        Raises:
            IdempotencyConflict: the key was used with another payload.
            RequestInProgress: it was begun, and whoever did has time left.
            Conflict: it was begun too long ago to be done again (`request_outcome_unknown`).
        """
        known = view.get(KeptRequest, self.request_id)
        if known is None:
            return self._leased(self._new(now), now)
        if known.fingerprint != self.fingerprint:
            raise IdempotencyConflict(f"{HEADER} was used before with another body.", param=HEADER)
        if known.status == ANSWERED:
            return Decision(_answer_of(known))
        # Ours already where the reply to a commit was lost.
        if known.lease not in (NOBODY, self.lease) and _is_soon(known.leased_until, now):
            raise RequestInProgress(f"A request with this {HEADER} is in progress.", param=HEADER)
        if not self._may_be_redone(known, now):
            raise outcome_unknown()
        return self._leased(known, now)

    def _may_be_redone(self, known: KeptRequest, now: str) -> bool:
        if self.redo_seconds_max is None:
            return True
        ends_at = instants.later(known.created_at, self.redo_seconds_max)
        # What was begun in the future, by a clock that was wrong, is of an age that nobody knows.
        latest = instants.later(now, CLOCKS_DIFFER_SECONDS_MAX)
        return now < ends_at and known.created_at <= latest

    def _new(self, now: str) -> KeptRequest:
        return KeptRequest(
            request_id=self.request_id,
            fingerprint=self.fingerprint,
            status=IN_FLIGHT,
            lease=NOBODY,
            leased_until=now,
            answer_status=None,
            answer=None,
            created_at=now,
        )

    def _leased(self, request: KeptRequest, now: str) -> Decision[Begun | KeptAnswer]:
        until = instants.later(now, LEASE_SECONDS)
        leased = msgspec.structs.replace(request, lease=self.lease, leased_until=until)
        return Decision(Begun(self.request_id, self.lease), (leased,))


class FinishRequest(_AboutRequest, frozen=True, kw_only=True):
    """A request has its answer."""

    lease: str
    answer: KeptAnswer

    def decide(self, view: View, now: str) -> Decision[KeptAnswer]:  # noqa: ARG002
        """Keep it; the answer that is kept, which is another's where that was faster.

        Raises:
            RequestInProgress: the lease was over, and another is at it: that one's answer will be
                kept.
        """
        known = view.get(KeptRequest, self.request_id)
        if known is None:
            raise LookupError(f"request {self.request_id} was not begun")
        if known.status == ANSWERED:
            return Decision(_answer_of(known))
        if known.lease != self.lease:
            raise RequestInProgress(f"A request with this {HEADER} is in progress.", param=HEADER)
        answered = msgspec.structs.replace(
            known,
            status=ANSWERED,
            lease=NOBODY,
            answer_status=self.answer.status,
            answer=self.answer.body,
        )
        return Decision(self.answer, (answered,))


class ReleaseRequest(_AboutRequest, frozen=True, kw_only=True):
    """A request could not be answered for good: whoever repeats it may do it at once."""

    lease: str

    def decide(self, view: View, now: str) -> Decision[None]:
        """End the lease, if it still holds."""
        known = view.get(KeptRequest, self.request_id)
        if known is None or known.lease != self.lease:
            return Decision(None)
        return Decision(None, (msgspec.structs.replace(known, lease=NOBODY, leased_until=now),))


def outcome_unknown() -> Conflict:
    """What has no answer may have been done at Stripe, which would do it again by now."""
    return Conflict(
        "This request was begun long ago and never answered: look at Stripe whether it was done, "
        f"and use another {HEADER} if it was not.",
        param=HEADER,
        code="request_outcome_unknown",
    )


def _is_soon(until: str, now: str) -> bool:
    """Whether a lease runs: one from a clock that was far ahead would keep everybody out."""
    return now < until <= instants.later(now, 2 * LEASE_SECONDS)


def _answer_of(request: KeptRequest) -> KeptAnswer:
    if request.answer_status is None or request.answer is None:
        raise AssertionError(f"request {request.request_id} was answered without an answer")
    return KeptAnswer(request.answer_status, request.answer)
