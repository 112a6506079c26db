# ruff: noqa: SLF001 - the commands are those of the other file
"""Durable writes on PostgreSQL: the commands of `writing`, against psycopg by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks import raw_postgres as raw
from benchmarks import stripe_events, writing
from benchmarks.measure import Plan, Row, ratio_row, take_turns
from credit_payments.adapters.postgres import PostgresStorage
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.bootstrap import System
from credit_payments.config import load_settings
from credit_payments.ports.storage import Storage


class _OnPostgres(writing._Case):
    def __init__(self, admin_url: str, template: str, reference: str, commands: int) -> None:
        self._admin_url = admin_url
        self._database = template
        self._rows = reference
        self.commands = commands
        storage = raw.RecordingStorage(reference)
        with _system(storage) as system:
            writing.run_all(self.prepare(system), 1)
            self._check(system)
        self._writes = storage.script

    def by_library(self, callers: int) -> float:
        with (
            raw.fresh_database(self._admin_url, self._database) as url,
            _system(PostgresStorage(url)) as system,
        ):
            rate = writing.run_all(self.prepare(system), callers)
            self._check(system)
        return rate

    def by_hand(self) -> float:
        with raw.fresh_database(self._admin_url, self._database) as url:
            rate = raw.replay(url, self._writes)
            raw.check_same_rows(url, self._rows)
        return rate

    def by_hand_batched(self) -> float:
        with raw.fresh_database(self._admin_url, self._database) as url:
            rate = raw.replay_batched(url, self._writes)
            raw.check_same_rows(url, self._rows)
        return rate


class _Webhooks(_OnPostgres, writing._Webhooks):
    pass


class _Spends(_OnPostgres, writing._Spends):
    pass


class _SpendsOnOneWallet(_OnPostgres, writing._SpendsOnOneWallet):
    pass


_CASES = (
    (_Webhooks, "webhook", "webhook to credit"),
    (_Spends, "spend", "spend"),
    (_SpendsOnOneWallet, "spend_on_one_wallet", "spend on one wallet"),
)
_ONE_CALLER, _MANY_CALLERS, _MANY_CALLERS_BATCHED = 0.5, 10, 0.4


def rows(plan: Plan, admin_url: str) -> Iterator[Row]:
    """Each kind of write, by one caller and by many, against psycopg by hand."""
    with ExitStack() as databases:
        template = databases.enter_context(raw.fresh_database(admin_url))
        _fill(template, plan.commands)
        for case_class, name, what in _CASES:
            reference = databases.enter_context(raw.fresh_database(admin_url, template))
            case = case_class(admin_url, template, reference, plan.commands)
            yield from _compare(case, f"postgres_{name}", what, plan)


def _compare(case: _OnPostgres, name: str, what: str, plan: Plan) -> Iterator[Row]:
    many = f"{what}, {writing.CALLERS} callers"
    one, by_hand = f"{what}, 1 caller", f"the rows of a {what.partition(' ')[0]}, psycopg by hand"
    batched = f"{by_hand}, {raw.BATCH} a transaction"
    rates = take_turns(
        {
            by_hand: case.by_hand,
            one: lambda: case.by_library(1),
            batched: case.by_hand_batched,
            many: lambda: case.by_library(writing.CALLERS),
        },
        plan.database_turns,
        warm_up=False,
    )
    pairs = (
        ("1_caller", one, by_hand, _ONE_CALLER),
        (f"{writing.CALLERS}_callers", many, by_hand, _MANY_CALLERS),
        (f"{writing.CALLERS}_callers_to_batches", many, batched, _MANY_CALLERS_BATCHED),
    )
    for suffix, ours, theirs, target in pairs:
        yield ratio_row(
            f"{name}_{suffix}", (ours, rates[ours]), (theirs, rates[theirs]), target=target
        )


def _system(storage: Storage) -> System:
    given = {"database": "memory://", "stripe_webhook_secret": stripe_events.WEBHOOK_SECRET}
    return System(load_settings(given, []), storage=storage, clock=SystemClock())


def _fill(url: str, payments: int) -> None:
    """Wallets that hold credits, and payments that wait for their webhooks."""
    storage = PostgresStorage(url)
    with _system(storage) as system:
        for user in range(writing.USERS):
            name = writing._user(user)
            system.wallets.grant(name, writing.CREDITS_AT_FIRST, key=name, reason="opening")
        for start in range(0, payments, writing._ROWS_AT_ONCE):
            end = min(start + writing._ROWS_AT_ONCE, payments)
            quotes = [writing.quote_of(number) for number in range(start, end)]
            with storage.transaction() as transaction:
                transaction.write([*quotes, *map(writing.payment_of, quotes)], [])
