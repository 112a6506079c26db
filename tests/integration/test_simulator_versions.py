"""Events for receivers of older API versions, with expanded references, and from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from credit_payments.testing.simulator import Problem, StripeSimulator

OLD, BETWEEN, NEW = "2023-10-16", "2024-10-28.acacia", "2026-10-28.endive"


@pytest.fixture
def simulator() -> StripeSimulator:
    return StripeSimulator(start_time=1_700_000_000)


def everything_happens(simulator: StripeSimulator) -> str:
    """A payment with refunds, one of which fails, a warning and a dispute."""
    params = {"amount": 500, "currency": "usd", "metadata": {"user": "u1"}}
    intent_id = str(simulator.call("POST", "/v1/payment_intents", params)["id"])
    simulator.pay(intent_id)
    failing = simulator.call("POST", "/v1/refunds", {"payment_intent": intent_id, "amount": 5})
    simulator.fail_refund(failing["id"])
    simulator.warn_of_fraud(intent_id)
    dispute = simulator.open_dispute(intent_id)
    simulator.close_dispute(dispute["id"], won=True)
    return intent_id


def told(simulator: StripeSimulator, version: str) -> list[dict[str, Any]]:
    """What an endpoint of a version is told."""
    endpoint = simulator.call(
        "POST",
        "/v1/webhook_endpoints",
        {"url": "https://example.com/", "enabled_events": ["*"], "api_version": version},
    )
    coming = simulator.webhooks.plan(endpoint_id=endpoint["id"])
    return [json.loads(arrival.body) for arrival in coming]


def objects(events: list[dict[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    found = [event["data"]["object"] for event in events]
    found = [subject for subject in found if subject["object"] == kind]
    assert found
    return iter(found)


def test_before_acacia_a_refund_is_told_by_its_charge_alone(simulator: StripeSimulator) -> None:
    everything_happens(simulator)
    old, between = told(simulator, OLD), told(simulator, BETWEEN)
    about_refunds = [event["type"] for event in between if "refund" in event["type"]]
    assert about_refunds == [
        "refund.created",
        "charge.refunded",
        "refund.failed",
        "refund.updated",
        "charge.refund.updated",
    ]
    assert [event["type"] for event in old if "refund" in event["type"]] == [
        "charge.refunded",
        "charge.refund.updated",
    ]
    kept = [event for event in between if not event["type"].startswith("refund.")]
    assert [event["id"] for event in old] == [event["id"] for event in kept]
    assert {event["api_version"] for event in old} == {OLD}


def test_fields_belong_to_their_generation(simulator: StripeSimulator) -> None:
    everything_happens(simulator)
    old, between, new = (told(simulator, version) for version in (OLD, BETWEEN, NEW))
    for kind in ("payment_intent", "charge"):
        assert all(subject["invoice"] is None for subject in objects(old, kind))
        assert all(subject["invoice"] is None for subject in objects(between, kind))
        assert all("invoice" not in subject for subject in objects(new, kind))
    for subject in objects(old, "dispute"):
        assert "enhanced_eligibility_types" not in subject
        assert "submission_method" not in subject["evidence_details"]
        assert subject["evidence_details"]["submission_count"] == 0
        assert all("balance_type" not in row for row in subject["balance_transactions"])
    assert all("enhanced_evidence" in row["evidence"] for row in objects(new, "dispute"))
    assert all("customer_account" not in row for row in objects(old, "refund"))
    card = next(objects(old, "charge"))["payment_method_details"]["card"]
    assert "regulated_status" not in card
    assert card["last4"] == "4242"


def test_what_the_versions_share_is_the_same(simulator: StripeSimulator) -> None:
    everything_happens(simulator)
    old = {event["id"]: event["data"]["object"] for event in told(simulator, OLD)}
    for event in told(simulator, NEW):
        if event["id"] in old:
            now, then = event["data"]["object"], old[event["id"]]
            shared = set(now) & set(then)
            assert {"id", "object"} <= shared
            plain = {name for name in shared if not isinstance(now[name], dict | list)}
            assert {name: now[name] for name in plain} == {name: then[name] for name in plain}


def test_an_account_of_an_older_version_lists_its_events_in_that_shape() -> None:
    with StripeSimulator(api_version=OLD) as simulator:
        client = stripe.StripeClient(simulator.secret_key, base_addresses={"api": simulator.url})
        everything_happens(simulator)
        events = client.v1.events.list({"limit": 100}).data
        assert {event.api_version for event in events} == {OLD}
        assert not [event.type for event in events if event.type.startswith("refund.")]
        [paid] = client.v1.events.list({"type": "payment_intent.succeeded"}).data
        assert "invoice" in paid.data.object
        assert json.loads(str(client.v1.events.retrieve(paid.id))) == json.loads(str(paid))
        # A newer endpoint of the same account is told more.
        newer = [event for event in told(simulator, NEW) if event["type"] == "refund.created"]
        assert len(newer) == 1
        with pytest.raises(stripe.InvalidRequestError, match="No such event"):
            client.v1.events.retrieve(newer[0]["id"])


def test_an_event_can_be_built_for_an_older_version(simulator: StripeSimulator) -> None:
    intent_id = everything_happens(simulator)
    intent = simulator.peek("payment_intents", intent_id)
    refund = simulator.call("GET", "/v1/refunds")["data"][0]

    def built(*args: Any, **options: Any) -> Any:
        return json.loads(simulator.build_event(*args, **options))

    event = built("payment_intent.succeeded", intent, api_version=OLD)
    assert (event["api_version"], event["data"]["object"]["invoice"]) == (OLD, None)
    previous = {"customer_account": "acct_1", "status": "pending"}
    event = built("charge.refund.updated", refund, previous, api_version=OLD)
    assert event["data"]["previous_attributes"] == {"status": "pending"}
    with pytest.raises(ValueError, match="not sent"):
        built("refund.updated", refund, api_version=OLD)
    # Refunds without a charge had these events all along.
    assert built("refund.updated", {**refund, "charge": None}, api_version=OLD)
    assert built("refund.updated", ["not an object"], api_version=OLD)["data"]["object"]
    assert "invoice" not in built("payment_intent.succeeded", intent)["data"]["object"]


def test_references_can_come_as_objects(simulator: StripeSimulator) -> None:
    intent_id = everything_happens(simulator)
    refund = simulator.call("GET", "/v1/refunds")["data"][0]
    paths = ["charge.payment_intent", "payment_intent.latest_charge", "balance_transaction"]
    for version in (OLD, NEW):
        body = simulator.build_event(
            "charge.refund.updated", refund, expand=paths, api_version=version
        )
        subject = json.loads(body)["data"]["object"]
        assert subject["charge"]["payment_intent"]["id"] == intent_id
        assert subject["payment_intent"]["latest_charge"]["id"] == refund["charge"]
        assert subject["balance_transaction"]["object"] == "balance_transaction"
        assert ("invoice" in subject["charge"]["payment_intent"]) == (version == OLD)
    with pytest.raises(Problem, match="expanded"):
        simulator.build_event("refund.updated", refund, expand=["amount"])


def test_an_expanded_network_brings_every_reference_as_an_object(
    simulator: StripeSimulator,
) -> None:
    customer = simulator.call("POST", "/v1/customers", {"name": "Ada"})
    params = {"amount": 500, "currency": "usd", "customer": customer["id"]}
    intent_id = str(simulator.call("POST", "/v1/payment_intents", params)["id"])
    simulator.pay(intent_id)
    refund = simulator.call("POST", "/v1/refunds", {"payment_intent": intent_id, "amount": 5})
    simulator.warn_of_fraud(intent_id)
    simulator.open_dispute(intent_id)
    simulator.webhooks.misbehave(expanded=1.0)
    events = told(simulator, NEW)
    for kind, names in {
        "payment_intent": ["customer"],
        "charge": ["customer", "payment_intent"],
        "refund": ["charge", "payment_intent", "balance_transaction"],
        "dispute": ["charge", "payment_intent"],
        "radar.early_fraud_warning": ["charge", "payment_intent"],
    }.items():
        for subject in objects(events, kind):
            assert all(subject[name]["id"] for name in names), kind
    assert next(objects(events, "refund"))["charge"]["id"] == refund["charge"]


def test_events_of_a_connected_account_and_of_live_mode_can_be_presented(
    simulator: StripeSimulator,
) -> None:
    intent = simulator.peek("payment_intents", everything_happens(simulator))
    body = simulator.build_event(
        "payment_intent.succeeded", intent, account="acct_other", livemode=True
    )
    event = stripe.Webhook.construct_event(
        body, simulator.sign(body), simulator.webhook_secret, tolerance=10**9
    )
    assert (event.account, event.livemode) == ("acct_other", True)
    assert event.data.object.livemode is True
    assert intent["livemode"] is False
    plain = json.loads(simulator.build_event("payment_intent.succeeded", intent))
    assert ("account" in plain, plain["livemode"]) == (False, False)
