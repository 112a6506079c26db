"""Rows on which commands run without a database."""

from __future__ import annotations

from typing import Any

from credit_payments.domain.decision import Command, Range, View
from credit_payments.domain.records import Key, Record


class Table:
    """Runs commands on rows, each on what those before it left."""

    def __init__(self) -> None:
        self.rows: dict[Key, Record] = {}

    def run(self, command: Command[Any], now: str = "2024-01-01T00:00:00.000000Z") -> Any:
        view = View(now=now)
        for names in (command.keys, lambda: command.keys_after(view)):
            for key in [*names()]:
                assert not isinstance(key, Range)
                view.put(key, self.rows.get(key))
        decision = command.decide(view, now)
        for row in decision.changes:
            self.rows[type(row), getattr(row, row.KEY)] = row
        return decision.answer
