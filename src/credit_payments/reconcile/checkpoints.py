"""How far a reconciliation has come, kept so that the next call goes on with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from credit_payments.domain import instants
from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.differences import DIFFERENCES_MAX, Difference, ReconciliationReport
from credit_payments.domain.records import Checkpoint

WHOLE_PHASES = ("refunds", "disputes", "events")
"""Those at whose end it is looked at what is of one payment, and spread over their pages."""
PHASES = ("payment_intents", *WHOLE_PHASES, "payments")
"""What is looked at, one after the other."""
ENDED = ""
"""The phase of a run that has ended."""
NAME = "reconcile"
"""How the names of its checkpoints begin."""


class State(msgspec.Struct, kw_only=True):
    """Where a run is, and what it has found; `ended_at` where it has ended."""

    since: str
    until: str
    repair: bool
    started_at: str
    phase: str = PHASES[0]
    cursor: str | None = None
    looked_at: dict[str, int] = {}
    foreign: dict[str, int] = {}
    found: dict[str, int] = {}
    repaired: int = 0
    differences: list[Difference] = []
    ended_at: str | None = None

    def note(self, difference: Difference) -> None:
        """One more; counted in any case, and kept as long as there are not too many."""
        kind = difference.kind.value
        self.found[kind] = self.found.get(kind, 0) + 1
        self.repaired += difference.repaired
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(difference)

    def count(self, looked_at: int, foreign: int = 0) -> None:
        """So many more were looked at, and so many of these are none of ours."""
        self.looked_at[self.phase] = self.looked_at.get(self.phase, 0) + looked_at
        self.foreign[self.phase] = self.foreign.get(self.phase, 0) + foreign

    def go_on(self, cursor: str | None) -> None:
        """The next page, or the next phase where there is none."""
        self.cursor = cursor
        if cursor is None:
            behind = PHASES.index(self.phase) + 1
            self.phase = PHASES[behind] if behind < len(PHASES) else ENDED

    def begin_phase_anew(self) -> None:
        """As if nothing of it had been looked at; what was found stays."""
        self.cursor = None
        self.looked_at.pop(self.phase, None)
        self.foreign.pop(self.phase, None)

    def end(self, now: str) -> None:
        """Keep a summary, and no more: the differences are in the report."""
        self.ended_at = now
        self.differences = []

    def report(self) -> ReconciliationReport:
        """What was found so far."""
        return ReconciliationReport(
            since=instants.from_text(self.since),
            until=instants.from_text(self.until),
            repair=self.repair,
            **{phase: self.looked_at.get(phase, 0) for phase in PHASES},
            foreign=sum(self.foreign.values()),
            found=dict(sorted(self.found.items())),
            repaired=self.repaired,
            differences=tuple(self.differences),
        )


class KeepCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A long task has come so far."""

    name: str
    state: str

    def keys(self) -> Iterator[Ask]:
        """The checkpoint."""
        yield Checkpoint, self.name

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[None]:
        """Keep it in place of what was kept before."""
        kept = Checkpoint(self.name, self.state, now)
        known = view.get(Checkpoint, self.name)
        same = known is not None and known.state == self.state
        return Decision(None, () if same else (kept,))


def name_of(since: str, *, repair: bool) -> str:
    """The name of the checkpoint of a run."""
    return f"{NAME}:{since}:{'repair' if repair else 'look'}"


def write(state: State) -> str:
    """A state as its row keeps it."""
    return msgspec.json.encode(state).decode()


def read(row: Checkpoint | None) -> State | None:
    """The state in a row; None where there is none that can be read, such as an older release's."""
    try:
        return None if row is None else msgspec.json.decode(row.state, type=State)
    except msgspec.MsgspecError:
        return None
