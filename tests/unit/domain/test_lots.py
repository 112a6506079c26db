"""Taking from lots in turn: as much as is asked for, and no lot more than it needs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_payments.domain import lots
from credit_payments.domain.decision import NotLoaded
from credit_payments.domain.ledger import LotChange
from credit_payments.domain.lots import Take
from credit_payments.domain.records import NEVER, Lot


def lot(name: str, available: int) -> Lot:
    return Lot(
        lot_id=name, user_id="ada", source="grant", sequence=1, priority=0, expires_at=NEVER,
        credits=100, open=int(available > 0), available=available, held=0, frozen=0, expired=0,
        written_off=0, expiries=0, locked=0, created_at="now",
    )  # fmt: skip


def loaded(*amounts: int) -> Iterator[Lot]:
    """Lots of which no more are loaded than these."""
    for number, available in enumerate(amounts):
        yield lot(f"grant:{number}", available)
    raise NotLoaded(Lot.TABLE, "ada")


@pytest.mark.parametrize("amounts", [[5], [2, 3], [5, 1], [1, 0, 4], [2, 2, 1]], ids=str)
def test_the_next_lot_is_asked_for_only_when_it_is_needed(amounts: list[int]) -> None:
    taken, short = lots.take(loaded(*amounts), 5)
    assert (sum(take.credits for take in taken), short) == (5, 0)
    with pytest.raises(NotLoaded):
        lots.take(loaded(*amounts), sum(amounts) + 1)


def test_who_takes_nothing_asks_for_no_lot() -> None:
    assert lots.take(loaded(), 0) == ([], 0)


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(0, 40))
def test_lots_give_in_turn_and_what_they_cannot_give_is_told(
    amounts: list[int], credits: int
) -> None:
    rows = [lot(f"grant:{number}", available) for number, available in enumerate(amounts)]
    taken, short = lots.take(rows, credits)
    assert short == max(0, credits - sum(amounts))
    # One credit after the other, written out.
    places = [row.lot_id for row in rows for _ in range(row.available)][:credits]
    assert [take.lot_id for take in taken for _ in range(take.credits)] == places
    assert all(take.credits > 0 for take in taken)
    first, rest = lots.first_of(taken, credits // 2)
    assert [take.lot_id for take in first for _ in range(take.credits)] == places[: credits // 2]
    assert [take.lot_id for take in rest for _ in range(take.credits)] == places[credits // 2 :]
    assert lots.read(lots.write(taken)) == taken


def test_every_number_of_a_lot_follows_a_change_and_nothing_else_does() -> None:
    before = msgspec.structs.replace(lot("grant:k", 10), held=20, frozen=30, expired=40)
    before = msgspec.structs.replace(before, written_off=50, expiries=2, locked=1)
    after = lots.changed(before, LotChange("grant:k", -10, 2, -3, 4, -5))
    assert after == msgspec.structs.replace(
        before, open=0, available=0, held=22, frozen=27, expired=44, written_off=45
    )
    assert lots.changed(after, LotChange("grant:k", 1)).open == 1


def test_what_was_taken_is_written_as_pairs() -> None:
    assert lots.write([Take("grant:k", 5)]) == '[["grant:k",5]]'
