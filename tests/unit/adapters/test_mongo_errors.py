"""Every error of the driver becomes one of ours, and none tells what it should not."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import bson
import bson.errors
import pymongo
import pytest
from pymongo import errors

from credit_payments.adapters.mongo_errors import of_code, translated, translation, within
from credit_payments.errors import ConfigurationError, CreditPaymentsError, StorageUnavailable
from credit_payments.ports.storage import WriteConflict

SECRET = "ada@example.com"


def every_class() -> Iterator[type[Exception]]:
    for module in (errors, bson.errors):
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, errors.PyMongoError | bson.errors.BSONError):
                yield found


def made(kind: Any) -> Any:
    """One of a class; each takes other arguments, and some need what only a server tells."""
    if issubclass(kind, errors.BulkWriteError):
        return kind({"writeErrors": [{"code": 11000, "errmsg": SECRET}]})
    if issubclass(kind, errors.ClientBulkWriteException):
        return kind({"error": None, "writeErrors": [{"code": 11000}]}, verbose=False)
    if issubclass(kind, errors.EncryptedCollectionError):
        return kind(Exception(SECRET), {})
    if issubclass(kind, errors.EncryptionError):
        return kind(Exception(SECRET))
    return kind(SECRET)


@pytest.mark.parametrize(
    "kind", sorted(set(every_class()), key=str), ids=lambda kind: kind.__name__
)
def test_every_class_of_the_driver_is_translated(kind: type[Exception]) -> None:
    told = translation(made(kind))
    assert isinstance(told, CreditPaymentsError | WriteConflict)
    assert SECRET not in str(told)


def test_why_a_server_cannot_be_reached_is_told_in_words_of_our_own_choice() -> None:
    told = translation(
        errors.ServerSelectionTimeoutError(f"{SECRET}:1: Connection refused {SECRET}")
    )
    assert str(told).endswith("(ServerSelectionTimeoutError: Connection refused).")


@pytest.mark.parametrize("code", [112, 11000])
def test_another_writer_is_a_conflict(code: int) -> None:
    assert isinstance(translation(errors.OperationFailure(SECRET, code)), WriteConflict)


def test_the_first_of_several_writes_that_failed_says_why() -> None:
    failed = errors.BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 121}]})
    assert isinstance(translation(failed), WriteConflict)
    refused = translation(errors.BulkWriteError({"writeErrors": [{"code": 121}]}))
    assert isinstance(refused, CreditPaymentsError)
    assert refused.error_code == "row_refused"
    unknown = translation(errors.BulkWriteError({"writeErrors": []}))
    assert isinstance(unknown, StorageUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        errors.AutoReconnect(SECRET),
        errors.NetworkTimeout(SECRET),
        errors.NotPrimaryError(SECRET),
        errors.ServerSelectionTimeoutError(SECRET),
        errors.WaitQueueTimeoutError(SECRET),
        errors.ExecutionTimeout(SECRET, 50),
        errors.WTimeoutError(SECRET, 64),
        errors.WriteConcernError(SECRET, 100),
        errors.InvalidOperation("Cannot use MongoClient after close"),
        errors.OperationFailure(SECRET, 251, {"codeName": "NoSuchTransaction"}),
        errors.OperationFailure(SECRET, 239, {"codeName": "SnapshotTooOld"}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_work_later_is_unavailable(error: errors.PyMongoError) -> None:
    told = translation(error)
    assert type(told) is StorageUnavailable
    assert SECRET not in str(told)


@pytest.mark.parametrize(
    "error",
    [
        errors.OperationFailure(SECRET, 18, {"codeName": "AuthenticationFailed"}),
        errors.OperationFailure(SECRET, 13, {"codeName": "Unauthorized"}),
        errors.InvalidURI(SECRET),
        errors.ConfigurationError(SECRET),
    ],
    ids=str,
)
def test_what_has_to_be_configured_is_told_so(error: errors.PyMongoError) -> None:
    told = translation(error)
    assert isinstance(told, ConfigurationError)
    assert told.param == "database"
    assert SECRET not in str(told)


def test_a_snapshot_that_is_too_old_says_what_to_set() -> None:
    told = of_code(239, {"codeName": "SnapshotTooOld"})
    assert "minSnapshotHistoryWindowInSeconds" in str(told)


def test_an_error_that_quotes_values_is_not_kept_as_the_cause() -> None:
    with pytest.raises(WriteConflict) as caught, translated():
        raise errors.DuplicateKeyError(f"dup key: {{ _id: {SECRET} }}", 11000)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    with pytest.raises(StorageUnavailable) as kept, translated():
        raise errors.AutoReconnect("connection closed")
    assert isinstance(kept.value.__cause__, errors.AutoReconnect)


@pytest.mark.parametrize("value", ["ada\ud800", 2**64])
def test_a_value_that_has_no_form_there_is_refused_without_being_told(value: object) -> None:
    with pytest.raises(CreditPaymentsError) as caught, translated():
        bson.encode({"_id": value})
    assert caught.value.error_code == "row_refused"
    assert str(value)[:3] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), within(1.0):
        raise ZeroDivisionError


def test_an_inner_time_limit_does_not_outlast_an_outer_one() -> None:
    with within(1.0), within(60.0):
        remaining = pymongo._csot.remaining()
        assert remaining is not None
        assert remaining <= 1.0
