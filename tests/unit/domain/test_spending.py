"""Grants and spends decide from the rows they named, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from credit_payments.domain import lots
from credit_payments.domain.decision import Command, NotLoaded, Range, View
from credit_payments.domain.holding import PlaceHold, ReleaseHold
from credit_payments.domain.records import NEVER, Entry, Key, Lot, Record, Wallet, key_of
from credit_payments.domain.spending import Grant, PostDue, Spend, Suspend, Undo
from credit_payments.errors import (
    Conflict,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    WalletSuspended,
)

LOAD_PASSES_MAX = 12
NOW, LATER = "2024-01-01T00:00:00.000000Z", "2024-01-02T00:00:00.000000Z"


def grant(**given: Any) -> Grant:
    return Grant(**{"user_id": "ada", "credits": 5, "key": "k", "reason": "r", **given})


def spend(**given: Any) -> Spend:
    return Spend(**{"user_id": "ada", "credits": 5, "key": "k", **given})


class Rows:
    """Rows of a database that hands out what a command names, and no more."""

    def __init__(self, *rows: Record) -> None:
        self.rows: dict[Key, Record] = {key_of(row): row for row in rows}

    def view(self, command: Command[Any], now: str = NOW) -> View:
        view = View(now=now)
        asked = list(command.keys())
        for _ in range(LOAD_PASSES_MAX):
            for ask in asked:
                if isinstance(ask, Range):
                    view.put_range(ask, self._first(ask))
                else:
                    view.put(ask, self.rows.get(ask))
            asked = [ask for ask in command.keys_after(view) if not view.knows(ask)]
        assert not asked
        return view

    def run(self, command: Command[Any], now: str = NOW) -> Any:
        decision = command.decide(self.view(command, now), now)
        self.rows |= {key_of(row): row for row in decision.changes}
        if decision.refusal is not None:  # as the queue does, once the changes are written
            raise decision.refusal
        return decision.answer

    def _first(self, asked: Range) -> list[Record]:
        series = asked.series
        where = {str(series.kind.GROUP): series.group, **dict(series.equals)}
        found = [
            row
            for row in self.rows.values()
            if isinstance(row, series.kind)
            and all(getattr(row, name) == value for name, value in where.items())
        ]
        found.sort(key=lambda row: tuple(getattr(row, name) for name in series.order))
        return found[: asked.limit]


def test_they_name_the_wallet_and_the_entry_of_their_key() -> None:
    wallet: Key = (Wallet, "ada")
    assert list(grant().keys()) == [wallet, (Entry, "grant:k")]
    assert list(spend().keys()) == [wallet, (Entry, "spend:k"), lots.first_to_spend("ada")]
    for command in (grant(), spend()):
        assert list(command.keys_after(Rows().view(command))) == []


def test_a_grant_gives_the_wallet_the_lot_and_the_entry_that_change() -> None:
    command = grant(priority=3, expires_at=LATER, actor="eve")
    decision = command.decide(Rows().view(command), NOW)
    entry, lot, wallet = decision.changes
    assert entry is decision.answer
    assert entry.actor == "eve"
    assert lot == Lot(
        lot_id="grant:k",
        user_id="ada",
        source="grant",
        sequence=1,
        priority=3,
        expires_at=LATER,
        credits=5,
        open=1,
        available=5,
        held=0,
        frozen=0,
        expired=0,
        written_off=0,
        expiries=0,
        locked=0,
        created_at=NOW,
    )
    assert wallet == Wallet(
        "ada", available=5, entries=1, head=entry.hash, due_at=LATER, updated_at=NOW
    )


def test_a_spend_gives_the_wallet_the_lot_and_the_entry_that_change() -> None:
    rows = Rows()
    rows.run(grant())
    command = spend(credits=2)
    decision = command.decide(rows.view(command), NOW)
    entry, lot, wallet = decision.changes
    assert entry is decision.answer
    assert (entry.credits, entry.balance_after) == (-2, 3)
    assert isinstance(lot, Lot)
    assert (lot.lot_id, lot.credits, lot.available, lot.open) == ("grant:k", 5, 3, 1)
    assert wallet == Wallet("ada", available=3, entries=2, head=entry.hash, updated_at=NOW)


@pytest.mark.parametrize("command", [grant(), spend(credits=1)], ids=lambda c: type(c).__name__)
def test_a_repetition_changes_nothing(command: Any) -> None:
    rows = Rows()
    rows.run(grant(key="first"))
    entry = rows.run(command)
    repeated = command.decide(rows.view(command, LATER), LATER)
    assert repeated.answer == entry
    assert list(repeated.changes) == []
    other = type(command)(**{**_fields(command), "credits": 6})
    with pytest.raises(IdempotencyConflict):
        other.decide(rows.view(other, LATER), LATER)


@pytest.mark.parametrize(
    "other",
    [
        {"user_id": "eve"},
        {"credits": 4},
        {"reason": "another"},
        {"expires_at": LATER},
        {"priority": 1},
        {"actor": "eve"},
    ],
    ids=str,
)
def test_every_argument_of_a_grant_tells_it_from_another(other: dict[str, Any]) -> None:
    rows = Rows()
    rows.run(grant())
    with pytest.raises(IdempotencyConflict) as caught:
        rows.run(grant(**other))
    assert caught.value.param == "key"


def test_a_grant_repeated_after_it_has_expired_gets_its_entry() -> None:
    rows = Rows()
    entry = rows.run(grant(expires_at=LATER))
    assert rows.run(grant(expires_at=LATER), LATER) == entry
    with pytest.raises(InvalidRequest) as caught:
        rows.run(grant(key="k2", expires_at=LATER), LATER)
    assert caught.value.param == "expires_at"


def test_a_grant_and_a_spend_may_have_the_same_key() -> None:
    names = {*grant().keys(), *spend().keys()}
    assert {(Entry, "grant:k"), (Entry, "spend:k")} < names
    assert len(names) == 4
    rows = Rows()
    rows.run(grant())
    assert rows.run(spend()).balance_after == 0


def test_deciding_changes_nothing_of_what_was_loaded() -> None:
    rows = Rows()
    rows.run(grant())
    before = dict(rows.rows)
    too_much = spend(credits=6)
    refused = too_much.decide(rows.view(too_much), NOW)
    assert isinstance(refused.refusal, InsufficientCredits)
    assert list(refused.changes) == []
    for command in (grant(key="k2"), spend()):
        command.decide(rows.view(command), NOW)
    assert rows.rows == before


@pytest.mark.parametrize(
    "command",
    [
        grant(),
        spend(),
        Undo(cause="spend:k"),
        Suspend(user_id="ada", key="k", reason="r", actor="eve"),
        PostDue(user_id="ada"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_row_that_nobody_named_is_not_taken_for_missing(command: Any) -> None:
    with pytest.raises(NotLoaded):
        command.decide(View(), NOW)


def test_lots_that_nobody_named_are_not_taken_for_missing() -> None:
    rows = Rows()
    rows.run(grant())
    view = View({(Wallet, "ada"): rows.rows[Wallet, "ada"], (Entry, "spend:k"): None}, NOW)
    with pytest.raises(NotLoaded):
        spend().decide(view, NOW)


@pytest.mark.parametrize("credits", [1, 7, 8, 9, 63, 64, 65, 99, 100])
def test_a_spend_names_as_many_lots_as_it_needs(credits: int) -> None:
    rows = Rows()
    for number in range(100):
        rows.run(grant(key=str(number), credits=1))
    assert rows.run(spend(credits=credits)).balance_after == 100 - credits
    left = [row for row in rows.rows.values() if isinstance(row, Lot) and row.open]
    assert [lot.lot_id for lot in left] == [f"grant:{n}" for n in range(credits, 100)]


# -- undoing and suspending -------------------------------------------------------------------


def test_a_spend_is_undone_once_and_into_the_lots_it_came_from() -> None:
    rows = Rows()
    rows.run(grant(key="a", credits=3))
    rows.run(grant(key="b", credits=3))
    rows.run(spend())
    undone = rows.run(Undo(cause="spend:k", reason="sorry", actor="eve"))
    assert (undone.cause, undone.credits, undone.balance_after) == ("undo:spend:k", 5, 6)
    assert (undone.reason, undone.actor) == ("sorry", "eve")
    assert rows.run(Undo(cause="spend:k", reason="another"), LATER) == undone
    available = {row.lot_id: row.available for row in rows.rows.values() if isinstance(row, Lot)}
    assert available == {"grant:a": 3, "grant:b": 3}


def test_what_used_nothing_cannot_be_undone() -> None:
    rows = Rows()
    rows.run(grant())
    with pytest.raises(Conflict):
        rows.run(Undo(cause="grant:k"))
    with pytest.raises(NotFound):
        rows.run(Undo(cause="spend:none"))
    assert len([row for row in rows.rows.values() if isinstance(row, Entry)]) == 1


def test_from_a_suspended_wallet_nothing_is_spent_until_it_is_resumed() -> None:
    rows = Rows()
    rows.run(grant())
    stop = Suspend(user_id="ada", key="s", reason="fraud?", actor="eve")
    go_on = Suspend(user_id="ada", key="s", reason="no", actor="eve", resumes=True)
    stopped = rows.run(stop)
    assert (stopped.kind, stopped.legs, stopped.actor) == ("suspend", "{}", "eve")
    assert rows.run(stop) == stopped
    with pytest.raises(WalletSuspended):
        rows.run(spend())
    assert rows.run(grant(key="k2")).balance_after == 10
    assert rows.run(go_on).kind == "resume"
    assert rows.run(spend()).balance_after == 5


@pytest.mark.parametrize(
    ("touch", "posted"),
    [
        (PostDue(user_id="ada"), ["expiry:grant:k"]),
        (grant(key="k2"), ["expiry:grant:k", "grant:k2"]),
    ],
    ids=["sweep", "grant"],
)
def test_what_is_due_is_posted_by_whoever_touches_the_wallet_first(
    touch: Any, posted: list[str]
) -> None:
    rows = Rows()
    rows.run(grant(expires_at=LATER))
    assert rows.run(PostDue(user_id="ada"), NOW) == 0
    rows.run(touch, LATER)
    causes = [row.cause for row in rows.rows.values() if isinstance(row, Entry)]
    assert causes == ["grant:k", *posted]
    assert rows.run(PostDue(user_id="ada"), LATER) == 0
    wallet = rows.rows[Wallet, "ada"]
    assert isinstance(wallet, Wallet)
    assert (wallet.available, wallet.due_at) == (5 * (len(posted) - 1), NEVER)


def test_what_comes_back_into_an_expired_lot_expires_under_a_name_that_no_other_lot_has() -> None:
    rows = Rows()
    rows.run(grant(key="k", credits=10, expires_at=LATER))
    for key in ("1", "2", "3"):
        rows.run(PlaceHold(user_id="ada", credits=3, key=key, ttl_seconds=10**6))
    # This lot expires, too; and its name is that of the other, with a number behind it.
    rows.run(grant(user_id="bob", key="k:2", expires_at=LATER))
    for key in ("1", "2", "3"):
        rows.run(ReleaseHold(key=key), LATER)
    rows.run(PostDue(user_id="bob"), LATER)
    entries = [row for row in rows.rows.values() if isinstance(row, Entry)]
    assert [entry.cause for entry in entries if entry.kind == "expiry"] == [
        "expiry:grant:k", "expiry:2:grant:k", "expiry:3:grant:k", "expiry:4:grant:k",
        "expiry:grant:k:2",
    ]  # fmt: skip
    lot = rows.rows[Lot, "grant:k"]
    assert isinstance(lot, Lot)
    assert (lot.available, lot.held, lot.expired, lot.expiries) == (0, 0, 10, 4)


def _fields(command: Any) -> dict[str, Any]:
    return {name: getattr(command, name) for name in command.__struct_fields__}
