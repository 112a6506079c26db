"""What is made of a database: each decision by itself."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from credit_payments.domain.diagnosis import Finding
from credit_payments.domain.findings import database
from credit_payments.domain.migrations import Migration, check_current
from credit_payments.domain.traits import DatabaseSetting, DatabaseTraits, Index, MissingIndex
from credit_payments.errors import (
    ConfigurationError,
    CreditPaymentsError,
    SchemaMismatch,
    StorageUnavailable,
)

GOOD = DatabaseTraits(
    kind="PostgreSQL 18.4",
    settings=(DatabaseSetting("fsync", "on", "on", fits=True),),
    missing_rights=(),
    unchecked=(),
)
LISTING = MissingIndex(Index("lots", ("user_id", "open")), "CREATE INDEX …;")
KEEPING_ONE = MissingIndex(Index("entries", ("user_id",), unique=True), "CREATE UNIQUE INDEX …;")


def findings(is_live: bool = False, **changes: Any) -> dict[str, Finding]:
    traits = attrs.evolve(GOOD, **changes)
    found = list(database.of_traits(traits, is_live=is_live, schema_version=3))
    named = {one.name: one for one in found}
    assert len(named) == len(found)
    return named


def changed(is_live: bool = False, **changes: Any) -> Finding:
    """The one finding that is not as it was."""
    (one,) = set(findings(is_live, **changes).values()) - set(findings().values())
    return one


def test_a_database_that_is_well_has_only_good_findings() -> None:
    assert {one.level for one in findings(is_live=True).values()} == {"ok"}
    assert list(findings()) == [
        "database",
        "database.schema",
        "database.durability",
        "database.tables",
        "database.indexes",
        "database.rights",
        "database.checks",
    ]
    assert findings()["database"].said == "PostgreSQL 18.4 answers"


def test_what_a_database_does_not_have_is_not_told() -> None:
    none = database.of_traits(
        DatabaseTraits(kind="memory", is_kept=False), is_live=False, schema_version=None
    )
    assert [one.name for one in none] == ["database"]


@pytest.mark.parametrize(
    ("lacking", "said"),
    [("is_kept", "gone with the process"), ("has_transactions", "half of a write")],
)
def test_one_for_development_is_a_warning_and_with_a_live_key_a_problem(
    lacking: str, said: str
) -> None:
    test = findings(**{lacking: False})["database"]
    assert test.level == "warning"
    assert said in test.said
    live = findings(is_live=True, **{lacking: False})["database"]
    assert (live.name, live.level) == ("database", "problem")
    assert "the key is live" in live.said


def test_one_that_only_reads_is_a_problem() -> None:
    found = changed(is_writable=False)
    assert (found.name, found.level) == ("database.writes", "problem")


def test_a_setting_that_loses_what_was_acknowledged_is_a_problem_with_what_to_set() -> None:
    found = changed(
        settings=(
            DatabaseSetting("fsync", "off", "on", fits=False),
            DatabaseSetting("synchronous_commit", "on", "on", fits=True),
        )
    )
    assert (found.name, found.level) == ("database.durability", "problem")
    assert found.said.startswith("fsync is off:")
    assert found.advice == "set fsync to on"


def test_a_missing_index_is_named_with_the_statement_that_makes_it() -> None:
    found = changed(missing_indexes=(LISTING,))
    assert (found.name, found.level) == ("database.indexes", "warning")
    assert "lots (user_id, open)" in found.said
    assert found.advice == "CREATE INDEX …;"


def test_a_missing_unique_index_is_a_problem() -> None:
    found = changed(missing_indexes=(LISTING, KEEPING_ONE))
    assert found.level == "problem"
    assert "entries (user_id)" in found.said
    assert found.advice == "CREATE INDEX …;\nCREATE UNIQUE INDEX …;"


def test_of_a_table_that_is_gone_nothing_else_is_told() -> None:
    found = changed(
        missing_tables=("lots",), missing_indexes=(LISTING,), missing_rights=(), unchecked=("lots",)
    )
    assert (found.name, found.level) == ("database.tables", "problem")
    assert found.said == "missing: lots"
    assert "restore a backup" in str(found.advice), "an index cannot be made on what is not there"
    both = findings(missing_tables=("lots",), missing_indexes=(LISTING, KEEPING_ONE))
    assert both["database.indexes"].advice == KEEPING_ONE.remedy


def test_a_right_that_is_missing_comes_with_its_grant() -> None:
    found = changed(missing_rights=("GRANT INSERT ON entries TO shop;",))
    assert (found.name, found.level) == ("database.rights", "problem")
    assert found.advice == "GRANT INSERT ON entries TO shop;"


def test_documents_that_nobody_checks_are_a_warning() -> None:
    found = changed(unchecked=("entries", "lots"))
    assert (found.name, found.level) == ("database.checks", "warning")
    assert "entries, lots" in found.said


def test_a_schema_that_is_behind_is_to_be_migrated() -> None:
    steps = [Migration(1, "one", "…"), Migration(2, "two", "…")]
    with pytest.raises(SchemaMismatch) as behind:
        check_current(steps, [])
    found = database.of_error(behind.value)
    assert (found.name, found.level) == ("database.schema", "problem")
    assert "then run `credit-payments migrate --database …`" in str(found.advice)


def test_a_schema_that_is_ahead_wants_another_release() -> None:
    found = database.of_error(SchemaMismatch("The database has schema version 9."))
    assert found.name == "database.schema"
    assert "migrate" not in str(found.advice)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (StorageUnavailable("down"), "Stripe delivers them again"),
        (ConfigurationError("There is no database x.", param="database"), "mend the URL"),
    ],
)
def test_one_that_cannot_be_asked_is_a_problem(error: CreditPaymentsError, advice: str) -> None:
    found = database.of_error(error)
    assert (found.name, found.level, found.said) == ("database", "problem", error.message)
    assert advice in str(found.advice)
