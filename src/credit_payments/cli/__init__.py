"""`credit-payments …` and `python -m credit_payments …`.

Nothing heavy is imported before a command asks for it, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

__all__ = ["main"]

_PROGRAM = "credit-payments"


def main() -> None:
    """Run the command line, and exit.

    Raises:
        SystemExit: always; with a sentence (exit code 1) where the extra `cli` is missing.
    """
    try:
        import click  # noqa: F401, PLC0415 - an extra: its absence is told in words
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        raise SystemExit(
            f"The {_PROGRAM} command needs an extra: pip install 'credit-payments[cli]'"
        ) from None
    from credit_payments.cli.commands import commands  # noqa: PLC0415 - needs click

    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        # A terminal that has no "…" shows a question mark; the command does not break off.
        sys.stdout.reconfigure(errors="replace")
    commands.main(prog_name=_PROGRAM)
