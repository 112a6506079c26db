"""This library's side of the comparison with a peer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fastapi
import msgspec

from benchmarks import stripe_events
from benchmarks.copies import fresh_copy
from benchmarks.measure import WrongResult
from benchmarks.peers.asgi import delivery
from benchmarks.peers.turn import WALLET, WARM_UP, by_tasks, by_threads, key
from benchmarks.writing import (
    AMOUNT_MINOR,
    CREDITS_AT_FIRST,
    CREDITS_BOUGHT,
    payment_of,
    quote_id,
    quote_of,
)
from credit_payments.adapters.fastapi import create_router
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.bootstrap import connect
from credit_payments.system import System

_PAGE = 100


class Ours:
    """This library. Many callers are threads, as the database queue expects them."""

    def __init__(self, folder: Path, payments: int) -> None:
        self._template = folder / "peers-ours.db"
        with connect(database=f"sqlite:///{self._template}") as system:
            system.wallets.grant(WALLET, CREDITS_AT_FIRST, key="opening", reason="opening")
        quotes = [msgspec.structs.replace(quote_of(n), user_id=WALLET) for n in range(payments)]
        storage = SqliteStorage(self._template)
        try:
            with storage.transaction() as transaction:
                transaction.write([*quotes, *map(payment_of, quotes)], [])
        finally:
            storage.close()

    def grant(self, operations: int, callers: int) -> float:
        with self._system() as system:

            def grant(number: int) -> None:
                entry = system.wallets.grant(WALLET, 1, key=key(number), reason="promo")
                if entry.credits != 1:
                    raise WrongResult(f"A grant was answered with {entry}.")

            rate = by_threads(grant, operations, callers)
            _check(system, [f"grant:{key(n)}" for n in range(WARM_UP + operations)], 1)
        return rate

    def spend(self, operations: int, callers: int) -> float:
        with self._system() as system:

            def spend(number: int) -> None:
                entry = system.wallets.spend(WALLET, 1, key=key(number), reason="render")
                if entry.credits != -1:
                    raise WrongResult(f"A spend was answered with {entry}.")

            rate = by_threads(spend, operations, callers)
            _check(system, [f"spend:{key(n)}" for n in range(WARM_UP + operations)], -1)
        return rate

    def webhook(self, operations: int, callers: int) -> float:
        numbers = range(WARM_UP + operations)
        with self._system() as system:
            app = fastapi.FastAPI()
            app.include_router(create_router(system, current_user=_nobody))
            deliveries = [
                delivery(
                    app,
                    "/stripe/webhook",
                    stripe_events.payment_succeeded(
                        number,
                        user_id=WALLET,
                        quote_id=quote_id(number),
                        amount_minor=AMOUNT_MINOR,
                    ),
                )
                for number in numbers
            ]
            rate = by_tasks(deliveries, callers)
            asyncio.run(deliveries[0]())  # Stripe repeats itself: it must change nothing
            causes = [f"payment:{stripe_events.stripe_id('pi', n)}" for n in numbers]
            _check(system, causes, CREDITS_BOUGHT)
        return rate

    @contextmanager
    def _system(self) -> Iterator[System]:
        with (
            fresh_copy(self._template) as path,
            connect(
                database=f"sqlite:///{path}", stripe_webhook_secret=stripe_events.WEBHOOK_SECRET
            ) as system,
        ):
            yield system


async def _nobody() -> None:
    """The webhook asks for no caller."""


def _check(system: System, causes: Sequence[str], change: int) -> None:
    """Each cause posted once, nothing else did, and the ledger proves itself."""
    report = system.verify()
    balance = system.wallets.balance(WALLET)
    expected = CREDITS_AT_FIRST + len(causes) * change
    if not report.ok or (balance.available, balance.debt) != (expected, 0):
        raise WrongResult(f"The wallet holds {balance}, {expected} were expected: {report}")
    if sorted(_causes(system)) != sorted([*causes, "grant:opening"]):
        raise WrongResult("What was posted is not what was asked for.")


def _causes(system: System) -> Iterator[str]:
    cursor = None
    while True:
        page = system.wallets.history(WALLET, limit=_PAGE, cursor=cursor)
        yield from (entry.cause for entry in page.items)
        cursor = page.cursor
        if cursor is None:
            return
