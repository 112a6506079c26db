"""That drains are counted and timed as they happened, and that a wrong one is no result."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NoReturn

import pytest

from credit_payments.adapters.sqlite import SqliteStorage

consumers = import_module("benchmarks.consumers")
delivering = import_module("benchmarks.delivering")
huey = import_module("benchmarks.peers.huey")
intake = import_module("benchmarks.intake")
machine = import_module("benchmarks.machine")
measure = import_module("benchmarks.measure")
pgqueuer = import_module("benchmarks.peers.pgqueuer")
report = import_module("benchmarks.report")
writing = import_module("benchmarks.writing")

WEBHOOKS = 64


class Answering:
    """The end of a conversation with a process that has answered already."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def poll(self, _seconds: float) -> bool:
        return True

    def send(self, _word: str) -> None:
        pass

    def recv(self) -> object:
        return self.answer


def drained(*answers: object) -> Any:
    return consumers.Consumers([Answering(answer) for answer in answers])


def test_a_rate_lasts_from_the_first_beginning_to_the_last_end() -> None:
    one, other = consumers.Drained(10.0, 12.0, 60), consumers.Drained(11.0, 14.0, 40)
    assert drained(one, other).drain(100) == 25.0


def test_a_process_that_found_nothing_to_do_prolongs_nothing() -> None:
    one, idle = consumers.Drained(10.0, 12.0, 100), consumers.Drained(1.0, 99.0, 0)
    assert drained(one, idle).drain(100) == 50.0


@pytest.mark.parametrize("done", [99, 101])
def test_a_job_that_is_missing_or_was_done_twice_is_no_rate(done: int) -> None:
    with pytest.raises(measure.WrongResult, match=f"{done} jobs were done"):
        drained(consumers.Drained(1.0, 2.0, done)).drain(100)


def test_what_a_process_raised_is_told() -> None:
    with pytest.raises(measure.WrongResult, match="no such table"):
        drained(measure.WrongResult("no such table")).answers()


def test_storing_and_draining_take_the_time_of_both() -> None:
    assert delivering.Turn(100.0, 50.0).together == pytest.approx(100 / 3)


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_samples(percent: int, expected: int) -> None:
    assert intake._percentile(range(100, 0, -1), percent) == expected


def test_a_number_that_stands_alone_is_no_difference() -> None:
    row = measure.plain_row("latency", "from delivery to credit", "ms", [4.0])
    here = machine.Machine(1, "system", "python", "sqlite", "stripe", 1.0)
    text = report.as_text(here, [row])
    assert "4 ms (4 to 4)" in text
    assert "+4" not in text


@pytest.mark.parametrize("peer", [huey, pgqueuer])
def test_a_peer_that_is_not_installed_is_left_out(
    monkeypatch: pytest.MonkeyPatch, peer: Any
) -> None:
    def nothing(**_: object) -> Iterator[metadata.Distribution]:
        return iter(())

    monkeypatch.setattr(metadata, "distributions", nothing)
    assert not peer.installed()


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "webhooks.db"
    writing.fill(SqliteStorage(path), WEBHOOKS)
    return f"sqlite:///{path}"


def unable(reason: str) -> NoReturn:
    """Prepares nothing."""
    raise OSError(reason)


@pytest.mark.long
class TestInProcesses:
    def test_workers_drain_what_was_stored(self, database: str) -> None:
        turn = delivering.queued(database, WEBHOOKS, 2)
        assert min(turn.stored, turn.drained) > 0

    def test_each_queued_webhook_is_timed_until_its_credit(self, database: str) -> None:
        seconds = delivering.seconds_queued(database, WEBHOOKS, 1, 1_000)
        assert len(seconds) == WEBHOOKS
        assert min(seconds) > 0

    def test_each_inline_webhook_is_timed_until_its_credit(self, database: str) -> None:
        seconds = delivering.seconds_inline(database, WEBHOOKS, 1_000)
        assert len(seconds) == WEBHOOKS
        assert min(seconds) > 0

    def test_a_process_that_cannot_begin_says_why(self) -> None:
        with (
            pytest.raises(measure.WrongResult, match="OSError: the disk is full"),
            consumers.ready(1, unable, "the disk is full"),
        ):
            pass
