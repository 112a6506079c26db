"""The simulator's payments, driven by the official SDK over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from credit_payments.testing.simulator import StripeSimulator

NO_REDIRECTS = {"enabled": True, "allow_redirects": "never"}
START = 1_700_000_000


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator(seed=7, start_time=START) as running:
        yield running


@pytest.fixture
def client(simulator: StripeSimulator) -> Any:
    return stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})


def new_intent(client: Any, **params: Any) -> Any:
    given: dict[str, Any] = {
        "amount": 1000,
        "currency": "usd",
        "automatic_payment_methods": NO_REDIRECTS,
    }
    if "payment_method_types" in params:
        del given["automatic_payment_methods"]
    return client.v1.payment_intents.create({**given, **params})


def paid_intent(client: Any, **params: Any) -> Any:
    return new_intent(client, **{"confirm": True, "payment_method": "pm_card_visa", **params})


def types_of(client: Any) -> list[str]:
    """Event types, oldest first."""
    return [event.type for event in reversed(client.v1.events.list({"limit": 100}).data)]


def refused(call: Callable[[], Any]) -> Any:
    with pytest.raises(stripe.StripeError) as caught:
        call()
    return caught.value


# --- customers and payment methods ------------------------------------------------------------


def test_a_customer_lives_from_creation_to_deletion(client: Any) -> None:
    customer = client.v1.customers.create(
        {"email": "a@example.com", "name": "Ada", "metadata": {"user_id": "u1", "x": "y"}}
    )
    changed = client.v1.customers.update(customer.id, {"name": "Eve", "metadata": {"x": ""}})
    assert (changed.name, changed.to_dict()["metadata"]) == ("Eve", {"user_id": "u1"})
    event = client.v1.events.list({"type": "customer.updated"}).data[0]
    assert event.to_dict()["data"]["previous_attributes"] == {"name": "Ada", "metadata": {"x": "y"}}
    client.v1.customers.delete(customer.id)
    assert client.v1.customers.retrieve(customer.id).deleted is True
    assert client.v1.customers.list().data == []
    error = refused(lambda: client.v1.customers.update(customer.id, {"name": "x"}))
    assert (error.http_status, error.code) == (404, "resource_missing")
    assert types_of(client) == ["customer.created", "customer.updated", "customer.deleted"]


def test_payment_methods_are_listed_under_their_customer_only(client: Any) -> None:
    first = client.v1.customers.create({"payment_method": "pm_card_visa"})
    second = client.v1.customers.create()
    card = client.v1.payment_methods.create(
        {
            "type": "card",
            "card": {"number": "5555555555554444", "exp_month": 12, "exp_year": 2030, "cvc": "123"},
            "billing_details": {"name": "Ada", "address": {"city": "London"}},
        }
    )
    assert card.card is not None
    assert (card.card.brand, card.card.last4) == ("mastercard", "4444")
    client.v1.payment_methods.attach(card.id, {"customer": first.id})
    by_path = client.v1.customers.payment_methods.list(first.id)
    by_query = client.v1.payment_methods.list({"customer": first.id, "type": "card"})
    assert [row.id for row in by_path.data] == [row.id for row in by_query.data]
    assert by_query.data[0].id == card.id
    assert client.v1.payment_methods.list({"customer": second.id}).data == []
    missing = refused(lambda: client.v1.customers.payment_methods.retrieve(second.id, card.id))
    assert missing.http_status == 404
    client.v1.payment_methods.update(card.id, {"billing_details": {"email": "a@example.com"}})
    detached = client.v1.payment_methods.detach(card.id)
    assert detached.customer is None
    assert detached.billing_details.name == "Ada"
    again = refused(lambda: client.v1.payment_methods.attach(card.id, {"customer": first.id}))
    assert again.http_status == 400


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"exp_month": 13}, "invalid_expiry_month"),
        ({"exp_year": 2020}, "invalid_expiry_year"),
        ({"cvc": "12"}, "invalid_cvc"),
    ],
)
def test_card_data_that_cannot_be_right_is_refused(
    client: Any, card: dict[str, Any], code: str
) -> None:
    good = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}
    error = refused(
        lambda: client.v1.payment_methods.create({"type": "card", "card": {**good, **card}})
    )
    assert isinstance(error, stripe.CardError)
    assert error.code == code


def test_a_customers_card_cannot_be_used_without_naming_the_customer(
    client: Any,
) -> None:
    customer = client.v1.customers.create({"payment_method": "pm_card_visa"})
    card = client.v1.payment_methods.list({"customer": customer.id}).data[0]
    error = refused(lambda: paid_intent(client, payment_method=card.id))
    assert error.http_status == 400
    assert paid_intent(client, payment_method=card.id, customer=customer.id).status == "succeeded"
    assert paid_intent(client, payment_method=card.id, customer=customer.id).status == "succeeded"


def test_a_card_without_customer_pays_once_unless_it_is_set_up_for_later(
    client: Any,
) -> None:
    once = paid_intent(client)
    assert refused(lambda: paid_intent(client, payment_method=once.payment_method)).param == (
        "payment_method"
    )
    customer = client.v1.customers.create()
    kept = paid_intent(client, customer=customer.id, setup_future_usage="off_session")
    card = client.v1.payment_methods.retrieve(str(kept.payment_method))
    assert card.customer == customer.id


# --- success ----------------------------------------------------------------------------------


def test_a_payment_runs_from_creation_to_money(client: Any) -> None:
    intent = new_intent(
        client,
        description="100 credits",
        metadata={"user_id": "u1"},
        receipt_email="a@example.com",
        statement_descriptor_suffix="CREDITS",
        shipping={"name": "Ada", "address": {"line1": "1 Road"}},
    )
    assert intent.status == "requires_payment_method"
    paid = client.v1.payment_intents.confirm(
        intent.id,
        {
            "payment_method": "pm_card_visa",
            "expand": ["latest_charge.balance_transaction", "payment_method"],
        },
    )
    assert (paid.status, paid.amount_received) == ("succeeded", 1000)
    charge: Any = paid.latest_charge
    assert (charge.captured, charge.paid, charge.metadata.user_id) == (True, True, "u1")
    assert charge.balance_transaction.net == 1000 - 59
    assert paid.payment_method.card.last4 == "4242"
    assert types_of(client) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.updated",
    ]
    transactions = client.v1.balance_transactions.list({"type": "charge"})
    assert [row.source for row in transactions.data] == [charge.id]
    assert client.v1.balance.retrieve().pending[0].amount == 941


def test_an_older_version_books_the_charge_before_it_reports_success(
    simulator: StripeSimulator,
) -> None:
    client = stripe.StripeClient(
        simulator.secret_key,
        base_addresses={"api": simulator.url},
        stripe_version="2023-10-16",
    )
    intent = paid_intent(client)
    assert intent.capture_method == "automatic"
    assert types_of(client)[-1] == "payment_intent.succeeded"


def test_confirming_without_return_url_is_refused_where_redirects_are_possible(
    client: Any,
) -> None:
    intent = client.v1.payment_intents.create({"amount": 1000, "currency": "usd"})
    error = refused(
        lambda: client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    )
    assert error.param == "return_url"
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"


def test_the_customer_can_pay_as_a_browser_does(simulator: StripeSimulator, client: Any) -> None:
    intent = client.v1.payment_intents.create({"amount": 1000, "currency": "usd"})
    browser = stripe.StripeClient(simulator.publishable_key, base_addresses={"api": simulator.url})
    seen = browser.v1.payment_intents.retrieve(
        intent.id, {"client_secret": str(intent.client_secret)}
    )
    assert "metadata" not in seen.to_dict()
    assert refused(lambda: browser.v1.payment_intents.retrieve(intent.id)).http_status == 400
    wrong = refused(lambda: browser.v1.payment_intents.retrieve(intent.id, {"client_secret": "x"}))
    assert wrong.http_status == 404
    forbidden = refused(browser.v1.customers.list)
    assert forbidden.json_body["error"]["code"] == "secret_key_required"
    assert simulator.pay(intent.id)["status"] == "succeeded"


def test_a_paid_intent_can_be_neither_confirmed_canceled_nor_repriced(
    client: Any,
) -> None:
    intent = paid_intent(client)
    intents = client.v1.payment_intents
    for call in (
        lambda: intents.confirm(intent.id, {"payment_method": "pm_card_visa"}),
        lambda: intents.cancel(intent.id),
        lambda: intents.update(intent.id, {"amount": 2000}),
        lambda: intents.capture(intent.id),
    ):
        error = refused(call)
        assert error.code == "payment_intent_unexpected_state"
        assert error.error is not None
        assert error.error.payment_intent.status == "succeeded"
    assert intents.update(intent.id, {"metadata": {"a": "b"}}).metadata["a"] == "b"


def test_manual_capture_takes_part_and_releases_the_rest(client: Any) -> None:
    intent = paid_intent(client, capture_method="manual")
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 1000)
    captured = client.v1.payment_intents.capture(
        intent.id, {"amount_to_capture": 600, "expand": ["latest_charge"]}
    )
    charge: Any = captured.latest_charge
    assert (captured.amount_received, charge.amount_captured, charge.amount_refunded) == (
        600, 600, 400,
    )  # fmt: skip
    assert (
        refused(
            lambda: client.v1.refunds.create({"payment_intent": intent.id, "amount": 601})
        ).param
        == "amount"
    )


def test_canceling_an_authorisation_releases_all_of_it(client: Any) -> None:
    intent = paid_intent(client, capture_method="manual")
    canceled = client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert client.v1.charges.retrieve(str(canceled.latest_charge)).refunded is True
    assert types_of(client)[-3:] == [
        "refund.created",
        "charge.refunded",
        "payment_intent.canceled",
    ]


def test_a_bank_debit_is_processing_until_it_settles(
    simulator: StripeSimulator, client: Any
) -> None:
    options = {"payment_method_types": ["us_bank_account"], "confirm": True}
    good = new_intent(client, payment_method="pm_usBankAccount_success", **options)
    assert good.status == "processing"
    assert simulator.settle_payment(good.id)["status"] == "succeeded"
    bad = new_intent(client, payment_method="pm_usBankAccount_insufficientFunds", **options)
    assert simulator.settle_payment(bad.id)["status"] == "requires_payment_method"


# --- declines and authentication --------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("pm_card_radarBlock", "card_declined", "fraudulent"),
    ],
)
def test_a_decline_says_why_and_leaves_the_intent_payable(
    client: Any, card: str, code: str, decline_code: str
) -> None:
    intent = new_intent(client)
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.confirm(intent.id, {"payment_method": card})
    told: Any = caught.value.error
    assert (caught.value.http_status, told.code, told.decline_code) == (402, code, decline_code)
    assert told.payment_intent.id == intent.id
    assert told.payment_intent.status == "requires_payment_method"
    now = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert now.last_payment_error is not None
    assert now.last_payment_error.decline_code == decline_code
    assert now.latest_charge.status == "failed"
    assert types_of(client)[-2:] == ["charge.failed", "payment_intent.payment_failed"]
    assert paid_intent(client).status == "succeeded"


def test_creating_and_confirming_a_declined_card_keeps_the_intent(
    client: Any,
) -> None:
    error = refused(lambda: paid_intent(client, payment_method="pm_card_chargeDeclined"))
    assert isinstance(error, stripe.CardError)
    assert len(client.v1.payment_intents.list().data) == 1


def test_three_d_secure_succeeds_when_the_customer_completes_it(
    simulator: StripeSimulator, client: Any
) -> None:
    intent = new_intent(client)
    waiting = client.v1.payment_intents.confirm(
        intent.id,
        {"payment_method": "pm_card_threeDSecure2Required", "return_url": "https://shop.example/"},
    )
    assert waiting.status == "requires_action"
    assert waiting.next_action is not None
    assert waiting.next_action.type == "redirect_to_url"
    assert simulator.complete_authentication(intent.id)["status"] == "succeeded"
    with pytest.raises(ValueError, match="not requires_action"):
        simulator.complete_authentication(intent.id)
    assert "payment_intent.requires_action" in types_of(client)


def test_three_d_secure_that_fails_leaves_the_intent_payable(
    simulator: StripeSimulator, client: Any
) -> None:
    intent = paid_intent(client, payment_method="pm_card_authenticationRequired")
    failed = simulator.fail_authentication(intent.id)
    assert failed["status"] == "requires_payment_method"
    assert failed["last_payment_error"]["code"] == "payment_intent_authentication_failure"
    assert simulator.pay(intent.id)["status"] == "succeeded"


def test_nobody_can_authenticate_off_session(client: Any) -> None:
    error = refused(
        lambda: paid_intent(
            client, payment_method="pm_card_authenticationRequired", off_session=True
        )
    )
    assert error.code == "authentication_required"


# --- refunds and disputes ---------------------------------------------------------------------


def test_refunds_never_exceed_what_was_paid(client: Any) -> None:
    intent = paid_intent(client)
    first = client.v1.refunds.create({"payment_intent": intent.id, "amount": 400})
    assert (first.status, first.amount) == ("succeeded", 400)
    too_much = refused(
        lambda: client.v1.refunds.create({"payment_intent": intent.id, "amount": 601})
    )
    assert (too_much.http_status, too_much.param) == (400, "amount")
    rest = client.v1.refunds.create({"charge": str(intent.latest_charge), "metadata": {"a": "b"}})
    assert rest.amount == 600
    over = refused(lambda: client.v1.refunds.create({"payment_intent": intent.id}))
    assert over.code == "charge_already_refunded"
    listed = client.v1.refunds.list({"payment_intent": intent.id})
    assert [row.id for row in listed.data] == [rest.id, first.id]
    charge = client.v1.charges.retrieve(str(intent.latest_charge), {"expand": ["refunds"]})
    assert (charge.refunded, charge.amount_refunded) == (True, 1000)
    assert charge.refunds is not None
    assert len(charge.refunds.data) == 2


def test_a_refund_that_fails_later_gives_the_money_back(
    simulator: StripeSimulator, client: Any
) -> None:
    intent = paid_intent(client)
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    failed = simulator.fail_refund(refund.id, reason="expired_or_canceled_card")
    assert (failed["status"], failed["failure_reason"]) == ("failed", "expired_or_canceled_card")
    assert client.v1.charges.retrieve(str(intent.latest_charge)).amount_refunded == 0
    assert types_of(client)[-3:] == ["refund.failed", "refund.updated", "charge.refund.updated"]
    with pytest.raises(ValueError, match="already failed"):
        simulator.fail_refund(refund.id)
    assert client.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"


def test_the_refund_failure_card_reports_success_first(client: Any) -> None:
    intent = paid_intent(client, payment_method="pm_card_refundFail")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    assert client.v1.refunds.retrieve(refund.id).status == "failed"
    assert types_of(client)[-5:-2] == ["refund.created", "charge.refunded", "refund.failed"]


def test_a_pending_refund_can_be_canceled_or_settled(
    simulator: StripeSimulator, client: Any
) -> None:
    intent = paid_intent(client, payment_method="pm_card_pendingRefund")
    first = client.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    assert first.status == "pending"
    assert client.v1.refunds.cancel(first.id).status == "canceled"
    second = client.v1.refunds.create({"payment_intent": intent.id})
    assert second.amount == 1000
    assert simulator.settle_refund(second.id)["status"] == "succeeded"
    assert client.v1.refunds.update(second.id, {"metadata": {"a": "b"}}).to_dict()["metadata"] == {
        "a": "b"
    }
    assert refused(lambda: client.v1.refunds.cancel(second.id)).http_status == 400


def test_a_lost_dispute_takes_the_money_and_forbids_a_refund(
    simulator: StripeSimulator, client: Any
) -> None:
    intent = paid_intent(client)
    dispute = simulator.open_dispute(intent.id, reason="fraudulent")
    assert (dispute["status"], dispute["amount"]) == ("needs_response", 1000)
    refund = refused(lambda: client.v1.refunds.create({"payment_intent": intent.id}))
    assert refund.code == "charge_disputed"
    simulator.close_dispute(dispute["id"], won=False)
    stored = client.v1.disputes.retrieve(dispute["id"])
    assert (stored.status, [row.amount for row in stored.balance_transactions]) == ("lost", [-1000])
    assert types_of(client)[-3:] == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.closed",
    ]


def test_a_won_dispute_reinstates_the_money(simulator: StripeSimulator, client: Any) -> None:
    intent = paid_intent(client)
    dispute = simulator.open_dispute(intent.id, amount=500, reason="product_not_received")
    client.v1.disputes.update(dispute["id"], {"evidence": {"receipt": "file_1"}})
    assert client.v1.disputes.retrieve(dispute["id"]).status == "under_review"
    won = simulator.close_dispute(dispute["id"], won=True)
    assert [row["amount"] for row in won["balance_transactions"]] == [-500, 500]
    assert types_of(client)[-2:] == ["charge.dispute.funds_reinstated", "charge.dispute.closed"]
    assert [row.id for row in client.v1.disputes.list({"payment_intent": intent.id}).data] == [
        dispute["id"]
    ]


def test_each_step_of_a_dispute_can_be_taken_on_its_own(
    simulator: StripeSimulator, client: Any
) -> None:
    intent = paid_intent(client)
    dispute_id = simulator.open_dispute(intent.id, withdraw=False)["id"]
    simulator.withdraw_dispute_funds(dispute_id)
    simulator.close_dispute(dispute_id, won=True, reinstate=False)
    simulator.reinstate_dispute_funds(dispute_id)
    with pytest.raises(ValueError, match="no funds"):
        simulator.reinstate_dispute_funds(dispute_id)
    assert types_of(client)[-1] == "charge.dispute.funds_reinstated"


def test_an_inquiry_moves_no_money(simulator: StripeSimulator, client: Any) -> None:
    intent = paid_intent(client, payment_method="pm_card_createDisputeInquiry")
    inquiry = client.v1.disputes.list().data[0]
    assert (inquiry.payment_intent, inquiry.status) == (intent.id, "warning_needs_response")
    closed = simulator.close_dispute(inquiry.id, won=True)
    assert (closed["status"], closed["balance_transactions"]) == ("warning_closed", [])


# --- validation, lists, time ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"currency": "usd"}, "parameter_missing", "amount"),
        ({"amount": 1000}, "parameter_missing", "currency"),
        ({"amount": 10.5, "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": "abc", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": -5, "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": True, "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": 49, "currency": "usd"}, "amount_too_small", "amount"),
        ({"amount": 100_000_000, "currency": "usd"}, "amount_too_large", "amount"),
        ({"amount": 1005, "currency": "kwd"}, "invalid_charge_amount", "amount"),
        ({"amount": 1000, "currency": "zzz"}, None, "currency"),
        ({"amount": 1000, "currency": "usd", "colour": "red"}, "parameter_unknown", "colour"),
        (
            {"amount": 1000, "currency": "usd", "automatic_payment_methods": {"on": True}},
            "parameter_unknown",
            "automatic_payment_methods[on]",
        ),
        ({"amount": 1000, "currency": "usd", "customer": "cus_x"}, "resource_missing", "customer"),
    ],
)
def test_a_bad_parameter_is_named(
    client: Any, params: dict[str, Any], code: str | None, param: str
) -> None:
    error = refused(lambda: client.v1.payment_intents.create(params))
    assert isinstance(error, stripe.InvalidRequestError)
    assert (error.http_status, error.code, error.param) == (400, code, param)
    assert client.v1.payment_intents.list().data == []


def test_an_unknown_id_is_missing(client: Any) -> None:
    error = refused(lambda: client.v1.payment_intents.retrieve("pi_none"))
    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "intent")
    assert error.error is not None
    assert error.error.doc_url == "https://docs.stripe.com/error-codes/resource-missing"


def test_wrong_keys_are_unauthorised(simulator: StripeSimulator) -> None:
    for key in ("sk_live_x", "nonsense"):
        client = stripe.StripeClient(key, base_addresses={"api": simulator.url})
        error = refused(client.v1.customers.list)
        assert isinstance(error, stripe.AuthenticationError)
        assert error.http_status == 401


def test_only_the_configured_key_is_accepted_if_so_wished() -> None:
    with StripeSimulator(secret_key="sk_test_mine", any_test_key=False) as strict:
        other = stripe.StripeClient("sk_test_other", base_addresses={"api": strict.url})
        assert refused(other.v1.customers.list).http_status == 401
        mine = stripe.StripeClient("sk_test_mine", base_addresses={"api": strict.url})
        assert mine.v1.customers.list().data == []


def test_lists_are_paged_in_both_directions(simulator: StripeSimulator, client: Any) -> None:
    ids = []
    for number in range(25):
        ids.append(client.v1.customers.create({"email": f"{number % 5}@example.com"}).id)
        simulator.clock.advance(1)
    newest_first = ids[::-1]
    pages = client.v1.customers.list({"limit": 10})
    assert [row.id for row in pages.auto_paging_iter()] == newest_first
    assert pages.has_more is True
    back = client.v1.customers.list({"limit": 3, "ending_before": newest_first[5]})
    assert [row.id for row in back.data] == newest_first[2:5]
    some = client.v1.customers.list({"email": "3@example.com", "created": {"gte": START + 10}})
    assert [row.id for row in some.data] == [ids[23], ids[18], ids[13]]
    assert refused(lambda: client.v1.customers.list({"limit": 101})).param == "limit"


def test_lists_expand_what_they_hold(client: Any) -> None:
    paid_intent(client)
    rows: Any = client.v1.payment_intents.list({"expand": ["data.latest_charge"]}).data
    assert rows[0].latest_charge.object == "charge"
    error = refused(lambda: client.v1.payment_intents.list({"expand": ["data.amount"]}))
    assert error.http_status == 400


def test_events_are_filtered_and_forgotten_after_thirty_days(
    simulator: StripeSimulator, client: Any
) -> None:
    intent = paid_intent(client)
    wanted = client.v1.events.list(
        {"types": ["payment_intent.created", "payment_intent.succeeded"]}
    )
    assert [event.type for event in wanted.data] == [
        "payment_intent.succeeded",
        "payment_intent.created",
    ]
    event = client.v1.events.retrieve(wanted.data[0].id)
    assert event.to_dict()["data"]["object"]["id"] == intent.id
    assert event.request is not None
    assert event.request.id is not None
    simulator.clock.advance(30 * 24 * 3600 + 1)
    assert client.v1.events.list().data == []
    assert refused(lambda: client.v1.events.retrieve(event.id)).http_status == 404


def test_the_same_seed_gives_the_same_ids(simulator: StripeSimulator) -> None:
    client = stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})
    first = new_intent(client).to_dict()
    simulator.reset()
    assert client.v1.payment_intents.list().data == []
    assert new_intent(client).to_dict() == first


def test_versions_and_request_ids_are_echoed(client: Any) -> None:
    intent = client.v1.payment_intents.create(
        {"amount": 1000, "currency": "usd"}, {"stripe_version": "2023-10-16"}
    )
    headers: Any = intent.last_response.headers
    assert headers["Stripe-Version"] == "2023-10-16"
    assert headers["Request-Id"].startswith("req_")
