"""What a batch needs, and what it comes to: loading and deciding, without a thought of threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from credit_payments.domain.decision import Command, NotLoaded, View
from credit_payments.domain.records import Key, Record
from credit_payments.ports.storage import Transaction
from credit_payments.posting.line import Ticket

LOAD_PASSES_MAX = 4
"""How far a row may be from those that a command names: an event, its payment, its quote, the
wallet."""


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


class Changes:
    """What a batch has come to so far, each row as it is last."""

    def __init__(self, rows: dict[Key, Record | None]) -> None:
        self._rows = rows
        self.new: dict[Key, Record] = {}
        self.replaced: dict[Key, Record] = {}

    def __bool__(self) -> bool:
        return bool(self.new or self.replaced)

    def add(self, record: Record) -> None:
        """Keep a row, and show it to the commands that come after."""
        key = (type(record), getattr(record, record.KEY))
        is_new = key in self.new or self._rows.get(key) is None
        (self.new if is_new else self.replaced)[key] = self._rows[key] = record


def decide(
    batch: Sequence[Ticket[Any]], rows: dict[Key, Record | None], now: str
) -> tuple[list[tuple[Ticket[Any], Any, Exception | None]], Changes, list[Ticket[Any]]]:
    """Each command in turn, on the rows as those before it left them."""
    view = View(rows)
    changes = Changes(rows)
    answers: list[tuple[Ticket[Any], Any, Exception | None]] = []
    strays: list[Ticket[Any]] = []
    for ticket in batch:
        try:
            decision = ticket.command.decide(view, now)
        except NotLoaded as error:
            if len(batch) == 1:
                answers.append((ticket, None, error))
            else:
                strays.append(ticket)
        except Exception as error:  # noqa: BLE001 - a rejection, or a bug, of this command alone
            answers.append((ticket, None, error))
        else:
            for record in decision.changes:
                changes.add(record)
            answers.append((ticket, decision.answer, None))
    return answers, changes, strays
