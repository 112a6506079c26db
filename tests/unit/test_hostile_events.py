"""Signed events that are not what Stripe would send: taken for what they say, filed, or refused.

Whatever they hold, the answer is one of ours, nothing waits for ever, the ledger is sound, and
nobody gets what was not promised. What is stored first ends as what is applied at once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import hostile
from tests.support.every_event import promised, rows, settled, signed, story
from tests.support.hostile import Twins
from tests.support.office import Office
from tests.support.payment_story import Json

from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain import events
from credit_payments.domain.records import Payment
from credit_payments.errors import InvalidPayload
from credit_payments.ports.storage import Storage

pytestmark = pytest.mark.long

ONE_OF_EACH = (
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "refund.updated",
    "charge.refunded",
    "charge.dispute.funds_withdrawn",
    "radar.early_fraud_warning.created",
    "customer.updated",
)
"""A type for each kind of object, of which the attempts that failed have a shape of their own."""
SHOPS = {make.__name__: make for make in (promised, settled)}


@st.composite
def hostile_events(draw: st.DrawFn) -> bytes:
    """An event of any type and generation, with up to three things changed in it."""
    event = deepcopy(draw(st.sampled_from(story().events)))
    for _ in range(draw(st.integers(1, 3))):
        found = draw(st.sampled_from([hostile.deciding(event), [*hostile.paths(event)]]))
        path = draw(st.sampled_from(found))
        values = draw(st.sampled_from([hostile.values_at(event, path), hostile.VALUES]))
        edit = draw(st.sampled_from(hostile.EDITS))
        edit(event, path, deepcopy(draw(st.sampled_from(values))))
    return hostile.body_of(event)


@pytest.fixture(scope="module", params=SHOPS)
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    opened = Twins(SHOPS[request.param])
    yield opened
    opened.close()


@given(st.lists(hostile_events(), min_size=1, max_size=3))
def test_a_changed_event_has_one_of_our_outcomes_or_is_refused(
    twins: Twins, bodies: list[bytes]
) -> None:
    twins.tell(bodies)


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_each_field_that_decides_may_be_missing_or_anything(twins: Twins, kind: str) -> None:
    check_each_field(twins, kind, hostile.VALUES[::4])


@pytest.mark.torture
@pytest.mark.parametrize("kind", sorted(events.READ))
def test_each_field_of_each_event_may_be_everything(twins: Twins, kind: str) -> None:
    check_each_field(twins, kind, hostile.VALUES)


def check_each_field(twins: Twins, kind: str, values: Sequence[Any]) -> None:
    """One change at a time, all of them, wherever one decides something."""
    event = story().of_type(kind)
    bodies = []
    for path in hostile.deciding(event):
        bodies += [one_edit(event, hostile.take_out, path), one_edit(event, hostile.expand, path)]
    for name in sorted(event["data"]["object"].keys() & set(hostile.NAMES)):
        path = ("data", "object", name)
        bodies += [one_edit(event, hostile.put, path, deepcopy(value)) for value in values]
    outcomes = Counter(twins.tell([body])[0] for body in bodies)
    assert outcomes["invalid"] > 50
    assert outcomes.total() > outcomes["invalid"] + 50


def one_edit(event: Json, edit: Callable[..., None], *given: Any) -> bytes:
    changed = deepcopy(event)
    edit(changed, *given)
    return hostile.body_of(changed)


@pytest.mark.parametrize("make", SHOPS.values(), ids=SHOPS)
@pytest.mark.parametrize("mode", ["inline", "queued"])
def test_every_storage_ends_alike(storage: Storage, make: Any, mode: str) -> None:
    reference = make(MemoryStorage())
    office = make(storage)
    asked: Json = {"seed": 7, "number": 150, "mode": mode}
    assert hostile.attack(office, **asked) == hostile.attack(reference, **asked)
    assert rows(storage) == rows(reference.storage)
    for each in (office, reference):
        each.queue.close()


# -- what an attack has found, and what it might have ------------------------------------------


@pytest.fixture
def office() -> Iterator[Office]:
    opened = promised(MemoryStorage())
    yield opened
    opened.queue.close()


@pytest.mark.parametrize("mode", ["inline", "queued"])
@pytest.mark.parametrize(
    "changes",
    [
        {"amount_received": 2**53 - 1},
        {"amount_received": 999},
        {"amount_received": 1_001},
        {"amount_received": 0},
        {"currency": "eur"},
        {"currency": "\u212aRW"},
        {"metadata": {"user_id": "eve", "quote_id": "quote_pi_1"}},
        {"metadata": {}},
    ],
    ids=str,
)
def test_money_that_was_not_promised_credits_nobody(
    office: Office, mode: str, changes: Json
) -> None:
    event = deepcopy(story().of_type("payment_intent.succeeded"))
    paid = event["data"]["object"]
    paid |= changes
    if changes == {"metadata": {}}:
        paid["id"] = "pi_unknown"
    body = json.dumps(event).encode()
    webhooks = office.inline if mode == "inline" else office.queued
    webhooks.receive(body, signed(body))
    hostile.drain(office)
    assert office.event(event["id"]).outcome == "quarantined"
    assert office.balance() == office.balance("eve") == 0
    hostile.check(office)


@pytest.mark.parametrize("name", ["pi_1\n", "pi_1 ", "pi_", "PI_1", "pi_é", "pi_" + "x" * 241])
def test_an_id_that_no_intent_has_is_refused(office: Office, name: str) -> None:
    event = deepcopy(story().of_type("payment_intent.succeeded"))
    event["data"]["object"]["id"] = name
    body = json.dumps(event).encode()
    with pytest.raises(InvalidPayload):
        office.inline.receive(body, signed(body))
    assert list(office.events()) == []


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("claimed", [0, 5, 10**15])
def test_a_report_without_success_changes_nothing_about_what_was_paid(
    office: Office, claimed: int, is_first: bool
) -> None:
    success, other = (deepcopy(story().of_type("payment_intent.succeeded")) for _ in range(2))
    intent = other["data"]["object"]
    intent |= {"status": "processing", "amount_received": claimed}
    other |= {"id": "evt_other", "type": "payment_intent.processing"}
    for event in (other, success) if is_first else (success, other):
        body = json.dumps(event).encode()
        office.inline.receive(body, signed(body))
    paid = office.storage.get(Payment, intent["id"])
    assert paid is not None
    assert (paid.status, paid.received_minor, paid.credited) == ("succeeded", 1_000, 100)
    hostile.check(office)
    refund = deepcopy(story().of_type("refund.created"))
    refund["data"]["object"] |= {"payment_intent": intent["id"], "amount": 500}
    body = json.dumps(refund).encode()
    office.inline.receive(body, signed(body))
    assert office.balance() == 50, "in proportion to what was paid"


@pytest.mark.parametrize("amount", [-1, 2**53, 2**63 - 1, 2**63, 2**64, 10**400, 1e30, 0.5, "1000"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("payment_intent.succeeded", "amount"),
        ("payment_intent.succeeded", "amount_received"),
        ("refund.created", "amount"),
        ("charge.refunded", "amount_refunded"),
        ("charge.dispute.created", "amount"),
    ],
)
def test_an_amount_that_no_payment_has_is_refused(
    office: Office, kind: str, name: str, amount: Any
) -> None:
    event = deepcopy(story().of_type(kind))
    event["data"]["object"][name] = amount
    body = json.dumps(event).encode()
    with pytest.raises(InvalidPayload):
        office.inline.receive(body, signed(body))
    assert list(office.events()) == []
