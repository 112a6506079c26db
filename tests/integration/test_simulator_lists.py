"""The simulator's lists as the official SDK walks them, and warnings of fraud."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe

from credit_payments.testing.simulator import StripeSimulator

START = 1_700_000_000
LISTS = ("events", "payment_intents", "charges", "refunds", "disputes")


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator(start_time=START) as running:
        yield running


@pytest.fixture
def client(simulator: StripeSimulator) -> Any:
    return stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url}).v1


@pytest.fixture
def paid(simulator: StripeSimulator, client: Any) -> list[str]:
    """Seven disputed payments with a refund each, two a second."""
    ids = []
    for number in range(7):
        intent = client.payment_intents.create({"amount": 500, "currency": "usd"})
        simulator.pay(intent.id)
        client.refunds.create({"payment_intent": intent.id, "amount": 5})
        simulator.open_dispute(intent.id)
        simulator.clock.advance(number % 2)
        ids.append(str(intent.id))
    return ids


def ids_of(rows: Any) -> list[str]:
    return [row.id for row in rows]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.usefixtures("paid")
def test_pages_hold_everything_once_newest_first_in_both_directions(client: Any, name: str) -> None:
    service = getattr(client, name)
    whole = service.list({"limit": 100})
    assert whole.has_more is False
    everything = ids_of(whole.data)
    assert len(everything) == len(set(everything)) >= 7
    created = [row.created for row in whole.data]
    assert created == sorted(created, reverse=True)
    for limit in (1, 3, 7):
        assert ids_of(service.list({"limit": limit}).auto_paging_iter()) == everything
        back = service.list({"limit": limit, "ending_before": everything[-1]})
        assert ids_of(back.auto_paging_iter()) == everything[-2::-1]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.usefixtures("paid")
def test_has_more_tells_whether_the_direction_goes_on(client: Any, name: str) -> None:
    service = getattr(client, name)
    rows = ids_of(service.list({"limit": 100}).data)
    last = service.list({"limit": 2, "starting_after": rows[-3]})
    assert (ids_of(last.data), last.has_more) == (rows[-2:], False)
    assert service.list({"limit": 1, "starting_after": rows[-3]}).has_more is True
    # The page next to the cursor, not the newest one.
    near = service.list({"limit": 2, "ending_before": rows[4]})
    assert (ids_of(near.data), near.has_more) == (rows[2:4], True)
    first = service.list({"limit": 4, "ending_before": rows[4]})
    assert (ids_of(first.data), first.has_more) == (rows[:4], False)
    nothing = service.list({"starting_after": rows[-1]})
    assert (nothing.data, nothing.has_more) == ([], False)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.usefixtures("paid")
def test_created_takes_four_bounds_or_one_moment(client: Any, name: str) -> None:
    service = getattr(client, name)
    rows = service.list({"limit": 100}).data
    tests: dict[str, Callable[[int, int], bool]] = {
        "gt": int.__gt__,
        "gte": int.__ge__,
        "lt": int.__lt__,
        "lte": int.__le__,
    }
    for bound, holds in tests.items():
        for moment in range(START - 1, START + 5):
            found = service.list({"limit": 100, "created": {bound: moment}}).data
            assert ids_of(found) == [row.id for row in rows if holds(row.created, moment)]
    at_once = service.list({"limit": 100, "created": START + 1}).data
    assert ids_of(at_once) == [row.id for row in rows if row.created == START + 1]
    between = {"limit": 2, "created": {"gte": START + 1, "lt": START + 3}}
    expected = [row.id for row in rows if START + 1 <= row.created < START + 3]
    assert ids_of(service.list(between).auto_paging_iter()) == expected


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.usefixtures("paid")
def test_what_stripe_refuses_in_a_list_is_refused(client: Any, name: str) -> None:
    service = getattr(client, name)
    rows = ids_of(service.list().data)
    assert len(rows) <= 10
    refused: list[tuple[dict[str, Any], str]] = [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"created": {"gte": "yesterday"}}, "created[gte]"),
        ({"created": {"since": 1}}, "created[since]"),
        ({"starting_after": "none_1"}, "starting_after"),
        ({"ending_before": "none_1"}, "ending_before"),
        ({"offset": 1}, "offset"),
    ]
    for params, param in refused:
        with pytest.raises(stripe.InvalidRequestError) as caught:
            service.list(params)
        assert (caught.value.http_status, caught.value.param) == (400, param)
    with pytest.raises(stripe.InvalidRequestError, match="only use one"):
        service.list({"starting_after": rows[0], "ending_before": rows[1]})


def test_lists_of_a_payment_hold_what_is_of_it(client: Any, paid: list[str]) -> None:
    for name in ("charges", "refunds", "disputes"):
        service = getattr(client, name)
        [row] = service.list({"payment_intent": paid[3]}).data
        assert row.payment_intent == paid[3]
        assert service.list({"payment_intent": "pi_none"}).data == []
        everything = ids_of(service.list().data)
        # A cursor only says where to go on; it need not fulfil the filter itself.
        newer = {"payment_intent": paid[3], "starting_after": everything[0]}
        assert ids_of(service.list(newer).data) == [row.id]
        assert service.list({"payment_intent": paid[3], "starting_after": row.id}).data == []
    charge = client.charges.list({"payment_intent": paid[3]}).data[0]
    for name in ("refunds", "disputes"):
        [row] = getattr(client, name).list({"charge": charge.id}).data
        assert row.charge == charge.id


@pytest.mark.usefixtures("paid")
def test_events_are_chosen_by_their_types(client: Any) -> None:
    rows = client.events.list({"limit": 100}).data

    def listed(**params: Any) -> list[str]:
        return ids_of(client.events.list({"limit": 3, **params}).auto_paging_iter())

    refunded = [row.id for row in rows if row.type == "charge.refunded"]
    assert listed(type="charge.refunded") == refunded
    assert len(refunded) == 7
    disputes = [row.id for row in rows if row.type.startswith("charge.dispute.")]
    assert listed(type="charge.dispute.*") == disputes
    both = [row.id for row in rows if row.id in refunded or row.type == "refund.created"]
    assert listed(types=["charge.refunded", "refund.created"]) == both
    late = [row.id for row in rows if row.id in both and row.created > START]
    assert listed(types=["charge.refunded", "refund.created"], created={"gt": START}) == late
    for wrong in ({"type": "a", "types": ["b"]}, {"types": [f"t{n}" for n in range(21)]}):
        with pytest.raises(stripe.InvalidRequestError):
            client.events.list(wrong)


def test_an_event_that_has_lapsed_is_no_cursor(
    simulator: StripeSimulator, client: Any, paid: list[str]
) -> None:
    lapsed = client.events.list({"limit": 1}).data[0].id
    simulator.clock.advance(31 * 24 * 3600)
    assert client.events.list().data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such event") as caught:
        client.events.list({"starting_after": lapsed})
    assert caught.value.param == "starting_after"
    assert len(client.payment_intents.list().data) == len(paid)


def test_a_list_can_be_walked_while_it_grows(simulator: StripeSimulator, client: Any) -> None:
    for number in range(4):
        client.customers.create({"name": str(number)})
    first = client.customers.list({"limit": 2})
    client.customers.create({"name": "new"})
    names = [row.name for row in first.auto_paging_iter()]
    assert names == ["3", "2", "1", "0"]
    # A customer that was deleted meanwhile is a place all the same.
    client.customers.delete(first.data[1].id)
    rest = client.customers.list({"starting_after": first.data[1].id}).data
    assert [row.name for row in rest] == ["1", "0"]


def test_an_early_fraud_warning_is_told_listed_and_settled(
    simulator: StripeSimulator, client: Any, paid: list[str]
) -> None:
    fresh = client.payment_intents.create({"amount": 500, "currency": "usd"}).id
    with pytest.raises(ValueError, match="no successful charge"):
        simulator.warn_of_fraud(fresh)
    simulator.pay(fresh)
    with pytest.raises(ValueError, match="none of"):
        simulator.warn_of_fraud(fresh, "suspicious")
    warning = simulator.warn_of_fraud(fresh, fraud_type="made_with_stolen_card")
    assert warning["id"].startswith("issfr_")
    assert (warning["actionable"], warning["payment_intent"]) == (True, fresh)
    event = client.events.list({"type": "radar.early_fraud_warning.created"}).data[0]
    assert json.loads(str(event.data.object)) == warning
    service = client.radar.early_fraud_warnings
    seen = service.retrieve(warning["id"], {"expand": ["charge"]})
    assert (seen.fraud_type, seen.charge.payment_intent) == ("made_with_stolen_card", fresh)
    # There is nothing to do about a payment that is disputed already.
    assert simulator.warn_of_fraud(paid[0])["actionable"] is False
    assert len(service.list().data) == 2
    assert ids_of(service.list({"payment_intent": fresh}).data) == [warning["id"]]
    assert ids_of(service.list({"charge": warning["charge"]}).data) == [warning["id"]]
    client.refunds.create({"payment_intent": fresh})
    assert service.retrieve(warning["id"]).actionable is False
    [updated] = client.events.list({"type": "radar.early_fraud_warning.updated"}).data
    assert updated.data.previous_attributes.to_dict() == {"actionable": True}
    with pytest.raises(stripe.InvalidRequestError, match="No such early fraud warning"):
        service.retrieve("issfr_none")


def test_a_dispute_settles_the_warning_before_it(simulator: StripeSimulator, client: Any) -> None:
    intent_id = client.payment_intents.create({"amount": 500, "currency": "usd"}).id
    simulator.pay(intent_id)
    warning = simulator.warn_of_fraud(intent_id)
    simulator.open_dispute(intent_id)
    assert client.radar.early_fraud_warnings.retrieve(warning["id"]).actionable is False


def test_customers_are_told_as_they_come_change_and_go(client: Any) -> None:
    customer = client.customers.create({"name": "Ada", "metadata": {"a": "1"}})
    client.customers.update(customer.id, {"name": "Eve", "metadata": {"a": "2"}})
    client.customers.delete(customer.id)
    deleted, updated, created = client.events.list().data
    types = [event.type for event in (created, updated, deleted)]
    assert types == ["customer.created", "customer.updated", "customer.deleted"]
    assert json.loads(str(created.data.object)) == json.loads(str(customer))
    assert updated.data.object.name == "Eve"
    previous = updated.data.previous_attributes.to_dict()
    assert previous == {"name": "Ada", "metadata": {"a": "1"}}
    assert (deleted.data.object.id, deleted.data.object.name) == (customer.id, "Eve")


def test_the_new_tricks_have_control_paths(simulator: StripeSimulator, client: Any) -> None:
    def post(path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{simulator.url}/_simulator/{path}", json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    intent_id = client.payment_intents.create({"amount": 500, "currency": "usd"}).id
    simulator.pay(intent_id)
    warned = post(f"payment_intents/{intent_id}/warn_of_fraud", {"fraud_type": "misc"})
    assert warned["object"] == "radar.early_fraud_warning"
    assert post("webhooks/misbehave", {"seed": 1, "drop": 0.5}) == {"ok": True}
    assert post("webhooks/behave", {}) == {"ok": True}
    assert post("webhooks/withhold", {"types": ["charge.*"], "lose": True}) == {"ok": True}
    assert post("webhooks/release", {}) == {"ok": True}
    for path, body in (
        ("webhooks/misbehave", {"drop": 2}),
        ("webhooks/withhold", {"types": []}),
        (f"payment_intents/{intent_id}/warn_of_fraud", {"fraud_type": "x"}),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(path, body)
        assert caught.value.code == 400
        caught.value.close()
