"""What PostgreSQL makes of the rows: types, limits, plans, and a whole system on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import pytest
from tests.support.postgres import ADA, administrator, system

from credit_payments.adapters import postgres_statements as statements
from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.adapters.postgres_connections import connect, split_url
from credit_payments.adapters.postgres_pipeline import Pipeline, Statement
from credit_payments.domain.records import RECORDS, Purchase, Record, Wallet
from credit_payments.errors import CreditPaymentsError, InsufficientCredits
from credit_payments.testing.contracts.tools import a_row, put


@pytest.fixture
def storage(postgres_database: str) -> Iterator[PostgresStorage]:
    with closing(PostgresStorage(postgres_database)) as storage:
        yield storage


def test_a_whole_system_runs_on_it(storage: PostgresStorage) -> None:
    with system(storage) as opened:
        for number in range(5):
            opened.wallets.grant("ada", 10, key=f"grant{number}", reason="test")
        for number in range(20):
            opened.wallets.spend("ada", 2, key=f"spend{number}")
        with pytest.raises(InsufficientCredits):
            opened.wallets.spend("ada", 11, key="too much")
        with opened.wallets.hold("ada", 5, key="hold", ttl=60) as hold:
            hold.capture(3)
        assert opened.wallets.balance("ada").available == 7
        report = opened.verify()
        assert report.ok
        assert report.entries == 27


def test_columns_have_the_documented_names_and_types(
    storage: PostgresStorage, postgres_database: str
) -> None:
    query = (
        "SELECT column_name, data_type, collation_name FROM information_schema.columns "
        "WHERE table_name = %s AND table_schema = current_schema() ORDER BY ordinal_position"
    )
    with administrator(postgres_database) as owner:
        for kind in RECORDS:
            columns = owner.execute(query, (kind.TABLE,)).fetchall()
            assert [name for name, _, _ in columns] == list(kind.__struct_fields__)
            for name, data_type, collation in columns:
                assert (data_type, collation) in {
                    ("text", "C"),
                    ("bigint", None),
                    ("numeric", None),
                }
                assert (data_type == "numeric") == (name in kind.DECIMALS)


@pytest.mark.parametrize("amount", ["0.00", "12.50", "1234567890.99", "-0.01", "10"])
def test_an_amount_is_a_number_for_the_host_and_comes_back_digit_by_digit(
    storage: PostgresStorage, postgres_database: str, amount: str
) -> None:
    row = a_row(Purchase, "pi_1", amount_usd=amount)
    put(storage, row)
    assert storage.get(Purchase, "pi_1") == row
    with administrator(postgres_database) as host:
        query = "SELECT sum(amount_usd) FROM credit_purchases"
        assert host.execute(query).fetchone() == (Decimal(amount),)


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "half \udfff"])
def test_text_that_cannot_be_kept_is_refused_and_not_repeated(
    storage: PostgresStorage, text: str
) -> None:
    put(storage, ADA)
    for row in (a_row(Wallet, text), a_row(Wallet, "bob", head=text)):
        with pytest.raises(CreditPaymentsError) as told:
            put(storage, row)
        assert told.value.error_code == "row_refused"
        assert not told.value.retryable
        assert text not in str(told.value)
    with pytest.raises(CreditPaymentsError), storage.transaction() as transaction:
        transaction.load([(Wallet, text)])
    with pytest.raises(CreditPaymentsError):
        storage.get(Wallet, text)
    assert storage.get(Wallet, "ada") == ADA


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_that_is_too_large_is_refused(storage: PostgresStorage, number: int) -> None:
    with pytest.raises(CreditPaymentsError) as told:
        put(storage, a_row(Wallet, "bob", available=number))
    assert told.value.error_code == "row_refused"
    assert storage.get(Wallet, "bob") is None


def test_a_row_that_is_refused_is_told_to_its_caller_alone(
    storage: PostgresStorage, postgres_database: str
) -> None:
    with administrator(postgres_database) as host:
        host.execute("ALTER TABLE entries ADD CHECK (credits <> 13)")

    def is_granted(number: int) -> bool:
        credits = 13 if number % 10 == 0 else 1
        try:
            opened.wallets.grant("ada", credits, key=f"key{number}", reason="test")
        except CreditPaymentsError as error:
            assert error.error_code == "row_refused"  # noqa: PT017 - some of them only
            return False
        return True

    with system(storage) as opened, ThreadPoolExecutor(16) as threads:
        granted = list(threads.map(is_granted, range(80)))
        assert granted == [number % 10 != 0 for number in range(80)]
        assert opened.wallets.balance("ada").available == 72
        assert opened.verify().ok


def test_statements_need_not_be_kept_prepared(postgres_database: str) -> None:
    """For poolers that give each transaction another session."""
    url = f"{postgres_database}?application_name=shop&prepared_statements=off"
    assert split_url(url) == (f"{postgres_database}?application_name=shop", False)
    with system(PostgresStorage(url)) as opened:
        opened.wallets.grant("ada", 5, key="one", reason="test")
        opened.wallets.spend("ada", 2, key="two")
        assert opened.verify().ok
        with administrator(postgres_database) as owner:
            query = "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'shop'"
            assert owner.execute(query).fetchone() == (True,)


def test_nothing_is_set_for_longer_than_a_transaction(postgres_database: str) -> None:
    changed = Statement("SELECT name, setting FROM pg_settings WHERE source = 'session' ORDER BY 1")
    with closing(connect(postgres_database)) as connection:
        pipeline = Pipeline(connection, prepare=True, answer_seconds_max=None)
        before = pipeline.read((), [changed])
        pipeline.read((), [Statement(statements.SET_FOR_READING, ("public",))])
        for begin in (statements.BEGIN_WRITING, statements.BEGIN_SNAPSHOT):
            pipeline.send(Statement(begin))
            (_, within) = pipeline.ask(
                [Statement(statements.SET_FOR_WRITING, ("public",)), changed]
            )
            assert ("synchronous_commit", "on") in within
            pipeline.roll_back()
        assert pipeline.read((), [changed]) == before


@pytest.fixture
def plan_of(
    storage: PostgresStorage, postgres_database: str
) -> Iterator[Callable[[str, Sequence[str]], str]]:
    """How a statement is run that was prepared while the tables were empty, and known to be."""
    with administrator(postgres_database) as owner, owner.transaction():
        owner.execute("ANALYZE")
        owner.execute(statements.SET_PLANS.encode())

        def plan_of(statement: str, values: Sequence[str]) -> str:
            given = ", ".join(f"'{value}'" for value in values)
            owner.execute(f"PREPARE planned AS {statement}".encode())
            rows = owner.execute(f"EXPLAIN EXECUTE planned({given})".encode()).fetchall()
            owner.execute("DEALLOCATE planned")
            return "\n".join(line for (line,) in rows)

        yield plan_of


Planning = Callable[[str, Sequence[str]], str]


def assert_indexed(plan: str, *, sorts: bool = False) -> None:
    assert "Index" in plan
    assert "Seq Scan" not in plan
    assert sorts or "Sort" not in plan


def test_rows_are_found_by_their_keys_in_an_index(plan_of: Planning) -> None:
    for kind in RECORDS:
        assert_indexed(plan_of(statements.select(kind), ["x"]))
        # The few rows that were found are sorted by their keys, to be locked in that order.
        assert_indexed(plan_of(statements.select_many(kind, lock=True), ["{x,y}"]), sorts=True)
        if kind.MUTABLE:
            assert_indexed(plan_of(statements.update(kind), ["[]"]))


def test_listings_are_answered_from_an_index(plan_of: Planning) -> None:
    for kind in RECORDS:
        for index in ((kind.KEY,), *kind.INDEXES, *kind.UNIQUE):
            for where in range(min(2, len(index))):
                names, order = index[:where], index[where:]
                for descending in (False, True):
                    statement = statements.select_page(
                        kind, names, order, behind=True, descending=descending
                    )
                    values = ["1"] * (len(index) + 1)
                    assert_indexed(plan_of(statement, values))


def test_the_first_rows_of_a_series_are_found_by_an_index(plan_of: Planning) -> None:
    def check(kind: type[Record], columns: Sequence[str], ending: str | None) -> None:
        for lock in (False, True):
            statement = statements.select_first(
                kind, (columns[1],), tuple(columns[2:]), ending, lock=lock
            )
            assert_indexed(plan_of(statement, ["{x,y}", "2", "1"]))

    for kind in RECORDS:
        if kind.GROUP:
            for index in (index for index in kind.INDEXES if index[0] == kind.GROUP):
                check(kind, index, None)
            for ending, columns in kind.SPARSE:
                check(kind, columns, ending)
