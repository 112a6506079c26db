"""`credit-payments export` and `import`: moving everything between databases."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from credit_payments.cli.systems import opened, standard_output
from credit_payments.moving import Moved


def export(database: str | None, file: str) -> None:
    """Write a dump: whole under its name, or not at all."""
    with opened(database) as system, _written(file) as stream:
        moved = system.export(stream)
    _tell("exported", moved)


def import_dump(database: str | None, file: str, *, resume: bool) -> None:
    """Read a dump into a blank database."""
    with opened(database, create=True) as system, Path(file).open("rb") as stream:
        moved = system.import_dump(stream, resume=resume)
    _tell("imported", moved)


@contextmanager
def _written(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield standard_output()
        return
    path = Path(file).resolve()  # what a link points to, not the link
    if path.exists() and not path.is_file():  # a pipe or a device
        with path.open("wb") as stream:
            yield stream
        return
    with _beside(path) as new:
        try:
            yield new
            new.flush()
            os.fsync(new.fileno())
            Path(new.name).replace(path)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


def _beside(path: Path) -> IO[bytes]:
    """A new file in the same folder, so that it can take the other's name in one step."""
    try:
        return tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False)
    except OSError as error:
        # The folder is what is missing, or closed to us; the new name tells nobody anything.
        raise OSError(error.errno, error.strerror, str(path.parent)) from error


def _tell(what: str, moved: Moved) -> None:
    report = moved.verification
    click.echo(
        f"{what} {moved.rows} rows: {report.entries} entries in {report.wallets} wallets, "
        "and everything fits.",
        err=True,
    )
