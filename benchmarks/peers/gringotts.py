"""The other side of the comparison: gringotts-api."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import fastapi

from benchmarks import stripe_events
from benchmarks.checkout_events import checkout_completed
from benchmarks.copies import fresh_copy
from benchmarks.measure import WrongResult
from benchmarks.peers.asgi import delivery
from benchmarks.peers.turn import WALLET, WARM_UP, Operation, by_tasks, key
from benchmarks.writing import AMOUNT_MINOR, CALLERS, CREDITS_AT_FIRST, CREDITS_BOUGHT
from credit_payments.adapters.sqlite_connections import CHECKPOINT_PAGES

PACKAGE = "gringotts-api"
_SYNCHRONOUS_FULL = 2

_Post: TypeAlias = Callable[[Any, Any, int], None]
"""The n-th operation, in a session and on a `User` of it."""


class Gringotts:
    """The other library.

    It is synchronous, also in the coroutine that answers its webhook. Threads would wait for each
    other at SQLite's lock and the interpreter's, so many callers are tasks of one event loop, which
    call it in turn: that is faster.

    Its engine is made here, with a connection for each caller. The one that it makes itself has
    SQLAlchemy's default of 15, and more webhooks than that at once stop: the handler waits for a
    connection in the event loop, where those that have one would give it back, until after 30
    seconds a webhook fails.
    """

    def __init__(self, folder: Path, orders: int) -> None:
        # Read when it is imported, and not what is measured: it may name a server.
        for name in ("DATABASE_URL", "GRINGOTTS_SQLITE_BUSY_TIMEOUT"):
            os.environ.pop(name, None)
        self._gringotts = import_module("gringotts")
        self._auth = import_module("gringotts.auth")
        self._crud = import_module("gringotts.crud")
        self._sqlalchemy = import_module("sqlalchemy")
        self._template = folder / "peers-gringotts.db"
        with self._engine(self._template) as engine:
            self._gringotts.Base.metadata.create_all(engine)
            self._user_id, self._orders = self._fill(orders)

    def grant(self, operations: int, callers: int, *, kept: bool = False) -> float:
        def grant(session: Any, user: Any, number: int) -> None:
            if not self._gringotts.grant(session, user, 1, kind="promo", external_id=key(number)):
                raise WrongResult(f"A grant of {PACKAGE} was taken for a repetition.")

        with self._engine_on_copy():
            rate = self._on_one_wallet(grant, operations, callers, kept=kept)
            self._check([key(n) for n in range(WARM_UP + operations)], 1)
        return rate

    def charge(self, operations: int, callers: int, *, kept: bool = False) -> float:
        def charge(session: Any, user: Any, _: int) -> None:
            if not self._crud.charge_user(session, user, 1, endpoint="render"):
                raise WrongResult(f"A charge of {PACKAGE} was refused.")

        with self._engine_on_copy():
            rate = self._on_one_wallet(charge, operations, callers, kept=kept)
            self._check([None] * (WARM_UP + operations), -1)
        return rate

    def webhook(self, operations: int, callers: int) -> float:
        app = fastapi.FastAPI()
        pack = self._gringotts.CreditPack(
            credits=CREDITS_BOUGHT, price_cents=AMOUNT_MINOR, name="Starter"
        )
        config = self._gringotts.GringottsConfig(
            packs=[pack],
            stripe_secret_key="sk_test_benchmark",
            stripe_webhook_secret=stripe_events.WEBHOOK_SECRET,
        )
        self._gringotts.init_app(app, config)
        numbers = range(WARM_UP + operations)
        deliveries = [
            delivery(
                app,
                "/gringotts/webhook",
                checkout_completed(
                    number,
                    user_id=self._user_id,
                    order_id=self._orders[number],
                    amount_minor=AMOUNT_MINOR,
                    credits=CREDITS_BOUGHT,
                ),
            )
            for number in numbers
        ]
        with self._engine_on_copy():
            rate = by_tasks(deliveries, callers)
            asyncio.run(deliveries[0]())  # as for ours
            self._check([stripe_events.stripe_id("cs", n) for n in numbers], CREDITS_BOUGHT)
        return rate

    def _on_one_wallet(self, post: _Post, operations: int, callers: int, *, kept: bool) -> float:
        way = self._in_one_session if kept else self._in_a_session_each
        with way(post) as operation:

            async def run(number: int) -> None:
                operation(number)
                if callers > 1:
                    await asyncio.sleep(0)  # the next caller's turn

            return by_tasks([partial(run, n) for n in range(WARM_UP + operations)], callers)

    @contextmanager
    def _in_a_session_each(self, post: _Post) -> Iterator[Operation]:
        """As its documentation grants credits in code."""
        new_session, get_user = self._gringotts.SessionLocal, self._crud.get_user
        user_id = self._user_id

        def operation(number: int) -> None:
            with new_session() as session:
                post(session, get_user(session, user_id), number)

        yield operation

    @contextmanager
    def _in_one_session(self, post: _Post) -> Iterator[Operation]:
        """Faster, for one caller that has nothing else to do."""
        with self._gringotts.SessionLocal() as session:
            yield partial(post, session, self._crud.get_user(session, self._user_id))

    def _fill(self, orders: int) -> tuple[int, list[str]]:
        """A user with credits, and orders as they stand once Stripe's page has been opened."""
        crud, order_ids = self._crud, []
        with self._gringotts.SessionLocal() as session:
            user, _ = self._auth.create_user_with_key(session, WALLET, credits=CREDITS_AT_FIRST)
            for number in range(orders):
                order = crud.create_checkout_order(
                    session, user, CREDITS_BOUGHT, AMOUNT_MINOR, "usd"
                )
                session_id = stripe_events.stripe_id("cs", number)
                crud.bind_checkout_order(session, order.id, session_id, commit=True)
                order_ids.append(order.id)
            return user.id, order_ids

    def _check(self, external_ids: Sequence[str | None], change: int) -> None:
        """Each operation took effect once, and its own reconciliation finds nothing."""
        with self._gringotts.SessionLocal() as session:
            wrong = self._crud.find_balance_discrepancies(session)
            if wrong:
                raise WrongResult(f"The ledger of {PACKAGE} is wrong: {wrong}")
            rows = self._crud.list_transactions(session, limit=len(external_ids) + 2)
            posted = sorted((row.external_id or "", row.amount) for row in rows)
            expected = [*((name or "", change) for name in external_ids), ("", CREDITS_AT_FIRST)]
            balance = self._crud.get_user(session, self._user_id).credits
        if posted != sorted(expected) or balance != sum(credits for _, credits in expected):
            raise WrongResult(f"{PACKAGE} posted {len(posted)} entries and holds {balance}.")

    @contextmanager
    def _engine_on_copy(self) -> Iterator[Any]:
        with fresh_copy(self._template) as path, self._engine(path) as engine:
            yield engine

    @contextmanager
    def _engine(self, path: Path) -> Iterator[Any]:
        """An engine on a file, in place of the one that it made from the environment."""
        engine = self._sqlalchemy.create_engine(
            f"sqlite:///{path}",
            connect_args={"check_same_thread": False, "timeout": 30},
            pool_size=CALLERS,
        )
        self._sqlalchemy.event.listen(engine, "connect", _set_durable)
        self._gringotts.SessionLocal.configure(bind=engine)
        try:
            with engine.connect() as connection:
                pragmas = ("journal_mode", "synchronous", "wal_autocheckpoint")
                found = [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in pragmas]
            if found != ["wal", _SYNCHRONOUS_FULL, CHECKPOINT_PAGES]:
                raise WrongResult(f"The file of {PACKAGE} has other settings: {found}")
            yield engine
        finally:
            engine.dispose()


def _set_durable(connection: Any, _: object) -> None:
    """What our own connections have; by itself it would have a checkpoint every 1,000 pages."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
