"""Granting and spending by key, refusing what cannot be right, and reading it back."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import credit_payments as cp

Shop = Any
CREDITS_MAX = 2**53 - 1


@pytest.fixture
def wallets(shop: Shop) -> cp.Wallets:
    wallets: cp.Wallets = shop.system.wallets
    return wallets


def test_a_user_who_never_had_credits_holds_none(wallets: cp.Wallets) -> None:
    assert wallets.balance("nobody") == cp.Balance(available=0)
    assert wallets.history("nobody") == cp.Page(items=())


def test_a_grant_and_a_spend_are_entries_that_explain_themselves(wallets: cp.Wallets) -> None:
    granted = wallets.grant("ada", 10, key="welcome", reason="welcome")
    spent = wallets.spend("ada", 4, key="s1", reason="image", metadata={"b": [1, None], "a": "x"})
    assert (granted.kind, granted.cause, granted.credits) == ("grant", "grant:welcome", 10)
    assert granted.legs == {"wallet:ada": 10, "promotions": -10}
    assert (spent.kind, spent.cause, spent.credits) == ("spend", "spend:s1", -4)
    assert spent.legs == {"wallet:ada": -4, "usage": 4}
    assert (spent.balance_after, spent.debt_after) == (6, 0)
    assert (spent.reason, spent.metadata) == ("image", {"b": [1, None], "a": "x"})
    assert wallets.balance("ada") == cp.Balance(available=6)
    assert wallets.history("ada").items == (spent, granted)


def test_the_same_call_posts_once_and_gets_the_same_entry(wallets: cp.Wallets) -> None:
    first = wallets.grant("ada", 10, key="k", reason="r")
    assert [wallets.grant("ada", 10, key="k", reason="r") for _ in range(3)] == [first] * 3
    spent = wallets.spend("ada", 3, key="k", metadata={"a": 1, "b": 2})
    assert wallets.spend("ada", 3, key="k", metadata={"b": 2, "a": 1}) == spent
    assert wallets.balance("ada").available == 7


def test_a_spend_can_be_repeated_after_the_wallet_is_empty(wallets: cp.Wallets) -> None:
    wallets.grant("ada", 1, key="k", reason="r")
    spent = wallets.spend("ada", 1, key="s")
    assert wallets.spend("ada", 1, key="s") == spent


@pytest.mark.parametrize(
    "other",
    [
        {"user_id": "eve"},
        {"credits": 4},
        {"reason": "another"},
        {"metadata": {"a": 2}},
        {"metadata": None},
    ],
    ids=str,
)
def test_a_key_with_other_arguments_is_a_conflict(
    wallets: cp.Wallets, other: dict[str, Any]
) -> None:
    for user in ("ada", "eve"):
        wallets.grant(user, 10, key=f"for {user}", reason="r")
    first: dict[str, Any] = {
        "user_id": "ada",
        "credits": 3,
        "key": "k",
        "reason": "r",
        "metadata": {"a": 1},
    }
    wallets.spend(**first)
    with pytest.raises(cp.IdempotencyConflict) as caught:
        wallets.spend(**{**first, **other})
    assert caught.value.param == "key"
    assert wallets.balance("ada").available == 7
    assert wallets.balance("eve").available == 10


def test_insufficient_credits_leave_no_trace(shop: Shop, wallets: cp.Wallets) -> None:
    wallets.grant("ada", 5, key="k", reason="r")
    for user, available in (("ada", 5), ("bob", 0)):
        with pytest.raises(cp.InsufficientCredits) as caught:
            wallets.spend(user, 6, key="s")
        assert (caught.value.available, caught.value.required) == (available, 6)
    assert len(wallets.history("ada")) == 1
    report = shop.system.verify()
    assert (report.wallets, report.entries) == (1, 1)
    # The key of a refused spend is free: with credits the same call goes through.
    wallets.grant("ada", 1, key="k2", reason="r")
    assert wallets.spend("ada", 6, key="s").balance_after == 0


def test_a_wallet_holds_up_to_its_bound_and_no_more(wallets: cp.Wallets) -> None:
    wallets.grant("ada", CREDITS_MAX, key="k", reason="r")
    with pytest.raises(cp.InvalidRequest) as caught:
        wallets.grant("ada", 1, key="k2", reason="r")
    assert caught.value.param == "credits"
    assert wallets.balance("ada").available == CREDITS_MAX
    assert wallets.spend("ada", CREDITS_MAX, key="s").balance_after == 0


BAD_TEXTS = [
    "",
    " ",
    " a",
    "a ",
    "a\n",
    "a\x00b",
    "\ud800",
    "\u200b",
    7,
    b"ada",
    ["ada"],
    {"$gt": ""},
]
BAD_CREDITS = [0, -1, 1.0, 1.5, "1", True, None, CREDITS_MAX + 1, float("nan"), float("inf")]
BAD_METADATA = [
    "text",
    [1],
    {1: 2},
    {"a": complex(1, 1)},
    {"a": "\ud800"},
    {"a": "x" * 5_000},
    {"a": {"b": {1: 2}}},
]


@pytest.mark.parametrize(
    ("param", "value"),
    [
        *(("user_id", text) for text in [*BAD_TEXTS, None, "x" * 256]),
        *(("key", text) for text in [*BAD_TEXTS, None, "x" * 201]),
        *(("reason", text) for text in [*BAD_TEXTS, "x" * 501]),
        *(("credits", number) for number in BAD_CREDITS),
        *(("metadata", data) for data in BAD_METADATA),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_an_argument_that_cannot_be_right_is_named(
    shop: Shop, wallets: cp.Wallets, param: str, value: Any
) -> None:
    wallets.grant("ada", 5, key="k", reason="r")
    good: dict[str, Any] = {"user_id": "ada", "credits": 1, "key": "s", "reason": "r"}
    with pytest.raises(cp.InvalidRequest) as caught:
        wallets.spend(**{**good, param: value})
    assert caught.value.param == param
    if param != "metadata":
        with pytest.raises(cp.InvalidRequest) as caught:
            wallets.grant(**{**good, param: value})
        assert caught.value.param == param
    assert shop.system.verify().entries == 1


def test_a_nest_without_an_end_is_no_metadata(wallets: cp.Wallets) -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.raises(cp.InvalidRequest):
        wallets.spend("ada", 1, key="s", metadata=endless)


def test_a_grant_needs_a_reason(wallets: cp.Wallets) -> None:
    with pytest.raises(cp.InvalidRequest) as caught:
        wallets.grant("ada", 1, key="k", reason=None)  # type: ignore[arg-type]
    assert caught.value.param == "reason"


@pytest.mark.parametrize("user_id", ["\U0001f4b3", "שלום", "'; DROP TABLE wallets; --", "a" * 255])
def test_users_of_any_script_have_wallets_of_their_own(shop: Shop, user_id: str) -> None:
    wallets = shop.system.wallets
    wallets.grant(user_id, 3, key=user_id[:200], reason=user_id)
    assert wallets.balance(user_id).available == 3
    assert wallets.history(user_id).items[0].legs[f"wallet:{user_id}"] == 3
    assert shop.system.verify().ok


# -- holds ------------------------------------------------------------------------------------


def test_a_hold_that_has_lapsed_is_shown_as_lapsed_to_whoever_asks_for_it_again(
    shop: Shop, wallets: cp.Wallets
) -> None:
    wallets.grant("ada", 10, key="k", reason="r")
    first = wallets.hold("ada", 7, key="h", ttl=60)
    assert [wallets.get_hold("h").status, wallets.hold("ada", 7, key="h", ttl=60).status] == [
        "held",
        "held",
    ]
    shop.clock.turn(60)
    # Nobody has posted the lapse, and yet nothing is held any more.
    for again in (wallets.get_hold("h"), wallets.hold("ada", 7, key="h", ttl=60)):
        assert (again.status, again.credits, again.lapses_at) == ("lapsed", 7, first.lapses_at)
    assert len(wallets.history("ada")) == 2
    assert wallets.balance("ada") == cp.Balance(available=10)
    assert wallets.post_due("ada") == 1
    assert wallets.get_hold("h").status == "lapsed"
    with pytest.raises(cp.HoldEnded):
        wallets.get_hold("h").capture()
    assert shop.system.verify().ok


def test_no_work_is_done_on_a_hold_that_holds_nothing_any_more(
    shop: Shop, wallets: cp.Wallets
) -> None:
    wallets.grant("ada", 10, key="k", reason="r")
    worked: list[str] = []

    @wallets.with_hold(5, key=lambda user_id, job: job, ttl=60)
    def work(hold: cp.Hold, user_id: str, job: str) -> None:
        worked.append(job)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work("ada", "j1")
    with pytest.raises(cp.HoldEnded, match="released"):
        work("ada", "j1")
    assert worked == ["j1"]
    wallets.hold("ada", 5, key="j2", ttl=60)
    wallets.hold("ada", 5, key="j3", ttl=60, overage="debt")
    shop.clock.turn(60)
    with pytest.raises(cp.HoldEnded, match="lapsed"):
        work("ada", "j2")
    assert worked == ["j1"]
    with wallets.get_hold("j3") as owed:  # all of it is an overage now, which it allows
        owed.capture(5)
    with wallets.get_hold("j3") as done:
        assert done.captured == 5
    assert wallets.balance("ada") == cp.Balance(available=5)


# -- history ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_history_pages_hold_every_entry_once_newest_first(wallets: cp.Wallets, limit: int) -> None:
    for number in range(7):
        wallets.grant("ada", 1, key=f"k{number}", reason="r")
    causes: list[str] = []
    cursor = None
    for _ in range(8):
        page = wallets.history("ada", limit=limit, cursor=cursor)
        causes += [entry.cause for entry in page]
        cursor = page.cursor
        if cursor is None:
            break
        wallets.grant("ada", 1, key=f"meanwhile{len(causes)}", reason="r")
    assert causes == [f"grant:k{number}" for number in reversed(range(7))]


def test_the_last_page_has_no_cursor_even_when_it_is_full(wallets: cp.Wallets) -> None:
    for number in range(4):
        wallets.grant("ada", 1, key=f"k{number}", reason="r")
    page = wallets.history("ada", limit=2)
    assert page.cursor is not None
    assert wallets.history("ada", limit=2, cursor=page.cursor).cursor is None


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "", "?", "é", 7, b"W10", _cursor("[]"), _cursor("[1, 2]"), _cursor('["1"]'),
        _cursor("[true]"), _cursor("[1.0]"), _cursor("{}"), _cursor("[null]"),
        _cursor(f"[{10**30}]"), _cursor('["\\ud800"]'), "A" * 3_000, _cursor("[" * 1_000),
    ],
    ids=lambda value: ascii(value)[:20],
)  # fmt: skip
def test_a_cursor_that_no_listing_gave_is_refused(wallets: cp.Wallets, cursor: Any) -> None:
    with pytest.raises(cp.InvalidRequest) as caught:
        wallets.history("ada", cursor=cursor)
    assert caught.value.param == "cursor"


@pytest.mark.parametrize("limit", [0, -1, 101, True, 1.0, "1", None])
def test_a_limit_is_a_number_from_one_to_a_hundred(wallets: cp.Wallets, limit: Any) -> None:
    with pytest.raises(cp.InvalidRequest) as caught:
        wallets.history("ada", limit=limit)
    assert caught.value.param == "limit"


# -- races ------------------------------------------------------------------------------------


def test_of_a_hundred_spends_from_fifty_credits_fifty_succeed(shop: Shop) -> None:
    wallets = shop.system.wallets
    wallets.grant("ada", 50, key="k", reason="r")

    def spend(number: int) -> bool:
        try:
            wallets.spend("ada", 1, key=f"s{number}")
        except cp.InsufficientCredits:
            return False
        return True

    with ThreadPoolExecutor(64) as pool:
        succeeded = list(pool.map(spend, range(100), timeout=60))
    assert sum(succeeded) == 50
    assert wallets.balance("ada").available == 0
    report = shop.system.verify()
    assert report.ok
    assert report.entries == 51


def test_one_key_from_many_threads_posts_once(
    open_shop: Callable[[str], Shop], tmp_path: Path
) -> None:
    # Two systems on one file: two queues, as in two processes.
    shops = [open_shop(f"sqlite:///{tmp_path / 'credits.db'}") for _ in range(2)]

    def grant(number: int) -> cp.Entry:
        entry: cp.Entry = shops[number % 2].system.wallets.grant("ada", 7, key="k", reason="r")
        return entry

    with ThreadPoolExecutor(32) as pool:
        entries = list(pool.map(grant, range(64), timeout=60))
    assert entries == [entries[0]] * 64
    assert shops[0].system.wallets.balance("ada").available == 7
