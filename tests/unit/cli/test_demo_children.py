from __future__ import annotations

import os
from pathlib import Path

import pytest

from credit_payments.cli.demo import children
from credit_payments.cli.demo.children import Child, ChildFailed

OBEDIENT = """
import json, os, sys
print(json.dumps({"env": dict(os.environ)}), flush=True)
sys.stderr.write(sys.stdin.readline())
sys.stdin.read()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that a child can be told to run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "demo_child_program.py"


def start(program: Path) -> Child:
    return Child("program", program.stem, folder=program.parent)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_ends_in_order_when_its_input_is_closed(program: Path) -> None:
    program.write_text(OBEDIENT)
    with start(program) as child:
        child.first_line()
        child.tell({"hello": "there"})
        child.finish()
    assert (program.parent / "program.err").read_text() == '{"hello": "there"}\n'
    assert gone(child.pid)


def test_a_child_inherits_neither_stripe_keys_nor_a_proxy(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write_text(OBEDIENT)
    kept_out = ("STRIPE_SECRET_KEY", "CREDIT_PAYMENTS_DATABASE_URL", "http_proxy", "HTTPS_PROXY")
    for name in kept_out:
        monkeypatch.setenv(name, "unwanted")
    with start(program) as child:
        environment = child.first_line()["env"]
    assert "PATH" in environment
    assert not environment.keys() & set(kept_out)


def test_a_child_that_dies_shows_the_end_of_what_it_complained(program: Path) -> None:
    program.write_text("raise RuntimeError('no more cheese')\n")
    with start(program) as child, pytest.raises(ChildFailed, match="exit code 1") as caught:
        child.first_line()
    assert caught.value.tail.endswith("RuntimeError: no more cheese")


def test_a_child_that_never_gets_ready_is_given_up(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write_text("import sys; sys.stdin.read()\n")
    monkeypatch.setattr(children, "READY_SECONDS_MAX", 0.2)
    with start(program) as child, pytest.raises(ChildFailed, match="not ready after"):
        child.first_line()
    assert gone(child.pid)


def test_a_child_that_does_not_listen_is_ended_by_force(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write_text("print('{}', flush=True)\nimport time; time.sleep(60)\n")
    monkeypatch.setattr(children, "STOP_SECONDS_MAX", 0.3)
    with start(program) as child:
        child.first_line()
        with pytest.raises(ChildFailed, match="did not end in order"):
            child.finish()
    assert gone(child.pid)
