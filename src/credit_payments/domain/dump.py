"""All rows as JSON lines, between any two databases.

The first line says what it is, each of the others holds one row by the names of its fields, and the
last one how many there were of each kind, with a digest over all lines before it. So a file that
was cut off, or changed on its way, is told from a whole one before the first row is written.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

import msgspec

from credit_payments.domain.records import RECORDS, Record
from credit_payments.errors import Conflict, InvalidRequest

LINE_BYTES_MAX = 64 * 1024 * 1024
"""Of one row, which is read whole: an entry that takes from a quarter of a million lots."""

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_KINDS = {kind.TABLE: kind for kind in RECORDS}
T = TypeVar("T")


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: Literal["credit-payments"]
    version: Literal[1]
    exported_at: str


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the lines between."""

    table: str
    row: dict[str, str | int | None]


class Tail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line: the rows of each table, and a digest over all lines before."""

    rows: dict[str, int]
    sha256: str


def write(records: Iterable[Record], exported_at: str) -> Iterator[bytes]:
    """The lines of a dump, each with its line feed.

    Raises:
        Conflict: a row is longer than what would be read again.
    """
    digest = hashlib.sha256()
    rows = dict.fromkeys(_KINDS, 0)

    def lines() -> Iterator[object]:
        yield Head("credit-payments", 1, exported_at)
        for record in records:
            rows[record.TABLE] += 1
            yield Row(record.TABLE, msgspec.structs.asdict(record))

    for line in lines():
        text = msgspec.json.encode(line) + b"\n"
        if len(text) > LINE_BYTES_MAX:
            raise Conflict("A row is too long to be moved.")
        digest.update(text)
        yield text
    yield msgspec.json.encode(Tail(rows, digest.hexdigest())) + b"\n"


def read(lines: Iterable[bytes]) -> Iterator[Record]:
    """The rows of a dump, one by one; whoever has read to the end has read a whole one.

    Raises:
        InvalidRequest: it is no dump, was cut off, or was changed since it was written.
    """
    digest = hashlib.sha256()
    rows: Counter[str] = Counter()
    before = b""
    for number, line in enumerate(lines):
        if number == 0:
            _decode(line, Head, "The file is no dump of this version.")
        elif number > 1:
            record = _record(before)
            rows[record.TABLE] += 1
            yield record
        digest.update(before)
        before = line
    tail = _decode(before, Tail, "The dump was cut off.")
    # Another release may know other tables; without rows they make no difference.
    counted = {table: count for table, count in tail.rows.items() if count}
    if tail.sha256 != digest.hexdigest() or counted != +rows:
        raise InvalidRequest("The dump was changed since it was written.", param="file")


def _record(line: bytes) -> Record:
    row = _decode(line, Row, "The dump has a line that is no row.")
    kind = _KINDS.get(row.table)
    if kind is None:
        raise InvalidRequest(f"The dump has rows of an unknown table {row.table!r}.", param="file")
    if any(
        isinstance(value, int) and not INT_MIN <= value <= INT_MAX for value in row.row.values()
    ):
        raise InvalidRequest("The dump has a number that no database can keep.", param="file")
    if any(isinstance(value, str) and "\0" in value for value in row.row.values()):
        raise InvalidRequest("The dump has a text that not every database can keep.", param="file")
    try:
        # Through the constructor for the defaults of fields that an older dump does not have, and
        # then through the types.
        return msgspec.convert(msgspec.structs.astuple(kind(**row.row)), kind)
    except (TypeError, msgspec.ValidationError):
        complaint = f"The dump has a row of {row.table} that is none."
        raise InvalidRequest(complaint, param="file") from None


def _decode(line: bytes, kind: type[T], complaint: str) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Without its cause, which may quote the line.
        raise InvalidRequest(complaint, param="file") from None
