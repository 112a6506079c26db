"""A quote is kept once, and finds its intent whoever is faster."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.table import Table

from credit_payments.domain import payment
from credit_payments.domain.quoting import KeepQuote, LinkIntent
from credit_payments.domain.records import Incident, Payment, Quote
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.errors import IdempotencyConflict

NOW, LATER = "2024-01-01T00:00:00.000000Z", "2024-01-02T00:00:00.000000Z"
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
    created_at="",
)
FACTS = PaymentIntentFacts("pi_1", "requires_payment_method", 1_000, "usd", 1)


def test_a_quote_is_kept_with_its_instant_and_never_changed() -> None:
    table = Table()
    kept = table.run(KeepQuote(quote=QUOTE))
    assert kept == msgspec.structs.replace(QUOTE, created_at=NOW)
    dearer = msgspec.structs.replace(QUOTE, credits=50, rule="new price")
    assert table.run(KeepQuote(quote=dearer), LATER) == kept


def test_a_key_with_other_arguments_is_a_conflict() -> None:
    table = Table()
    table.run(KeepQuote(quote=QUOTE))
    with pytest.raises(IdempotencyConflict) as caught:
        table.run(KeepQuote(quote=msgspec.structs.replace(QUOTE, fingerprint="g")))
    assert caught.value.param == "idempotency_key"


def test_an_intent_is_linked_once() -> None:
    table = Table()
    table.run(KeepQuote(quote=QUOTE))
    table.run(LinkIntent(quote_id="quote_1", facts=FACTS))
    linked, paid = table.rows[Quote, "quote_1"], table.rows[Payment, "pi_1"]
    assert isinstance(linked, Quote)
    assert isinstance(paid, Payment)
    assert (linked.payment_intent_id, paid.status) == ("pi_1", "requires_payment_method")
    assert paid.expires_seconds == 3_600
    table.run(LinkIntent(quote_id="quote_1", facts=FACTS), LATER)
    assert table.rows == {(Quote, "quote_1"): linked, (Payment, "pi_1"): paid}


def test_what_a_faster_webhook_recorded_is_left_as_it_is() -> None:
    table = Table()
    table.run(KeepQuote(quote=QUOTE))
    paid = Payment(
        payment_intent_id="pi_1",
        user_id="ada",
        quote_id="quote_1",
        status="succeeded",
        quarantined=0,
        amount_minor=1_000,
        currency="usd",
        credits=100,
        expires_seconds=None,
        received_minor=1_000,
        credited=100,
        refunded_credits=0,
        disputed_credits=0,
        locked=0,
        reversals=0,
        refunds="{}",
        disputes="{}",
        clawback="[]",
        created_at=NOW,
        updated_at=NOW,
    )
    table.rows[Payment, "pi_1"] = paid
    table.run(LinkIntent(quote_id="quote_1", facts=FACTS), LATER)
    assert table.rows[Payment, "pi_1"] is paid
    linked = table.rows[Quote, "quote_1"]
    assert isinstance(linked, Quote)
    assert linked.payment_intent_id == "pi_1"


def test_what_was_filed_before_the_intent_was_linked_is_part_of_its_payment() -> None:
    table = Table()
    table.run(KeepQuote(quote=QUOTE))
    early = payment.Early(refunds='{"re_1":[333,"succeeded"]}', disputes='{"dp_1":[1,"lost",{}]}')
    filed = Incident("reversals:pi_1", "open", "early", "evt_1", early.write(), NOW)
    table.rows[Incident, filed.incident_id] = filed
    table.run(LinkIntent(quote_id="quote_1", facts=FACTS), LATER)
    paid = table.rows[Payment, "pi_1"]
    assert isinstance(paid, Payment)
    assert (paid.refunds, paid.disputes) == (early.refunds, early.disputes)
    assert (paid.credited, payment.reversed_credits(paid)) == (0, 0)
    resolved = msgspec.structs.replace(filed, status="resolved")
    assert table.rows[Incident, filed.incident_id] == resolved


def test_an_intent_without_a_quote_is_a_bug_of_the_caller() -> None:
    with pytest.raises(LookupError, match="quote_1"):
        Table().run(LinkIntent(quote_id="quote_1", facts=FACTS))
