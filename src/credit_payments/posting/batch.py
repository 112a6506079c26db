"""What a batch needs, and what it comes to: loading and deciding, without a thought of threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from credit_payments.domain.decision import Command, NotLoaded, View
from credit_payments.domain.records import Key, Record, key_of
from credit_payments.ports.storage import Transaction
from credit_payments.posting.line import Ticket

LOAD_PASSES_MAX = 4
"""How far a row may be from those that a command names: an event, its payment, its quote, the
wallet."""


@attrs.define
class Outcome:
    """What a batch has come to: its answers, the rows as they are last, and who runs again alone.

    A stray is a command that a decision of its own batch led to rows it had not named.
    """

    answers: list[tuple[Ticket[Any], Any, Exception | None]] = attrs.field(factory=list)
    new: dict[Key, Record] = attrs.field(factory=dict)
    replaced: dict[Key, Record] = attrs.field(factory=dict)
    strays: list[Ticket[Any]] = attrs.field(factory=list)


def load(transaction: Transaction, commands: Sequence[Command[Any]]) -> dict[Key, Record | None]:
    """The rows that the commands name, and then those that these point to."""
    rows: dict[Key, Record | None] = {}
    view = View(rows)
    asked = dict.fromkeys(key for command in commands for key in command.keys())  # noqa: SIM118
    for _ in range(LOAD_PASSES_MAX):
        rows.update(asked)
        rows.update(transaction.load(list(asked)))
        asked = {
            key: None for command in commands for key in command.keys_after(view) if key not in rows
        }
        if not asked:
            break
    return rows


def decide(batch: Sequence[Ticket[Any]], rows: dict[Key, Record | None], now: str) -> Outcome:
    """Each command in turn, on the rows as those before it left them."""
    view = View(rows)
    outcome = Outcome()
    new, replaced = outcome.new, outcome.replaced
    for ticket in batch:
        try:
            decision = ticket.command.decide(view, now)
        except NotLoaded as error:
            if len(batch) == 1:
                outcome.answers.append((ticket, None, error))
            else:
                outcome.strays.append(ticket)
        except Exception as error:  # noqa: BLE001 - a rejection, or a bug, of this command alone
            outcome.answers.append((ticket, None, error))
        else:
            for record in decision.changes:
                key = key_of(record)
                is_new = key in new or rows.get(key) is None
                (new if is_new else replaced)[key] = rows[key] = record
            outcome.answers.append((ticket, decision.answer, None))
    return outcome
