"""The system that a command works on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO

import click

from credit_payments.bootstrap import connect
from credit_payments.errors import CreditPaymentsError
from credit_payments.system import System


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong is told in a sentence, without a trace; the command ends with exit code 2."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads the output has seen enough: click ends without a word
    except (CreditPaymentsError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


def standard_output() -> BinaryIO:
    """Standard output, for bytes.

    Raises:
        OSError: whoever runs the command has closed it.
    """
    if sys.stdout is None:
        raise OSError("standard output is closed")
    return sys.stdout.buffer


@contextmanager
def opened(database: str | None, *, create: bool = False) -> Iterator[System]:
    """The system of a database, by default that of the settings; see `told` for what goes wrong.

    A database is not created unless told: one that was only misspelt must not come out empty and
    in order.
    """
    with told(), _of_settings(database, create=create) as system:
        yield system


@contextmanager
def chosen(database: str | None, app: str | None) -> Iterator[System]:
    """The host's own system, where it is named, else as `opened`; nothing is told.

    Raises:
        UsageError: both are named.
        BadParameter: there is no such system of the host's.
        CreditPaymentsError: it cannot be opened.
    """
    if database is not None and app is not None:
        raise click.UsageError("--app has a database of its own: give one of the two")
    with _of_settings(database) if app is None else hosts(app) as system:
        yield system


def _of_settings(database: str | None, *, create: bool = False) -> AbstractContextManager[System]:
    given: dict[str, Any] = {} if database is None else {"database": database}
    return connect(deliver_notifications=False, create_database=create, **given)


@contextmanager
def hosts(app: str) -> Iterator[System]:
    """The host's own system, named as `module:attribute`: it, or a function that returns it.

    Raises:
        BadParameter: there is no such system.
        CreditPaymentsError: what the host's own `connect` raises.
    """
    found = _find(app)
    system = found() if callable(found) else found
    if not isinstance(system, System):
        raise click.BadParameter(
            f"{app} is neither a credit_payments System nor a function that returns one",
            param_hint="--app",
        )
    with system:
        yield system


def _find(app: str) -> object:
    """What `module:attribute` names; modules are looked for in the working directory, too."""
    module, _, path = app.partition(":")
    if not module.strip(".") or module.startswith(".") or not path:
        raise click.BadParameter("give it as module:attribute", param_hint="--app")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: object = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the host's own code wants
        raise click.BadParameter(f"there is no module {module}", param_hint="--app") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise click.BadParameter(f"{module} has no {path}", param_hint="--app") from error
    return found
