"""The one place where MongoDB's errors become the port's.

The server quotes what it was given: a duplicate key with its values, a document that was refused
with what was wrong in it. So its errors are told by name and number only, and are not kept as the
cause of ours, which logs would print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pymongo
from bson.errors import BSONError
from pymongo import errors

from credit_payments.errors import ConfigurationError, CreditPaymentsError, StorageUnavailable
from credit_payments.ports.storage import WriteConflict

# https://www.mongodb.com/docs/manual/reference/error-codes/
_TAKEN = {112: "another transaction wrote first", 11000: "a unique key exists already"}
_REFUSED_USER = {13, 18, 8000}
_INVALID_DOCUMENT = {121, 10334, 17280, 17419}
_TIMED_OUT = {50, 64, 202, 262}
_SNAPSHOT_TOO_OLD = {239, 246}
_CAUSES = re.compile(
    "Connection refused|Name or service not known|No route to host|certificate verify failed|"
    "timed out|No replica set members"
)
"""What a driver's error may say besides names of servers; the rest of it is not passed on."""
_UNENCODABLE = (BSONError, UnicodeEncodeError, OverflowError)
"""What bson raises for values that it has no form for: half of a character, ints over 64 bits."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise the port's errors in place of MongoDB's."""
    try:
        yield
    except (errors.PyMongoError, *_UNENCODABLE) as error:
        told = translation(error)
        quotes_values = isinstance(error, (errors.OperationFailure, *_UNENCODABLE))
        raise told from (None if quotes_values else error)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """The same, and all that is done in the block ends in time: waiting for a server included.

    Each command tells the server how long it may take, too (`maxTimeMS`).
    See https://www.mongodb.com/docs/languages/python/pymongo-driver/current/connect/connection-options/csot/.
    """
    with translated(), pymongo.timeout(seconds):
        yield


def translation(error: Exception) -> Exception:
    """What the port raises for an error of pymongo or bson."""
    if isinstance(error, errors.OperationFailure):
        return of_code(_code(error), error.details or {})
    if isinstance(error, errors.ConfigurationError):  # an invalid URL is one, too
        return ConfigurationError(
            f"The MongoDB database cannot be used as it is configured ({type(error).__name__}).",
            param="database",
        )
    if isinstance(error, _UNENCODABLE):  # a document that is too large is one, too
        return CreditPaymentsError(
            f"MongoDB cannot hold a row ({type(error).__name__}).", code="row_refused"
        )
    cause = _CAUSES.search(str(error))
    told = ": ".join([type(error).__name__, *([cause[0]] if cause else [])])
    return StorageUnavailable(f"The MongoDB database cannot be reached ({told}).")


def of_code(code: int | None, answer: Mapping[str, Any]) -> Exception:
    """What the port raises for an error of the server, or for one of a write within its answer."""
    if code in _TAKEN:
        return WriteConflict(_TAKEN[code])
    told = f"{answer.get('codeName', 'error')}, {code}"
    if code in _REFUSED_USER:
        return ConfigurationError(
            f"The MongoDB database refuses its user ({told}).", param="database"
        )
    if code in _INVALID_DOCUMENT:
        return CreditPaymentsError(f"MongoDB refused a row ({told}).", code="row_refused")
    if code in _TIMED_OUT:
        return StorageUnavailable(f"The MongoDB database did not answer in time ({told}).")
    if code in _SNAPSHOT_TOO_OLD:
        return StorageUnavailable(
            f"What was read is older than the MongoDB database keeps the past ({told}): set its "
            "parameter minSnapshotHistoryWindowInSeconds higher."
        )
    return StorageUnavailable(f"The MongoDB database failed ({told}).")


def _code(error: errors.OperationFailure) -> int | None:
    """Of several writes in one call the first that failed says what was wrong."""
    if isinstance(error, errors.BulkWriteError):
        failed = (error.details or {}).get("writeErrors") or [{}]
        return failed[0].get("code", error.code)  # type: ignore[no-any-return]
    return error.code
