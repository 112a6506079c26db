"""What is made of the endpoints that are registered with Stripe: each decision by itself."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from credit_payments.domain import events
from credit_payments.domain.diagnosis import Finding
from credit_payments.domain.findings import webhooks
from credit_payments.domain.traits import Access, StripeTraits, WebhookEndpoint

URL = "https://shop.example/stripe/webhook"
TYPES = tuple(events.READ)


def endpoint(**changes: Any) -> WebhookEndpoint:
    given: dict[str, Any] = {
        "endpoint_id": "we_1",
        "url": URL,
        "is_enabled": True,
        "enabled_events": ("*",),
        "api_version": None,
        "livemode": False,
    }
    return WebhookEndpoint(**given | changes)


def found(
    *endpoints: WebhookEndpoint,
    url: str | None = URL,
    livemode: bool = False,
    webhooks_access: Access = "granted",
    types: tuple[str, ...] = TYPES,
) -> list[Finding]:
    traits = StripeTraits(payments="granted", webhooks=webhooks_access, endpoints=endpoints)
    return list(webhooks.of_endpoints(traits, url=url, types=types, livemode=livemode))


def levels(findings: list[Finding]) -> dict[str, str]:
    return {one.name: one.level for one in findings}


WELL = {"webhooks.endpoint": "ok", "webhooks.events": "ok", "webhooks.api_version": "ok"}


@pytest.mark.parametrize("url", [URL, None])
@pytest.mark.parametrize("enabled", [("*",), TYPES, ("invoice.paid", *reversed(TYPES))])
def test_an_endpoint_with_all_events_is_well(url: str | None, enabled: tuple[str, ...]) -> None:
    assert levels(found(endpoint(enabled_events=enabled), url=url)) == WELL


def test_one_that_is_disabled_is_a_problem_with_the_command_that_enables_it() -> None:
    (one,) = found(endpoint(is_enabled=False))
    assert (one.name, one.level) == ("webhooks.endpoint", "problem")
    assert "disabled" in one.said
    assert one.advice == "stripe webhook_endpoints update we_1 -d disabled=false"


def test_ours_is_disabled_whichever_events_it_has_and_another_ones_is_not_ours() -> None:
    others = endpoint(is_enabled=False, enabled_events=("invoice.paid",))
    (one,) = found(others)
    assert "disabled" in one.said, "a second one of the same URL would be no remedy"
    (one,) = found(others, url=None)
    assert "none is registered" in one.said


@pytest.mark.parametrize("url", [f"{URL}?token=hunter2", "https://ada@[shop.example/x"])
def test_a_url_that_is_not_told_in_full_is_not_advised_either(url: str) -> None:
    (one,) = found(url=url)
    assert "--url 'https://…/stripe/webhook' " in str(one.advice)


def test_one_of_the_other_mode_is_none_of_ours() -> None:
    (one,) = found(endpoint(livemode=True))
    assert "not registered in test mode" in one.said
    (one,) = found(endpoint(), livemode=True)
    assert "not registered in live mode" in one.said
    assert "create --live " in str(one.advice)


@pytest.mark.parametrize("other", [URL + "/", URL.replace("https", "http"), URL.upper()])
def test_the_url_has_to_be_exactly_the_one_that_is_registered(other: str) -> None:
    (one,) = found(endpoint(url=other))
    assert one.level == "problem"
    assert f"{URL} is not registered" in one.said


def test_without_a_url_the_endpoint_with_most_of_our_events_counts() -> None:
    others = endpoint(url="https://else.example/", enabled_events=(TYPES[0], "invoice.paid"))
    assert levels(found(others, endpoint(), url=None)) == WELL
    assert levels(found(endpoint(), others, url=None)) == WELL


def test_without_a_url_an_endpoint_that_is_somebody_elses_does_not_count() -> None:
    others = endpoint(enabled_events=("invoice.paid",))
    test, live = found(others, url=None), found(url=None, livemode=True)
    assert levels(test) == {"webhooks.endpoint": "warning"}
    assert "stripe listen" in str(test[0].advice), "which needs no endpoint"
    assert levels(live) == {"webhooks.endpoint": "problem"}


def test_with_a_url_an_endpoint_without_any_of_our_events_lacks_them_all() -> None:
    _, lacking, _ = found(endpoint(enabled_events=("invoice.paid",)))
    assert lacking.said == f"not enabled: {', '.join(TYPES)}"


@pytest.mark.parametrize("kind", TYPES)
def test_an_event_that_is_not_enabled_is_named(kind: str) -> None:
    enabled = tuple(other for other in TYPES if other != kind)
    _, one, _ = found(endpoint(enabled_events=enabled))
    assert one.said == f"not enabled: {kind}"
    moves_money = kind == "payment_intent.succeeded" or "refund" in kind or "dispute" in kind
    assert one.level == ("problem" if moves_money else "warning")


def test_the_advice_enables_what_is_missing_and_keeps_what_was_there() -> None:
    enabled = ("invoice.paid", *TYPES[1:])
    _, one, _ = found(endpoint(enabled_events=enabled))
    command = shlex.split(str(one.advice))
    assert command[:4] == ["stripe", "webhook_endpoints", "update", "we_1"]
    options = [word for word in command[4:] if word != "-d"]
    assert options == [
        f"enabled_events[{place}]={kind}" for place, kind in enumerate((*enabled, TYPES[0]))
    ]


def test_the_hosts_own_events_are_wanted_too() -> None:
    _, one, _ = found(endpoint(enabled_events=TYPES), types=(*TYPES, "invoice.paid"))
    assert (one.said, one.level) == ("not enabled: invoice.paid", "warning")


@pytest.mark.parametrize("access", ["forbidden", "unavailable", "rejected"])
def test_a_key_that_may_not_look_is_a_warning_that_says_where_to_look(access: Access) -> None:
    (one,) = found(webhooks_access=access)
    assert (one.name, one.level) == ("webhooks.endpoint", "warning")
    assert "https://dashboard.stripe.com/webhooks" in str(one.advice)
    assert ("permission" in str(one.advice)) is (access == "forbidden")


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:hunter2@shop.example/x",
        "https://shop.example/x?token=hunter2",
        "https://shop.example/x#hunter2",
        "https://ada:hunter2@[shop.example/x",
    ],
)
def test_what_may_be_secret_in_a_url_is_not_told(url: str) -> None:
    told = [
        *found(endpoint(url=url), url=url),
        *found(endpoint(url=url, is_enabled=False), url=url),
        *found(url=url),
    ]
    assert len(told) == 5
    assert "hunter2" not in repr(told)


def test_a_url_is_quoted_for_the_shell() -> None:
    (one,) = found(url="https://shop.example/$(rm x)")
    assert "--url 'https://shop.example/$(rm x)' " in str(one.advice)


def test_without_a_secret_every_webhook_is_refused() -> None:
    assert webhooks.of_secret(0).level == "problem"
    assert webhooks.of_secret(1).said == "1 is accepted"
    assert webhooks.of_secret(2).said == "2 are accepted"
