"""MongoDB on a real replica set: what is sent, what the server refuses, and who else is there."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, Int64
from pymongo import MongoClient
from pymongo.errors import OperationFailure, WriteError
from pymongo.monitoring import CommandListener, CommandStartedEvent
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
from tests.support.servers.urls import fresh_name, with_database

import credit_payments as cp
from credit_payments.adapters import mongo_documents as documents
from credit_payments.adapters.mongo import MongoStorage
from credit_payments.adapters.mongo_schema import MongoSchema
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.bootstrap import over
from credit_payments.config import load_settings
from credit_payments.domain.decision import Range, Series
from credit_payments.domain.records import (
    RECORDS,
    Event,
    FailedPayment,
    Incident,
    Key,
    Lot,
    Notification,
    Payment,
    Purchase,
    Record,
    Wallet,
)
from credit_payments.domain.spending import Spend
from credit_payments.errors import (
    ConfigurationError,
    CreditPaymentsError,
    InvalidRequest,
    SchemaMismatch,
    StorageUnavailable,
)
from credit_payments.migrating import migrate
from credit_payments.ports.storage import Storage, Transaction, WriteConflict
from credit_payments.system import System
from credit_payments.testing.contracts.tools import a_lot, a_row, put, spending, together

Document = dict[str, Any]
STALE: Key = (Payment, "pi_1")


class Listener(CommandListener):
    """Keeps the commands that were sent; handshakes and the like are not among them."""

    def __init__(self) -> None:
        self.commands: list[Mapping[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.commands.append(event.command)

    def succeeded(self, event: object) -> None:
        pass

    def failed(self, event: object) -> None:
        pass

    def names(self) -> list[str]:
        return [next(iter(command)) for command in self.commands]


@pytest.fixture
def client(mongo_database: str) -> Iterator[MongoClient[Document]]:
    with MongoClient[Document](mongo_database) as client:
        yield client


@pytest.fixture
def storage(mongo_database: str) -> Iterator[MongoStorage]:
    storage = MongoStorage(mongo_database)
    yield storage
    storage.close()


@pytest.fixture
def listened(mongo_database: str, storage: MongoStorage) -> Iterator[tuple[Storage, Listener]]:
    """A storage on the same database, and what it sends."""
    listener = Listener()
    with MongoClient[Document](mongo_database, event_listeners=[listener]) as client:
        listening = MongoStorage(mongo_database, client=client)
        listener.commands.clear()
        yield listening, listener
        listening.close()


def a_system(storage: Storage) -> System:
    settings = load_settings({"database": "memory://"}, [])
    return over(storage, settings)


# -- what is sent -----------------------------------------------------------------------------


def test_a_transaction_reads_a_snapshot_and_commits_to_the_journals_of_a_majority(
    listened: tuple[Storage, Listener],
) -> None:
    storage, listener = listened
    put(storage, Wallet("ada"))
    first, commit = listener.commands
    assert first["startTransaction"] is True
    assert first["autocommit"] is False
    assert first["readConcern"] == {"level": "snapshot"}
    assert next(iter(commit)) == "commitTransaction"
    assert commit["writeConcern"] == {"w": "majority", "j": True}


def test_a_reader_sees_what_this_process_has_written_whoever_is_primary(
    listened: tuple[Storage, Listener],
) -> None:
    storage, listener = listened
    put(storage, Wallet("ada"))
    listener.commands.clear()
    storage.get(Wallet, "ada")
    concern = listener.commands[0]["readConcern"]
    assert concern["level"] == "majority"
    assert concern["afterClusterTime"] is not None


def test_a_snapshot_is_not_older_than_what_this_process_has_written(
    listened: tuple[Storage, Listener],
) -> None:
    """A new primary may be asked before it knows that a majority has what it has."""
    storage, listener = listened
    put(storage, Wallet("ada"))
    listener.commands.clear()
    with storage.snapshot() as reader:
        assert reader.get(Wallet, "ada") == Wallet("ada")
    waits, reads = (command["readConcern"] for command in listener.commands)
    assert waits["level"] == "majority"
    assert waits["afterClusterTime"] is not None
    assert reads["level"] == "snapshot"


def test_every_command_is_told_how_long_it_may_take(listened: tuple[Storage, Listener]) -> None:
    storage, listener = listened
    put(storage, Wallet("ada"), a_lot(1))
    with storage.transaction() as transaction:
        transaction.load([(Wallet, "ada"), (Event, "evt_1"), STALE])
        transaction.first([Range(spending(user), 2) for user in ("ada", "bob")])
        transaction.write([a_row(Event, "evt_1")], [Wallet("ada", available=1)])
    with storage.snapshot() as reader:
        reader.get(Wallet, "ada")
        reader.page(Wallet, {}, order=("user_id",), limit=1)
    assert len(listener.commands) > 8
    for command in listener.commands:
        assert 0 < command["maxTimeMS"] <= 10_000, command


def test_a_spend_takes_no_more_round_trips_than_it_must(listened: tuple[Storage, Listener]) -> None:
    storage, listener = listened
    with a_system(storage) as system:
        system.wallets.grant("ada", 5, key="welcome", reason="welcome")
        listener.commands.clear()
        system.wallets.spend("ada", 1, key="job", reason="render")
    assert listener.names() == [
        "aggregate",  # the wallet, the entry, and the first lots
        "insert",
        "update",
        "update",
        "commitTransaction",
    ]


def test_what_is_answered_from_uncommitted_data_is_committed_first(
    listened: tuple[Storage, Listener],
) -> None:
    """A transaction that only reads may have read what an election could still take back."""
    storage, listener = listened
    with storage.transaction() as transaction:
        transaction.load([(Wallet, "ada")])
    assert listener.names() == ["find", "commitTransaction"]


# -- documents and their shapes -----------------------------------------------------------------


def test_documents_have_the_documented_shapes(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    purchase = a_row(Purchase, "pi_xxx", amount_usd="10.00", credits_purchased=100)
    put(storage, purchase, Wallet("ada", available=2**62))
    database = client.get_default_database()
    found = database.credit_purchases.find_one({"payment_intent_id": "pi_xxx"}) or {}
    assert found["amount_usd"] == Decimal128("10.00")
    assert found["credits_purchased"] == 100
    sums = database.credit_purchases.aggregate(
        [{"$group": {"_id": None, "total": {"$sum": "$amount_usd"}}}]
    )
    assert next(sums)["total"] == Decimal128("10.00")
    wallet = database.wallets.find_one() or {}
    assert isinstance(wallet["available"], Int64)
    assert storage.get(Purchase, "pi_xxx") == purchase


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Lot, {"credits": 1.0}),
        (Lot, {"credits": "1"}),
        (Lot, {"credits": Decimal128("1")}),
        (Lot, {"credits": None}),
        (Lot, {"credits": True}),
        (Lot, {"user_id": 7}),
        (Lot, {"created_at": datetime(2024, 1, 1, tzinfo=UTC)}),
        (Lot, {"lot_id": "grant:2"}),
        (Purchase, {"amount_usd": "10.00"}),
        (Purchase, {"amount_usd": 10.0}),
        (Wallet, {"user_id": "eve"}),
    ],
)
def test_the_database_refuses_documents_of_another_shape(
    client: MongoClient[Document],
    storage: MongoStorage,
    kind: type[Record],
    change: Document,
) -> None:
    document = documents.encode(a_row(kind, "grant:1"))
    collection = client.get_default_database()[kind.TABLE]
    with pytest.raises(WriteError) as caught:
        collection.insert_one(document | change)
    assert caught.value.code == 121
    collection.insert_one(dict(document))
    with pytest.raises(WriteError):
        collection.update_one({"_id": "grant:1"}, {"$set": change})
    with pytest.raises(WriteError):
        collection.update_one({"_id": "grant:1"}, {"$unset": dict.fromkeys(change, 1)})


def test_a_row_that_the_database_refuses_is_told_without_its_values(storage: MongoStorage) -> None:
    strange: Any = 1.5
    with pytest.raises(CreditPaymentsError) as caught:
        put(storage, Wallet("ada@example.com", available=strange))
    assert caught.value.error_code == "row_refused"
    assert "ada" not in str(caught.value)
    assert storage.get(Wallet, "ada@example.com") is None


@pytest.mark.parametrize("row", [Wallet("ada\ud800"), Wallet("ada", available=2**63)])
def test_a_row_that_bson_cannot_hold_is_told_without_its_values(
    storage: MongoStorage, row: Wallet
) -> None:
    with pytest.raises(CreditPaymentsError) as caught:
        put(storage, row)
    assert caught.value.error_code == "row_refused"
    assert "ada" not in str(caught.value)
    assert storage.get(Wallet, "ada") is None


def test_a_conflict_tells_no_values(storage: MongoStorage) -> None:
    put(storage, Wallet("ada@example.com"))
    with pytest.raises(WriteConflict) as caught:
        put(storage, Wallet("ada@example.com"))
    assert "ada" not in str(caught.value)


def test_a_nul_character_in_free_text_comes_back(storage: MongoStorage) -> None:
    row = FailedPayment("pi_1:ch_1", "ada", "pi_1", "failed", "cut\x00here", None, "now")
    put(storage, row)
    assert storage.get(FailedPayment, row.failure_id) == row


def test_more_than_fits_in_one_message_is_written_in_several(storage: MongoStorage) -> None:
    rows = [a_row(Incident, f"incident{n}", facts="x" * 3_000_000) for n in range(7)]
    with storage.transaction() as transaction:
        transaction.load([(Incident, "incident0")])
        transaction.write(rows, [])
    assert list(storage.scan(Incident, order=("incident_id",))) == rows


def test_a_row_that_fits_in_no_document_is_refused(storage: MongoStorage) -> None:
    with pytest.raises(CreditPaymentsError) as caught:
        put(storage, a_row(Incident, "incident", facts="x" * 17_000_000))
    assert caught.value.error_code == "row_refused"


# -- indexes ------------------------------------------------------------------------------------


def _stages(plan: object) -> Iterator[str]:
    """The names of all stages of a plan, however deep."""
    if isinstance(plan, Mapping):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for value in plan.values():
            yield from _stages(value)
    elif isinstance(plan, list):
        for value in plan:
            yield from _stages(value)


def _plan_of(client: MongoClient[Document], query: documents.Query) -> set[str]:
    find: Document = {"find": query.collection, "filter": query.where}
    find |= {"sort": dict(query.order)} if query.order else {}
    find |= {"limit": query.limit} if query.limit else {}
    explained = client.get_default_database().command({"explain": find})
    return set(_stages(explained["queryPlanner"]["winningPlan"]))


def _fill_lots(storage: MongoStorage) -> None:
    put(storage, *(a_lot(n, user_id=f"user{n % 9}", expires_at="2024") for n in range(300)))
    put(storage, *(a_row(Lot, f"grant:x{n}", user_id=f"user{n % 9}") for n in range(300)))


def test_loading_searches_by_key(client: MongoClient[Document], storage: MongoStorage) -> None:
    for kind in RECORDS:
        put(storage, *(a_row(kind, f"key{number}") for number in range(3)))
        assert _plan_of(client, documents.by_key(kind, "key1")) == {"IDHACK"}
        several = _plan_of(client, documents.by_keys(kind, ["key1", "key2"]))
        assert several == {"FETCH", "IXSCAN"}


def test_listings_are_answered_from_an_index(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    for kind in RECORDS:
        put(storage, *(a_row(kind, f"key{number:03}") for number in range(100)))
        for index in (*kind.INDEXES, *kind.UNIQUE):
            for descending in (False, True):
                where, order = {index[0]: "x"}, index[1:]
                after = ["" for _ in order]
                query = documents.page(kind, where, order, after, 5, descending=descending)
                plan = _plan_of(client, query)
                assert "IXSCAN" in plan, (kind, index)
                assert not plan & {"SORT", "COLLSCAN"}, (kind, index)
        walk = documents.page(kind, {}, (kind.KEY,), ("key050",), 5, descending=False)
        assert _plan_of(client, walk) == {"LIMIT", "FETCH", "IXSCAN"}


def test_the_first_rows_of_a_series_are_found_by_an_index(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    _fill_lots(storage)
    for kind in (kind for kind in RECORDS if kind.GROUP):
        indexes = [(None, index) for index in kind.INDEXES if index[0] == kind.GROUP]
        for ending, index in (*indexes, *kind.SPARSE):
            last = index.index(ending) if ending else len(index) - 1
            for cut in range(1, last + 1):
                equals = tuple((name, 0) for name in index[1:cut])
                series = Series(kind, "user1", equals, index[cut:], ending)
                plan = _plan_of(client, documents.series(Range(series, 8)))
                assert "IXSCAN" in plan, series
                assert not plan & {"SORT", "COLLSCAN"}, series
            alike = [Range(Series(kind, group, equals, index[cut:], ending), 8) for group in "ab"]
            assert "COLLSCAN" not in _plan_of(client, documents.probe(alike))


def test_what_never_ends_is_in_no_index_of_what_ends(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    _fill_lots(storage)
    put(storage, *(a_lot(n, user_id="ada", expires_at=cp.domain.records.NEVER) for n in (900, 901)))
    partial = [
        index
        for index in client.get_default_database().lots.list_indexes()
        if "partialFilterExpression" in index
    ]
    assert len(partial) == len(Lot.SPARSE)
    series = Series(Lot, "user1", (("open", 1),), ("expires_at", "sequence"), "expires_at")
    query = documents.series(Range(series, 2))
    explained = client.get_default_database().command(
        {
            "explain": {
                "find": "lots",
                "filter": query.where,
                "sort": dict(query.order),
                "limit": 2,
            },
            "verbosity": "executionStats",
        }
    )
    assert explained["executionStats"]["totalKeysExamined"] <= 2
    assert partial[0]["name"] in str(explained["queryPlanner"]["winningPlan"])


def test_many_lots_of_one_user_do_not_make_the_others_slow(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    """More rows than a probe reads: then each group is asked for by itself, through the index."""
    put(storage, *(a_lot(n, user_id="rich", priority=n % 3) for n in range(500)))
    put(storage, *(a_lot(n, user_id=f"user{n}") for n in range(500, 520)))
    asked = [Range(spending(user), 2) for user in ("rich", *(f"user{n}" for n in range(500, 520)))]
    rich = [a_lot(0, user_id="rich"), a_lot(3, user_id="rich")]
    for found in (storage.first(asked), _first_in_transaction(storage, asked)):
        assert found[asked[0]] == rich
        assert [len(found[one]) for one in asked[1:]] == [1] * 20
    explained = client.get_default_database().command(
        {
            "explain": {"aggregate": 1, "pipeline": documents.each(asked), "cursor": {}},
            "verbosity": "executionStats",
        }
    )
    (lookup,) = (stage for stage in explained["stages"] if "$lookup" in stage)
    assert lookup["totalDocsExamined"] <= 2 + 20
    assert lookup["collectionScans"] == 0


def _first_in_transaction(storage: Storage, asked: list[Range]) -> Mapping[Range, Any]:
    with storage.transaction() as transaction:
        return transaction.first(asked)


# -- concurrency --------------------------------------------------------------------------------


def _load_absent(transaction: Transaction) -> None:
    assert transaction.load([STALE, (Incident, "pi_1")]) == {}


def _adds_the_payment(transaction: Transaction) -> None:
    transaction.write([a_row(Payment, "pi_1")], [])


def _files_a_report(transaction: Transaction) -> None:
    transaction.write([a_row(Incident, "pi_1", status="open")], [])


ORDERS = pytest.mark.parametrize(
    ("first", "second"),
    [(_adds_the_payment, _files_a_report), (_files_a_report, _adds_the_payment)],
    ids=["adds first", "files first"],
)
Step = Callable[[Transaction], None]


def _check_that_only(storage: Storage, first: Step) -> None:
    added = storage.get(Payment, "pi_1") is not None
    filed = storage.get(Incident, "pi_1") is not None
    assert (added, filed) == (first is _adds_the_payment, first is _files_a_report)


@ORDERS
def test_of_two_that_found_no_payment_the_one_that_ends_later_fails(
    storage: MongoStorage, first: Step, second: Step
) -> None:
    with pytest.raises(WriteConflict), storage.transaction() as late:  # noqa: PT012
        _load_absent(late)
        with storage.transaction() as transaction:
            _load_absent(transaction)
            first(transaction)
        second(late)
    _check_that_only(storage, first)


@ORDERS
def test_of_two_that_found_no_payment_the_one_that_writes_later_fails(
    storage: MongoStorage, first: Step, second: Step
) -> None:
    with storage.transaction() as transaction:
        _load_absent(transaction)
        first(transaction)
        with pytest.raises(WriteConflict), storage.transaction() as late:  # noqa: PT012
            _load_absent(late)
            second(late)
    _check_that_only(storage, first)


def test_who_found_no_payment_and_writes_nothing_disturbs_nobody(storage: MongoStorage) -> None:
    with storage.transaction() as reading:
        _load_absent(reading)
        with storage.transaction() as adding:
            _load_absent(adding)
            _adds_the_payment(adding)
        reading.write([], [])
    assert storage.get(Payment, "pi_1") is not None


def test_a_guard_leaves_nothing_behind(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    with storage.transaction() as transaction:
        _load_absent(transaction)
        _files_a_report(transaction)
    assert client.get_default_database().payments.count_documents({}) == 0
    put(storage, a_row(Payment, "pi_1"))


def test_a_row_that_is_written_as_it_was_is_protected_all_the_same(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    """The server would skip such an update, and both transactions would commit."""
    ada = Wallet("ada", available=1)
    put(storage, ada)
    with pytest.raises(WriteConflict), storage.transaction() as late:  # noqa: PT012
        late.load([(Wallet, "ada")])
        with storage.transaction() as transaction:
            transaction.load([(Wallet, "ada")])
            transaction.write([a_row(Event, "evt_1")], [ada])
        late.write([], [Wallet("ada", available=2)])
    assert client.get_default_database().wallets.find_one() == documents.encode(ada)


def test_a_row_that_is_gone_is_a_conflict(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    with pytest.raises(WriteConflict), storage.transaction() as transaction:
        transaction.write([a_row(Event, "evt_1")], [Wallet("ada", available=2)])
    assert storage.get(Event, "evt_1") is None


def test_a_whole_system_runs_on_it(storage: MongoStorage, mongo_database: str) -> None:
    with a_system(storage) as system, a_system(MongoStorage(mongo_database)) as elsewhere:
        users = [f"user{number}" for number in range(7)]
        for user in users:
            system.wallets.grant(user, 100, key=user, reason="welcome")

        def work(which: System, name: str) -> None:
            for number in range(40):
                user = users[number % len(users)]
                for spender in (which, system):  # the second time the same key
                    entry = spender.wallets.spend(user, 1, key=f"{name}{number}", reason="job")
                    assert entry.credits == -1
                if number % 10 == 0:
                    with which.wallets.hold(user, 5, key=f"hold{name}{number}", ttl=60) as hold:
                        hold.capture(2)

        together(*(lambda n=n: work((system, elsewhere)[n % 2], f"w{n}-") for n in range(6)))
        for one in (system, elsewhere):
            report = one.verify()
            assert report.ok, report.problems
            available = sum(one.wallets.balance(user).available for user in users)
            assert available == 700 - 6 * 40 - 6 * 4 * 2


# -- the host's own transaction -------------------------------------------------------------------


def _spend_within(system: System, session: Any, key: str) -> None:
    system.queue.within(session).submit(Spend(user_id="ada", credits=1, key=key))


@pytest.fixture
def system(storage: MongoStorage) -> Iterator[System]:
    with a_system(storage) as system:
        system.wallets.grant("ada", 5, key="welcome", reason="welcome")
        yield system


def test_a_spend_commits_with_the_hosts_own_documents(
    client: MongoClient[Document], system: System
) -> None:
    jobs = client.get_default_database().jobs
    with client.start_session() as session:
        with session.start_transaction():
            jobs.insert_one({"_id": "job"}, session=session)
            _spend_within(system, session, "job")
            assert system.wallets.balance("ada").available == 5  # not committed yet
        assert system.wallets.balance("ada").available == 4
    assert jobs.count_documents({}) == 1
    assert system.verify().ok


def test_a_spend_is_undone_with_the_hosts_own_documents(
    client: MongoClient[Document], system: System
) -> None:
    jobs = client.get_default_database().jobs
    jobs.create_index("name")

    def work(session: Any) -> None:
        with session.start_transaction():
            jobs.insert_one({"_id": "job"}, session=session)
            _spend_within(system, session, "job")
            raise ZeroDivisionError

    with client.start_session() as session, pytest.raises(ZeroDivisionError):
        work(session)
    assert system.wallets.balance("ada").available == 5
    assert jobs.count_documents({}) == 0
    assert system.verify().ok


def test_reads_in_the_hosts_transaction_see_what_it_has_written(
    client: MongoClient[Document], system: System, storage: MongoStorage
) -> None:
    with client.start_session() as session, session.start_transaction():
        _spend_within(system, session, "job")
        with storage.joined(session) as joined:
            wallet = joined.get(Wallet, "ada")
            page = joined.page(Lot, {"user_id": "ada"}, order=("sequence",), limit=9)
            assert [*joined.scan(Wallet, order=("user_id",))] == [wallet]
            (first,) = joined.first([Range(spending("ada"), 2)]).values()
        assert wallet is not None
        assert wallet.available == 4
        assert [*first] == page


def test_another_writer_is_told_to_the_host_who_runs_its_transaction_again(
    client: MongoClient[Document], system: System
) -> None:
    tries: list[int] = []

    def work(session: Any) -> None:
        tries.append(1)
        client.get_default_database().jobs.insert_one({"n": len(tries)}, session=session)
        if len(tries) == 1:
            system.wallets.spend("ada", 1, key="other")
        _spend_within(system, session, "job")

    with client.start_session() as session:
        with pytest.raises(StorageUnavailable), session.start_transaction():
            work(session)
        with session.start_transaction():
            work(session)
    assert system.wallets.balance("ada").available == 3
    assert [job["n"] for job in client.get_default_database().jobs.find()] == [2]


def _write_a_half(storage: MongoStorage, session: Any) -> None:
    with pytest.raises(ZeroDivisionError), storage.joined(session) as joined:  # noqa: PT012
        joined.write([a_row(Event, "evt_1")], [])
        raise ZeroDivisionError


def test_a_half_that_was_written_cannot_be_committed(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    jobs = client.get_default_database().jobs
    with client.start_session() as session:
        session.start_transaction()
        jobs.insert_one({"_id": "job"}, session=session)
        _write_a_half(storage, session)
        with pytest.raises(OperationFailure) as caught:
            session.commit_transaction()
        assert caught.value.has_error_label("TransientTransactionError")
        session.start_transaction()
        _write_a_half(storage, session)
        session.abort_transaction()
        with pytest.raises(ZeroDivisionError), session.start_transaction():  # noqa: PT012
            _write_a_half(storage, session)
            raise ZeroDivisionError
        with session.start_transaction():
            jobs.insert_one({"_id": "later"}, session=session)
    assert storage.get(Event, "evt_1") is None
    assert [job["_id"] for job in jobs.find()] == ["later"]


def test_who_has_only_read_leaves_the_hosts_transaction_as_it_was(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    jobs = client.get_default_database().jobs
    with client.start_session() as session, session.start_transaction():
        jobs.insert_one({"_id": "job"}, session=session)
        with pytest.raises(ZeroDivisionError), storage.joined(session) as joined:  # noqa: PT012
            joined.load([(Wallet, "ada")])
            raise ZeroDivisionError
    assert jobs.count_documents({}) == 1


def test_what_is_no_session_with_a_transaction_is_refused(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    with client.start_session() as session:
        for wrong in (session, client, None, object()):
            with pytest.raises(InvalidRequest) as caught, storage.joined(wrong):
                pass
            assert caught.value.param == "connection"


@pytest.mark.parametrize(
    "concern",
    [
        *(WriteConcern(1), WriteConcern(1, j=True), WriteConcern(2), WriteConcern("tag")),
        *(WriteConcern("majority", j=False), WriteConcern(j=False)),
    ],
)
def test_a_transaction_whose_commit_could_be_lost_is_refused(
    client: MongoClient[Document], storage: MongoStorage, concern: WriteConcern
) -> None:
    with client.start_session() as session:
        session.start_transaction(write_concern=concern)
        with pytest.raises(InvalidRequest, match="majority"), storage.joined(session):
            pass
        session.abort_transaction()
        for good in (WriteConcern("majority"), WriteConcern("majority", j=True), None):
            session.start_transaction(ReadConcern("snapshot"), good)
            with storage.joined(session) as joined:
                assert joined.get(Wallet, "ada") is None
            session.abort_transaction()


def test_a_session_of_another_server_is_refused(
    storage: MongoStorage, standalone_mongo_url: str
) -> None:
    with MongoClient[Document](standalone_mongo_url) as other:
        other.admin.command("ping")
        with other.start_session() as session:
            session.start_transaction()
            with pytest.raises(InvalidRequest, match="another"), storage.joined(session):
                pass


# -- interruptions ------------------------------------------------------------------------------


def _stuck(client: MongoClient[Any]) -> Any:
    """The lock of its connections, held as by one who was interrupted after taking it."""
    (server,) = client._topology._servers.values()
    lock = server.pool.lock
    lock.acquire()
    threading.Timer(5, lock.release).start()
    return lock


def test_who_is_interrupted_leaves_no_lock_and_no_transaction_behind(
    storage: MongoStorage, mongo_database: str
) -> None:
    put(storage, Wallet("ada"))
    client = storage._connections.client
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), storage.transaction() as transaction:  # noqa: PT012
        transaction.load([(Wallet, "ada")])
        transaction.write([], [Wallet("ada", available=1)])
        lock = _stuck(client)
        raise KeyboardInterrupt
    other = MongoStorage(mongo_database)
    for one in (other, storage):  # the row is free at once
        with one.transaction() as transaction:
            assert transaction.load([(Wallet, "ada")])[Wallet, "ada"] == Wallet("ada")
            transaction.write([], [Wallet("ada")])
    assert time.monotonic() - start < 4
    other.close()
    with lock:  # not before it is free
        pass
    client.close()


@pytest.mark.parametrize("reads", ["get", "snapshot"])
def test_a_reader_that_is_interrupted_leaves_no_lock_behind(
    storage: MongoStorage, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    client = storage._connections.client

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def read() -> None:
        if reads == "get":
            storage.get(Wallet, "ada")
            return
        with storage.snapshot() as reader:
            reader.get(Wallet, "ada")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(documents, "by_key", interrupt)
        read()
    assert storage._connections.client is not client
    read()
    client.close()


def test_a_client_that_was_handed_in_is_kept_through_an_interruption(
    client: MongoClient[Document], mongo_database: str
) -> None:
    storage = MongoStorage(mongo_database, client=client)
    put(storage, Wallet("ada"))
    with pytest.raises(KeyboardInterrupt), storage.transaction() as transaction:  # noqa: PT012
        transaction.load([(Wallet, "ada")])
        raise KeyboardInterrupt
    assert storage._connections.client is client
    storage.close()


# -- watching -----------------------------------------------------------------------------------


def test_a_watch_hears_of_what_another_process_adds(
    storage: MongoStorage, mongo_database: str
) -> None:
    woken = threading.Event()
    watch = storage.watch(Notification, woken.set)
    assert watch is not None
    assert woken.wait(10)  # it may have missed something before it began
    other = MongoStorage(mongo_database)
    for number in range(3):
        woken.clear()
        put(other, a_row(Notification, f"n{number}", status="due"))
        assert woken.wait(10)
    woken.clear()
    put(other, a_row(Event, "evt_1"))  # another kind
    with other.transaction() as transaction:  # a change
        transaction.load([(Notification, "n1")])
        transaction.write([], [a_row(Notification, "n1", attempts=1, status="due")])
    assert not woken.wait(0.3)
    other.close()
    watch.close()


def test_a_watch_ends_with_its_storage(storage: MongoStorage) -> None:
    watch = storage.watch(Notification, lambda: None)
    assert watch is not None
    thread = next(thread for thread in threading.enumerate() if "watch" in thread.name)
    storage.close()
    thread.join(10)
    assert not thread.is_alive()
    watch.close()


# -- the schema -----------------------------------------------------------------------------------


def _schema_of(client: MongoClient[Document]) -> dict[str, object]:
    database = client.get_default_database()
    return {
        found["name"]: (
            found["options"].get("validator"),
            sorted(index["name"] for index in database[found["name"]].list_indexes()),
        )
        for found in database.list_collections()
        if found["name"] not in {"credit_payments_lock", "credit_payments_migrations"}
    }


def test_migrating_twice_changes_nothing(
    client: MongoClient[Document], mongo_database: str
) -> None:
    schema = MongoSchema(mongo_database)
    steps = [step.version for step in schema.migrations]
    assert [step.version for step in migrate(schema, SystemClock(), dry_run=True)] == steps
    assert client.get_default_database().list_collection_names() == []
    assert [step.version for step in migrate(schema, SystemClock())] == steps
    before = _schema_of(client)
    assert set(before) == {kind.TABLE for kind in RECORDS}
    assert migrate(schema, SystemClock()) == []
    for migration in schema.migrations:
        schema.apply(migration, "later")
    assert _schema_of(client) == before
    assert [step.applied_at != "later" for step in schema.applied()] == [True] * len(steps)
    schema.close()


def test_a_collection_of_the_hosts_with_one_of_our_names_is_refused_before_the_first_step(
    client: MongoClient[Document], mongo_database: str
) -> None:
    database = client.get_default_database()
    database.payments.insert_one({"mine": 1})
    schema = MongoSchema(mongo_database)
    for dry_run in (True, False):
        with pytest.raises(ConfigurationError, match=r": payments; .* a database of its own"):
            migrate(schema, SystemClock(), dry_run=dry_run)
    schema.close()
    with pytest.raises(SchemaMismatch):
        MongoStorage(mongo_database)
    assert database.list_collection_names() == ["payments"]
    assert "validator" not in database.payments.options()


def test_a_step_that_was_cut_short_is_taken_again(
    client: MongoClient[Document], mongo_database: str
) -> None:
    MongoStorage(mongo_database).close()
    complete = _schema_of(client)
    database = client.get_default_database()
    database.credit_payments_migrations.delete_many({})
    database.drop_collection("notifications")
    database.command({"collMod": "wallets", "validator": {}})
    database.lots.drop_indexes()
    MongoStorage(mongo_database).close()
    assert _schema_of(client) == complete


def test_a_step_that_was_taken_does_not_undo_later_ones(
    client: MongoClient[Document], mongo_database: str
) -> None:
    MongoStorage(mongo_database).close()
    complete = _schema_of(client)
    schema = MongoSchema(mongo_database)
    schema.apply(schema.migrations[0], "later")
    assert _schema_of(client) == complete
    schema.close()


def test_who_stood_still_for_longer_than_the_lease_migrates_no_further(
    client: MongoClient[Document], mongo_database: str
) -> None:
    schema = MongoSchema(mongo_database)
    database = client.get_default_database()
    lost = pytest.raises(StorageUnavailable, match="stood still")
    with lost, schema.locked():
        database.credit_payments_lock.update_one({}, {"$set": {"token": "another"}})
        schema.apply(schema.migrations[0], "now")
    assert database.list_collection_names() == ["credit_payments_lock"]
    with schema.locked():
        schema.apply(schema.migrations[0], "now")
    assert len(schema.applied()) == 1
    schema.close()


def test_several_may_start_at_once_on_a_database_that_does_not_exist_yet(mongo_url: str) -> None:
    for _ in range(3):
        url = with_database(mongo_url, fresh_name())
        with ThreadPoolExecutor(4) as pool:
            for storage in pool.map(lambda _, url=url: MongoStorage(url), range(4)):
                assert storage.get(Wallet, "ada") is None
                storage.close()
        with MongoClient[Document](url) as client:
            assert client.get_default_database().credit_payments_migrations.count_documents({}) >= 1
            client.drop_database(client.get_default_database().name)


def test_the_lock_of_one_who_died_is_waited_for_no_longer_than_its_lease(
    client: MongoClient[Document], mongo_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.mongo_schema.LEASE_SECONDS", 0.5)
    schema = MongoSchema(mongo_database)
    with schema.locked():
        pass
    lock = client.get_default_database().credit_payments_lock
    lock.update_one({}, [{"$set": {"token": "dead", "until": {"$add": ["$$NOW", 300]}}}])
    with schema.locked():
        held = lock.find_one() or {}
        assert held["token"] != "dead"
        assert not threading.Event().wait(1.2)  # longer than the lease
        kept = lock.find_one() or {}
        assert kept["token"] == held["token"]
        assert kept["until"] > held["until"]
    schema.close()


def test_a_lock_that_is_held_for_too_long_is_given_up(
    mongo_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.mongo_schema.LOCK_SECONDS_MAX", 0.3)
    schema, other = MongoSchema(mongo_database), MongoSchema(mongo_database)
    with schema.locked():  # noqa: SIM117 - one inside of the other
        with pytest.raises(StorageUnavailable, match="too long"), other.locked():
            pass
    with other.locked():
        pass
    schema.close()
    other.close()


def test_a_collection_of_somebody_else_is_left_alone(
    client: MongoClient[Document], mongo_database: str
) -> None:
    client.get_default_database().wallets.insert_one({"theirs": True})
    with pytest.raises(SchemaMismatch, match="no schema yet"):
        MongoStorage(mongo_database)
    assert client.get_default_database().list_collection_names() == ["wallets"]


def test_validators_can_be_changed_by_a_later_step(
    client: MongoClient[Document], storage: MongoStorage
) -> None:
    database = client.get_default_database()
    database.command({"collMod": "wallets", "validator": {"$jsonSchema": {"required": ["new"]}}})
    with pytest.raises(CreditPaymentsError):
        put(storage, Wallet("ada"))


def test_a_direct_connection_will_do_where_there_is_nobody_else(mongo_database: str) -> None:
    url = f"{mongo_database.partition('?')[0]}?directConnection=true"
    storage = MongoStorage(url)
    assert not storage.is_development
    storage.close()


def test_a_server_that_is_too_old_is_refused(
    mongo_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.adapters.mongo_connections.WIRE_VERSION_MIN", 1_000)
    with pytest.raises(ConfigurationError, match=r"6\.0"):
        MongoStorage(mongo_database)


def test_a_command_that_the_server_does_not_know_fails_the_step(mongo_database: str) -> None:
    schema = MongoSchema(mongo_database)
    broken = cp.domain.migrations.Migration(1, "broken", '[{"noSuchCommand": "wallets"}]')
    with pytest.raises(StorageUnavailable):
        schema.apply(broken, "now")
    assert schema.applied() == []
    missing = cp.domain.migrations.Migration(1, "drop", '[{"dropIndexes": "x", "index": "no"}]')
    with pytest.raises((StorageUnavailable, OperationFailure)):
        schema.apply(missing, "now")  # there is not even the collection
    schema.close()


# -- forks ----------------------------------------------------------------------------------------

FORK = """
import os, sys, threading
from credit_payments.adapters.mongo import MongoStorage
from credit_payments.bootstrap import over
from credit_payments.config import load_settings

storage = MongoStorage(sys.argv[1])
system = over(storage, load_settings({"database": "memory://"}, []))
grant = lambda key: system.wallets.grant("ada", 1, key=key, reason="fork")
grant("before")
stop, counts = threading.Event(), []
def write(name):
    number = 0
    while not stop.is_set():
        number += 1
        grant(f"{name}{number}")
    counts.append(number)
threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
for thread in threads: thread.start()
def in_child():
    code = 1
    try:
        for number in range(20):
            grant(f"child{os.getpid()}-{number}")
        assert system.verify().ok
        system.close()
        code = 0
    finally:
        os._exit(code)
pids = []
for _ in range(3):
    pid = os.fork()
    if pid == 0: in_child()
    pids.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in pids]
stop.set()
for thread in threads: thread.join()
assert codes == [0, 0, 0], codes
assert system.verify().ok
assert system.wallets.balance("ada").available == 1 + 60 + sum(counts)
if len(sys.argv) > 2:  # a child that ends as a process does, with everything inherited
    pid = os.fork()
    if pid == 0:
        grant("last")
        system.close()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
system.close()
"""


@pytest.mark.parametrize("ends_itself", [False, True])
def test_a_forked_child_has_a_client_of_its_own(mongo_database: str, ends_itself: bool) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning"),
            *("-c", FORK, mongo_database, *(["itself"] if ends_itself else [])),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
