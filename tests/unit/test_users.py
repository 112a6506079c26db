"""The host says which users there are."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

import credit_payments as cp
from credit_payments.testing.simulator import StripeSimulator


@attrs.define
class Directory:
    known: set[str]

    def exists(self, user_id: str) -> bool:
        if user_id == "broken":
            raise ConnectionError("the directory is down")
        return user_id in self.known


@pytest.fixture
def stripe() -> Iterator[StripeSimulator]:
    with StripeSimulator() as simulator:
        yield simulator


@pytest.fixture
def directory() -> Directory:
    return Directory({"ada"})


@pytest.fixture
def system(stripe: StripeSimulator, directory: Directory) -> Iterator[cp.System]:
    with cp.connect(
        database="memory://",
        users=directory,
        stripe_secret_key=stripe.secret_key,
        stripe_webhook_secret=stripe.webhook_secret,
        stripe_api_base=stripe.url,
    ) as system:
        yield system


def test_a_user_that_there_is_may_buy_and_be_granted_something(system: cp.System) -> None:
    assert system.payments.create_payment_intent("ada", 10).credits == 100
    assert system.payments.create_customer("ada", "ada@example.com").id.startswith("cus_")
    assert system.wallets.grant("ada", 5, key="g", reason="welcome").credits == 5


def test_one_that_there_is_not_gets_nothing_and_stripe_hears_of_nothing(
    system: cp.System, stripe: StripeSimulator
) -> None:
    for call in (
        lambda: system.payments.create_payment_intent("eve", 10),
        lambda: system.payments.create_customer("eve", "eve@example.com"),
        lambda: system.wallets.grant("eve", 5, key="g", reason="welcome"),
    ):
        with pytest.raises(cp.NotFound) as caught:
            call()
        assert caught.value.param == "user_id"
    assert not stripe._account.payment_intents.rows
    assert not stripe._account.customers.rows
    assert system.verify().entries == 0


def test_money_of_a_user_who_is_gone_by_now_is_credited_all_the_same(
    system: cp.System, stripe: StripeSimulator, directory: Directory
) -> None:
    intent = system.payments.create_payment_intent("ada", 10)
    stripe.pay(intent.payment_intent_id)
    directory.known.clear()
    assert system.payments.confirm_payment(intent.payment_intent_id).credits_purchased == 100
    assert system.wallets.balance("ada").available == 100


def test_a_repetition_under_a_key_needs_no_directory(
    system: cp.System, directory: Directory
) -> None:
    first = system.payments.create_payment_intent("ada", 10, idempotency_key="order-1")
    directory.known.clear()
    again = system.payments.create_payment_intent("ada", 10, idempotency_key="order-1")
    assert again.payment_intent_id == first.payment_intent_id


def test_a_directory_that_fails_is_heard_and_nothing_is_written(system: cp.System) -> None:
    with pytest.raises(ConnectionError):
        system.wallets.grant("broken", 5, key="g", reason="welcome")
    assert system.verify().entries == 0


def test_credits_that_a_sale_brought_expire_when_its_intent_said(
    stripe: StripeSimulator, clock: object
) -> None:
    settings = {
        "database": "memory://",
        "clock": clock,
        "stripe_secret_key": stripe.secret_key,
        "stripe_api_base": stripe.url,
        "purchase_expires_seconds": 3_600,
    }
    with cp.connect(**settings) as system:  # type: ignore[arg-type]
        intent = system.payments.create_payment_intent("ada", 10)
        stripe.pay(intent.payment_intent_id)
        clock.turn(7_200)  # type: ignore[attr-defined]
        system.payments.confirm_payment(intent.payment_intent_id)
        # They last from when they came, not from when the intent was made.
        clock.turn(3_599)  # type: ignore[attr-defined]
        assert system.wallets.balance("ada").available == 100
        clock.turn(1)  # type: ignore[attr-defined]
        assert system.wallets.balance("ada").available == 0
        with pytest.raises(cp.InsufficientCredits):
            system.wallets.spend("ada", 1, key="s")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("purchase_expires_seconds", 0),
        ("purchase_expires_seconds", 1.5),
        ("refund_policy", "forgive"),
        ("dispute_policy", None),
        ("low_credits", 0),
        ("low_credits", True),
        ("deliver_notifications", "no"),
        ("create_database", 0),
    ],
)
def test_a_setting_of_wallets_that_cannot_be_right_is_named(name: str, value: object) -> None:
    with pytest.raises(cp.ConfigurationError) as caught:
        cp.connect(database="memory://", **{name: value})  # type: ignore[arg-type]
    assert caught.value.param == name
