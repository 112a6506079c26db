"""What only Stripe knows, and trouble there or with the database: none of it tells what is whose.

The table of who may call what is test_identity_table.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from tests.support.slots import SLOTS, TwoUsers
from tests.support.two_users import ADA, BOB, NOBODY, OLGA, Shop

import credit_payments as cp
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.bootstrap import over
from credit_payments.errors import NotFound, StorageUnavailable
from credit_payments.testing.simulator import StripeSimulator

BY_OWNER = ["status", "customer", "methods", "method", "confirmation", "payer"]
TROUBLES: dict[str, Callable[[Shop], None]] = {
    "down": lambda shop: shop.simulator.faults.next(500, times=9),
    "closed": lambda shop: shop.simulator.faults.next(503, times=9),
    "busy": lambda shop: shop.simulator.faults.next(429, times=9),
    "locked": lambda shop: shop.simulator.faults.lock_conflict(times=9),
    "refusing the key": lambda shop: shop.simulator.faults.next(401, times=9),
    "forbidding it": lambda shop: shop.simulator.faults.next(403, times=9),
    "saying it is gone": lambda shop: shop.simulator.faults.next(404, times=9),
    "hanging up": lambda shop: shop.simulator.faults.lose_reply(times=9),
    "slow": lambda shop: shop.simulator.faults.slow(0.02, times=9),
}


@pytest.mark.parametrize("name", BY_OWNER)
@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_trouble_at_stripe_does_not_tell_what_is_there(
    two: TwoUsers, name: str, trouble: Callable[[Shop], None]
) -> None:
    slot, seen = SLOTS[name], []
    before = two.shop.rows()
    for whose in (two.bob, NOBODY):
        trouble(two.shop)
        try:
            value = getattr(whose, slot.attribute)
            answer, asked = slot.send(two.shop, value, ADA.user_id)
        finally:
            two.shop.simulator.faults.clear()
        assert answer.status in (404, 503)
        assert answer.status == 404 or name == "method"
        seen.append((answer, [line.replace(value, "…") for line in asked]))
    assert seen[0] == seen[1]
    assert two.shop.rows() == before


def test_what_only_stripe_knows_belongs_to_nobody_here(two: TwoUsers) -> None:
    """Objects made past the library, whose metadata says what it likes."""
    stripe = two.shop.at_stripe()
    forged = {"user_id": ADA.user_id, "source": "credit_system"}
    customer = stripe.customers.create({"email": "x@example.com", "metadata": forged})
    attached = stripe.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    number = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "123"}
    loose = stripe.payment_methods.create({"type": "card", "card": number})
    before = two.shop.rows()
    for name, made in (
        ("customer", customer.id),
        ("methods", customer.id),
        ("method", attached.id),
        ("method", loose.id),
        ("payer", customer.id),
    ):
        slot = SLOTS[name]
        found, _ = slot.send(two.shop, made, ADA.user_id)
        missing, _ = slot.send(two.shop, getattr(NOBODY, slot.attribute), ADA.user_id)
        assert found == missing
        assert found.status == 404
        if name != "payer":
            assert slot.send(two.shop, made, OLGA)[0].status == 200
    assert two.shop.rows() == before


@pytest.mark.parametrize("names_a_quote", [False, True])
def test_an_intent_whose_metadata_names_a_user_is_not_theirs(
    two: TwoUsers, names_a_quote: bool
) -> None:
    shop, stripe = two.shop, two.shop.at_stripe()
    metadata = {"user_id": ADA.user_id}
    if names_a_quote:  # of Bob's
        intent = shop.simulator.peek("payment_intents", two.bob.open_intent_id)
        metadata["quote_id"] = intent["metadata"]["quote_id"]
    forged = stripe.payment_intents.create(
        {"amount": 1000, "currency": "usd", "metadata": metadata}
    )
    paid = shop.simulator.pay(forged.id)
    event = shop.simulator.build_event("payment_intent.succeeded", paid)
    before = shop.system.wallets.balance(ADA.user_id), shop.system.wallets.balance(BOB.user_id)

    def check_it_is_nobodys() -> None:
        for slot in (SLOTS["status"], SLOTS["confirmation"]):
            for caller in (ADA.user_id, BOB.user_id):
                found, asked = slot.send(shop, forged.id, caller)
                missing, _ = slot.send(shop, NOBODY.paid_intent_id, caller)
                assert (found.status, asked) == (404, [])
                assert found == missing

    check_it_is_nobodys()
    signed = {"Stripe-Signature": shop.simulator.sign(event)}
    assert shop.send("POST /webhook", event, None, signed).json["outcome"] == "quarantined"
    check_it_is_nobodys()
    after = shop.system.wallets.balance(ADA.user_id), shop.system.wallets.balance(BOB.user_id)
    assert after == before


def test_a_deleted_customer_is_gone_for_its_owner_as_well(two: TwoUsers) -> None:
    body = {"user_id": ADA.user_id, "email": "ada.old@example.com"}
    made = two.shop.send("POST /customers", body, ADA.user_id).json["customer_id"]
    two.shop.at_stripe().customers.delete(made)
    gone, _ = SLOTS["customer"].send(two.shop, made, ADA.user_id)
    missing, _ = SLOTS["customer"].send(two.shop, NOBODY.customer_id, ADA.user_id)
    assert gone == missing
    for caller, status in ((ADA.user_id, 200), (BOB.user_id, 404)):
        answer, _ = SLOTS["methods"].send(two.shop, made, caller)
        assert (answer.status, answer.json.get("payment_methods", [])) == (status, [])
    refused, _ = SLOTS["payer"].send(two.shop, made, ADA.user_id)
    assert 400 <= refused.status < 500
    assert SLOTS["payer"].send(two.shop, made, BOB.user_id)[0].status == 403


class Failing(MemoryStorage):
    """A database that fails when it is told to."""

    fails = False

    def get(self, kind: Any, key: Any) -> Any:
        if self.fails:
            raise StorageUnavailable
        return super().get(kind, key)


@attrs.frozen
class Failed:
    """Bob's things, behind a database that does not answer any more."""

    payments: cp.PaymentsClient
    storage: Failing
    customer_id: str
    payment_method_id: str
    intent_id: str


@pytest.fixture
def failed() -> Iterator[Failed]:
    storage = Failing()
    with StripeSimulator() as simulator:
        settings = cp.Settings(
            database="memory://",
            stripe_secret_key=simulator.secret_key,
            stripe_api_base=simulator.url,
        )
        with over(storage, settings) as system:
            payments = system.payments
            customer = payments.create_customer(BOB.user_id, BOB.email).id
            bought = payments.create_payment_intent(BOB.user_id, 10).payment_intent_id
            path = "/v1/payment_methods/pm_card_visa/attach"
            attached = simulator.call("POST", path, {"customer": customer})
            yield Failed(payments, storage, customer, attached["id"], bought)


READS: dict[str, Callable[[Failed, bool], object]] = {
    "customer": lambda failed, there: failed.payments.get_customer(
        failed.customer_id if there else NOBODY.customer_id, owner=ADA.user_id
    ),
    "methods": lambda failed, there: failed.payments.list_payment_methods(
        failed.customer_id if there else NOBODY.customer_id, owner=ADA.user_id
    ),
    "method": lambda failed, there: failed.payments.get_payment_method(
        failed.payment_method_id if there else NOBODY.payment_method_id, owner=ADA.user_id
    ),
    "status": lambda failed, there: failed.payments.payment_status(
        failed.intent_id if there else NOBODY.paid_intent_id, owner=ADA.user_id
    ),
    "confirmation": lambda failed, there: failed.payments.confirm_payment(
        failed.intent_id if there else NOBODY.paid_intent_id, owner=ADA.user_id
    ),
    "payer": lambda failed, there: failed.payments.create_payment_intent(
        ADA.user_id, 10, customer_id=failed.customer_id if there else NOBODY.customer_id
    ),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_database_that_does_not_answer_does_not_tell_what_is_there(
    failed: Failed, read: Callable[[Failed, bool], object]
) -> None:
    for fails, expected in ((False, NotFound), (True, StorageUnavailable)):
        failed.storage.fails = fails
        seen = []
        for there in (True, False):
            with pytest.raises(expected) as caught:
                read(failed, there)
            error = caught.value
            # A chain of causes reaches the host's log, and none reaches a caller.
            seen.append((type(error), error.message, error.param, error.error_code))
        assert seen[0] == seen[1]
