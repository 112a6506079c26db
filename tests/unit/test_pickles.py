"""Nothing that holds a secret is pickled or copied into a job queue, a cache or another process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

import credit_payments as cp
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.stripe_clients import StripeClients
from credit_payments.config.held import Held, _Retired
from credit_payments.config.loading import Found, Loaded
from credit_payments.domain.signature import SigningSecret
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.http import Request, Response

SECRET = "a7f3c9"
KEY, WEBHOOK = f"sk_test_{SECRET}", f"whsec_{SECRET}"
SETTINGS = cp.Settings(database="memory://", stripe_secret_key=KEY, stripe_webhook_secret=WEBHOOK)
INTENT = cp.PaymentIntent(
    client_secret=f"pi_1_secret_{SECRET}",
    payment_intent_id="pi_1",
    amount=Decimal("10.00"),
    currency="usd",
    credits=100,
)

HOLDERS: dict[str, Any] = {
    "settings": SETTINGS,
    "fixed secrets": SETTINGS.fixed_secrets(),
    "what holds now": Held.of(SETTINGS, {}),
    "a retired secret": _Retired(WEBHOOK, SigningSecret(WEBHOOK), datetime.now(UTC)),
    "what was found": Found({"stripe_secret_key": KEY}, {}),
    "what was loaded": Loaded(SETTINGS, {}, {}),
    "a signing secret": SigningSecret(WEBHOOK),
    "clients of the SDK": StripeClients(api_version=None, api_base=None, timeout_seconds=1),
    "an intent": INTENT,
    "an intent's facts": PaymentIntentFacts(
        "pi_1", "succeeded", 5, "usd", 0, client_secret=f"pi_1_secret_{SECRET}"
    ),
    "a request": Request(method="GET", headers={"authorization": SECRET}),
    "a response": Response(status=200, body=SECRET.encode(), headers={}),
}
PARTS = ("payments", "webhooks", "wallets", "events", "notifications", "queue")


@pytest.fixture
def system() -> Iterator[cp.System]:
    with cp.connect(
        database="memory://", stripe_secret_key=KEY, stripe_webhook_secret=WEBHOOK
    ) as system:
        yield system


@pytest.mark.parametrize("name", HOLDERS)
def test_what_holds_a_secret_is_not_pickled_and_says_why(name: str) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(HOLDERS[name], protocol)
    assert SECRET not in f"{HOLDERS[name]!r} {HOLDERS[name]}"


def test_neither_is_a_system_nor_a_part_of_it(system: cp.System) -> None:
    with pytest.raises(TypeError, match="not pickled: connect anew"):
        pickle.dumps(system)
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(system)
    for part in [getattr(system, name) for name in PARTS] + [system.worker()]:
        with pytest.raises(TypeError):
            pickle.dumps(part)
        assert SECRET not in repr(part)


def test_an_intent_is_copied_as_itself() -> None:
    assert copy.copy(INTENT) is INTENT
    assert copy.deepcopy({"intent": INTENT})["intent"] is INTENT


def test_errors_are_pickled_without_what_caused_them() -> None:
    """A process pool and a job queue hand errors on."""
    try:
        try:
            raise ValueError(SECRET)  # noqa: TRY301 - a driver's
        except ValueError as error:
            raise cp.StorageUnavailable("locked", param="database") from error
    except cp.StorageUnavailable as error:
        pickled = pickle.dumps(error)
    assert SECRET.encode() not in pickled
    again = pickle.loads(pickled)
    assert (again.message, again.param, again.__cause__) == ("locked", "database", None)


def test_personal_data_shows_in_no_repr_and_may_be_pickled_by_who_wants_it() -> None:
    """A host may cache a customer; the library itself pickles none."""
    customer = cp.Customer(id="cus_1", email=SECRET, name=SECRET, phone=SECRET, created=1)
    assert SECRET not in repr(customer)
    assert pickle.loads(pickle.dumps(customer)) == customer


@pytest.mark.parametrize("event_id", ["", "a\0", "\ud800", 5, None, {"$ne": ""}, ["a"], "a" * 501])
def test_a_worker_applies_nothing_that_is_no_id(system: cp.System, event_id: Any) -> None:
    with pytest.raises(cp.InvalidRequest):
        system.worker().apply(event_id)


def test_a_storage_in_memory_is_not_pickled_either() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(MemoryStorage())
