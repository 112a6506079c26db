"""Grants and spends decide from the rows they named, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from credit_payments.domain import ledger
from credit_payments.domain.decision import NotLoaded, View
from credit_payments.domain.records import Entry, Key, Record, Wallet
from credit_payments.domain.spending import Move
from credit_payments.errors import IdempotencyConflict, InsufficientCredits

NOW = "2024-01-01T00:00:00.000000Z"


def move(kind: ledger.Kind = ledger.Kind.GRANT, **given: Any) -> Move:
    fields: dict[str, Any] = {"user_id": "ada", "credits": 5, "key": "k", "kind": kind}
    return Move(**{**fields, **given})


def empty(command: Move) -> dict[Key, Record | None]:
    return dict.fromkeys(command.keys())


def test_it_names_the_wallet_and_the_entry_of_its_key() -> None:
    assert list(move().keys()) == [
        (Wallet, "ada"),
        (Entry, "grant:k"),
    ]
    assert list(move().keys_after(View({}))) == []


def test_it_gives_the_wallet_and_the_entry_that_change() -> None:
    decision = move().decide(View(empty(move())), NOW)
    wallet, entry = decision.changes
    assert isinstance(wallet, Wallet)
    assert wallet.available == 5
    assert entry is decision.answer


def test_a_repetition_changes_nothing() -> None:
    rows = empty(move())
    entry = move().decide(View(rows), NOW).answer
    rows[Entry, entry.cause] = entry
    repeated = move().decide(View(rows), "later")
    assert repeated.answer is entry
    assert list(repeated.changes) == []
    with pytest.raises(IdempotencyConflict):
        move(credits=6).decide(View(rows), "later")


def test_a_grant_and_a_spend_may_have_the_same_key() -> None:
    names = {*move(ledger.Kind.GRANT).keys(), *move(ledger.Kind.SPEND).keys()}
    assert len(names) == 3


def test_deciding_changes_nothing_of_what_was_loaded() -> None:
    spend = move(ledger.Kind.SPEND)
    rows = empty(spend)
    before = dict(rows)
    with pytest.raises(InsufficientCredits):
        spend.decide(View(rows), NOW)
    move().decide(View(empty(move())), NOW)
    assert rows == before


def test_a_row_that_nobody_named_is_not_taken_for_missing() -> None:
    with pytest.raises(NotLoaded):
        move().decide(View({}), NOW)
