"""Dead letters and the quarantine: people decide, once, and nothing that comes later undoes it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.conftest import WEBHOOK_SECRET, Shop, TurnableClock

import credit_payments as cp
from credit_payments.domain import inbox
from credit_payments.domain.quoting import KeepQuote, LinkIntent
from credit_payments.domain.records import CREDITS_MAX, Event, Incident, Payment, Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.settlement import Messenger, ReportPayment
from credit_payments.settlement.intake import FailEvent, Lease, LeaseEvent, StoreEvent

PAID, CREDITS = 1_000, 100
WHO: dict[str, Any] = {"actor": "kim", "reason": "ticket 7"}


def promise(shop: Shop, **given: Any) -> None:
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
    shop.system.queue.submit(KeepQuote(quote=Quote(**{**fields, **given})))


def intent(status: str = "succeeded", **given: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": "pi_1",
        "object": "payment_intent",
        "status": status,
        "amount": PAID,
        "amount_received": PAID if status == "succeeded" else 0,
        "currency": "usd",
        "created": 1_700_000_000,
        "metadata": {"user_id": "ada", "quote_id": "quote_1"},
    }
    return {**fields, **given}


def refund(name: str = "re_1", amount: int = 500, **given: Any) -> dict[str, Any]:
    fields = {"id": name, "object": "refund", "amount": amount, "currency": "usd"}
    return {**fields, "status": "succeeded", "payment_intent": "pi_1", **given}


def dispute(**given: Any) -> dict[str, Any]:
    fields = {"id": "dp_1", "object": "dispute", "amount": PAID, "currency": "usd"}
    state = {"reason": "fraudulent", "status": "needs_response", "created": 1_700_000_000}
    return {**fields, **state, "payment_intent": "pi_1", **given}


def warning(**given: Any) -> dict[str, Any]:
    fields = {"id": "issfr_1", "object": "radar.early_fraud_warning", "created": 1_700_000_000}
    return {**fields, "fraud_type": "misc", "payment_intent": "pi_1", **given}


def facts(told: dict[str, Any]) -> PaymentIntentFacts:
    return msgspec.convert(told, PaymentIntentFacts)


def link(shop: Shop) -> None:
    told = facts(intent("requires_payment_method"))
    shop.system.queue.submit(LinkIntent(quote_id="quote_1", facts=told))


def balance(shop: Shop, user_id: str = "ada") -> int:
    return shop.system.wallets.balance(user_id).available


def succeed(shop: Shop, told: dict[str, Any], event_id: str | None = None) -> str:
    return shop.deliver("payment_intent.succeeded", told, event_id).outcome


def waiting(shop: Shop) -> list[str]:
    return [filed.incident_id for filed in shop.system.events.quarantine()]


def status_of(shop: Shop, incident_id: str) -> str:
    return shop.system.events.incident(incident_id).status


# -- why money waits ---------------------------------------------------------------------------


def no_quote(shop: Shop) -> dict[str, Any]:
    return intent(metadata={})


def no_quote_yet(shop: Shop) -> dict[str, Any]:
    return intent()


def other_user(shop: Shop) -> dict[str, Any]:
    promise(shop)
    return intent(metadata={"user_id": "eve", "quote_id": "quote_1"})


def other_amount(shop: Shop) -> dict[str, Any]:
    promise(shop)
    link(shop)
    return intent(amount_received=900)


def other_currency(shop: Shop) -> dict[str, Any]:
    promise(shop)
    link(shop)
    return intent(currency="eur")


def full_wallet(shop: Shop) -> dict[str, Any]:
    promise(shop)
    shop.system.wallets.grant("ada", CREDITS_MAX, key="g", reason="too much")
    return intent()


WHY: dict[str, tuple[Callable[[Shop], dict[str, Any]], str]] = {
    "no quote": (no_quote, "no quote is known"),
    "no quote yet": (no_quote_yet, "no quote is known"),
    "other user": (other_user, "another user"),
    "other amount": (other_amount, "received 900"),
    "other currency": (other_currency, "paid in 'eur'"),
    "full wallet": (full_wallet, "cannot hold"),
}
each_reason = pytest.mark.parametrize("why", WHY)


@each_reason
def test_a_payment_that_waits_is_decided_once_whatever_comes_afterwards(
    shop: Shop, why: str
) -> None:
    prepare, reason = WHY[why]
    told = prepare(shop)
    assert succeed(shop, told, "evt_1") == "quarantined"
    [filed] = shop.system.events.quarantine()
    assert reason in filed.reason
    assert (filed.incident_id, filed.payment_intent_id) == ("payment:pi_1", "pi_1")

    receipt = shop.system.events.resolve("pi_1", user_id="bob", credits=70, **WHO)
    assert (receipt.credits_purchased, receipt.payment_intent_id) == (70, "pi_1")
    assert receipt.amount_paid == Decimal(told["amount_received"]) / 100
    assert receipt.currency == told["currency"]
    assert waiting(shop) == []
    # The same event, another one, an older one, a confirmation, and the link that came too late.
    assert succeed(shop, told, "evt_1") == "duplicate"
    assert succeed(shop, told, "evt_2") == "duplicate"
    processing = {**told, "status": "processing", "amount_received": 0}
    assert shop.deliver("payment_intent.processing", processing).outcome == "duplicate"
    confirmed = shop.system.queue.submit(ReportPayment(facts=facts(told)))
    assert confirmed.outcome == "duplicate"
    assert confirmed.payment is not None
    assert confirmed.payment.decided_by == "kim"
    if why == "no quote yet":
        promise(shop)
        link(shop)
    assert succeed(shop, told, "evt_3") == "duplicate"

    assert waiting(shop) == []
    assert balance(shop, "bob") == 70
    assert balance(shop) in {0, CREDITS_MAX}
    [sale] = shop.system.payments.purchases("bob")
    assert (sale.credits_purchased, sale.currency) == (70, told["currency"])
    [entry] = shop.system.wallets.history("bob")
    assert (entry.cause, entry.actor, entry.reason) == ("payment:pi_1", "kim", "ticket 7")
    assert shop.system.verify().ok


@each_reason
def test_later_refunds_take_back_in_proportion_to_what_was_decided(shop: Shop, why: str) -> None:
    told = WHY[why][0](shop)
    succeed(shop, told)
    shop.system.events.resolve("pi_1", user_id="bob", credits=70, **WHO)
    half = refund("re_1", told["amount_received"] // 2, currency=told["currency"])
    assert shop.deliver("refund.created", half).outcome == "applied"
    assert balance(shop, "bob") == 35
    rest = refund("re_2", told["amount_received"] // 2, currency=told["currency"])
    assert shop.deliver("refund.created", rest).outcome == "applied"
    assert shop.system.wallets.balance("bob") == cp.Balance(available=0)
    assert shop.system.verify().ok


@each_reason
def test_what_was_dismissed_is_not_asked_again_nor_credited(shop: Shop, why: str) -> None:
    told = WHY[why][0](shop)
    succeed(shop, told, "evt_1")
    put_away = shop.system.events.dismiss("payment:pi_1", actor="kim", reason="given back")
    assert (put_away.status, put_away.decision) == ("dismissed", "dismissed by kim: given back")
    if why == "no quote yet":  # it would fit now
        promise(shop)
        link(shop)
    if why == "full wallet":
        shop.system.wallets.spend("ada", 1_000, key="s")
    before = balance(shop)
    for event_id in ("evt_1", "evt_2"):
        assert succeed(shop, told, event_id) == "quarantined"
    processing = {**told, "status": "processing", "amount_received": 0}
    shop.deliver("payment_intent.processing", processing)
    settlement = shop.system.queue.submit(ReportPayment(facts=facts(told)))
    assert (settlement.outcome, bool(settlement.reason)) == ("quarantined", True)
    assert waiting(shop) == []
    assert status_of(shop, "payment:pi_1") == "dismissed"
    assert balance(shop) == before
    # Whoever has put it away may think better of it.
    shop.system.events.resolve("pi_1", user_id="bob", credits=7, **WHO)
    assert status_of(shop, "payment:pi_1") == "resolved"
    assert succeed(shop, told, "evt_3") == "duplicate"
    assert balance(shop, "bob") == 7
    assert shop.system.verify().ok


def test_other_facts_open_again_what_was_dismissed(shop: Shop) -> None:
    promise(shop)
    succeed(shop, intent(amount_received=900))
    shop.system.events.dismiss("payment:pi_1", **WHO)
    assert succeed(shop, intent(amount_received=800)) == "quarantined"
    assert waiting(shop) == ["payment:pi_1"]
    assert shop.system.events.incident("payment:pi_1").decision == "dismissed by kim: ticket 7"


def test_what_was_dismissed_is_credited_once_it_is_as_it_was_quoted(shop: Shop) -> None:
    promise(shop)
    succeed(shop, intent(amount_received=900))
    shop.system.events.dismiss("payment:pi_1", **WHO)
    assert succeed(shop, intent()) == "applied"
    assert succeed(shop, intent(amount_received=900)) == "quarantined"
    assert waiting(shop) == []
    assert balance(shop) == CREDITS


@pytest.mark.parametrize("dismissed", [False, True], ids=["open", "dismissed"])
def test_a_payment_that_an_older_report_records_remembers_what_is_filed(
    shop: Shop, dismissed: bool
) -> None:
    succeed(shop, intent(), "evt_1")
    if dismissed:
        shop.system.events.dismiss("payment:pi_1", **WHO)
    promise(shop)
    shop.deliver("payment_intent.processing", intent("processing"))
    assert succeed(shop, intent(), "evt_1") == ("quarantined" if dismissed else "applied")
    assert waiting(shop) == []
    assert balance(shop) == (0 if dismissed else CREDITS)


# -- what a payment buys -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "credits"),
    [
        ("no quote", 100),
        ("no quote yet", 100),
        ("other user", 50),
        ("other amount", 90),
        ("full wallet", 50),
    ],
)
def test_without_a_number_the_quote_counts_where_it_agrees_and_todays_price_elsewhere(
    shop: Shop, why: str, credits: int
) -> None:
    promise(shop, quote_id="quote_1" if "quote" not in why else "quote_2", credits=50)
    told = intent(amount_received=900 if why == "other amount" else PAID)
    if why == "no quote":
        told["metadata"] = {}
    if why == "other user":
        told["metadata"] = {**told["metadata"], "user_id": "eve"}
    if why == "full wallet":
        shop.system.wallets.grant("ada", CREDITS_MAX, key="g", reason="too much")
    assert succeed(shop, told) == "quarantined"
    assert shop.system.events.credits_for("pi_1") == credits
    receipt = shop.system.events.resolve("pi_1", user_id="bob", **WHO)
    assert receipt.credits_purchased == credits
    assert shop.system.events.credits_for("pi_1") == credits
    assert shop.system.events.resolve("pi_1", user_id="bob", **WHO) == receipt


def test_a_currency_that_is_not_sold_needs_a_number_of_credits(shop: Shop) -> None:
    succeed(shop, intent(currency="eur"))
    with pytest.raises(cp.InvalidCurrency):
        shop.system.events.resolve("pi_1", user_id="ada", **WHO)
    assert waiting(shop) == ["payment:pi_1"]


def test_an_amount_that_buys_nothing_needs_a_number_of_credits(shop: Shop) -> None:
    succeed(shop, intent(amount_received=1))
    with pytest.raises(cp.InvalidAmount):
        shop.system.events.resolve("pi_1", user_id="ada", **WHO)


def test_a_currency_that_nobody_knows_cannot_be_credited(shop: Shop) -> None:
    succeed(shop, intent(currency="xyz"))
    [filed] = shop.system.events.quarantine()
    assert (filed.currency, filed.amount) == ("xyz", None)
    with pytest.raises(cp.InvalidCurrency):
        shop.system.events.resolve("pi_1", user_id="ada", credits=1, **WHO)
    assert waiting(shop) == ["payment:pi_1"]
    assert balance(shop) == 0


def test_the_same_decision_again_changes_nothing_and_another_one_is_refused(shop: Shop) -> None:
    succeed(shop, intent())
    decide = shop.system.events.resolve
    receipt = decide("pi_1", user_id="ada", credits=70, **WHO)
    assert decide("pi_1", user_id="ada", credits=70, **WHO) == receipt
    for other in ({"credits": 71}, {"user_id": "bob"}, {"actor": "lee"}, {"reason": "other"}):
        with pytest.raises(cp.Conflict, match="credited already"):
            decide("pi_1", **{"user_id": "ada", "credits": 70, **WHO, **other})
    assert (balance(shop), balance(shop, "bob")) == (70, 0)


def test_credits_of_a_payment_without_a_quote_last_as_long_as_others(
    clock: TurnableClock, database_url: str
) -> None:
    with cp.connect(
        database=database_url,
        clock=clock,
        stripe_webhook_secret=WEBHOOK_SECRET,
        purchase_expires_seconds=60,
    ) as system:
        shop = Shop(system, clock)
        succeed(shop, intent())
        system.events.resolve("pi_1", user_id="ada", credits=70, **WHO)
        assert balance(shop) == 70
        clock.turn(60)
        assert balance(shop) == 0
        assert system.verify().ok


def test_credits_last_as_long_as_the_quote_said_though_only_that_is_known(shop: Shop) -> None:
    promise(shop, expires_seconds=60)
    succeed(shop, intent(amount_received=900))
    shop.system.events.resolve("pi_1", user_id="bob", credits=70, **WHO)
    paid = shop.system._storage.get(Payment, "pi_1")
    assert paid is not None
    assert paid.quote_id == "quote_1"
    assert balance(shop, "bob") == 70
    shop.clock.turn(60)
    assert balance(shop, "bob") == 0


# -- what cannot be decided ----------------------------------------------------------------------


def test_nothing_is_decided_about_a_payment_that_nobody_knows(shop: Shop) -> None:
    for name in ("pi_9", "x"):
        with pytest.raises(cp.NotFound):
            shop.system.events.resolve(name, user_id="ada", **WHO)
        with pytest.raises(cp.NotFound):
            shop.system.events.resolve(name, user_id="ada", credits=1, **WHO)
    with pytest.raises(cp.NotFound):
        shop.system.events.dismiss("payment:pi_9", **WHO)
    with pytest.raises(cp.NotFound):
        shop.system.events.incident("payment:pi_9")


def test_nothing_is_decided_about_a_payment_of_which_nothing_is_filed(shop: Shop) -> None:
    promise(shop)
    link(shop)
    with pytest.raises(cp.Conflict, match="Nothing is filed"):
        shop.system.events.resolve("pi_1", user_id="ada", credits=1, **WHO)
    succeed(shop, intent())
    with pytest.raises(cp.Conflict, match="credited already"):
        shop.system.events.resolve("pi_1", user_id="ada", credits=1, **WHO)
    assert balance(shop) == CREDITS


def test_nothing_is_decided_before_the_money_has_arrived(shop: Shop) -> None:
    promise(shop)
    shop.deliver("payment_intent.processing", intent("processing", currency="eur"))
    assert waiting(shop) == ["payment:pi_1"]
    with pytest.raises(cp.PaymentNotSuccessful):
        shop.system.events.resolve("pi_1", user_id="ada", credits=1, **WHO)
    succeed(shop, intent(amount_received=0))
    with pytest.raises(cp.PaymentNotSuccessful):
        shop.system.events.resolve("pi_1", user_id="ada", credits=1, **WHO)
    shop.system.events.dismiss("payment:pi_1", **WHO)
    # Money is another fact, and asks again.
    assert succeed(shop, intent(currency="eur")) == "quarantined"
    assert waiting(shop) == ["payment:pi_1"]


def test_refunds_alone_say_nothing_of_what_was_paid(shop: Shop) -> None:
    shop.deliver("refund.created", refund())
    with pytest.raises(cp.Conflict, match="Nothing is filed"):
        shop.system.events.resolve("pi_1", user_id="ada", credits=1, **WHO)


def test_a_wallet_that_is_full_takes_no_decision(shop: Shop) -> None:
    succeed(shop, full_wallet(shop))
    with pytest.raises(cp.Conflict, match="cannot hold"):
        shop.system.events.resolve("pi_1", user_id="ada", **WHO)
    shop.system.wallets.spend("ada", CREDITS, key="s")
    shop.system.events.resolve("pi_1", user_id="ada", **WHO)
    assert balance(shop) == CREDITS_MAX
    assert shop.system.verify().ok


def test_a_user_whom_the_host_does_not_know_gets_nothing(clock: TurnableClock) -> None:
    class Nobody:
        def exists(self, user_id: str) -> bool:
            return False

    with cp.connect(
        database="memory://", clock=clock, users=Nobody(), stripe_webhook_secret=WEBHOOK_SECRET
    ) as system:
        shop = Shop(system, clock)
        succeed(shop, intent())
        with pytest.raises(cp.NotFound):
            system.events.resolve("pi_1", user_id="ada", **WHO)
        assert waiting(shop) == ["payment:pi_1"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"user_id": ""}, "user_id"),
        ({"credits": 0}, "credits"),
        ({"credits": "1"}, "credits"),
        ({"actor": ""}, "actor"),
        ({"actor": None}, "actor"),
        ({"reason": "a\nb"}, "reason"),
    ],
)
def test_an_argument_that_cannot_be_right_is_named(
    shop: Shop, given: dict[str, Any], param: str
) -> None:
    succeed(shop, intent())
    with pytest.raises(cp.InvalidRequest) as refused:
        shop.system.events.resolve("pi_1", **{"user_id": "ada", "credits": 1, **WHO, **given})
    assert refused.value.param == param


# -- refunds, disputes and warnings ----------------------------------------------------------------


def test_what_was_refunded_before_the_decision_is_taken_back_with_it(shop: Shop) -> None:
    shop.deliver("refund.created", refund())
    succeed(shop, intent())
    assert sorted(waiting(shop)) == ["payment:pi_1", "reversals:pi_1"]
    shop.system.events.resolve("pi_1", user_id="bob", credits=70, **WHO)
    assert waiting(shop) == []
    assert balance(shop, "bob") == 35
    assert shop.deliver("refund.created", refund()).outcome == "duplicate"
    assert balance(shop, "bob") == 35
    assert shop.system.verify().ok


def test_a_dispute_before_the_decision_freezes_what_it_brings(shop: Shop) -> None:
    promise(shop)
    link(shop)
    shop.deliver("charge.dispute.created", dispute())
    succeed(shop, intent(amount_received=900))
    shop.system.events.resolve("pi_1", user_id="bob", **WHO)
    assert shop.system.wallets.balance("bob") == cp.Balance(available=0, frozen=90)
    shop.deliver("charge.dispute.closed", dispute(status="won"))
    assert balance(shop, "bob") == 90
    assert shop.system.verify().ok


def test_a_refund_in_the_currency_that_was_decided_counts_when_it_is_told_again(
    shop: Shop,
) -> None:
    """It was filed because the quote was in another one."""
    succeed(shop, other_currency(shop))
    back = refund(currency="eur")
    assert shop.deliver("refund.created", back, "evt_r").outcome == "quarantined"
    shop.system.events.resolve("pi_1", user_id="ada", credits=70, **WHO)
    [filed] = shop.system.events.quarantine()
    assert (filed.incident_id, filed.amount, filed.currency) == (
        "refund:re_1", Decimal("5.00"), "eur"
    )  # fmt: skip
    assert shop.deliver("refund.created", back, "evt_r").outcome == "applied"
    assert waiting(shop) == []
    assert balance(shop) == 35
    assert shop.system.verify().ok


FILED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "refund:re_1": (
        "refund.created",
        refund(currency="jpy"),
        {"amount": Decimal(500), "currency": "jpy", "user_id": "ada", "quoted_credits": CREDITS},
    ),
    "refund:ch_1": (
        "charge.refunded",
        {
            "id": "ch_1",
            "object": "charge",
            "currency": "jpy",
            "amount_refunded": 5,
            "payment_intent": "pi_1",
        },
        {"amount": Decimal(5), "currency": "jpy", "user_id": "ada", "quoted_user_id": "ada"},
    ),
    "dispute:dp_1": (
        "charge.dispute.created",
        dispute(currency="jpy"),
        {"amount": Decimal(1_000), "currency": "jpy", "quoted_amount": Decimal("10.00")},
    ),
    "dispute:dp_2": (
        "charge.dispute.created",
        dispute(id="dp_2", payment_intent=None),
        {"amount": Decimal("10.00"), "currency": "usd", "payment_intent_id": None},
    ),
    "reversals:pi_2": (
        "refund.created",
        refund(payment_intent="pi_2"),
        {"amount": None, "payment_intent_id": "pi_2", "user_id": None, "quoted_credits": None},
    ),
    "fraud:issfr_1": (
        "radar.early_fraud_warning.created",
        warning(),
        {"amount": None, "payment_intent_id": "pi_1", "user_id": "ada", "quoted_currency": "usd"},
    ),
}


@pytest.mark.parametrize("incident_id", FILED)
def test_whatever_else_waits_is_listed_and_can_be_dismissed_for_good(
    shop: Shop, incident_id: str
) -> None:
    event_type, thing, shown = FILED[incident_id]
    promise(shop)
    succeed(shop, intent())
    shop.deliver(event_type, thing)
    [filed] = shop.system.events.quarantine()
    assert filed == shop.system.events.incident(incident_id)
    assert {name: getattr(filed, name) for name in shown} == shown
    put_away = shop.system.events.dismiss(incident_id, **WHO)
    assert put_away == shop.system.events.dismiss(incident_id, actor="lee", reason="again")
    assert shop.system.events.quarantine("dismissed").items == (put_away,)
    shop.deliver(event_type, thing)
    assert waiting(shop) == []
    assert balance(shop) == CREDITS


def test_another_refund_opens_again_what_was_dismissed_and_counts_when_the_payment_comes(
    shop: Shop,
) -> None:
    shop.deliver("refund.created", refund("re_1", 100))
    shop.system.events.dismiss("reversals:pi_1", **WHO)
    shop.deliver("refund.created", refund("re_1", 100))
    assert waiting(shop) == []
    shop.deliver("refund.created", refund("re_2", 200))
    assert waiting(shop) == ["reversals:pi_1"]
    promise(shop)
    assert succeed(shop, intent()) == "applied"
    assert balance(shop) == 70
    assert waiting(shop) == []


def test_what_was_dismissed_of_a_payment_that_comes_after_all_is_true_nevertheless(
    shop: Shop,
) -> None:
    shop.deliver("refund.created", refund("re_1", 100))
    shop.system.events.dismiss("reversals:pi_1", **WHO)
    promise(shop)
    succeed(shop, intent())
    assert balance(shop) == 90


def test_what_was_resolved_cannot_be_dismissed(shop: Shop) -> None:
    succeed(shop, intent())
    shop.system.events.resolve("pi_1", user_id="ada", **WHO)
    with pytest.raises(cp.Conflict, match="resolved"):
        shop.system.events.dismiss("payment:pi_1", **WHO)
    resolved = shop.system.events.incident("payment:pi_1")
    assert resolved.decision == "100 credits to ada, by kim: ticket 7"
    assert shop.system.events.quarantine("resolved").items == (resolved,)


# -- races ----------------------------------------------------------------------------------------


def test_a_decision_that_races_with_reports_and_the_link_credits_once(shop: Shop) -> None:
    events, queue = shop.system.events, shop.system.queue
    numbers = range(4)
    for number in numbers:
        names = {"quote_id": f"quote_{number}", "user_id": "ada"}
        succeed(shop, intent(id=f"pi_{number}", metadata=names))

    def decide(number: int) -> None:
        try:
            events.resolve(f"pi_{number}", user_id="bob", credits=7, **WHO)
        except cp.Conflict:
            return

    def report(number: int) -> None:
        names = {"quote_id": f"quote_{number}", "user_id": "ada"}
        told = facts(intent(id=f"pi_{number}", metadata=names))
        promise(shop, **names)
        queue.submit(LinkIntent(quote_id=f"quote_{number}", facts=told))
        queue.submit(ReportPayment(facts=told))

    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(task, n) for n in numbers for task in (decide, report, decide, report)]
        for done in work:
            done.result(timeout=60)
    assert waiting(shop) == []
    for number in numbers:
        paid = shop.system._storage.get(Payment, f"pi_{number}")
        assert paid is not None
        assert (paid.user_id, paid.credited) in {("ada", CREDITS), ("bob", 7)}
        assert paid.quarantined == 0
    sales = [*shop.system.payments.purchases("ada"), *shop.system.payments.purchases("bob")]
    assert len(sales) == len(numbers)
    assert shop.system.verify().ok


# -- what is told ----------------------------------------------------------------------------------


def test_warnings_and_dead_letters_are_told(clock: TurnableClock, database_url: str) -> None:
    told: list[cp.Notification] = []

    class Notifier:
        def send(self, notification: cp.Notification) -> None:
            told.append(notification)

    with cp.connect(
        database=database_url,
        clock=clock,
        notifier=Notifier(),
        deliver_notifications=False,
        stripe_webhook_secret=WEBHOOK_SECRET,
    ) as system:
        shop = Shop(system, clock)
        promise(shop)
        succeed(shop, intent())
        shop.deliver("radar.early_fraud_warning.created", warning())
        shop.deliver("radar.early_fraud_warning.created", warning())
        shop.deliver(
            "radar.early_fraud_warning.created", warning(id="issfr_2", payment_intent=None)
        )
        for _ in range(2):
            bury(shop, "evt_dead")
            system.events.replay("evt_dead")
        system.notifications.deliver()
    heard = [(n.type, n.user_id) for n in told]
    assert heard.count(("payment.fraud_warned", "ada")) == 1
    assert heard.count(("payment.fraud_warned", None)) == 1
    assert heard.count(("event.dead", None)) == 2
    assert "payment.quarantined" not in dict(heard)
    warned = next(n for n in told if n.type == "payment.fraud_warned" and n.user_id)
    assert warned.data["payment_intent_id"] == "pi_1"
    dead = next(n for n in told if n.type == "event.dead")
    assert dead.data == {
        "event_id": "evt_dead",
        "type": "payment_intent.succeeded",
        "problem": "it broke",
    }


# -- events ----------------------------------------------------------------------------------------


def store(shop: Shop, event_id: str, told: dict[str, Any] | None = None) -> None:
    kept = facts(told or intent())
    command = StoreEvent(
        messenger=Messenger(event_id=event_id, type="payment_intent.succeeded"),
        subject=kept.id,
        lane=inbox.lane_of(kept),
        payload=inbox.pack(kept),
    )
    shop.system.queue.submit(command)


def bury(shop: Shop, event_id: str, told: dict[str, Any] | None = None) -> None:
    """Store an event, and have every try of it fail."""
    store(shop, event_id, told)
    fail(shop, event_id)


def fail(shop: Shop, event_id: str) -> None:
    for attempt in range(inbox.ATTEMPTS_MAX):
        lease = Lease(f"lease {attempt}", 60.0)
        assert shop.system.queue.submit(LeaseEvent(event_id=event_id, lease=lease))
        failed = FailEvent(event_id=event_id, token=lease.token, problem="it broke", jitter=1.0)
        status = shop.system.queue.submit(failed)
        shop.clock.turn(inbox.BACK_OFF_SECONDS_MAX)
    assert status == "dead"


def names(page: cp.Page[cp.KeptEvent]) -> list[str]:
    return [event.event_id for event in page]


def test_a_dead_letter_is_listed_and_applied_once_it_is_replayed(shop: Shop) -> None:
    promise(shop)
    bury(shop, "evt_1")
    events = shop.system.events
    [dead] = events.list("dead")
    assert dead == events.get("evt_1")
    assert (dead.status, dead.attempts, dead.problem) == ("dead", inbox.ATTEMPTS_MAX, "it broke")
    assert (dead.subject, dead.due_at, dead.created_at) == ("pi_1", None, None)
    assert balance(shop) == 0
    again = events.replay("evt_1")
    assert (again.status, again.attempts, again.outcome) == ("due", 0, "queued")
    assert names(events.list("due")) == ["evt_1"]
    shop.system.worker().drain()
    assert balance(shop) == CREDITS
    assert (events.get("evt_1").status, events.get("evt_1").outcome) == ("done", "applied")
    with pytest.raises(cp.Conflict, match="applied"):
        events.replay("evt_1")
    with pytest.raises(cp.Conflict, match="applied"):
        events.discard("evt_1", **WHO)


def test_a_discarded_event_stays_with_its_reason_and_can_be_replayed(shop: Shop) -> None:
    promise(shop)
    bury(shop, "evt_1")
    events = shop.system.events
    put_away = events.discard("evt_1", **WHO)
    assert (put_away.status, put_away.problem) == ("discarded", "discarded by kim: ticket 7")
    assert put_away == events.discard("evt_1", actor="lee", reason="again")
    assert names(events.list("dead")) == []
    assert events.list("discarded").items == (put_away,)
    shop.system.worker().drain()
    assert balance(shop) == 0
    events.replay("evt_1")
    shop.system.worker().drain()
    assert balance(shop) == CREDITS


def test_nobody_takes_an_event_from_whoever_works_on_it(shop: Shop) -> None:
    store(shop, "evt_1")
    shop.system.queue.submit(LeaseEvent(event_id="evt_1", lease=Lease("mine", 60.0)))
    for decide in (shop.system.events.replay, lambda e: shop.system.events.discard(e, **WHO)):
        with pytest.raises(cp.Conflict, match="being applied"):
            decide("evt_1")


def test_every_dead_letter_is_replayed_at_once(shop: Shop) -> None:
    promise(shop)
    for number in range(3):
        bury(shop, f"evt_{number}", intent(id=f"pi_{number}"))
    store(shop, "evt_due")
    assert shop.system.events.replay_all() == 3
    assert shop.system.events.replay_all() == 0
    assert sorted(names(shop.system.events.list("due"))) == ["evt_0", "evt_1", "evt_2", "evt_due"]


def test_workers_are_told_of_what_is_replayed(clock: TurnableClock) -> None:
    told: list[str] = []

    class Broken:
        def enqueue(self, event_id: str) -> None:
            told.append(event_id)
            raise ConnectionError("the broker is down")

    with cp.connect(database="memory://", clock=clock, jobs=Broken()) as system:
        shop = Shop(system, clock)
        bury(shop, "evt_1")
        bury(shop, "evt_2")
        system.events.replay("evt_2")
        assert system.events.replay_all() == 1
    assert told == ["evt_2", "evt_1"]


def test_what_dies_again_while_all_are_replayed_is_left_alone(clock: TurnableClock) -> None:
    class Hopeless:
        """Workers that are quick, and fail."""

        def enqueue(self, event_id: str) -> None:
            clock.turn(1)
            fail(shop, event_id)

    with cp.connect(database="memory://", clock=clock, jobs=Hopeless()) as system:
        shop = Shop(system, clock)
        bury(shop, "evt_1")
        assert system.events.replay_all() == 1
        assert names(system.events.list("dead")) == ["evt_1"]


def test_pages_of_events_hold_each_of_them_once_and_in_order(shop: Shop) -> None:
    expected = [f"evt_{number:02}" for number in range(12)]
    for name in expected:
        store(shop, name, intent(id=f"pi_{name}"))
        shop.clock.turn(1)
    assert _all(lambda **given: shop.system.events.list("due", limit=5, **given)) == expected
    assert _all(lambda **given: shop.system.events.list(limit=5, **given)) == expected[::-1]
    for name in expected[::2]:
        shop.system.events.discard(name, **WHO)
    found = _all(lambda **given: shop.system.events.list("discarded", limit=5, **given))
    assert found == expected[::2][::-1]


def test_what_was_discarded_is_found_behind_many_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.inbox.PAGES_MAX", 1)
    monkeypatch.setattr("credit_payments.domain.cursors.LIMIT_MAX", 5)
    for number in range(12):
        store(shop, f"evt_{number:02}", intent(id=f"pi_{number}"))
        shop.clock.turn(1)
    shop.system.events.discard("evt_00", **WHO)
    first = shop.system.events.list("discarded", limit=5)
    assert (first.items, bool(first.cursor)) == ((), True)
    assert _all(lambda **given: shop.system.events.list("discarded", limit=5, **given)) == [
        "evt_00"
    ]


def _all(list_page: Callable[..., cp.Page[cp.KeptEvent]]) -> list[str]:
    found: list[str] = []
    cursor = None
    for _ in range(20):
        page = list_page(cursor=cursor)
        found += names(page)
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the pages do not end")


def test_pages_of_the_quarantine_hold_each_incident_once_oldest_first(shop: Shop) -> None:
    expected = []
    for number in (3, 1, 2, 5, 4):
        succeed(shop, intent(id=f"pi_{number}"))
        expected.append(f"payment:pi_{number}")
        shop.clock.turn(1)
    first = shop.system.events.quarantine(limit=3)
    second = shop.system.events.quarantine(limit=3, cursor=first.cursor)
    assert [filed.incident_id for filed in (*first, *second)] == expected
    assert second.cursor is None


@pytest.mark.parametrize(
    ("call", "param"),
    [
        (lambda events: events.list("late"), "status"),
        (lambda events: events.list(limit=0), "limit"),
        (lambda events: events.list(cursor="x"), "cursor"),
        (lambda events: events.quarantine("late"), "status"),
        (lambda events: events.quarantine(limit=101), "limit"),
        (lambda events: events.quarantine(cursor=7), "cursor"),
        (lambda events: events.get("evt_9"), "event_id"),
        (lambda events: events.get(7), "event_id"),
        (lambda events: events.replay("evt_9"), "event_id"),
        (lambda events: events.discard("evt_9", **WHO), "event_id"),
        (lambda events: events.discard("evt_9", actor="kim", reason=""), "reason"),
        (lambda events: events.dismiss("payment:pi_9", actor="", reason="x"), "actor"),
    ],
)
def test_a_call_that_cannot_be_right_names_its_argument(
    shop: Shop, call: Callable[[cp.Inbox], Any], param: str
) -> None:
    with pytest.raises(cp.InvalidRequest) as refused:
        call(shop.system.events)
    assert refused.value.param == param


def test_what_was_told_of_inline_is_listed_too(shop: Shop) -> None:
    promise(shop)
    succeed(shop, intent(), "evt_1")
    [event] = shop.system.events.list()
    assert (event.event_id, event.status, event.outcome) == ("evt_1", "done", "applied")
    assert event.created_at == event.received_at == shop.clock.instant
    assert shop.system._storage.get(Event, "evt_1") is not None
    assert shop.system._storage.get(Incident, "payment:pi_1") is None
