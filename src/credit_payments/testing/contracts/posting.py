# ruff: noqa: D102, PLR2004, S101 - the names of the tests are their documentation
"""The database queue over the storage: what the whole is promised, the storage has to make true."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import pytest

from credit_payments.domain.records import (
    Entry,
    Event,
    Incident,
    Notification,
    Payment,
    Record,
    Wallet,
)
from credit_payments.domain.spending import Grant, Spend
from credit_payments.errors import CreditPaymentsError, IdempotencyConflict, StorageUnavailable
from credit_payments.ports.storage import Storage, Transaction, WriteConflict
from credit_payments.posting import PostingQueue
from credit_payments.testing.contracts.tools import (
    WAIT_SECONDS_MAX,
    a_row,
    put,
    together,
    until_written,
)
from credit_payments.verifying import verify


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class _Unreliable:
    """Loses, in turn, a reply to a commit that took place, and a commit itself."""

    def __init__(self, storage: Storage, every: int) -> None:
        self._storage = storage
        self._every = every
        self.transactions = 0

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        self.transactions += 1
        turn = self.transactions % (2 * self._every)
        with self._storage.transaction(patient=patient) as transaction:
            yield transaction
            if turn == self._every:
                raise StorageUnavailable("The connection was lost before the commit.")
        if turn == 0:
            raise StorageUnavailable("The reply to the commit was lost.")

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)


def _grant(key: str, credits: int = 1, user_id: str = "ada") -> Grant:
    return Grant(user_id=user_id, credits=credits, key=key, reason="contract")


@contextmanager
def _queue(storage: object) -> Iterator[PostingQueue]:
    queue = PostingQueue(storage, _Clock(), sleep=lambda _: None)  # type: ignore[arg-type]
    try:
        yield queue
    finally:
        queue.close()


def _check(storage: Storage, entries: int) -> None:
    with storage.snapshot() as reader:
        report = verify(reader)
    assert report.ok, report.problems
    assert report.entries == entries


class PostingContract:
    """Idempotency, batches and lost replies."""

    def test_a_key_posts_once_however_often_it_is_used(self, storage: Storage) -> None:
        with _queue(storage) as queue:
            first = queue.submit(_grant("key"))
            together(*[lambda: [queue.submit(_grant("key")) for _ in range(10)] for _ in range(8)])
            assert queue.submit(_grant("key")) == first
            with pytest.raises(IdempotencyConflict):
                queue.submit(_grant("key", credits=2))
        _check(storage, 1)

    def test_two_queues_on_one_storage_post_each_key_once(self, storage: Storage) -> None:
        """As two processes do."""
        with _queue(storage) as one, _queue(storage) as other:

            def post(queue: PostingQueue) -> None:
                for number in range(40):
                    queue.submit(_grant(f"key{number}", user_id=f"user{number % 3}"))

            together(*[lambda queue=queue: post(queue) for queue in (one, other) * 2])
        _check(storage, 40)

    def test_one_row_that_cannot_be_written_holds_nobody_else_up(self, storage: Storage) -> None:
        """Half a surrogate pair is no text that any database could keep."""
        with _queue(storage) as queue:

            def post(name: str) -> None:
                for number in range(20):
                    queue.submit(_grant(f"{name}{number}", user_id=name))

            def spoil() -> None:
                for number in range(5):
                    with pytest.raises((CreditPaymentsError, ValueError)):
                        queue.submit(_grant(f"poison{number} \ud83d", user_id="eve"))

            together(lambda: post("ada"), lambda: post("bob"), spoil)
        _check(storage, 40)
        assert storage.get(Wallet, "eve") is None

    @pytest.mark.parametrize("every", [2, 3, 5])
    def test_whatever_is_lost_on_the_way_each_key_posts_once(
        self, storage: Storage, every: int
    ) -> None:
        with _queue(_Unreliable(storage, every)) as queue:

            def post(name: str) -> None:
                for number in range(10):
                    granted = queue.submit(_grant(f"{name}{number}", credits=3))
                    spent = queue.submit(Spend(user_id="ada", credits=1, key=f"{name}{number}"))
                    assert (granted.credits, spent.credits) == (3, -1)

            together(*[lambda name=name: post(name) for name in "abcd"])
        _check(storage, 80)
        wallet = storage.get(Wallet, "ada")
        assert wallet is not None
        assert wallet.available == 80

    def test_entries_of_a_wallet_are_numbered_without_a_gap(self, storage: Storage) -> None:
        with _queue(storage) as queue:
            together(
                *[
                    lambda name=name: [queue.submit(_grant(f"{name}{n}")) for n in range(15)]
                    for name in "abcd"
                ]
            )
        rows = storage.page(Entry, {"user_id": "ada"}, order=("sequence",), limit=100)
        assert [row.sequence for row in rows] == list(range(1, 61))
        assert [row.previous_hash for row in rows[1:]] == [row.hash for row in rows[:-1]]

    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has no tzset")
    @pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu"])
    def test_instants_are_the_same_in_every_time_zone(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch, zone: str
    ) -> None:
        instant = "2024-03-31T01:30:00.000001Z"
        row = a_row(Event, "evt_1", received_at=instant)
        put(storage, row)
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            later = a_row(Event, "evt_2", received_at=instant)
            put(storage, later)
            assert [storage.get(Event, key) for key in ("evt_1", "evt_2")] == [row, later]
        finally:
            monkeypatch.undo()
            time.tzset()


class GuardContract:
    """There being no row of a kind that is `GUARDED`."""

    def test_nobody_adds_a_row_while_another_decides_on_there_being_none(
        self, storage: Storage
    ) -> None:
        """Of a report about an unknown payment, and the payment: whoever is second sees the first.

        Otherwise both would commit, and the report would be filed for ever.
        """
        for number in range(8):
            key, both = f"pi_{number}", threading.Barrier(2)

            def meet(both: threading.Barrier = both) -> None:
                """Where nothing is locked both have looked now; else one waits for the other."""
                with suppress(threading.BrokenBarrierError):
                    both.wait(0.05)

            def report(key: str = key, meet: Callable[[], None] = meet) -> None:
                with storage.transaction() as transaction:
                    found = transaction.load([(Payment, key), (Incident, key)])
                    meet()
                    if (Payment, key) not in found:
                        transaction.write([a_row(Incident, key, status="open")], [])

            def create(key: str = key, meet: Callable[[], None] = meet) -> None:
                with storage.transaction() as transaction:
                    found = transaction.load([(Payment, key), (Incident, key)])
                    meet()
                    merged = int((Incident, key) in found)
                    transaction.write([a_row(Payment, key, quarantined=merged)], [])

            together(partial(until_written, report), partial(until_written, create))
            payment, incident = storage.get(Payment, key), storage.get(Incident, key)
            assert payment is not None
            assert payment.quarantined == int(incident is not None)


class WatchContract:
    """Being told of new rows."""

    @pytest.mark.parametrize("kind", [Notification, Event], ids=lambda kind: str(kind.TABLE))
    def test_a_watch_is_woken_by_a_new_row_or_there_is_none(
        self, storage: Storage, kind: type[Record]
    ) -> None:
        woken = threading.Event()
        watch = storage.watch(kind, woken.set)
        if watch is None:
            return
        try:
            for number in range(3):
                _until_quiet(woken)
                put(storage, a_row(kind, f"n{number}", status="due"))
                assert woken.wait(WAIT_SECONDS_MAX), f"not woken by row {number}"
            _until_quiet(woken)
            put(storage, a_row(kind, "done", status="done"))
            assert not woken.wait(0.3)
        finally:
            watch.close()
            watch.close()
        _until_quiet(woken)
        put(storage, a_row(kind, "after", status="due"))
        assert not woken.wait(0.3)


def _until_quiet(woken: threading.Event) -> None:
    """It may be woken once more than there are rows: after it has begun, or begun again."""
    woken.clear()
    while woken.wait(0.5):
        woken.clear()


class ProcessContract:
    """Several processes on one database.

    The fixture `reopen` gives another storage on the same database each time that it is called;
    it is called in forked children.
    """

    @pytest.fixture
    def reopen(self) -> Callable[[], Storage] | None:
        """None where no other process can reach the database; override it otherwise."""
        return None

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    def test_processes_post_each_key_once(
        self, storage: Storage, reopen: Callable[[], Storage] | None
    ) -> None:
        if reopen is None:
            pytest.skip("no other process can reach this database")
        children = [_child(reopen, name) for name in "abc"]
        codes = [os.waitpid(child, 0)[1] for child in children]
        assert codes == [0, 0, 0]
        _check(storage, 30 + 3 * 30)


def _child(reopen: Callable[[], Storage], name: str) -> int:
    """A process of its own that posts; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        storage = reopen()
        with _queue(storage) as queue:
            for number in range(30):
                for key in (f"shared{number}", f"{name}{number}"):
                    _patiently(queue, _grant(key, user_id=f"user{number % 3}"))
        storage.close()
        code = 0
    finally:
        os._exit(code)


def _patiently(queue: PostingQueue, command: Grant) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        try:
            queue.submit(command)
        except (StorageUnavailable, WriteConflict):
            if time.monotonic() > deadline:
                raise
            continue
        return
