"""Walking what Stripe knows, with the real SDK over HTTP: the simulator, then a scripted server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import pytest
import stripe
from tests.integration.test_stripe_gateway_scripted import KEY, Answer, Script, error_body

from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.stripe_gateway import StripeGateway
from credit_payments.domain import events
from credit_payments.domain.stripe_facts import (
    DisputeFacts,
    MovementFacts,
    PaymentIntentFacts,
    RefundFacts,
)
from credit_payments.errors import InvalidPayload, InvalidRequest, NotFound, StripeUnavailable
from credit_payments.ports.gateway import Listed, PaymentGateway
from credit_payments.testing.simulator import StripeSimulator

T = TypeVar("T")

START = 1_700_000_000
DAY_SECONDS = 24 * 3600
PAGES_MAX = 20
"""More than any walk here has: a walk that does not end is a failure, not a hang."""

Turn = Callable[[str | None], Listed[T]]


@pytest.fixture
def simulator() -> Iterator[StripeSimulator]:
    with StripeSimulator(start_time=START) as simulator:
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


def gateway_to(url: str) -> StripeGateway:
    return StripeGateway(KEY, api_base=url, retry=RetryPolicy.immediate(attempts=3))


_keys = count()


def create(gateway: PaymentGateway, amount_minor: int = 1_000) -> str:
    return gateway.create_payment_intent(
        amount_minor=amount_minor,
        currency="usd",
        metadata={},
        customer=None,
        description=None,
        idempotency_key=f"intent:{next(_keys)}",
    ).id


def paid(gateway: PaymentGateway, simulator: StripeSimulator, amount_minor: int = 1_000) -> str:
    intent_id = create(gateway, amount_minor)
    assert simulator.pay(intent_id)["status"] == "succeeded"
    return intent_id


def refund(gateway: PaymentGateway, intent_id: str, amount_minor: int | None = None) -> str:
    return gateway.create_refund(
        payment_intent_id=intent_id,
        amount_minor=amount_minor,
        reason=None,
        metadata={},
        idempotency_key=f"refund:{next(_keys)}",
    ).id


def walk(turn: Turn[T]) -> list[Listed[T]]:
    """Every page, to the end."""
    pages = [turn(None)]
    while pages[-1].cursor is not None:
        assert len(pages) < PAGES_MAX
        pages.append(turn(pages[-1].cursor))
    return pages


def everything(turn: Turn[T]) -> list[T]:
    return [item for page in walk(turn) for item in page.items]


def intents(
    gateway: PaymentGateway, since: int = 0, until: int | None = None
) -> Turn[PaymentIntentFacts]:
    return lambda cursor: gateway.list_payment_intents(since=since, until=until, cursor=cursor)


def refunds(gateway: PaymentGateway, since: int = 0, until: int | None = None) -> Turn[RefundFacts]:
    return lambda cursor: gateway.list_refunds(since=since, until=until, cursor=cursor)


def disputes(
    gateway: PaymentGateway, since: int = 0, until: int | None = None
) -> Turn[DisputeFacts]:
    return lambda cursor: gateway.list_disputes(since=since, until=until, cursor=cursor)


def happened(
    gateway: PaymentGateway, *types: str, since: int = 0, until: int | None = None
) -> Turn[events.Event]:
    return lambda cursor: gateway.list_events(since=since, until=until, types=types, cursor=cursor)


# --- a whole walk -----------------------------------------------------------------------------


def test_intents_are_walked_to_the_end_in_pages_of_100_newest_first(
    gateway: StripeGateway,
) -> None:
    made = [create(gateway) for _ in range(205)]
    pages = walk(intents(gateway))
    assert [len(page.items) for page in pages] == [100, 100, 5]
    assert [item.id for page in pages for item in page.items] == made[::-1]
    assert all(page.unreadable == () for page in pages)


def test_a_last_page_that_is_full_has_no_other_behind_it(gateway: StripeGateway) -> None:
    for _ in range(100):
        create(gateway)
    assert [len(page.items) for page in walk(intents(gateway))] == [100]


def test_where_there_is_nothing_the_first_page_is_the_last(gateway: StripeGateway) -> None:
    nothing: Listed[Any] = Listed(items=())
    assert intents(gateway)(None) == nothing
    assert refunds(gateway)(None) == nothing
    assert disputes(gateway)(None) == nothing
    assert happened(gateway, "refund.created")(None) == nothing


def test_refunds_are_walked_to_the_end_and_say_when_they_were_made(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    intent_id = paid(gateway, simulator, 1_010)
    made = []
    for _ in range(101):
        simulator.clock.advance(seconds=1)
        made.append((refund(gateway, intent_id, 10), simulator.clock.now()))
    pages = walk(refunds(gateway))
    assert [len(page.items) for page in pages] == [100, 1]
    found = [item for page in pages for item in page.items]
    assert [(item.id, item.created) for item in found] == made[::-1]
    assert {(item.amount, item.payment_intent) for item in found} == {(10, intent_id)}


def test_disputes_are_walked_to_the_end_with_their_movements(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    made = [simulator.open_dispute(paid(gateway, simulator))["id"] for _ in range(101)]
    pages = walk(disputes(gateway))
    assert [len(page.items) for page in pages] == [100, 1]
    found = [item for page in pages for item in page.items]
    assert [item.id for item in found] == made[::-1]
    [movement] = found[0].balance_transactions or []
    assert isinstance(movement, MovementFacts)
    assert movement.amount == -1_000


def test_events_are_walked_to_the_end_and_are_those_that_webhooks_bring(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    made = [paid(gateway, simulator) for _ in range(101)]
    refund(gateway, made[0])
    pages = walk(happened(gateway, "payment_intent.succeeded"))
    assert [len(page.items) for page in pages] == [100, 1]
    found = [item for page in pages for item in page.items]
    assert {item.type for item in found} == {"payment_intent.succeeded"}
    facts = [item.facts for item in found]
    assert [each.id for each in facts if each is not None] == made[::-1]
    for event in found[:3]:
        body = json.dumps(gateway.retrieve_event(event.id)).encode()
        assert event == events.read_event(body)


def test_only_the_events_of_the_given_types_are_listed(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    refund(gateway, paid(gateway, simulator))
    types = ("refund.created", "payment_intent.succeeded")
    found = everything(happened(gateway, *types))
    assert [event.type for event in found] == list(types)


def test_every_type_that_is_read_fits_one_request(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    refund(gateway, paid(gateway, simulator))
    found = everything(happened(gateway, *events.READ))
    assert {"refund.created", "payment_intent.succeeded"} <= {event.type for event in found}
    assert all(event.facts is not None for event in found)


@pytest.mark.parametrize("types", [[], ["x.y"] * 21, "x.y"], ids=["none", "too many", "not a list"])
def test_a_number_of_types_that_no_request_takes_is_refused_before_it_is_sent(
    scripted: StripeGateway, script: Script, types: Any
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        scripted.list_events(since=0, until=None, types=types, cursor=None)
    assert caught.value.param == "types"
    assert script.requests == []


def test_since_is_inclusive_and_until_exclusive(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    for _ in range(3):  # at START, one second later, two seconds later
        intent_id = paid(gateway, simulator)
        refund(gateway, intent_id, 1)
        simulator.open_dispute(intent_id)
        simulator.clock.advance(seconds=1)

    def seconds(since: int, until: int | None) -> list[list[int]]:
        begin, end = START + since, None if until is None else START + until
        walks: list[list[Any]] = [
            everything(intents(gateway, begin, end)),
            everything(refunds(gateway, begin, end)),
            everything(disputes(gateway, begin, end)),
            everything(happened(gateway, "payment_intent.succeeded", since=begin, until=end)),
        ]
        return [[item.created - START for item in found] for found in walks]

    assert seconds(0, None) == [[2, 1, 0]] * 4
    assert seconds(1, None) == [[2, 1]] * 4
    assert seconds(0, 2) == [[1, 0]] * 4
    assert seconds(1, 2) == [[1]] * 4
    assert seconds(1, 1) == [[]] * 4
    assert seconds(3, None) == [[]] * 4


def test_what_is_created_during_a_walk_neither_repeats_nor_displaces_what_is_older(
    gateway: StripeGateway,
) -> None:
    # All in one second, where a position instead of an object would be wrong at once.
    made = [create(gateway) for _ in range(150)]
    later: list[str] = []

    def turn(cursor: str | None) -> Listed[PaymentIntentFacts]:
        page = gateway.list_payment_intents(since=0, until=None, cursor=cursor)
        later.extend(create(gateway) for _ in range(30))
        return page

    assert [item.id for item in everything(turn)] == made[::-1]
    assert later
    assert [item.id for item in everything(intents(gateway))] == (made + later)[::-1]


# --- single objects ---------------------------------------------------------------------------


def test_one_refund_and_one_dispute_are_read(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    intent_id = paid(gateway, simulator)
    refund_id = refund(gateway, intent_id, 10)
    dispute_id = simulator.open_dispute(intent_id)["id"]
    assert [gateway.retrieve_refund(refund_id)] == everything(refunds(gateway))
    assert [gateway.retrieve_dispute(dispute_id)] == everything(disputes(gateway))


def test_a_whole_event_is_plain_data_and_exactly_what_was_sent(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    paid(gateway, simulator)
    [event] = everything(happened(gateway, "payment_intent.succeeded"))
    whole = gateway.retrieve_event(event.id)
    assert whole == simulator.peek("events", event.id)
    assert json.loads(json.dumps(whole)) == whole
    assert events.from_object(whole) == event


def test_what_stripe_does_not_have_is_not_found(gateway: StripeGateway) -> None:
    with pytest.raises(NotFound):
        gateway.retrieve_refund("re_missing")
    with pytest.raises(NotFound):
        gateway.retrieve_dispute("dp_missing")
    with pytest.raises(NotFound):
        gateway.retrieve_event("evt_missing")


def test_an_event_older_than_thirty_days_is_neither_listed_nor_found(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    paid(gateway, simulator)
    turn = happened(gateway, "payment_intent.succeeded")
    [event] = everything(turn)
    simulator.clock.advance(seconds=30 * DAY_SECONDS)
    assert everything(turn) == [event]
    simulator.clock.advance(seconds=1)
    assert everything(turn) == []
    with pytest.raises(NotFound):
        gateway.retrieve_event(event.id)


def test_what_the_sdk_makes_of_a_decimal_is_plain_data_again(
    scripted: StripeGateway, script: Script
) -> None:
    price = {"id": "price_1", "object": "price", "unit_amount_decimal": "10.50"}
    event = event_about(price, type="price.created")
    script.will_answer(Answer(event))
    assert scripted.retrieve_event("evt_1") == event


@pytest.mark.parametrize("answer", [{"id": "evt_1"}, {"object": "list", "data": []}, [], 5])
def test_an_answer_that_is_no_event_is_no_usable_answer(
    scripted: StripeGateway, script: Script, answer: object
) -> None:
    script.will_answer(Answer(answer))
    with pytest.raises(StripeUnavailable):
        scripted.retrieve_event("evt_1")


# --- what cannot be read ----------------------------------------------------------------------

INTENT: Mapping[str, Any] = {
    "id": "pi_1",
    "object": "payment_intent",
    "status": "succeeded",
    "amount": 1_000,
    "currency": "usd",
    "created": START,
}
REFUND: Mapping[str, Any] = {
    "id": "re_1",
    "object": "refund",
    "amount": 5,
    "currency": "usd",
    "created": START,
    "payment_intent": "pi_1",
}
DISPUTE: Mapping[str, Any] = {
    "id": "dp_1",
    "object": "dispute",
    "amount": 5,
    "currency": "usd",
    "reason": "fraudulent",
    "status": "lost",
    "created": START,
}
EVENT: Mapping[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "refund.created",
    "created": START,
    "data": {"object": REFUND},
}


def page_of(*data: object, has_more: bool = False) -> Answer:
    return Answer({"object": "list", "url": "/v1/x", "has_more": has_more, "data": list(data)})


def event_about(subject: object, **given: object) -> dict[str, object]:
    return {**EVENT, "data": {"object": subject}, **given}


@pytest.mark.parametrize(
    ("turn", "good", "bad"),
    [
        (intents, INTENT, {**INTENT, "id": "pi_2", "amount": "1000"}),
        (intents, INTENT, {**INTENT, "id": "pi_2", "amount": -1}),
        (intents, INTENT, {**INTENT, "id": "pi_2", "created": None}),
        (intents, INTENT, {**INTENT, "id": "pi_2", "object": "charge"}),
        (intents, INTENT, {**INTENT, "id": "pi_2", "metadata": {"user_id": "\ud800"}}),
        (intents, INTENT, {**INTENT, "id": "of-a-form-to-come"}),
        (refunds, REFUND, {**REFUND, "id": "re_2", "payment_intent": "ch_1"}),
        (refunds, REFUND, {**REFUND, "id": "re_2", "created": 1.5}),
        (refunds, REFUND, {"id": "re_2"}),
        (disputes, DISPUTE, {**DISPUTE, "id": "dp_2", "reason": 7}),
        (disputes, DISPUTE, {**DISPUTE, "id": "dp_2", "balance_transactions": [7]}),
        (happened, EVENT, event_about({**REFUND, "amount": None}, id="evt_2")),
        (happened, EVENT, event_about(DISPUTE, id="evt_2")),
        (happened, EVENT, event_about(REFUND, id="evt_2", type="refund\ncreated")),
        (happened, EVENT, event_about(REFUND, id="evt-2")),
    ],
)
def test_an_object_that_cannot_be_read_is_named_and_ends_no_walk(
    scripted: StripeGateway,
    script: Script,
    turn: Callable[..., Turn[Any]],
    good: Mapping[str, Any],
    bad: Mapping[str, Any],
) -> None:
    script.will_answer(page_of(bad, good, bad, has_more=True), page_of(good))
    arguments = ["refund.created"] if turn is happened else []
    first, last = walk(turn(scripted, *arguments))
    assert [item.id for item in first.items] == [good["id"]]
    assert first.unreadable == (bad["id"], bad["id"])
    assert first.cursor == bad["id"]  # what cannot be read has its place in the list all the same
    assert (len(last.items), last.unreadable) == (1, ())


def test_a_row_that_went_bad_at_stripe_is_named_on_its_page(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    made = [create(gateway) for _ in range(103)]
    for index in (3, 2, 102):  # the last of a page, the first of the next, the first of all
        simulator._account.payment_intents.rows[made[index]]["amount"] = "a lot"
    first, last = walk(intents(gateway))
    assert first.unreadable == (made[102], made[3])
    assert last.unreadable == (made[2],)
    assert [item.id for page in (first, last) for item in page.items] == [
        *made[101:3:-1],
        made[1],
        made[0],
    ]


def test_a_refund_and_a_dispute_of_a_charge_without_an_intent_are_read(
    scripted: StripeGateway, script: Script
) -> None:
    script.will_answer(
        page_of({**REFUND, "payment_intent": None, "charge": "ch_1"}),
        page_of({**DISPUTE, "payment_intent": None, "charge": "ch_1"}),
    )
    [refunded] = everything(refunds(scripted))
    [disputed] = everything(disputes(scripted))
    assert (refunded.payment_intent, refunded.charge) == (None, "ch_1")
    assert (disputed.payment_intent, disputed.charge) == (None, "ch_1")


@pytest.mark.parametrize(
    "answer",
    [
        page_of({**INTENT, "id": None}),
        page_of({**INTENT, "id": "two\nlines"}),
        page_of(7),
        page_of(None),
        page_of(*[INTENT] * 101),
        page_of(has_more=True),
        Answer({"object": "list", "data": [INTENT]}),
        Answer({"object": "list", "has_more": False}),
        Answer({"object": "search_result", "has_more": False, "data": []}),
        Answer(INTENT),
        Answer([]),
        Answer(b"<html>"),
    ],
    ids=[
        "no id",
        "an id of two lines",
        "a number",
        "null",
        "more than 100",
        "more after nothing",
        "no word about more",
        "no data",
        "another kind of list",
        "no list",
        "an array",
        "no JSON",
    ],
)
def test_a_page_that_cannot_be_trusted_is_no_usable_answer(
    scripted: StripeGateway, script: Script, answer: Answer
) -> None:
    script.will_answer(answer)
    with pytest.raises(StripeUnavailable):
        intents(scripted)(None)


def test_a_page_that_leads_back_to_itself_is_no_usable_answer(
    scripted: StripeGateway, script: Script
) -> None:
    script.will_answer(page_of(INTENT, has_more=True))
    assert intents(scripted)(None).cursor == "pi_1"
    with pytest.raises(StripeUnavailable):
        intents(scripted)("pi_1")


# --- failures ---------------------------------------------------------------------------------


def test_one_page_is_one_request_that_says_what_is_wanted(
    scripted: StripeGateway, script: Script
) -> None:
    script.will_answer(page_of())
    intents(scripted, 5)(None)
    refunds(scripted, 5, 9)("re_1")
    happened(scripted, "x.y", "x.z", since=5, until=9)("evt_1")
    assert {request.method for request in script.requests} == {"GET"}
    asked = [urlsplit(request.path) for request in script.requests]
    assert [(url.path, parse_qsl(url.query)) for url in asked] == [
        ("/v1/payment_intents", [("limit", "100"), ("created[gte]", "5")]),
        (
            "/v1/refunds",
            [
                ("limit", "100"),
                ("created[gte]", "5"),
                ("created[lt]", "9"),
                ("starting_after", "re_1"),
            ],
        ),
        (
            "/v1/events",
            [
                ("limit", "100"),
                ("created[gte]", "5"),
                ("created[lt]", "9"),
                ("starting_after", "evt_1"),
                ("types[0]", "x.y"),
                ("types[1]", "x.z"),
            ],
        ),
    ]


def test_a_busy_stripe_is_asked_again_when_it_says(script: Script) -> None:
    waits: list[float] = []
    gateway = StripeGateway(KEY, api_base=script.url, retry=RetryPolicy(sleep=waits.append))
    script.will_answer(
        Answer(error_body(code="rate_limit"), status=429, headers={"Retry-After": "17"}),
        page_of(REFUND),
    )
    assert [item.id for item in everything(refunds(gateway))] == ["re_1"]
    gateway.close()
    assert waits == [17.0]
    first, again = script.requests
    assert first.path == again.path


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_in_the_middle_of_a_walk_neither_repeats_nor_loses_a_page(
    gateway: StripeGateway, simulator: StripeSimulator, status: int
) -> None:
    made = [create(gateway) for _ in range(150)]
    turn = intents(gateway)
    first = turn(None)
    simulator.faults.next(status, times=2, method="GET")
    last = turn(first.cursor)
    simulator.faults.next(status, times=3, method="GET")
    with pytest.raises(StripeUnavailable):
        turn(first.cursor)
    assert simulator.faults.planned == ()
    assert [item.id for item in (*first.items, *last.items)] == made[::-1]
    assert turn(first.cursor) == last


def test_a_lost_connection_is_asked_again(
    gateway: StripeGateway, simulator: StripeSimulator
) -> None:
    made = [create(gateway) for _ in range(3)]
    simulator.faults.lose_reply(times=2, method="GET")
    assert [item.id for item in everything(intents(gateway))] == made[::-1]
    assert simulator.faults.planned == ()
    simulator.faults.lose_reply(times=3, method="GET")
    with pytest.raises(StripeUnavailable):
        intents(gateway)(None)


def test_a_cursor_that_stripe_does_not_know_is_not_found(gateway: StripeGateway) -> None:
    create(gateway)
    for turn in (
        intents(gateway),
        refunds(gateway),
        disputes(gateway),
        happened(gateway, "refund.created"),
    ):
        with pytest.raises(NotFound) as caught:
            turn("xx_missing")
        assert caught.value.param == "starting_after"
        assert isinstance(caught.value.__cause__, stripe.InvalidRequestError)


# --- an event's plain data --------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        event_about({**REFUND, "payment_intent": {"id": "pi_1", "object": "payment_intent"}}),
        event_about({key: value for key, value in REFUND.items() if key != "object"}),
        event_about({"id": "cus_1", "object": "customer"}, type="customer.created"),
        event_about({**REFUND, "amount": None}, type="customer.created"),
        event_about(INTENT),
        event_about({**REFUND, "amount": 5.0}),
        event_about(REFUND, livemode=None),
        event_about(REFUND, created="1"),
        event_about(REFUND, id="pi_1"),
        event_about(REFUND, type="UPPER"),
        event_about(REFUND, other={"a": "\ud800"}),
        event_about(REFUND, other=json.loads("[" * 70 + "]" * 70)),
        {**EVENT, "data": None},
        {},
    ],
)
def test_plain_data_makes_the_event_that_its_bytes_make(event: Mapping[str, Any]) -> None:
    def outcome(read: Callable[[], events.Event]) -> events.Event | None:
        try:
            return read()
        except InvalidPayload:
            return None

    # As UTF-8, where half a surrogate pair is what it is in plain data: not a text.
    body = json.dumps(event, ensure_ascii=False).encode(errors="surrogatepass")
    assert outcome(lambda: events.from_object(event)) == outcome(lambda: events.read_event(body))


@pytest.mark.parametrize("data", [{"id": object()}, {"id": "\ud800"}, {b"\xff": 1}, [], None])
def test_what_is_not_plain_data_of_an_event_is_invalid(data: Any) -> None:
    with pytest.raises(InvalidPayload) as caught:
        events.from_object(data)
    assert caught.value.__context__ is None  # a UnicodeEncodeError would carry the text along
