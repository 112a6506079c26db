"""Attempts to reach what is another user's: in every field, path, query, cursor and header.

Most say that a twisted foreign id and a missing one, twisted alike, give the same bytes, and the
same requests to Stripe: what tells nothing apart, tells nothing. The table of who may call what is
test_identity_table.py.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from tests.support.slots import BUY, SLOTS, URLS, Slot, TwoUsers
from tests.support.two_users import ADA, BOB, NOBODY, OLGA, Person

from credit_payments.http import HEALTH_ROUTES, ROUTES, Route

CYRILLIC = str.maketrans("acepu", "\u0430\u0441\u0435\u0440\u0443")
"""Letters that look like those of the ids."""

TWISTS: dict[str, Callable[[str], str]] = {
    "a blank behind": lambda name: f"{name} ",
    "a blank before": lambda name: f" {name}",
    "a tab behind": lambda name: f"{name}\t",
    "a newline behind": lambda name: f"{name}\n",
    "a header behind": lambda name: f"{name}\r\nX-Injected: 1",
    "a header and a slash behind": lambda name: f"{name}\r\nX-Injected: 1/",
    "a null character behind": lambda name: f"{name}\x00",
    "a null character before": lambda name: f"\x00{name}",
    "upper case": str.upper,
    "other cases": str.swapcase,
    "a zero-width space": lambda name: f"{name[:4]}\u200b{name[4:]}",
    "a byte order mark": lambda name: f"\ufeff{name}",
    "right to left": lambda name: f"\u202e{name}",
    "a full-width letter": lambda name: chr(ord(name[0]) + 0xFEE0) + name[1:],
    "Cyrillic letters": lambda name: name.translate(CYRILLIC) + "\u0435",
    "an accent": lambda name: f"{name}\u0301",
    "half a character": lambda name: f"{name}\ud800",
    "SQL": lambda name: f"{name}' OR '1'='1",
    "a SQL comment": lambda name: f"{name}'--",
    "a wildcard": lambda name: f"{name[:-1]}%",
    "any character": lambda name: f"{name[:-1]}_",
    "a pattern": lambda name: f"{name[:-1]}.*",
    "a query": lambda name: json.dumps({"$ne": name}),
    "a parameter of Stripe": lambda name: f"{name}?expand[]=customer",
    "an account of Stripe": lambda name: f"{name}&stripe_account=acct_1",
    "another object of Stripe": lambda name: f"{name}/refunds",
    "a fragment": lambda name: f"{name}#",
    "a slash": lambda name: f"{name}/",
    "a folder up": lambda name: f"../{name}",
    "a detour": lambda name: f"{name}/../{name}",
    "twice": lambda name: f"{name},{name}",
    "percent signs": lambda name: quote(f"{name} "),
    "a template": lambda name: f"{name}{{{{7*7}}}}${{7*7}}%s%n",
    "some more": lambda name: name + "a" * 200,
    "much more": lambda name: name + "a" * 5_000,
    "nothing": lambda name: "",
}


@pytest.mark.parametrize("slot", SLOTS.values(), ids=SLOTS)
def test_a_twisted_id_is_as_good_as_none(two: TwoUsers, slot: Slot) -> None:
    before = two.shop.rows()
    for name, twist in TWISTS.items():
        foreign, missing, own = (
            twist(getattr(whose, slot.attribute)) for whose in (two.bob, NOBODY, two.ada)
        )
        answers = []
        for value in (foreign, missing, own):
            answer, asked = slot.send(two.shop, value, ADA.user_id)
            two.check_tells_nothing(answer, getattr(two.bob, slot.attribute))
            assert answer.status in (307, 308, 400, 403, 404), (name, answer)
            assert not [line for line in asked if "payment_methods" not in line], name
            plain = {getattr(whose, slot.attribute) for whose in (two.bob, NOBODY, two.ada)}
            answers.append((answer.without(value, *plain), len(asked)))
        assert answers[0] == answers[1] == answers[2], name
    assert two.shop.rows() == before


# An operator may act for any user, whatever they are called.
OBJECTS_OF_STRIPE = {name: slot for name, slot in SLOTS.items() if slot.attribute != "user_id"}


@pytest.mark.parametrize("slot", OBJECTS_OF_STRIPE.values(), ids=OBJECTS_OF_STRIPE)
def test_not_even_an_operator_reaches_anything_by_a_twisted_id(two: TwoUsers, slot: Slot) -> None:
    before = two.shop.rows()
    for name, twist in TWISTS.items():
        answer, asked = slot.send(two.shop, twist(getattr(two.bob, slot.attribute)), OLGA)
        two.check_tells_nothing(answer, getattr(two.bob, slot.attribute))
        assert answer.status in (307, 308, 400, 403, 404), (name, answer)
        # Some are ids as Stripe writes them: it is asked for those, and has none.
        assert asked == [] or name in ("any character", "some more", "upper case", "other cases")
    assert two.shop.rows() == before


@pytest.mark.parametrize("slot", SLOTS.values(), ids=SLOTS)
def test_an_id_of_another_kind_is_as_good_as_none(two: TwoUsers, slot: Slot) -> None:
    kinds = {field.name for field in attrs.fields(Person) if field.name.endswith("_id")}
    for kind in kinds - {slot.attribute}:
        foreign, asked = slot.send(two.shop, getattr(two.bob, kind), ADA.user_id)
        missing, asked_for_missing = slot.send(two.shop, getattr(NOBODY, kind), ADA.user_id)
        if {slot.attribute, kind} <= {"paid_intent_id", "open_intent_id"}:
            assert foreign.status in (403, 404)  # the same kind after all
        two.check_tells_nothing(foreign)
        assert foreign == missing
        assert foreign.status in (403, 404)
        assert asked == asked_for_missing == []


OBJECTS: list[object] = [
    {"$ne": None},
    {"$gt": ""},
    {"$regex": ".*"},
    {"$where": "1"},
    {"a": {"b": {"c": [{}]}}},
    {"__proto__": {"operator": True}},
    [],
    ["user-ada-7f3a"],
    [["user-bob-91c4"]],
    True,
    False,
    -1,
    0,
    7,
    1.5,
]
TEXTS_FOR_NUMBERS: list[object] = ["10", "", "1e1", "NaN", "$gt", {"$numberDecimal": "10"}]
BODIES: dict[str, dict[str, Any]] = {
    "create_payment_intent": BUY,
    "confirm_payment": {},
    "create_customer": {"user_id": ADA.user_id, "email": "eve@example.com"},
    "refund": {},
}


def routes_with_a_body() -> list[Route]:
    return [route for route in ROUTES if route.body]


@pytest.mark.parametrize("route", routes_with_a_body(), ids=lambda route: route.name)
def test_no_object_takes_the_place_of_a_value(two: TwoUsers, route: Route) -> None:
    before = two.shop.rows()
    for field in route.body:
        is_number = field.kind != "text"
        for value in TEXTS_FOR_NUMBERS if is_number else OBJECTS:
            body = BODIES[route.name] | {"payment_intent_id": two.ada.paid_intent_id}
            known = {each.name for each in route.body}
            body = {name: body[name] for name in known & body.keys()} | {field.name: value}
            for caller, status in ((ADA.user_id, 400), (OLGA, 400), (None, 401)):
                answer, asked = two.shop.overhear(f"POST {route.path}", body, caller)
                two.check_tells_nothing(answer)
                assert (answer.status, asked) == (status, []), (field.name, value)
                if caller is not None:
                    assert answer.json["param"] == field.name
    assert two.shop.rows() == before


@pytest.mark.parametrize("route", routes_with_a_body(), ids=lambda route: route.name)
def test_a_body_is_read_in_one_way_only(two: TwoUsers, route: Route) -> None:
    bob = two.bob
    twice = json.dumps({"user_id": bob.user_id, "payment_intent_id": bob.paid_intent_id})
    first = json.dumps({"user_id": ADA.user_id, "payment_intent_id": two.ada.paid_intent_id})
    bodies = [
        f"{first[:-1]}, {twice[1:]}",
        f"[{twice}]",
        f"{first}\n{twice}",
        f"user_id={bob.user_id}&payment_intent_id={bob.paid_intent_id}",
        json.dumps({"user_id": ADA.user_id, "operator": True}),
        json.dumps({"user_id": ADA.user_id, "caller": OLGA}),
        json.dumps({"user_id": ADA.user_id, "owner": None}),
        "null",
        "",
    ]
    before = two.shop.rows()
    for body in bodies:
        answer, asked = two.shop.overhear(f"POST {route.path}", body.encode(), ADA.user_id)
        two.check_tells_nothing(answer)
        assert (answer.status, asked) == (400, []), body
    assert two.shop.rows() == before


@pytest.mark.parametrize("slot", URLS.values(), ids=URLS)
def test_what_stands_in_the_query_is_read_once_or_not_at_all(two: TwoUsers, slot: Slot) -> None:
    bob, ada = two.bob, two.ada
    queries = [
        f"user_id={ada.user_id}&user_id={bob.user_id}",
        f"customer_id={ada.customer_id}&customer_id={bob.customer_id}",
        f"user_id[]={bob.user_id}",
        f"user_id[$ne]={ada.user_id}",
        "customer_id[$gt]=",
        "[$ne]=",
        f"owner={bob.user_id}&operator=true&caller={OLGA}",
        f"payment_intent_id={bob.paid_intent_id}",
        "expand[]=customer",
        "user_id=%00",
        "%00=1",
        "limit=1;user_id=" + bob.user_id,
        "&&&===",
    ]
    url = slot.line.format(getattr(bob, slot.attribute))
    url, mark, given = url.partition("?")
    before = two.shop.rows()
    for query in queries:
        for line in (f"{url}?{given}&{query}", f"{url}?{query}&{given}", f"{url}?{query}"):
            answer, _ = two.shop.overhear(line, None, ADA.user_id)
            two.check_tells_nothing(answer, query)
            # What is not Bob's any more after the twist is Ada's own, or nobody's.
            assert answer.status in ((200, 400, 403, 404) if mark else (400, 404)), line
    assert two.shop.rows() == before


QUERIES = {name: slot for name, slot in URLS.items() if "?" in slot.line}


@pytest.mark.parametrize("slot", QUERIES.values(), ids=QUERIES)
def test_an_id_is_given_once(two: TwoUsers, slot: Slot) -> None:
    url, _, field = slot.line.removesuffix("={}").partition("?")
    own, foreign = (getattr(whose, slot.attribute) for whose in (two.ada, two.bob))
    for first, second in ((own, foreign), (foreign, own), (own, own)):
        line = f"{url}?{field}={first}&{field}={second}"
        answer, asked = two.shop.overhear(line, None, ADA.user_id)
        assert (answer.status, answer.json["param"], asked) == (400, field, [])


@pytest.mark.parametrize("slot", URLS.values(), ids=URLS)
def test_no_path_leads_around_the_check(two: TwoUsers, slot: Slot) -> None:
    name = getattr(two.bob, slot.attribute)
    paths = [
        f"/{name}",
        f"./{name}",
        f"../customers/{name}",
        f"%2e%2e/{name}",
        f"%2e%2e%2f{name}",
        f"..%2fcustomers%2f{name}",
        f"..%5c{name}",
        f"%252e%252e%252f{name}",
        f"{name};owner={BOB.user_id}",
        f"{name}%00",
        f"{name}%00.json",
        f"{name}.json",
        f"{name}%0d%0aX-Injected:%201",
        f"%0d%0aX-Injected:%201{name}",
        f"{name}%ff",
        f"{name}%ed%a0%80",
        f"{name}%c0%af",
        f"{name}%",
        f"{name}%zz",
        "%7b%22$ne%22:null%7d",
        "null",
        "undefined",
        "%00",
        "..",
        ".",
        "*",
    ]
    before = two.shop.rows()
    for path in paths:
        answer, asked = slot.send_raw(two.shop, path, ADA.user_id)
        two.check_tells_nothing(answer, name)
        assert (answer.status != 200, asked) == (True, []), path
    for line in (slot.line.replace("GET /", "GET /STRIPE/"), slot.line.replace("/", "//")):
        answer, asked = two.shop.overhear(line.format(name), None, ADA.user_id)
        two.check_tells_nothing(answer, name)
        assert (answer.status != 200, asked) == (True, []), line
    assert two.shop.rows() == before


@pytest.mark.parametrize("slot", URLS.values(), ids=URLS)
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "POST"])
def test_no_other_method_tells_what_is_there(two: TwoUsers, slot: Slot, method: str) -> None:
    before = two.shop.rows()
    seen = []
    for whose in (two.bob, NOBODY):
        name = getattr(whose, slot.attribute)
        line = slot.line.replace("GET", method).format(name)
        answer, asked = two.shop.overhear(line, {}, ADA.user_id)
        two.check_tells_nothing(answer, name)
        seen.append((answer.without(name), len(asked)))
    assert seen[0] == seen[1]
    assert two.shop.rows() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-User-Id": BOB.user_id},
        {"X-Original-URL": "/stripe/balance"},
        {"Stripe-Account": "acct_1"},
        {"Cookie": f"user_id={BOB.user_id}"},
        {"Authorization": f"Bearer {BOB.user_id}"},
    ],
)
def test_no_header_makes_a_caller(two: TwoUsers, headers: dict[str, str]) -> None:
    line = f"GET /customers/{two.bob.customer_id}"
    plain = two.shop.send(line, None, ADA.user_id)
    assert two.shop.send(line, None, ADA.user_id, headers) == plain
    assert two.shop.send(line, None, None, headers).status == 401


NAMESAKES = [
    ADA.user_id.upper(),
    ADA.user_id.title(),
    f"{ADA.user_id}\u200b",
    f"{ADA.user_id}\u0301",
    ADA.user_id.translate(CYRILLIC),
    ADA.user_id[:-1],
    f"{ADA.user_id}a",
    f"wallet:{ADA.user_id}",
    "%",
    "_" * len(ADA.user_id),
    ".*",
    "$ne",
    "null",
    "None",
    "*",
    "' OR '1'='1",
]
"""Users of the host, who are all called somebody else."""


@pytest.mark.parametrize("namesake", NAMESAKES)
def test_a_caller_who_is_called_alike_is_another_one(two: TwoUsers, namesake: str) -> None:
    ada = two.ada
    for line, status in (
        (f"GET /payment-status/{ada.paid_intent_id}", 404),
        (f"GET /customers/{ada.customer_id}", 404),
        (f"GET /payment-methods/{ada.payment_method_id}", 404),
        (f"GET /balance?user_id={ada.user_id}", 403),
        ("GET /transactions", 200 if namesake.isprintable() else 400),
    ):
        answer = two.shop.send(line, None, namesake)
        assert (answer.status, ada.is_in(answer.text)) == (status, [])
    body = {"user_id": ADA.user_id, "amount": 10, "customer_id": ada.customer_id}
    assert two.shop.send("POST /create-payment-intent", body, namesake).status == 403


def cursor_of(position: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "position",
    [
        [0],
        [-1],
        [2],
        [2**63 - 1],
        [2**63],
        [10**400],
        [1.5],
        [True],
        [None],
        ["1"],
        [[1]],
        [{"$gt": 0}],
        [BOB.user_id, 9],
        {"user_id": BOB.user_id},
        [],
        None,
        "x",
    ],
)
def test_a_cursor_of_ones_own_making_stays_in_ones_own_history(
    two: TwoUsers, position: object
) -> None:
    line = f"GET /transactions?limit=1&cursor={cursor_of(position)}"
    answer, asked = two.shop.overhear(line, None, ADA.user_id)
    two.check_tells_nothing(answer)
    assert answer.status in (200, 400)
    assert asked == []
    if answer.status == 200:
        shown = {entry["transaction_id"] for entry in answer.json["transactions"]}
        assert shown <= two.ada.transactions


def test_public_endpoints_read_no_caller_and_no_user(two: TwoUsers) -> None:
    for route in (*ROUTES, *HEALTH_ROUTES):
        if route.needs_caller or route.method != "GET":
            continue
        mount = "/modules" if route in HEALTH_ROUTES else ""
        url = f"GET {mount}{route.path}?user_id={BOB.user_id}&expand[]=users"
        for caller in (None, ADA.user_id, OLGA, "\ud800"):
            answer = two.shop.send(url, None, caller)
            assert answer.status == 200
            assert two.ada.is_in(answer.text) == two.bob.is_in(answer.text) == []
