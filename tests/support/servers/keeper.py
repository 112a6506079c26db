"""Runs one server, and ends it as soon as its owner asks or is gone.

The owner holds the other end of standard input, which closes even after SIGKILL. PR_SET_PDEATHSIG
would want a `preexec_fn`, which is unsafe in a process with threads, and would leave the files.
Started as a script, with the standard library only: it shall be up in milliseconds.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from typing import Any

LOOK_SECONDS = 0.02
GRACE_SECONDS = 10


def main() -> int:
    order = json.loads(sys.argv[1])
    try:
        server = _start(order)
    except OSError as error:
        _tell(error=str(error))
        return 1
    _tell(pid=server.pid)
    while server.poll() is None:
        if _owner_wants_an_end():
            _end(server, order["stop_signal"])
            shutil.rmtree(order["directory"], ignore_errors=True)
    return 0


def _start(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    with open(order["log"], "wb") as log:  # noqa: PTH123 - pathlib is slow to import
        return subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=order["user"],
            group=order["user"],
            extra_groups=[] if order["user"] else None,
            env=os.environ | {"LC_ALL": "C"},  # the owner reads the log, in English
        )


def _tell(**words: object) -> None:
    print(json.dumps(words), flush=True)  # noqa: T201 - the owner reads it


def _owner_wants_an_end() -> bool:
    # A byte says so at once, even where forks of the owner hold the pipe open; else it closes.
    return bool(select.select([sys.stdin], [], [], LOOK_SECONDS)[0])


def _end(server: subprocess.Popen[bytes], stop_signal: int) -> None:
    server.send_signal(stop_signal)
    try:
        server.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(GRACE_SECONDS)


if __name__ == "__main__":
    # The terminal's Ctrl-C is for the owner, which then ends its servers in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main())
