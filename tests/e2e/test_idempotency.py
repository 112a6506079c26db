"""The header `Idempotency-Key` over real sockets, on each framework."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from threading import Barrier

from tests.support.live_shop import LiveShop

Answer = tuple[int, str | None, bytes]


def post(
    shop: LiveShop,
    keys: Sequence[bytes],
    *,
    path: str = "/create-payment-intent",
    user: str = "ada",
) -> Answer:
    """One request with the header once for each of the keys, which no client library would send."""
    body = json.dumps({"user_id": user, "amount": 10}).encode()
    if path == "/customers":
        body = json.dumps({"user_id": user, "email": f"{user}@example.com"}).encode()
    with closing(HTTPConnection("127.0.0.1", shop.port, timeout=20)) as connection:
        connection.putrequest("POST", f"/stripe{path}")
        for name, value in (("X-User", user), ("Content-Type", "application/json")):
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        for key in keys:
            connection.putheader("Idempotency-Key", key)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.getheader("Idempotent-Replayed"), response.read()


def test_a_repetition_is_told_the_first_answer(shop: LiveShop) -> None:
    for path, kind in (("/create-payment-intent", "payment_intents"), ("/customers", "customers")):
        status, replayed, first = post(shop, [b"order-1"], path=path)
        assert (status, replayed) == (200, None)
        assert post(shop, [b"order-1"], path=path) == (200, "true", first)
        assert len(shop.simulator.call("GET", f"/v1/{kind}")["data"]) == 1
    # White space around a value is none of it, whatever the server hands on.
    assert post(shop, [b"  order-1 "]) == (200, "true", post(shop, [b"order-1"])[2])
    other = post(shop, [b"order-1"], user="bob")
    assert other[:2] == (200, None)
    assert len(shop.rows("SELECT * FROM idempotent_requests")) == 3


def test_a_key_that_cannot_be_read_in_one_way_is_refused(shop: LiveShop) -> None:
    bad = [[b"one", b"two"], [b"one", b"one"], [b""], [b"a b"], [b"cl\xe9"], [b"k" * 201]]
    for keys in bad:
        status, _, body = post(shop, keys)
        assert (status, json.loads(body)["param"]) == (400, "Idempotency-Key"), keys
    assert shop.rows("SELECT * FROM idempotent_requests") == []
    assert shop.simulator.call("GET", "/v1/payment_intents")["data"] == []


def test_many_at_once_make_one_intent_and_hear_of_it_or_are_told_to_wait(shop: LiveShop) -> None:
    together = Barrier(16)

    def ask(_: int) -> Answer:
        together.wait(20)
        return post(shop, [b"order-1"])

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(16)))
    assert {status for status, _, _ in answers} <= {200, 409}
    [given] = {body for status, _, body in answers if status == 200}
    assert post(shop, [b"order-1"]) == (200, "true", given)
    assert len(shop.simulator.call("GET", "/v1/payment_intents")["data"]) == 1
    assert len(shop.rows("SELECT * FROM quotes")) == 1
