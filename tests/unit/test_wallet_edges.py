"""Wallets at their edges: what is due when a call is refused, filtered histories, odd clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.conftest import Shop, TurnableClock

import credit_payments as cp
from credit_payments.domain.records import CREDITS_MAX

# -- what is due -------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", ["spend", "hold"])
def test_what_is_due_is_posted_though_the_call_is_refused(shop: Shop, refused: str) -> None:
    wallets = shop.system.wallets
    soon = shop.clock.now() + timedelta(seconds=10)
    for number in range(20):
        wallets.grant("ada", 5, key=f"g{number}", reason="welcome", expires_at=soon)
    shop.clock.turn(10)
    calls: dict[str, Callable[[], object]] = {
        "spend": lambda: wallets.spend("ada", 1, key="s"),
        "hold": lambda: wallets.hold("ada", 1, key="h", ttl=10),
    }
    with pytest.raises(cp.InsufficientCredits) as caught:
        calls[refused]()
    assert (caught.value.available, caught.value.required) == (0, 1)
    kinds = [entry.kind for entry in wallets.history("ada", limit=100)]
    assert kinds.count("expiry") == 20
    assert wallets.post_due("ada") == 0
    assert shop.system.verify().ok


def test_thousands_that_are_due_at_once_are_posted_by_whoever_comes_first(
    open_shop: Any,
) -> None:
    shop = open_shop("memory://")
    wallets = shop.system.wallets
    soon = shop.clock.now() + timedelta(seconds=10)
    for number in range(1_000):
        wallets.grant("ada", 2, key=f"g{number}", reason="welcome", expires_at=soon)
    for number in range(300):
        wallets.hold("ada", 1, key=f"h{number}", ttl=5)
    wallets.grant("ada", 7, key="stays", reason="welcome")
    shop.clock.turn(20)
    assert wallets.balance("ada").available == 7
    assert wallets.spend("ada", 7, key="s").balance_after == 0
    assert wallets.balance("ada") == cp.Balance(available=0)
    assert shop.system.verify().ok


# -- histories ---------------------------------------------------------------------------------


@pytest.fixture
def long_history(shop: Shop) -> Shop:
    wallets = shop.system.wallets
    wallets.grant("ada", 1_000, key="g", reason="welcome")
    for number in range(60):
        shop.clock.turn(1)
        if number // 7 % 2:
            wallets.grant("ada", 1, key=f"g{number}", reason="welcome")
        else:
            wallets.spend("ada", 1, key=f"s{number}")
    return shop


@pytest.mark.long
@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 9, 10, 13, 14, 30, 61, 62, 100])
@pytest.mark.parametrize(
    ("kinds", "since", "until"),
    [
        (None, None, None),
        (["spend"], None, None),
        (["spend"], 20, None),
        (["grant"], None, 33),
        (None, 11, 45),
        (["spend", "grant"], 13, 50),
        (["spend"], 30, 30),
        (["hold"], None, None),
    ],
)
def test_pages_of_a_filtered_history_hold_each_entry_once(
    long_history: Shop,
    limit: int,
    oldest_first: bool,
    kinds: list[str] | None,
    since: int | None,
    until: int | None,
) -> None:
    wallets, start = long_history.system.wallets, long_history.clock.now() - timedelta(seconds=60)
    bounds = {
        "since": None if since is None else start + timedelta(seconds=since),
        "until": None if until is None else start + timedelta(seconds=until),
    }
    everything = wallets.history("ada", limit=100, oldest_first=oldest_first).items
    expected = [
        entry
        for entry in everything
        if (kinds is None or entry.kind in kinds)
        and (bounds["since"] is None or entry.created_at >= bounds["since"])
        and (bounds["until"] is None or entry.created_at < bounds["until"])
    ]
    found: list[cp.Entry] = []
    cursor = None
    for _ in range(200):
        page = wallets.history(
            "ada", limit=limit, cursor=cursor, oldest_first=oldest_first, kinds=kinds, **bounds
        )
        assert len(page) <= limit
        found += page
        cursor = page.cursor
        if cursor is None:
            break
    assert found == expected


# -- clocks ------------------------------------------------------------------------------------


def test_a_clock_that_ran_ahead_once_shortens_and_lengthens_nothing(
    shop: Shop, clock: TurnableClock
) -> None:
    wallets = shop.system.wallets
    start = clock.now()
    wallets.grant("ada", 10, key="g1", reason="welcome", expires_at=start + timedelta(hours=2))
    clock.turn(3_600)
    wallets.spend("ada", 1, key="ahead")
    clock.turn(-3_600)
    wallets.grant("ada", 5, key="g2", reason="welcome", expires_at=start + timedelta(minutes=30))
    hold = wallets.hold("ada", 3, key="h", ttl=30)
    assert hold.lapses_at == start + timedelta(seconds=30)
    assert wallets.balance("ada").available == 11
    clock.turn(30)
    assert wallets.balance("ada").available == 14
    times = [entry.created_at for entry in wallets.history("ada", oldest_first=True)]
    assert times == sorted(times)
    assert shop.system.verify().ok


# -- odd ends ----------------------------------------------------------------------------------


def test_what_a_suspended_wallet_has_is_not_taken_beyond_a_hold(shop: Shop) -> None:
    wallets = shop.system.wallets
    wallets.grant("ada", 100, key="g", reason="welcome")
    hold = wallets.hold("ada", 10, key="h", ttl=60, overage="take")
    wallets.suspend("ada", key="case", reason="fraud", actor="olga")
    assert hold.capture(100).legs["usage"] == 10
    assert hold.captured == 10
    wallets.resume("ada", key="case", reason="fine", actor="olga")
    assert wallets.balance("ada").available == 90
    assert shop.system.verify().ok


def test_an_undo_fills_no_wallet_beyond_its_bound(shop: Shop) -> None:
    wallets = shop.system.wallets
    wallets.grant("ada", CREDITS_MAX, key="g1", reason="welcome")
    spent = wallets.spend("ada", CREDITS_MAX, key="s")
    wallets.grant("ada", 1, key="g2", reason="welcome")
    with pytest.raises(cp.Conflict):
        wallets.reverse(spent)
    wallets.spend("ada", 1, key="s2")
    assert wallets.reverse(spent).balance_after == CREDITS_MAX


def test_keys_with_colons_share_no_name(shop: Shop) -> None:
    wallets = shop.system.wallets
    soon = shop.clock.now() + timedelta(seconds=10)
    wallets.grant("ada", 100, key="x", reason="welcome", expires_at=soon)
    hold = wallets.hold("ada", 50, key="hold:x", ttl=1_000)
    wallets.grant("bob", 5, key="x:2", reason="welcome", expires_at=soon)
    wallets.grant("ada", 5, key="x:1", reason="welcome", expires_at=soon)
    shop.clock.turn(20)
    wallets.post_due("bob")
    wallets.post_due("ada")
    hold.release()
    wallets.grant("ada", 5, key="new", reason="welcome")
    assert wallets.balance("ada").available == 5
    assert shop.system.verify().ok


def test_a_decorated_function_may_have_a_default_user(shop: Shop) -> None:
    shop.system.wallets.grant("ada", 10, key="g", reason="welcome")

    @shop.system.wallets.with_hold(5, key=lambda user_id="ada": f"job-{user_id}", ttl=60)
    def work(hold: cp.Hold, user_id: str = "ada") -> int:
        return hold.capture(2).balance_after

    assert work() == 8


def test_a_function_without_a_user_cannot_hold(shop: Shop) -> None:
    with pytest.raises(TypeError, match="user_id"):

        @shop.system.wallets.with_hold(5, key=lambda: "job", ttl=60)
        def work(hold: cp.Hold) -> None: ...


@pytest.mark.parametrize("ttl", [0, -1, 1e-9, float("nan"), float("inf"), True, "60", None])
def test_a_time_to_live_that_cannot_be_right_is_refused(shop: Shop, ttl: Any) -> None:
    shop.system.wallets.grant("ada", 10, key="g", reason="welcome")
    with pytest.raises(cp.InvalidRequest) as caught:
        shop.system.wallets.hold("ada", 1, key="h", ttl=ttl)
    assert caught.value.param == "ttl"
    assert shop.system.wallets.balance("ada").held == 0
