"""Run by test_several_processes: posts to wallets that other processes post to as well."""

from __future__ import annotations

import sys

import credit_payments as cp
from credit_payments.errors import TryAgain


def main(database: str, name: str, rounds: int) -> None:
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()  # so that all processes begin at the same moment
    with cp.connect(database=database) as system:
        for number in range(rounds):
            user = f"user{number % 3}"
            for key in (f"shared{number}", f"{name}{number}"):
                _patiently(system, user, key)
    print("done")  # noqa: T201


def _patiently(system: cp.System, user: str, key: str) -> None:
    for _ in range(20):
        try:
            system.wallets.grant(user, 1, key=key, reason="race")
        except TryAgain:
            continue
        return
    raise TimeoutError(key)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
