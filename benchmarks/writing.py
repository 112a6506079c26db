"""Durable writes on SQLite: a webhook that becomes a credit, and a spend.

Each turn gets a copy of the same database file, with the same quotes, payments and wallets in it.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from benchmarks import raw, stripe_events
from benchmarks.copies import fresh_copy
from benchmarks.measure import Plan, Row, WrongResult, prepared, ratio_row, take_turns
from benchmarks.recording import Script
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.bootstrap import over
from credit_payments.config import load_settings
from credit_payments.domain import instants, payment
from credit_payments.domain.records import Payment, Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.ports.storage import Storage
from credit_payments.system import System

CALLERS = 64
USERS = 200
CREDITS_AT_FIRST = 1_000_000
CREDITS_BOUGHT = 100
AMOUNT_MINOR = 1_000
ROWS_AT_ONCE = 500

Command: TypeAlias = Callable[[], None]
"""One write as a host would ask for it; raises `WrongResult` when it is answered wrongly."""


class Case:
    """One kind of write: its commands, and what must have become of the wallets afterwards."""

    what: str
    change: int
    """By how many credits each command changes its wallet."""
    users = USERS
    """How many wallets take turns."""

    def __init__(self, commands: int) -> None:
        self.commands = commands

    def prepare(self, system: System) -> list[Command]:
        raise NotImplementedError

    def run(self, storage: Storage, callers: int) -> float:
        """Run all commands, shared out among so many threads; how many a second."""
        with open_system(storage) as system:
            rate = run_all(self.prepare(system), callers)
            self.check(system)
        return rate

    def check(self, system: System) -> None:
        """Each command took effect once, and the ledger proves itself."""
        report = system.verify()
        if not report.ok or report.entries != USERS + self.commands:
            raise WrongResult(f"The ledger is wrong: {report}")
        for user in range(USERS):
            times = len(range(user, self.commands, self.users)) if user < self.users else 0
            expected = CREDITS_AT_FIRST + times * self.change
            balance = system.wallets.balance(user_id(user))
            if (balance.available, balance.debt) != (expected, 0):
                raise WrongResult(f"{user_id(user)} has {balance}, {expected} were expected.")


class Webhooks(Case):
    what = "webhook to credit"
    change = CREDITS_BOUGHT
    outcome = "applied"
    """How each of them is answered."""

    def prepare(self, system: System) -> list[Command]:
        receive = system.webhooks.receive

        def delivery(number: int) -> Command:
            body = body_of(number)
            header = stripe_events.sign(body)

            def deliver() -> None:
                answer = receive(body, header)
                if answer.outcome != self.outcome:
                    raise WrongResult(f"A webhook was answered with {answer}.")

            return deliver

        return [delivery(number) for number in range(self.commands)]


class Spends(Case):
    what = "spend"
    change = -1

    def prepare(self, system: System) -> list[Command]:
        spend = system.wallets.spend

        def spending(number: int) -> Command:
            key = f"job-{number:08d}"

            def run() -> None:
                entry = spend(user_id(number % self.users), 1, key=key, reason="render")
                if entry.credits != -1:
                    raise WrongResult(f"A spend was answered with {entry}.")

            return run

        return [spending(number) for number in range(self.commands)]


class SpendsOnOneWallet(Spends):
    what = "spend on one wallet"
    users = 1


class _Files:
    """Copies of one SQLite file, and the same writes by hand."""

    def __init__(self, folder: Path, template: Path, case: Case) -> None:
        self._template = template
        self._case = case
        self._reference = folder / f"{type(case).__name__}.db"
        shutil.copyfile(template, self._reference)
        storage = raw.RecordingStorage(self._reference)
        case.run(storage, 1)
        self._script = storage.script

    def by_library(self, callers: int) -> float:
        with fresh_copy(self._template) as path:
            return self._case.run(SqliteStorage(path), callers)

    def by_hand(self) -> float:
        """Write the same rows without the library; how many transactions a second."""
        return self._replayed(raw.replay)

    def by_hand_in_batches(self) -> float:
        """The same, as many commands a transaction as there are callers."""
        return self._replayed(raw.replay_batched)

    def _replayed(self, replay: Callable[[Path, Script], float]) -> float:
        with fresh_copy(self._template) as path:
            rate = replay(path, self._script)
            raw.check_same_rows(path, self._reference)
        return rate


def rows(plan: Plan, folder: Path) -> Iterator[Row]:
    """Each kind of write, by one caller and by many, against sqlite3 by hand."""
    template = folder / "template.db"
    storage = SqliteStorage(template)
    fill(storage, plan.commands)
    for case, name, targets in (
        (Webhooks(plan.commands), "webhook", (0.4, 3)),
        (Spends(plan.commands), "spend", (None, None)),
        (SpendsOnOneWallet(plan.commands), "spend_on_one_wallet", (0.4, 3)),
    ):
        yield from _compare(_Files(folder, template, case), name, case.what, plan, targets)


def _compare(
    files: _Files, name: str, what: str, plan: Plan, targets: tuple[float | None, float | None]
) -> Iterator[Row]:
    one, many = f"{what}, 1 caller", f"{what}, {CALLERS} callers"
    by_hand = f"the rows of a {what.partition(' ')[0]}, sqlite3 by hand"
    in_batches = f"{by_hand}, {raw.BATCH} a transaction"
    sides = {
        by_hand: files.by_hand,
        in_batches: files.by_hand_in_batches,
        one: lambda: files.by_library(1),
        many: lambda: files.by_library(CALLERS),
    }
    # The recording was the warm-up.
    rates = take_turns(sides, plan.database_turns, warm_up=False)
    raw_rates = (by_hand, rates[by_hand])
    yield ratio_row(f"{name}_1_caller", (one, rates[one]), raw_rates, target=targets[0])
    yield ratio_row(f"{name}_{CALLERS}_callers", (many, rates[many]), raw_rates, target=targets[1])
    batched_rates = (in_batches, rates[in_batches])
    yield ratio_row(f"{name}_{CALLERS}_callers_to_batches", (many, rates[many]), batched_rates)


def open_system(storage: Storage, webhook_mode: str = "inline") -> System:
    """A system on that storage, which it closes; only webhooks are configured."""
    given = {
        "database": "memory://",
        "stripe_webhook_secret": stripe_events.WEBHOOK_SECRET,
        "webhook_mode": webhook_mode,
    }
    return over(storage, load_settings(given, []))


def run_all(commands: Sequence[Command], callers: int) -> float:
    """The rate at which threads, each one command after the other, get through all of them."""
    ready = threading.Barrier(callers + 1)

    def call(own: Sequence[Command]) -> None:
        ready.wait(timeout=60)
        for command in own:
            command()

    with prepared(), ThreadPoolExecutor(callers) as threads:
        waiting = [threads.submit(call, commands[start::callers]) for start in range(callers)]
        ready.wait(timeout=60)
        start_time = time.perf_counter()
        for future in waiting:
            future.result(timeout=600)
        return len(commands) / (time.perf_counter() - start_time)


def fill(storage: Storage, payments: int) -> None:
    """Wallets that hold credits, and payments that wait for their webhooks; it is closed then."""
    with open_system(storage) as system:
        for user in range(USERS):
            name = user_id(user)
            system.wallets.grant(name, CREDITS_AT_FIRST, key=name, reason="opening")
        for start in range(0, payments, ROWS_AT_ONCE):
            quotes = [quote_of(n) for n in range(start, min(start + ROWS_AT_ONCE, payments))]
            with storage.transaction() as transaction:
                transaction.write([*quotes, *map(payment_of, quotes)], [])


def payment_of(quote: Quote) -> Payment:
    """The payment as it stands once Stripe has made the intent."""
    facts = PaymentIntentFacts(
        id=quote.payment_intent_id or "",
        status=payment.REQUIRES_PAYMENT_METHOD,
        amount=quote.amount_minor,
        currency=quote.currency,
        created=stripe_events.CREATED,
    )
    return payment.received(
        payment.from_quote(quote, facts, None, quote.created_at), facts, quote.created_at
    )


def quote_of(number: int) -> Quote:
    return Quote(
        quote_id=quote_id(number),
        user_id=user_id(number),
        amount_minor=AMOUNT_MINOR,
        currency="usd",
        credits=CREDITS_BOUGHT,
        package_id=None,
        customer_id=None,
        rule="rate",
        expires_seconds=None,
        fingerprint=f"{number:032x}",
        payment_intent_id=stripe_events.stripe_id("pi", number),
        created_at=instants.from_unix(stripe_events.CREATED + number),
    )


def body_of(number: int) -> bytes:
    """The webhook of the payment of that number."""
    return stripe_events.payment_succeeded(
        number, user_id=user_id(number), quote_id=quote_id(number), amount_minor=AMOUNT_MINOR
    )


def quote_id(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"


def user_id(number: int) -> str:
    return f"user-{number % USERS:04d}"
