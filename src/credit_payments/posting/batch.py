"""What a batch needs, and what it comes to: loading and deciding, without a thought of threads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import attrs

from credit_payments.domain.decision import Command, NotLoaded, Range, View
from credit_payments.domain.records import Key, Record
from credit_payments.ports.storage import Loaded, Loader
from credit_payments.posting.line import Ticket

LOAD_PASSES_MAX = 48
"""How far a row may be from those that a command names: an event, its payment, its quote, the
wallet, what is due there, what stands in for lots (`STAND_INS_MAX`); and then how often a series
may be loaded further, each time eight times as far."""


@attrs.define
class Outcome:
    """What a batch has come to: its answers, the rows as they are last, and who runs again alone.

    A stray is a command that a decision of its own batch led to rows it had not named.
    """

    answers: list[tuple[Ticket[Any], Any, Exception | None]] = attrs.field(factory=list)
    new: dict[Key, Record] = attrs.field(factory=dict)
    replaced: dict[Key, Record] = attrs.field(factory=dict)
    strays: list[Ticket[Any]] = attrs.field(factory=list)
    observed: bool = False


def load(transaction: Loader, commands: Sequence[Command[Any]], now: str) -> View:
    """The rows that the commands name, and then those that these point to."""
    view = View(now=now)
    asked = dict.fromkeys(ask for command in commands for ask in command.keys())  # noqa: SIM118
    for _ in range(LOAD_PASSES_MAX):
        ranges = [ask for ask in asked if isinstance(ask, Range)]
        keys = [ask for ask in asked if not isinstance(ask, Range)]
        found, series = _load(transaction, keys, ranges)
        for key in keys:
            view.put(key, found.get(key))
        for asked_range, rows in series.items():
            view.put_range(asked_range, rows)
        asked = {
            ask: None
            for command in commands
            for ask in command.keys_after(view)
            if not view.knows(ask)
        }
        if not asked:
            break
    return view


def _load(transaction: Loader, keys: Sequence[Key], ranges: Sequence[Range]) -> Loaded:
    if keys and ranges:
        return transaction.load_both(keys, ranges)
    return Loaded(
        transaction.load(keys) if keys else {}, transaction.first(ranges) if ranges else {}
    )


class Observer(Protocol):
    """Who adds rows to what commands change, and is told when they are committed."""

    def observe(self, changes: Iterable[Record], view: View) -> Iterable[Record]:
        """The rows to add; pure, and `view` has the rows as they were before the changes."""
        ...

    def committed(self) -> None:
        """Some of them are durable now; quick, and raises nothing."""
        ...


def decide(batch: Sequence[Ticket[Any]], view: View, observer: Observer | None = None) -> Outcome:
    """Each command in turn, on the rows as those before it left them."""
    now = view.now
    outcome = Outcome()
    new, replaced = outcome.new, outcome.replaced
    for ticket in batch:
        try:
            decision = ticket.command.decide(view, now)
            changes = decision.changes
            if observer is not None and (added := [*observer.observe(changes, view)]):
                changes = [*changes, *added]
                outcome.observed = True
        except NotLoaded as error:
            if len(batch) == 1:
                outcome.answers.append((ticket, None, error))
            else:
                outcome.strays.append(ticket)
        except Exception as error:  # noqa: BLE001 - a rejection, or a bug, of this command alone
            outcome.answers.append((ticket, None, error))
        else:
            view.absorb(changes, new, replaced)
            outcome.answers.append((ticket, decision.answer, decision.refusal))
    return outcome
