"""Campaigns without HTTP: the API called in-process, and the deliveries of a seeded network."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from credit_payments.testing.simulator import Arrival, Problem, StripeSimulator

SECRET = "whsec_test"
START = 1_700_000_000
HOUR_SECONDS = 3600


@pytest.fixture
def simulator() -> StripeSimulator:
    """A simulator that nobody started: nothing listens and nothing is sent."""
    return StripeSimulator(start_time=START, webhook_secret=SECRET)


def sell(simulator: StripeSimulator, count: int = 1) -> list[str]:
    paid = []
    for _ in range(count):
        intent = simulator.call("POST", "/v1/payment_intents", {"amount": 500, "currency": "usd"})
        simulator.pay(intent["id"])
        simulator.clock.advance(1)
        paid.append(str(intent["id"]))
    return paid


def bodies(arrivals: Iterator[Arrival]) -> list[dict[str, Any]]:
    return [json.loads(arrival.body) for arrival in arrivals]


def test_a_call_in_process_answers_what_http_answers(simulator: StripeSimulator) -> None:
    params = {"amount": 500, "currency": "usd", "metadata": {"user": "u1"}, "confirm": True,
              "payment_method": "pm_card_visa", "return_url": "https://example.com/",
              "expand": ["latest_charge", "customer"]}  # fmt: skip
    answered = simulator.call("POST", "/v1/payment_intents", params)
    simulator.reset()
    with simulator:
        client = stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})
        over_http = client.v1.payment_intents.create(params)  # type: ignore[arg-type]
    assert answered == json.loads(str(over_http))
    assert answered["latest_charge"]["object"] == "charge"


def test_a_call_in_process_is_checked_as_over_http(simulator: StripeSimulator) -> None:
    with pytest.raises(Problem) as caught:
        simulator.call("POST", "/v1/payment_intents", {"amount": True, "currency": "usd"})
    assert caught.value.status == 400
    assert caught.value.envelope()["error"]["code"] == "parameter_invalid_integer"
    with pytest.raises(Problem) as caught:
        simulator.call("GET", "/v1/refunds/re_none")
    assert (caught.value.status, caught.value.code) == (404, "resource_missing")
    [intent_id] = sell(simulator)
    with pytest.raises(Problem, match="greater than") as caught:
        simulator.call("POST", "/v1/refunds", {"payment_intent": intent_id, "amount": 501})
    assert caught.value.param == "amount"
    intent = simulator.call("POST", "/v1/payment_intents", {"amount": 500, "currency": "usd"})
    declined = {"payment_method": "pm_card_chargeDeclined", "return_url": "https://example.com/"}
    with pytest.raises(Problem) as caught:
        simulator.call("POST", f"/v1/payment_intents/{intent['id']}/confirm", declined)
    assert caught.value.status == 402
    error = caught.value.envelope()["error"]
    assert (error["type"], error["decline_code"]) == ("card_error", "generic_decline")
    assert error["payment_intent"]["id"] == intent["id"]


def test_keys_versions_and_faults_work_in_process_too(simulator: StripeSimulator) -> None:
    params = {"amount": 500, "currency": "usd"}
    first = simulator.call("POST", "/v1/payment_intents", params, idempotency_key="k")
    assert simulator.call("POST", "/v1/payment_intents", params, idempotency_key="k") == first
    old = simulator.call("POST", "/v1/payment_intents", params, stripe_version="2023-10-16")
    assert (first["capture_method"], old["capture_method"]) == ("automatic_async", "automatic")
    simulator.faults.lose_reply()
    with pytest.raises(ConnectionError):
        simulator.call("POST", "/v1/customers", {"name": None})
    assert len(simulator.call("GET", "/v1/customers")["data"]) == 1
    simulator.faults.next(503)
    with pytest.raises(Problem) as caught:
        simulator.call("DELETE", "/v1/customers/cus_1")
    assert caught.value.status == 503


def test_without_a_misbehaving_network_the_plan_is_what_happened(
    simulator: StripeSimulator,
) -> None:
    sell(simulator, 2)
    recorded = simulator.call("GET", "/v1/events", {"limit": 100})["data"][::-1]
    arrivals = list(simulator.webhooks.plan())
    assert [arrival.event_id for arrival in arrivals] == [event["id"] for event in recorded]
    assert [arrival.at_seconds for arrival in arrivals] == [START] * 4 + [START + 1] * 4
    assert bodies(iter(arrivals)) == recorded


def test_every_delivery_of_a_plan_is_signed_at_its_instant(simulator: StripeSimulator) -> None:
    sell(simulator, 5)
    simulator.webhooks.misbehave(seed=1, delay_seconds=6 * HOUR_SECONDS)
    arrivals = list(simulator.webhooks.plan())
    assert len({arrival.at_seconds for arrival in arrivals}) > 10
    for body, signature, event_id, at_seconds in arrivals:
        assert signature == simulator.sign(body, timestamp=at_seconds)
        assert signature.startswith(f"t={at_seconds},")
        event = json.loads(body)
        assert event["id"] == event_id
        assert event["created"] <= at_seconds <= event["created"] + 6 * HOUR_SECONDS
        # No tolerance: the test's own clock is far from the simulated one.
        stripe.WebhookSignature.verify_header(body.decode(), signature, SECRET, tolerance=None)


def test_a_plan_loses_repeats_and_shuffles_by_the_seed(simulator: StripeSimulator) -> None:
    sell(simulator, 50)

    def plan(seed: int) -> list[Arrival]:
        simulator.webhooks.misbehave(
            seed=seed, drop=0.05, duplicate=0.2, delay_seconds=2 * HOUR_SECONDS
        )
        return list(simulator.webhooks.plan())

    first = plan(seed=1)
    assert first == plan(seed=1) != plan(seed=2)
    copies = Counter(arrival.event_id for arrival in first)
    assert 180 < len(copies) < 200  # of 200 events about ten are lost
    assert 20 < sum(count > 1 for count in copies.values()) < 60
    instants = [arrival.at_seconds for arrival in first]
    assert instants == sorted(instants)
    created = [json.loads(arrival.body)["created"] for arrival in first]
    assert created != sorted(created)
    simulator.webhooks.behave()
    assert len(list(simulator.webhooks.plan())) == 200


def test_a_plan_follows_an_endpoint_and_a_choice_of_events(simulator: StripeSimulator) -> None:
    endpoint = simulator.call(
        "POST",
        "/v1/webhook_endpoints",
        {"url": "https://example.com/", "enabled_events": ["charge.refunded", "refund.created"],
         "api_version": "2023-10-16"},
    )  # fmt: skip
    [intent_id] = sell(simulator)
    simulator.call("POST", "/v1/refunds", {"payment_intent": intent_id})
    [arrival] = simulator.webhooks.plan(endpoint_id=endpoint["id"])
    event = json.loads(arrival.body)
    assert (event["type"], event["api_version"]) == ("charge.refunded", "2023-10-16")
    assert arrival.signature == simulator.sign(arrival.body, endpoint["secret"], START + 1)
    ids = [arrival.event_id, arrival.event_id]
    assert [each.event_id for each in simulator.webhooks.plan(ids)] == ids
    for wrong in ({"events": ["evt_none"]}, {"endpoint_id": "we_none"}):
        with pytest.raises(Problem):
            simulator.webhooks.plan(**wrong)


def test_a_share_of_a_plan_is_outdated_and_another_expanded(simulator: StripeSimulator) -> None:
    for intent_id in sell(simulator, 20):
        simulator.call("POST", "/v1/refunds", {"payment_intent": intent_id})
    simulator.webhooks.misbehave(seed=1, outdated=0.5, expanded=0.5)
    events = bodies(simulator.webhooks.plan())
    versions = Counter(event["api_version"] for event in events)
    assert 30 < versions["2023-10-16"] < versions["2026-10-28.endive"]
    # There was no such event then, so it keeps the version that has it.
    created = [event for event in events if event["type"] == "refund.created"]
    assert {event["api_version"] for event in created} == {"2026-10-28.endive"}
    refunds = [event["data"]["object"] for event in created]
    assert {type(refund["charge"]) for refund in refunds} == {str, dict}
    for event in events:
        subject = event["data"]["object"]
        outdated = event["api_version"] == "2023-10-16"
        if subject["object"] in {"payment_intent", "charge"}:
            assert ("invoice" in subject) == outdated
            reference = (
                "latest_charge" if subject["object"] == "payment_intent" else "payment_intent"
            )
            inner = subject[reference]
            # What is inside an outdated object is outdated as well.
            assert not isinstance(inner, dict) or ("invoice" in inner) == outdated


def test_a_plan_does_not_change_while_the_account_goes_on(simulator: StripeSimulator) -> None:
    sell(simulator)
    coming = simulator.webhooks.plan()
    sell(simulator)
    assert len(list(coming)) == 4


def test_the_account_keeps_the_newest_events_only(
    simulator: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_payments.testing.simulator.account.EVENTS_MAX", 20)
    for number in range(30):
        simulator.call("POST", "/v1/customers", {"name": str(number)})
    names = [row["data"]["object"]["name"] for row in bodies(simulator.webhooks.plan())]
    assert 18 <= len(names) <= 20
    assert names == [str(number) for number in range(30 - len(names), 30)]
    listed = simulator.call("GET", "/v1/events", {"limit": 100})["data"]
    assert [row["data"]["object"]["name"] for row in listed] == names[::-1]
