from __future__ import annotations

import io
import json

from credit_payments.cli.demo.checks import Check
from credit_payments.cli.demo.report import COUNTS, Console, Outcome


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_outcome_without_faults_exits_with_0() -> None:
    outcome = Outcome(seconds=1.234)
    assert outcome.exit_code == 0
    assert json.loads(outcome.to_json()) == {
        "invariants": "hold",
        "broken": [],
        "counts": dict.fromkeys(COUNTS, 0),
        "seconds": 1.23,
    }


def test_one_fault_makes_the_exit_code_1() -> None:
    outcome = Outcome(broken=["wallets: ann holds 2 credits and bought 1"])
    assert outcome.exit_code == 1
    assert json.loads(outcome.to_json())["invariants"] == "broken"


def test_color_is_for_terminals_only() -> None:
    for stream, colored in ((io.StringIO(), False), (Terminal(), True)):
        Console(quiet=False, stream=stream).result("Step", "done", ok=True)
        assert ("\x1b[" in stream.getvalue()) is colored


def test_a_quiet_console_says_nothing() -> None:
    stream = io.StringIO()
    Console(quiet=True, stream=stream).line("hello")
    assert stream.getvalue() == ""


def test_a_broken_check_is_followed_by_its_problems() -> None:
    stream = io.StringIO()
    check = Check(name="wallets", title="each wallet fits", problems=("ann holds 2",))
    Console(quiet=False, stream=stream).checks([check])
    assert stream.getvalue().splitlines()[-2:] == [
        "  BROKEN  each wallet fits",
        "            ann holds 2",
    ]
