"""Many commands of one caller in the database queue: their order, what fails, and who is woken."""

from __future__ import annotations

import itertools
import linecache
import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest
from tests.unit.test_posting import SECONDS_MAX, Faulty, _until, add, count, keys, reject

from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.records import Wallet
from credit_payments.errors import InsufficientCredits, QueueFull, StorageUnavailable
from credit_payments.ports.storage import WriteConflict
from credit_payments.posting import PostingQueue, line
from credit_payments.posting import queue as posting_queue
from credit_payments.posting.line import Ticket


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
def queue(faulty: Faulty) -> Iterator[PostingQueue]:
    queue = PostingQueue(faulty, SystemClock(), sleep=lambda seconds: None)
    yield queue
    queue.close()


def test_commands_are_decided_in_their_order_in_as_few_transactions_as_they_fit_in(
    faulty: Faulty,
) -> None:
    queue = PostingQueue(faulty, SystemClock(), batch_max=100)
    assert queue.submit_all([count("ada") for _ in range(250)]) == list(range(1, 251))
    assert faulty.transactions == 3
    assert queue.submit_all([]) == []
    assert faulty.transactions == 3


def test_a_rejection_takes_the_place_of_its_own_answer(queue: PostingQueue, faulty: Faulty) -> None:
    refusal, bug = InsufficientCredits(available=0, required=1), ZeroDivisionError()
    commands = [add("evt_1"), reject(refusal), add("evt_2"), reject(bug), add("evt_1")]
    assert queue.submit_all(commands) == [True, refusal, True, bug, False]
    assert keys(faulty) == {"evt_1", "evt_2"}
    assert faulty.transactions == 1


def test_who_is_overtaken_in_company_is_tried_again_alone(
    queue: PostingQueue, faulty: Faulty
) -> None:
    faulty.fail("write", *[WriteConflict("x")] * 7)
    assert queue.submit_all([add(f"evt_{number}") for number in range(4)]) == [True] * 4
    assert keys(faulty) == {f"evt_{number}" for number in range(4)}


def test_one_that_others_are_always_ahead_of_fails_alone(
    queue: PostingQueue, faulty: Faulty
) -> None:
    faulty.poison = {"evt_3"}
    outcomes = queue.submit_all([add(f"evt_{number}") for number in range(8)])
    overtaken = outcomes.pop(3)
    assert isinstance(overtaken, StorageUnavailable)
    assert overtaken.retryable
    assert outcomes == [True] * 7


def test_what_finds_no_place_in_the_line_is_refused_and_the_rest_is_done(faulty: Faulty) -> None:
    queue = PostingQueue(faulty, SystemClock(), commands_max=5)
    outcomes = queue.submit_all([add(f"evt_{number}") for number in range(8)])
    assert outcomes[:5] == [True] * 5
    assert [type(outcome) for outcome in outcomes[5:]] == [QueueFull] * 3
    assert keys(faulty) == {f"evt_{number}" for number in range(5)}
    assert queue.submit_all([add("evt_7")]) == [True]


def test_a_queue_that_is_closed_refuses_them_all(queue: PostingQueue, faulty: Faulty) -> None:
    queue.close()
    outcomes = queue.submit_all([add("evt_1"), add("evt_2")])
    assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * 2
    assert keys(faulty) == set()


def test_a_follower_who_is_answered_before_it_waits_still_wakes_the_next(
    queue: PostingQueue,
) -> None:
    """Else the next one sleeps on, with its answer there, until it looks up by itself."""
    leader, first, second = (Ticket(add(f"evt_{number}")) for number in range(3))
    assert [queue._line.enter(ticket) for ticket in (leader, first, second)] == [True, False, False]
    queue._see_through(leader, leads=True)
    assert (first.done, second.done) == (True, True)
    assert second.woken.locked(), "it is the first one who is to wake it"
    queue._see_through(first, leads=False)
    assert not second.woken.locked()
    queue._see_through(second, leads=False)
    assert queue._line._leader is None
    assert queue.submit(add("evt_after")) is True


@pytest.mark.parametrize("place", ["begin", "write", "commit"])
def test_an_interrupt_leaves_nobody_waiting(
    queue: PostingQueue, faulty: Faulty, place: str
) -> None:
    faulty.fail(place, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        queue.submit_all([add(f"evt_{number}") for number in range(8)])
    assert queue.health().commands_waiting == 0
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(queue.submit_all, [add(f"evt_{n}")]) for n in range(8, 16)]
        for future in futures:
            assert future.result(SECONDS_MAX) == [True]


@pytest.mark.long
def test_an_interrupt_between_any_two_lines_leaves_a_queue_that_works(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.posting.line.STALL_SECONDS_MAX", 0.05)
    places = {line.__file__, posting_queue.__file__}
    interrupted: set[tuple[str, int]] = set()
    for attempt in itertools.count():
        queue = PostingQueue(faulty, SystemClock(), wait_seconds_max=5, batch_max=2)
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

        commands = [add(f"evt_interrupted_{attempt}_{number}") for number in range(5)]
        sys.settrace(interrupt)
        try:
            queue.submit_all(commands)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if not hit:
            break
        assert queue.submit(add(f"evt_{attempt}")) is True, hit
    assert len(interrupted) > 40, "the sweep went through both modules"


@pytest.mark.long
def test_threads_that_mix_one_and_many_are_all_answered_without_a_stall(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody looks up by itself: whoever were forgotten would sleep on beyond this test's patience.
    monkeypatch.setattr("credit_payments.posting.line.STALL_SECONDS_MAX", 3_600.0)
    queue = PostingQueue(faulty, SystemClock(), batch_max=16, wait_seconds_max=90)

    def work(name: int) -> int:
        chance, sums = random.Random(name), 0
        for _ in range(60):
            if chance.random() < 0.5:
                assert isinstance(queue.submit(count("everybody")), int)
                sums += 1
            else:
                many = chance.randrange(1, 40)
                answers: list[Any] = queue.submit_all([count("everybody") for _ in range(many)])
                assert answers == sorted(answers), "in their order"
                sums += many
        return sums

    with ThreadPoolExecutor(24) as pool:
        total = sum(pool.map(work, range(24), timeout=60))
    everybody = faulty.get(Wallet, "everybody")
    assert everybody is not None
    assert everybody.available == total
    assert queue.health().commands_waiting == 0
    queue.close()


def test_two_callers_of_many_share_their_transactions(queue: PostingQueue, faulty: Faulty) -> None:
    faulty.gate = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(queue.submit, add("evt_first"))
        assert faulty.entered.wait(SECONDS_MAX)
        many = [
            pool.submit(queue.submit_all, [add(f"evt_{name}{number}") for number in range(20)])
            for name in "ab"
        ]
        _until(lambda: queue.health().commands_waiting == 40)
        faulty.gate.set()
        assert first.result(SECONDS_MAX) is True
        assert [future.result(SECONDS_MAX) for future in many] == [[True] * 20] * 2
    assert faulty.transactions == 2
