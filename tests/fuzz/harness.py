"""How each fuzzer runs: our code instrumented, what it has met told, a finding shown.

A fuzzer runs in a process of its own, from the project's root, with libFuzzer's options
(https://llvm.org/docs/LibFuzzer.html#options); the name of a file instead runs that one input:

    python -m tests.fuzz.fuzz_signed_body -max_total_time=60 -rss_limit_mb=512 some/folder
    python -m tests.fuzz.fuzz_signed_body some/folder/crash-0123
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import atheris
from atheris.import_hook import instrument_imports

One = Callable[[bytes], Iterable[str]]
Mutator = Callable[[bytes, int, int], bytes]

TELL_EVERY = 500
"""Inputs. libFuzzer ends the process without a word to Python, so the last word comes before."""


def instrumented() -> AbstractContextManager[object]:
    """Whatever of the library is imported within tells libFuzzer where it goes."""
    return instrument_imports(include=["credit_payments"], exclude=["credit_payments.testing"])


def run(one: One, mutator: Mutator | None = None) -> None:
    """Try one input after the other until libFuzzer has had enough; ends the process.

    Args:
        one: tries one input, and says in words what came of it; whatever it raises is a finding.
        mutator: makes the next input of one, of so many bytes at most, by a seed.
    """
    met: Counter[str] = Counter()

    def try_one(data: bytes) -> None:
        met.update(["inputs", *one(data)])
        if met["inputs"] % TELL_EVERY == 0:
            told = ", ".join(f"{word}: {number}" for word, number in sorted(met.items()))
            print(f"MET {told}", file=sys.stderr, flush=True)  # noqa: T201 - to who started it

    atheris.Setup(sys.argv, try_one, **({"custom_mutator": mutator} if mutator else {}))
    atheris.Fuzz()
