"""Webhooks: only what Stripe signed just now, only what is an event, and nothing half."""

from __future__ import annotations

import hmac
import json
import random
from typing import Any

import pytest
import stripe

import credit_payments as cp
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain import signature
from credit_payments.domain.quoting import KeepQuote
from credit_payments.domain.records import RECORDS, Payment, Quote
from credit_payments.posting import PostingQueue

Shop = Any
SECRET = "whsec_test_only"


def event(event_type: str = "payment_intent.succeeded", **changes: Any) -> dict[str, Any]:
    intent = {
        "id": "pi_1",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 1_000,
        "amount_received": 1_000,
        "currency": "usd",
        "created": 1_700_000_000,
        "metadata": {"user_id": "ada", "quote_id": "quote_1"},
    }
    return {
        "id": "evt_1",
        "type": event_type,
        "created": 1_700_000_000,
        "data": {"object": intent},
    } | changes


def body(**changes: Any) -> bytes:
    return json.dumps(event(**changes)).encode()


def header(signed: bytes, secret: str = SECRET, at: int = 1_704_067_200) -> str:
    digest = hmac.new(secret.encode(), b"%d." % at + signed, "sha256").hexdigest()
    return f"t={at},v1={digest}"


NOW = 1_704_067_200
BODY = body()
GOOD = header(BODY)
SIGNATURE = GOOD.partition("v1=")[2]


@pytest.fixture
def shop(shop: Shop) -> Shop:
    quote = Quote(
        quote_id="quote_1",
        user_id="ada",
        amount_minor=1_000,
        currency="usd",
        credits=100,
        package_id=None,
        customer_id=None,
        rule="rate",
        expires_seconds=None,
        fingerprint="f",
        payment_intent_id=None,
        created_at="",
    )
    shop.system.queue.submit(KeepQuote(quote=quote))
    return shop


def rows(shop: Shop) -> int:
    storage = shop.system._storage
    return sum(len(list(storage.scan(kind, order=(kind.KEY,)))) for kind in RECORDS) - 1


def test_a_signed_payment_is_applied_once(shop: Shop) -> None:
    first = shop.system.webhooks.receive(BODY, GOOD)
    assert first == cp.Delivery(
        event_id="evt_1", type="payment_intent.succeeded", outcome="applied"
    )
    assert shop.system.webhooks.receive(BODY, GOOD).outcome == "duplicate"
    assert shop.receive(body(id="evt_2")).outcome == "duplicate"
    assert shop.system.wallets.balance("ada").available == 100


# -- signatures -------------------------------------------------------------------------------

BAD_HEADERS: dict[str, Any] = {
    "none": None,
    "empty": "",
    "bytes": GOOD.encode(),
    "number": 7,
    "no timestamp": f"v1={SIGNATURE}",
    "no signature": f"t={NOW}",
    "v0 only": f"t={NOW},v0={SIGNATURE}",
    "empty signature": f"t={NOW},v1=",
    "short signature": f"t={NOW},v1={SIGNATURE[:-1]}",
    "long signature": f"t={NOW},v1={SIGNATURE}0",
    "upper case": f"t={NOW},v1={SIGNATURE.upper()}",
    "non-ascii": f"t={NOW},v1={SIGNATURE[:-1]}é",
    "non-ascii timestamp": f"t=\u0661{str(NOW)[1:]},v1={SIGNATURE}",
    "surrogate": f"{GOOD}\ud800",
    "two timestamps": f"t={NOW},{GOOD}",
    "negative": f"t=-{NOW},v1={SIGNATURE}",
    "float": f"t={NOW}.0,v1={SIGNATURE}",
    "underscore": f"t=1_704_067_200,v1={SIGNATURE}",
    "space": f"t= {NOW},v1={SIGNATURE}",
    "huge timestamp": f"t={'9' * 2_000},v1={SIGNATURE}",
    "leading zero": f"t=0{NOW},v1={SIGNATURE}",
    "too many": f"t={NOW}," + ",".join(["v1=" + "0" * 64] * 17),
    "huge": GOOD + "," + "x" * 3_000,
    "huge list": GOOD + ",v1=" * 5_000,
    "another secret": header(BODY, "whsec_other"),
    "empty secret": header(BODY, ""),
    "of another body": header(BODY + b" "),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_header_that_stripe_would_not_send_is_refused(shop: Shop, name: str) -> None:
    with pytest.raises(cp.InvalidSignature) as caught:
        shop.system.webhooks.receive(BODY, BAD_HEADERS[name])
    assert SECRET not in str(caught.value)
    assert rows(shop) == 0


@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_a_timestamp_within_the_tolerance_is_accepted(shop: Shop, seconds: int) -> None:
    signed = header(BODY, at=NOW + seconds)
    assert shop.system.webhooks.receive(BODY, signed).outcome == "applied"


@pytest.mark.parametrize("seconds", [-301, 301, -NOW, 10 * 365 * 86_400])
def test_a_timestamp_outside_the_tolerance_is_refused(shop: Shop, seconds: int) -> None:
    with pytest.raises(cp.InvalidSignature):
        shop.system.webhooks.receive(BODY, header(BODY, at=NOW + seconds))
    assert rows(shop) == 0


def test_every_single_bit_counts(shop: Shop) -> None:
    small = b'{"id":"evt_1","type":"x","created":1,"data":{"object":{}}}'
    signed = header(small)
    verify = shop.system.webhooks.verify
    assert verify(small, signed).id == "evt_1"
    for position in range(len(small) * 8):
        flipped = bytearray(small)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(cp.InvalidSignature):
            verify(bytes(flipped), signed)
    for position in range(len(signed) * 8):
        flipped = bytearray(signed.encode())
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(cp.InvalidSignature):
            verify(small, flipped.decode("latin-1"))


@pytest.mark.parametrize("used", ["whsec_old", "whsec_new"])
def test_while_a_secret_is_rotated_both_are_accepted(clock: Any, used: str) -> None:
    storage = MemoryStorage()
    processor = cp.WebhookProcessor(
        PostingQueue(storage, clock), clock, secrets=["whsec_old", "whsec_new"]
    )
    assert processor.verify(BODY, header(BODY, used)).id == "evt_1"
    both = f"{header(BODY, 'whsec_x')},v1={header(BODY, used).partition('v1=')[2]}"
    assert processor.verify(BODY, both).id == "evt_1"


@pytest.mark.parametrize("secrets", [(), ("",), ("", "")], ids=str)
def test_without_a_secret_nothing_is_accepted(clock: Any, secrets: tuple[str, ...]) -> None:
    processor = cp.WebhookProcessor(PostingQueue(MemoryStorage(), clock), clock, secrets=secrets)
    with pytest.raises(cp.NotConfigured):
        processor.receive(BODY, header(BODY, ""))


def test_what_stripes_own_library_signs_is_accepted(shop: Shop) -> None:
    signed = stripe.WebhookSignature.generate_signature_header(BODY.decode(), SECRET, NOW)
    assert shop.system.webhooks.receive(BODY, signed).outcome == "applied"


def test_what_we_sign_is_accepted_by_stripes_own_library(clock: Any) -> None:
    text = json.dumps(event() | {"object": "event"}).encode()
    signed = signature.sign(text, secret=signature.SigningSecret(SECRET), timestamp=NOW)
    read = stripe.Webhook.construct_event(text, signed, SECRET, tolerance=10**9)
    assert read.id == "evt_1"


# -- payloads ---------------------------------------------------------------------------------


def with_object(**changes: Any) -> bytes:
    given = event()
    given["data"]["object"].update(changes)
    return json.dumps(given).encode()


def without(*path: str) -> bytes:
    given = event()
    at: Any = given
    for name in path[:-1]:
        at = at[name]
    del at[path[-1]]
    return json.dumps(given).encode()


BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "list": b"[]",
    "string": b'"x"',
    "null": b"null",
    "number": b"1",
    "cut off": BODY[:-1],
    "trailing": BODY + b"x",
    "two": BODY + BODY,
    "bom": b"\xef\xbb\xbf" + BODY,
    "utf-16": BODY.decode().encode("utf-16"),
    "not utf-8": BODY.replace(b'"ada"', b'"\xff\xfe"'),
    "unread not utf-8": BODY.replace(b'"data"', b'"other": "\xff", "data"'),
    "nan": BODY.replace(b"1000", b"NaN", 1),
    "infinity": BODY.replace(b"1000", b"1e400", 1),
    "unread nan": BODY.replace(b'"data"', b'"other": NaN, "data"'),
    "float": BODY.replace(b"1000", b"1000.0", 1),
    "exponent": BODY.replace(b"1000", b"1e3", 1),
    "huge": BODY.replace(b"1000", b"1" + b"0" * 30, 1),
    "negative": with_object(amount=-1),
    "negative received": with_object(amount_received=-1),
    "amount text": with_object(amount="1000"),
    "amount true": with_object(amount=True),
    "amount null": with_object(amount=None),
    "created huge": with_object(created=10**18),
    "status number": with_object(status=7),
    "metadata list": with_object(metadata=[]),
    "metadata number": with_object(metadata={"user_id": 7}),
    "metadata query": with_object(metadata={"user_id": {"$gt": ""}}),
    "surrogate": with_object(metadata={"user_id": "\ud800"}),
    "too deep": BODY.replace(b"1000", b"[" * 70 + b"]" * 70, 1),
    "far too deep": b"[" * 200_000,
    "deep and broken": b"[" * 70 + b'"' + b'\\"' * 100_000,
    "too large": BODY + b" " * (1 << 20),
    "id list": body(id=["evt_1"]),
    "id empty": body(id=""),
    "id of another kind": body(id="pi_1"),
    "id with a query": body(id="evt_$ne"),
    "id long": body(id="evt_" + "a" * 300),
    "type number": body(type=7),
    "type strange": body(type="A b"),
    "data list": body(data=[]),
    "object list": body(data={"object": []}),
    "object null": body(data={"object": None}),
    "no id": without("id"),
    "no type": without("type"),
    "no data": without("data"),
    "no object": without("data", "object"),
    "no intent id": without("data", "object", "id"),
    "no status": without("data", "object", "status"),
    "no currency": without("data", "object", "currency"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_signed_body_that_is_no_event_is_refused_and_stores_nothing(
    shop: Shop, name: str
) -> None:
    with pytest.raises(cp.InvalidPayload):
        shop.receive(BAD_BODIES[name])
    assert rows(shop) == 0


@pytest.mark.parametrize("value", ["", "ch_1", "pi_$gt", "pi_" + "a" * 300])
def test_an_intents_id_must_be_one(shop: Shop, value: str) -> None:
    with pytest.raises(cp.InvalidPayload):
        shop.receive(with_object(id=value))


@pytest.mark.parametrize("given", [BODY.decode(), bytearray(BODY), memoryview(BODY), None, {}])
def test_only_raw_bytes_are_read(shop: Shop, given: Any) -> None:
    with pytest.raises(cp.InvalidPayload) as caught:
        shop.system.webhooks.receive(given, GOOD)
    assert caught.value.param == "body"


def test_brackets_inside_text_do_not_nest(shop: Shop) -> None:
    text = with_object(description="[" * 500 + '\\"{' * 50)
    assert shop.receive(text).outcome == "applied"


def test_events_of_other_types_are_ignored_and_store_nothing(shop: Shop) -> None:
    for event_type in ("customer.created", "charge.succeeded", "payment_intent.created", "v2.x"):
        delivery = shop.deliver(event_type, {"anything": [1, 2.5, None]})
        assert delivery.outcome == "ignored"
    assert rows(shop) == 0


def test_a_refund_of_a_bare_charge_is_not_ours(shop: Shop) -> None:
    fields = {"id": "re_1", "amount": 1, "currency": "usd", "status": "succeeded", "charge": "ch_1"}
    assert shop.deliver("refund.created", fields).outcome == "ignored"
    assert rows(shop) == 0


# -- versions of the API ----------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2023-10-16", "2026-10-28.endive"])
@pytest.mark.parametrize("expanded", [False, True])
def test_payloads_of_old_and_new_api_versions_are_understood(
    shop: Shop, version: str, expanded: bool
) -> None:
    def ref(name: str) -> Any:
        return {"id": name, "object": "any", "nested": {"id": "x"}} if expanded else name

    extra: dict[str, Any] = {"latest_charge": ref("ch_1"), "customer": ref("cus_1")}
    if version.startswith("2023"):
        extra |= {"charges": {"object": "list", "data": []}, "source": None, "invoice": None}
    else:
        extra |= {"amount_details": {"tip": {}}, "excess": {"unknown": [1.5, None, True]}}
    paid = json.loads(with_object(**extra)) | {"api_version": version, "request": {"id": None}}
    assert shop.receive(json.dumps(paid).encode()).outcome == "applied"
    fields = {
        "id": "re_1", "amount": 500, "currency": "usd", "status": "succeeded",
        "payment_intent": ref("pi_1"), "charge": ref("ch_1"), "reason": None,
    }  # fmt: skip
    assert shop.deliver("charge.refund.updated", fields).outcome == "applied"
    assert shop.system.wallets.balance("ada").available == 50
    dispute = {
        "id": "dp_1", "amount": 500, "currency": "usd", "reason": "general",
        "status": "needs_response", "created": 1, "payment_intent": ref("pi_1"), "evidence": {},
    }  # fmt: skip
    assert shop.deliver("charge.dispute.created", dispute).outcome == "applied"


def test_an_event_that_the_database_refused_can_be_delivered_again(shop: Shop) -> None:
    shop.system.queue.close()
    with pytest.raises(cp.TryAgain):
        shop.system.webhooks.receive(BODY, GOOD)
    assert rows(shop) == 0
    shop.system.queue._line.reset()
    assert shop.system.webhooks.receive(BODY, GOOD).outcome == "applied"


def test_random_bytes_never_raise_anything_else(shop: Shop) -> None:
    chance = random.Random(11)
    for _ in range(500):
        mangled = bytearray(BODY)
        for _ in range(chance.randint(1, 4)):
            mangled[chance.randrange(len(mangled))] = chance.randrange(256)
        try:
            shop.receive(bytes(mangled))
        except cp.InvalidPayload:
            continue
    assert shop.system.wallets.balance("ada").available in (0, 100)
    assert len(list(shop.system._storage.scan(Payment, order=("payment_intent_id",)))) <= 1
    assert shop.system.verify().ok
