"""The main job over real sockets, on both frameworks: from an offer to a credit in a wallet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.support.live_shop import LiveShop

import credit_payments as cp
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.bootstrap import over
from credit_payments.testing.simulator import StripeSimulator


def test_a_paid_intent_becomes_credits_once_whoever_reports_it(shop: LiveShop) -> None:
    intent = shop.offer()
    shop.simulator.pay(intent)
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 100, "the webhook alone suffices"
    status, answer = shop.confirm(intent)
    assert status == 200
    assert answer["data"]["credits_purchased"] == 100
    assert answer["data"]["amount_paid"] == 10.0
    assert answer["data"]["transaction_id"].startswith("txn_")
    assert shop.balance() == 100, "confirming it again adds nothing"
    (purchase,) = shop.system.payments.purchases("ada")
    assert purchase.payment_intent_id == intent
    assert purchase.transaction_id == answer["data"]["transaction_id"]


def test_confirming_suffices_when_no_webhook_comes(shop: LiveShop) -> None:
    shop.simulator.webhooks.hold()
    intent = shop.offer()
    shop.simulator.pay(intent)
    assert shop.confirm(intent)[0] == 200
    assert shop.balance() == 100
    shop.simulator.webhooks.release()
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 100


def test_a_package_has_its_own_price(shop: LiveShop) -> None:
    intent = shop.offer(package_id="standard", amount=45)
    shop.simulator.pay(intent)
    assert shop.confirm(intent)[1]["data"]["credits_purchased"] == 500


def test_a_declined_card_is_answered_402_and_kept_as_failed(shop: LiveShop) -> None:
    intent = shop.offer()
    shop.simulator.pay(intent, "pm_card_chargeDeclinedInsufficientFunds")
    status, answer = shop.confirm(intent)
    assert status == 402
    assert answer["error"] == "Payment not successful. Status: requires_payment_method"
    assert (answer["error_code"], answer["decline_code"]) == ("card_declined", "insufficient_funds")
    shop.simulator.wait_for_deliveries()
    failed = shop.rows("SELECT user_id, payment_intent_id, status FROM failed_payments")
    assert failed == [("ada", intent, "failed")], "reported twice, kept once"
    assert shop.balance() == 0


def test_a_second_card_pays_after_the_first_was_declined(shop: LiveShop) -> None:
    intent = shop.offer()
    shop.simulator.pay(intent, "pm_card_chargeDeclined")
    shop.simulator.pay(intent, "pm_card_visa")
    assert shop.confirm(intent)[0] == 200
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 100
    assert len(shop.rows("SELECT * FROM failed_payments")) == 1


def test_three_d_secure_credits_only_after_the_authentication(shop: LiveShop) -> None:
    intent = shop.offer()
    shop.simulator.pay(intent, "pm_card_threeDSecure2Required")
    status, answer = shop.confirm(intent)
    assert (status, answer["error"]) == (409, "Payment not successful. Status: requires_action")
    shop.simulator.complete_authentication(intent)
    assert shop.confirm(intent)[0] == 200
    assert shop.balance() == 100


@pytest.mark.parametrize("order", ["fifo", "lifo", "shuffled"])
def test_duplicated_and_reordered_webhooks_end_the_same(shop: LiveShop, order: Any) -> None:
    shop.simulator.webhooks.hold()
    shop.simulator.webhooks.duplicate(3)
    intents = [shop.offer(amount=amount) for amount in (1, 2, 3)]
    shop.simulator.pay(intents[0], "pm_card_chargeDeclined")
    for intent in intents:
        shop.simulator.pay(intent)
    shop.simulator.webhooks.release(order)
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 60
    assert len(shop.rows("SELECT * FROM credit_purchases")) == 3
    assert shop.rows("SELECT * FROM quarantine") == []


def test_a_dispute_is_kept_with_what_stripe_says_of_it(shop: LiveShop) -> None:
    intent = shop.offer()
    shop.simulator.pay(intent)
    dispute = shop.simulator.open_dispute(intent, reason="fraudulent")
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 0, "its money is withdrawn, and so are its credits"
    kept = shop.rows("SELECT dispute_id, payment_intent_id, amount, reason, status FROM disputes")
    assert kept == [(dispute["id"], intent, 1000, "fraudulent", "needs_response")]
    shop.simulator.close_dispute(dispute["id"], won=True)
    shop.simulator.wait_for_deliveries()
    assert shop.rows("SELECT status FROM disputes") == [("won",)]
    assert shop.balance() == 100, "a dispute that is won gives them back"
    assert shop.rows("SELECT * FROM quarantine") == []


def test_a_refund_takes_the_credits_back(shop: LiveShop) -> None:
    intent = shop.offer()
    shop.simulator.pay(intent)
    shop.confirm(intent)
    refund = shop.system.payments.refund(intent, "2.50", reason="requested_by_customer")
    assert (refund.status, refund.credits_reversed) == ("succeeded", 25)
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 75, "the webhook about it takes nothing more"
    with pytest.raises(cp.InvalidRequest):
        shop.system.payments.refund(intent, "7.51", idempotency_key="too much")
    shop.simulator.fail_refund(refund.refund_id)
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 100, "a refund that fails later gives them back"


def test_customers_and_payment_methods_stay_with_their_user(shop: LiveShop) -> None:
    body = {"user_id": "ada", "email": "ada@example.com", "name": "Ada"}
    customer = shop.ask("POST", "/customers", body)[1]["customer_id"]
    again = shop.ask("POST", "/customers", body)[1]["customer_id"]
    assert again == customer
    known = shop.rows("SELECT stripe_customer_id, user_id, email FROM stripe_customers")
    assert known == [(customer, "ada", None)], "personal data stays with Stripe"
    assert shop.ask("GET", f"/customers/{customer}")[1]["customer"]["email"] == "ada@example.com"
    foreign = shop.ask("GET", f"/customers/{customer}", user="bob")
    missing = shop.ask("GET", "/customers/cus_missing", user="bob")
    assert foreign == missing
    assert foreign[0] == 404


def test_one_idempotency_key_is_one_intent(shop: LiveShop) -> None:
    create = shop.system.payments.create_payment_intent
    first = create("ada", "10.00", idempotency_key="order-1")
    assert create("ada", "10.00", idempotency_key="order-1") == first
    with pytest.raises(cp.IdempotencyConflict):
        create("ada", "11.00", idempotency_key="order-1")
    assert create("bob", "11.00", idempotency_key="order-1") != first, "keys are each user's own"


def test_a_lost_reply_leaves_one_intent(shop: LiveShop) -> None:
    shop.simulator.faults.lose_reply(method="POST", path="/v1/payment_intents")
    intent = shop.offer()
    shop.simulator.pay(intent)
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 100
    assert len(shop.rows("SELECT * FROM payments")) == 1


def test_a_refund_whose_reply_is_lost_is_not_refunded_again_by_the_retry(shop: LiveShop) -> None:
    intent = shop.offer()
    shop.simulator.pay(intent)
    shop.confirm(intent)
    for _ in range(3):  # as often as one call tries
        shop.simulator.faults.lose_reply(method="POST", path="/v1/refunds")
    with pytest.raises(cp.StripeUnavailable):
        shop.system.payments.refund(intent, "2.50")
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 75, "the webhook was faster than the retry"
    assert shop.system.payments.refund(intent, "2.50").credits_reversed == 25
    shop.simulator.wait_for_deliveries()
    assert shop.balance() == 75


def test_a_repetition_under_a_key_holds_the_first_price() -> None:
    with StripeSimulator() as simulator:

        def shop_selling_at(price: int, storage: MemoryStorage) -> cp.System:
            settings = cp.Settings(
                database="memory://",
                stripe_secret_key=simulator.secret_key,
                stripe_api_base=simulator.url,
                packages=[cp.CreditPackage("basic", "Basic", 100, price)],
            )
            return over(storage, settings)

        storage = MemoryStorage()
        buy: dict[str, Any] = {"package_id": "basic", "idempotency_key": "order-1"}
        first = shop_selling_at(10, storage).payments.create_payment_intent("ada", **buy)
        again = shop_selling_at(12, storage).payments.create_payment_intent("ada", **buy)
        assert again == first


@pytest.mark.parametrize(
    ("signature", "shift"),
    [("wrong", 0), (None, 0), ("signed", -301), ("signed", 301)],
    ids=["wrong", "missing", "old", "future"],
)
def test_an_unsigned_webhook_gets_400_and_leaves_nothing(
    shop: LiveShop, signature: str | None, shift: int
) -> None:
    shop.simulator.webhooks.hold()
    intent = shop.offer()
    shop.simulator.pay(intent)
    paid = shop.simulator.peek("payment_intents", intent)
    body = shop.simulator.build_event("payment_intent.succeeded", paid)
    headers = {"Content-Type": "application/json"}
    if signature == "signed":
        signed = shop.simulator.sign(body, timestamp=shop.simulator.clock.now() + shift)
        headers["Stripe-Signature"] = signed
    elif signature:
        headers["Stripe-Signature"] = shop.simulator.sign(body, secret="whsec_other")
    status, answer = shop.send("POST", "/webhook", body, headers)
    assert (status, answer["error"]) == (400, "Invalid Stripe signature")
    assert shop.rows("SELECT * FROM events") == []
    assert shop.balance() == 0
    shop.simulator.webhooks.release()


def test_a_thousand_races_of_confirm_against_webhook_are_a_thousand_credits(
    busy_shop: LiveShop,
) -> None:
    shop, races, users = busy_shop, 1000, 20

    def race(number: int) -> None:
        user = f"user-{number % users}"
        intent = shop.system.payments.create_payment_intent(user, "0.50").payment_intent_id
        shop.simulator.pay(intent)  # sets the webhook off, on threads of the simulator's own
        shop.system.payments.confirm_payment(intent)

    with ThreadPoolExecutor(16) as pool:
        for finished in [pool.submit(race, number) for number in range(races)]:
            finished.result(60)
    shop.simulator.wait_for_deliveries(timeout=60)

    assert [shop.balance(f"user-{n}") for n in range(users)] == [races // users] * users
    sold = shop.rows("SELECT count(*), sum(credits_purchased) FROM credit_purchases")
    assert sold == [(races, races)]
    heard = shop.rows(
        "SELECT count(*) FROM events WHERE type = 'payment_intent.succeeded' "
        "AND outcome IN ('applied', 'duplicate')"
    )
    assert heard == [(races,)]
    report = shop.system.verify()
    assert report.ok
    assert report.entries == races
    assert report.trial_balance == {"purchases": -races, "wallet": races}
