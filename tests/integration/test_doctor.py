"""`credit-payments doctor` on real database servers, beside a Stripe over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from tests.support.postgres import administrator
from tests.support.servers.mongod import temporary_database

import credit_payments as cp
from credit_payments.bootstrap import diagnose
from credit_payments.cli.commands import commands
from credit_payments.errors import ConfigurationError
from credit_payments.testing.simulator import StripeSimulator

URL = "https://shop.example/stripe/webhook"


@pytest.fixture(autouse=True)
def stripe(monkeypatch: pytest.MonkeyPatch) -> Iterator[StripeSimulator]:
    with StripeSimulator(webhook_url=URL) as simulator:
        monkeypatch.setenv("STRIPE_SECRET_KEY", simulator.secret_key)
        monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", simulator.webhook_secret)
        monkeypatch.setenv("STRIPE_API_BASE", simulator.url)
        yield simulator


def amiss(url: str) -> list[tuple[str, str]]:
    found = diagnose(database=url, webhook_url=URL).findings
    assert len(found) > 15
    return [(one.name, one.level) for one in found if one.level != "ok"]


def test_postgresql_with_one_fault_after_the_other(postgres_database: str) -> None:
    with cp.connect(database=postgres_database):
        pass
    assert amiss(postgres_database) == []
    with administrator(postgres_database) as owner:
        owner.execute("DROP INDEX entries_by_user_id_sequence")
        assert amiss(postgres_database) == [("database.indexes", "problem")]
        owner.execute("DELETE FROM credit_payments_migrations WHERE version > 1")
        found = diagnose(database=postgres_database).findings
    assert [one.name for one in found if one.level != "ok"] == ["database.schema"]


def test_the_password_of_a_database_is_not_told(postgres_database: str) -> None:
    url = postgres_database.replace("postgres@", "postgres:CANARY@")
    with cp.connect(database=url):
        pass
    for options in ((), ("--json",)):
        result = CliRunner().invoke(commands, ["doctor", "--database", url, *options])
        assert result.exit_code == 0, result.output
        assert "CANARY" not in result.output


def test_a_replica_set_is_well(mongo_database: str) -> None:
    with cp.connect(database=mongo_database):
        pass
    assert amiss(mongo_database) == []


def test_a_mongodb_server_that_is_alone_is_for_development(standalone_mongo_url: str) -> None:
    with temporary_database(standalone_mongo_url) as url:
        with cp.connect(database=url):
            pass
        assert amiss(url) == [("database", "warning")]
        with pytest.raises(ConfigurationError, match="not for a live key"):
            cp.connect(database=url, stripe_secret_key="sk_live_simulator", stripe_api_base=None)
