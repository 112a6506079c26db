"""Databases, roles and schemas as others have set them up."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec
import psycopg
import pytest
from psycopg import sql
from tests.support.postgres import ADA, administrator, as_role, system

from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.adapters.postgres_schema import PostgresSchema
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.records import RECORDS, Entry, Wallet
from credit_payments.errors import (
    ConfigurationError,
    CreditPaymentsError,
    SchemaMismatch,
    StorageUnavailable,
)
from credit_payments.migrating import migrate
from credit_payments.testing.contracts.tools import a_row, put


@pytest.fixture
def role(postgres_database: str) -> Iterator[str]:
    """A role that may log in, and nothing else."""
    name = sql.Identifier(role := f"role_{postgres_database.rpartition('_')[2]}")
    with administrator(postgres_database) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    yield role
    with administrator(postgres_database) as owner:
        owner.execute(sql.SQL("DROP OWNED BY {}").format(name))
        owner.execute(sql.SQL("DROP ROLE {}").format(name))


def grant_what_is_needed(url: str, role: str) -> None:
    """As the documentation has it."""
    name = sql.Identifier(role)
    with administrator(url) as owner:
        for kind in RECORDS:
            table = sql.Identifier(kind.TABLE)
            owner.execute(sql.SQL("GRANT SELECT, INSERT ON {} TO {}").format(table, name))
            if kind.MUTABLE:
                columns = sql.SQL(", ").join(map(sql.Identifier, kind.MUTABLE))
                owner.execute(sql.SQL("GRANT UPDATE ({}) ON {} TO {}").format(columns, table, name))
        owner.execute(sql.SQL("GRANT SELECT ON credit_payments_migrations TO {}").format(name))


def alter_database(url: str, setting: str, value: str) -> None:
    with administrator(url) as owner:
        owner.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                sql.Identifier(owner.info.dbname), sql.Identifier(setting), sql.Literal(value)
            )
        )


def assert_does_not_tell(error: BaseException, secret: str) -> None:
    """Neither itself, nor what a log would print with it."""
    assert secret not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("default", ["off", "local", "remote_write", "on", "remote_apply"])
def test_a_commit_is_durable_whatever_the_default_is(postgres_database: str, default: str) -> None:
    alter_database(postgres_database, "synchronous_commit", default)
    with closing(PostgresStorage(postgres_database)) as storage:
        with administrator(postgres_database) as host:
            # The server itself says under which setting the row was written.
            host.execute(
                "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN NEW.head = current_setting('synchronous_commit'); RETURN NEW; END$$"
            )
            host.execute(
                "CREATE TRIGGER tell BEFORE INSERT ON wallets FOR EACH ROW EXECUTE FUNCTION tell()"
            )
        put(storage, ADA)
        row = storage.get(Wallet, "ada")
        assert row is not None
        assert row.head == ("remote_apply" if default == "remote_apply" else "on")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_read_only", "on"),
        ("statement_timeout", "1min"),
        ("TimeZone", "Pacific/Kiritimati"),
        ("DateStyle", "German, DMY"),
        ("client_encoding", "LATIN1"),
        ("bytea_output", "escape"),
        ("array_nulls", "off"),
        ("extra_float_digits", "-15"),
    ],
)
def test_defaults_of_the_database_change_nothing(
    postgres_database: str, setting: str, value: str
) -> None:
    alter_database(postgres_database, setting, value)
    rows = [a_row(kind, "שלום 💳", optional="given") for kind in RECORDS]
    with closing(PostgresStorage(postgres_database)) as storage:
        put(storage, *rows)
        assert [storage.get(kind, "שלום 💳") for kind in RECORDS] == rows
    with system(PostgresStorage(postgres_database)) as opened:
        opened.wallets.grant("ada", 5, key="one", reason="test")
        assert opened.wallets.spend("ada", 2, key="two").credits == -2


def test_the_ledger_may_have_a_schema_of_its_own(postgres_database: str) -> None:
    with administrator(postgres_database) as host:
        host.execute("CREATE SCHEMA credits")
        host.execute("CREATE TABLE events (id int)")
    url = f"{postgres_database}?options=-csearch_path%3Dcredits"
    with closing(PostgresStorage(url)) as storage:
        put(storage, ADA)
    with administrator(postgres_database) as host:
        assert host.execute("SELECT user_id FROM credits.wallets").fetchall() == [("ada",)]
        assert host.execute("SELECT to_regclass('public.wallets')").fetchall() == [(None,)]


def test_a_table_of_the_host_that_has_our_name_is_named(postgres_database: str) -> None:
    with administrator(postgres_database) as host:
        host.execute("CREATE TABLE events (id int)")
    with pytest.raises(ConfigurationError, match=r"names.*: events; .*search_path"):
        PostgresStorage(postgres_database)
    with administrator(postgres_database) as host:
        assert host.execute("SELECT to_regclass('wallets')").fetchall() == [(None,)]


def test_another_tools_migrations_are_not_taken_for_ours(postgres_database: str) -> None:
    with administrator(postgres_database) as host:
        host.execute("CREATE TABLE credit_payments_migrations (version text PRIMARY KEY)")
    with pytest.raises(ConfigurationError, match="search_path"):
        PostgresStorage(postgres_database)


def test_a_search_path_to_nowhere_is_named(postgres_database: str) -> None:
    with pytest.raises(ConfigurationError, match="search_path"):
        PostgresStorage(f"{postgres_database}?options=-csearch_path%3Dnowhere")


def test_a_database_that_keeps_no_unicode_is_refused(postgres_url: str) -> None:
    with administrator(postgres_url) as owner:
        owner.execute(
            "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc "
            "LOCALE 'C'"
        )
        try:
            with pytest.raises(ConfigurationError, match="LATIN1"):
                PostgresStorage(f"{postgres_url.rpartition('/')[0]}/latin")
        finally:
            owner.execute("DROP DATABASE latin WITH (FORCE)")


def test_whoever_may_not_create_is_told_what_to_run(postgres_database: str, role: str) -> None:
    with pytest.raises(ConfigurationError, match="credit-payments migrate"):
        PostgresStorage(as_role(postgres_database, role))


def test_a_blank_database_is_left_as_it_is_when_told_so(postgres_database: str) -> None:
    with pytest.raises(SchemaMismatch, match="credit-payments migrate"):
        PostgresStorage(postgres_database, create=False)
    with administrator(postgres_database) as host:
        assert host.execute("SELECT to_regclass('wallets')").fetchall() == [(None,)]


def test_a_newer_database_is_refused(postgres_database: str) -> None:
    PostgresStorage(postgres_database).close()
    with administrator(postgres_database) as host:
        host.execute("INSERT INTO credit_payments_migrations VALUES (99, 'later', 'x', 'now')")
    with pytest.raises(SchemaMismatch, match="install a newer"):
        PostgresStorage(postgres_database)


def test_the_least_rights_suffice_and_entries_cannot_be_changed(
    postgres_database: str, role: str
) -> None:
    with closing(PostgresSchema(postgres_database)) as schema:
        migrate(schema, SystemClock())
    grant_what_is_needed(postgres_database, role)
    url = as_role(postgres_database, role)
    with system(PostgresStorage(url)) as opened:
        opened.wallets.grant("ada", 5, key="one", reason="test")
        opened.wallets.spend("ada", 2, key="two")
        with opened.wallets.hold("ada", 2, key="three", ttl=60) as hold:
            hold.capture(1)
        assert opened.wallets.balance("ada").available == 2
        assert opened.verify().ok
    with administrator(url) as thief:
        for theft in (
            "UPDATE entries SET credits = 1000",
            "DELETE FROM entries",
            "UPDATE lots SET user_id = 'eve'",
            "DELETE FROM wallets",
            "TRUNCATE entries",
            "DROP TABLE entries",
            "CREATE TABLE mine (id int)",
            "UPDATE credit_payments_migrations SET version = 0",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                thief.execute(theft.encode())


def test_all_rows_can_be_updated_with_the_least_rights(postgres_database: str, role: str) -> None:
    PostgresStorage(postgres_database).close()
    grant_what_is_needed(postgres_database, role)
    with closing(PostgresStorage(as_role(postgres_database, role))) as storage:
        for kind in RECORDS:
            row = a_row(kind, "one")
            put(storage, row)
            if kind.MUTABLE:
                with storage.transaction() as transaction:
                    transaction.load([(kind, "one")])
                    transaction.write([], [row])


def test_a_missing_right_is_named_and_no_value(postgres_database: str, role: str) -> None:
    PostgresStorage(postgres_database).close()
    grant_what_is_needed(postgres_database, role)
    with administrator(postgres_database) as owner:
        owner.execute(sql.SQL("REVOKE INSERT ON entries FROM {}").format(sql.Identifier(role)))
    with closing(PostgresStorage(as_role(postgres_database, role))) as storage:
        with pytest.raises(ConfigurationError, match="permission denied for table entries") as told:
            put(storage, a_row(Entry, "grant:" + "ada" * 3, user_id="ada", sequence=1))
        assert_does_not_tell(told.value, "adaadaada")


def test_a_table_that_vanished_is_a_schema_mismatch(postgres_database: str) -> None:
    with closing(PostgresStorage(postgres_database)) as storage:
        with administrator(postgres_database) as host:
            host.execute("ALTER TABLE wallets RENAME TO purses")
        with pytest.raises(SchemaMismatch):
            storage.get(Wallet, "ada")
        with pytest.raises(SchemaMismatch):
            put(storage, ADA)
        with administrator(postgres_database) as host:
            host.execute("ALTER TABLE purses RENAME TO wallets")
        put(storage, ADA)
        assert storage.get(Wallet, "ada") == ADA


def test_a_row_that_the_host_refuses_is_refused_without_its_values(postgres_database: str) -> None:
    with closing(PostgresStorage(postgres_database)) as storage:
        with administrator(postgres_database) as host:
            host.execute("ALTER TABLE wallets ADD CHECK (available < 10)")
        with pytest.raises(CreditPaymentsError) as told:
            put(storage, msgspec.structs.replace(ADA, user_id="ada" * 3, available=10))
        assert told.value.error_code == "row_refused"
        assert not told.value.retryable
        assert_does_not_tell(told.value, "adaadaada")
        put(storage, ADA)


def test_of_several_that_start_at_once_one_makes_the_tables(postgres_database: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        opening = [threads.submit(PostgresStorage, postgres_database) for _ in range(6)]
        for storage in opening:
            storage.result(30).close()
    with administrator(postgres_database) as owner:
        found = owner.execute(
            "SELECT version FROM credit_payments_migrations ORDER BY version"
        ).fetchall()
    assert found == [(step.version,) for step in PostgresSchema.migrations]


def test_who_waits_too_long_for_another_migration_may_try_again(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.postgres_schema.LOCK_SECONDS_MAX", 1)
    with (
        closing(PostgresSchema(postgres_database)) as one,
        closing(PostgresSchema(postgres_database)) as other,
        one.locked(),
        pytest.raises(StorageUnavailable),
        other.locked(),
    ):
        raise AssertionError("both hold the lock")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:s3cret@127.0.0.1:1/x", "refused"),
        ("postgresql://u:s3cret@no.such.host.invalid/x", "not known|resolution"),
        ("postgresql://u:p@s3cret@no.such.host.invalid/x", "not known|resolution"),
    ],
)
def test_a_server_that_is_not_there_may_come_and_no_secret_is_told(url: str, message: str) -> None:
    with pytest.raises(StorageUnavailable, match=message) as told:
        PostgresStorage(url)
    assert_does_not_tell(told.value, "s3cret")


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:s3cret@h/x?nope=1", "s3cret", "s3cret=s3cret"],
)
def test_a_url_that_cannot_be_read_is_a_mistake_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        PostgresStorage(url)
    assert_does_not_tell(told.value, "s3cret")


def test_a_database_or_a_role_that_does_not_exist_is_a_mistake(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        PostgresStorage(f"{postgres_url.rpartition('/')[0]}/nowhere")
    with pytest.raises(ConfigurationError, match="does not exist"):
        PostgresStorage(as_role(postgres_url, "nobody"))
