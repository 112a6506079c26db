"""What is observed of a PostgreSQL database: well, and with each thing amiss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from psycopg import sql
from tests.integration.test_postgres_settings import (  # noqa: F401 - one is a fixture
    grant_what_is_needed,
    role,
)
from tests.support.postgres import administrator, as_role, terminate_all
from tests.support.servers import postgres
from tests.support.servers.fixtures import skipping_where_missing

from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.domain.traits import DatabaseTraits, Index
from credit_payments.errors import ConfigurationError, StorageUnavailable

LISTING = Index("lots", ("user_id", "open", "priority", "expires_at", "sequence"))
EXPIRING = Index("lots", ("user_id", "open", "expires_at", "sequence"), ending="expires_at")
ONLY_ONE = Index("entries", ("user_id", "sequence"), unique=True)
KEY = Index("wallets", ("user_id",), unique=True)


def run(url: str, *statements: str) -> None:
    with administrator(url) as owner:
        for statement in statements:
            owner.execute(statement.encode())


def observed(url: str) -> DatabaseTraits:
    with closing(PostgresStorage(url, create=False)) as storage:
        return storage.inspect()


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    """One for all tests of this module, each of which leaves it as it found it."""
    with postgres.temporary_database(postgres_url) as url:
        PostgresStorage(url).close()
        yield url


@pytest.fixture
def mended(database: str) -> Iterator[str]:
    yield database
    run(database, "DROP INDEX IF EXISTS other")
    run(database, *(one.remedy for one in observed(database).missing_indexes))


def test_a_database_as_it_was_made_lacks_nothing(database: str) -> None:
    traits = observed(database)
    assert traits.kind.startswith("PostgreSQL ")
    assert (traits.is_kept, traits.has_transactions, traits.is_writable) == (True, True, True)
    assert {one.name: one.value for one in traits.settings} == {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
    }
    assert (traits.missing_indexes, traits.missing_rights, traits.unchecked) == ((), (), None)


@pytest.mark.parametrize("index", [LISTING, EXPIRING, ONLY_ONE], ids=lambda index: index.name)
def test_an_index_that_was_dropped_is_missed_and_its_remedy_brings_it_back(
    database: str, index: Index
) -> None:
    run(database, f"DROP INDEX {index.name}")
    (found,) = observed(database).missing_indexes
    assert found.index == index
    run(database, found.remedy)
    assert observed(database).missing_indexes == ()


@pytest.mark.parametrize(
    ("index", "instead"),
    [
        (KEY, "ALTER TABLE wallets DROP CONSTRAINT IF EXISTS wallets_pkey"),
        (ONLY_ONE, "CREATE INDEX other ON entries (user_id, sequence)"),
        (LISTING, f"CREATE INDEX other ON lots ({', '.join(LISTING.columns)}) WHERE open = 1"),
        (LISTING, f"CREATE INDEX other ON lots ({', '.join(LISTING.columns[:-1])})"),
    ],
)
def test_an_index_that_does_not_do_the_same_does_not_count(
    mended: str, index: Index, instead: str
) -> None:
    run(mended, f"DROP INDEX IF EXISTS {index.name}", instead)
    assert [one.index for one in observed(mended).missing_indexes] == [index]


def test_an_index_that_was_never_finished_does_not_count(database: str) -> None:
    finish = (
        "UPDATE pg_index SET indisvalid = {} "
        "WHERE indexrelid = 'entries_by_user_id_sequence'::regclass"
    )
    run(database, finish.format("false"))
    assert [one.index for one in observed(database).missing_indexes] == [ONLY_ONE]
    run(database, finish.format("true"))
    assert observed(database).missing_indexes == ()


def test_the_least_rights_suffice_to_look_and_one_that_is_missing_comes_with_its_grant(
    postgres_database: str,
    role: str,  # noqa: F811 - the fixture
) -> None:
    PostgresStorage(postgres_database).close()
    grant_what_is_needed(postgres_database, role)
    url = as_role(postgres_database, role)
    assert observed(url).missing_rights == ()
    run(
        postgres_database,
        f"REVOKE INSERT ON entries FROM {role}",
        f"REVOKE UPDATE (head) ON wallets FROM {role}",
    )
    rights = observed(url).missing_rights or ()
    assert [right.partition(" (")[0] for right in rights] == [
        "GRANT UPDATE",
        f"GRANT INSERT ON entries TO {role};",
    ]
    run(postgres_database, *rights)
    assert observed(url).missing_rights == ()


def test_who_may_not_even_read_the_version_is_told_that(
    postgres_database: str,
    role: str,  # noqa: F811 - the fixture
) -> None:
    PostgresStorage(postgres_database).close()
    with pytest.raises(ConfigurationError, match="GRANT SELECT ON credit_payments_migrations"):
        observed(as_role(postgres_database, role))


def test_a_table_that_was_dropped_is_missed(postgres_database: str) -> None:
    PostgresStorage(postgres_database).close()
    run(postgres_database, "DROP TABLE quarantine", "DROP TABLE events")
    traits = observed(postgres_database)
    assert traits.missing_tables == ("events", "quarantine")
    assert {one.index.table for one in traits.missing_indexes} == {"events", "quarantine"}
    assert traits.missing_rights == ()


def test_the_settings_are_those_of_our_own_transactions(database: str) -> None:
    with administrator(database) as owner:
        name = sql.Identifier(owner.info.dbname)
        owner.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        assert all(one.fits for one in observed(database).settings)
        owner.execute(sql.SQL("ALTER DATABASE {} RESET synchronous_commit").format(name))


def test_the_tables_are_those_on_our_own_path(postgres_database: str) -> None:
    run(postgres_database, "CREATE SCHEMA credits", "CREATE TABLE lots (lot_id text)")
    url = f"{postgres_database}?options=-csearch_path%3Dcredits"
    PostgresStorage(url).close()
    assert observed(url).missing_indexes == ()
    run(postgres_database, f"DROP INDEX credits.{LISTING.name}")
    assert [one.index for one in observed(url).missing_indexes] == [LISTING]


def test_a_lost_connection_is_replaced_and_a_closed_storage_says_so(database: str) -> None:
    with closing(PostgresStorage(database)) as storage:
        storage.inspect()
        terminate_all(database)
        assert storage.inspect().is_writable
    with pytest.raises(StorageUnavailable):
        storage.inspect()


def test_a_server_that_does_not_wait_for_its_disk_does_not_fit_nor_one_that_only_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as stack:
        with skipping_where_missing():
            monkeypatch.setattr(postgres, "_SETTINGS", {"fsync": "off", "full_page_writes": "off"})
            server = stack.enter_context(postgres.PostgresServer())
        stack.enter_context(pytest.warns(RuntimeWarning, match="power loss"))
        PostgresStorage(server.url).close()
        assert {one.name: one.fits for one in observed(server.url).settings} == {
            "fsync": False,
            "full_page_writes": False,
            "synchronous_commit": True,
        }
        server.process.kill()
        (server.process.directory / "data" / "standby.signal").touch()
        server.process.ready = "ready to accept read-only connections"
        server.process.start()
        follower = observed(server.url)
        assert (follower.is_writable, follower.settings) == (False, ())
        assert follower.missing_indexes == ()
