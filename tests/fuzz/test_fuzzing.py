"""Coverage-guided fuzzing of what strangers can send: seconds here, ten minutes in `make torture`.

Each fuzzer is a program beside this file, and what must hold for every input stands there. One that
has found something leaves the input in a file, with which it can be started again.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs
import pytest
from tests.fuzz import seeds

ROOT = Path(__file__).parents[2]
MEMORY_MIB_MAX = 256
"""Of the whole process, its interpreter and all of the library included; libFuzzer looks."""
INPUT_SECONDS_MAX = 20
TORTURE_SECONDS = 600
_SMALL_PARENT = ("/bin/sh", "-c", '"$@"; exit $?', "sh")
"""libFuzzer looks at the most memory that the process ever had, and on Linux that includes what it
was forked from: the process of all these tests would be too large."""
_GRACE_SECONDS = 120
_SHOWN_BYTES_MAX = 20_000


@attrs.frozen
class Fuzzer:
    """A program, what it begins with, and what it must have met to have tried anything.

    Attributes:
        runs: how many inputs are a few seconds.
        bytes_max: the longest input.
        met: by a word of the fuzzer's own, in how many of those inputs at least.
    """

    name: str
    inputs: Callable[[], list[bytes]]
    words: Iterable[str]
    runs: int
    bytes_max: int
    met: dict[str, int]


FUZZERS = [
    Fuzzer(
        "fuzz_signature_header",
        seeds.headers,
        seeds.HEADER_WORDS,
        runs=20_000,
        bytes_max=4_096,
        met={"accepted": 100, "refused": 15_000},
    ),
    Fuzzer(
        "fuzz_signed_body",
        seeds.bodies,
        seeds.BODY_WORDS,
        runs=500,
        bytes_max=64 * 1024,
        met={"applied": 100, "quarantined": 50, "duplicate": 30, "ignored": 5, "invalid": 100},
    ),
    Fuzzer(
        "fuzz_request",
        seeds.requests,
        seeds.REQUEST_WORDS,
        runs=5_000,
        bytes_max=4_096,
        met={"2xx": 300, "4xx": 2_000},
    ),
]


@pytest.fixture
def atheris() -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("fuzzer missing: there is no atheris for this machine")


@pytest.fixture(params=FUZZERS, ids=lambda fuzzer: fuzzer.name)
def fuzzer(request: pytest.FixtureRequest, atheris: None) -> Fuzzer:
    found: Fuzzer = request.param
    return found


def fuzz(program: Sequence[str], folder: Path, *options: str, seconds_max: float) -> dict[str, int]:
    """Run a program, and return what it has met; what it has found fails the test."""
    command = [
        *_SMALL_PARENT,
        sys.executable,
        *program,
        f"-artifact_prefix={folder}/found-",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        f"-timeout={INPUT_SECONDS_MAX}",
        "-seed=1",
        *options,
    ]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds_max,
        check=False,
    )
    told = ended.stdout.decode(errors="replace")
    found = [file.read_bytes()[:_SHOWN_BYTES_MAX] for file in folder.glob("found-*")]
    assert ended.returncode == 0, f"{told[-_SHOWN_BYTES_MAX:]}\nThe input: {found}"
    assert not found
    met = re.findall(r"^MET (.*)$", told, re.MULTILINE)[-1]
    return {word: int(number) for word, number in (pair.split(": ") for pair in met.split(", "))}


def begin(fuzzer: Fuzzer, folder: Path) -> list[str]:
    """The program with its seeds and words."""
    corpus, dictionary = seeds.write(folder, fuzzer.inputs(), fuzzer.words)
    module = f"tests.fuzz.{fuzzer.name}"
    return ["-m", module, str(corpus), f"-dict={dictionary}", f"-max_len={fuzzer.bytes_max}"]


def test_nothing_that_is_sent_has_an_effect_or_an_error_that_is_not_ours(
    fuzzer: Fuzzer, tmp_path: Path
) -> None:
    program = begin(fuzzer, tmp_path)
    met = fuzz(program, tmp_path, f"-runs={fuzzer.runs}", seconds_max=_GRACE_SECONDS)
    assert met.pop("inputs") == fuzzer.runs
    assert {word: number for word, number in fuzzer.met.items() if met.get(word, 0) < number} == {}


@pytest.mark.torture
def test_ten_minutes_of_it_have_no_effect_and_no_error_either(
    fuzzer: Fuzzer, tmp_path: Path
) -> None:
    limit = f"-max_total_time={TORTURE_SECONDS}"
    program = begin(fuzzer, tmp_path)
    met = fuzz(program, tmp_path, limit, seconds_max=TORTURE_SECONDS + _GRACE_SECONDS)
    assert met["inputs"] >= 10 * fuzzer.runs


PLANTED = """
from tests.fuzz import harness

def one(data):
    assert b"planted" not in data, "found it"
    return ["fine"]

harness.run(one)
"""


def test_what_a_fuzzer_finds_fails_its_test_and_is_shown_with_the_input(
    atheris: None, tmp_path: Path
) -> None:
    """Else nobody could tell a fuzzer that is blind from a library without bugs."""
    program = tmp_path / "fuzz_planted.py"
    program.write_text(PLANTED)
    corpus, _ = seeds.write(tmp_path, [b"this is planted"], [])
    with pytest.raises(AssertionError, match=r"(?s)found it.*The input: \[b'this is planted'\]"):
        fuzz([str(program), str(corpus)], tmp_path, "-runs=10", seconds_max=_GRACE_SECONDS)
