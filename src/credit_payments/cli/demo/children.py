"""The processes of the demo: each lives as long as its standard input stays open.

So they end with the demo however it ends: when it is done, when it fails, when it is killed. The
orderly way is the same on every operating system, and needs no signal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

READY_SECONDS_MAX: Final = 20.0
STOP_SECONDS_MAX: Final = 5.0
_DYING_SECONDS_MAX: Final = 1.0
_POLL_SECONDS: Final = 0.02
_TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 16 * 1024


class ChildFailed(Exception):
    """A process of the demo died, or never got ready; `tail` is the end of what it complained."""

    def __init__(self, message: str, tail: str) -> None:
        super().__init__(message)
        self.tail = tail


class Child:
    """One process, started at once and ended with the `with` block.

    Args:
        name: what people call it.
        module: run as `python -m`; it must end when its standard input does.
        arguments: of its command line.
        folder: where its output is kept.
    """

    def __init__(self, name: str, module: str, *arguments: str, folder: Path) -> None:
        self.name = name
        self._output = folder / f"{name}.out"
        self._errors = folder / f"{name}.err"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                env=_environment(),
                # Ctrl-C is for the demo, which then ends its children in order.
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def first_line(self) -> Any:
        """Wait for the JSON line with which the process says that it is there.

        Raises:
            ChildFailed: it ended, or said nothing for `READY_SECONDS_MAX`.
        """
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            line, newline, _ = self._output.read_bytes().partition(b"\n")
            if newline:
                return json.loads(line)
            self.check()
            time.sleep(_POLL_SECONDS)
        raise self._failed(f"was not ready after {READY_SECONDS_MAX:.0f} seconds")

    def tell(self, message: object) -> None:
        """Write one JSON line to its standard input.

        Raises:
            ChildFailed: it does not read any more.
        """
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pipe.write(json.dumps(message).encode() + b"\n")
                pipe.flush()
        except OSError as error:
            raise self._failed("ended before it was told its settings") from error

    def check(self) -> None:
        """Make sure that it lives.

        Raises:
            ChildFailed: it does not.
        """
        code = self._process.poll()
        if code is not None:
            raise self._failed(f"ended with exit code {code}")

    def finish(self) -> None:
        """End it in order.

        Raises:
            ChildFailed: it had ended before, had to be forced, or complained by its exit code.
        """
        self.check()
        code = self.stop()
        if code != 0:
            raise self._failed(f"did not end in order: exit code {code}")

    def stop(self) -> int:
        """End it, at first by closing its input, then by force; its exit code."""
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        for force in (self._process.terminate, self._process.kill):
            try:
                return self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                force()
        return self._process.wait(STOP_SECONDS_MAX)

    def _failed(self, what: str) -> ChildFailed:
        tail = self._errors.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace")
        return ChildFailed(f"the {self.name} {what}", "\n".join(tail.splitlines()[-_TAIL_LINES:]))


def check_all(*children: Child) -> None:
    """Make sure that all of them live, and go on living for a moment.

    A process closes its connections first and is gone a little later: whoever looks at once may
    still find it.

    Raises:
        ChildFailed: one of them does not.
    """
    deadline = time.monotonic() + _DYING_SECONDS_MAX
    while time.monotonic() < deadline:
        for child in children:
            child.check()
        time.sleep(_POLL_SECONDS)


def _environment() -> dict[str, str]:
    """What the demo was started with, without anybody's keys and without a proxy on loopback."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("STRIPE_", "CREDIT_PAYMENTS_", "WERKZEUG_"))
        and not name.lower().endswith("_proxy")
    }
