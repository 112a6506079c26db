"""`python -m benchmarks`: measure, print a table."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import growing, importing, intake, peers, reading, report, servers, writing
from benchmarks.machine import Machine, this_machine
from benchmarks.measure import FULL, QUICK, Plan, Row, WrongResult

GROUPS = ("reading", "writing", "growing", "peers", "servers", "intake", "importing")


def main(arguments: list[str] | None = None) -> int:
    """Measure everything; 1 when something was done wrongly, or `--strict` and a target missed."""
    options = _parser().parse_args(arguments)
    for name in list(os.environ):
        if name.startswith(("STRIPE_", "CREDIT_PAYMENTS_")):
            del os.environ[name]  # the settings of whoever measures are no part of it
    try:
        machine, rows = _measure(QUICK if options.quick else FULL, options.folder, options.only)
    except WrongResult as error:
        print(f"wrong result: {error}", file=sys.stderr)
        return 1
    print(report.as_json(machine, rows) if options.json else report.as_text(machine, rows))
    return int(options.strict and any(row.met is False for row in rows))


def _measure(plan: Plan, parent: Path, only: Sequence[str]) -> tuple[Machine, list[Row]]:
    with tempfile.TemporaryDirectory(dir=parent, prefix=".benchmarks-") as name:
        folder = Path(name).resolve()
        machine = this_machine(folder)
        groups = {
            "reading": lambda: reading.rows(plan),
            "writing": lambda: writing.rows(plan, folder),
            "growing": lambda: growing.rows(plan, folder),
            "peers": lambda: peers.rows(plan, folder),
            "servers": lambda: servers.rows(plan),
            "intake": lambda: intake.rows(plan, folder),
            "importing": lambda: importing.rows(plan),
        }
        return machine, [row for name in only or groups for row in groups[name]()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="a smoke test: numbers mean nothing")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument(
        "--only",
        action="append",
        choices=GROUPS,
        help="measure this group of rows; may be given several times",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(),
        help="where databases are made, by default here: the disk under it decides a lot, and one "
        "in memory makes durability look free",
    )
    return parser
