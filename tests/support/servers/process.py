"""A server's process as its owner sees it: start, kill, start again, stop."""

from __future__ import annotations

import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Self, TypeVar

import attrs

START_SECONDS = 60.0  # a machine may be busy with other tests
STOP_SECONDS = 25.0  # more than the keeper's own patience
LOOK_SECONDS = 0.02
PORTS_TRIED_MAX = 5
LOG_TAIL_LINES = 30

_T = TypeVar("_T")
_KEEPER = Path(__file__).with_name("keeper.py")


class ServerMissing(Exception):
    """The server is not installed, or not made for this machine."""


class ServerFailed(Exception):
    """The server is there and does not do its work; the message ends with its log."""


class _PortTaken(Exception):
    """Somebody else was quicker to take the port."""


def import_package(name: str) -> ModuleType:
    """Import the package that brings a server.

    Raises:
        ServerMissing: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ServerMissing(str(error)) from error


def free_port() -> int:
    """A port that was free a moment ago; hence the second tries below."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def files_directory(server: str) -> Iterator[Path]:
    """A server's directory, removed at the end also where the server did not get to start."""
    directory = Path(tempfile.mkdtemp(prefix=f"credit-payments-{server}-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)  # the keeper may be removing it as well


def wait_for(look: Callable[[], _T | None], what: str) -> _T:
    """Look again and again until there is something.

    Raises:
        ServerFailed: There is nothing in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise ServerFailed(f"{what}: not within {START_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    return found


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Look again and again until it holds, as `wait_for` does."""
    wait_for(lambda: holds() or None, what)


class Server(ABC):
    """What is started on entry and ended on exit; what half an entry started is ended, too."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._start(starting)
            self._stack = starting.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @abstractmethod
    def _start(self, stack: ExitStack) -> None:
        """Start, and leave on the stack what ends it."""


@attrs.define
class ServerProcess:
    """One server on a loopback port, which it keeps when it is started again.

    Args:
        command: Gives the command line for a port.
        directory: The server's files; `stop` removes it.
        ready: What the server logs once it serves. Its own log, since on the port somebody else's
            server might answer.
        name: What messages call it.
        user: Who runs it, where the owner must not.
        stop_signal: What ends it in good order; SIGKILL where nobody misses the data.
    """

    command: Callable[[int], list[str]]
    directory: Path
    ready: str
    name: str
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGKILL
    port: int = 0
    pid: int = 0
    _keeper: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def start(self) -> None:
        """Start and wait until it serves.

        Raises:
            ServerMissing: It cannot be run here.
            ServerFailed: It ended, or took too long.
        """
        assert not self.running, f"{self.name} runs already"
        for tries in range(PORTS_TRIED_MAX):
            port = self.port or free_port()
            try:
                self._start_on(port)
            except _PortTaken:
                time.sleep(LOOK_SECONDS * 2**tries)
            else:
                self.port = port
                return
        raise ServerFailed(f"{self.name} found no free port{self._log_tail()}")

    def kill(self) -> None:
        """End it as a power cut would; the files stay, and `start` goes on with them."""
        if self.running:
            with suppress(ProcessLookupError):  # it ended a moment ago
                os.kill(self.pid, signal.SIGKILL)
        self._wait_for_the_end()

    def stop(self) -> None:
        """End it and remove its files."""
        if self._keeper is not None and self._keeper.stdin is not None:
            with suppress(BrokenPipeError):  # it ended before
                self._keeper.stdin.write(b".")
        self._wait_for_the_end()

    def _start_on(self, port: int) -> None:
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_KEEPER), json.dumps(self._order(port))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # a buffer would try its last byte again when it closes
            start_new_session=True,
        )
        try:
            self.pid = self._pid_told()
            wait_until(self._serves, self.name)
        except (_PortTaken, ServerMissing):  # it ended, and its files are for the next try
            self._wait_for_the_end()
            raise
        except ServerFailed as failure:
            tail = self._log_tail()
            self.stop()
            raise ServerFailed(f"{failure}{tail}") from failure
        except BaseException:  # Ctrl-C, a test's timeout
            self.stop()
            raise

    def _order(self, port: int) -> dict[str, object]:
        return {
            "command": self.command(port),
            "directory": str(self.directory),
            "log": str(self.log),
            "user": self.user,
            "stop_signal": int(self.stop_signal),
        }

    def _pid_told(self) -> int:
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        if not select.select([self._keeper.stdout], [], [], START_SECONDS)[0]:
            raise ServerFailed(f"{self.name}: its keeper does not start")
        told = json.loads(self._keeper.stdout.readline() or '{"error": "its keeper died"}')
        if "error" in told:
            # Nothing but a file that is not there or cannot be executed ends up here.
            raise ServerMissing(told["error"])
        return int(told["pid"])

    def _serves(self) -> bool:
        ended = not self.running  # asked first: what the log lacks after the end never comes
        written = self.log.read_text(errors="replace")
        if not ended:
            return self.ready in written
        if "ddress already in use" in written:
            raise _PortTaken
        if "error while loading shared libraries" in written:
            raise ServerMissing(written.strip())
        raise ServerFailed(f"{self.name} ended at its start")

    def _wait_for_the_end(self) -> None:
        if self._keeper is None:
            return
        with self._keeper as keeper:  # closes the pipes
            try:
                keeper.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(keeper.pid, signal.SIGKILL)  # a session: the keeper and its server
        self._keeper = None

    def _log_tail(self) -> str:
        if not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(["; its log ends:", *lines])
