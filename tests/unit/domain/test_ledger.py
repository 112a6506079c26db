"""Double entry: legs sum to zero, debts come first, and each entry names the one before it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_payments.domain import audit, ledger
from credit_payments.domain.records import CREDITS_MAX, Entry, Wallet
from credit_payments.errors import InsufficientCredits, InvalidRequest

NOW = "2024-01-01T00:00:00.000000Z"


def effect(
    cause: str = "grant:k", contra: ledger.Contra = ledger.Contra.PROMOTIONS
) -> ledger.Effect:
    return ledger.Effect(user_id="ada", kind=ledger.Kind.GRANT, cause=cause, contra=contra, now=NOW)


def test_the_first_entry_of_a_wallet_starts_its_chain() -> None:
    wallet, entry = ledger.add(None, 10, effect())
    assert (entry.sequence, entry.previous_hash) == (1, ledger.GENESIS)
    assert wallet == Wallet("ada", 10, 0, 1, entry.hash, NOW)
    after, second = ledger.take(wallet, 4, effect("spend:k", ledger.Contra.USAGE))
    assert (second.sequence, second.previous_hash) == (2, entry.hash)
    assert (after.available, after.entries, after.head) == (6, 2, second.hash)


def test_credits_repay_a_debt_before_they_become_available() -> None:
    indebted, _ = ledger.take(None, 10, effect(), into_debt=True)
    assert (indebted.available, indebted.debt) == (0, 10)
    partly, entry = ledger.add(indebted, 4, effect("grant:2"))
    assert (partly.available, partly.debt, entry.credits) == (0, 6, 0)
    assert ledger.legs_of(entry) == {"promotions": -4, "debt:ada": 4}
    wholly, entry = ledger.add(partly, 10, effect("grant:3"))
    assert (wholly.available, wholly.debt) == (4, 0)
    assert ledger.legs_of(entry) == {"promotions": -10, "wallet:ada": 4, "debt:ada": 6}


def test_nothing_is_taken_that_is_not_there() -> None:
    wallet, _ = ledger.add(None, 3, effect())
    for holder, available in ((wallet, 3), (None, 0)):
        with pytest.raises(InsufficientCredits) as caught:
            ledger.take(holder, 4, effect())
        assert caught.value.available == available


def test_a_wallet_has_a_largest_number_of_credits() -> None:
    full, _ = ledger.add(None, CREDITS_MAX, effect())
    with pytest.raises(InvalidRequest):
        ledger.add(full, 1, effect("grant:2"))


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10**6)), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_moves_keep_the_books_balanced_and_provable(moves: list[tuple[bool, int]]) -> None:
    wallet: Wallet | None = None
    entries: list[Entry] = []
    net = 0
    for number, (comes, credits) in enumerate(moves):
        if comes:
            wallet, entry = ledger.add(wallet, credits, effect(f"grant:{number}"))
        else:
            wallet, entry = ledger.take(wallet, credits, effect(f"spend:{number}"), into_debt=True)
        net += credits if comes else -credits
        entries.append(entry)
        assert sum(ledger.legs_of(entry).values()) == 0
        assert wallet.available - wallet.debt == net
        assert min(wallet.available, wallet.debt) == 0
    assert audit.verify([wallet] if wallet else [], entries).ok


def test_the_hash_covers_every_field() -> None:
    _, entry = ledger.add(None, 10, effect())
    hashes = {entry.hash}
    for name in Entry.__struct_fields__[:-1]:
        value = getattr(entry, name)
        other = value + 1 if isinstance(value, int) else f"{value}x"
        hashes.add(ledger.chain_hash(msgspec.structs.replace(entry, **{name: other})))
    assert len(hashes) == len(Entry.__struct_fields__)


def test_none_and_an_empty_text_are_hashed_apart() -> None:
    _, entry = ledger.add(None, 10, effect())
    empty = msgspec.structs.replace(entry, reason="")
    assert ledger.chain_hash(entry) != ledger.chain_hash(empty)
    assert ledger.fingerprint("a", None) != ledger.fingerprint("a", "")
    assert ledger.fingerprint("ab", "c") != ledger.fingerprint("a", "bc")
    assert ledger.fingerprint(1) != ledger.fingerprint("1")


def test_the_hash_of_an_entry_never_changes_between_releases() -> None:
    _, entry = ledger.add(None, 10, effect())
    assert entry.transaction_id == ledger.transaction_id("grant:k")
    assert entry.hash == ledger.chain_hash(entry)
    assert len(entry.hash) == 64
