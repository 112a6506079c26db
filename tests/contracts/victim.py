"""Run by test_killed: posts until it is killed, and names each write before and after it."""

from __future__ import annotations

import itertools
import os
import sys
import threading

import credit_payments as cp

CALLERS = 8
USERS = 5


def user_of(key: str) -> str:
    return f"user{int(key.rpartition('-')[2]) % USERS}"


def _post(system: cp.System, name: str) -> None:
    for number in itertools.count():
        key = f"{name}-{number}"
        os.write(1, f"try {key}\n".encode())  # one call each, so that no line is torn
        system.wallets.grant(user_of(key), 2, key=key, reason="race")
        system.wallets.spend(user_of(key), 1, key=key)
        os.write(1, f"did {key}\n".encode())


def main(database: str, name: str) -> None:
    with cp.connect(database=database) as system:
        threads = [
            threading.Thread(target=_post, args=(system, f"{name}-{caller}"), daemon=True)
            for caller in range(CALLERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
