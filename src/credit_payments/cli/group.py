"""The group of all commands: an interrupted one exits unlike one that has found something."""

from __future__ import annotations

from typing import Any

import click

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it. Click's own exit code would be 1, with which
`health`, for one, says that something is wrong."""


class Commands(click.Group):
    """Exits with `INTERRUPTED` when Ctrl-C ends a command."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Aborted!", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
