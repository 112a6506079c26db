"""What follows from a report about a payment."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from credit_payments.domain import ledger, payment
from credit_payments.domain.records import Incident, Payment, Quote, Wallet
from credit_payments.domain.stripe_facts import PaymentError, PaymentIntentFacts, Reference

NOW = "2024-01-01T00:00:00.000000Z"
QUOTE = Quote(
    quote_id="quote_1",
    user_id="ada",
    amount_minor=1_000,
    currency="usd",
    credits=100,
    package_id=None,
    customer_id=None,
    rule="rate",
    expires_seconds=3_600,
    fingerprint="f",
    payment_intent_id=None,
    created_at=NOW,
)
OPEN = ("created", "requires_payment_method", "requires_action", "processing", "requires_capture")


def facts(**given: Any) -> PaymentIntentFacts:
    fields: dict[str, Any] = {
        "id": "pi_1", "status": "succeeded", "amount": 1_000, "amount_received": 1_000,
        "currency": "usd", "created": 1, "metadata": {"user_id": "ada"},
    }  # fmt: skip
    return PaymentIntentFacts(**{**fields, **given})


PAYMENT: Payment = payment.from_quote(QUOTE, facts(), None, NOW)


@pytest.mark.parametrize("status", [*OPEN, "canceled"])
def test_success_outweighs_every_other_status_in_any_order(status: str) -> None:
    assert payment.merge_status("succeeded", status) == "succeeded"
    assert payment.merge_status(status, "succeeded") == "succeeded"


@pytest.mark.parametrize("status", OPEN)
def test_a_canceled_payment_does_not_open_again(status: str) -> None:
    assert payment.merge_status("canceled", status) == "canceled"
    assert payment.merge_status(status, "canceled") == "canceled"


def test_among_open_states_the_latest_word_counts() -> None:
    for known, reported in itertools.permutations(OPEN, 2):
        assert payment.merge_status(known, reported) == reported


def test_a_new_payment_knows_only_its_quote() -> None:
    assert (PAYMENT.amount_minor, PAYMENT.currency, PAYMENT.credits) == (1_000, "usd", 100)
    assert (PAYMENT.received_minor, PAYMENT.credited, PAYMENT.status) == (0, 0, "created")
    assert (PAYMENT.user_id, PAYMENT.quote_id) == ("ada", "quote_1")
    assert PAYMENT.expires_seconds == 3_600
    assert (PAYMENT.refunds, PAYMENT.disputes, PAYMENT.clawback) == ("{}", "{}", "{}")
    assert (payment.reversed_credits(PAYMENT), PAYMENT.reversals, PAYMENT.locked) == (0, 0, 0)


def test_what_was_filed_early_is_read_back_as_it_was() -> None:
    early = payment.Early(refunds='{"re_1":[333,"failed"]}', disputes='{"dp_1":[1,"won",{}]}')
    incident = Incident("reversals:pi_1", "open", "early", None, early.write(), NOW)
    assert payment.Early.read(incident) == early
    assert payment.Early.read(None) == payment.Early(refunds="{}", disputes="{}")
    made = payment.from_quote(QUOTE, facts(), incident, NOW)
    assert (made.refunds, made.disputes) == (early.refunds, early.disputes)


def test_the_terms_of_a_sale_are_written_in_one_way_and_read_back() -> None:
    terms = payment.Terms(1_000, "usd", NOW)
    text = f'{{"amount_minor":1000,"currency":"usd","expires_at":"{NOW}"}}'
    assert terms.write() == text
    assert payment.Terms.read(text) == terms


@pytest.mark.parametrize(
    "text",
    [None, "", "x", "[]", "null", "{}", '{"amount_minor":1000,"currency":"usd"}',
     '{"amount_minor":"1000","currency":"usd","expires_at":""}',
     '{"amount_minor":10.5,"currency":"usd","expires_at":""}'],
)  # fmt: skip
def test_terms_that_cannot_be_read_are_none(text: str | None) -> None:
    assert payment.Terms.read(text) is None


def test_what_was_taken_back_is_what_refunds_and_disputes_took() -> None:
    reversed_ = msgspec.structs.replace(PAYMENT, refunded_credits=30, disputed_credits=12)
    assert payment.reversed_credits(reversed_) == 42


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_received": 999},
        {"amount_received": 1_001},
        {"currency": "eur"},
        {"metadata": {"user_id": "eve"}},
        {"metadata": {"user_id": ""}},
        {"metadata": {"user_id": "ADA"}},
    ],
    ids=str,
)
def test_what_differs_from_the_quote_is_told(changes: dict[str, Any]) -> None:
    assert payment.mismatch(PAYMENT, facts(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"currency": "USD"},
        {"metadata": {}},
        {"status": "processing", "amount_received": 0},
        {"status": "requires_payment_method", "amount_received": 0},
    ],
    ids=str,
)
def test_what_agrees_with_the_quote_passes(changes: dict[str, Any]) -> None:
    assert payment.mismatch(PAYMENT, facts(**changes)) is None


def test_a_report_without_news_gives_the_same_object() -> None:
    once = payment.received(PAYMENT, facts(), NOW)
    assert (once.status, once.received_minor) == ("succeeded", 1_000)
    assert payment.received(once, facts(), "later") is once
    assert payment.received(once, facts(status="processing", amount_received=0), "later") is once


@pytest.mark.parametrize("claimed", [0, 999, 1_001, 2**53 - 1])
def test_what_was_received_is_what_the_success_says_whatever_else_is_claimed(claimed: int) -> None:
    other = facts(status="processing", amount_received=claimed)
    for first, second in itertools.permutations([other, facts()]):
        told = payment.received(payment.received(PAYMENT, first, NOW), second, NOW)
        assert (told.status, told.received_minor) == ("succeeded", 1_000)


@pytest.mark.parametrize(
    ("changes", "attempt"),
    [
        ({"latest_charge": "ch_2"}, "ch_2"),
        ({"latest_charge": Reference("ch_2")}, "ch_2"),
        ({}, "uncharged"),
    ],
    ids=str,
)
def test_a_failed_attempt_is_named_after_its_charge(changes: dict[str, Any], attempt: str) -> None:
    error = PaymentError("card_error", "card_declined", "lost_card", None)
    told = facts(status="requires_payment_method", last_payment_error=error, **changes)
    failure = payment.failure_of(told, "ada", NOW)
    assert failure is not None
    assert failure.failure_id == f"pi_1:{attempt}"
    assert (failure.failure_reason, failure.decline_code) == ("card_declined", "lost_card")


def test_a_payment_that_succeeded_tells_of_no_failure() -> None:
    assert payment.failure_of(facts(last_payment_error=PaymentError()), "ada", NOW) is None
    assert payment.failure_of(facts(status="processing"), "ada", NOW) is None


@pytest.mark.parametrize(("currency", "usd"), [("usd", "10.00"), ("jpy", None)])
def test_a_purchase_names_dollars_only_where_there_are_any(currency: str, usd: str | None) -> None:
    paid = msgspec.structs.replace(PAYMENT, currency=currency, received_minor=1_000)
    effect = ledger.Effect(kind=ledger.Kind.PAYMENT, cause=payment.cause("pi_1"))
    draft = ledger.Draft(effect)
    draft.leg(ledger.Contra.PURCHASES, -100)
    draft.move(effect.cause, available=100)
    entry, _ = ledger.post(Wallet("ada"), draft, NOW)
    purchase = payment.purchase_of(paid, entry, NOW)
    assert purchase.amount_usd == usd
    assert (purchase.sequence, purchase.transaction_id) == (1, entry.transaction_id)


def test_what_is_kept_for_a_person_is_no_secret_and_nothing_personal() -> None:
    told = facts(
        client_secret="pi_1_secret_x",
        customer="cus_1",
        metadata={"user_id": "ada", "quote_id": "q", "email": "ada@example.com"},
    )
    kept = repr(payment.facts_to_keep(told))
    assert "secret" not in kept
    assert "example.com" not in kept
    assert "'quote_id': 'q'" in kept
    assert "secret" not in repr(told)
