"""What is observed of Stripe, with the real SDK over HTTP: the simulator, then by script."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.integration.test_stripe_gateway_scripted import KEY, Answer, Script, error_body
from tests.integration.test_stripe_listing import gateway_to

from credit_payments.adapters import stripe_inspection
from credit_payments.adapters.stripe_gateway import StripeGateway
from credit_payments.adapters.stripe_inspection import PAGES_MAX
from credit_payments.domain.traits import Access
from credit_payments.errors import NotConfigured
from credit_payments.testing.simulator import StripeSimulator

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
EMPTY = {"object": "list", "data": [], "has_more": False}


class Ticking:
    """A clock that goes on by so much at each look."""

    def __init__(self, *seconds: float) -> None:
        self._steps = list(seconds)
        self._now = NOON

    def __call__(self) -> datetime:
        if self._steps:
            self._now += timedelta(seconds=self._steps.pop(0))
        return self._now


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator(start_time=NOON, webhook_url="https://shop.example/hook") as simulator:
        yield simulator


@pytest.fixture
def gateway(simulator: StripeSimulator) -> Iterator[StripeGateway]:
    gateway = gateway_to(simulator.url)
    yield gateway
    gateway.close()


@pytest.fixture
def script() -> Iterator[Script]:
    with Script() as script:
        yield script


@pytest.fixture
def scripted(script: Script) -> Iterator[StripeGateway]:
    gateway = gateway_to(script.url)
    yield gateway
    gateway.close()


def endpoint(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"we_{number}",
        "object": "webhook_endpoint",
        "url": f"https://shop.example/{number}",
        "status": "enabled",
        "enabled_events": ["*"],
        "livemode": False,
        "api_version": None,
        "a_field_of_a_future_version": 1,
    } | changes


def page(*numbers: int, more: bool = False) -> Answer:
    return Answer({"object": "list", "data": [*map(endpoint, numbers)], "has_more": more})


# -- the simulator ----------------------------------------------------------------------------


def test_all_that_stripe_lets_us_see(gateway: StripeGateway, simulator: StripeSimulator) -> None:
    client_made = simulator.call(
        "POST",
        "/v1/webhook_endpoints",
        {
            "url": "https://shop.example/other",
            "enabled_events": ["refund.created", "refund.failed"],
            "api_version": "2023-10-16",
        },
    )
    simulator.call("POST", f"/v1/webhook_endpoints/{client_made['id']}", {"disabled": True})
    traits = gateway.inspect(lambda: NOON)
    assert (traits.payments, traits.webhooks) == ("granted", "granted")
    assert traits.api_version == "2026-10-28.endive"
    newest, first = traits.endpoints
    assert (newest.endpoint_id, newest.url) == (client_made["id"], "https://shop.example/other")
    assert (newest.is_enabled, newest.livemode) == (False, False)
    assert newest.enabled_events == ("refund.created", "refund.failed")
    assert newest.api_version == "2023-10-16"
    assert (first.is_enabled, first.enabled_events, first.api_version) == (True, ("*",), None)


def test_the_simulators_date_is_that_of_its_own_clock(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    simulator.clock.advance(90)
    clock = gateway.inspect(lambda: NOON).clock
    assert clock is not None
    assert clock.said == NOON + timedelta(seconds=90)


@pytest.mark.parametrize(
    ("status", "access"), [(401, "refused"), (403, "forbidden"), (400, "rejected")]
)
def test_a_key_that_may_not_look_at_endpoints_is_told_apart(
    gateway: StripeGateway, simulator: StripeSimulator, status: int, access: Access
) -> None:
    simulator.faults.next(status, path="/v1/webhook_endpoints")
    traits = gateway.inspect(lambda: NOON)
    assert (traits.payments, traits.webhooks, traits.endpoints) == ("granted", access, ())


def test_a_key_that_is_refused_still_shows_the_clock(simulator: StripeSimulator) -> None:
    with StripeSimulator(start_time=NOON, any_test_key=False, secret_key="sk_test_other") as other:
        gateway = gateway_to(other.url)
        traits = gateway.inspect(lambda: NOON)
        gateway.close()
    assert (traits.payments, traits.webhooks) == ("refused", "refused")
    assert traits.clock is not None
    assert traits.clock.said == NOON


def test_without_a_key_nothing_is_asked() -> None:
    with pytest.raises(NotConfigured):
        StripeGateway(None).inspect(lambda: NOON)


def test_where_nobody_answers_that_is_told_and_not_raised() -> None:
    gateway = gateway_to("http://127.0.0.1:1")
    traits = gateway.inspect(lambda: NOON)
    assert (traits.payments, traits.webhooks, traits.clock) == ("unavailable", "unavailable", None)


# -- by script --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "access", "requests"),
    [(403, "forbidden", 2), (401, "refused", 1), (400, "rejected", 1), (500, "unavailable", 3)],
)
def test_who_does_not_even_let_us_read_payments_is_not_asked_in_vain(
    scripted: StripeGateway, script: Script, status: int, access: Access, requests: int
) -> None:
    script.will_answer(Answer(error_body(type="api_error"), status=status))
    traits = scripted.inspect(lambda: NOON)
    assert (traits.payments, traits.webhooks) == (access, access)
    assert len(script.requests) == requests


def test_a_second_attempt_is_timed_without_the_first(
    scripted: StripeGateway, script: Script
) -> None:
    failed = Answer(error_body(type="api_error"), status=500)
    script.will_answer(failed, Answer(EMPTY), page())
    # asked and answered, three times: the second answer is the fastest
    clock = scripted.inspect(Ticking(0, 50, 100, 2, 5, 7)).clock
    assert clock is not None
    assert clock.asked_at == NOON + timedelta(seconds=150)
    assert clock.answered_at == NOON + timedelta(seconds=152)


def test_pages_are_followed_up_to_a_bound(scripted: StripeGateway, script: Script) -> None:
    script.will_answer(Answer(EMPTY), page(1, 2, more=True), page(3, more=True))
    script.will_answer(*[page(4 + number, more=True) for number in range(PAGES_MAX)])
    traits = scripted.inspect(lambda: NOON)
    assert [one.endpoint_id for one in traits.endpoints] == ["we_1", "we_2", "we_3", "we_4"]
    cursors = [dict(parse_qsl(urlsplit(one.path).query)) for one in script.requests[1:]]
    assert [one.get("starting_after") for one in cursors] == [None, "we_2", "we_3"]
    assert {one["limit"] for one in cursors} == {"100"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>"),
        Answer({"object": "payment_intent", "id": "pi_1"}),
        Answer({"object": "list", "data": [], "has_more": True}),
        Answer({"object": "list", "data": [{"object": "webhook_endpoint"}], "has_more": False}),
        Answer({"object": "list", "data": {}, "has_more": False}),
    ],
)
def test_an_answer_that_makes_no_sense_is_none(
    scripted: StripeGateway, script: Script, answer: Answer
) -> None:
    script.will_answer(Answer(EMPTY), answer)
    traits = scripted.inspect(lambda: NOON)
    assert (traits.payments, traits.webhooks, traits.endpoints) == ("granted", "unavailable", ())


def test_an_endpoint_that_cannot_be_read_does_not_hide_the_others(
    scripted: StripeGateway, script: Script
) -> None:
    odd = endpoint(1, enabled_events="*")
    listed = {"object": "list", "data": [odd, endpoint(2)], "has_more": False}
    script.will_answer(Answer(EMPTY), Answer(listed))
    assert [one.endpoint_id for one in scripted.inspect(lambda: NOON).endpoints] == ["we_2"]


@pytest.mark.parametrize(
    ("date", "instant"),
    [
        ("Mon, 01 Jan 2024 12:00:00 GMT", NOON),
        ("Mon, 01 Jan 2024 12:00:00", NOON),
        ("Mon, 01 Jan 2024 12:00:00 -0000", NOON),
        ("Mon, 01 Jan 2024 13:00:00 +0100", NOON),
        ("", None),
        ("yesterday", None),
        ("Mon, 01 Jan 99999 12:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -1200", None),
    ],
)
def test_a_date_that_is_none_tells_nothing(date: str, instant: datetime | None) -> None:
    assert stripe_inspection._instant(date) == instant


def test_the_key_is_in_no_trait(scripted: StripeGateway, script: Script) -> None:
    script.will_answer(Answer(EMPTY), page(1))
    assert KEY not in repr(scripted.inspect(lambda: NOON))
