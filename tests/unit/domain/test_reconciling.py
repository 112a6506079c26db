"""What differs, told from an object, our rows, and what the settlement would make of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from credit_payments.domain import reconciling, reversed_money
from credit_payments.domain.differences import Finding, Kind
from credit_payments.domain.reconciling import Kept, Told
from credit_payments.domain.records import (
    Dispute,
    Entry,
    FailedPayment,
    Incident,
    Payment,
    Purchase,
    Quote,
    StripeCustomer,
)
from credit_payments.domain.stripe_facts import DisputeFacts, PaymentIntentFacts, RefundFacts

Json = dict[str, Any]
NOTHING = Told(outcome="duplicate")


def intent(status: str = "succeeded", **given: Any) -> PaymentIntentFacts:
    fields: Json = {
        "id": "pi_1",
        "status": status,
        "amount": 1_000,
        "currency": "usd",
        "created": 0,
        "amount_received": 1_000 if status == "succeeded" else 0,
        "metadata": {"user_id": "ada", "quote_id": "quote_1"},
    }
    return PaymentIntentFacts(**fields | given)


def payment(**given: Any) -> Payment:
    fields: Json = {
        "payment_intent_id": "pi_1",
        "user_id": "ada",
        "quote_id": "quote_1",
        "status": "succeeded",
        "quarantined": 0,
        "amount_minor": 1_000,
        "currency": "usd",
        "credits": 100,
        "expires_seconds": None,
        "received_minor": 1_000,
        "credited": 100,
        "refunded_credits": 0,
        "disputed_credits": 0,
        "locked": 0,
        "reversals": 0,
        "refunds": "{}",
        "disputes": "{}",
        "clawback": "{}",
        "created_at": "",
        "updated_at": "",
    }
    return Payment(**fields | given)


UNPAID = payment(status="requires_payment_method", received_minor=0, credited=0)


def quote(**given: Any) -> Quote:
    fields: Json = {
        "quote_id": "quote_1",
        "user_id": "ada",
        "amount_minor": 1_000,
        "currency": "usd",
        "credits": 100,
        "package_id": None,
        "customer_id": None,
        "rule": "rate",
        "expires_seconds": None,
        "fingerprint": "",
        "payment_intent_id": "pi_1",
        "created_at": "",
    }
    return Quote(**fields | given)


def purchase(**given: Any) -> Purchase:
    fields: Json = {
        "payment_intent_id": "pi_1",
        "user_id": "ada",
        "sequence": 1,
        "transaction_id": "txn_1",
        "amount_minor": 1_000,
        "currency": "usd",
        "amount_usd": "10.00",
        "credits_purchased": 100,
        "status": "completed",
        "payment_method": "stripe",
        "stripe_payment_intent": "pi_1",
        "created_at": "",
    }
    return Purchase(**fields | given)


def entry(legs: str = '{"purchases":-100,"wallet:ada":100}') -> Entry:
    return Entry(
        transaction_id="txn_1",
        user_id="ada",
        sequence=1,
        kind="payment",
        cause="payment:pi_1",
        fingerprint="",
        credits=100,
        balance_after=100,
        held_after=0,
        frozen_after=0,
        debt_after=0,
        legs=legs,
        lots="[]",
        actor=None,
        reason=None,
        metadata=None,
        created_at="",
        previous_hash="",
        hash="",
    )


def kept(**given: Any) -> Kept:
    """A payment whose rows all fit."""
    rows: Json = {
        "payment": payment(),
        "quote": quote(),
        "purchase": purchase(),
        "entry": entry(),
    }
    return Kept(**rows | given)


def filed(status: str = "open", name: str = "payment:pi_1", facts: str = "{}") -> Incident:
    return Incident(name, status, "no quote is known for this payment", None, facts, "")


def quarantined(*changes: Any) -> Told:
    return Told(outcome="quarantined", reason="no quote", changes=tuple(changes))


def of_payment(facts: PaymentIntentFacts, rows: Kept, told: Told = NOTHING) -> Finding | None:
    found = [*reconciling.of_payment(facts, rows, told)]
    assert len(found) <= 1
    return found[0] if found else None


def told_of(finding: Finding | None) -> tuple[Kind, str, bool] | None:
    if finding is None:
        return None
    assert finding.difference.payment_intent_id in ("pi_1", None)
    assert not finding.difference.repaired
    return finding.difference.kind, finding.difference.detail, finding.mends


# -- payments ---------------------------------------------------------------------------------


def test_a_payment_that_fits_differs_in_nothing() -> None:
    assert of_payment(intent(), kept()) is None
    assert of_payment(intent("processing"), kept(payment=UNPAID, purchase=None, entry=None)) is None


@pytest.mark.parametrize(
    ("rows", "kind", "detail"),
    [
        (
            {"payment": payment(received_minor=900)},
            Kind.DIFFERING_AMOUNT,
            "Stripe received 1000 usd, recorded here: 900 usd",
        ),
        (
            {"payment": payment(currency="eur")},
            Kind.DIFFERING_AMOUNT,
            "Stripe received 1000 usd, recorded here: 1000 eur",
        ),
        (
            {"quote": quote(credits=110)},
            Kind.DIFFERING_CREDITS,
            "110 credits quoted, 100 credited",
        ),
        (
            {"quote": quote(user_id="bob")},
            Kind.DIFFERING_CREDITS,
            "quoted to 'bob', credited to 'ada'",
        ),
        (
            {"purchase": purchase(credits_purchased=90)},
            Kind.DIFFERING_CREDITS,
            "90 credits sold, 100 credited",
        ),
        (
            {"entry": entry('{"purchases":-80}')},
            Kind.DIFFERING_CREDITS,
            "80 credits posted, 100 in the payment's row",
        ),
        (
            {"entry": entry("nonsense")},
            Kind.DIFFERING_CREDITS,
            "0 credits posted, 100 in the payment's row",
        ),
        (
            {"payment": payment(refunds='{"re_1":[500,"succeeded"]}')},
            Kind.DIFFERING_CREDITS,
            "50 credits are to be taken back, 0 were",
        ),
        ({"purchase": None}, Kind.MISSING_RECORD, "100 credits, and no purchase here"),
        ({"entry": None}, Kind.MISSING_RECORD, "100 credits, and no entry here"),
        ({"quote": None}, Kind.MISSING_RECORD, "100 credits, and no quote here"),
        (
            {"payment": payment(credited=0)},
            Kind.DIFFERING_CREDITS,
            "100 credits posted, 0 in the payment's row",
        ),
        ({"payment": None}, Kind.MISSING_RECORD, "100 credits posted, and no payment here"),
        ({"incident": filed()}, Kind.QUARANTINED, "no quote is known for this payment"),
    ],
)
def test_rows_that_do_not_fit_are_told_with_both_sides_and_never_mended(
    rows: Json, kind: Kind, detail: str
) -> None:
    assert told_of(of_payment(intent(), kept(**rows))) == (kind, detail, False)


def test_what_a_person_has_decided_is_held_against_no_quote() -> None:
    decided = payment(decided_by="eve", user_id="bob", credits=77, credited=77)
    rows = kept(
        payment=decided,
        purchase=purchase(credits_purchased=77),
        entry=entry('{"purchases":-77}'),
    )
    assert of_payment(intent(), rows) is None
    assert of_payment(intent(), msgspec.structs.replace(rows, quote=None)) is None


def test_credits_without_money_are_extra() -> None:
    assert told_of(of_payment(intent("canceled"), kept())) == (
        Kind.EXTRA_PAYMENT,
        "100 credits for 1000 usd here; it is 'canceled' at Stripe",
        False,
    )


def test_money_without_credits_is_missing_whether_or_not_the_payment_is_recorded() -> None:
    for known in (UNPAID, None):
        told = Told(outcome="applied", changes=((known, payment()),))
        assert told_of(of_payment(intent(), Kept(payment=known), told)) == (
            Kind.MISSING_PAYMENT,
            "Stripe received 1000 usd, worth 100 credits; none were posted",
            True,
        )


def test_money_that_nobody_can_book_is_filed_once() -> None:
    new = quarantined((None, filed()))
    detail = "Stripe received 1000 usd: no quote"
    assert told_of(of_payment(intent(), Kept(), new)) == (Kind.UNATTRIBUTED, detail, True)
    again = quarantined((filed(), filed()))
    is_filed = Kept(incident=filed())
    assert told_of(of_payment(intent(), is_filed, again)) == (Kind.QUARANTINED, detail, False)
    dismissed = Kept(incident=filed("dismissed"))
    assert of_payment(intent(), dismissed, quarantined()) is None
    reopened = quarantined((filed("dismissed"), filed()))
    assert told_of(of_payment(intent(), dismissed, reopened)) == (Kind.UNATTRIBUTED, detail, True)


def test_an_intent_without_our_metadata_is_foreign() -> None:
    assert of_payment(intent(metadata={}), Kept(), quarantined((None, filed()))) is None
    assert of_payment(intent(metadata={"user_id": "ada"}), Kept(), quarantined((None, filed())))


def test_an_intent_that_was_not_paid_is_missed_only_where_something_would_be_recorded() -> None:
    rows = kept(payment=UNPAID, purchase=None, entry=None)
    canceled = payment(status="canceled", received_minor=0, credited=0)
    told = Told(outcome="applied", changes=((UNPAID, canceled),))
    assert told_of(of_payment(intent("canceled"), rows, told)) == (
        Kind.MISSING_EVENT,
        "its status is 'canceled' at Stripe, 'requires_payment_method' here",
        True,
    )
    assert of_payment(intent("requires_action"), rows, told) is None
    new = Told(outcome="applied", changes=((None, UNPAID),))
    assert told_of(of_payment(intent("requires_payment_method"), Kept(), new)) == (
        Kind.MISSING_RECORD,
        "an intent over 1000 usd at Stripe (requires_payment_method), no payment here",
        True,
    )
    other_user = quarantined((None, filed()))
    assert of_payment(intent("requires_payment_method"), rows, other_user) is None


# -- refunds and disputes ---------------------------------------------------------------------


def refund(amount: int = 300, status: str = "succeeded") -> RefundFacts:
    return RefundFacts("re_1", amount, "usd", status, "pi_1")


def dispute(status: str, moved: list[Any] | None = None) -> DisputeFacts:
    return DisputeFacts(
        "dp_1", 1_000, "usd", "fraudulent", status, 0, "pi_1", balance_transactions=moved
    )


def of_refund(facts: RefundFacts, refunds: str, told: Told = NOTHING) -> Any:
    [*found] = reconciling.of_refund(facts, Kept(payment=payment(refunds=refunds)), told)
    return [told_of(one) for one in found]


def of_dispute(facts: DisputeFacts, disputes: str = "{}", row: str | None = None) -> Any:
    record = row and Dispute("dp_1", "pi_1", 1_000, "usd", "fraudulent", row, "")
    after = Dispute("dp_1", "pi_1", 1_000, "usd", "fraudulent", facts.status, "")
    changes = ((record or None, after),)
    rows = Kept(payment=payment(disputes=disputes), dispute=record or None)
    told = Told(outcome="applied", changes=changes)
    return [told_of(one) for one in reconciling.of_dispute(facts, rows, told)]


WHAT = "a refund of 300 usd is 'succeeded' at Stripe"


def test_refunds_are_counted_as_money() -> None:
    assert of_refund(refund(), '{"re_1":[300,"succeeded"]}') == []
    assert of_refund(refund(), '{"re_1":[300,"pending"]}') == []
    assert of_refund(refund(), '{"ch_1":[300,"charge"]}') == []
    assert of_refund(refund(status="failed"), "{}") == []
    assert of_refund(refund(), "{}") == [
        (Kind.MISSING_REVERSAL, f"{WHAT}: 300 is to be reversed, 0 is here", True)
    ]
    assert of_refund(refund(status="failed"), '{"re_1":[300,"succeeded"]}') == [
        (
            Kind.MISSING_RETURN,
            "a refund of 300 usd is 'failed' at Stripe: 0 is to be reversed, 300 is here",
            True,
        )
    ]


def test_a_refund_that_is_another_one_here_differs() -> None:
    assert of_refund(refund(), '{"re_1":[200,"succeeded"]}') == [
        (Kind.DIFFERING_AMOUNT, f"{WHAT}, one of 200 is 'succeeded' here", False)
    ]
    assert of_refund(refund(), '{"re_1":[300,"failed"]}') == [
        (Kind.DIFFERING_AMOUNT, f"{WHAT}, one of 300 is 'failed' here", False)
    ]


def test_a_refund_in_another_currency_waits_for_a_person() -> None:
    new = quarantined((None, filed(name="refund:re_1")))
    assert of_refund(refund(), "{}", new) == [(Kind.UNATTRIBUTED, f"{WHAT}: no quote", True)]


def test_what_is_reversed_of_a_missing_payment_is_missing_with_it() -> None:
    rows = Kept(payment=UNPAID)
    assert [*reconciling.of_refund(refund(), rows, NOTHING)] == []
    assert [*reconciling.of_dispute(dispute("lost"), rows, NOTHING)] == []
    waits = Kept(payment=msgspec.structs.replace(UNPAID, quarantined=1))
    [found] = reconciling.of_refund(refund(), waits, NOTHING)
    assert found.difference.kind == Kind.MISSING_REVERSAL, "whoever decides has to know"
    assert [*reconciling.of_refund(refund(), Kept(), NOTHING)] == []
    assert [*reconciling.of_dispute(dispute("lost"), Kept(), NOTHING)] == []


def test_disputes_are_counted_as_money_and_by_what_they_freeze() -> None:
    lost = '{"dp_1":[1000,"lost",{}]}'
    assert of_dispute(dispute("lost"), lost, "lost") == []
    what = "a dispute over 1000 usd is 'lost' at Stripe"
    assert of_dispute(dispute("lost"), '{"dp_1":[1000,"needs_response",{"withdrawn":0}]}', "won")
    assert of_dispute(dispute("lost")) == [
        (Kind.MISSING_REVERSAL, f"{what}: 1000 is to be reversed, 0 is here", True)
    ]
    inquiry = "a dispute over 1000 usd is 'warning_needs_response' at Stripe"
    assert of_dispute(dispute("warning_needs_response")) == [
        (Kind.MISSING_REVERSAL, f"{inquiry}: not frozen here", True)
    ]
    frozen = '{"dp_1":[1000,"warning_needs_response",{}]}'
    assert of_dispute(dispute("warning_closed"), frozen, "warning_needs_response") == [
        (
            Kind.MISSING_RETURN,
            "a dispute over 1000 usd is 'warning_closed' at Stripe: still frozen here",
            True,
        )
    ]


def test_a_dispute_without_effect_is_a_record_or_an_event() -> None:
    closed = dispute("warning_closed")
    what = "a dispute over 1000 usd is 'warning_closed' at Stripe"
    assert of_dispute(closed) == [(Kind.MISSING_RECORD, f"{what}, no dispute here", True)]
    moved = '{"dp_1":[1000,"needs_response",{"withdrawn":0}]}'
    assert of_dispute(dispute("under_review"), moved, "needs_response") == [
        (
            Kind.MISSING_EVENT,
            "a dispute over 1000 usd is 'under_review' at Stripe, 'needs_response' here",
            True,
        )
    ]


def test_a_dispute_that_moved_other_money_here_differs_if_stripe_shows_what_has_moved() -> None:
    here = '{"dp_1":[1000,"needs_response",{"txn_other":-1000}]}'
    [told] = of_dispute(dispute("needs_response", []), here, "needs_response")
    assert (told[0], told[2]) == (Kind.DIFFERING_AMOUNT, False)
    assert told[1].endswith("at Stripe, one over 1000 is 'needs_response' here")
    for hidden in (None, ["txn_1"]):
        assert of_dispute(dispute("needs_response", hidden), here, "needs_response") == []


# -- events, and what Stripe does not have ----------------------------------------------------


def test_what_only_an_event_tells() -> None:
    failure = FailedPayment("pi_1:ch_1", "ada", "pi_1", "failed", "No.", None, "")
    [found] = reconciling.of_event("evt_1", Told(outcome="applied", changes=((None, failure),)))
    assert (found.difference.subject, found.mends) == ("ch_1", True)
    uncharged = msgspec.structs.replace(failure, failure_id="pi_1:uncharged")
    [found] = reconciling.of_event("evt_1", Told(outcome="applied", changes=((None, uncharged),)))
    assert found.difference.subject == "pi_1"
    warning = filed(name="fraud:issfr_1", facts='{"payment_intent":"pi_1"}')
    [found] = reconciling.of_event("evt_1", Told(outcome="applied", changes=((None, warning),)))
    assert (found.difference.subject, found.difference.payment_intent_id) == ("evt_1", "pi_1")
    known = Told(outcome="duplicate", changes=((failure, failure), (warning, warning)))
    assert [*reconciling.of_event("evt_1", known)] == []


def test_a_customer_that_is_only_encrypted_anew_has_not_changed() -> None:
    before = StripeCustomer("cus_1", "ada", "a", None, "", as_of="2024")
    sealed = msgspec.structs.replace(before, email="b")
    later = msgspec.structs.replace(sealed, as_of="2025")
    told = Told(outcome="applied", changes=((before, sealed),))
    assert [*reconciling.of_event("evt_1", told)] == []
    told = Told(outcome="applied", changes=((before, later),))
    [found] = reconciling.of_event("evt_1", told)
    assert (found.difference.kind, found.difference.user_id) == (Kind.MISSING_EVENT, "ada")


def test_what_stripe_does_not_have_is_told_with_what_is_here() -> None:
    known = payment(
        refunds='{"ch_1":[300,"charge"],"re_1":[300,"succeeded"]}',
        disputes='{"dp_1":[1000,"lost",{}]}',
    )
    assert reversed_money.reversal_ids(known) == (["re_1"], ["dp_1"])
    assert reconciling.extra_payment(known).detail == (
        "100 credits for 1000 usd here, no such intent at Stripe"
    )
    assert reconciling.extra_reversal(known, "re_1").detail == (
        "300 usd 'succeeded' here, no such object at Stripe"
    )
    assert reconciling.extra_reversal(known, "dp_1").detail == (
        "1000 usd 'lost' here, no such object at Stripe"
    )
