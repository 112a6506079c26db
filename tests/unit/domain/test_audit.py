"""Whatever is changed behind the ledger's back, a verification finds it and says where."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import credit_payments as cp
from credit_payments.domain import audit, ledger, payment
from credit_payments.domain.records import Entry, Hold, Lot, Payment, Purchase, Quote, Wallet
from credit_payments.domain.stripe_facts import PaymentIntentFacts

Shop = Any


@pytest.fixture
def books(open_shop: Callable[[str], Shop], tmp_path: Path) -> tuple[cp.System, Path]:
    path = tmp_path / "credits.db"
    system: cp.System = open_shop(f"sqlite:///{path}").system
    for user in ("ada", "bob"):
        system.wallets.grant(user, 10, key=f"{user} 1", reason="r")
        system.wallets.spend(user, 3, key=f"{user} 2", metadata={"a": 1})
        system.wallets.grant(user, 5, key=f"{user} 3", reason="r")
    assert system.verify().ok
    return system, path


def tamper(path: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("column", Entry.__struct_fields__)
def test_a_change_of_any_field_of_any_entry_is_found(
    books: tuple[cp.System, Path], column: str, number: int
) -> None:
    system, path = books
    old = system._storage.page(Entry, {"user_id": "ada"}, order=("sequence",), limit=9)[number - 1]
    value = getattr(old, column)
    new: Any = value + 7 if isinstance(value, int) else f"{value or ''}x"
    name = old.transaction_id
    tamper(path, f"UPDATE entries SET {column} = ? WHERE transaction_id = ?", new, name)
    report = system.verify()
    assert not report.ok
    named = {problem.transaction_id for problem in report.problems}
    assert (new if column == "transaction_id" else name) in named
    assert {problem.user_id for problem in report.problems} <= {"ada", "adax", "*"}


@pytest.mark.parametrize(
    ("column", "text"),
    [
        *(("legs", text) for text in ["", "x", "[]", "null", '{"a": "b"}', '{"a": 1.5}', "{}"]),
        *(("lots", text) for text in ["", "x", "{}", "null", '[["a", "b"]]', "[[1]]", "[[]]"]),
        ("lots", "[]"),
    ],
)
def test_legs_and_lots_that_cannot_be_read_are_a_problem_and_no_crash(
    books: tuple[cp.System, Path], column: str, text: str
) -> None:
    system, path = books
    name = ledger.transaction_id("grant:ada 1")
    tamper(path, f"UPDATE entries SET {column} = ? WHERE transaction_id = ?", text, name)
    assert name in {problem.transaction_id for problem in system.verify().problems}


@pytest.mark.parametrize(
    "column",
    list(Wallet.__struct_fields__),
)
def test_a_change_of_any_field_of_a_wallet_is_found(
    books: tuple[cp.System, Path], column: str
) -> None:
    system, path = books
    value = getattr(system._storage.get(Wallet, "ada"), column)
    new: Any = value + 7 if isinstance(value, int) else f"{value}x"
    tamper(path, f"UPDATE wallets SET {column} = ? WHERE user_id = 'ada'", new)
    report = system.verify()
    assert not report.ok
    assert {problem.user_id for problem in report.problems} <= {"ada", "adax"}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_entry_that_was_removed_is_missed(books: tuple[cp.System, Path], number: int) -> None:
    system, path = books
    tamper(path, "DELETE FROM entries WHERE user_id = 'ada' AND sequence = ?", number)
    problems = system.verify().problems
    assert problems
    assert {problem.user_id for problem in problems} == {"ada"}


def test_an_entry_whose_hash_was_recomputed_still_breaks_the_chain(
    books: tuple[cp.System, Path],
) -> None:
    system, path = books
    name = ledger.transaction_id("spend:ada 2")
    entry = system._storage.get(Entry, "spend:ada 2")
    assert entry is not None
    forged = msgspec.structs.replace(entry, reason="forged")
    forged = msgspec.structs.replace(forged, hash=ledger.chain_hash(forged))
    tamper(
        path,
        "UPDATE entries SET reason = ?, hash = ? WHERE transaction_id = ?",
        "forged",
        forged.hash,
        name,
    )
    after = ledger.transaction_id("grant:ada 3")
    assert [problem.transaction_id for problem in system.verify().problems] == [after]


def test_a_wallet_without_entries_and_entries_without_a_wallet_are_found() -> None:
    alone = audit.verify([Wallet("ada", updated_at="now")], [], [], [])
    assert [problem.message for problem in alone.problems] == ["a wallet without entries"]
    effect = ledger.Effect(kind=ledger.Kind.GRANT, cause="grant:k")
    draft = ledger.Draft(effect)
    draft.leg(ledger.Contra.PROMOTIONS, -1)
    draft.move("grant:k", available=1)
    entry, _ = ledger.post(Wallet("bob"), draft, "now")
    ownerless = audit.verify([], [], [], [entry])
    assert [(p.user_id, p.message) for p in ownerless.problems] == [
        ("bob", "rows without a wallet")
    ]


def promised(user: str, name: str = "pi_1") -> Payment:
    """A payment that was begun, and nothing more."""
    quote = Quote(
        quote_id="quote_1", user_id=user, amount_minor=1_000, currency="usd", credits=100,
        package_id=None, customer_id=None, rule="rate", expires_seconds=None, fingerprint="f",
        payment_intent_id=None, created_at="now",
    )  # fmt: skip
    facts = PaymentIntentFacts(
        id=name, status="requires_payment_method", amount=1_000, currency="usd", created=1
    )
    return payment.from_quote(quote, facts, None, "now")


def test_who_has_begun_to_pay_and_holds_nothing_is_no_problem() -> None:
    rows = [promised("ada"), promised("ada", "pi_2"), promised("bob", "pi_3")]
    report = audit.verify([], [], [], [], [], rows)
    assert report == audit.VerificationReport(wallets=0, entries=0, trial_balance={})


@pytest.mark.parametrize(
    "changes",
    [{"credited": 100}, {"refunded_credits": 1}, {"disputed_credits": 1}, {"reversals": 1},
     {"locked": 1}],
    ids=str,
)  # fmt: skip
def test_a_payment_that_says_it_was_credited_and_was_not_is_found(changes: dict[str, int]) -> None:
    row = msgspec.structs.replace(promised("ada"), **changes)
    report = audit.verify([], [], [], [], [], [row, promised("bob", "pi_2")])
    assert [(p.user_id, p.message) for p in report.problems] == [
        ("ada", "the record of payment:pi_1 is not what its entries say")
    ]


def sold() -> tuple[Wallet, Lot, Entry]:
    """A wallet with one credit, its lot, and the payment that brought it."""
    effect = ledger.Effect(
        kind=ledger.Kind.PAYMENT,
        cause="payment:pi_1",
        metadata='{"amount_minor":1000,"currency":"usd","expires_at":"9999-12-31T23:59:59.999999Z"}',
    )
    draft = ledger.Draft(effect)
    draft.leg(ledger.Contra.PURCHASES, -1)
    draft.move("payment:pi_1", available=1)
    entry, _ = ledger.post(Wallet("ada"), draft, "now")
    wallet = Wallet("ada", available=1, entries=1, head=entry.hash, updated_at="now")
    lot = Lot(
        "payment:pi_1", "ada", "purchase", 1, 0, "9999-12-31T23:59:59.999999Z", 1, 1, 1, 0, 0, 0, 0,
        0, 0, "now",
    )  # fmt: skip
    return wallet, lot, entry


def test_what_is_not_given_is_not_missed() -> None:
    wallet, lot, entry = sold()
    assert audit.verify([wallet], [lot], [], [entry]).ok
    unsold = audit.verify([wallet], [lot], [], [entry], purchases=[])
    assert [p.message for p in unsold.problems] == ["the purchase of payment:pi_1 is missing"]
    unpaid = audit.verify([wallet], [lot], [], [entry], payments=[])
    assert [p.message for p in unpaid.problems] == ["the record of payment:pi_1 is missing"]


def test_a_lot_that_is_locked_and_not_frozen_or_the_reverse_is_found() -> None:
    wallet, lot, entry = sold()
    for changes in ({"locked": 1}, {"open": 0}):
        report = audit.verify([wallet], [msgspec.structs.replace(lot, **changes)], [], [entry])
        assert [problem.message for problem in report.problems] == [
            "the lot payment:pi_1 is not in the state that its credits are in"
        ]


def test_lots_and_holds_of_nobody_are_found() -> None:
    _, lot, _ = sold()
    hold = Hold("hold:k", "bob", 1, "held", 1, 0, "refuse", "", "[]", "now", "now")
    report = audit.verify([], [lot], [hold], [], [], [])
    assert [(problem.user_id, problem.message) for problem in report.problems] == [
        ("ada", "rows without a wallet"),
        ("bob", "rows without a wallet"),
    ]


@pytest.mark.parametrize("state", ["expired", "written_off"])
def test_an_entry_whose_lots_and_legs_tell_of_different_things_is_found(state: str) -> None:
    wallet, lot, first = sold()
    effect = ledger.Effect(kind=ledger.Kind.EXPIRY, cause="expiry:payment:pi_1")
    draft = ledger.Draft(effect)
    draft.move("payment:pi_1", **{state: 1})
    entry, _ = ledger.post(wallet, draft, "now")
    wallet = msgspec.structs.replace(wallet, entries=2, head=entry.hash)
    lot = msgspec.structs.replace(lot, expiries=1, **{state: 1})
    report = audit.verify([wallet], [lot], [], [first, entry])
    assert [(problem.transaction_id, problem.message) for problem in report.problems] == [
        (entry.transaction_id, "its lots do not agree with what expired or was written off")
    ]


@pytest.mark.parametrize("cause", ["", "reversal", "reversal:", "reversal:pi_1", ":", "x"])
def test_a_reversal_of_a_strange_name_is_a_problem_and_no_crash(cause: str) -> None:
    effect = ledger.Effect(kind=ledger.Kind.REVERSAL, cause="reversal:pi_1:1")
    draft = ledger.Draft(effect)
    draft.leg(ledger.Contra.REFUNDS, 5)
    draft.debt = 5
    entry, _ = ledger.post(Wallet("ada"), draft, "now")
    renamed = msgspec.structs.replace(entry, cause=cause)
    wallet = Wallet("ada", debt=5, entries=1, head=entry.hash, updated_at="now")
    report = audit.verify([wallet], [], [], [renamed], [], [])
    assert {problem.transaction_id for problem in report.problems} == {entry.transaction_id}


def test_the_orders_name_every_kind_of_row_that_is_verified_in_turn() -> None:
    assert list(audit.ORDERS) == [Wallet, Lot, Hold, Entry, Purchase, Payment]
    for kind, order in audit.ORDERS.items():
        assert order[0] == "user_id"
        assert set(order) <= set(kind.__struct_fields__)


def test_a_broken_ledger_is_reported_in_a_bounded_number_of_problems() -> None:
    wallets = [Wallet(f"user{n:03}", available=1, entries=1) for n in range(1_000)]
    report = audit.verify(wallets, [], [], [])
    assert len(report.problems) == audit.PROBLEMS_MAX
    assert report.wallets == 1_000
    nothing = audit.verify([], [], [], [])
    assert nothing == audit.VerificationReport(wallets=0, entries=0, trial_balance={})
