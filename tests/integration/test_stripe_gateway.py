"""The gateway with the real SDK, over HTTP, against the stateful simulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.stripe_errors import STRIPE_REPLAYS_FAILURE
from credit_payments.adapters.stripe_gateway import StripeGateway
from credit_payments.domain.stripe_facts import PaymentIntentFacts, ref_id
from credit_payments.errors import (
    CardDeclined,
    Conflict,
    IdempotencyConflict,
    InvalidAmount,
    InvalidRequest,
    NotFound,
    StripeRefusedKey,
    StripeUnavailable,
)
from credit_payments.testing.simulator import StripeSimulator


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator() as simulator:
        yield simulator


@pytest.fixture
def gateway(simulator: StripeSimulator) -> Iterator[StripeGateway]:
    gateway = StripeGateway(
        simulator.secret_key, api_base=simulator.url, retry=RetryPolicy.immediate(attempts=3)
    )
    yield gateway
    gateway.close()


@pytest.fixture
def sdk(simulator: StripeSimulator) -> stripe.StripeClient:
    return stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})


def create(
    gateway: StripeGateway, key: str = "intent:1", *, amount_minor: int = 1000
) -> PaymentIntentFacts:
    return gateway.create_payment_intent(
        amount_minor=amount_minor,
        currency="usd",
        metadata={"user_id": "user123"},
        customer=None,
        description=None,
        idempotency_key=key,
    )


def refund(
    gateway: StripeGateway, intent_id: str, amount_minor: int | None, *, key: str = "refund:1"
) -> int:
    facts = gateway.create_refund(
        payment_intent_id=intent_id,
        amount_minor=amount_minor,
        reason="requested_by_customer",
        metadata={"why": "asked"},
        idempotency_key=key,
    )
    assert ref_id(facts.payment_intent) == intent_id
    return facts.amount


def test_an_intent_is_created_paid_and_read(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    created = create(gateway)
    assert created.status == "requires_payment_method"
    assert created.client_secret
    simulator.pay(created.id)
    paid = gateway.retrieve_payment_intent(created.id)
    assert (paid.status, paid.amount_received, paid.livemode) == ("succeeded", 1000, False)
    assert ref_id(paid.latest_charge)
    assert paid.metadata == {"user_id": "user123"}


def test_the_reason_of_a_declined_card_is_read_with_the_intent(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    intent = create(gateway)
    simulator.pay(intent.id, "pm_card_chargeDeclinedInsufficientFunds")
    error = gateway.retrieve_payment_intent(intent.id).last_payment_error
    assert error is not None
    assert error.decline_code == "insufficient_funds"


def test_confirming_a_card_that_is_declined_says_why(
    gateway: StripeGateway, sdk: stripe.StripeClient
) -> None:
    intent = sdk.v1.payment_intents.create(
        {
            "amount": 1000,
            "currency": "usd",
            "payment_method": "pm_card_chargeDeclinedInsufficientFunds",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        }
    )
    with pytest.raises(CardDeclined) as caught:
        gateway.confirm_payment_intent(intent.id, idempotency_key="confirm:1")
    assert caught.value.message == "Your card has insufficient funds."
    assert caught.value.error_code == "card_declined"
    assert caught.value.decline_code == "insufficient_funds"
    assert caught.value.status == "requires_payment_method"


def test_an_intent_with_its_payment_method_is_confirmed(
    gateway: StripeGateway, sdk: stripe.StripeClient
) -> None:
    intent = sdk.v1.payment_intents.create(
        {
            "amount": 1000,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        }
    )
    confirmed = gateway.confirm_payment_intent(intent.id, idempotency_key="confirm:1")
    assert confirmed.status == "succeeded"


def test_the_same_key_gives_the_same_intent_and_other_arguments_are_a_conflict(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    assert create(gateway).id == create(gateway).id
    with pytest.raises(IdempotencyConflict):
        create(gateway, amount_minor=2000)


def test_a_refund_gives_back_a_part_and_then_the_rest(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    intent = create(gateway)
    simulator.pay(intent.id)
    assert refund(gateway, intent.id, 400, key="refund:1") == 400
    with pytest.raises(InvalidRequest):
        refund(gateway, intent.id, 601, key="refund:2")
    assert refund(gateway, intent.id, None, key="refund:3") == 600
    with pytest.raises(Conflict):
        refund(gateway, intent.id, None, key="refund:4")


def test_a_customer_and_the_saved_cards_are_read(
    gateway: StripeGateway, sdk: stripe.StripeClient
) -> None:
    customer = gateway.create_customer(
        email="ada@example.com",
        name="Ada",
        phone="+1234567890",
        metadata={"user_id": "user123"},
        idempotency_key="customer:1",
    )
    assert gateway.retrieve_customer(customer.id) == customer
    assert gateway.list_payment_methods(customer.id) == []
    for card in ("pm_card_visa", "pm_card_mastercard"):
        sdk.v1.payment_methods.attach(card, {"customer": customer.id})
    newest, oldest = gateway.list_payment_methods(customer.id)
    assert newest.card is not None
    assert (newest.card.brand, ref_id(oldest.customer)) == ("mastercard", customer.id)
    assert gateway.retrieve_payment_method(newest.id) == newest
    sdk.v1.customers.delete(customer.id)
    with pytest.raises(NotFound):
        gateway.retrieve_customer(customer.id)


def test_what_does_not_exist_is_not_found(gateway: StripeGateway) -> None:
    with pytest.raises(NotFound):
        gateway.retrieve_payment_intent("pi_missing")
    with pytest.raises(NotFound):
        gateway.retrieve_customer("cus_missing")
    with pytest.raises(NotFound):
        gateway.list_payment_methods("cus_missing")
    with pytest.raises(NotFound):
        gateway.retrieve_payment_method("pm_missing")
    with pytest.raises(NotFound):
        refund(gateway, "pi_missing", None)


def test_an_amount_that_stripe_does_not_charge_is_named(gateway: StripeGateway) -> None:
    with pytest.raises(InvalidAmount) as caught:
        create(gateway, amount_minor=1)
    assert (caught.value.param, caught.value.error_code) == ("amount", "amount_too_small")


def test_a_key_that_stripe_does_not_know_is_refused(simulator: StripeSimulator) -> None:
    gateway = StripeGateway("rk_test_unknown", api_base=simulator.url)
    with pytest.raises(StripeRefusedKey):
        create(gateway)
    gateway.close()


def test_a_lost_reply_is_asked_for_again_and_nothing_is_created_twice(
    gateway: StripeGateway, simulator: StripeSimulator, sdk: stripe.StripeClient
) -> None:
    simulator.faults.lose_reply(times=2)
    intent = create(gateway)
    assert [found.id for found in sdk.v1.payment_intents.list().data] == [intent.id]


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_a_busy_or_failing_stripe_is_asked_again(
    gateway: StripeGateway, simulator: StripeSimulator, status: int
) -> None:
    simulator.faults.next(status, times=2)
    assert create(gateway).amount == 1000
    simulator.faults.next(status, times=3)
    with pytest.raises(StripeUnavailable):
        create(gateway, "intent:2")
    assert simulator.faults.planned == ()


def test_a_locked_object_is_asked_for_again(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    simulator.faults.lock_conflict(times=2)
    assert create(gateway).amount == 1000


def test_a_failure_that_stripe_stores_for_the_key_is_met_again_and_told_apart(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    simulator.faults.next(500, remember=True)
    for _ in range(2):
        with pytest.raises(StripeUnavailable) as caught:
            create(gateway)
        assert caught.value.error_code == STRIPE_REPLAYS_FAILURE
    assert create(gateway, "intent:2").amount == 1000
