"""The system that a command works on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from credit_payments.bootstrap import System, connect
from credit_payments.errors import CreditPaymentsError


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong is told in a sentence, without a trace; the command ends with exit code 2."""
    try:
        yield
    except (CreditPaymentsError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


@contextmanager
def opened(database: str | None, *, create: bool = False) -> Iterator[System]:
    """The system of a database, by default that of the settings; see `told` for what goes wrong.

    A database is not created unless told: one that was only misspelt must not come out empty and
    in order.
    """
    given: dict[str, Any] = {} if database is None else {"database": database}
    with told(), connect(deliver_notifications=False, create_database=create, **given) as system:
        yield system
