"""Refunds and disputes one by one: what each of them does to a wallet, and what undoes it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.support import model, reports
from tests.support.payment_story import (
    CREDITS,
    OLD,
    PAID,
    Books,
    Case,
    Clock,
    Json,
    charge,
    dispute,
    intent,
    movement,
    refund,
)

import credit_payments as cp
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain import audit, decision, lots
from credit_payments.domain.clawback import Policies, Policy
from credit_payments.domain.lots import STAND_INS_MAX
from credit_payments.posting import PostingQueue

pytestmark = pytest.mark.long

# -- a refund beside a dispute ----------------------------------------------------------------


def withdrawn(amount: int = PAID, **given: Any) -> tuple[str, Json]:
    fields = {"amount": amount, "balance_transactions": [movement("txn_out", -amount)]} | given
    return "charge.dispute.funds_withdrawn", dispute("needs_response", **fields)


def reinstated(amount: int = PAID, **given: Any) -> tuple[str, Json]:
    moved = [movement("txn_out", -amount), movement("txn_back", amount)]
    fields = {"amount": amount, "balance_transactions": moved} | given
    return "charge.dispute.funds_reinstated", dispute("won", **fields)


def test_a_refund_and_a_dispute_of_one_payment_never_take_more_than_it_brought() -> None:
    for order in itertools.permutations(["refund", "dispute"]):
        books = Books()
        books.pay()
        for what in order:
            if what == "refund":
                books.refund("re_1", PAID)
            else:
                books.deliver(*withdrawn())
            books.check()
        assert books.state()["refunded"] == CREDITS


def test_a_dispute_of_more_than_was_paid_takes_what_the_payment_brought() -> None:
    books = Books()
    books.wallets.grant("ada", 50, key="g", reason="welcome")
    books.pay()
    books.deliver(*withdrawn(5 * PAID))
    books.check(available=50)


def test_a_won_dispute_gives_back_what_the_refunds_leave() -> None:
    books = Books()
    books.pay()
    books.refund("re_1", 300)
    books.deliver(*withdrawn())
    books.check()
    books.deliver(*reinstated())
    books.check(available=70)


def test_a_refund_after_the_funds_were_reinstated_takes_its_own_share() -> None:
    books = Books()
    books.pay()
    books.deliver(*withdrawn())
    books.deliver(*reinstated())
    books.check(available=100)
    books.refund("re_1", 300)
    books.check(available=70)
    books.refund("re_2", 700)
    books.check()


def test_a_refund_that_fails_under_a_lost_dispute_gives_nothing_back() -> None:
    books = Books()
    books.pay()
    books.refund("re_1", 300)
    books.deliver(*withdrawn())
    books.deliver("charge.dispute.closed", dispute("lost"))
    books.refund("re_1", 300, "failed")
    books.check()
    assert (books.state()["refunded"], books.state()["disputed"]) == (0, CREDITS)


def test_several_disputes_of_one_payment_add_up_and_end_each_by_itself() -> None:
    books = Books()
    books.pay()
    books.deliver(*withdrawn(400))
    books.deliver(*withdrawn(300, id="dp_2", balance_transactions=[movement("txn_2", -300)]))
    books.check(available=30)
    books.deliver(*reinstated(400))
    books.check(available=70)
    books.deliver("charge.dispute.closed", dispute("lost", id="dp_2", amount=300))
    books.check(available=70)


@pytest.mark.parametrize("times", [1, 3, 7, 250])
def test_many_small_refunds_take_what_one_of_their_sum_would(times: int) -> None:
    books = Books()
    books.pay()
    part, rest = divmod(PAID, times)
    for number in range(times):
        books.refund(f"re_{number}", part + (rest if number == 0 else 0))
    books.check()
    for number in range(0, times, 2):
        books.refund(f"re_{number}", part + (rest if number == 0 else 0), "failed")
    left = sum(part + (rest if number == 0 else 0) for number in range(1, times, 2))
    books.check(available=CREDITS - CREDITS * left // PAID)


@pytest.mark.parametrize("amount", [1, 9, 10, 11, 999])
def test_a_share_is_rounded_in_the_favour_of_the_customer(amount: int) -> None:
    books = Books()
    books.pay()
    books.refund("re_1", amount)
    books.check(available=CREDITS - amount // 10)


def test_a_won_dispute_gives_all_back_whatever_the_currency_did_meanwhile() -> None:
    """https://docs.stripe.com/currencies/disputes-refunds."""
    books = Books()
    books.pay()
    moved = [movement("txn_out", -920, "eur"), movement("txn_back", 900, "eur")]
    books.deliver(*withdrawn(balance_transactions=moved[:1]))
    books.deliver(*reinstated(balance_transactions=moved))
    books.deliver("charge.dispute.closed", dispute("won", balance_transactions=moved))
    books.check(available=CREDITS)


def test_a_refund_in_the_dashboard_is_told_of_by_its_charge_alone_before_2024_10_28() -> None:
    """https://docs.stripe.com/changelog/acacia/2024-10-28/refund-webhook-update."""
    books = Books()
    books.pay()
    books.deliver("charge.refunded", charge(300), version=OLD)
    books.check(available=70)
    books.deliver("charge.refunded", charge(PAID), version=OLD)
    books.check()
    books.deliver("charge.refunded", charge(300), version=OLD)  # an older one, that comes late
    books.check()
    assert books.state()["refunded"] == CREDITS


def test_a_refund_that_its_charge_told_of_counts_once() -> None:
    told: list[tuple[str, Json]] = [
        ("payment_intent.succeeded", intent("succeeded")),
        ("charge.refunded", charge(300)),
        ("refund.created", refund("re_1", 300, "pending")),
        ("charge.refund.updated", refund("re_1", 300)),
    ]
    for order in itertools.permutations(told):
        books = Books(Case(linked=False))
        for kind, fields in order:
            books.deliver(kind, fields)
        books.check(available=70)


def test_a_charge_that_names_no_intent_is_not_ours() -> None:
    books = Books()
    books.pay()
    bare = charge(PAID, payment_intent=None)
    assert books.deliver("charge.refunded", bare) == "ignored"
    books.check(available=CREDITS)


# -- inquiries --------------------------------------------------------------------------------


def test_an_inquiry_freezes_what_is_left_and_lets_go_of_it_when_it_is_closed() -> None:
    books = Books()
    books.pay(spent=40)
    books.deliver("charge.dispute.created", dispute("warning_needs_response"))
    books.check(frozen=60)
    with pytest.raises(cp.InsufficientCredits):
        books.wallets.spend("ada", 1, key="frozen")
    books.deliver("charge.dispute.updated", dispute("warning_under_review"))
    books.check(frozen=60)
    books.deliver("charge.dispute.closed", dispute("warning_closed"))
    books.check(available=60)


INQUIRY: list[tuple[str, Json]] = [
    ("charge.dispute.created", dispute("warning_needs_response")),
    ("charge.dispute.updated", dispute("warning_under_review")),
    ("charge.dispute.updated", dispute("needs_response")),
    withdrawn(),
    ("charge.dispute.closed", dispute("lost", balance_transactions=[movement("txn_out", -PAID)])),
]


@pytest.mark.parametrize("sparse", [False, True], ids=["complete", "sparse"])
def test_an_inquiry_that_becomes_a_dispute_ends_the_same_in_every_order(sparse: bool) -> None:
    told = [
        (kind, {k: v for k, v in fields.items() if k != "balance_transactions"})
        if sparse
        else (kind, fields)
        for kind, fields in INQUIRY
    ]
    for order in itertools.permutations([*told, ("payment_intent.succeeded", intent("succeeded"))]):
        books = Books(Case(linked=False))
        for kind, fields in order:
            books.deliver(kind, fields)
        books.check()
        state = books.state()
        assert (state["disputed"], state["dispute"], state["locked"]) == (CREDITS, "lost", False)


@pytest.mark.parametrize("length", range(4))
def test_an_inquiry_told_in_any_order_with_a_refund_freezes_the_rest(length: int) -> None:
    told = [*INQUIRY[:length], ("refund.created", refund("re_1", 300))]
    for order in itertools.permutations([*told, ("payment_intent.succeeded", intent("succeeded"))]):
        books = Books(Case(linked=False))
        for kind, fields in order:
            books.deliver(kind, fields)
        books.check(**({"frozen": 70} if length else {"available": 70}))


def test_credits_that_come_back_into_a_frozen_lot_are_frozen_too() -> None:
    books = Books()
    books.pay()
    spend = books.wallets.spend("ada", 30, key="s")
    hold = books.wallets.hold("ada", 20, key="h", ttl=60)
    books.deliver("charge.dispute.created", dispute("needs_response"))
    books.check(frozen=50, held=20)
    hold.release()
    books.wallets.reverse(spend)
    books.check(frozen=100)
    books.deliver(*withdrawn())
    books.deliver(*reinstated())
    books.check(available=100)


def test_credits_from_elsewhere_are_not_frozen_with_a_disputed_lot() -> None:
    books = Books()
    books.wallets.grant("ada", 50, key="g", reason="welcome")
    books.pay()
    books.deliver("charge.dispute.created", dispute("needs_response"))
    books.check(available=50, frozen=100)


# -- what is not there any more ---------------------------------------------------------------


def test_spent_credits_become_a_debt_that_the_next_purchase_or_grant_repays() -> None:
    books = Books()
    books.pay(spent=90)
    books.refund("re_1", PAID)
    books.check(debt=90)
    books.wallets.grant("ada", 30, key="g", reason="sorry")
    books.check(debt=60)
    books.wallets.grant("ada", 70, key="g2", reason="sorry")
    books.check(available=10)


def test_a_refund_that_fails_after_its_debt_was_repaid_gives_the_credits_back() -> None:
    books = Books()
    books.pay(spent=90)
    books.refund("re_1", PAID)
    books.wallets.grant("ada", 100, key="g", reason="sorry")
    books.check(available=10)
    books.refund("re_1", PAID, "failed")
    books.check(available=110)
    books.refund("re_2", PAID)
    books.check(available=10)


def test_what_is_missing_is_taken_from_other_lots_and_given_back_to_them() -> None:
    books = Books()
    for number in range(40):
        books.wallets.grant("ada", 1, key=f"g{number}", reason="welcome", priority=5)
    books.pay(spent=100)
    books.refund("re_1", PAID)
    books.check(debt=60)
    books.refund("re_1", PAID, "failed")
    books.check(available=40)
    books.refund("re_2", 350)
    books.check(available=5)
    books.refund("re_2", 350, "canceled")
    books.check(available=40)
    sources = {lot.source for lot in books.wallets.lots("ada", limit=100).items}
    assert sources == {"grant"}


@pytest.mark.parametrize("what", ["refund", "dispute"])
def test_clamping_writes_off_what_is_spent_and_takes_it_back_from_nobody(what: str) -> None:
    policies = Policies(**{what: Policy.CLAMP})
    books = Books(Case(policies=policies))
    books.pay(spent=70)
    if what == "refund":
        books.refund("re_1", PAID)
    else:
        books.deliver(*withdrawn())
    books.check()
    books.wallets.grant("ada", 10, key="g", reason="sorry")
    books.check(available=10)
    if what == "refund":
        books.refund("re_1", PAID, "failed")
    else:
        books.deliver(*reinstated())
    books.check(available=40)


@pytest.mark.parametrize("what", ["refund", "dispute"])
def test_freezing_stops_a_wallet_that_owes_until_somebody_resumes_it(what: str) -> None:
    books = Books(Case(policies=Policies(**{what: Policy.FREEZE})))
    books.pay(spent=70)
    books.wallets.grant("ada", 5, key="g", reason="welcome")
    if what == "refund":
        books.refund("re_1", 500)
        books.refund("re_2", 500)
    else:
        books.deliver(*withdrawn())
    books.check(debt=65)
    books.wallets.grant("ada", 100, key="g2", reason="sorry")
    books.check(frozen=35)
    with pytest.raises(cp.WalletSuspended):
        books.wallets.spend("ada", 1, key="no")
    books.wallets.resume("ada", key="r", reason="explained", actor="eve")
    books.wallets.spend("ada", 35, key="yes")
    books.check()


@pytest.mark.parametrize("policy", Policy)
def test_a_policy_does_nothing_while_the_credits_are_there(policy: Policy) -> None:
    books = Books(Case(policies=Policies(refund=policy, dispute=policy)))
    books.pay()
    books.refund("re_1", 500)
    books.deliver(*withdrawn())
    books.deliver(*reinstated())
    books.check(available=50)


@pytest.mark.parametrize("refund_policy", [Policy.DEBT, Policy.CLAMP])
def test_two_policies_end_the_same_in_both_orders(refund_policy: Policy) -> None:
    other = Policy.CLAMP if refund_policy == Policy.DEBT else Policy.DEBT
    debts = set()
    for order in itertools.permutations(["refund", "dispute"]):
        books = Books(Case(policies=Policies(refund=refund_policy, dispute=other)))
        books.pay(spent=CREDITS)
        for what in order:
            if what == "refund":
                books.refund("re_1", 300)
            else:
                books.deliver(*withdrawn())
        debts.add(books.state()["debt"])
    assert debts == {30 if refund_policy == Policy.DEBT else 70}


@pytest.mark.parametrize("how", ["hold", "spend"])
def test_clamping_writes_off_nothing_that_comes_back_later(how: str) -> None:
    books = Books(Case(policies=Policies(refund=Policy.CLAMP)))
    books.pay()
    if how == "hold":
        hold = books.wallets.hold("ada", 70, key="h", ttl=60)
        books.refund("re_1", PAID)
        hold.release()
    else:
        spent = books.wallets.spend("ada", 70, key="s")
        books.refund("re_1", PAID)
        books.wallets.reverse(spent)
    books.check()


# -- expiry and holds -------------------------------------------------------------------------


def test_an_expired_unused_purchase_that_is_refunded_leaves_no_debt() -> None:
    books = Books(lasts=100)
    books.pay(spent=40)
    books.wallets.grant("ada", 30, key="g", reason="welcome")
    books.clock.turn(101)
    books.refund("re_1", 600)
    books.check(available=30)
    books.refund("re_2", 400)
    books.check(debt=10)
    books.refund("re_2", 400, "failed")
    books.check(available=30)
    books.refund("re_1", 600, "failed")
    books.check(available=30)


def test_a_refund_before_the_expiry_that_fails_after_it_gives_nothing_to_spend() -> None:
    books = Books(lasts=100)
    books.pay()
    books.refund("re_1", PAID)
    books.clock.turn(101)
    books.refund("re_1", PAID, "failed")
    books.check()
    assert books.wallets.history("ada").items[0].kind == "expiry"


def test_frozen_credits_that_expire_meanwhile_are_gone_when_the_dispute_is_won() -> None:
    books = Books(lasts=100)
    books.pay()
    books.deliver("charge.dispute.created", dispute("needs_response"))
    books.clock.turn(101)
    books.wallets.post_due("ada")
    books.deliver("charge.dispute.closed", dispute("won"))
    books.check()


HOLD_ENDS: dict[str, tuple[Callable[[cp.Hold], Any], dict[str, int]]] = {
    "released": (lambda hold: hold.release(), {}),
    "captured": (lambda hold: hold.capture(), {"debt": 70}),
    "captured in part": (lambda hold: hold.capture(20), {"debt": 20}),
}


@pytest.mark.parametrize("end", HOLD_ENDS)
def test_held_credits_that_are_refunded_are_owed_until_the_hold_lets_go(end: str) -> None:
    books = Books()
    books.pay()
    hold = books.wallets.hold("ada", 70, key="h", ttl=60)
    books.refund("re_1", PAID)
    books.check(held=70, debt=70)
    finish, then = HOLD_ENDS[end]
    finish(hold)
    books.check(**then)
    books.refund("re_1", PAID, "failed")
    books.check(available=CREDITS - then.get("debt", 0))


def test_a_hold_that_lapses_repays_what_the_refund_of_its_credits_left_owed() -> None:
    books = Books()
    books.pay()
    books.wallets.hold("ada", 70, key="h", ttl=60)
    books.refund("re_1", PAID)
    books.clock.turn(61)
    books.check()
    books.wallets.post_due("ada")
    books.check()


def test_no_lot_can_take_the_name_of_the_expiry_of_another() -> None:
    books = Books()
    soon = books.clock.now() + timedelta(seconds=100)
    books.wallets.grant("ada", 10, key="a", reason="welcome", expires_at=soon)
    holds = [books.wallets.hold("ada", 5, key=f"h{n}", ttl=1_000) for n in range(2)]
    books.wallets.grant("bob", 7, key="a:2", reason="welcome", expires_at=soon)
    books.clock.turn(101)
    for hold in holds:
        hold.release()  # each goes back into the lot, and expires
    books.wallets.grant("bob", 1, key="b", reason="is refused for ever")


# -- what had repaid a debt -------------------------------------------------------------------


@pytest.mark.parametrize("days", [0, 101])
def test_a_dispute_that_is_won_gives_back_what_had_repaid_its_debt_whenever_that_is(
    days: int,
) -> None:
    books = Books(lasts=100)
    books.pay(spent=100)
    books.deliver(*withdrawn())
    books.wallets.grant("ada", 100, key="g", reason="bought with other money")
    books.check(available=0)
    books.clock.turn(days)
    books.deliver(*reinstated())
    books.check(available=100)
    [lot] = books.wallets.lots("ada")
    assert (lot.lot_id, lot.source, lot.expires_at) == ("reversal:pi_1:2", "correction", None)
    books.clock.turn(1_000)
    books.check(available=100)


def test_a_refund_that_fails_gives_back_what_a_grant_without_an_end_had_repaid() -> None:
    books = Books(lasts=100)
    books.pay(spent=100)
    books.refund("re_1", PAID)
    books.wallets.grant("ada", 60, key="g", reason="welcome")
    books.refund("re_1", PAID, "failed")
    books.check(available=60)
    books.clock.turn(101)
    books.check(available=60)


@pytest.mark.parametrize("way", ["hold", "undo"])
def test_credits_of_the_payment_that_repaid_its_debt_come_back_as_its_own(way: str) -> None:
    books = Books(lasts=100)
    books.pay()
    if way == "hold":
        hold = books.wallets.hold("ada", 100, key="h", ttl=1_000)
    else:
        spend = books.wallets.spend("ada", 100, key="s")
    books.deliver(*withdrawn())
    books.check(held=100, debt=100) if way == "hold" else books.check(debt=100)
    hold.release() if way == "hold" else books.wallets.reverse(spend)
    books.check()
    books.deliver(*reinstated())
    books.check(available=100)
    [lot] = books.wallets.lots("ada")
    assert lot.lot_id == "payment:pi_1"
    books.clock.turn(101)
    books.check()


def test_what_had_repaid_a_debt_is_not_frozen_by_another_dispute_of_that_payment() -> None:
    books = Books()
    books.pay(spent=100)
    books.deliver(*withdrawn())
    books.wallets.grant("ada", 100, key="g", reason="welcome")
    books.deliver("charge.dispute.created", dispute("needs_response", id="dp_2", amount=PAID))
    books.deliver(*reinstated())
    balance = books.wallets.balance("ada")
    assert (balance.available, balance.frozen) == (100, 0)
    books.wallets.spend("ada", 40, key="more")
    books.refund("re_1", PAID)
    books.check(debt=40)


# -- what stood in for credits that were not there ------------------------------------------------


@pytest.mark.parametrize("days", [1, 101])
@pytest.mark.parametrize("way", ["hold", "undo", "lapse", "capture"])
def test_others_have_theirs_back_when_the_credits_come_back_after_all(way: str, days: int) -> None:
    books = Books(lasts=100)
    books.pay()
    come_back = away(books, way)
    books.wallets.grant("ada", 100, key="g", reason="welcome")
    books.refund("re_1", PAID)
    books.check(**({"held": 100} if way != "undo" else {}))
    books.clock.turn(days)
    come_back()
    books.check(available=99 if way == "capture" else 100)
    assert {lot.lot_id for lot in books.wallets.lots("ada").items} == {"grant:g"}
    books.clock.turn(1_000)
    books.check(available=99 if way == "capture" else 100)


@pytest.mark.parametrize("days", [1, 101])
@pytest.mark.parametrize("way", ["hold", "undo", "lapse", "capture"])
def test_what_repaid_the_debt_is_there_again_when_the_credits_come_back_after_all(
    way: str, days: int
) -> None:
    books = Books(lasts=100)
    books.pay()
    come_back = away(books, way)
    books.refund("re_1", PAID)
    books.wallets.grant("ada", 100, key="g", reason="welcome")
    books.clock.turn(days)
    come_back()
    left = 99 if way == "capture" else 100
    books.check(available=left)
    [lot] = books.wallets.lots("ada").items
    assert (lot.source, lot.credits, lot.expires_at) == ("correction", left, None)
    books.clock.turn(1_000)
    books.check(available=left)


def away(books: Books, way: str) -> Callable[[], object]:
    """Have the payment's credits be elsewhere; and what brings them back."""
    if way == "undo":
        spend = books.wallets.spend("ada", 100, key="s")
        return lambda: books.wallets.reverse(spend)
    hold = books.wallets.hold("ada", 100, key="h", ttl=1_000 if way != "lapse" else 1)
    if way == "lapse":
        return lambda: books.wallets.post_due("ada")
    return hold.release if way == "hold" else lambda: hold.capture(1)


class Chain:
    """Payments of which each stood in for the one before, whose funds a dispute took."""

    def __init__(self, payments: int) -> None:
        self.clock = Clock()
        self.storage = MemoryStorage()
        self.queue = PostingQueue(self.storage, self.clock, sleep=lambda seconds: None)
        self.wallets = cp.Wallets(self.storage, self.queue, self.clock)
        self.buy(0)
        self.wallets.spend("ada", 100, key="s")
        for number in range(1, payments):
            self.buy(number)
            self.dispute(number - 1, "needs_response", {"out": -PAID}, "funds_withdrawn")

    def buy(self, number: int) -> None:
        payment = self._payment(number)
        self.queue.submit(reports.keep_quote(payment))
        self.queue.submit(reports.link_intent(payment))
        self.queue.submit(reports.payment_report(payment, "succeeded", None, Policies()))

    def dispute(self, number: int, status: str, moved: dict[str, int], event_type: str) -> None:
        payment = self._payment(number)
        event = f"evt_{number}_{event_type}"
        self.queue.submit(
            reports.dispute_report(
                payment, f"dp_{number}", PAID, status, moved, event_type, event, Policies()
            )
        )

    def _payment(self, number: int) -> model.Payment:
        return model.Payment(f"pi_{number}", "ada", CREDITS, PAID, None)

    def verify(self) -> None:
        rows: Any = (self.storage.scan(kind, order=order) for kind, order in audit.ORDERS.items())
        assert audit.verify(*rows).ok


@pytest.mark.parametrize("first_rows", [1, 8])
@pytest.mark.parametrize(
    "payments", [2, 3, 6, STAND_INS_MAX, *range(STAND_INS_MAX + 1, STAND_INS_MAX + 5)]
)
@pytest.mark.parametrize("way", ["won", "undo"])
def test_what_comes_back_is_found_however_many_stand_in_for_one_another(
    way: str, payments: int, first_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (decision, lots):
        monkeypatch.setattr(module, "FIRST_ROWS", first_rows)
    chain = Chain(payments)
    assert chain.wallets.balance("ada") == cp.Balance(available=0)
    if way == "won":
        chain.dispute(0, "won", {"out": -PAID, "back": PAID}, "funds_reinstated")
    else:
        chain.wallets.reverse("spend:s")
    [lot] = chain.wallets.lots("ada").items
    steps = min(payments - 1, STAND_INS_MAX + (way == "won"))
    assert (lot.lot_id, lot.available) == (f"payment:pi_{steps}", 100)
    chain.verify()
