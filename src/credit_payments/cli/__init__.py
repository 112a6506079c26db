"""`credit-payments …` and `python -m credit_payments …`.

Nothing heavy is imported before a command asks for it, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

__all__ = ["main"]

_PROGRAM = "credit-payments"


def main() -> None:
    """Run the command line, and exit.

    Raises:
        SystemExit: always; with a sentence (exit code 1) where the extra `cli` is missing, and with
            one (exit code 2) where a disk is full, or a file cannot be read or written.
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
    sys.exit(_run(commands))


def _run(commands: click.Group) -> str | int | None:
    code: str | int | None = None
    try:
        commands.main(prog_name=_PROGRAM)
    except SystemExit as ended:
        code = ended.code
    except OSError as error:
        code = _tell(error)
    try:
        # Here, where it can be told: Python's own flush at its end would show a trace.
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        code = code or _tell(error)
        # What could not be written must not be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _tell(error: OSError) -> int:
    with suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(f"Error: {error}\n")
    return 2
