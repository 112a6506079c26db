"""Which tables are meant: names that others give theirs, before and after ours were made."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from tests.support.postgres import administrator, system

import credit_payments as cp
from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.adapters.postgres_schema import PostgresSchema
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.records import Event, Wallet
from credit_payments.migrating import migrate


def _on_path(url: str, path: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{path}"


@pytest.fixture
def funded(postgres_database: str) -> Iterator[cp.System]:
    with system(PostgresStorage(postgres_database)) as opened:
        opened.wallets.grant("ada", 10, key="opening", reason="opening")
        yield opened


def test_a_schema_that_comes_before_ours_later_makes_no_second_ledger(
    postgres_database: str, funded: cp.System
) -> None:
    url = _on_path(postgres_database, "app,public")
    with system(PostgresStorage(url)) as running:
        assert running.wallets.balance("ada").available == 10
        with administrator(postgres_database) as owner:
            owner.execute("CREATE SCHEMA app")
            owner.execute("CREATE TABLE app.wallets AS SELECT * FROM public.wallets")
        with system(PostgresStorage(url)) as second:
            assert second.wallets.balance("ada").available == 10
            again = second.wallets.grant("ada", 10, key="opening", reason="opening")
        running.wallets.spend("ada", 3, key="job")
        assert again.balance_after == 10
        assert running.wallets.balance("ada").available == 7
    assert funded.wallets.balance("ada").available == 7
    assert funded.verify().ok


@pytest.mark.parametrize("name", ["Credits", 'odd "name"', "credits"])
def test_a_schema_of_any_name_is_the_ledgers_own(postgres_database: str, name: str) -> None:
    quoted = name.replace('"', '""')
    with administrator(postgres_database) as owner:
        owner.execute(f'CREATE SCHEMA "{quoted}"'.encode())
        database = owner.info.dbname
        owner.execute(f'ALTER DATABASE "{database}" SET search_path TO "{quoted}"'.encode())
    for balance in (1, 2):
        with system(PostgresStorage(postgres_database)) as opened:
            granted = opened.wallets.grant("ada", 1, key=f"{balance}", reason="given")
            assert granted.balance_after == balance


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_table_of_the_hosts_with_one_of_our_names_is_refused_before_the_first_step(
    postgres_database: str, *, dry_run: bool
) -> None:
    with administrator(postgres_database) as owner:
        owner.execute("CREATE TABLE payments (mine text)")
        owner.execute("CREATE TABLE users (name text)")
        refused = pytest.raises(cp.ConfigurationError, match=r": payments; .*search_path")
        with closing(PostgresSchema(postgres_database)) as schema, refused:
            migrate(schema, SystemClock(), dry_run=dry_run)
        with pytest.raises(cp.ConfigurationError, match=r": payments; .*search_path"):
            PostgresStorage(postgres_database)
        owner.execute("CREATE SCHEMA credits")
        with system(PostgresStorage(_on_path(postgres_database, "credits,public"))) as opened:
            opened.wallets.grant("ada", 10, key="opening", reason="opening")
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        assert owner.execute(tables).fetchall() == [("payments",), ("users",)]


@pytest.mark.parametrize("table", ["entries", "wallets", "lots", "events"])
def test_a_hosts_temporary_table_of_our_name_is_refused(
    postgres_database: str, funded: cp.System, table: str
) -> None:
    with psycopg.connect(postgres_database) as host:
        host.execute(f"CREATE TEMP TABLE {table} (LIKE {table})".encode())
        host.commit()
        with pytest.raises(cp.InvalidRequest, match="other tables"):
            funded.wallets.within(host).spend("ada", 3, key="job")
        host.rollback()
    assert funded.wallets.balance("ada").available == 10


def test_who_starts_at_once_under_a_stricter_isolation_makes_one_ledger(
    postgres_database: str,
) -> None:
    with administrator(postgres_database) as owner:
        database = owner.info.dbname
        owner.execute(
            f'ALTER DATABASE "{database}" SET default_transaction_isolation = serializable'.encode()
        )

    def open_it(_number: int) -> None:
        PostgresStorage(postgres_database).close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(open_it, range(4)))
    with closing(PostgresSchema(postgres_database)) as schema:
        taken = [step.version for step in schema.applied()]
        assert taken == [step.version for step in schema.migrations]


@pytest.mark.parametrize(
    "spoil", ["DISCARD ALL", "DEALLOCATE ALL"], ids=["all is discarded", "all is deallocated"]
)
def test_statements_that_the_server_has_forgotten_are_prepared_anew(
    postgres_database: str, spoil: str
) -> None:
    with closing(PostgresStorage(postgres_database)) as storage:
        assert storage.get(Wallet, "ada") is None
        with storage._connections.reader() as pipeline:
            pipeline._libpq.exit_pipeline_mode()
            pipeline._libpq.exec_(spoil.encode())
            pipeline._libpq.enter_pipeline_mode()
        with pytest.raises(cp.StorageUnavailable):
            storage.get(Wallet, "ada")
        assert storage.get(Wallet, "ada") is None
        assert storage.get(Event, "evt_1") is None


def test_in_a_pipeline_of_the_hosts_a_refused_call_is_undone_alone(
    postgres_database: str, funded: cp.System
) -> None:
    with (
        psycopg.connect(postgres_database) as holder,
        psycopg.connect(postgres_database) as host,
    ):
        host.execute("CREATE TABLE jobs (name text)")
        host.commit()
        holder.execute("SELECT * FROM wallets FOR UPDATE")
        with host.pipeline():
            host.execute("SET LOCAL lock_timeout = '50ms'")
            host.execute("INSERT INTO jobs VALUES ('render')")
            with pytest.raises(cp.StorageUnavailable):
                funded.wallets.within(host).spend("ada", 3, key="job")
            host.execute("INSERT INTO jobs VALUES ('later')")
        host.commit()
        rows = host.execute("SELECT name FROM jobs").fetchall()
    assert rows == [("render",), ("later",)]
    assert funded.wallets.balance("ada").available == 10
