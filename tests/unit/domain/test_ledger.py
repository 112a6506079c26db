"""Double entry: legs sum to zero, debts come first, and each entry names the one before it."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_payments.domain import audit, ledger, lots
from credit_payments.domain.book import Book
from credit_payments.domain.decision import View
from credit_payments.domain.ledger import Contra, Draft, Effect, Kind, LotChange
from credit_payments.domain.records import CREDITS_MAX, NEVER, Entry, Hold, Lot, Wallet
from credit_payments.errors import InsufficientCredits, InvalidRequest

NOW = "2024-01-01T00:00:00.000000Z"


def effect(cause: str = "grant:k") -> Effect:
    return Effect(kind=Kind(cause.partition(":")[0]), cause=cause)


def coming(credits: int, lot_id: str = "grant:k") -> Draft:
    draft = Draft(effect())
    draft.leg(Contra.PROMOTIONS, -credits)
    draft.move(lot_id, available=credits)
    return draft


def first_entry() -> Entry:
    entry, _ = ledger.post(Wallet("ada"), coming(10), NOW)
    return entry


def opened(wallet: Wallet | None = None) -> Book:
    """The book of a wallet that has no lots."""
    view = View({(Wallet, "ada"): wallet}, NOW)
    view.put_range(lots.first_to_spend("ada"), [])
    return Book(view, "ada", NOW)


def bring(book: Book, credits: int, cause: str = "grant:k") -> Entry:
    arguments = ledger.fingerprint("ada", credits, None, NEVER, 0, None)
    named = msgspec.structs.replace(effect(cause), arguments=arguments)
    return book.credit(named, credits, Contra.PROMOTIONS, source=lots.Source.GRANT)


def overdraw(book: Book, credits: int, key: str) -> Entry:
    """Use more than there is, the one way in which a caller may: late, and on credit."""
    hold = Hold(
        hold_id=f"hold:{key}",
        user_id="ada",
        open=0,
        status="lapsed",
        credits=1,
        captured=0,
        overage="debt",
        fingerprint="",
        taken="[]",
        lapses_at=NOW,
        created_at=NOW,
    )
    entry, _ = book.capture(effect(f"capture:{key}"), hold, credits)
    return entry


def test_the_first_entry_of_a_wallet_starts_its_chain() -> None:
    book = opened()
    entry = bring(book, 10)
    assert (entry.sequence, entry.previous_hash) == (1, ledger.GENESIS)
    assert book.wallet == Wallet("ada", available=10, entries=1, head=entry.hash, updated_at=NOW)
    second = book.spend(effect("spend:k"), 4)
    assert (second.sequence, second.previous_hash) == (2, entry.hash)
    after = book.wallet
    assert (after.available, after.entries, after.head) == (6, 2, second.hash)


def test_an_entry_says_what_the_wallet_holds_after_it_and_which_lots_changed() -> None:
    wallet = Wallet("ada", available=7, held=5, frozen=3, entries=4, head="before")
    draft = Draft(effect("hold:k"))
    draft.move("grant:a", available=-2, held=2)
    draft.move("grant:b", frozen=1, available=-1)
    draft.move("grant:a", held=-1, available=1)
    draft.move("grant:c", expired=4, written_off=2)
    draft.move("grant:c", expired=1, written_off=-5)
    draft.leg(Contra.EXPIRED, 5)
    draft.leg(Contra.WRITTEN_OFF, 3)
    draft.leg(Contra.USAGE, -8)
    entry, changes = ledger.post(wallet, draft, NOW)
    assert (entry.credits, entry.sequence, entry.previous_hash) == (-2, 5, "before")
    assert (entry.balance_after, entry.held_after, entry.frozen_after) == (5, 6, 4)
    assert ledger.legs_of(entry) == {
        "wallet:ada": -2, "held:ada": 1, "frozen:ada": 1,
        "expired": 5, "written_off": 3, "usage": -8,
    }  # fmt: skip
    assert changes == [
        LotChange("grant:a", available=-1, held=1),
        LotChange("grant:b", available=-1, frozen=1),
        LotChange("grant:c", expired=5, written_off=-3),
    ]
    assert [change.net for change in changes] == [0, 0, 5], "what is written off is no credit"
    assert ledger.lots_of(entry) == changes


def test_a_draft_that_takes_everything_back_says_nothing() -> None:
    draft = coming(10)
    assert not draft.is_empty()
    draft.leg(Contra.PROMOTIONS, 10)
    draft.move("grant:k", available=-10)
    assert draft.is_empty()
    assert draft.lots() == []
    entry, changes = ledger.post(Wallet("ada"), draft, NOW)
    assert (entry.legs, entry.lots, changes) == ("{}", "[]", [])


def test_legs_that_do_not_sum_to_zero_are_never_posted() -> None:
    draft = coming(10)
    draft.debt += 1
    with pytest.raises(AssertionError, match="grant:k"):
        ledger.post(Wallet("ada"), draft, NOW)


def test_credits_repay_a_debt_before_they_become_available() -> None:
    book = opened()
    entry = overdraw(book, 10, "k")
    assert (book.wallet.available, book.wallet.debt) == (0, 10)
    assert (entry.credits, entry.debt_after) == (0, 10)
    assert ledger.legs_of(entry) == {"usage": 10, "debt:ada": -10}
    entry = bring(book, 4, "grant:2")
    assert (book.wallet.available, book.wallet.debt, entry.credits) == (0, 6, 0)
    assert ledger.legs_of(entry) == {"promotions": -4, "debt:ada": 4}
    entry = bring(book, 10, "grant:3")
    assert (book.wallet.available, book.wallet.debt) == (4, 0)
    assert ledger.legs_of(entry) == {"promotions": -10, "wallet:ada": 4, "debt:ada": 6}
    assert ledger.lots_of(entry) == [LotChange("grant:3", available=4)]


def test_nothing_is_taken_that_is_not_there() -> None:
    holder = opened()
    bring(holder, 3)
    for book, available in ((holder, 3), (opened(), 0)):
        before = book.changes()
        with pytest.raises(InsufficientCredits) as caught:
            book.spend(effect("spend:k"), 4)
        assert (caught.value.available, caught.value.required) == (available, 4)
        assert book.changes() == before


def test_a_wallet_has_a_largest_number_of_credits() -> None:
    full = opened()
    bring(full, CREDITS_MAX)
    with pytest.raises(InvalidRequest):
        bring(full, 1, "grant:2")
    assert full.wallet.available == CREDITS_MAX


@pytest.mark.parametrize("state", ["available", "held", "frozen"])
def test_what_is_held_and_frozen_counts_towards_the_largest_number(state: str) -> None:
    nearly_full = msgspec.structs.replace(Wallet("ada"), **{state: CREDITS_MAX - 1})
    assert ledger.fits(nearly_full, 1)
    assert not ledger.fits(nearly_full, 2)
    assert ledger.fits(None, CREDITS_MAX)
    assert not ledger.fits(None, CREDITS_MAX + 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10**6)), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_moves_keep_the_books_balanced_and_provable(moves: list[tuple[bool, int]]) -> None:
    book = opened()
    net = 0
    for number, (comes, credits) in enumerate(moves):
        if comes:
            entry = bring(book, credits, f"grant:{number}")
        else:
            entry = overdraw(book, credits, str(number))
        net += credits if comes else -credits
        assert sum(ledger.legs_of(entry).values()) == 0
        assert book.wallet.available - book.wallet.debt == net
        assert min(book.wallet.available, book.wallet.debt) == 0
    rows = book.changes()
    report = audit.verify(
        [row for row in rows if isinstance(row, Wallet)],
        sorted((row for row in rows if isinstance(row, Lot)), key=lambda lot: lot.sequence),
        [row for row in rows if isinstance(row, Hold)],
        [row for row in rows if isinstance(row, Entry)],
    )
    assert report.ok, report.problems
    assert (report.wallets, report.entries) == (int(bool(moves)), len(moves))


def test_the_hash_covers_every_field() -> None:
    entry = first_entry()
    hashes = {entry.hash}
    for name in Entry.__struct_fields__[:-1]:
        value = getattr(entry, name)
        other = value + 1 if isinstance(value, int) else f"{value}x"
        hashes.add(ledger.chain_hash(msgspec.structs.replace(entry, **{name: other})))
    assert len(hashes) == len(Entry.__struct_fields__)


def test_none_and_an_empty_text_are_hashed_apart() -> None:
    entry = first_entry()
    for name in ("actor", "reason", "metadata"):
        empty = msgspec.structs.replace(entry, **{name: ""})
        assert ledger.chain_hash(entry) != ledger.chain_hash(empty)
    assert ledger.fingerprint("a", None) != ledger.fingerprint("a", "")
    assert ledger.fingerprint("ab", "c") != ledger.fingerprint("a", "bc")
    assert ledger.fingerprint(1) != ledger.fingerprint("1")


def test_the_hash_of_an_entry_never_changes_between_releases() -> None:
    entry = first_entry()
    assert entry.transaction_id == ledger.transaction_id("grant:k")
    assert entry.hash == ledger.chain_hash(entry)
    # Written out, so that the code is not its own witness: every field in order, as JSON.
    fields = [
        "txn_a1259acb42ceb40918c53dc3b39a529f", "ada", 1, "grant", "grant:k", "", 10, 10, 0, 0, 0,
        '{"promotions":-10,"wallet:ada":10}', '[["grant:k",10,0,0,0,0]]', None, None, None, NOW, "",
    ]  # fmt: skip
    written = json.dumps(fields, separators=(",", ":")).encode()
    assert entry.hash == hashlib.sha256(written).hexdigest()
    assert entry.hash == "d90cce21c5f7cdbe42df67195645925978e98bd09ea300d0ead4db8302453427"
