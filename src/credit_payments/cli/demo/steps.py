"""What the customers do, one step after the other: each over HTTP, each ends in a sentence."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, Final

import attrs

from credit_payments.cli.demo.exchange import Answer
from credit_payments.cli.demo.stage import Order, Stage, Unexpected, expect

RACES: Final = 20
_COPIES: Final = 3
_RACE_SECONDS_MAX: Final = 15.0
_HEAD_START_MILLISECONDS_MAX: Final = 4
_PAID: Final = "payment_intent.succeeded"
_TOO_OLD_SECONDS: Final = 3_600


@attrs.frozen
class Step:
    """One scene; `play` returns what happened, and raises `Unexpected` when it went otherwise."""

    title: str
    play: Callable[[Stage], str]


def _price_list(stage: Stage) -> str:
    packages = _packages(stage)
    return "; ".join(f"{p['name']}: {p['credits']} credits for ${p['price_usd']}" for p in packages)


def _packages(stage: Stage) -> list[dict[str, Any]]:
    packages = expect(stage.shop.get("/stripe/credit-packages"), success=True)["packages"]
    if not packages:
        raise Unexpected("the price list is empty")
    return list(packages)


def _customer_and_card(stage: Stage) -> str:
    user = "ada"
    about = {"user_id": user, "email": "ada@example.com", "name": "Ada"}
    created = expect(stage.shop.post("/stripe/customers", about, user))
    customer = created["customer_id"]
    known = expect(stage.shop.get(f"/stripe/customers/{customer}", user))["customer"]
    if known["email"] != about["email"] or known["metadata"]["user_id"] != user:
        raise Unexpected(f"the customer reads back as {known}")
    order = stage.order(user, "10.00", customer=customer)
    stage.pay(order, save=True)
    stage.collect(order)
    path = f"/stripe/payment-methods?customer_id={customer}"
    [method] = expect(stage.shop.get(path, user))["payment_methods"]
    path = f"/stripe/payment-methods/{method['id']}"
    card = expect(stage.shop.get(path, user))["payment_method"]["card"]
    return f"Ada pays $10.00 and saves her {card['brand']} card ending in {card['last4']}"


def _confirm(stage: Stage) -> str:
    order = stage.order("ben", "25.00")
    expect(stage.shop.confirm(order), 409, error_code="payment_intent_unexpected_state")
    stage.pay(order)
    first, again = stage.collect(order), stage.collect(order)
    if first != again:
        raise Unexpected(f"a second confirmation says {again}, the first said {first}")
    path = f"/stripe/payment-status/{order.payment_intent_id}"
    expect(stage.shop.get(path, "ben"), status="succeeded", amount=Decimal("25.00"))
    return f"Ben pays $25.00: refused before, {order.credits} credits after, the same when repeated"


def _webhook_only(stage: Stage) -> str:
    order = stage.order("cleo", "12.50")
    stage.pay(order)
    stage.network.settle()
    stage.expect_balance("cleo", order.credits)
    return f"Cleo closes her browser after paying; Stripe's event brings her {order.credits}"


def _package(stage: Stage) -> str:
    package = _packages(stage)[-1]
    order = stage.order("ben", package=package)
    stage.pay(order)
    stage.collect(order)
    return f"Ben buys the {package['name']}: {order.credits} credits for ${package['price_usd']}"


def _declined(stage: Stage) -> str:
    order = stage.order("dan", "15.00")
    expect(stage.browser.pay(order, "pm_card_chargeDeclinedInsufficientFunds"), 402)
    told = expect(stage.shop.confirm(order), 402, decline_code="insufficient_funds")
    stage.expect_balance("dan", 0)
    second = stage.order("eve", "15.00")
    expect(stage.browser.pay(second, "pm_card_chargeDeclinedLostCard"), 402)
    stage.pay(second)
    stage.collect(second)
    return f"Dan is told {told['message']!r}; Eve takes another card"


def _three_d_secure(stage: Stage) -> str:
    order = stage.order("fay", "30.00")
    intent = expect(
        stage.browser.pay(order, "pm_card_threeDSecure2Required"), status="requires_action"
    )
    expect(stage.shop.confirm(order), 409, error_code="payment_intent_unexpected_state")
    stage.browser.authenticate(intent)
    stage.collect(order)
    return f"Fay's bank asks her first; {order.credits} credits once she has agreed"


def _duplicates(stage: Stage) -> str:
    stage.network.do("duplicate", times=_COPIES)
    try:
        order = stage.order("gus", "20.00")
        stage.pay(order)
        stage.network.settle()
    finally:
        stage.network.do("duplicate", times=1)
    event = json.loads(stage.stripe.event_about(order, _PAID))
    stage.network.do("resend", event_id=event["id"])
    stage.network.settle()
    stage.collect(order)
    stage.expect_balance("gus", order.credits)
    return f"Stripe tells of Gus's payment {_COPIES + 1} times; he gets {order.credits} once"


def _races(stage: Stage) -> str:
    stage.network.do("hold")
    try:
        orders = [_race_order(stage, number) for number in range(RACES)]
        events = {e["data"]["object"]["id"]: e for e in stage.stripe.listed("events", type=_PAID)}
        firsts = [_race(stage, order, events[order.payment_intent_id]) for order in orders]
    finally:
        # What Stripe sends itself comes last here, and shuffled: a third report of each payment.
        stage.network.do("release", order="shuffled")
    stage.network.settle()
    for user in {order.user_id for order in orders}:
        stage.expect_balance(user, sum(o.credits for o in orders if o.user_id == user))
    won = sum(firsts)
    return (
        f"{RACES} payments told of twice at once: "
        f"the webhook is first {won} times, the browser {RACES - won}"
    )


def _race_order(stage: Stage, number: int) -> Order:
    dollars = stage.chance.randint(1, 40)
    order = stage.order(f"racer-{number % 4 + 1}", f"{dollars}.{stage.chance.choice((0, 50)):02d}")
    stage.pay(order)
    return order


def _race(stage: Stage, order: Order, event: dict[str, Any]) -> bool:
    """Confirm and deliver at the same moment; whether the webhook was first."""
    body = json.dumps(event).encode()
    start = threading.Barrier(2, timeout=_RACE_SECONDS_MAX)
    # A confirmation asks Stripe first: without a head start the webhook would win every time.
    head_start_seconds = stage.chance.randrange(_HEAD_START_MILLISECONDS_MAX) / 1_000

    def confirm() -> dict[str, Any]:
        start.wait()
        return stage.collect(order)

    def deliver() -> Answer:
        start.wait()
        time.sleep(head_start_seconds)
        return stage.shop.deliver(body)

    with ThreadPoolExecutor(2) as pool:
        confirmed, delivered = pool.submit(confirm), pool.submit(deliver)
        confirmed.result(_RACE_SECONDS_MAX)
        told = expect(delivered.result(_RACE_SECONDS_MAX))
    stage.races += 1
    stage.by_hand += 1
    return bool(told["outcome"] == "applied")


def _forgeries(stage: Stage) -> str:
    order = stage.order("mallory", "5.00")
    forged = _forged_event(stage, order)
    refusals = (
        stage.shop.deliver(forged, secret="whsec_guessed"),  # noqa: S106 - a wrong guess
        stage.shop.deliver(forged, age_seconds=_TOO_OLD_SECONDS),
        stage.shop.post("/stripe/webhook", json.loads(forged)),
    )
    for refusal in refusals:
        expect(refusal, 400, error_code="signature_invalid")
    stage.expect_balance("mallory", 0)
    return f"{len(refusals)} forged events are refused with 400; Mallory holds nothing"


def _forged_event(stage: Stage, order: Order) -> bytes:
    """An event that says an order was paid, which it was not."""
    event = json.loads(stage.stripe.event_about(order, "payment_intent.created"))
    event |= {"id": "evt_forged", "type": _PAID}
    event["data"]["object"] |= {"status": "succeeded", "amount_received": order.amount_minor}
    stage.forged.add(event["id"])
    return json.dumps(event).encode()


def _bad_requests(stage: Stage) -> str:
    user = "hal"
    buy = {"user_id": user, "amount": 10, "currency": "usd"}
    cases: tuple[tuple[dict[str, object], str | None, int, str], ...] = (
        (buy | {"amount": -10}, user, 400, "parameter_invalid"),
        (buy | {"amount": Decimal("10.001")}, user, 400, "parameter_invalid"),
        (buy | {"amount": "ten"}, user, 400, "parameter_invalid"),
        (buy | {"currency": "xxx"}, user, 400, "parameter_invalid"),
        (buy | {"curency": "eur"}, user, 400, "parameter_unknown"),
        (buy | {"user_id": "ada"}, user, 403, "not_allowed"),
        (buy, None, 401, "not_authenticated"),
    )
    for fields, caller, status, code in cases:
        answer = stage.shop.post("/stripe/create-payment-intent", fields, caller)
        expect(answer, status, success=False, error_code=code)
    foreign = next(order for order in stage.orders.values() if order.user_id == "ada")
    for path in (foreign.payment_intent_id, "pi_nobodys"):
        answer = stage.shop.get(f"/stripe/payment-status/{path}", user)
        expect(answer, 404, error_code="resource_missing", message="No such payment_intent_id")
    return f"{len(cases)} are refused as documented; what is Ada's looks missing to Hal"


STEPS: Final = (
    Step("Price list", _price_list),
    Step("Customer, saved card", _customer_and_card),
    Step("Good card", _confirm),
    Step("Webhook only", _webhook_only),
    Step("Package", _package),
    Step("Declined card", _declined),
    Step("3-D Secure", _three_d_secure),
    Step("Duplicate webhooks", _duplicates),
    Step("Races", _races),
    Step("Forged webhooks", _forgeries),
    Step("Bad requests", _bad_requests),
)
"""The play, in its order."""
