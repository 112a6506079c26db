"""The database queue under rejections, poison, failing databases, interrupts and many threads."""

from __future__ import annotations

import itertools
import linecache
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, TypeVar

import attrs
import msgspec
import pytest

from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain import lots
from credit_payments.domain.decision import Ask, Decision, NotLoaded, View
from credit_payments.domain.records import NEVER, Entry, Event, Key, Lot, Record, Wallet
from credit_payments.errors import InsufficientCredits, QueueFull, StorageUnavailable
from credit_payments.ports.storage import Transaction, WriteConflict
from credit_payments.posting import PostingQueue, line
from credit_payments.posting import queue as posting_queue
from credit_payments.posting.line import Ticket

R = TypeVar("R", bound=Record)
SECONDS_MAX = 10.0


def event(key: str, kind: str = "t") -> Event:
    return Event(key, kind, "", "applied", "now")


def never(view: View) -> Iterable[Ask]:
    return ()


@attrs.frozen(kw_only=True)
class Do:
    """A command made of functions."""

    run: Callable[[View, str], Decision[Any]]
    loads: tuple[Ask, ...] = ()
    after: Callable[[View], Iterable[Ask]] = never

    def keys(self) -> Iterable[Ask]:
        return self.loads

    def keys_after(self, view: View) -> Iterable[Ask]:
        return self.after(view)

    def decide(self, view: View, now: str) -> Decision[Any]:
        return self.run(view, now)


def add(key: str) -> Do:
    """Adds an event once; answers whether it was new."""

    def run(view: View, now: str) -> Decision[bool]:
        if view.get(Event, key):
            return Decision(False)
        return Decision(True, [event(key)])

    return Do(run=run, loads=((Event, key),))


def count(user: str) -> Do:
    """Adds one to a wallet; answers the number after it. Not keyed: repeating it shows."""

    def run(view: View, now: str) -> Decision[int]:
        wallet = view.get(Wallet, user) or Wallet(user, updated_at=now)
        after = msgspec.structs.replace(wallet, available=wallet.available + 1)
        return Decision(after.available, [after])

    return Do(run=run, loads=((Wallet, user),))


def reject(error: BaseException) -> Do:
    def run(view: View, now: str) -> Decision[None]:
        raise error

    return Do(run=run)


class Faulty(MemoryStorage):
    """Fails as scripted: `faults` maps a transaction's number (from 0) and a place to an error.

    Places are `begin`, `write` (before it) and `commit` (after it: the reply is lost).
    """

    def __init__(self) -> None:
        super().__init__()
        self.transactions = 0
        self.faults: dict[tuple[int, str], BaseException] = {}
        self.poison: set[str] = set()
        self.poison_error: Exception = WriteConflict("poison")
        self.gate: threading.Event | None = None
        self.entered = threading.Event()
        self.sizes: list[int] = []

    def fail(self, place: str, *errors: BaseException) -> None:
        for number, error in enumerate(errors, start=self.transactions):
            self.faults[number, place] = error

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Transaction]:
        number = self.transactions
        self.transactions += 1
        self._raise(number, "begin")
        with super().transaction(patient=patient) as inner:
            self.entered.set()
            if self.gate is not None:
                assert self.gate.wait(SECONDS_MAX)
            yield FaultyTransaction(self, number, inner)
        self._raise(number, "commit")

    def _raise(self, number: int, place: str) -> None:
        if error := self.faults.get((number, place)):
            raise error


class FaultyTransaction:
    def __init__(self, storage: Faulty, number: int, inner: Transaction) -> None:
        self._storage, self._number, self._inner = storage, number, inner
        self.load, self.first, self.load_both = inner.load, inner.first, inner.load_both

    def write(self, inserts: Any, updates: Any) -> None:
        self._storage._raise(self._number, "write")
        self._storage.sizes.append(len(inserts) + len(updates))
        for row in [*inserts, *updates]:
            if getattr(row, row.KEY) in self._storage.poison:
                raise self._storage.poison_error
        self._inner.write(inserts, updates)


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def queue(faulty: Faulty, pauses: list[float]) -> Iterator[PostingQueue]:
    queue = PostingQueue(faulty, SystemClock(), sleep=pauses.append)
    yield queue
    queue.close()


class Batch:
    """Submits commands from threads such that all but the first share one transaction."""

    def __init__(self, storage: Faulty, queue: PostingQueue) -> None:
        self._storage, self._queue = storage, queue

    def _holds(self, number: int) -> bool:
        return self._queue.health().commands_waiting == number

    def run(
        self, *commands: Do, between: Callable[[], None] = lambda: None
    ) -> list[Any | BaseException]:
        self._storage.gate = threading.Event()
        self._storage.entered.clear()
        with ThreadPoolExecutor(len(commands) + 1) as pool:
            first = pool.submit(self._queue.submit, add(f"first{self._storage.transactions}"))
            assert self._storage.entered.wait(SECONDS_MAX)
            futures = []
            for number, command in enumerate(commands, start=1):
                futures.append(pool.submit(self._queue.submit, command))
                _until(partial(self._holds, number))
            between()
            self._storage.gate.set()
            first.result(SECONDS_MAX)
            outcomes = [f.exception(SECONDS_MAX) or f.result(SECONDS_MAX) for f in futures]
        self._storage.gate = None
        return outcomes


@pytest.fixture
def batch(faulty: Faulty, queue: PostingQueue) -> Batch:
    return Batch(faulty, queue)


def _until(holds: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(5_000):
        if holds():
            return
        waiting.wait(0.001)
    raise AssertionError("it never came true")


def keys(storage: MemoryStorage) -> set[str]:
    return {
        row.event_id
        for row in storage.scan(Event, order=("event_id",))
        if not row.event_id.startswith("first")
    }


# -- batches ----------------------------------------------------------------------------------


def test_commands_that_wait_together_share_one_transaction(batch: Batch, faulty: Faulty) -> None:
    assert batch.run(*(count("ada") for _ in range(20))) == list(range(1, 21))
    assert faulty.transactions == 2
    wallet = faulty.get(Wallet, "ada")
    assert wallet is not None
    assert wallet == Wallet("ada", available=20, updated_at=wallet.updated_at)


def test_a_batch_is_no_larger_than_its_bound(faulty: Faulty) -> None:
    queue = PostingQueue(faulty, SystemClock(), batch_max=4)
    Batch(faulty, queue).run(*(add(f"evt_{number}") for number in range(10)))
    assert max(faulty.sizes) == 4
    assert faulty.transactions == 1 + 3


def test_later_commands_see_what_earlier_ones_of_their_batch_did(batch: Batch) -> None:
    assert batch.run(add("evt_1"), add("evt_1"), add("evt_1")) == [True, False, False]


def test_a_rejected_command_touches_nobody_else(
    batch: Batch, faulty: Faulty, pauses: list[float]
) -> None:
    refusal = InsufficientCredits(available=0, required=1)
    assert batch.run(add("evt_1"), reject(refusal), add("evt_2")) == [True, refusal, True]
    assert keys(faulty) == {"evt_1", "evt_2"}
    assert faulty.transactions == 2
    assert not pauses


def test_a_bug_in_a_decision_reaches_its_own_caller_only(batch: Batch, faulty: Faulty) -> None:
    bug = ZeroDivisionError()
    assert batch.run(reject(bug), add("evt_1")) == [bug, True]
    assert keys(faulty) == {"evt_1"}


def test_a_decision_that_fails_halfway_through_its_changes_is_refused_whole(
    batch: Batch, faulty: Faulty
) -> None:
    def changes() -> Iterator[Record]:
        yield event("evt_half")
        raise ZeroDivisionError

    def run(view: View, now: str) -> Decision[None]:
        return Decision(None, list(changes()))

    outcomes = batch.run(Do(run=run), add("evt_1"))
    assert isinstance(outcomes[0], ZeroDivisionError)
    assert keys(faulty) == {"evt_1"}


def test_rows_that_the_first_ones_point_to_are_loaded_too(queue: PostingQueue) -> None:
    queue.submit(add("evt_1"))
    queue.submit(count("evt_1"))

    def after(view: View) -> Iterable[Key]:
        known = view.get(Event, "evt_1")
        return [(Wallet, known.event_id), (Wallet, "nobody")] if known else []

    def run(view: View, now: str) -> Decision[tuple[Any, Any]]:
        return Decision((view.get(Wallet, "evt_1"), view.get(Wallet, "nobody")))

    wallet, nobody = queue.submit(Do(run=run, loads=((Event, "evt_1"),), after=after))
    assert wallet.available == 1
    assert nobody is None


def lot(number: int) -> Lot:
    return Lot(
        f"grant:{number}", "ada", "grant", number, 0, NEVER, 1, 1, 1, 0, 0, 0, 0, 0, 0, "now"
    )


def take(credits: int) -> Do:
    """Closes so many open lots, the oldest first; answers their names."""
    series = lots.to_spend("ada")

    def after(view: View) -> Iterable[Ask]:
        return view.until(series, lambda rows: len(rows) >= credits)

    def run(view: View, now: str) -> Decision[list[str]]:
        rows, is_all = view.first(series)
        if len(rows) < credits and not is_all:
            raise NotLoaded
        taken = [msgspec.structs.replace(row, open=0, available=0) for row in rows[:credits]]
        return Decision([row.lot_id for row in taken], taken)

    return Do(run=run, loads=(lots.first_to_spend("ada"),), after=after)


@pytest.mark.parametrize("credits", [1, 8, 9, 64, 65, 100, 101])
def test_a_series_is_loaded_as_far_as_its_command_needs(
    queue: PostingQueue, faulty: Faulty, credits: int
) -> None:
    names = [f"grant:{number}" for number in range(100)]
    with faulty.transaction() as transaction:
        transaction.write([lot(number) for number in range(100)], [])
    assert queue.submit(take(credits)) == names[:credits]
    assert queue.submit(take(100)) == names[credits:]


def test_later_commands_see_which_rows_of_a_series_are_left(batch: Batch, faulty: Faulty) -> None:
    with faulty.transaction() as transaction:
        transaction.write([lot(number) for number in range(20)], [])
    taken = batch.run(*(take(5) for _ in range(5)))
    # The first eight serve one command; those that need more of them run again alone.
    assert taken == [[f"grant:{5 * n + m}" for m in range(5)] for n in range(4)] + [[]]
    assert faulty.transactions > 3


def test_a_command_led_astray_by_its_batch_runs_again_alone(batch: Batch, faulty: Faulty) -> None:
    # When the batch was loaded there was no event, so nobody loaded what it points to.
    def after(view: View) -> Iterable[Key]:
        return [(Wallet, "ada")] if view.get(Event, "evt_1") else []

    def run(view: View, now: str) -> Decision[Any]:
        return Decision(view.get(Event, "evt_1") and (view.get(Wallet, "ada") or "no wallet"))

    stray = Do(run=run, loads=((Event, "evt_1"),), after=after)
    assert batch.run(stray, add("evt_1"), stray, add("evt_2")) == [None, True, "no wallet", True]
    assert keys(faulty) == {"evt_1", "evt_2"}


def test_a_command_that_forgets_to_name_a_row_fails_alone(batch: Batch, faulty: Faulty) -> None:
    forgetful = Do(run=lambda view, now: Decision(view.get(Wallet, "ada")))
    outcomes = batch.run(forgetful, add("evt_1"))
    assert isinstance(outcomes[0], NotLoaded)
    assert outcomes[1] is True


# -- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [WriteConflict("x"), StorageUnavailable("x")], ids=type)
@pytest.mark.parametrize("place", ["begin", "write"])
@pytest.mark.parametrize("times", [1, 4])
def test_a_database_that_fails_for_a_moment_is_asked_again(
    queue: PostingQueue,
    faulty: Faulty,
    pauses: list[float],
    error: Exception,
    place: str,
    times: int,
) -> None:
    faulty.fail(place, *[error] * times)
    assert queue.submit(count("ada")) == 1
    assert len(pauses) == times
    assert all(0 <= pause <= 1 for pause in pauses)


@pytest.mark.parametrize("times", [1, 2, 4])
def test_after_a_commit_whose_reply_was_lost_the_effect_is_there_once(
    queue: PostingQueue, faulty: Faulty, times: int
) -> None:
    faulty.fail("commit", *[StorageUnavailable("reply lost")] * times)
    assert queue.submit(add("evt_1")) is False  # it was the first try that added it
    assert keys(faulty) == {"evt_1"}


def test_a_whole_batch_survives_a_lost_reply(batch: Batch, faulty: Faulty) -> None:
    faulty.faults[1, "commit"] = StorageUnavailable("reply lost")
    batch.run(*(add(f"evt_{number}") for number in range(30)))
    assert keys(faulty) == {f"evt_{number}" for number in range(30)}
    assert faulty.transactions == 3


def test_a_database_that_stays_away_is_reported_as_retryable(
    queue: PostingQueue, faulty: Faulty
) -> None:
    faulty.fail("begin", *[StorageUnavailable("down")] * 5)
    with pytest.raises(StorageUnavailable, match="down") as caught:
        queue.submit(add("evt_1"))
    assert caught.value.retryable
    assert queue.submit(add("evt_1")) is True


def test_endless_conflicts_are_reported_as_retryable(queue: PostingQueue, faulty: Faulty) -> None:
    faulty.fail("write", *[WriteConflict("x")] * 200)
    with pytest.raises(StorageUnavailable):
        queue.submit(add("evt_1"))
    assert keys(faulty) == set()


def test_a_command_alone_waits_longer_for_writers_that_are_ahead(
    queue: PostingQueue, faulty: Faulty, pauses: list[float]
) -> None:
    faulty.fail("write", *[WriteConflict("x")] * 79)
    assert queue.submit(add("evt_1")) is True
    assert len(pauses) == 79
    assert max(pauses) <= 0.25


def test_who_is_overtaken_waits_outside_and_holds_nobody_up(faulty: Faulty) -> None:
    """As by a host's transaction that holds a wallet for long."""
    faulty.poison, faulty.poison_error = {"evt_held"}, WriteConflict("x")
    queue = PostingQueue(faulty, SystemClock())
    outcomes: list[object] = []

    def held() -> None:
        outcomes.append(queue.submit(add("evt_held")))

    thread = threading.Thread(target=held)
    thread.start()
    for number in range(100):
        queue.submit(add(f"evt_{number}"))
    assert outcomes == [], "it is still held"
    faulty.poison = set()
    thread.join(SECONDS_MAX)
    assert outcomes == [True]
    queue.close()


@pytest.mark.parametrize(
    "error",
    [WriteConflict("x"), StorageUnavailable("x"), OverflowError("x"), TypeError("x")],
    ids=type,
)
@pytest.mark.parametrize("position", [0, 7, 15])
def test_one_command_that_cannot_be_stored_fails_alone(
    batch: Batch, faulty: Faulty, error: Exception, position: int
) -> None:
    faulty.poison = {"evt_poison"}
    faulty.poison_error = error
    commands = [add(f"evt_{number}") for number in range(15)]
    commands.insert(position, add("evt_poison"))
    outcomes = batch.run(*commands)
    poisoned = outcomes.pop(position)
    assert isinstance(poisoned, Exception)
    assert outcomes == [True] * 15
    assert keys(faulty) == {f"evt_{number}" for number in range(15)}


def test_the_tries_end_when_their_time_is_over(faulty: Faulty) -> None:
    queue = PostingQueue(faulty, SystemClock(), wait_seconds_max=0, attempts_max=1_000)
    faulty.fail("begin", *[StorageUnavailable("down")] * 1_000)
    with pytest.raises(StorageUnavailable):
        queue.submit(add("evt_1"))
    assert faulty.transactions == 1


# -- bounds -----------------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_says_so(faulty: Faulty) -> None:
    queue = PostingQueue(faulty, SystemClock(), commands_max=3)
    refused: list[BaseException] = []

    def one_too_many() -> None:
        health = queue.health()
        assert health.commands_waiting == 3
        assert 0 < health.oldest_seconds < SECONDS_MAX
        with pytest.raises(QueueFull) as caught:
            queue.submit(add("evt_more"))
        refused.append(caught.value)

    outcomes = Batch(faulty, queue).run(
        add("evt_1"), add("evt_2"), add("evt_3"), between=one_too_many
    )
    assert outcomes == [True] * 3
    assert "evt_more" not in keys(faulty)
    assert len(refused) == 1
    assert queue.submit(add("evt_more")) is True


def test_an_idle_queue_is_empty(queue: PostingQueue) -> None:
    queue.submit(add("evt_1"))
    assert queue.health().commands_waiting == 0
    assert queue.health().oldest_seconds == pytest.approx(0, abs=0.1)


def test_who_waits_too_long_is_told_and_its_command_never_runs(faulty: Faulty) -> None:
    queue = PostingQueue(faulty, SystemClock(), wait_seconds_max=0.2)
    told: list[BaseException] = []

    def time_out() -> None:
        _until(lambda: queue.health().commands_waiting == 0)

    outcomes = Batch(faulty, queue).run(add("evt_late"), between=time_out)
    told += [outcome for outcome in outcomes if isinstance(outcome, QueueFull)]
    assert len(told) == 1
    assert keys(faulty) == set()
    assert queue.submit(add("evt_late")) is True


def test_who_waits_too_long_for_the_database_is_told_to_ask_again(faulty: Faulty) -> None:
    queue = PostingQueue(faulty, SystemClock(), wait_seconds_max=0.5)
    gate = threading.Event()

    def slow(view: View, now: str) -> Decision[bool]:
        assert gate.wait(SECONDS_MAX)
        return Decision(True)

    with ThreadPoolExecutor(1) as pool:

        def release_the_batch() -> None:
            faulty.gate.set()  # type: ignore[union-attr]
            gates.append(pool.submit(_set_later, gate))

        gates: list[Any] = []
        outcomes = Batch(faulty, queue).run(Do(run=slow), add("evt_1"), between=release_the_batch)
    assert outcomes[0] is True
    assert isinstance(outcomes[1], StorageUnavailable)
    assert queue.submit(add("evt_1")) is False


def _set_later(gate: threading.Event) -> None:
    threading.Event().wait(0.9)
    gate.set()


def test_closing_answers_what_waits_and_refuses_what_comes(
    batch: Batch, faulty: Faulty, queue: PostingQueue
) -> None:
    closing: list[threading.Thread] = []

    def close() -> None:
        closing.append(threading.Thread(target=queue.close))
        closing[0].start()
        _until(lambda: queue._line._closed)
        with pytest.raises(StorageUnavailable, match="closed"):
            queue.submit(add("evt_late"))
        assert closing[0].is_alive()

    assert batch.run(add("evt_1"), add("evt_2"), between=close) == [True, True]
    closing[0].join(SECONDS_MAX)
    assert not closing[0].is_alive()
    assert keys(faulty) == {"evt_1", "evt_2"}
    queue.close()


# -- interrupts -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["begin", "write", "commit"])
def test_a_leader_that_is_interrupted_leaves_nobody_waiting(
    batch: Batch, faulty: Faulty, place: str
) -> None:
    faulty.faults[1, place] = KeyboardInterrupt()
    outcomes = batch.run(*(add(f"evt_{number}") for number in range(8)))
    assert isinstance(outcomes[0], KeyboardInterrupt)  # the second transaction's leader
    assert all(isinstance(outcome, bool) for outcome in outcomes[1:])
    assert keys(faulty) >= {f"evt_{number}" for number in range(1, 8)}


def test_an_interrupted_decision_leaves_nobody_waiting(batch: Batch, faulty: Faulty) -> None:
    once = iter([KeyboardInterrupt()])

    def run(view: View, now: str) -> Decision[str]:
        if error := next(once, None):
            raise error
        return Decision("ran")

    outcomes = batch.run(add("evt_1"), Do(run=run), add("evt_2"))
    assert isinstance(outcomes[0], KeyboardInterrupt)
    assert outcomes[1:] == ["ran", True]


def test_the_queue_works_on_after_an_interrupt(queue: PostingQueue, faulty: Faulty) -> None:
    for place in ("begin", "write", "commit"):
        faulty.fail(place, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            queue.submit(add(f"evt_{place}"))
        assert queue.submit(add(f"evt_after_{place}")) is True
    queue.close()


# -- many threads -----------------------------------------------------------------------------


def test_sixty_four_threads_each_get_their_own_answers_in_order(
    queue: PostingQueue, faulty: Faulty
) -> None:
    def work(name: int) -> list[int]:
        own = [queue.submit(count(f"user{name}")) for _ in range(25)]
        queue.submit(count("everybody"))
        return own

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(work, range(64), timeout=60))
    assert answers == [list(range(1, 26))] * 64
    everybody = faulty.get(Wallet, "everybody")
    assert everybody is not None
    assert everybody.available == 64
    assert faulty.transactions <= 64 * 26
    assert list(faulty.scan(Entry, order=("user_id",))) == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credit_payments.posting.line.STALL_SECONDS_MAX", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_lead_that_was_lost_is_taken_over(queue: PostingQueue, faulty: Faulty) -> None:
    assert queue._line.enter(Ticket(add("evt_lost"))), "and its thread is never seen again"
    assert queue.submit(add("evt_1")) is True
    assert keys(faulty) == {"evt_lost", "evt_1"}


@pytest.mark.usefixtures("impatient")
def test_an_interrupt_between_any_two_lines_leaves_a_queue_that_works(faulty: Faulty) -> None:
    places = {line.__file__, posting_queue.__file__}
    interrupted: set[tuple[str, int]] = set()
    for attempt in itertools.count():
        queue = PostingQueue(faulty, SystemClock(), wait_seconds_max=5)
        hit: list[tuple[str, int]] = []

        def interrupt(
            frame: FrameType, event: str, _: object, hit: list[tuple[str, int]] = hit
        ) -> Any:
            if frame.f_code.co_filename not in places:
                return None
            place = (frame.f_code.co_filename, frame.f_lineno)
            if event == "line" and not hit and place not in interrupted:
                interrupted.add(place)
                # Between taking a lock and holding it lies a gap of CPython's own.
                if not linecache.getline(*place).strip().startswith("with self._mutex"):
                    hit.append(place)
                    raise KeyboardInterrupt
            return interrupt

        sys.settrace(interrupt)
        try:
            queue.submit(add(f"evt_interrupted_{attempt}"))
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if not hit:
            break
        assert queue.submit(add(f"evt_{attempt}")) is True, hit
    assert len(interrupted) > 40, "the sweep went through both modules"


def test_who_comes_too_late_to_lead_leaves_the_database_alone(
    queue: PostingQueue, faulty: Faulty
) -> None:
    late = Ticket(add("evt_late"))
    assert queue._line.enter(late)
    queue._line._leader = Ticket(add("evt_other"))  # another has taken the lead over
    faulty.fail("begin", StorageUnavailable("down"))
    queue._lead(late)
    queue._line._leader = late
    with pytest.raises(StorageUnavailable, match="down"), faulty.transaction():
        pass  # the fault is still there: nobody has begun a transaction
    queue._lead(late)
    assert late.result() is True


def test_who_closes_in_the_midst_of_his_own_batch_does_not_wait_for_himself(
    queue: PostingQueue,
) -> None:
    """As the handler of a signal does."""

    def close(view: View, now: str) -> Decision[bool]:
        queue.close()
        return Decision(answer=True)

    assert queue.submit(Do(run=close)) is True
    with pytest.raises(StorageUnavailable, match="closed"):
        queue.submit(add("evt_1"))
