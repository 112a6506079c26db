"""Checking a webhook's signature and reading what it says."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

import msgspec
import stripe

from benchmarks import stripe_events
from benchmarks.measure import Plan, Row, WrongResult, ratio_row, repeatedly, take_turns
from credit_payments import connect
from credit_payments.domain.stripe_facts import PaymentIntentFacts


class _Intent(msgspec.Struct, frozen=True):
    id: str
    status: str
    amount: int
    amount_received: int
    currency: str
    created: int
    metadata: dict[str, str]


class _Data(msgspec.Struct, frozen=True):
    object: _Intent


class _Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    created: int
    data: _Data


def rows(plan: Plan) -> Iterator[Row]:
    """The library against Stripe's SDK, and against the least that has to be done."""
    body = stripe_events.payment_succeeded(1, user_id="ada", quote_id="q" * 32, amount_minor=1_000)
    header = stripe_events.sign(body)
    secret = stripe_events.WEBHOOK_SECRET
    decode = msgspec.json.Decoder(_Event).decode
    key = secret.encode()
    timestamp = header[2:].partition(",")[0].encode()
    with connect(database="memory://", stripe_webhook_secret=secret) as system:
        verify = system.webhooks.verify

        def library() -> object:
            return verify(body, header).facts

        def sdk() -> object:
            return stripe.Webhook.construct_event(body, header, secret)

        def limit() -> object:
            hmac.digest(key, timestamp + b"." + body, "sha256")
            return decode(body)

        _check(library(), sdk(), limit())
        sides = {
            "library": repeatedly(library, plan.turn_seconds),
            "sdk": repeatedly(sdk, plan.turn_seconds),
            "limit": repeatedly(limit, plan.turn_seconds),
        }
        rates = take_turns(sides, plan.turns)
    ours = f"check and read a webhook of {len(body):,} bytes", rates["library"]
    yield ratio_row(
        "read_against_sdk", ours, ("stripe.Webhook.construct_event", rates["sdk"]), target=40
    )
    yield ratio_row(
        "read_against_limit", ours, ("hmac.digest and one typed decode", rates["limit"]), target=0.5
    )


def _check(library: object, sdk: object, limit: object) -> None:
    if not (
        isinstance(library, PaymentIntentFacts)
        and isinstance(sdk, stripe.Event)
        and isinstance(limit, _Event)
        and library.id == sdk.data.object["id"] == limit.data.object.id
        and library.metadata == limit.data.object.metadata
    ):
        raise WrongResult("The three readers of a webhook do not agree.")
