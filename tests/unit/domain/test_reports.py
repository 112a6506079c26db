"""What the books say of each day follows from the entries, and fits the rows that are there."""

from __future__ import annotations

import csv
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import credit_payments as cp
from credit_payments.domain import audit, instants, ledger, money, reports
from credit_payments.domain.ledger import Contra, Kind
from credit_payments.domain.quoting import KeepQuote
from credit_payments.domain.records import Entry, Lot, Payment, Purchase, Quote, Wallet
from credit_payments.domain.reports import Holdings, Report, Worth
from credit_payments.domain.shares import divide
from credit_payments.domain.stripe_facts import DisputeFacts, PaymentIntentFacts, RefundFacts
from credit_payments.settlement import Messenger, ReportDispute, ReportPayment, ReportRefund

DAY_SECONDS = 24 * 3600
FIRST = datetime(2024, 1, 1, 12, tzinfo=UTC)


class Books:
    """A system in memory, told of payments, and a clock to turn."""

    def __init__(self, **given: Any) -> None:
        self.instant = FIRST
        self.system = cp.connect(database="memory://", clock=self, **given)
        self.wallets = self.system.wallets
        self._events = 0
        self._refunds: dict[str, Counter[str]] = {}

    def now(self) -> datetime:
        return self.instant

    def turn(self, days: float) -> None:
        self.instant += timedelta(days=days)

    def buy(
        self,
        user: str,
        name: str,
        credits: int,
        minor: int,
        currency: str = "usd",
        expires_days: int | None = None,
    ) -> None:
        quote = Quote(
            quote_id=f"quote_{name}",
            user_id=user,
            amount_minor=minor,
            currency=currency,
            credits=credits,
            package_id=None,
            customer_id=None,
            rule="rate",
            expires_seconds=None if expires_days is None else expires_days * DAY_SECONDS,
            fingerprint="f",
            payment_intent_id=None,
            created_at=instants.to_text(self.instant),
        )
        self.system.queue.submit(KeepQuote(quote=quote))
        facts = {
            "object": "payment_intent",
            "id": f"pi_{name}",
            "status": "succeeded",
            "amount": minor,
            "amount_received": minor,
            "currency": currency,
            "created": 1,
            "metadata": {"user_id": user, "quote_id": quote.quote_id},
        }
        report = ReportPayment(
            facts=msgspec.convert(facts, PaymentIntentFacts), policies=self.policies
        )
        assert self.system.queue.submit(report).outcome == "applied"

    def refund(self, name: str, minor: int, refund: str = "1", status: str = "succeeded") -> None:
        paid = self.system._storage.get(Payment, f"pi_{name}")
        assert paid is not None
        facts = RefundFacts(f"re_{name}{refund}", minor, paid.currency, status)
        report = ReportRefund(
            facts=facts,
            payment_intent_id=f"pi_{name}",
            messenger=self._messenger("refund.updated"),
            policies=self.policies,
        )
        self.system.queue.submit(report)

    def dispute(self, name: str, status: str, event_type: str = "charge.dispute.updated") -> None:
        """A dispute of all that was paid."""
        paid = self.system._storage.get(Payment, f"pi_{name}")
        assert paid is not None
        facts = DisputeFacts(
            id=f"dp_{name}",
            amount=paid.received_minor,
            currency=paid.currency,
            reason="fraudulent",
            status=status,
            created=1,
            payment_intent=f"pi_{name}",
        )
        report = ReportDispute(
            facts=facts,
            created_at=instants.to_text(self.instant),
            messenger=self._messenger(event_type),
            policies=self.policies,
        )
        self.system.queue.submit(report)

    def grant(self, user: str, key: str, credits: int, expires_days: int | None = None) -> None:
        expires = None if expires_days is None else self.instant + timedelta(days=expires_days)
        self.wallets.grant(user, credits, key=key, reason="r", expires_at=expires)

    def report(self, since: datetime | None = None, until: datetime | None = None) -> Report:
        with self.system._storage.snapshot() as reader:
            return reports.report(
                reader.scan(Entry, order=audit.ORDERS[Entry]),
                reader.scan(Purchase, order=audit.ORDERS[Purchase]),
                since=instants.to_text(since) if since else None,
                until=instants.to_text(until) if until else None,
            )

    def rows(self, kind: Any) -> list[Any]:
        with self.system._storage.snapshot() as reader:
            return list(reader.scan(kind, order=(kind.KEY,)))

    @property
    def policies(self) -> Any:
        return self.system.webhooks._policies

    def _messenger(self, event_type: str) -> Messenger:
        self._events += 1
        return Messenger(event_id=f"evt_{self._events}", type=event_type)


@pytest.fixture
def open_books() -> Iterator[Callable[..., Books]]:
    opened: list[Books] = []

    def open_with(**given: Any) -> Books:
        opened.append(Books(**given))
        return opened[-1]

    yield open_with
    for books in opened:
        books.system.close()


@pytest.fixture
def books(open_books: Callable[..., Books]) -> Books:
    return open_books()


def moved(row: Any) -> dict[str, Any]:
    """What of a row is not zero."""
    numbers = attrs.asdict(row, filter=lambda field, value: isinstance(value, int) and value != 0)
    numbers.pop("day", None)
    return numbers


def dollars(credits: int, amount: str) -> Worth:
    return Worth(credits=credits, amount=Decimal(amount))


# -- what a day says --------------------------------------------------------------------------


def test_a_sale_a_gift_and_their_use_are_told_apart(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.grant("ada", "g", 50, expires_days=3)  # spent first, because it expires first
    books.turn(1)
    books.wallets.spend("ada", 70, key="s")
    first, second = books.report().days
    assert (first.day, second.day) == (date(2024, 1, 1), date(2024, 1, 2))
    assert moved(first) == {"sold": 100, "granted": 50}
    assert moved(second) == {"used": 70, "used_paid": 20, "used_promotional": 50}
    assert first.opening == Holdings()
    assert first.closing == second.opening == Holdings(wallet=150, deferred=100)
    assert second.closing == Holdings(wallet=80, deferred=80)


def test_the_money_of_paid_credits_rolls_forward(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000, expires_days=5)
    books.buy("bob", "b", 60, 500)
    books.wallets.spend("bob", 6, key="s")
    books.turn(6)
    books.wallets.post_due("ada")
    books.refund("b", 250)
    first, second = books.report().money
    assert (first.currency, first.opening, first.sold) == (
        "usd",
        dollars(0, "0"),
        dollars(160, "15.00"),
    )
    assert first.used == dollars(6, "0.50")
    assert first.closing == second.opening == dollars(154, "14.50")
    assert second.breakage == dollars(100, "10.00")
    assert second.taken_back == dollars(30, "2.50")
    assert second.closing == dollars(24, "2.00")
    assert books.report().deferred == {"usd": dollars(24, "2.00")}


def test_credits_that_are_held_or_frozen_are_not_used_yet(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.wallets.hold("ada", 30, key="h", ttl=60)
    books.dispute("a", "needs_response")
    report = books.report()
    assert report.closing == Holdings(wallet=0, held=30, frozen=70, deferred=100)
    assert report.deferred == {"usd": dollars(100, "10.00")}


def test_a_capture_uses_and_an_undo_gives_back(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    entry = books.wallets.hold("ada", 50, key="h", ttl=60).capture(40)
    assert books.report().days[-1].used_paid == 40
    books.turn(1)
    books.wallets.reverse(entry)
    assert moved(books.report().days[-1]) == {"used": -40, "used_paid": -40}
    assert books.report().money[-1].used == dollars(-40, "-4.00")


def test_credits_that_expire_are_breakage_only_if_they_were_paid(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000, expires_days=2)
    books.grant("ada", "g", 50, expires_days=1)
    books.wallets.spend("ada", 60, key="s")
    books.turn(3)
    books.wallets.post_due("ada")
    assert moved(books.report().days[-1]) == {"expired": 90, "expired_paid": 90}
    books.grant("ada", "h", 7, expires_days=1)
    books.turn(2)
    books.wallets.post_due("ada")
    assert moved(books.report().days[-1]) == {"expired": 7, "expired_promotional": 7}


# -- refunds, debt, corrections ---------------------------------------------------------------


def test_what_was_used_and_is_refunded_is_no_paid_use_any_more(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.wallets.spend("ada", 60, key="s")
    books.turn(1)
    books.refund("a", 1_000)
    report = books.report()
    assert moved(report.days[-1]) == {"refunded": 100, "used_paid": -60, "used_other": 60}
    assert report.closing == Holdings(debt=60)
    last = report.money[-1]
    assert (last.taken_back, last.used) == (dollars(100, "10.00"), dollars(-60, "-6.00"))
    assert last.closing == dollars(0, "0.00")


def test_paid_credits_that_repay_a_debt_are_used(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.wallets.hold("ada", 100, key="h", ttl=60, overage="debt").capture(130)
    books.turn(1)
    books.buy("ada", "b", 50, 1_000)
    first, second = books.report().days
    assert (first.used, first.used_paid, first.used_other) == (130, 100, 30)
    assert moved(second) == {"sold": 50, "used_paid": 30, "used_other": -30}
    assert second.closing == Holdings(wallet=20, deferred=20)
    assert books.report().deferred == {"usd": dollars(20, "4.00")}


def test_a_purchase_that_a_debt_takes_whole_is_used_whole(books: Books) -> None:
    books.grant("ada", "g", 10)
    books.wallets.hold("ada", 10, key="h", ttl=60, overage="debt").capture(100)
    books.turn(1)
    books.buy("ada", "a", 50, 500)
    last = books.report().days[-1]
    assert moved(last) == {"sold": 50, "used_paid": 50, "used_other": -50}
    assert last.closing == Holdings(debt=40)


def test_promotional_credits_that_go_for_refunded_ones_are_used(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.wallets.spend("ada", 100, key="s")
    books.grant("ada", "g", 80)
    books.turn(1)
    books.refund("a", 1_000)
    assert moved(books.report().days[-1]) == {
        "refunded": 100, "used_paid": -100, "used_promotional": 80, "used_other": 20,
    }  # fmt: skip


def test_a_use_that_is_undone_after_its_refund_brings_no_paid_credits_back(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    entry = books.wallets.spend("ada", 60, key="s")
    books.refund("a", 1_000)
    books.grant("ada", "g", 60)  # repays the debt
    books.turn(1)
    books.wallets.reverse(entry)
    report = books.report()
    assert report.days[0].used_promotional == 60
    assert moved(report.days[-1]) == {"used": -60, "used_other": -60}
    assert report.closing == Holdings(wallet=60, deferred=0)
    assert report.deferred == {"usd": dollars(0, "0.00")}
    books.turn(1)
    books.wallets.spend("ada", 60, key="t")
    assert moved(books.report().days[-1]) == {"used": 60, "used_other": 60}


def test_a_use_that_is_undone_makes_up_for_what_was_written_off(
    open_books: Callable[..., Books],
) -> None:
    books = open_books(refund_policy="clamp")
    books.buy("ada", "a", 100, 1_000)
    entry = books.wallets.spend("ada", 60, key="s")
    books.turn(1)
    books.refund("a", 1_000)
    books.turn(1)
    books.wallets.reverse(entry)
    sold, refunded, undone = books.report().days
    assert moved(sold) == {"sold": 100, "used": 60, "used_paid": 60}
    assert moved(refunded) == {
        "refunded": 100, "written_off": 60, "used_paid": -60, "used_other": 60,
    }  # fmt: skip
    assert moved(undone) == {"used": -60, "used_other": -60, "written_off": -60}
    assert undone.closing == Holdings()
    last = books.report().money[-1]
    assert (last.day, last.taken_back, last.used) == (
        refunded.day,
        dollars(100, "10.00"),
        dollars(-60, "-6.00"),
    )
    assert books.report().deferred == {"usd": dollars(0, "0.00")}


def test_what_comes_back_beyond_a_write_off_is_not_used_yet(
    open_books: Callable[..., Books],
) -> None:
    books = open_books(refund_policy="clamp")
    books.buy("ada", "a", 100, 1_000)
    entry = books.wallets.spend("ada", 60, key="s")
    books.refund("a", 500)  # 40 are there, 10 are written off
    books.turn(1)
    books.wallets.reverse(entry)
    last = books.report().days[-1]
    assert moved(last) == {"used": -60, "used_paid": -50, "used_other": -10, "written_off": -10}
    assert last.closing == Holdings(wallet=50, deferred=50)
    books.turn(1)
    books.refund("a", 500, status="failed")
    last = books.report().days[-1]
    assert moved(last) == {"refunded": -50}
    assert last.closing == Holdings(wallet=100, deferred=100)
    assert books.report().deferred == {"usd": dollars(100, "10.00")}


def test_held_credits_that_were_written_off_are_gone_when_the_hold_lets_go(
    open_books: Callable[..., Books],
) -> None:
    books = open_books(refund_policy="clamp")
    books.buy("ada", "a", 100, 1_000)
    hold = books.wallets.hold("ada", 60, key="h", ttl=7 * DAY_SECONDS)
    books.turn(1)
    books.refund("a", 1_000)
    assert moved(books.report().days[-1]) == {"refunded": 100, "written_off": 60}
    # They are there still, and nobody's money stands behind them.
    assert books.report().closing == Holdings(held=60, deferred=0)
    books.turn(1)
    hold.capture(20)
    last = books.report().days[-1]
    assert moved(last) == {"used": 20, "used_other": 20, "written_off": -40}
    assert last.closing == Holdings()


def test_a_correction_is_neither_paid_nor_promotional(books: Books) -> None:
    books.grant("ada", "g", 10)
    entry = books.wallets.hold("ada", 10, key="h", ttl=60, overage="debt").capture(100)
    books.buy("ada", "a", 90, 900)
    books.turn(1)
    books.wallets.reverse(entry)
    report = books.report()
    assert moved(report.days[-1]) == {"used": -100, "used_promotional": -10, "used_other": -90}
    assert report.closing == Holdings(wallet=100, deferred=0)


def test_a_dispute_that_is_won_gives_back_what_it_took(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.wallets.spend("ada", 60, key="s")
    books.turn(1)
    books.dispute("a", "needs_response", "charge.dispute.funds_withdrawn")
    assert moved(books.report().days[-1]) == {"disputed": 100, "used_paid": -60, "used_other": 60}
    books.turn(1)
    books.dispute("a", "won", "charge.dispute.funds_reinstated")
    last = books.report().days[-1]
    assert moved(last) == {"disputed": -100, "used_paid": 60, "used_other": -60}
    assert last.closing == Holdings(wallet=40, deferred=40)


def test_what_had_repaid_the_debt_of_a_dispute_that_is_won_is_not_used_yet(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000, expires_days=3)
    books.wallets.spend("ada", 100, key="s")
    books.dispute("a", "needs_response", "charge.dispute.funds_withdrawn")
    books.buy("ada", "b", 100, 2_000)
    books.turn(4)
    books.dispute("a", "won", "charge.dispute.funds_reinstated")
    last = books.report().days[-1]
    assert moved(last) == {"disputed": -100}
    assert last.closing == Holdings(wallet=100, deferred=100)
    books.wallets.spend("ada", 100, key="t")
    assert books.report().closing == Holdings(wallet=0, deferred=0)


def test_what_expired_and_is_refunded_is_no_breakage_any_more(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000, expires_days=1)
    books.turn(2)
    books.wallets.post_due("ada")
    books.turn(1)
    books.refund("a", 400)
    assert moved(books.report().days[-1]) == {"refunded": 40, "expired": -40, "expired_paid": -40}
    assert books.report().money[-1].breakage == dollars(-40, "-4.00")


@pytest.mark.parametrize("policy", ["debt", "clamp"])
def test_what_comes_back_after_its_money_went_back_is_no_breakage(
    open_books: Callable[..., Books], policy: str
) -> None:
    books = open_books(refund_policy=policy)
    books.buy("ada", "a", 100, 1_000, expires_days=1)
    entry = books.wallets.spend("ada", 60, key="s")
    books.refund("a", 1_000)
    books.grant("ada", "g", 60)  # repays the debt, where there is one
    books.wallets.reverse(entry)
    books.turn(2)
    books.wallets.post_due("ada")
    assert {day.expired for day in books.report().days} == {0}, "it expired with nothing"
    assert {row.breakage.amount for row in books.report().money} == {Decimal(0)}
    # What had repaid the debt is there again, and was promotional; written off, nothing had.
    assert books.wallets.balance("ada").available == 60
    assert books.report().closing == Holdings(wallet=60)


# -- money ------------------------------------------------------------------------------------


def test_the_value_is_rounded_half_up_and_only_in_sum(books: Books) -> None:
    for number in range(3):  # a third of a cent each; the sum is exact
        books.buy(f"user{number}", f"a{number}", 300, 100)
        books.wallets.spend(f"user{number}", 299, key=f"s{number}")
    assert books.report().deferred == {"usd": dollars(3, "0.01")}
    books.buy("ada", "b", 200, 100)
    books.wallets.spend("ada", 199, key="t")
    assert books.report().deferred == {"usd": dollars(4, "0.02")}  # one and a half


def test_each_currency_has_its_own_digits(books: Books) -> None:
    books.buy("ada", "a", 3, 500, "jpy")
    books.buy("ada", "b", 3, 1_000, "bhd")
    books.wallets.spend("ada", 1, key="s")
    assert list(books.report().deferred.items()) == [
        ("bhd", Worth(credits=3, amount=Decimal("1.000"))),
        ("jpy", Worth(credits=2, amount=Decimal(333))),
    ]


def test_value_moves_although_as_many_credits_were_used_as_came_back(books: Books) -> None:
    books.buy("ada", "a", 10, 1_000)
    books.buy("bob", "b", 10, 2_000)
    entry = books.wallets.spend("bob", 10, key="s")
    books.turn(1)
    books.wallets.spend("ada", 10, key="t")
    books.wallets.reverse(entry)
    assert moved(books.report().days[-1]) == {}
    last = books.report().money[-1]
    assert last.used == dollars(0, "-10.00")
    assert (last.opening, last.closing) == (dollars(10, "10.00"), dollars(10, "20.00"))


def test_a_currency_has_no_row_on_a_day_that_left_it_as_it_was(books: Books) -> None:
    books.buy("ada", "a", 10, 1_000)
    books.buy("ada", "b", 10, 1_000, "eur")
    books.turn(1)
    books.wallets.reverse(books.wallets.spend("ada", 5, key="s"))
    report = books.report()
    assert [row.day.day for row in report.days] == [1, 2]
    assert [(row.day.day, row.currency) for row in report.money] == [(1, "eur"), (1, "usd")]


# -- the period -------------------------------------------------------------------------------


def test_a_period_opens_with_what_came_before_and_ignores_what_comes_after(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.turn(1)
    books.wallets.spend("ada", 10, key="1")
    since = books.instant + timedelta(hours=1)
    books.turn(1)
    books.wallets.spend("ada", 20, key="2")
    until = books.instant + timedelta(hours=1)
    books.turn(1)
    books.wallets.spend("ada", 40, key="3")
    report = books.report(since, until)
    assert (report.since, report.until) == (since, until)
    assert [(row.day.day, row.used) for row in report.days] == [(3, 20)]
    assert report.opening == Holdings(wallet=90, deferred=90)
    assert report.closing == Holdings(wallet=70, deferred=70)
    assert report.deferred == {"usd": dollars(70, "7.00")}


def test_a_period_in_which_nothing_happened_still_tells_how_things_stood(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.turn(7)
    report = books.report(since=books.instant)
    assert (report.days, report.money) == ((), ())
    assert report.opening == report.closing == Holdings(wallet=100, deferred=100)
    assert report.deferred == {"usd": dollars(100, "10.00")}


def test_an_entry_at_the_instant_itself_belongs_to_what_follows(books: Books) -> None:
    books.grant("ada", "g", 5)
    assert books.report(until=books.instant).days == ()
    assert len(books.report(since=books.instant).days) == 1
    assert books.report(since=books.instant, until=books.instant).closing == Holdings()


def test_an_empty_ledger_makes_an_empty_report(books: Books) -> None:
    report = books.report()
    assert (report.days, report.money, report.deferred) == ((), (), {})
    assert report.closing == Holdings()
    assert report.to_csv().count("\n") == 1


def test_a_period_that_ends_before_it_begins_is_refused(books: Books) -> None:
    with pytest.raises(cp.InvalidRequest) as refused:
        books.report(since=FIRST, until=FIRST - timedelta(seconds=1))
    assert refused.value.param == "until"


# -- csv --------------------------------------------------------------------------------------


def test_the_days_are_written_as_csv(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.turn(1)
    books.wallets.spend("ada", 1, key="s")
    assert books.report().to_csv() == (
        "day,sold,granted,used,used_paid,used_promotional,used_other,"
        "expired,expired_paid,expired_promotional,expired_other,refunded,disputed,written_off,"
        "opening_wallet,opening_held,opening_frozen,opening_debt,opening_deferred,"
        "closing_wallet,closing_held,closing_frozen,closing_debt,closing_deferred\n"
        "2024-01-01,100,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,100,0,0,0,100\n"
        "2024-01-02,0,0,1,1,0,0,0,0,0,0,0,0,0,100,0,0,0,100,99,0,0,0,99\n"
    )


def test_the_money_is_written_as_csv(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.buy("ada", "b", 10, 99, "jpy")
    assert books.report().money_to_csv() == (
        "day,currency,sold_credits,sold_amount,taken_back_credits,taken_back_amount,"
        "used_credits,used_amount,breakage_credits,breakage_amount,"
        "opening_credits,opening_amount,closing_credits,closing_amount\n"
        "2024-01-01,jpy,10,99,0,0,0,0,0,0,0,0,10,99\n"
        "2024-01-01,usd,100,10.00,0,0.00,0,0.00,0,0.00,0,0.00,100,10.00\n"
    )


def test_the_columns_are_all_that_a_row_has() -> None:
    for kind, columns in (
        (reports.DayRow, reports.DAY_COLUMNS),
        (reports.MoneyRow, reports.MONEY_COLUMNS),
    ):
        kinds = attrs.resolve_types(kind)
        names = []
        for field in attrs.fields(kinds):
            nested = attrs.fields(field.type) if attrs.has(field.type) else ()
            names += [f"{field.name}.{inner.name}" for inner in nested] or [field.name]
        assert names == list(columns)


# -- what is broken ---------------------------------------------------------------------------


def rows_of(books: Books) -> tuple[list[Entry], list[Purchase]]:
    books.buy("ada", "a", 100, 1_000)
    books.wallets.spend("ada", 10, key="s")
    return books.rows(Entry), books.rows(Purchase)


def test_a_payment_without_a_purchase_is_named(books: Books) -> None:
    entries, _ = rows_of(books)
    entries.sort(key=lambda entry: entry.sequence)
    with pytest.raises(cp.Conflict, match=f"purchase of the entry {entries[0].transaction_id}"):
        reports.report(entries, [])


def test_the_purchase_of_another_payment_does_not_stand_in(books: Books) -> None:
    books.buy("ada", "a", 100, 1_000)
    books.buy("ada", "b", 100, 2_000)
    entries = sorted(books.rows(Entry), key=lambda entry: entry.sequence)
    purchases = [row for row in books.rows(Purchase) if row.sequence == 1]
    with pytest.raises(cp.Conflict, match=entries[1].transaction_id):
        reports.report(entries, purchases)


@pytest.mark.parametrize(
    ("field", "text"),
    [("legs", "x"), ("lots", "x"), ("lots", '[["grant:unknown", -10, 0, 0, 0]]')],
)
def test_an_entry_that_cannot_be_followed_is_named(books: Books, field: str, text: str) -> None:
    entries, purchases = rows_of(books)
    entries.sort(key=lambda entry: entry.sequence)
    entries[1] = msgspec.structs.replace(entries[1], **{field: text})
    with pytest.raises(cp.Conflict, match=entries[1].transaction_id):
        reports.report(entries, purchases)


def test_a_payment_that_brought_nothing_is_named(books: Books) -> None:
    entries, purchases = rows_of(books)
    entry = next(entry for entry in entries if entry.kind == "payment")
    with pytest.raises(cp.Conflict, match=entry.transaction_id):
        reports.report([msgspec.structs.replace(entry, legs="{}")], purchases)


def test_memory_does_not_grow_with_the_ledger() -> None:
    def entries(users: int) -> Iterator[Entry]:
        for number in range(users):
            user = f"user{number:06}"
            grant = ledger.Effect(kind=Kind.GRANT, cause=f"grant:{user}")
            draft = ledger.Draft(grant)
            draft.leg(Contra.PROMOTIONS, -5)
            draft.move(grant.cause, available=5)
            yield ledger.post(Wallet(user), draft, instants.to_text(FIRST))[0]

    def peak(users: int) -> int:
        tracemalloc.start()
        try:
            report = reports.report(entries(users), [])
            assert report.closing.wallet == 5 * users
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(4_000) < 500_000  # all entries together take five times that


# -- whatever happens -------------------------------------------------------------------------

USERS = ("ada", "bob")
PRICES = [(100, 1_000, "usd"), (7, 100, "usd"), (60, 500, "eur"), (13, 500, "jpy")]
percents = st.integers(1, 100)
numbers = st.integers(0, 3)
users = st.sampled_from(USERS)
expiries = st.none() | st.integers(1, 3)
policies = st.sampled_from(["debt", "clamp", "freeze"])
overages = st.sampled_from(["refuse", "take", "debt", "debt"])
ACTIONS = st.one_of(
    st.tuples(st.just("buy"), users, st.sampled_from(PRICES), expiries),
    st.tuples(st.just("grant"), users, percents, expiries),
    st.tuples(st.just("spend"), users, percents),
    st.tuples(st.just("hold"), users, percents, overages),
    st.tuples(st.just("capture"), numbers, st.integers(1, 200)),
    st.tuples(st.just("capture"), numbers, st.integers(1, 200)),
    st.tuples(st.just("release"), numbers),
    st.tuples(st.just("reverse"), numbers),
    st.tuples(st.just("reverse"), numbers),
    st.tuples(st.just("refund"), numbers, st.integers(20, 100), st.booleans()),
    st.tuples(st.just("dispute"), numbers, numbers),
    st.tuples(st.just("turn"), st.integers(0, 60)),
)
DISPUTES = [
    ("needs_response", "charge.dispute.created"),
    ("needs_response", "charge.dispute.funds_withdrawn"),
    ("won", "charge.dispute.funds_reinstated"),
    ("lost", "charge.dispute.closed"),
]


class Play:
    """Does what an example says, as far as the wallet allows it."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._number = 0
        self._payments: list[tuple[str, int]] = []
        self._holds: list[cp.Hold] = []
        self._used: list[str] = []

    def act(self, name: str, *arguments: Any) -> None:
        self._number += 1
        with suppress(cp.CustomerError, cp.Conflict, cp.InvalidRequest):  # not possible now
            getattr(self, name)(*arguments)

    def buy(self, user: str, price: tuple[int, int, str], expires_days: int | None) -> None:
        credits, minor, currency = price
        self._books.buy(user, str(self._number), credits, minor, currency, expires_days)
        self._payments.append((str(self._number), minor))

    def grant(self, user: str, credits: int, expires_days: int | None) -> None:
        self._books.grant(user, str(self._number), credits, expires_days)

    def spend(self, user: str, percent: int) -> None:
        credits = self._share(user, percent)
        self._used.append(self._books.wallets.spend(user, credits, key=str(self._number)).cause)

    def hold(self, user: str, percent: int, overage: str) -> None:
        credits, key = self._share(user, percent), str(self._number)
        self._holds.append(
            self._books.wallets.hold(user, credits, key=key, ttl=86_400, overage=overage)
        )

    def capture(self, number: int, percent: int) -> None:
        if self._holds:
            hold = self._holds[number % len(self._holds)]
            self._used.append(hold.capture(max(1, hold.credits * percent // 100)).cause)

    def release(self, number: int) -> None:
        if self._holds:
            self._holds[number % len(self._holds)].release()

    def reverse(self, number: int) -> None:
        if self._used:
            self._books.wallets.reverse(self._used[number % len(self._used)])

    def refund(self, number: int, percent: int, fails: bool) -> None:
        if self._payments:
            name, minor = self._payments[number % len(self._payments)]
            share = max(1, minor * percent // 100)
            self._books.refund(name, share, str(self._number))
            if fails:
                self._books.turn(0.4)
                self._books.refund(name, share, str(self._number), "failed")

    def dispute(self, number: int, step: int) -> None:
        if self._payments:
            name, _ = self._payments[number % len(self._payments)]
            self._books.dispute(name, *DISPUTES[step])

    def _share(self, user: str, percent: int) -> int:
        return max(1, self._books.wallets.balance(user).available * percent // 100)

    def turn(self, hours: int) -> None:
        self._books.turn(hours / 24)


def half_up(value: Fraction) -> Decimal:
    """Written otherwise than the code that it checks."""
    number = Decimal(value.numerator) / Decimal(value.denominator)
    return number.quantize(Decimal(1), ROUND_HALF_UP)


def check_against_the_rows(books: Books, report: Report) -> None:
    """What is deferred follows from the rows of lots and payments, without any entry."""
    payments = {f"payment:{row.payment_intent_id}": row for row in books.rows(Payment)}
    credits: Counter[str] = Counter()
    values: dict[str, Fraction] = {}
    sold = used = expired = taken_back = 0
    given_back: Counter[str] = Counter()
    for lot in books.rows(Lot):
        if lot.lot_id.startswith("reversal:"):  # what had repaid a debt of that payment's
            name = lot.lot_id.split(":")[1]
            given_back[f"payment:{name}"] += lot.available + lot.held + lot.frozen
    for lot in books.rows(Lot):
        if lot.source != "purchase":
            continue
        paid = payments[lot.lot_id]
        gone = paid.refunded_credits + paid.disputed_credits
        shares = divide(
            lot.credits,
            taken_back=gone,
            there=lot.available + lot.held + lot.frozen + given_back[lot.lot_id],
            expired=lot.expired,
        )
        assert min(shares) >= 0
        assert shares.used >= 0
        sold, taken_back = sold + lot.credits, taken_back + gone
        used, expired = used + shares.used, expired + shares.expired
        credits[paid.currency] += shares.unused
        values[paid.currency] = values.get(paid.currency, Fraction(0)) + Fraction(
            paid.received_minor * shares.unused, lot.credits
        )
    assert report.deferred == {
        currency: Worth(
            credits=credits[currency], amount=money.to_decimal(int(half_up(value)), currency)
        )
        for currency, value in sorted(values.items())
    }
    assert report.closing.deferred == sum(credits.values())
    assert total(report, "sold") == sold
    assert total(report, "refunded") + total(report, "disputed") == taken_back
    assert total(report, "used_paid") == used
    assert total(report, "expired_paid") == expired
    assert total(report, "written_off") == sum(lot.written_off for lot in books.rows(Lot))
    # Of the paid credits, none is lost and none counts twice.
    assert report.closing.deferred + used + expired + taken_back == sold


def total(report: Report, name: str) -> int:
    return sum(getattr(row, name) for row in report.days)


def check_days(report: Report) -> None:
    assert [row.day for row in report.days] == sorted({row.day for row in report.days})
    before = report.opening
    for row in report.days:
        assert row.opening == before
        before = row.closing
        came = row.sold + row.granted + row.written_off
        went = row.used + row.expired + row.refunded + row.disputed
        assert on_balance(row.closing) == on_balance(row.opening) + came - went
        assert row.used == row.used_paid + row.used_promotional + row.used_other
        assert row.expired == row.expired_paid + row.expired_promotional + row.expired_other
        gone = row.used_paid + row.expired_paid + row.refunded + row.disputed
        assert row.closing.deferred == row.opening.deferred + row.sold - gone
    assert report.closing == before


def on_balance(holdings: Holdings) -> int:
    return holdings.wallet + holdings.held + holdings.frozen - holdings.debt


def check_money(report: Report) -> None:
    last: dict[str, Worth] = {}
    for row in report.money:
        assert row.opening == last.get(row.currency, row.opening)
        last[row.currency] = row.closing
        for field in ("credits", "amount"):
            opening, closing, sold, taken_back, used, breakage = (
                getattr(getattr(row, name), field)
                for name in ("opening", "closing", "sold", "taken_back", "used", "breakage")
            )
            assert closing == opening + sold - taken_back - used - breakage
    for day in report.days:
        rows = [row for row in report.money if row.day == day.day]
        assert sum(row.sold.credits for row in rows) == day.sold
        assert sum(row.used.credits for row in rows) == day.used_paid
        assert sum(row.breakage.credits for row in rows) == day.expired_paid
    for currency, worth in last.items():
        assert worth == report.deferred[currency]


def check_trial_balance(report: Report, verified: cp.VerificationReport) -> None:
    assert verified.ok, verified.problems
    legs = {
        "wallet": report.closing.wallet,
        "held": report.closing.held,
        "frozen": report.closing.frozen,
        "debt": -report.closing.debt,
        "purchases": -total(report, "sold"),
        "promotions": -total(report, "granted"),
        "usage": total(report, "used"),
        "expired": total(report, "expired"),
        "refunds": total(report, "refunded"),
        "disputes": total(report, "disputed"),
        "written_off": -total(report, "written_off"),
    }
    assert {account: legs[account] for account in verified.trial_balance} == verified.trial_balance
    assert not any(legs[account] for account in legs.keys() - verified.trial_balance.keys())


@given(
    st.lists(ACTIONS, min_size=10, max_size=40),
    policies,
    policies,
    st.integers(0, 40),
)
def test_whatever_happened_the_report_fits_the_ledger_and_the_rows(
    actions: list[Any], refund: str, dispute: str, moment: int
) -> None:
    books = Books(refund_policy=refund, dispute_policy=dispute)
    with books.system:
        play = Play(books)
        between = books.instant
        for number, action in enumerate(actions):
            play.act(*action)
            if number == moment:
                between = books.instant
        whole = books.report()
        check_trial_balance(whole, books.system.verify())
        check_against_the_rows(books, whole)
        before, after = books.report(until=between), books.report(since=between)
        for report in (whole, before, after):
            check_days(report)
            check_money(report)
        # Two reports that meet at an instant say together what one over all says.
        assert before.closing == after.opening
        assert after.closing == whole.closing
        assert after.deferred == whole.deferred
        for name in ("sold", "used", "used_paid", "used_promotional", "expired_paid"):
            assert total(before, name) + total(after, name) == total(whole, name)
        assert values_of(before, after) == values_of(whole)
        for text, rows in ((whole.to_csv(), whole.days), (whole.money_to_csv(), whole.money)):
            header, *lines = csv.reader(text.splitlines())
            assert [len(line) for line in lines] == [len(header)] * len(rows)


def values_of(*parts: Report) -> dict[tuple[str, str], Decimal]:
    """The money of reports in all, by currency and column; zeros are left out."""
    sums: dict[tuple[str, str], Decimal] = {}
    for row in (row for part in parts for row in part.money):
        for name in ("sold", "taken_back", "used", "breakage"):
            key = (row.currency, name)
            sums[key] = sums.get(key, Decimal(0)) + getattr(row, name).amount
    return {key: amount for key, amount in sums.items() if amount}
