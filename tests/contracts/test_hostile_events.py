"""Events that Stripe would never send, on each database: what one keeps or refuses, all do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy

import pytest
from tests.support import hostile
from tests.support.every_event import rows, settled, signed, story

from credit_payments.adapters.databases import Opening, open_storage
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain.records import FailedPayment
from credit_payments.ports.storage import Storage


@pytest.fixture
def storage(database: str) -> Iterator[Storage]:
    opened = open_storage(database, Opening())
    yield opened
    opened.close()


def campaign(storage: Storage, *, seed: int, number: int, mode: str) -> Counter[str]:
    """The same attack on the database and on memory ends with the same rows."""
    offices = settled(storage), settled(MemoryStorage())
    outcomes = [hostile.attack(office, seed=seed, number=number, mode=mode) for office in offices]
    assert outcomes[0] == outcomes[1]
    assert rows(storage) == rows(offices[1].storage)
    for office in offices:
        office.queue.close()
    return Counter(outcomes[0])


@pytest.mark.parametrize("mode", ["inline", "queued"])
def test_every_database_takes_and_refuses_the_same(storage: Storage, mode: str) -> None:
    assert len(campaign(storage, seed=11, number=120, mode=mode)) > 2


@pytest.mark.parametrize("mode", ["inline", "queued"])
def test_a_failed_attempt_of_nobody_who_could_be_a_user_is_kept_nowhere(
    storage: Storage, mode: str
) -> None:
    office = settled(storage)
    event = deepcopy(story().of_type("payment_intent.payment_failed"))
    names = [text for text in hostile.VALUES if isinstance(text, str) and text.isascii()]
    webhooks = office.inline if mode == "inline" else office.queued
    for number, name in enumerate(names):
        event["id"], event["data"]["object"]["id"] = f"evt_{number}", f"pi_{number}"
        event["data"]["object"]["metadata"] = {"user_id": name}
        body = hostile.body_of(event)
        webhooks.receive(body, signed(body))
    hostile.drain(office)
    hostile.check(office)
    told = {name.replace("\0", "\ufffd") for name in names}
    users = {name for name in told if 0 < len(name) < 256 and name == name.strip()}
    kept = {row.user_id for row in storage.scan(FailedPayment, order=("failure_id",))}
    assert kept == {name for name in users if name.isprintable()}
    assert "ada" in kept
    office.queue.close()


@pytest.mark.torture
@pytest.mark.parametrize("mode", ["inline", "queued"])
def test_every_database_ends_alike_after_thousands_of_attacks(storage: Storage, mode: str) -> None:
    assert len(campaign(storage, seed=12, number=6_000, mode=mode)) > 2
