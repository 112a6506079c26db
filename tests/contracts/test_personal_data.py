"""Customers on each database: what is written there shows nothing of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.dumped import dump_of

import credit_payments as cp
from credit_payments.domain.key_ring import encode
from credit_payments.testing.simulator import StripeSimulator

EMAIL, NAME, PHONE = "canary-5d21@example.com", "Canary Lovelace-5d21", "+49 5d21 5550100"
INDEX = encode(b"i" * 32)
OLD, NEW = f"old:{encode(b'o' * 32)}", f"new:{encode(b'n' * 32)}"


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeSimulator]:
    with StripeSimulator() as simulator:
        yield simulator


def _connect(database: str, stripe: StripeSimulator, keys: str | None) -> cp.System:
    given: dict[str, Any] = {}
    if keys is not None:
        given = {"encryption_keys": keys, "encryption_index_key": INDEX}
    return cp.connect(
        database=database,
        stripe_secret_key=stripe.secret_key,
        stripe_api_base=stripe.url,
        stripe_webhook_secret=stripe.webhook_secret,
        **given,
    )


def test_a_dump_shows_nothing_personal_and_keys_can_be_rotated(
    database: str, stripe: StripeSimulator
) -> None:
    with _connect(database, stripe, OLD) as system:
        made = system.payments.create_customer("ada", EMAIL, NAME, PHONE)
        intent = system.payments.create_payment_intent("ada", 10, customer_id=made.id)
        stripe.pay(intent.payment_intent_id)
        system.payments.confirm_payment(intent.payment_intent_id)
        (kept,) = system.payments.customers_by_email(EMAIL.upper()).items
        assert (kept.email, kept.name, kept.phone, kept.user_id) == (EMAIL, NAME, PHONE, "ada")
    before = dump_of(database)
    with _connect(database, stripe, f"{NEW},{OLD}") as system:
        report = system.rotate_encryption()
        assert (report.renewed, report.complete) == (1, True)
        assert system.rotate_encryption().renewed == 0
    with _connect(database, stripe, NEW) as system:
        (kept,) = system.payments.customers_by_email(EMAIL).items
        assert (kept.email, kept.name, kept.phone) == (EMAIL, NAME, PHONE)
        system.payments.forget_customer(made.id)
        assert system.payments.customers_by_email(EMAIL).items == ()
    after = dump_of(database)
    assert "v1.old." in before
    for dump in (before, after):
        assert made.id in dump
        for canary in (EMAIL, NAME, PHONE, "5d21"):
            assert canary not in dump


def test_without_keys_nothing_personal_is_kept(database: str, stripe: StripeSimulator) -> None:
    with _connect(database, stripe, None) as system:
        made = system.payments.create_customer("ada", EMAIL, NAME, PHONE)
        assert system.payments.get_customer(made.id).email == EMAIL
    dump = dump_of(database)
    assert made.id in dump
    assert "5d21" not in dump
