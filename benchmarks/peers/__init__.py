"""The same three operations by a library with the same trade: gringotts-api, on the same disk.

Both sell prepaid credits through Stripe and keep a ledger in SQLite. The other is called by its
`grant`, by the `charge_user` on which its `charge` dependency rests, and by its webhook route; the
first two as its documentation grants credits in code: a session for each operation, in which the
user is looked up, since that is what a request does, and since ours, too, takes a user's id. All is
on one wallet, and both files have the same settings: write-ahead log, `synchronous=FULL`, a
checkpoint every `CHECKPOINT_PAGES` pages.

Where the two differ in what they do, the difference is left in the other's favour: its charge is
called without the API key and the `Idempotency-Key` that come before it in a request, so that it
may be repeated by mistake, while a spend has a key and posts once. How fast it is with one session
and one user kept for all operations, which no two requests share, stands in rows of its own.

It is no dependency. Where it is not installed there are no rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

import msgspec

from benchmarks.measure import Plan, Row, ratio_row, take_turns
from benchmarks.peers.gringotts import PACKAGE, Gringotts
from benchmarks.peers.ours import Ours
from benchmarks.peers.turn import WARM_UP, Turn
from benchmarks.writing import CALLERS


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    """One operation by both libraries; ours is quick enough with many callers to need more."""

    name: str
    what: str
    ours: Turn
    theirs: Turn
    theirs_kept: Turn | None = None
    ours_by_many: int


def rows(plan: Plan, folder: Path) -> Iterator[Row]:
    """Grant, spend and webhook to credit, by one caller and by many; nothing without the peer."""
    try:
        peer = f"{PACKAGE} {metadata.version(PACKAGE)}"
    except metadata.PackageNotFoundError:
        return
    # Rates are compared, so that who takes longer may do less.
    some, few = max(plan.commands // 8, CALLERS), max(plan.commands // 32, CALLERS)
    for case in _cases(Ours(folder, WARM_UP + some), Gringotts(folder, WARM_UP + few), plan, some):
        yield from _compare(case, peer, plan, callers=1, ours=some, theirs=few, target=5)
        yield from _compare(
            case, peer, plan, callers=CALLERS, ours=case.ours_by_many, theirs=few, target=10
        )


def _cases(ours: Ours, theirs: Gringotts, plan: Plan, some: int) -> tuple[_Case, ...]:
    return (
        _Case(
            name="grant",
            what="grant",
            ours=ours.grant,
            theirs=theirs.grant,
            theirs_kept=partial(theirs.grant, kept=True),
            ours_by_many=plan.commands,
        ),
        _Case(
            name="spend",
            what="spend",
            ours=ours.spend,
            theirs=theirs.charge,
            theirs_kept=partial(theirs.charge, kept=True),
            ours_by_many=plan.commands,
        ),
        _Case(
            name="webhook",
            what="webhook to credit by ASGI",
            ours=ours.webhook,
            theirs=theirs.webhook,
            ours_by_many=some,
        ),
    )


def _compare(
    case: _Case, peer: str, plan: Plan, *, callers: int, ours: int, theirs: int, target: float
) -> Iterator[Row]:
    by = f"{callers} caller{'s' if callers > 1 else ''}"
    name = f"peer_{case.name}_{by.replace(' ', '_')}"
    one, other = f"{case.what} on one wallet, {by}", f"{peer}: {case.what}, {by}"
    kept = f"{other}, session and user kept"
    sides = {one: partial(case.ours, ours, callers), other: partial(case.theirs, theirs, callers)}
    if case.theirs_kept and callers == 1:
        sides[kept] = partial(case.theirs_kept, theirs, callers)
    rates = take_turns(sides, plan.database_turns, warm_up=False)
    yield ratio_row(name, (one, rates[one]), (other, rates[other]), target=target)
    if kept in rates:
        yield ratio_row(f"{name}_kept", (one, rates[one]), (kept, rates[kept]))
