"""What a person has to decide stays where they find it, whatever is reported meanwhile."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from tests.conftest import Shop

import credit_payments as cp
from credit_payments.domain.quoting import KeepQuote, LinkIntent
from credit_payments.domain.records import CREDITS_MAX, Dispute, Incident, Payment, Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.posting.line import Ticket
from credit_payments.settlement import ReportPayment


def quote(credits: int = 100) -> Quote:
    return Quote(
        quote_id="quote_1",
        user_id="ada",
        amount_minor=1_000,
        currency="usd",
        credits=credits,
        package_id=None,
        customer_id=None,
        rule="rate",
        expires_seconds=None,
        fingerprint="f",
        payment_intent_id=None,
        created_at="",
    )


def intent(status: str = "succeeded", **given: Any) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "status": status,
        "amount": 1_000,
        "amount_received": 1_000 if status == "succeeded" else 0,
        "currency": "usd",
        "created": 1_700_000_000,
        "metadata": {"user_id": "ada", "quote_id": "quote_1"},
        **given,
    }


def refund(**given: Any) -> dict[str, Any]:
    fields = {"id": "re_1", "object": "refund", "amount": 500, "currency": "usd"}
    return {**fields, "status": "succeeded", "payment_intent": "pi_1", **given}


def dispute(**given: Any) -> dict[str, Any]:
    fields = {"id": "dp_1", "object": "dispute", "amount": 1_000, "currency": "usd"}
    state = {"reason": "fraudulent", "status": "needs_response", "created": 1_700_000_000}
    return {**fields, **state, "payment_intent": "pi_1", **given}


def promise(shop: Shop, credits: int = 100) -> None:
    shop.system.queue.submit(KeepQuote(quote=quote(credits)))


def link(shop: Shop) -> None:
    facts = msgspec.convert(intent("requires_payment_method"), PaymentIntentFacts)
    shop.system.queue.submit(LinkIntent(quote_id="quote_1", facts=facts))


def incident(shop: Shop, name: str) -> Incident:
    found = shop.system._storage.get(Incident, name)
    assert found is not None
    return found


FAILED = {
    "last_payment_error": {
        "type": "card_error",
        "code": "card_declined",
        "message": "No.",
        "charge": "ch_0",
    }
}


@pytest.mark.parametrize(
    ("event_type", "status", "given"),
    [
        ("payment_intent.processing", "processing", {}),
        ("payment_intent.requires_action", "requires_action", {}),
        ("payment_intent.payment_failed", "requires_payment_method", FAILED),
        ("payment_intent.canceled", "canceled", {}),
    ],
)
def test_money_that_does_not_match_waits_for_a_person_whatever_older_reports_come(
    shop: Shop, event_type: str, status: str, given: dict[str, Any]
) -> None:
    promise(shop)
    wrong = intent(amount_received=900)
    assert shop.deliver("payment_intent.succeeded", wrong).outcome == "quarantined"
    before = incident(shop, "payment:pi_1")
    shop.deliver(event_type, intent(status, **given))
    after = incident(shop, "payment:pi_1")
    assert (after.status, after.reason, after.facts) == ("open", before.reason, before.facts)
    assert shop.system.wallets.balance("ada").available == 0


def test_an_older_report_that_does_not_match_either_keeps_the_facts_about_the_money(
    shop: Shop,
) -> None:
    promise(shop)
    shop.deliver("payment_intent.succeeded", intent(currency="eur"))
    before = incident(shop, "payment:pi_1")
    shop.deliver("payment_intent.processing", intent("processing", currency="eur"))
    after = incident(shop, "payment:pi_1")
    assert (after.status, after.facts) == ("open", before.facts)


def test_money_that_came_before_its_quote_is_credited_when_it_is_told_of_again(shop: Shop) -> None:
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "quarantined"
    promise(shop)
    link(shop)
    shop.deliver("payment_intent.payment_failed", intent("requires_payment_method", **FAILED))
    assert incident(shop, "payment:pi_1").status == "open"
    known = shop.system._storage.get(Payment, "pi_1")
    assert known is not None
    assert known.quarantined == 1
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "applied"
    assert incident(shop, "payment:pi_1").status == "resolved"
    assert shop.system.wallets.balance("ada").available == 100


@pytest.mark.parametrize(
    ("event_type", "thing", "name"),
    [
        ("refund.created", refund(currency="jpy"), "refund:re_1"),
        ("charge.dispute.created", dispute(currency="jpy"), "dispute:dp_1"),
    ],
)
def test_what_comes_in_another_currency_takes_nothing_and_waits_for_a_person(
    shop: Shop, event_type: str, thing: dict[str, Any], name: str
) -> None:
    promise(shop)
    shop.deliver("payment_intent.succeeded", intent())
    delivery = shop.deliver(event_type, thing)
    assert delivery.outcome == "quarantined"
    assert "jpy" in str(delivery.reason)
    assert incident(shop, name).status == "open"
    assert shop.system.wallets.balance("ada") == cp.Balance(available=100)


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_dispute_without_an_intent_waits_and_is_resolved_when_it_names_one(
    shop: Shop, nothing: str | None
) -> None:
    promise(shop)
    shop.deliver("payment_intent.succeeded", intent())
    delivery = shop.deliver("charge.dispute.created", dispute(payment_intent=nothing))
    assert delivery.outcome == "quarantined"
    assert shop.deliver("charge.dispute.updated", dispute()).outcome == "applied"
    assert incident(shop, "dispute:dp_1").status == "resolved"
    kept = shop.system._storage.get(Dispute, "dp_1")
    assert kept is not None
    assert kept.payment_intent_id == "pi_1"
    assert shop.system.wallets.balance("ada").frozen == 100
    assert shop.deliver("charge.dispute.updated", dispute()).outcome == "duplicate"


def test_a_dispute_with_endless_movements_is_refused(shop: Shop) -> None:
    promise(shop)
    shop.deliver("payment_intent.succeeded", intent())
    moved = [{"id": f"txn_{number}", "amount": -1} for number in range(101)]
    with pytest.raises(cp.InvalidPayload):
        shop.deliver("charge.dispute.created", dispute(balance_transactions=moved))


def test_a_wallet_full_of_what_has_expired_has_room(shop: Shop) -> None:
    promise(shop)
    expires_at = shop.clock.instant.replace(year=2025)
    shop.system.wallets.grant("ada", CREDITS_MAX, key="g", reason="too much", expires_at=expires_at)
    shop.clock.instant = expires_at
    assert shop.deliver("payment_intent.succeeded", intent()).outcome == "applied"
    assert shop.system.wallets.balance("ada").available == 100
    assert shop.system.verify().ok


def test_a_wallet_that_is_full_indeed_has_none(shop: Shop) -> None:
    promise(shop)
    shop.system.wallets.grant("ada", CREDITS_MAX, key="g", reason="too much")
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "quarantined"
    shop.system.wallets.spend("ada", 100, key="s")
    assert shop.deliver("payment_intent.succeeded", intent(), "evt_1").outcome == "applied"
    assert shop.system.verify().ok


def test_what_is_credited_beside_its_quote_is_no_open_incident(shop: Shop) -> None:
    """Whoever else of the batch has loaded the quote must not hide what was filed before it."""
    assert shop.deliver("payment_intent.succeeded", intent()).outcome == "quarantined"
    promise(shop)
    facts = msgspec.convert(intent(), PaymentIntentFacts)
    tickets: list[Ticket[Any]] = [
        Ticket(KeepQuote(quote=quote())),
        Ticket(ReportPayment(facts=facts)),
    ]
    shop.system.queue._run(tickets, time.monotonic() + 60, patient=True)
    assert shop.system.wallets.balance("ada").available == 100
    assert incident(shop, "payment:pi_1").status == "resolved"
