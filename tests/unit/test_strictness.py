"""JSON that could be read in two ways, or that some database could not keep: refused, or the same
everywhere; never an error of another kind, and never a dead letter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import WEBHOOK_SECRET, Shop

import credit_payments as cp
from credit_payments.domain import cursors, events
from credit_payments.domain.records import Event, Incident
from credit_payments.domain.stripe_facts import PaymentIntentFacts, storable
from credit_payments.http.parsing import Field, read_body

HOSTS = "plan.created"
OURS = "payment_intent.succeeded"

DIGITS = b"1" * 5_000
VALUES = {
    "a name twice": b'{"a": 1, "a": 2}',
    "a name twice, once in other letters": b'{"a": 1, "\\u0061": 2}',
    "not a number": b"NaN",
    "infinity": b"-Infinity",
    "thousands of digits": DIGITS,
    "thousands of decimals": b"0." + DIGITS,
    "a huge exponent": b"1e999999",
    "a leading zero": b"01",
    "a trailing comma": b"[1,]",
    "a comment": b"/**/ 1",
    "half of a surrogate pair": b'"\\ud800"',
    "the other half": b'"\\udc00 \\ud800"',
    "half a pair as a name": b'{"\\ud800": 1}',
    "half a pair in UTF-8": b'"\xed\xa0\x80"',
    "bytes that are no UTF-8": b'"\xff\xfe"',
    "NUL": b'"a\\u0000b"',
    "NUL as a name": b'{"\\u0000": 1}',
    "a bare NUL": b'"\x00"',
    "a bare line feed": b'"\n"',
    "deep lists": b"[" * 500 + b"]" * 500,
    "deep objects": b'{"a":' * 500 + b"1" + b"}" * 500,
}
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda body: body.decode().encode("utf-16-le"),
    "UTF-32": lambda body: body.decode().encode("utf-32"),
    "more behind it": lambda body: body + b" {}",
    "a NUL behind it": lambda body: body + b"\0",
    "cut off": lambda body: body[:-1],
    "nothing": lambda body: b"",
}
KEPT_WHOLE = {"thousands of decimals", "NUL", "NUL as a name"}
"""What every reader of JSON reads alike: it may be handed on."""


def body_with(extra: bytes, kind: str = OURS) -> bytes:
    described = {
        HOSTS: b'{"id": "plan_1", "object": "plan", "extra": %s}',
        OURS: b'{"id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount": 1000,'
        b' "amount_received": 1000, "currency": "usd", "created": 1, "extra": %s}',
    }[kind]
    return (
        b'{"id": "evt_1", "object": "event", "type": "%s", "created": 1, "data": {"object": %s}}'
        % (kind.encode(), described.replace(b"%s", extra))
    )


@pytest.fixture(params=["inline", "queued"])
def strict_shop(request: pytest.FixtureRequest, clock: Any, database_url: str) -> Iterator[Shop]:
    """A shop in each mode, with a handler of the host's."""
    with cp.connect(
        database=database_url,
        clock=clock,
        stripe_webhook_secret=WEBHOOK_SECRET,
        webhook_mode=request.param,
    ) as system:
        yield Shop(system, clock)


def unapplied(shop: Shop) -> tuple[int, int]:
    """Dead letters, and events that wait."""
    inbox = shop.system.health().inbox
    assert inbox is not None
    return inbox.dead, inbox.waiting


def filed(shop: Shop) -> Sequence[Incident]:
    return shop.system._storage.page(Incident, {}, order=("incident_id",), limit=50)


@pytest.mark.parametrize("name", VALUES)
def test_an_event_of_ours_is_refused_where_any_part_of_it_can_be_read_in_two_ways(
    strict_shop: Shop, name: str
) -> None:
    body = body_with(VALUES[name])
    if name in KEPT_WHOLE:
        assert strict_shop.receive(body).outcome in ("quarantined", "queued")
        assert strict_shop.system.worker().drain().events in (0, 1)
        assert len(filed(strict_shop)) == 1
    else:
        with pytest.raises(cp.InvalidPayload):
            strict_shop.receive(body)
        assert strict_shop.system._storage.page(Event, {}, order=("event_id",), limit=1) == []
    assert strict_shop.system.verify().ok
    assert unapplied(strict_shop) == (0, 0)


@pytest.mark.parametrize("name", VALUES)
def test_an_event_of_the_hosts_is_handed_on_only_where_all_of_it_can_be_read_in_one_way(
    shop: Shop, name: str
) -> None:
    handed: list[Any] = []
    shop.system.webhooks.on(HOSTS)(lambda event: handed.append(event.data["object"]["extra"]))
    body = body_with(VALUES[name], HOSTS)
    if name in KEPT_WHOLE:
        assert shop.receive(body).outcome == "applied"
        assert handed == [json.loads(VALUES[name])]
    else:
        with pytest.raises(cp.InvalidPayload):
            shop.receive(body)
        assert handed == []
        assert shop.system._storage.page(Event, {}, order=("event_id",), limit=1) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_body_in_another_form_is_refused(shop: Shop, form: str) -> None:
    with pytest.raises(cp.InvalidPayload):
        shop.receive(FORMS[form](body_with(b"1")))


NAMES = st.sampled_from(["a", "b", "a:b", ":", "\\u0061", "\\u003a", "\\u003A", '\\":', "\\\\"])
JSON = st.recursive(
    st.sampled_from(
        ["1", "-0.50", "null", '"https://a"', '"\\u003a"', '"\\"a\\":"', '" : "', '"\\\\"']
    ),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(st.tuples(NAMES, st.sampled_from([":", " :", ": "]), inner), max_size=4).map(
            lambda members: "{" + ",".join(f'"{n}"{colon}{v}' for n, colon, v in members) + "}"
        )
    ),
    max_leaves=12,
)


def comes_twice(text: str) -> bool:
    """By looking at each name."""
    found: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) != len(pairs)))
    return any(found)


@given(JSON)
def test_a_name_that_comes_twice_is_found_wherever_it_is(text: str) -> None:
    body = f'{{"data": {text}}}'.encode()
    if comes_twice(body.decode()):
        with pytest.raises(cp.InvalidPayload):
            events.check_names(body)
    else:
        events.check_names(body)
        assert events.read_data(body) == json.loads(text)


NUL = "\0"
WITH_NUL: dict[str, dict[str, Any]] = {
    "status": {"status": f"succeeded{NUL}"},
    "currency": {"currency": f"us{NUL}"},
    "user": {"metadata": {"user_id": f"a{NUL}da", "quote_id": f"q{NUL}"}},
    "a name": {"metadata": {f"user_id{NUL}": "ada"}},
    "references": {"customer": f"cus_{NUL}", "latest_charge": f"ch_{NUL}"},
    "why it failed": {
        "status": "requires_payment_method",
        "last_payment_error": {"code": NUL, "message": NUL, "decline_code": NUL, "type": NUL},
    },
}


OTHERS_WITH_NUL: dict[str, dict[str, Any]] = {
    "refund.created": {
        "id": "re_1", "object": "refund", "amount": 5, "currency": f"usd{NUL}", "status": NUL,
        "payment_intent": "pi_1", "reason": NUL, "charge": NUL,
    },
    "charge.dispute.closed": {
        "id": "dp_1", "object": "dispute", "amount": 5, "currency": "usd", "reason": NUL,
        "status": f"lost{NUL}", "created": 1, "payment_intent": "pi_1", "charge": NUL,
        "balance_transactions": [{"id": NUL, "amount": -5}, NUL],
    },
    "radar.early_fraud_warning.created": {
        "id": "issfr_1", "object": "radar.early_fraud_warning", "created": 1, "fraud_type": NUL,
        "payment_intent": "pi_1", "charge": NUL,
    },
}  # fmt: skip


def test_a_character_that_postgresql_cannot_keep_is_another_one_on_every_database(
    strict_shop: Shop,
) -> None:
    for number, changes in enumerate(WITH_NUL.values()):
        paid = {
            "id": f"pi_{number}",
            "object": "payment_intent",
            "status": "succeeded",
            "amount": 1_000,
            "amount_received": 1_000,
            "currency": "usd",
            "created": 1,
        }
        strict_shop.deliver(OURS, paid | changes)
    for kind, stripe_object in OTHERS_WITH_NUL.items():
        strict_shop.deliver(kind, stripe_object)
    events_kept = strict_shop.system._storage.page(Event, {}, order=("event_id",), limit=50)
    strict_shop.system.worker().drain()
    assert unapplied(strict_shop) == (0, 0)
    assert len(events_kept) >= len(WITH_NUL)
    incidents = filed(strict_shop)
    assert len(incidents) >= len(WITH_NUL) - 2  # nothing was paid in the others
    assert "\\x00" not in repr([msgspec.structs.asdict(row) for row in (*events_kept, *incidents)])
    assert strict_shop.system.verify().ok
    with pytest.raises(cp.InvalidRequest):
        strict_shop.system.wallets.history("ada", cursor=cursors.of_position([5, NUL]))


def test_half_of_a_surrogate_pair_in_an_answer_of_stripes_is_no_text() -> None:
    with pytest.raises(ValueError, match="surrogate") as caught:
        storable(PaymentIntentFacts("pi_1", "\ud800", 5, "usd", 0))
    assert caught.value.__context__ is None


def test_a_cursor_with_a_nul_is_none_that_a_listing_gave(shop: Shop) -> None:
    positions: list[list[str | int]] = [["2024-01-01T00:00:00.000000Z", NUL], [5, NUL], [NUL]]
    for position in positions:
        cursor = cursors.of_position(position)
        with pytest.raises(cp.InvalidRequest):
            shop.system.payments.purchases("ada", cursor=cursor)
        with pytest.raises(cp.InvalidRequest):
            shop.system.wallets.history("ada", cursor=cursor)
        with pytest.raises(cp.InvalidRequest):
            shop.system.events.list(cursor=cursor)


@pytest.mark.parametrize("name", sorted(set(VALUES) - {"NUL"}))
def test_a_request_is_refused_that_could_be_read_in_two_ways(name: str) -> None:
    fields = [Field("user_id"), Field("amount", kind="amount")]
    for field in ("user_id", "amount", "other"):
        with pytest.raises(cp.InvalidRequest):
            read_body(
                b'{"%s": %s}' % (field.encode(), VALUES[name]),
                {"content-type": "application/json"},
                fields if name != "thousands of decimals" or field != "other" else fields[:1],
            )


@pytest.mark.parametrize("form", FORMS)
def test_a_request_in_another_form_is_refused(form: str) -> None:
    with pytest.raises(cp.InvalidRequest):
        read_body(
            FORMS[form](b'{"user_id": "ada"}'),
            {"content-type": "application/json"},
            [Field("user_id")],
        )


@pytest.mark.parametrize("kinds", [[{"$ne": ""}], 5, "spend", [NUL], [None], [["spend"]]])
def test_kinds_that_there_are_not_are_refused_whatever_they_are(shop: Shop, kinds: Any) -> None:
    with pytest.raises(cp.InvalidRequest):
        shop.system.wallets.history("ada", kinds=kinds)


@pytest.mark.parametrize("scheme", ["sqlite:///", "postgresql://", "mongodb://", "memory://"])
def test_a_database_url_that_is_no_text_is_told_of_and_not_quoted(scheme: str) -> None:
    with pytest.raises(cp.ConfigurationError, match="not UTF-8") as caught:
        cp.connect(database=f"{scheme}shop:hunter2\udce9@db/credits")
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("setting", ["refund_policy", "dispute_policy"])
def test_a_policy_of_another_type_is_refused(setting: str) -> None:
    given: dict[str, Any] = {setting: ["negative"]}
    with pytest.raises(cp.ConfigurationError, match=setting):
        cp.Settings(**given)


@pytest.mark.parametrize(
    "text", ["\ud800", '{"version": 1, "through": "\ud800"}', b"\xff", "[" * 9_999]
)
def test_a_seal_that_is_no_text_is_no_seal(text: str | bytes) -> None:
    with pytest.raises(cp.InvalidRequest):
        cp.Seal.from_json(text)
