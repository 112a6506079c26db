"""Every error that PostgreSQL may answer with is one of ours."""

from __future__ import annotations

import pickle

import psycopg
import pytest
from psycopg import errors

from credit_payments.adapters.postgres_errors import of_connecting, of_error, translation
from credit_payments.errors import (
    ConfigurationError,
    CreditPaymentsError,
    SchemaMismatch,
    StorageUnavailable,
)
from credit_payments.ports.storage import WriteConflict


def _subclasses(kind: type[psycopg.Error]) -> list[type[psycopg.Error]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _subclasses(child))]


VENDORS = sorted(set(_subclasses(psycopg.Error)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda kind: kind.__name__)
def test_every_error_of_psycopg_is_mapped(vendor: type[psycopg.Error]) -> None:
    ours = of_error(vendor("Key (user_id)=(s3cret) already exists"))
    assert isinstance(ours, CreditPaymentsError | WriteConflict)
    assert "s3cret" not in str(ours)
    assert not isinstance(ours, psycopg.Error)


@pytest.mark.parametrize(
    ("vendor", "expected"),
    [
        (errors.UniqueViolation, WriteConflict),
        (errors.SerializationFailure, WriteConflict),
        (errors.DeadlockDetected, WriteConflict),
        (errors.LockNotAvailable, WriteConflict),
        (errors.AdminShutdown, StorageUnavailable),
        (errors.CrashShutdown, StorageUnavailable),
        (errors.CannotConnectNow, StorageUnavailable),
        (errors.QueryCanceled, StorageUnavailable),
        (errors.DiskFull, StorageUnavailable),
        (errors.TooManyConnections, StorageUnavailable),
        (errors.OutOfMemory, StorageUnavailable),
        (errors.ReadOnlySqlTransaction, StorageUnavailable),
        (errors.IdleInTransactionSessionTimeout, StorageUnavailable),
        (errors.InvalidSqlStatementName, StorageUnavailable),
        (errors.ConnectionFailure, StorageUnavailable),
        (errors.InsufficientPrivilege, ConfigurationError),
        (errors.InvalidPassword, ConfigurationError),
        (errors.InvalidCatalogName, ConfigurationError),
        (errors.UndefinedTable, SchemaMismatch),
        (errors.UndefinedColumn, SchemaMismatch),
    ],
)
def test_an_error_says_what_to_do_next(
    vendor: type[psycopg.Error], expected: type[Exception]
) -> None:
    assert type(translation(vendor.sqlstate)) is expected


@pytest.mark.parametrize(
    "vendor",
    [
        errors.CheckViolation,
        errors.NotNullViolation,
        errors.ForeignKeyViolation,
        errors.NumericValueOutOfRange,
        errors.CharacterNotInRepertoire,
        errors.UntranslatableCharacter,
        errors.ProgramLimitExceeded,
        errors.RaiseException,
    ],
)
def test_a_row_that_is_refused_is_not_tried_again(vendor: type[psycopg.Error]) -> None:
    ours = translation(vendor.sqlstate)
    assert isinstance(ours, CreditPaymentsError)
    assert ours.error_code == "row_refused"
    assert not ours.retryable
    assert vendor.__name__ in str(ours)


def test_a_code_that_nobody_knows_may_pass() -> None:
    assert isinstance(translation("ZZ999"), StorageUnavailable)
    assert isinstance(translation(None), StorageUnavailable)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("connection failed: … failed: FATAL:  password authentication failed for user", False),
        ('connection failed: … failed: FATAL:  database "x" does not exist', False),
        ("connection failed: … failed: FATAL:  no pg_hba.conf entry for host", False),
        ("connection failed: … failed: FATAL:  the database system is starting up", True),
        ("connection failed: … failed: FATAL:  sorry, too many clients already", True),
        ("connection failed: … failed: Connection refused\n\tIs the server running?", True),
        ("connection timeout expired", True),
    ],
)
def test_a_connection_that_fails_is_a_mistake_or_may_come(message: str, expected: bool) -> None:
    ours = of_connecting(psycopg.OperationalError(message))
    assert isinstance(ours, CreditPaymentsError)
    assert ours.retryable is expected
    assert "\n" not in str(ours)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('connection is bad: invalid port number: "hunter2"', "invalid port number"),
        ('connection is bad: invalid sslmode value: "hunter2"', "invalid sslmode value"),
        ('connection is bad: definition of service "hunter2" not found', "service not found"),
        ("failed to resolve host 'hunter2@db': [Errno -2] Name not known", "Name not known"),
    ],
)
def test_a_value_of_the_url_is_not_told(message: str, reason: str) -> None:
    ours = str(of_connecting(psycopg.OperationalError(message)))
    assert ours.endswith(reason)
    assert "hunter2" not in ours


def test_errors_can_be_pickled() -> None:
    for state in ("22P05", "42501", "57P01", None):
        ours = translation(state)
        assert str(pickle.loads(pickle.dumps(ours))) == str(ours)
