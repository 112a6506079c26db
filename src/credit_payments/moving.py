"""Moving everything from one database to another, through a file of JSON lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO

import attrs

from credit_payments.domain import dump, instants
from credit_payments.domain.audit import VerificationReport
from credit_payments.domain.records import RECORDS, Record, key_of
from credit_payments.errors import Conflict, InvalidRequest
from credit_payments.ports.clock import Clock
from credit_payments.ports.storage import Reader, Storage, WriteConflict
from credit_payments.verifying import verify

ROWS_AT_ONCE = 500


@attrs.frozen(kw_only=True)
class Moved:
    """What was moved: the rows of each table, and the ledger's own proof."""

    rows: int
    verification: VerificationReport


def export(storage: Storage, clock: Clock, file: IO[bytes]) -> Moved:
    """Write all rows, as of one instant, to a file.

    The ledger is verified at the same instant. Personal fields stay encrypted: the keys are moved
    by the settings.

    Raises:
        Conflict: the ledger is broken, and nothing was written; `System.verify` tells where.
        StorageUnavailable: the database failed.
    """
    count = 0
    with storage.snapshot() as reader:
        report = _sound(verify(reader), "Nothing was exported, since")
        for count, line in enumerate(dump.write(_all(reader), instants.to_text(clock.now()))):  # noqa: B007
            file.write(line)
    return Moved(rows=count - 1, verification=report)


def import_dump(storage: Storage, file: IO[bytes], *, resume: bool = False) -> Moved:
    """Write all rows of a file to a database, and verify the ledger there.

    The file is read twice: to its end before the first row is written, so that one that was cut off
    or changed leaves no trace. Nobody else may write to the database meanwhile.

    Args:
        storage: without any rows.
        file: one that `export` wrote; it can be sought.
        resume: go on where an import of the same file was interrupted.

    Raises:
        InvalidRequest: no such file, or not as it was written; nothing was imported.
        Conflict: the database has other rows; or the ledger in it does not fit.
        StorageUnavailable: the database failed; import again with `resume`.
    """
    start = file.tell()
    rows = sum(1 for _ in dump.read(_lines(file)))
    file.seek(start)
    if not resume and not _is_blank(storage):
        raise Conflict("The database has rows already: import into a blank one.")
    records = dump.read(_lines(file))
    while some := [*islice(records, ROWS_AT_ONCE)]:
        _write(storage, some)
    with storage.snapshot() as reader:
        if sum(1 for _ in _all(reader)) != rows:
            raise Conflict("The database has rows that are not in the file.")
        return Moved(rows=rows, verification=_sound(verify(reader), "All was imported, but"))


def _write(storage: Storage, records: list[Record]) -> None:
    keys = {key_of(record): record for record in records}
    try:
        with storage.transaction() as transaction:
            for key, found in transaction.load(keys).items():
                if found != keys.pop(key):
                    raise Conflict(f"The database has another row in {found.TABLE} of that key.")
            transaction.write([*keys.values()], [])
    except WriteConflict as error:
        raise Conflict("The database has other rows, or somebody else writes to it.") from error


def _all(reader: Reader) -> Iterator[Record]:
    for kind in RECORDS:
        yield from reader.scan(kind, order=(kind.KEY,))


def _is_blank(storage: Storage) -> bool:
    return not any(storage.page(kind, {}, order=(kind.KEY,), limit=1) for kind in RECORDS)


def _lines(file: IO[bytes]) -> Iterable[bytes]:
    while line := file.readline(dump.LINE_BYTES_MAX):
        if not line.endswith(b"\n"):
            raise InvalidRequest("The dump was cut off, or has an endless line.", param="file")
        yield line


def _sound(report: VerificationReport, what: str) -> VerificationReport:
    if report.ok:
        return report
    raise Conflict(f"{what} the ledger is broken: {report.problems[0].message}")
