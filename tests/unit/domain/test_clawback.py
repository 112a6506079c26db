"""Taking back and giving back: from whom, in which order, and never more than was brought."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from credit_payments.domain import audit, clawback, instants, ledger, lots, reversal
from credit_payments.domain.book import Book
from credit_payments.domain.clawback import Policies, Policy
from credit_payments.domain.decision import Range, View
from credit_payments.domain.ledger import Contra, Effect, Kind
from credit_payments.domain.lots import STAND_INS_MAX, Source
from credit_payments.domain.records import (
    NEVER,
    Entry,
    Hold,
    Key,
    Lot,
    Payment,
    Record,
    Wallet,
    key_of,
)
from credit_payments.domain.spending import Suspend
from credit_payments.domain.stripe_facts import (
    ChargeFacts,
    DisputeFacts,
    MovementFacts,
    RefundFacts,
)

NOW = "2024-01-01T00:00:00.000000Z"
OWN = "payment:pi_1"


class Ledger:
    """The rows of one wallet, to which one thing after the other happens.

    A payment is of as many minor units as credits, so that a refund of 30 takes back 30.
    """

    def __init__(self, policies: Policies | None = None) -> None:
        self.now = NOW
        self.policies = policies or Policies()
        self.rows: dict[Key, Record] = {}
        self.payments: dict[str, Payment] = {}
        self._number = 0

    # -- what happens --------------------------------------------------------------------------

    def buy(self, credits: int, name: str = "pi_1", *, lasts: int | None = None) -> None:
        book = self._open()
        expires_at = NEVER if lasts is None else instants.later(self.now, lasts)
        terms = {"amount_minor": credits, "currency": "usd", "expires_at": expires_at}
        effect = Effect(
            kind=Kind.PAYMENT, cause=f"payment:{name}", metadata=msgspec.json.encode(terms).decode()
        )
        book.credit(
            effect, credits, Contra.PURCHASES, source=Source.PURCHASE, expires_at=expires_at
        )
        self._keep(book)
        self.payments[name] = Payment(
            payment_intent_id=name, user_id="ada", quote_id="quote_1", status="succeeded",
            quarantined=0, amount_minor=credits, currency="usd", credits=credits,
            expires_seconds=lasts, received_minor=credits, credited=credits, refunded_credits=0,
            disputed_credits=0, locked=0, reversals=0, refunds="{}", disputes="{}", clawback="{}",
            created_at=NOW, updated_at=NOW,
        )  # fmt: skip

    def settle(
        self, refunded: int = 0, disputed: int = 0, *, locked: bool = False, name: str = "pi_1"
    ) -> Payment:
        """Let the facts be these, and post what follows."""
        known = {}
        if disputed:
            known["dp_1"] = [disputed, "lost", {"txn_1": -disputed}]
        if locked:
            known["dp_2"] = [1, "needs_response", {}]
        paid = msgspec.structs.replace(
            self.payments[name],
            refunds=msgspec.json.encode({"re_1": [refunded, "succeeded"]}).decode(),
            disputes=msgspec.json.encode(known).decode(),
        )
        book = self._open()
        self.payments[name] = settled = clawback.settle(book, paid, self.policies)
        self._keep(book)
        return settled

    def grant(self, credits: int, key: str = "g", *, lasts: int | None = None) -> None:
        expires_at = NEVER if lasts is None else instants.later(self.now, lasts)
        book = self._open()
        arguments = ledger.fingerprint("ada", credits, None, expires_at, 0, None)
        effect = Effect(kind=Kind.GRANT, cause=f"grant:{key}", arguments=arguments)
        book.credit(effect, credits, Contra.PROMOTIONS, source=Source.GRANT, expires_at=expires_at)
        self._keep(book)

    def spend(self, credits: int) -> None:
        self._number += 1
        book = self._open()
        book.spend(Effect(kind=Kind.SPEND, cause=f"spend:{self._number}"), credits)
        self._keep(book)

    def undo(self, number: int = 1) -> None:
        """Let the spend of that number have been for nothing; once."""
        self.undo_of(f"spend:{number}")

    def undo_of(self, cause: str) -> None:
        undone = self.rows[Entry, cause]
        assert isinstance(undone, Entry)
        cause = f"undo:{undone.cause}"
        book = self._open()
        if (Entry, cause) not in self.rows:
            book.undo(Effect(kind=Kind.UNDO, cause=cause), undone)
        self._keep(book)

    def resume(self) -> None:
        book = self._open()
        cause = f"resume:{len(self.entries())}"
        book.suspend(Effect(kind=Kind.RESUME, cause=cause), suspended=False)
        self._keep(book)

    def hold(self, credits: int, key: str = "h", *, lasts: int = 10**6) -> None:
        book = self._open()
        hold = Hold(
            hold_id=f"hold:{key}", user_id="ada", open=1, status="held", credits=credits,
            captured=0, overage="refuse", fingerprint="", taken="[]",
            lapses_at=instants.later(self.now, lasts), created_at=self.now,
        )  # fmt: skip
        book.hold(Effect(kind=Kind.HOLD, cause=hold.hold_id), hold)
        self._keep(book)

    def release(self, key: str = "h", *, captured: int = 0) -> None:
        book = self._open()
        row = self.rows[Hold, f"hold:{key}"]
        assert isinstance(row, Hold)
        hold = book.as_it_is(row)
        if hold.open and captured:
            book.capture(Effect(kind=Kind.CAPTURE, cause=f"capture:{key}"), hold, captured)
        elif hold.open:
            book.release(Effect(kind=Kind.RELEASE, cause=f"release:{key}"), hold)
        self._keep(book)

    def turn(self, seconds: int) -> None:
        self.now = instants.later(self.now, seconds)

    # -- what it comes to ----------------------------------------------------------------------

    @property
    def wallet(self) -> Wallet:
        row = self.rows[Wallet, "ada"]
        assert isinstance(row, Wallet)
        return row

    def lot(self, lot_id: str = OWN) -> Lot:
        row = self.rows[Lot, lot_id]
        assert isinstance(row, Lot)
        return row

    def taken(self, name: str = "pi_1") -> dict[str, Any]:
        """Where it was taken from, and what was missing; what is nothing is left out."""
        stands = clawback.Clawback.of(self.payments[name], self.lot(f"payment:{name}"))
        takes = [[place, credits] for place, credits in stands.takes]
        sums = {place: lots.total(stands.missing, place) for place, _ in stands.missing}
        return {"takes": takes, **sums} if takes else dict(sums)

    def entries(self) -> list[Entry]:
        return sorted(self.all(Entry), key=lambda entry: entry.sequence)

    def amounts(self) -> list[tuple[int, ...]]:
        """What the wallet and its lots, oldest first, hold."""
        wallet = self.wallet
        rows = sorted(self.all(Lot), key=lambda lot: lot.sequence)
        return [
            (wallet.available, wallet.held, wallet.frozen, wallet.debt),
            *((lot.available, lot.held, lot.frozen, lot.expired, lot.written_off) for lot in rows),
        ]

    def check(self) -> audit.VerificationReport:
        holds = sorted(self.all(Hold), key=lambda hold: hold.hold_id)
        rows = sorted(self.all(Lot), key=lambda lot: lot.sequence)
        payments = [self.payments[name] for name in sorted(self.payments)]
        report = audit.verify([self.wallet], rows, holds, self.entries(), payments=payments)
        assert report.ok, report.problems
        return report

    def all(self, kind: Any) -> list[Any]:
        return [row for row in self.rows.values() if isinstance(row, kind)]

    def _open(self) -> Book:
        view = View(now=self.now)
        view.put((Wallet, "ada"), None)
        for key, row in self.rows.items():
            view.put(key, row)
        series = (lots.to_spend("ada"), lots.to_expire("ada"), lots.to_lapse("ada"))
        for one in series:
            rows = [
                row
                for row in self.all(one.kind)
                if all(getattr(row, name) == value for name, value in one.equals)
            ]
            view.put_range(Range(one, 10**6), rows)
        return Book(view, "ada", self.now)

    def _keep(self, book: Book) -> None:
        for row in book.changes():
            self.rows[key_of(row)] = row


def bought(credits: int = 100, spent: int = 0, policies: Policies | None = None) -> Ledger:
    books = Ledger(policies)
    books.buy(credits)
    if spent:
        books.spend(spent)
    return books


# -- taking back ------------------------------------------------------------------------------


def test_nothing_is_posted_where_the_facts_ask_for_nothing_new() -> None:
    books = bought()
    settled = books.settle(30)
    entries = len(books.entries())
    assert books.settle(30) is not settled
    assert books.settle(30) == settled
    assert len(books.entries()) == entries


def test_a_reversal_takes_from_its_own_lot_before_all_others() -> None:
    books = Ledger()
    books.grant(50)  # would be spent first
    books.buy(100)
    books.settle(70)
    assert books.taken() == {"takes": [[OWN, 70]]}
    assert (books.lot().available, books.lot("grant:g").available) == (30, 50)
    books.check()


def test_what_the_own_lot_lacks_is_taken_from_others_and_then_owed() -> None:
    books = bought(spent=60)
    books.grant(25)
    books.settle(100)
    assert books.taken() == {"takes": [[OWN, 40], ["grant:g", 25]], "debt": 35}
    assert books.wallet.debt == 35
    books.check()


def test_what_expired_unused_is_missed_by_nobody() -> None:
    books = Ledger()
    books.buy(100, lasts=10)
    books.spend(30)
    books.grant(50)
    books.turn(11)
    books.settle(90)
    assert books.taken() == {"takes": [["expired", 70], ["grant:g", 20]]}
    assert books.lot().expired == 0
    books.settle()
    assert books.lot().expired == 70
    assert books.wallet.available == 50
    assert books.check().trial_balance["expired"] == 70


def test_credits_that_are_held_are_not_taken() -> None:
    books = bought()
    books.hold(80)
    books.settle(100)
    assert books.taken() == {"takes": [[OWN, 20]], "debt": 80}
    assert (books.wallet.held, books.wallet.debt) == (80, 80)
    books.release()
    assert (books.wallet.held, books.wallet.debt, books.wallet.available) == (0, 0, 0)
    books.check()


@pytest.mark.parametrize("policy", Policy)
def test_what_is_missing_is_owed_or_written_off_as_the_policy_says(policy: Policy) -> None:
    books = bought(spent=60, policies=Policies(refund=policy, dispute=Policy.DEBT))
    books.settle(100)
    wallet, place = books.wallet, "written_off" if policy == Policy.CLAMP else "debt"
    assert books.taken() == {"takes": [[OWN, 40]], place: 60}
    assert wallet.debt == (0 if policy == Policy.CLAMP else 60)
    assert wallet.suspended == (policy == Policy.FREEZE)
    books.check()


def test_a_dispute_has_a_policy_of_its_own() -> None:
    books = bought(spent=60, policies=Policies(refund=Policy.DEBT, dispute=Policy.CLAMP))
    books.settle(disputed=100)
    assert books.taken() == {"takes": [[OWN, 40]], "written_off": 60}
    assert books.check().trial_balance["written_off"] == -60


def test_a_wallet_is_stopped_whenever_it_owes_more_and_only_then() -> None:
    books = bought(spent=60, policies=Policies(refund=Policy.FREEZE))
    books.settle(40)
    stopped = [books.wallet.suspended]
    books.settle(60)
    books.settle(80)
    stopped.append(books.wallet.suspended)
    books.resume()
    books.settle(70)
    stopped.append(books.wallet.suspended)
    assert stopped == [0, 1, 0]
    assert [entry.cause for entry in books.entries()[2:]] == [
        "reversal:pi_1:1",
        "reversal:pi_1:2",
        "freeze:reversal:pi_1:2",
        "reversal:pi_1:3",
        "freeze:reversal:pi_1:3",
        "resume:7",
        "reversal:pi_1:4",
    ]
    stop = books.entries()[4]
    assert (stop.kind, stop.credits, stop.legs, stop.lots) == ("freeze", 0, "{}", "[]")
    books.check()


def test_the_stop_of_a_policy_names_its_reversal_and_no_key_of_the_host_can() -> None:
    books = bought(spent=100, policies=Policies(dispute=Policy.FREEZE))
    books.settle(disputed=1)
    stop = books.entries()[-1]
    assert (stop.kind, stop.cause, stop.actor) == ("freeze", "freeze:reversal:pi_1:1", None)
    host = Suspend(user_id="ada", key="reversal:pi_1:1", reason="r", actor="eve")
    assert (Entry, stop.cause) not in set(host.keys())


SHARED = list(itertools.product(Policy, Policy))


@pytest.mark.parametrize(("refund", "dispute"), SHARED, ids=[f"{r}-{d}" for r, d in SHARED])
def test_each_kind_of_reversal_follows_its_own_policy_whichever_came_first(
    refund: Policy, dispute: Policy
) -> None:
    for facts in ((30, 100), (50, 50), (70, 20), (10, 40), (100, 100)):
        refunded, total = facts[0], min(100, sum(facts))
        # 45 are there. The refunds come first and take of them what they need.
        of_refunds, missing = max(0, refunded - 45), max(0, total - 45)
        of_disputes = missing - of_refunds
        written_off = of_refunds * (refund == Policy.CLAMP) + of_disputes * (
            dispute == Policy.CLAMP
        )
        for way in ([facts], [(refunded, 0), facts], [(0, facts[1]), facts]):
            books = bought(spent=55, policies=Policies(refund=refund, dispute=dispute))
            for step in way:
                books.settle(*step)
            assert books.wallet.debt == missing - written_off
            assert (books.lot().written_off, books.wallet.available) == (
                written_off,
                45 - total + missing,
            )
            assert merged(books.taken()) == {
                OWN: total - missing, "debt": missing - written_off, "written_off": written_off,
            }  # fmt: skip
            books.check()
            books.settle()
            assert books.amounts() == [(45, 0, 0, 0), (45, 0, 0, 0, 0)]
            books.check()


Way = list[tuple[int, int]]
FIRST_REFUNDED: dict[str, Way] = {
    "at once": [(100, 0)],
    "first disputed": [(0, 100), (100, 0)],
    "disputed also": [(0, 100), (100, 100)],
    "first disputed in part": [(0, 60), (100, 0)],
    "disputed in part also": [(0, 60), (100, 40)],
    "piece by piece": [(0, 100), (40, 100), (41, 100), (70, 100), (100, 100)],
}


def on_the_way(way: Way, policies: Policies) -> Ledger:
    """Of 100 bought, 60 are spent; 50 are granted after the first thing that is told."""
    books = bought(spent=60, policies=policies)
    books.settle(*way[0])
    books.grant(50)
    for step in way[1:]:
        books.settle(*step)
    return books


@pytest.mark.parametrize(
    "way",
    FIRST_REFUNDED,
)
def test_what_is_owed_from_now_on_is_paid_with_what_came_in_since(way: str) -> None:
    policies = Policies(refund=Policy.DEBT, dispute=Policy.CLAMP)
    books = on_the_way(FIRST_REFUNDED[way], policies)
    assert (books.wallet.available, books.wallet.debt) == (0, 10)
    assert books.lot().written_off == 0
    books.check()


@pytest.mark.parametrize(
    "way",
    [name for name, way in FIRST_REFUNDED.items() if sum(way[0]) == 100],
)
def test_what_was_paid_of_a_debt_comes_back_when_that_is_written_off_after_all(way: str) -> None:
    """The refund fails, and the dispute stands."""
    policies = Policies(refund=Policy.DEBT, dispute=Policy.CLAMP)
    books = on_the_way([*FIRST_REFUNDED[way], (0, 100)], policies)
    assert (books.wallet.available, books.wallet.debt, books.lot().written_off) == (50, 0, 60)
    books.check()


def test_what_was_owed_and_repaid_comes_back_when_it_is_written_off_instead() -> None:
    books = bought(spent=60, policies=Policies(refund=Policy.DEBT, dispute=Policy.CLAMP))
    books.settle(100)
    books.grant(50)
    assert (books.wallet.debt, books.wallet.available) == (10, 0)
    books.settle(0, 100)
    assert (books.wallet.debt, books.wallet.available) == (0, 50)
    assert books.taken() == {"takes": [[OWN, 40]], "written_off": 60}
    assert books.check().trial_balance["written_off"] == -60


@pytest.mark.parametrize("other", [Policy.DEBT, Policy.CLAMP])
def test_the_policy_that_stops_a_wallet_does_so_in_every_order(other: Policy) -> None:
    for way in ([(100, 0), (100, 100)], [(0, 100), (100, 100)], [(0, 100), (100, 0)]):
        books = bought(spent=60, policies=Policies(refund=Policy.FREEZE, dispute=other))
        for step in way:
            books.settle(*step)
        assert (books.wallet.suspended, books.wallet.debt) == (1, 60), way


def test_what_another_policy_lets_a_wallet_owe_does_not_stop_it() -> None:
    books = bought(spent=60, policies=Policies(refund=Policy.FREEZE, dispute=Policy.DEBT))
    books.settle(50)
    assert books.wallet.suspended
    books.resume()
    books.settle(50, 50)
    assert (books.wallet.suspended, books.wallet.debt) == (0, 60)


def test_each_posting_about_a_payment_has_a_number_of_its_own() -> None:
    books = bought()
    for refunded in (10, 20, 20, 5):
        books.settle(refunded)
    causes = [entry.cause for entry in books.entries()[1:]]
    assert causes == ["reversal:pi_1:1", "reversal:pi_1:2", "reversal:pi_1:3"]
    assert books.payments["pi_1"].reversals == 3


def test_a_refund_of_what_was_disputed_moves_between_the_accounts_alone() -> None:
    books = bought()
    books.settle(disputed=100)
    before = books.amounts()
    books.settle(30, 100)
    assert books.amounts() == before
    last = books.entries()[-1]
    assert ledger.legs_of(last) == {"refunds": 30, "disputes": -30}
    assert (last.credits, last.lots) == (0, "[]")
    books.check()


# -- giving back ------------------------------------------------------------------------------


def test_giving_back_undoes_the_last_that_was_taken_first() -> None:
    books = bought(spent=60)
    books.grant(25)
    books.settle(100)
    books.settle(80)
    assert (books.wallet.debt, books.lot("grant:g").available) == (15, 0)
    books.settle(50)
    assert (books.wallet.debt, books.lot("grant:g").available) == (0, 15)
    assert books.taken() == {"takes": [[OWN, 40], ["grant:g", 10]]}
    books.settle()
    assert (books.lot().available, books.lot("grant:g").available) == (40, 25)
    books.check()


def test_what_repaid_a_debt_comes_back_without_an_end() -> None:
    books = bought(spent=100)
    books.settle(100)
    books.grant(70)
    assert (books.wallet.debt, books.wallet.available) == (30, 0)
    books.settle()
    lot = books.lot("reversal:pi_1:2")
    assert (books.wallet.debt, lot.available, lot.expires_at) == (0, 70, NEVER)
    assert books.lot().available == 0, "its own credits were used"
    books.check()


def test_what_goes_back_into_a_lot_that_has_expired_expires_at_once() -> None:
    books = Ledger()
    books.buy(100, lasts=10)
    books.settle(100)
    books.turn(11)
    books.settle()
    assert (books.wallet.available, books.lot().expired) == (0, 100)
    assert books.entries()[-1].kind == "expiry"
    books.check()


def test_a_debt_of_another_payment_is_repaid_before_anything_is_given_back() -> None:
    books = bought(spent=100)
    books.buy(50, "pi_2")
    books.settle(50, name="pi_2")
    books.settle(100)
    assert books.wallet.debt == 100
    books.settle(name="pi_2")
    assert (books.wallet.debt, books.wallet.available) == (50, 0)
    books.settle()
    assert (books.wallet.debt, books.wallet.available) == (0, 50)
    books.check()


def test_what_was_written_off_is_not_given_to_the_user() -> None:
    books = bought(spent=60, policies=Policies(refund=Policy.CLAMP))
    books.settle(100)
    books.settle(50)
    assert books.wallet.available == 0
    assert books.taken() == {"takes": [[OWN, 40]], "written_off": 10}
    books.settle()
    assert books.wallet.available == 40
    assert books.check().trial_balance.get("written_off", 0) == 0


def test_what_comes_back_into_a_lot_makes_up_for_its_write_off_first() -> None:
    books = bought(policies=Policies(refund=Policy.CLAMP))
    books.spend(30)
    books.hold(50)
    books.settle(90)
    assert books.taken() == {"takes": [[OWN, 20]], "written_off": 70}
    assert books.amounts() == [(0, 50, 0, 0), (0, 50, 0, 0, 70)]
    books.undo()
    assert books.amounts() == [(0, 50, 0, 0), (0, 50, 0, 0, 40)]
    books.release()
    assert books.amounts() == [(10, 0, 0, 0), (10, 0, 0, 0, 0)]
    assert ledger.legs_of(books.entries()[-1]) == {
        "held:ada": -50, "wallet:ada": 10, "written_off": 40,
    }  # fmt: skip
    assert books.taken() == {"takes": [[OWN, 20], [OWN, 70]]}, "as if all had been there"
    books.settle()
    assert books.amounts() == [(100, 0, 0, 0), (100, 0, 0, 0, 0)]
    assert "written_off" not in {k for k, v in books.check().trial_balance.items() if v}


def chain(payments: int) -> Ledger:
    """The credits of each payment but the first stood in for the one before, and are refunded."""
    books = Ledger()
    books.buy(50, "pi_1")
    books.spend(50)
    for number in range(1, payments):
        books.buy(50, f"pi_{number + 1}")
        books.settle(50, name=f"pi_{number}")
    books.check()
    assert books.wallet.available == 0
    return books


def test_what_comes_back_goes_on_to_where_it_is_missing_in_the_end() -> None:
    books = chain(3)
    books.buy(70, "pi_last", lasts=100)
    books.settle(50, name="pi_3")
    assert books.lot("payment:pi_last").available == 20
    books.undo()
    assert [available for available, *_ in books.amounts()] == [70, 0, 0, 0, 70]
    assert not any(map(lots.stand_ins, books.all(Lot)))
    books.check()


def test_what_comes_back_goes_on_for_some_steps_and_no_credit_is_lost_then() -> None:
    books = chain(STAND_INS_MAX + 3)
    books.buy(50, "pi_last")
    books.settle(50, name=f"pi_{STAND_INS_MAX + 3}")
    books.undo()
    assert books.lot(f"payment:pi_{STAND_INS_MAX + 1}").available == books.wallet.available == 50
    books.check()


def test_what_came_back_in_part_is_the_payments_own_again_and_the_rest_goes_back_in_turn() -> None:
    books = bought(spent=60)
    books.hold(40)
    books.grant(30)
    books.settle(80)
    assert books.taken() == {"takes": [["grant:g", 30]], "debt": 50}
    books.release()
    assert books.taken() == {"takes": [[OWN, 40], ["grant:g", 30]], "debt": 10}
    assert books.amounts()[0] == (0, 0, 0, 10)
    books.settle(75)
    assert books.amounts()[0] == (0, 0, 0, 5)
    books.settle(50)
    assert (books.taken(), books.lot("grant:g").available) == (
        {"takes": [[OWN, 40], ["grant:g", 10]]},
        20,
    )
    books.settle()
    assert (books.lot().available, books.lot("grant:g").available) == (40, 30)
    books.check()


FORMER: dict[Policy, str] = {
    Policy.DEBT: '{"takes":[["payment:pi_1",40],["grant:g",25]],"debt":35}',
    Policy.CLAMP: '{"takes":[["payment:pi_1",40],["grant:g",25]],"written_off":35}',
}
"""What a payment's row kept before the fifth version of the schema, and its lot did not."""


@pytest.mark.parametrize("policy", FORMER)
@pytest.mark.parametrize("then", [(0, 0), (60, 0), (50, 50)])
def test_rows_of_the_schema_before_end_as_those_of_this_one(
    policy: Policy, then: tuple[int, int]
) -> None:
    ends = []
    for is_former in (False, True):
        books = Ledger(Policies(refund=policy, dispute=policy))
        books.buy(100, lasts=50)
        books.spend(60)
        books.grant(25)
        books.settle(100)
        if is_former:
            paid = books.payments["pi_1"]
            books.payments["pi_1"] = msgspec.structs.replace(paid, clawback=FORMER[policy])
            books.rows[Lot, OWN] = msgspec.structs.replace(books.lot(), covered_by="")
        books.grant(100, "repays")
        books.turn(51)
        books.check()
        books.settle(*then)
        end = [books.amounts(), merged(books.taken()), lots.stand_ins(books.lot())]
        books.check()
        books.settle()
        books.check()
        ends.append([*end, books.amounts()])
    assert ends[0] == ends[1]


def test_what_was_written_off_under_the_schema_before_is_made_up_for() -> None:
    books = bought(spent=100, policies=Policies(refund=Policy.CLAMP))
    books.settle(100)
    books.payments["pi_1"] = msgspec.structs.replace(books.payments["pi_1"], clawback="{}")
    books.rows[Lot, OWN] = msgspec.structs.replace(books.lot(), covered_by="")
    books.check()
    books.undo()
    assert books.amounts() == [(0, 0, 0, 0), (0, 0, 0, 0, 0)]
    books.check()
    books.settle()
    assert books.amounts() == [(100, 0, 0, 0), (100, 0, 0, 0, 0)]
    books.check()


def test_a_write_off_is_made_up_for_before_the_debt_of_another_payment_is_repaid() -> None:
    """As if the credits had been there when the first refund came."""
    books = bought(policies=Policies(refund=Policy.CLAMP))
    books.buy(50, "pi_2")
    books.spend(100)
    books.spend(50)
    books.settle(100)
    books.policies = Policies()
    books.settle(50, name="pi_2")
    assert books.amounts() == [(0, 0, 0, 50), (0, 0, 0, 0, 100), (0, 0, 0, 0, 0)]
    books.undo(1)
    assert books.amounts() == [(0, 0, 0, 50), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)]
    books.undo(2)
    assert books.amounts() == [(0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)]
    books.check()


def test_a_chain_that_ends_in_a_debt_that_was_repaid_by_what_comes_back_leaves_nothing() -> None:
    books = Ledger()
    books.buy(100, lasts=10)
    books.spend(100)
    books.buy(100, "pi_2")
    books.settle(100)
    books.settle(100, name="pi_2")
    books.undo()
    assert not any(map(lots.stand_ins, books.all(Lot)))
    assert books.wallet.debt == 0
    books.turn(11)
    books.settle(0)
    books.settle(0, name="pi_2")
    assert (books.wallet.available, books.lot().expired) == (100, 100)
    books.check()


def test_lenders_have_theirs_back_before_the_debt_of_another_payment_is_repaid() -> None:
    books = bought(spent=100)
    books.grant(60, lasts=10)
    books.settle(60)
    books.buy(100, "pi_2")
    books.spend(100)
    books.settle(100, name="pi_2")
    books.undo()
    assert (books.wallet.debt, lots.stand_ins(books.lot())) == (0, [])
    books.turn(11)
    books.settle(0)
    assert (books.wallet.available, books.lot().available) == (60, 60)
    books.check()


def test_what_a_capture_let_go_to_a_lender_is_not_what_it_used() -> None:
    books = Ledger()
    books.grant(70, lasts=1_000)
    books.buy(50)
    books.hold(20, "first")
    books.hold(100, "second")
    books.release("first")
    books.settle(20)
    books.release("second", captured=50)
    assert (books.lot("grant:g").available, books.lot().available) == (20, 30)
    books.undo_of("capture:second")
    assert (books.lot("grant:g").available, books.lot().available) == (70, 30)
    books.check()


@pytest.mark.parametrize("both", [(Policy.CLAMP, Policy.DEBT), (Policy.DEBT, Policy.CLAMP)])
def test_what_comes_back_makes_up_for_what_refunds_miss_first_in_any_order(
    both: tuple[Policy, Policy],
) -> None:
    """Refunds count as taken first, so theirs is the first that is not missing any more."""
    ends = []
    for undone_after in (0, 1, 2):
        books = bought(spent=37, policies=Policies(refund=both[0], dispute=both[1]))
        books.spend(35)
        books.grant(20)
        for number, facts in enumerate(((50, 0), (50, 100))):
            if number == undone_after:
                books.undo()
            books.settle(*facts)
        if undone_after == 2:
            books.undo()
        ends.append((books.amounts(), merged(books.taken())))
        books.check()
    assert ends[0] == ends[1] == ends[2]


def test_what_comes_back_into_a_lot_that_has_expired_makes_up_for_its_write_off_first() -> None:
    books = Ledger(Policies(refund=Policy.CLAMP))
    books.buy(100, lasts=10)
    books.spend(70)
    books.settle(90)
    books.turn(11)
    books.undo()
    assert books.amounts() == [(0, 0, 0, 0), (0, 0, 0, 10, 0)]
    assert [entry.kind for entry in books.entries()[-2:]] == ["undo", "expiry"]
    books.check()


def test_what_made_up_for_a_write_off_is_given_back_with_it() -> None:
    books = bought(spent=60, policies=Policies(refund=Policy.CLAMP))
    books.settle(100)
    books.undo()
    assert books.amounts() == [(0, 0, 0, 0), (0, 0, 0, 0, 0)]
    books.settle(70)
    assert books.amounts() == [(30, 0, 0, 0), (30, 0, 0, 0, 0)]
    books.settle()
    assert books.amounts() == [(100, 0, 0, 0), (100, 0, 0, 0, 0)]
    books.check()


def test_what_comes_back_into_a_locked_lot_makes_up_for_its_write_off_and_is_frozen_then() -> None:
    books = bought(spent=70, policies=Policies(refund=Policy.CLAMP))
    books.settle(50, locked=True)
    assert books.amounts() == [(0, 0, 0, 0), (0, 0, 0, 0, 20)]
    books.undo()
    assert books.amounts() == [(0, 0, 50, 0), (0, 0, 50, 0, 0)]
    books.settle()
    assert books.amounts() == [(100, 0, 0, 0), (100, 0, 0, 0, 0)]
    books.check()


def test_what_goes_back_to_the_lot_of_another_payment_makes_up_for_its_write_off() -> None:
    books = bought(spent=100, policies=Policies(refund=Policy.CLAMP))
    books.buy(50, "pi_2")
    books.settle(50)
    assert books.taken() == {"takes": [["payment:pi_2", 50]]}
    books.settle(50, name="pi_2")
    assert books.taken("pi_2") == {"written_off": 50}
    books.settle()
    assert books.amounts() == [(0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)]
    books.settle(name="pi_2")
    assert books.amounts() == [(50, 0, 0, 0), (0, 0, 0, 0, 0), (50, 0, 0, 0, 0)]
    books.check()


# -- freezing ---------------------------------------------------------------------------------


def test_a_locked_lot_is_frozen_and_thawed_as_a_whole() -> None:
    books = bought(spent=40)
    books.settle(locked=True)
    assert (books.wallet.available, books.wallet.frozen, books.lot().locked) == (0, 60, 1)
    books.settle(25, locked=True)
    assert (books.wallet.frozen, books.taken()) == (35, {"takes": [[OWN, 25]]})
    books.settle(locked=True)
    assert books.wallet.frozen == 60
    books.settle()
    assert (books.wallet.available, books.wallet.frozen, books.lot().locked) == (60, 0, 0)
    books.check()


def test_a_lot_that_has_nothing_is_locked_without_a_posting() -> None:
    books = bought(spent=100)
    entries = len(books.entries())
    settled = books.settle(locked=True)
    assert (settled.locked, settled.reversals, books.lot().locked) == (1, 0, 1)
    assert len(books.entries()) == entries
    books.check()


def test_a_thawed_lot_repays_a_debt_first() -> None:
    books = bought()
    books.settle(locked=True)
    books.buy(50, "pi_2")
    books.spend(50)
    books.settle(50, name="pi_2")
    assert (books.wallet.frozen, books.wallet.debt) == (100, 50)
    books.settle()
    assert (books.wallet.available, books.wallet.debt) == (50, 0)
    books.check()


def test_frozen_credits_are_taken_when_the_dispute_takes_the_money() -> None:
    books = bought(spent=10)
    books.settle(locked=True)
    books.settle(disputed=100)
    assert (books.wallet.frozen, books.wallet.debt, books.lot().locked) == (0, 10, 0)
    books.check()


def test_a_partial_dispute_lets_go_of_the_rest() -> None:
    books = bought()
    books.settle(locked=True)
    books.settle(disputed=40)
    assert (books.wallet.frozen, books.wallet.available) == (0, 60)
    books.check()


# -- properties -------------------------------------------------------------------------------

shares = st.integers(0, 100)
targets = st.tuples(shares, shares, st.booleans())


@example([(0, 44, False), (0, 0, False)], 58, 1, Policy.DEBT, Policy.DEBT, False)
@given(
    st.lists(targets, min_size=1, max_size=8),
    st.integers(0, 100),
    st.integers(0, 60),
    st.sampled_from(Policy),
    st.sampled_from(Policy),
    st.booleans(),
)
def test_where_it_ends_does_not_depend_on_the_way_there(
    way: list[tuple[int, int, bool]],
    spent: int,
    granted: int,
    refund: Policy,
    dispute: Policy,
    expires: bool,
) -> None:
    ends = []
    for steps in (way, way[-1:]):
        books = Ledger(Policies(refund=refund, dispute=dispute))
        books.buy(100, lasts=10 if expires else None)
        books.spend(spent) if spent else None
        books.grant(granted) if granted else None
        books.turn(11)
        for refunded, disputed, locked in steps:
            books.settle(refunded, disputed, locked=locked)
            books.check()
        ends.append((books.amounts(), merged(books.taken())))
    assert ends[0] == ends[1]


def merged(taken: dict[str, Any]) -> dict[str, int]:
    """How much was taken from where, whether at once or piece by piece."""
    sums = {name: taken.get(name, 0) for name in ("debt", "written_off")}
    for place, credits in taken.get("takes", ()):
        sums[place] = sums.get(place, 0) + credits
    return sums


settling = st.tuples(st.just("settle"), targets, st.sampled_from(["pi_1", "pi_2"]))
actions = st.one_of(
    settling,
    settling,
    st.tuples(st.just("spend"), st.integers(1, 200)),
    st.tuples(st.just("grant"), st.integers(1, 50), st.sampled_from([None, 5, 20])),
    st.tuples(st.just("hold"), st.integers(1, 50), st.sampled_from([3, 100])),
    st.tuples(st.just("release"), st.integers(0, 20)),
    st.tuples(st.just("undo"), st.integers(0, 20)),
    st.tuples(st.just("turn"), st.integers(1, 12)),
)


@given(
    st.lists(actions, min_size=5, max_size=25),
    st.sampled_from(Policy),
    st.sampled_from(Policy),
    st.sampled_from([None, 15]),
)
def test_whatever_happens_the_ledger_stays_sound_and_all_comes_back(
    happened: list[Any], refund: Policy, dispute: Policy, lasts: int | None
) -> None:
    books = Ledger(Policies(refund=refund, dispute=dispute))
    books.buy(100, lasts=lasts)
    books.buy(100, "pi_2", lasts=lasts)
    holds = spends = 0
    for number, (what, *arguments) in enumerate(happened):
        left = books.wallet.available if not books.wallet.suspended else 0
        if what == "settle":
            (refunded, disputed, locked), name = arguments
            books.settle(refunded, disputed, locked=locked, name=name)
        elif what == "grant":
            books.grant(arguments[0], f"g{number}", lasts=arguments[1])
        elif what == "turn":
            books.turn(arguments[0])
            books.settle(name="pi_2")  # posts what is due
        elif what == "release":
            if holds:
                books.release(f"h{holds}", captured=min(arguments[0], 1))
        elif what == "undo":
            if spends:
                books.undo(1 + arguments[0] % spends)
        elif left and books.wallet.due_at > books.now:
            credits = min(left, arguments[0])
            if what == "spend":
                spends += 1
                books.spend(credits)
            else:
                holds += 1
                books.hold(credits, f"h{holds}", lasts=arguments[1])
        _check_conservation(books)
    for name in books.payments:
        books.settle(name=name)
        assert books.taken(name) == {}
    trial = _check_conservation(books)
    assert {trial[name] for name in ("refunds", "disputes", "written_off")} == {0}


def _check_conservation(books: Ledger) -> dict[str, int]:
    trial = dict.fromkeys(["refunds", "disputes", "written_off", "usage", "expired"], 0)
    trial |= books.check().trial_balance
    wallet = books.wallet
    assert not (wallet.debt and wallet.available)
    assert trial["written_off"] <= 0 <= trial["expired"]
    reversed_credits = 0
    for name, paid in books.payments.items():
        taken = paid.refunded_credits + paid.disputed_credits
        assert 0 <= taken <= paid.credited
        assert sum(merged(books.taken(name)).values()) == taken
        assert all(credits > 0 for _, credits in books.taken(name).get("takes", ()))
        assert min(merged(books.taken(name)).values()) >= 0
        reversed_credits += taken
    assert trial["refunds"] + trial["disputes"] == reversed_credits
    assert trial["expired"] == sum(lot.expired for lot in books.all(Lot))
    assert trial["written_off"] == -sum(lot.written_off for lot in books.all(Lot))
    for lot in books.all(Lot):
        assert min(lot.available, lot.held, lot.frozen, lot.expired, lot.written_off) >= 0
        assert lot.available == 0 if lot.locked else lot.frozen == 0
    return trial


# -- what the facts ask for -------------------------------------------------------------------

REFUND_STATUSES = ("pending", "requires_action", "succeeded", "failed", "canceled", None, "new")
DISPUTE_STATUSES = (
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "won",
    "lost",
    "prevented",
    "new",
)
EVENT_TYPES = tuple(
    f"charge.dispute.{kind}"
    for kind in ("created", "updated", "funds_withdrawn", "funds_reinstated", "closed")
)

refund_reports = st.one_of(
    st.builds(
        lambda number, status: RefundFacts(f"re_{number}", 100 * number, "usd", status),
        st.integers(1, 3),
        st.sampled_from(REFUND_STATUSES),
    ),
    st.builds(ChargeFacts, st.just("ch_1"), st.just("usd"), st.sampled_from([0, 100, 300, 600])),
)


def dispute_facts(number: int, amount: int, status: str, moved: list[int] | None) -> DisputeFacts:
    moves = None
    if moved is not None:
        moves = [MovementFacts(f"txn_{number}_{n}", amount) for n, amount in enumerate(moved)]
    return DisputeFacts(
        id=f"dp_{number}", amount=amount, currency="usd", reason="fraudulent", status=status,
        created=0, balance_transactions=moves,  # type: ignore[arg-type]
    )  # fmt: skip


dispute_reports = st.tuples(
    st.builds(
        lambda number, amount, status, moved: dispute_facts(
            number, amount, status, None if moved is None else [-900, 900][:moved]
        ),
        st.integers(1, 2),
        st.sampled_from([400, 500]),
        st.sampled_from(DISPUTE_STATUSES),
        st.sampled_from([None, 0, 1, 2]),
    ),
    st.sampled_from(EVENT_TYPES),
)


def refunds_of(reports: Any) -> str:
    text = reversal.NOTHING
    for report in reports:
        text = reversal.merge_refund(text, report)
    return text


def disputes_of(reports: Any) -> str:
    text = reversal.NOTHING
    for report, event_type in reports:
        text = reversal.merge_dispute(text, report, event_type)
    return text


def due(refunds: str = "{}", disputes: str = "{}", granted: int = 100) -> reversal.Due:
    return reversal.due(refunds, disputes, granted=granted, paid_minor=1_000)


@given(st.data(), st.lists(dispute_reports, max_size=7))
def test_reports_of_disputes_may_come_in_any_order_and_number(
    data: st.DataObject, reports: list[Any]
) -> None:
    text = disputes_of(reports)
    shuffled = data.draw(st.permutations([*reports, *reports[: len(reports) // 2]]))
    assert disputes_of(shuffled) == text
    for report, event_type in reports:
        assert reversal.merge_dispute(text, report, event_type) == text


@given(st.data(), st.lists(refund_reports, max_size=7))
def test_reports_of_refunds_may_come_in_any_order_and_number(
    data: st.DataObject, reports: list[Any]
) -> None:
    text = refunds_of(reports)
    shuffled = data.draw(st.permutations([*reports, *reports[: len(reports) // 2]]))
    assert due(refunds_of(shuffled)) == due(text)
    assert reversal.failed_refunds(refunds_of(shuffled)) == reversal.failed_refunds(text)
    for report in reports:
        assert reversal.merge_refund(text, report) == text


@given(
    st.lists(st.tuples(st.integers(0, 1_500), st.sampled_from(REFUND_STATUSES)), max_size=4),
    st.none() | st.integers(0, 1_500),
    st.lists(dispute_reports, max_size=4),
    st.integers(0, 10**6),
    st.integers(0, 3_000),
)
def test_what_is_due_is_never_more_than_was_granted_and_all_when_all_was_reversed(
    amounts: list[tuple[int, str | None]],
    charge: int | None,
    told: list[Any],
    granted: int,
    paid: int,
) -> None:
    reports: list[Any] = [
        RefundFacts(f"re_{number}", amount, "usd", status)
        for number, (amount, status) in enumerate(amounts)
    ]
    if charge is not None:
        reports.append(ChargeFacts("ch_1", "usd", charge))
    refunds = refunds_of(reports)
    asked = reversal.due(refunds, disputes_of(told), granted=granted, paid_minor=paid)
    assert asked.refunded >= 0
    assert asked.disputed >= 0
    assert asked.refunded + asked.disputed <= granted
    counted = sum(a for a, status in amounts if status not in {"failed", "canceled"})
    failed = sum(a for a, status in amounts if status in {"failed", "canceled"})
    counted = max(counted, (charge or 0) - failed)
    if paid and counted >= paid:
        assert (asked.refunded, asked.disputed) == (granted, 0)
    without = reversal.due(refunds, "{}", granted=granted, paid_minor=paid)
    assert without.refunded == asked.refunded
    if paid:
        assert without == (granted * min(paid, counted) // paid, 0, False)


@pytest.mark.parametrize("status", ["pending", "requires_action", "succeeded", None, "new_word"])
def test_a_refund_counts_until_it_has_failed(status: str | None) -> None:
    for end in ("failed", "canceled"):
        reports = [RefundFacts("re_1", 500, "usd", s) for s in (status, end)]
        assert due(refunds_of(reports[:1])).refunded == 50
        for order in itertools.permutations(reports):
            assert due(refunds_of(order)) == (0, 0, False)
            assert reversal.failed_refunds(refunds_of(order)) == 1


MOVES: dict[str, tuple[list[int] | None, str, str, reversal.Due]] = {
    "opened": ([], "needs_response", "created", reversal.Due(0, 0, True)),
    "inquiry": ([], "warning_needs_response", "created", reversal.Due(0, 0, True)),
    "inquiry closed": ([], "warning_closed", "closed", reversal.Due(0, 0, False)),
    "prevented": ([], "prevented", "closed", reversal.Due(0, 0, False)),
    "withdrawn": ([-500], "needs_response", "funds_withdrawn", reversal.Due(0, 50, False)),
    "withdrawn, not shown": (None, "under_review", "funds_withdrawn", reversal.Due(0, 50, False)),
    "lost, not shown": (None, "lost", "closed", reversal.Due(0, 50, False)),
    "won, not shown": (None, "won", "closed", reversal.Due(0, 0, False)),
    "reinstated": ([-500, 500], "won", "funds_reinstated", reversal.Due(0, 0, False)),
    "reinstated, not shown": (None, "won", "funds_reinstated", reversal.Due(0, 0, False)),
    "reinstated, still open": ([-500, 500], "under_review", "updated", reversal.Due(0, 0, True)),
    "another currency": ([-460], "lost", "closed", reversal.Due(0, 50, False)),
    "won, less came back": ([-460, 450], "won", "funds_reinstated", reversal.Due(0, 0, False)),
    "won, more came back": ([-460, 470], "won", "closed", reversal.Due(0, 0, False)),
    "won, nothing came back yet": ([-460], "won", "closed", reversal.Due(0, 50, False)),
    "lost, a half came back": ([-460, 230], "lost", "closed", reversal.Due(0, 25, False)),
    "a part reinstated": ([-500, 200], "lost", "closed", reversal.Due(0, 30, False)),
}


@pytest.mark.parametrize("name", MOVES)
def test_disputed_funds_count_while_they_are_gone(name: str) -> None:
    moved, status, kind, asked = MOVES[name]
    facts = dispute_facts(1, 500, status, moved)
    assert due("{}", disputes_of([(facts, f"charge.dispute.{kind}")])) == asked


def test_one_open_dispute_without_its_money_locks_beside_one_that_took_it() -> None:
    told = [
        (dispute_facts(1, 300, "lost", [-300]), "charge.dispute.closed"),
        (dispute_facts(2, 300, "needs_response", []), "charge.dispute.created"),
    ]
    assert due("{}", disputes_of(told)) == reversal.Due(0, 30, True)


def test_nothing_is_due_of_a_payment_that_brought_nothing() -> None:
    refunds = refunds_of([RefundFacts("re_1", 500, "usd", "succeeded")])
    assert reversal.due(refunds, "{}", granted=100, paid_minor=0) == (0, 0, False)
    assert reversal.due(refunds, "{}", granted=0, paid_minor=1_000) == (0, 0, False)
