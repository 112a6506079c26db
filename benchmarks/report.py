"""The rows as a table for people, or as JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from benchmarks.machine import Machine
from benchmarks.measure import Row

_HEADINGS = ("what", "compared with", "median (min to max)", "target", "met")


def as_text(machine: Machine, rows: Sequence[Row]) -> str:
    """Machine line, table, and what each side did in absolute numbers."""
    cells = [_HEADINGS, *map(_cells, rows)]
    absolute = {label: number for row in rows for label, number in row.absolute.items()}
    return "\n".join(
        [
            str(machine),
            "",
            *_aligned(cells, rule=True),
            "",
            "For orientation, medians on this machine:",
            *_aligned([("  " + label, _number(number)) for label, number in absolute.items()]),
        ]
    )


def as_json(machine: Machine, rows: Sequence[Row]) -> str:
    """One object: `machine` and `rows`, each row with its samples and whether it met its target."""
    reported = [
        msgspec.structs.asdict(row)
        | {"median": row.median, "min": min(row.samples), "max": max(row.samples), "met": row.met}
        for row in rows
    ]
    text = msgspec.json.encode({"machine": machine, "rows": reported})
    return msgspec.json.format(text, indent=2).decode()


def _cells(row: Row) -> tuple[str, ...]:
    sign, end = "+" if row.unit == "ms" and row.against else "", f" {row.unit}"
    spread = f"{_number(min(row.samples))} to {_number(max(row.samples))}"
    promised = "below" if row.unit == "ms" else "at least"
    target = "" if row.target is None else f"{promised} {row.target:g}{end}"
    met = {None: "", True: "yes", False: "NO"}[row.met]
    return row.what, row.against, f"{sign}{_number(row.median)}{end} ({spread})", target, met


def _number(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _aligned(cells: Sequence[Sequence[str]], *, rule: bool = False) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    if rule:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return lines
