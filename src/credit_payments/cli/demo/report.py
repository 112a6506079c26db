"""Tells how it went: for people as it happens, for programs as one JSON object at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, TextIO

import attrs
import msgspec

import credit_payments as cp
from credit_payments.cli.demo.checks import Check
from credit_payments.cli.demo.evidence import ShopBooks, StripeAccount
from credit_payments.cli.demo.stage import Stage

COUNTS: Final = (
    "payments",
    "credited",
    "credits",
    "declined",
    "duplicates",
    "races",
    "webhooks",
    "entries",
    "wallets",
)
_COLORS: Final = {"ok": "32", "BROKEN": "31"}
_TITLE_WIDTH: Final = 22


@attrs.define
class Outcome:
    """What the demo found; `broken` names everything that is not as it should be."""

    broken: list[str] = attrs.field(factory=list)
    counts: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(COUNTS, 0))
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 only if all holds."""
        return 1 if self.broken else 0

    def count(self, stage: Stage, stripe: StripeAccount, books: ShopBooks) -> None:
        """Fill in the numbers."""
        deliveries = sum(stripe.delivered.values()) + stage.by_hand
        self.counts |= {
            "payments": len(stripe.paid),
            "credited": len(books.purchases),
            "credits": sum(balance.available for balance in books.balances.values()),
            "declined": len(books.failed_payments),
            # Each event is news once: whatever comes after it is a duplicate.
            "duplicates": deliveries - len(stripe.delivered),
            "races": stage.races,
            "webhooks": deliveries,
            "entries": books.report.entries,
            "wallets": books.report.wallets,
        }

    def to_json(self) -> str:
        """The one object, on one line."""
        told = {
            "invariants": "broken" if self.broken else "hold",
            "broken": self.broken,
            "counts": self.counts,
            "seconds": round(self.seconds, 2),
        }
        return msgspec.json.encode(told).decode()


class Console:
    """Prints for people; `quiet` prints nothing."""

    def __init__(self, *, quiet: bool, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._quiet = quiet
        self._color = self._stream.isatty()

    def line(self, text: str = "") -> None:
        """Print one line."""
        if not self._quiet:
            self._stream.write(text + "\n")
            self._stream.flush()

    def result(self, title: str, text: str, *, ok: bool, width: int = _TITLE_WIDTH) -> None:
        """Print how one step or check went."""
        mark = "ok" if ok else "BROKEN"
        padded = f"{mark:<8}"
        if self._color:
            padded = f"\x1b[{_COLORS[mark]}m{padded}\x1b[0m"
        self.line(f"  {padded}{title:<{width}}{text}".rstrip())

    def ledger(self, books: ShopBooks, stripe: StripeAccount) -> None:
        """Print every entry, and beside what each user holds what was paid for."""
        dollars = {row.transaction_id: row.amount_usd for row in books.purchases}
        self.line(f"\nThe ledger, {len(books.entries)} entries")
        rows = [
            (
                f"{entry.created_at:%H:%M:%S.%f}"[:-3],
                entry.user_id,
                _in_words(entry, dollars.get(entry.transaction_id)),
                f"{entry.credits:+,}",
                f"{entry.balance_after:,}",
            )
            for entry in books.entries
        ]
        self._table(("time (UTC)", "user", "what", "credits", "balance"), rows, numbers=2)
        self.line("\nThe wallets")
        bought = stripe.bought()
        held = [
            (user, f"{balance.available:,}", f"{bought[user]:,}")
            for user, balance in books.balances.items()
        ]
        self._table(("user", "balance", "paid for at Stripe"), held, numbers=2)

    def checks(self, checks: Sequence[Check]) -> None:
        """Print what was held against what."""
        self.line("\nThe books against Stripe")
        for check in checks:
            self.result(check.title, "", ok=check.holds)
            for problem in check.problems:
                self.line(f"            {problem}")

    def _table(
        self, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, numbers: int
    ) -> None:
        columns = list(zip(head, *rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        texts = len(head) - numbers
        for row in (head, *rows):
            cells = [
                cell.ljust(width) if index < texts else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.line("  " + "  ".join(cells).rstrip())


def _in_words(entry: cp.Entry, dollars: str | None) -> str:
    kinds = {"payment": "bought", "reversal": "refunded", "grant": "was given", "spend": "spent"}
    price = f" for ${dollars}" if dollars else ""
    return f"{kinds.get(entry.kind, entry.kind)}{price}, {entry.cause.partition(':')[2]}"
