"""One payment, told of in every order, ends in one state; what does not fit is kept."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import credit_payments as cp
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain import audit, payment
from credit_payments.domain.quoting import KeepQuote, LinkIntent
from credit_payments.domain.records import (
    CREDITS_MAX,
    Dispute,
    Entry,
    Event,
    FailedPayment,
    Hold,
    Incident,
    Lot,
    Payment,
    Purchase,
    Quote,
    Wallet,
)
from credit_payments.domain.stripe_facts import PaymentIntentFacts, RefundFacts
from credit_payments.posting import PostingQueue
from credit_payments.settlement import Messenger, ReportPayment, ReportRefund

pytestmark = pytest.mark.long

Shop = Any
PAID, CREDITS = 1_000, 100
METADATA = {"user_id": "ada", "quote_id": "quote_1"}


def quote(**given: Any) -> Quote:
    fields: dict[str, Any] = {
        "quote_id": "quote_1",
        "user_id": "ada",
        "amount_minor": PAID,
        "currency": "usd",
        "credits": CREDITS,
        "package_id": None,
        "customer_id": None,
        "rule": "rate",
        "expires_seconds": None,
        "fingerprint": "f",
        "payment_intent_id": None,
        "created_at": "",
    }
    return Quote(**{**fields, **given})


def intent(status: str = "succeeded", **given: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": "pi_1",
        "status": status,
        "amount": PAID,
        "amount_received": PAID if status == "succeeded" else 0,
        "currency": "usd",
        "created": 1_700_000_000,
        "metadata": METADATA,
    }
    return {**fields, **given}


def failed_intent() -> dict[str, Any]:
    error = {"type": "card_error", "code": "card_declined", "message": "No.", "charge": "ch_1"}
    return intent("requires_payment_method", last_payment_error=error, latest_charge="ch_1")


def refund(name: str, amount: int, status: str = "succeeded") -> dict[str, Any]:
    return {
        "id": name,
        "amount": amount,
        "currency": "usd",
        "status": status,
        "payment_intent": "pi_1",
    }


def payment_report(event_id: str | None, event_type: str, fields: dict[str, Any]) -> ReportPayment:
    messenger = Messenger(event_id=event_id, type=event_type) if event_id else None
    return ReportPayment(facts=msgspec.convert(fields, PaymentIntentFacts), messenger=messenger)


def refund_report(event_id: str, fields: dict[str, Any]) -> ReportRefund:
    return ReportRefund(
        facts=msgspec.convert(fields, RefundFacts),
        payment_intent_id="pi_1",
        messenger=Messenger(event_id=event_id, type="refund.updated"),
    )


MONEY_ARRIVES: list[Any] = [
    payment_report("evt_a", "payment_intent.succeeded", intent()),
    payment_report("evt_b", "payment_intent.succeeded", intent()),
    payment_report(None, "", intent()),
]
BEFORE_MONEY: list[Any] = [
    payment_report("evt_p", "payment_intent.processing", intent("processing")),
    payment_report("evt_r", "payment_intent.requires_action", intent("requires_action")),
    payment_report("evt_f", "payment_intent.payment_failed", failed_intent()),
]
MONEY_GOES_BACK: list[Any] = [
    refund_report("evt_1", refund("re_1", 333)),
    refund_report("evt_2", refund("re_2", 300, "pending")),
    refund_report("evt_3", refund("re_2", 300, "failed")),
]
REPORTS = MONEY_ARRIVES + BEFORE_MONEY + MONEY_GOES_BACK


class Books:
    """A queue over rows in memory, and what they say."""

    def __init__(self, *, quoted: bool = True, linked: bool = True) -> None:
        self.storage = MemoryStorage()
        self.queue = PostingQueue(self.storage, SystemClock(), sleep=lambda seconds: None)
        if quoted:
            self.queue.submit(KeepQuote(quote=quote()))
        if linked:
            self.link()

    def link(self) -> None:
        facts = msgspec.convert(intent("requires_payment_method"), PaymentIntentFacts)
        self.queue.submit(LinkIntent(quote_id="quote_1", facts=facts))

    def check(self) -> None:
        report = audit.verify(
            self.storage.scan(Wallet, order=audit.ORDERS[Wallet]),
            self.storage.scan(Lot, order=audit.ORDERS[Lot]),
            self.storage.scan(Hold, order=audit.ORDERS[Hold]),
            self.storage.scan(Entry, order=audit.ORDERS[Entry]),
            self.storage.scan(Purchase, order=audit.ORDERS[Purchase]),
            self.storage.scan(Payment, order=audit.ORDERS[Payment]),
        )
        assert report.ok, report.problems
        assert sum(report.trial_balance.values()) == 0

    def entries(self) -> list[Entry]:
        return list(self.storage.scan(Entry, order=("user_id", "sequence")))

    def state(self) -> dict[str, Any]:
        wallet, paid = self.storage.get(Wallet, "ada"), self.storage.get(Payment, "pi_1")
        assert paid is not None
        return {
            "available": wallet.available if wallet else 0,
            "debt": wallet.debt if wallet else 0,
            "status": paid.status,
            "received": paid.received_minor,
            "credited": paid.credited,
            "frozen": wallet.frozen if wallet else 0,
            "reversed": payment.reversed_credits(paid),
            "payment entries": [e.cause for e in self.entries() if e.kind == "payment"],
            "reversal sum": sum(e.credits for e in self.entries() if e.kind == "reversal"),
            "purchases": len(list(self.storage.scan(Purchase, order=("user_id",)))),
            "failures": len(list(self.storage.scan(FailedPayment, order=("user_id",)))),
            "open incidents": sum(
                incident.status == "open"
                for incident in self.storage.scan(Incident, order=("incident_id",))
            ),
        }


def model(reports: Sequence[Any]) -> dict[str, Any]:
    """What must be there, from the set of what was reported, without any order."""
    told = {id(report) for report in reports}
    paid = any(id(report) in told for report in MONEY_ARRIVES)
    part, pending, failed = (id(report) in told for report in MONEY_GOES_BACK)
    reversed_minor = 333 * part + 300 * (pending and not failed)
    reversed_credits = CREDITS * reversed_minor // PAID if paid else 0
    return {
        "available": (CREDITS if paid else 0) - reversed_credits,
        "debt": 0,
        "frozen": 0,
        "received": PAID if paid else 0,
        "credited": CREDITS if paid else 0,
        "reversed": reversed_credits,
        "payment entries": ["payment:pi_1"] if paid else [],
        "reversal sum": -reversed_credits,
        "purchases": int(paid),
        "failures": int(id(BEFORE_MONEY[2]) in told),
        "open incidents": 0,
    }


def tell(books: Books, reports: Sequence[Any]) -> None:
    for report in reports:
        books.queue.submit(report)
    books.check()
    state = books.state()
    status = state.pop("status")
    assert state == model(reports)
    if model(reports)["credited"]:
        assert status == "succeeded"


# -- any order --------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(REPORTS), max_size=16))
@settings(max_examples=300, deadline=None)
def test_any_reports_in_any_order_and_number_end_as_the_facts_say(reports: list[Any]) -> None:
    tell(Books(), reports)


def test_every_order_of_success_failure_and_refunds_ends_the_same() -> None:
    essential = [MONEY_ARRIVES[0], MONEY_ARRIVES[2], BEFORE_MONEY[2], *MONEY_GOES_BACK]
    for order in itertools.permutations(essential):
        tell(Books(), order)


def test_every_order_ends_the_same_when_only_the_quote_is_known() -> None:
    """Stripe made the intent, and the process died before it could record it."""
    for order in itertools.permutations(MONEY_ARRIVES + BEFORE_MONEY):
        tell(Books(linked=False), order)


def test_the_intent_may_be_recorded_at_any_time() -> None:
    for reports in itertools.permutations(MONEY_ARRIVES):
        for moment in range(len(reports) + 1):
            books = Books(linked=False)
            for number, report in enumerate(reports):
                if number == moment:
                    books.link()
                books.queue.submit(report)
            books.link()
            tell(books, reports)
            kept = books.storage.get(Quote, "quote_1")
            assert kept is not None
            assert kept.payment_intent_id == "pi_1"


def test_a_refund_told_before_its_payment_is_recorded_counts_once_it_is() -> None:
    books = Books(linked=False)
    tell(books, [MONEY_GOES_BACK[0], MONEY_ARRIVES[0]])


def test_a_refund_of_an_unrecorded_payment_is_filed_and_counts_once_that_is_recorded() -> None:
    books = Books(linked=False)
    early = MONEY_GOES_BACK[0]
    assert books.queue.submit(early).outcome == "quarantined"
    books.queue.submit(MONEY_ARRIVES[0])
    assert books.queue.submit(early).outcome == "duplicate", "it is counted already"
    assert books.state()["available"] == CREDITS - 33
    incident = books.storage.get(Incident, "reversals:pi_1")
    assert incident is not None
    assert incident.status == "resolved"


# -- refunds and debt -------------------------------------------------------------------------


def test_credits_that_are_spent_become_debt_which_the_next_grant_repays() -> None:
    books = Books()
    wallets = cp.Wallets(books.storage, books.queue, SystemClock())
    books.queue.submit(MONEY_ARRIVES[0])
    wallets.spend("ada", 90, key="s")
    books.queue.submit(refund_report("evt_9", refund("re_9", PAID)))
    assert wallets.balance("ada") == cp.Balance(available=0, debt=90)
    assert wallets.grant("ada", 100, key="g", reason="sorry").credits == 10
    assert wallets.balance("ada") == cp.Balance(available=10, debt=0)
    books.check()


@given(st.lists(st.integers(1, 400), max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_many_partial_refunds_take_back_what_one_of_their_sum_would(
    amounts: list[int], order: random.Random
) -> None:
    reports: list[Any] = [
        refund_report(f"evt_{number}", refund(f"re_{number}", amount))
        for number, amount in enumerate(amounts)
    ]
    reports.append(MONEY_ARRIVES[0])
    order.shuffle(reports)
    books = Books()
    for report in reports:
        books.queue.submit(report)
    books.check()
    assert books.state()["reversed"] == CREDITS * min(sum(amounts), PAID) // PAID


def test_a_refund_that_fails_later_gives_the_credits_back() -> None:
    books = Books()
    for report in (MONEY_ARRIVES[0], refund_report("evt_8", refund("re_8", PAID))):
        books.queue.submit(report)
    assert books.state()["available"] == 0
    books.queue.submit(refund_report("evt_9", refund("re_8", PAID, "failed")))
    assert books.state()["available"] == CREDITS
    assert [entry.cause for entry in books.entries()] == [
        "payment:pi_1",
        "reversal:pi_1:1",
        "reversal:pi_1:2",
    ]


# -- what does not fit ------------------------------------------------------------------------


def test_a_payment_without_a_quote_is_kept_for_a_person(shop: Shop) -> None:
    delivery = shop.deliver("payment_intent.succeeded", intent(), "evt_1")
    assert (delivery.outcome, delivery.reason is not None) == ("quarantined", True)
    storage = shop.system._storage
    assert storage.get(Event, "evt_1").outcome == "quarantined"
    incident = storage.get(Incident, "payment:pi_1")
    assert (incident.status, incident.event_id) == ("open", "evt_1")
    assert msgspec.json.decode(incident.facts)["amount_received"] == PAID
    assert shop.system.wallets.balance("ada").available == 0


MISMATCHES: dict[str, dict[str, Any]] = {
    "less": {"amount_received": PAID - 1},
    "more": {"amount_received": PAID + 1},
    "nothing": {"amount_received": 0},
    "currency": {"currency": "eur"},
    "user": {"metadata": {"user_id": "eve", "quote_id": "quote_1"}},
}


@pytest.mark.parametrize("linked", [True, False], ids=["recorded", "quote only"])
@pytest.mark.parametrize("name", MISMATCHES)
def test_what_differs_from_its_quote_is_kept_and_can_be_told_again(
    shop: Shop, name: str, linked: bool
) -> None:
    system = shop.system
    system.queue.submit(KeepQuote(quote=quote()))
    if linked:
        facts = msgspec.convert(intent("requires_payment_method"), PaymentIntentFacts)
        system.queue.submit(LinkIntent(quote_id="quote_1", facts=facts))
    wrong = intent(**MISMATCHES[name])
    for _ in range(2):
        assert shop.deliver("payment_intent.succeeded", wrong, "evt_1").outcome == "quarantined"
    assert system.wallets.balance("ada").available == 0
    assert system.wallets.balance("eve").available == 0
    assert system._storage.get(Incident, "payment:pi_1").status == "open"
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "applied"
    assert system._storage.get(Incident, "payment:pi_1").status == "resolved"
    assert system._storage.get(Event, "evt_1").outcome == "applied"
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "duplicate"
    assert system.wallets.balance("ada").available == CREDITS
    assert system.verify().ok


def test_a_quarantined_event_is_applied_once_its_quote_is_there(shop: Shop) -> None:
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "quarantined"
    shop.system.queue.submit(KeepQuote(quote=quote()))
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "applied"
    assert shop.system._storage.get(Incident, "payment:pi_1").status == "resolved"
    assert shop.system.wallets.balance("ada").available == CREDITS


@pytest.mark.parametrize("second", [MONEY_ARRIVES[1], MONEY_ARRIVES[2]], ids=["event", "confirm"])
def test_an_incident_is_resolved_whoever_reports_the_payment_next(second: Any) -> None:
    books = Books(quoted=False, linked=False)
    assert books.queue.submit(MONEY_ARRIVES[0]).outcome == "quarantined"
    books.queue.submit(KeepQuote(quote=quote()))
    assert books.queue.submit(second).outcome == "applied"
    incident = books.storage.get(Incident, "payment:pi_1")
    assert incident is not None
    assert incident.status == "resolved"


def test_an_incident_of_a_recorded_payment_is_resolved_by_another_event(shop: Shop) -> None:
    shop.system.queue.submit(KeepQuote(quote=quote()))
    assert shop.deliver("payment_intent.processing", intent("processing")).outcome == "applied"
    shop.system.wallets.grant("ada", CREDITS_MAX, key="g", reason="all")
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "quarantined"
    shop.system.wallets.spend("ada", CREDITS, key="s")
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_2").outcome == "applied"
    assert shop.system._storage.get(Incident, "payment:pi_1").status == "resolved"
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "duplicate"


@pytest.mark.parametrize("linked", [True, False], ids=["recorded", "quote only"])
def test_an_intent_whose_metadata_lost_its_user_is_credited_by_its_quote(linked: bool) -> None:
    books = Books(linked=linked)
    fields = intent(metadata={"quote_id": "quote_1"})
    books.queue.submit(payment_report("evt_1", "payment_intent.succeeded", fields))
    assert books.state()["available"] == CREDITS


def test_a_payment_that_its_wallet_cannot_hold_is_kept_for_a_person(shop: Shop) -> None:
    shop.system.wallets.grant("ada", CREDITS_MAX, key="g", reason="all")
    shop.system.queue.submit(KeepQuote(quote=quote()))
    assert shop.deliver("payment_intent.succeeded", intent()).outcome == "quarantined"


def test_an_unknown_intent_without_money_is_ignored_and_stores_nothing(shop: Shop) -> None:
    for status in ("processing", "requires_action", "canceled"):
        delivery = shop.deliver(f"payment_intent.{status}", intent(status))
        assert delivery.outcome == "ignored"
    assert _rows(shop) == 0


def _rows(shop: Shop) -> int:
    kinds = (Event, Incident, Payment, Entry, Wallet, Lot, Dispute, Purchase, FailedPayment)
    return sum(len(list(shop.system._storage.scan(kind, order=(kind.KEY,)))) for kind in kinds)


# -- disputes ---------------------------------------------------------------------------------


def dispute(status: str = "needs_response", **given: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": "dp_1",
        "amount": PAID,
        "currency": "usd",
        "reason": "fraudulent",
        "status": status,
        "created": 1_700_000_000,
        "payment_intent": "pi_1",
    }
    return {**fields, **given}


DISPUTED = Dispute(
    "dp_1", "pi_1", PAID, "usd", "fraudulent", "needs_response", "2023-11-14T22:13:20.000000Z"
)


def sell(shop: Shop, number: int = 1) -> None:
    """A payment, of a user, an intent and a quote of that number, that has succeeded."""
    user = "ada" if number == 1 else f"user{number}"
    names = {"quote_id": f"quote_{number}", "user_id": user}
    shop.system.queue.submit(KeepQuote(quote=quote(**names)))
    paid = intent(id=f"pi_{number}", metadata=names)
    assert shop.deliver("payment_intent.succeeded", paid).outcome == "applied"


def test_a_dispute_is_recorded_and_freezes_what_the_payment_brought(shop: Shop) -> None:
    sell(shop)
    assert shop.deliver("charge.dispute.created", dispute(), "evt_1").outcome == "applied"
    assert shop.system._storage.get(Dispute, "dp_1") == DISPUTED
    assert shop.system.wallets.balance("ada") == cp.Balance(available=0, frozen=CREDITS)
    assert shop.deliver("charge.dispute.created", dispute(), "evt_1").outcome == "duplicate"
    assert shop.deliver("charge.dispute.created", dispute(), "evt_2").outcome == "duplicate"
    history = shop.system.wallets.history("ada").items
    assert [entry.cause for entry in history] == ["reversal:pi_1:1", "payment:pi_1"]
    assert history[0].legs == {"wallet:ada": -CREDITS, "frozen:ada": CREDITS}
    assert shop.system.verify().ok


def test_a_dispute_of_an_unrecorded_payment_is_filed_and_counts_once_that_is_recorded(
    shop: Shop,
) -> None:
    for _ in range(2):
        delivery = shop.deliver("charge.dispute.created", dispute(), "evt_1")
        assert delivery.outcome == "quarantined"
    storage = shop.system._storage
    assert storage.get(Dispute, "dp_1") == DISPUTED
    assert storage.get(Event, "evt_1").outcome == "quarantined"
    filed = storage.get(Incident, "reversals:pi_1")
    assert (filed.status, filed.event_id) == ("open", "evt_1")
    assert payment.Early.read(filed).disputes == '{"dp_1":[1000,"needs_response",{}]}'
    sell(shop)
    assert storage.get(Incident, "reversals:pi_1").status == "resolved"
    assert shop.system.wallets.balance("ada") == cp.Balance(available=0, frozen=CREDITS)
    assert shop.deliver("charge.dispute.created", dispute(), "evt_1").outcome == "duplicate"
    assert storage.get(Event, "evt_1").outcome == "duplicate"
    assert shop.system.verify().ok


def test_a_dispute_that_names_no_intent_is_kept_for_a_person(shop: Shop) -> None:
    sell(shop)
    bare = dispute(payment_intent=None, charge="ch_1")
    for _ in range(2):
        delivery = shop.deliver("charge.dispute.created", bare, "evt_1")
        assert (delivery.outcome, delivery.reason is not None) == ("quarantined", True)
    storage = shop.system._storage
    assert storage.get(Dispute, "dp_1") == msgspec.structs.replace(DISPUTED, payment_intent_id=None)
    incident = storage.get(Incident, "dispute:dp_1")
    assert (incident.status, incident.event_id) == ("open", "evt_1")
    assert msgspec.json.decode(incident.facts) == {"dispute": "dp_1", "amount": PAID}
    assert shop.system.wallets.balance("ada") == cp.Balance(available=CREDITS)


@pytest.mark.parametrize("end", ["won", "lost"])
def test_withdrawn_funds_take_the_credits_and_reinstated_funds_give_them_back(
    shop: Shop, end: str
) -> None:
    sell(shop)
    balance = shop.system.wallets.balance
    shop.deliver("charge.dispute.created", dispute())
    shop.deliver("charge.dispute.funds_withdrawn", dispute())
    assert balance("ada") == cp.Balance(available=0)
    paid = shop.system._storage.get(Payment, "pi_1")
    assert (paid.refunded_credits, paid.disputed_credits, paid.locked) == (0, CREDITS, 0)
    shop.deliver("charge.dispute.closed", dispute(end))
    assert balance("ada") == cp.Balance(available=0)
    shop.deliver("charge.dispute.funds_reinstated", dispute(end))
    assert balance("ada") == cp.Balance(available=CREDITS)
    assert shop.system._storage.get(Payment, "pi_1").disputed_credits == 0
    assert shop.system.verify().ok


@pytest.mark.parametrize(
    ("end", "left"), [("won", CREDITS), ("lost", 0), ("warning_closed", CREDITS)]
)
def test_a_dispute_stays_closed_in_whatever_order_it_is_told(
    shop: Shop, end: str, left: int
) -> None:
    told = [
        ("charge.dispute.created", dispute()),
        ("charge.dispute.updated", dispute("under_review")),
        ("charge.dispute.closed", dispute(end)),
    ]
    for number, order in enumerate(itertools.permutations(told), start=2):
        sell(shop, number)
        for event_type, fields in order:
            names = {"id": f"dp_{number}", "payment_intent": f"pi_{number}"}
            shop.deliver(event_type, {**fields, **names})
        assert shop.system._storage.get(Dispute, f"dp_{number}").status == end
        assert shop.system.wallets.balance(f"user{number}") == cp.Balance(available=left)
    assert shop.system.verify().ok


# -- races ------------------------------------------------------------------------------------


def test_confirmations_and_webhooks_at_once_credit_each_payment_once(
    open_shop: Callable[[str], Shop], tmp_path: Path
) -> None:
    shop = open_shop(f"sqlite:///{tmp_path / 'credits.db'}")
    queue, payments = shop.system.queue, 12
    reports: list[Any] = []
    for number in range(payments):
        names = {"quote_id": f"quote_{number}", "user_id": f"user{number % 3}"}
        queue.submit(KeepQuote(quote=quote(**names)))
        fields = intent(id=f"pi_{number}", metadata=names)
        reports += [
            payment_report(None, "", fields),
            payment_report(f"evt_a{number}", "payment_intent.succeeded", fields),
            payment_report(f"evt_b{number}", "payment_intent.succeeded", fields),
        ] * 8
    random.Random(7).shuffle(reports)
    with ThreadPoolExecutor(64) as pool:
        settled = list(pool.map(queue.submit, reports, timeout=60))
    assert sum(report.outcome == "applied" for report in settled) == payments
    balances = [shop.system.wallets.balance(f"user{number}").available for number in range(3)]
    assert balances == [CREDITS * payments // 3] * 3
    purchases = shop.system.payments.purchases("user0", limit=100)
    assert len(purchases) == payments // 3
    report = shop.system.verify()
    assert report.ok
    assert report.entries == payments
