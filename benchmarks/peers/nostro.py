"""A peer that keeps credits in PostgreSQL: hf-nostro."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from benchmarks.measure import WrongResult
from benchmarks.peers.turn import WALLET, WARM_UP, by_threads, key
from benchmarks.writing import CREDITS_AT_FIRST

PACKAGE = "hf-nostro"
_SCALE = 6
"""As in its documentation; amounts are stored as integers at any scale."""
_PAGE = 1_000
"""The most that it lists at once."""


class Nostro:
    """The other library.

    A `Ledger` made from a URL, as its documentation begins, so with the four connections that
    psycopg's pool opens unless told otherwise. With more or fewer it was no faster, with 64 much
    slower, and its `AsyncLedger` with 64 tasks in one event loop was no faster either.

    The account is passed as the object, which saves the look-up by name that our user's id costs.

    Attributes:
        retries: how many transactions it has repeated so far; the time that took is in its rate.
    """

    def __init__(self) -> None:
        self._nostro = import_module("nostro")
        self._migrate = import_module("nostro.migrate").migrate
        self._testkit = import_module("nostro.testkit")
        self._log = _Warnings()

    @property
    def retries(self) -> int:
        return self._log.seen

    def spend(self, url: str, operations: int, callers: int) -> float:
        """Debits on one account of an empty database; how many a second."""
        self._migrate(dsn=url, scale=_SCALE)
        with self._ledger(url) as ledger:
            account = ledger.accounts.create("benchmark", WALLET)
            funds = ledger.amount(CREDITS_AT_FIRST)
            ledger.credit(account, funds, category="topup", idempotency_key="opening")
            one = ledger.amount(1)

            def debit(number: int) -> None:
                entry = ledger.debit(account, one, category="render", idempotency_key=key(number))
                if entry.replayed:
                    raise WrongResult(f"A debit of {PACKAGE} was taken for a repetition.")

            rate = by_threads(debit, operations, callers)
            self._check(ledger, account, [key(n) for n in range(WARM_UP + operations)])
        return rate

    @contextmanager
    def _ledger(self, url: str) -> Iterator[Any]:
        logger = logging.getLogger(f"benchmarks.{PACKAGE}")
        logger.propagate = False  # what it says is counted and not printed
        logger.addHandler(self._log)
        ledger = self._nostro.Ledger(dsn=url, scale=_SCALE, logger=logger)
        try:
            yield ledger
        finally:
            ledger.close()
            logger.removeHandler(self._log)

    def _check(self, ledger: Any, account: Any, keys: list[str]) -> None:
        """Each operation took effect once, and its own checks find nothing."""
        try:
            self._testkit.assert_invariants(ledger, account)
        except self._testkit.InvariantViolation as error:
            raise WrongResult(f"The ledger of {PACKAGE} is wrong.") from error
        one = ledger.amount(1)
        expected = [("opening", ledger.amount(CREDITS_AT_FIRST)), *((name, -one) for name in keys)]
        posted = sorted((e.idempotency_key, e.amount) for e in _entries(ledger, account))
        balance = ledger.balance(account).balance
        if posted != sorted(expected) or balance != ledger.amount(CREDITS_AT_FIRST - len(keys)):
            raise WrongResult(f"{PACKAGE} posted {len(posted)} entries and holds {balance}.")


class _Warnings(logging.Handler):
    """It warns of each transaction that it is about to repeat, and of nothing else."""

    seen = 0

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
        self.seen += 1


def _entries(ledger: Any, account: Any) -> Iterator[Any]:
    cursor = None
    while True:
        page = ledger.entries.list(account, limit=_PAGE, cursor=cursor)
        yield from page.items
        cursor = page.cursor
        if cursor is None:
            return
