"""One wallet: in which order credits go, where they come back to, and what time does to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.conftest import TurnableClock

from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain import audit, instants, ledger
from credit_payments.domain.decision import FIRST_ROWS, GROWTH
from credit_payments.domain.holding import CaptureHold, ExtendHold, Overage, PlaceHold, ReleaseHold
from credit_payments.domain.looking import Look
from credit_payments.domain.records import CREDITS_MAX, NEVER, Entry, Hold, Lot, Wallet
from credit_payments.domain.spending import Grant, PostDue, Spend, Suspend, Undo
from credit_payments.domain.values import Balance
from credit_payments.errors import (
    Conflict,
    HoldEnded,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    WalletSuspended,
)
from credit_payments.posting import PostingQueue, reading

DAY = 24 * 3600


class Books:
    """The wallet of ada, to which one thing after the other happens."""

    def __init__(self) -> None:
        self.clock = TurnableClock()
        self.storage = MemoryStorage()
        self.queue = PostingQueue(self.storage, self.clock)
        self.number = 0

    @property
    def now(self) -> str:
        return instants.to_text(self.clock.now())

    # -- what happens -------------------------------------------------------------------------

    def grant(
        self, credits: int, key: str, *, lasts: float | None = None, priority: int = 0
    ) -> Entry:
        expires_at = NEVER if lasts is None else instants.later(self.now, lasts)
        grant = Grant(
            user_id="ada", credits=credits, key=key, reason="r", expires_at=expires_at,
            priority=priority,
        )  # fmt: skip
        return self.queue.submit(grant)

    def spend(self, credits: int) -> Entry:
        self.number += 1
        return self.queue.submit(Spend(user_id="ada", credits=credits, key=f"{self.number}"))

    def undo(self, entry: Entry) -> Entry:
        return self.queue.submit(Undo(cause=entry.cause))

    def hold(
        self, credits: int, *, ttl: float = DAY, overage: str = "refuse", key: str = "h"
    ) -> Hold:
        hold = PlaceHold(
            user_id="ada", credits=credits, key=key, ttl_seconds=ttl, overage=Overage(overage)
        )
        return self.queue.submit(hold)

    def capture(self, credits: int, key: str = "h") -> Entry:
        entry, _ = self.queue.submit(CaptureHold(key=key, credits=credits))
        return entry

    def release(self, key: str = "h") -> Hold:
        return self.queue.submit(ReleaseHold(key=key))

    def extend(self, ttl: float, key: str = "h") -> Hold:
        return self.queue.submit(ExtendHold(key=key, ttl_seconds=ttl))

    def suspend(self, *, resumes: bool = False) -> Entry:
        self.number += 1
        return self.queue.submit(
            Suspend(user_id="ada", key=f"{self.number}", reason="r", actor="a", resumes=resumes)
        )

    def owe(self, credits: int) -> Entry:
        """A capture of so many more than there are; it leaves a debt of as many."""
        self.number += 1
        key = f"owing {self.number}"
        self.grant(1, key)
        self.hold(1, overage="debt", key=key)
        return self.capture(1 + credits, key)

    def turn(self, seconds: float) -> None:
        self.clock.turn(seconds)

    # -- what it comes to ---------------------------------------------------------------------

    def lots(self, *names: str) -> list[tuple[int, ...]]:
        """What these lots have: available, held, expired."""
        rows = {row.lot_id: row for row in self.storage.scan(Lot, order=("lot_id",))}
        found = (rows[f"grant:{name}"] for name in names)
        return [(lot.available, lot.held, lot.expired) for lot in found]

    @property
    def wallet(self) -> Wallet:
        """As it was left."""
        wallet = self.storage.get(Wallet, "ada")
        assert wallet is not None
        return wallet

    def balance(self) -> Balance:
        """As it is now, whether or not what is due was posted."""
        with self.storage.snapshot() as reader:
            return reading.answer(reader, Look(user_id="ada"), self.now)

    def causes(self) -> list[str]:
        return [entry.cause for entry in self.storage.scan(Entry, order=("sequence",))]

    def check(self) -> None:
        wallets, lots, holds, entries = (
            self.storage.scan(kind, order=audit.ORDERS[kind]) for kind in (Wallet, Lot, Hold, Entry)
        )
        report = audit.verify(wallets, lots, holds, entries)  # type: ignore[arg-type]
        assert report.ok, report.problems


@pytest.fixture
def books() -> Any:
    books = Books()
    yield books
    books.check()


# -- in which order credits go ----------------------------------------------------------------


def test_lots_are_spent_by_priority_then_by_expiry_then_by_age(books: Books) -> None:
    books.grant(1, "never, old")
    books.grant(1, "never, young")
    books.grant(1, "late", lasts=20)
    books.grant(1, "soon", lasts=10)
    books.grant(1, "last", lasts=5, priority=1)
    books.grant(1, "first", priority=-1)
    order = []
    for _ in range(6):
        change = ledger.lots_of(books.spend(1))
        order += [moved.lot_id.removeprefix("grant:") for moved in change]
    assert order == ["first", "soon", "late", "never, old", "never, young", "last"]


def test_a_spend_empties_lots_in_turn_and_takes_what_it_needs_of_the_last(books: Books) -> None:
    for name in ("a", "b", "c"):
        books.grant(5, name)
    entry = books.spend(7)
    assert books.lots("a", "b", "c") == [(0, 0, 0), (3, 0, 0), (5, 0, 0)]
    assert [(moved.lot_id, moved.available) for moved in ledger.lots_of(entry)] == [
        ("grant:a", -5),
        ("grant:b", -2),
    ]


@pytest.mark.parametrize(
    "lots", [FIRST_ROWS - 1, FIRST_ROWS, FIRST_ROWS + 1, GROWTH * FIRST_ROWS, 70]
)
def test_any_number_of_lots_can_be_spent_at_once(books: Books, lots: int) -> None:
    for number in range(lots):
        books.grant(1, f"{number}")
    with pytest.raises(InsufficientCredits):
        books.spend(lots + 1)
    assert books.spend(lots).balance_after == 0


def test_who_has_nothing_to_give_is_told_how_much_there_is(books: Books) -> None:
    books.grant(5, "a")
    with pytest.raises(InsufficientCredits) as caught:
        books.spend(6)
    assert (caught.value.available, caught.value.required) == (5, 6)


# -- expiry -----------------------------------------------------------------------------------


def test_credits_can_be_spent_until_the_very_instant_at_which_they_expire(books: Books) -> None:
    books.grant(5, "a", lasts=10)
    books.clock.instant += timedelta(seconds=10, microseconds=-1)
    books.spend(2)
    assert books.balance().available == 3
    books.clock.instant += timedelta(microseconds=1)
    assert books.balance().available == 0
    with pytest.raises(InsufficientCredits):
        books.spend(1)
    assert books.lots("a") == [(0, 0, 3)]


def test_what_has_expired_is_posted_by_whatever_touches_the_wallet_next(books: Books) -> None:
    books.grant(5, "a", lasts=10)
    books.grant(7, "b", lasts=20)
    books.turn(15)
    assert books.wallet.available == 12
    books.grant(1, "c")
    assert books.causes()[2:] == ["expiry:grant:a", "grant:c"]
    assert books.wallet.available == 8


def test_a_refused_spend_leaves_no_trace_but_for_what_was_due_anyway(books: Books) -> None:
    books.grant(5, "a", lasts=10)
    books.turn(10)
    with pytest.raises(InsufficientCredits):
        books.spend(1)
    assert books.causes() == ["grant:a", "expiry:grant:a"]


def test_what_is_due_is_posted_once(books: Books) -> None:
    books.grant(5, "a", lasts=10)
    books.grant(5, "b", lasts=10)
    assert books.queue.submit(PostDue(user_id="ada")) == 0
    books.turn(10)
    assert books.queue.submit(PostDue(user_id="ada")) == 2
    assert books.queue.submit(PostDue(user_id="ada")) == 0


def test_nothing_is_due_where_nobody_ever_had_anything(books: Books) -> None:
    assert books.queue.submit(PostDue(user_id="ada")) == 0
    assert books.storage.get(Wallet, "ada") is None


def test_any_number_of_lots_may_expire_at_once(books: Books) -> None:
    for number in range(70):
        books.grant(1, f"{number}", lasts=10 + number % 2)
    books.grant(5, "stays")
    books.turn(11)
    assert books.balance() == Balance(available=5)
    assert books.spend(5).balance_after == 0
    assert sum(cause.startswith("expiry:") for cause in books.causes()) == 70


def test_a_grant_that_has_expired_already_is_refused(books: Books) -> None:
    with pytest.raises(InvalidRequest) as caught:
        books.grant(5, "a", lasts=0)
    assert caught.value.param == "expires_at"


def test_the_next_expiry_is_that_of_the_first_lot_with_something_available(books: Books) -> None:
    books.grant(5, "a", lasts=10, priority=-1)
    books.grant(5, "b", lasts=20)
    books.grant(5, "c")
    first = books.clock.now()
    assert books.balance().expires_next == first + timedelta(seconds=10)
    books.spend(5)
    assert books.balance().expires_next == first + timedelta(seconds=20)
    books.spend(5)
    assert books.balance().expires_next is None


# -- undoing ----------------------------------------------------------------------------------


def test_an_undone_spend_restores_exactly_the_lots_that_it_came_from(books: Books) -> None:
    books.grant(5, "a", lasts=10)
    books.grant(5, "b")
    spent = books.spend(7)
    books.grant(9, "c", lasts=5)
    undone = books.undo(spent)
    assert books.lots("a", "b", "c") == [(5, 0, 0), (5, 0, 0), (9, 0, 0)]
    assert books.undo(spent) == undone
    assert books.wallet.available == 19


def test_an_undo_repays_a_debt_before_the_lots_get_anything(books: Books) -> None:
    books.grant(5, "a")
    books.grant(5, "b")
    spent = books.spend(10)
    books.owe(3)
    books.undo(spent)
    assert (books.wallet.debt, books.lots("a", "b")) == (0, [(5, 0, 0), (2, 0, 0)])


def test_what_was_owed_and_repaid_since_is_undone_into_a_lot_of_its_own(books: Books) -> None:
    captured = books.owe(10)
    assert books.wallet.debt == 10
    books.grant(6, "a")
    undone = books.undo(captured)
    assert (books.wallet.debt, books.wallet.available) == (0, 7)
    correction = books.storage.get(Lot, undone.cause)
    assert correction is not None
    assert (correction.source, correction.credits, correction.available) == ("correction", 6, 6)
    assert (correction.priority, correction.expires_at) == (0, NEVER)
    assert books.spend(7).balance_after == 0


def test_what_goes_back_into_a_lot_that_has_expired_since_expires_at_once(books: Books) -> None:
    books.grant(5, "a", lasts=10)
    books.grant(5, "b")
    spent = books.spend(7)
    books.turn(10)
    undone = books.undo(spent)
    assert undone.balance_after == 10
    assert books.lots("a", "b") == [(0, 0, 5), (5, 0, 0)]
    assert books.causes()[-2:] == [undone.cause, "expiry:grant:a"]
    assert books.wallet.available == 5


def test_expiries_have_names_that_no_other_lot_can_have(books: Books) -> None:
    for key in ("a", "a:2", "2:a"):
        books.grant(5, key, lasts=10)
    spent = [books.spend(credits) for credits in (2, 3) * 3]
    books.turn(10)
    for entry in spent:
        books.undo(entry)
    assert books.lots("a", "a:2", "2:a") == [(0, 0, 5)] * 3
    assert sum(cause.startswith("expiry:") for cause in books.causes()) == 6


def test_a_lot_may_expire_more_than_once(books: Books) -> None:
    books.grant(5, "a", lasts=10)
    spent = [books.spend(1), books.spend(2)]
    books.turn(10)
    for entry in spent:
        books.undo(entry)
    assert books.lots("a") == [(0, 0, 5)]
    assert sum(cause.startswith("expiry:") for cause in books.causes()) == 3


def test_what_would_overfill_a_wallet_is_not_undone(books: Books) -> None:
    books.grant(10, "a")
    spent = books.spend(10)
    books.grant(CREDITS_MAX, "b")
    with pytest.raises(Conflict):
        books.undo(spent)
    books.spend(10)
    assert books.undo(spent).balance_after == CREDITS_MAX


@pytest.mark.parametrize("what", ["grant", "hold", "release", "undo"])
def test_only_what_used_something_can_be_undone(books: Books, what: str) -> None:
    books.grant(5, "a")
    books.hold(2)
    books.release()
    undone = books.undo(books.spend(1))
    cause = {"grant": "grant:a", "undo": undone.cause}.get(what, f"{what}:h")
    with pytest.raises(Conflict):
        books.queue.submit(Undo(cause=cause))
    with pytest.raises(NotFound):
        books.queue.submit(Undo(cause=f"no {cause}"))


# -- holding ----------------------------------------------------------------------------------


def test_held_credits_stay_in_their_lots_and_go_back_there(books: Books) -> None:
    books.grant(5, "a", priority=-1)
    books.grant(5, "b")
    books.hold(7)
    assert books.lots("a", "b") == [(0, 5, 0), (3, 2, 0)]
    assert books.balance() == Balance(available=3, held=7)
    with pytest.raises(InsufficientCredits):
        books.spend(4)
    assert books.release().status == "released"
    assert books.lots("a", "b") == [(5, 0, 0), (5, 0, 0)]


def test_a_hold_is_placed_once_for_its_key(books: Books) -> None:
    books.grant(5, "a")
    assert books.hold(2) == books.hold(2)
    others: list[dict[str, Any]] = [{"credits": 3}, {"credits": 2, "ttl": 1}]
    for other in (*others, {"credits": 2, "overage": "take"}):
        with pytest.raises(IdempotencyConflict):
            books.hold(**other)
    assert books.wallet.held == 2


def test_a_hold_lapses_at_the_very_instant_at_which_its_time_is_over(books: Books) -> None:
    books.grant(5, "a")
    books.hold(5, ttl=10)
    books.clock.instant += timedelta(seconds=10, microseconds=-1)
    assert books.balance() == Balance(available=0, held=5)
    books.clock.instant += timedelta(microseconds=1)
    assert books.balance() == Balance(available=5)
    assert books.hold(5, ttl=10).status == "lapsed", "a repetition gets it as it is now"
    assert books.spend(5).balance_after == 0
    assert books.causes()[-2] == "lapse:h"
    assert books.release().status == "lapsed"


def test_credits_that_expire_while_they_are_held_expire_when_they_are_let_go(books: Books) -> None:
    books.grant(5, "a", lasts=10)
    books.grant(5, "b")
    books.hold(7, ttl=20)
    books.turn(10)
    assert books.balance() == Balance(available=3, held=7)
    assert books.capture(3).balance_after == 7
    assert books.lots("a", "b") == [(0, 0, 2), (5, 0, 0)]
    assert books.wallet.available == 5


def test_any_number_of_holds_may_lapse_at_once(books: Books) -> None:
    for number in range(70):
        books.grant(1, f"{number}", lasts=None if number % 2 else DAY)
    for number in range(70):
        books.hold(1, ttl=10 + number % 3, key=f"{number}")
    books.turn(12)
    assert books.balance().available == 70
    assert books.spend(70).held_after == 0


def test_an_extension_counts_from_now_and_cuts_nothing_short(books: Books) -> None:
    books.grant(5, "a")
    lapses_at = books.hold(5, ttl=10).lapses_at
    assert books.extend(5).lapses_at == lapses_at
    books.turn(8)
    assert books.extend(10).lapses_at == instants.later(lapses_at, 8)
    books.turn(9)
    assert books.balance().held == 5
    books.turn(1)
    assert books.balance().held == 0
    with pytest.raises(HoldEnded) as caught:
        books.extend(10)
    assert caught.value.status == "lapsed"


@pytest.mark.parametrize("end", ["captured", "released"])
def test_a_hold_that_was_ended_cannot_be_extended(books: Books, end: str) -> None:
    books.grant(5, "a")
    books.hold(5)
    books.capture(1) if end == "captured" else books.release()
    with pytest.raises(HoldEnded) as caught:
        books.extend(10)
    assert caught.value.status == end
    assert books.release().status == end, "and letting go of it changes nothing"


# -- capturing --------------------------------------------------------------------------------


@pytest.mark.parametrize("overage", Overage)
@pytest.mark.parametrize(
    ("credits", "lots"),
    [
        (7, [(0, 0, 0), (3, 0, 0)]),
        (6, [(0, 0, 0), (4, 0, 0)]),
        (5, [(0, 0, 0), (5, 0, 0)]),
        (2, [(3, 0, 0), (5, 0, 0)]),
    ],
)
def test_a_capture_uses_the_first_that_are_held_and_lets_go_of_the_rest(
    books: Books, overage: str, credits: int, lots: list[tuple[int, ...]]
) -> None:
    books.grant(5, "a", priority=-1)
    books.grant(5, "b")
    books.hold(7, overage=overage)
    entry = books.capture(credits)
    assert (entry.balance_after, entry.held_after) == (10 - credits, 0)
    assert books.lots("a", "b") == lots
    assert ledger.legs_of(entry)["usage"] == credits
    books.undo(entry)
    assert books.lots("a", "b") == [(5, 0, 0), (5, 0, 0)]


def test_more_than_is_held_is_refused_and_the_hold_goes_on(books: Books) -> None:
    books.grant(9, "a")
    books.hold(5)
    with pytest.raises(InvalidRequest) as caught:
        books.capture(6)
    assert caught.value.param == "credits"
    assert books.balance() == Balance(available=4, held=5)
    assert books.capture(5).balance_after == 4


@pytest.mark.parametrize(
    ("overage", "credits", "used", "available", "debt"),
    [("take", 7, 7, 2, 0), ("take", 12, 9, 0, 0), ("debt", 7, 7, 2, 0), ("debt", 12, 12, 0, 3)],
)
def test_an_overage_is_taken_or_owed_as_the_hold_says(
    books: Books, overage: str, credits: int, used: int, available: int, debt: int
) -> None:
    books.grant(9, "a")
    books.hold(5, overage=overage)
    entry = books.capture(credits)
    assert ledger.legs_of(entry)["usage"] == used
    assert (entry.balance_after, entry.debt_after, entry.held_after) == (available, debt, 0)
    hold = books.storage.get(Hold, "hold:h")
    assert hold is not None
    assert (hold.status, hold.captured) == ("captured", used)


@pytest.mark.parametrize(("overage", "used", "debt"), [("take", 9, 0), ("debt", 12, 3)])
def test_all_of_a_capture_that_comes_too_late_is_an_overage(
    books: Books, overage: str, used: int, debt: int
) -> None:
    books.grant(9, "a")
    books.hold(5, ttl=10, overage=overage)
    books.turn(10)
    entry = books.capture(12)
    assert ledger.legs_of(entry)["usage"] == used
    assert (entry.balance_after, entry.debt_after) == (0, debt)
    assert books.causes()[-2:] == ["lapse:h", "capture:h"]
    assert books.capture(12) == entry


def test_a_capture_that_comes_too_late_is_refused_where_an_overage_is(books: Books) -> None:
    books.grant(9, "a")
    books.hold(5, ttl=10)
    books.turn(10)
    with pytest.raises(HoldEnded) as caught:
        books.capture(1)
    assert caught.value.status == "lapsed"
    assert books.balance() == Balance(available=9)


@pytest.mark.parametrize("overage", Overage)
def test_a_hold_that_was_released_cannot_be_captured(books: Books, overage: str) -> None:
    books.grant(9, "a")
    books.hold(5, overage=overage)
    books.release()
    with pytest.raises(HoldEnded) as caught:
        books.capture(1)
    assert caught.value.status == "released"


def test_a_hold_is_captured_once(books: Books) -> None:
    books.grant(9, "a")
    books.hold(5)
    entry = books.capture(3)
    assert books.capture(3) == entry
    with pytest.raises(IdempotencyConflict):
        books.capture(4)
    assert books.wallet.available == 6


def test_there_is_no_end_to_what_a_hold_may_owe_but_one(books: Books) -> None:
    books.grant(1, "a")
    books.hold(1, overage="debt")
    books.owe(10)
    with pytest.raises(Conflict):
        books.capture(CREDITS_MAX)
    assert (books.wallet.debt, books.wallet.held) == (10, 1)


# -- debt -------------------------------------------------------------------------------------


def test_whatever_comes_in_repays_a_debt_first(books: Books) -> None:
    books.grant(4, "held")
    books.hold(4)
    books.owe(10)
    assert books.grant(3, "a").balance_after == 0
    assert (books.wallet.debt, books.lots("a")) == (7, [(0, 0, 0)])
    books.release()
    assert (books.wallet.debt, books.wallet.available) == (3, 0)
    assert books.grant(5, "b").balance_after == 2
    assert (books.wallet.debt, books.lots("b")) == (0, [(2, 0, 0)])


def test_a_debt_takes_the_last_of_what_a_hold_lets_go(books: Books) -> None:
    books.grant(5, "a", priority=-1)
    books.grant(5, "b")
    books.hold(10)
    books.owe(4)
    books.release()
    assert books.lots("a", "b") == [(5, 0, 0), (1, 0, 0)]


@pytest.mark.parametrize(("first", "last"), [("x", "y"), ("y", "x")])
def test_the_hold_that_lapses_first_repays_the_debt(books: Books, first: str, last: str) -> None:
    for name in ("x", "y"):
        books.grant(5, name)
        books.hold(5, ttl=10 if name == first else 11, key=name)
    books.owe(5)
    books.turn(20)
    books.queue.submit(PostDue(user_id="ada"))
    assert books.lots(first, last) == [(0, 0, 0), (5, 0, 0)]


# -- clocks that differ -----------------------------------------------------------------------


def test_an_entry_is_never_older_than_the_one_before_it(books: Books) -> None:
    books.turn(100)
    late = books.grant(5, "a").created_at
    books.turn(-50)
    early = books.spend(1)
    assert early.created_at == late
    books.turn(60)
    assert books.spend(1).created_at == instants.later(late, 10)


def test_what_has_expired_by_one_clock_does_not_come_back_by_another(books: Books) -> None:
    books.grant(5, "a", lasts=10)
    books.grant(5, "b")
    books.hold(2, ttl=10)
    books.turn(10)
    books.queue.submit(PostDue(user_id="ada"))
    books.turn(-10)
    assert books.balance() == Balance(available=5)
    assert books.lots("a", "b") == [(0, 0, 5), (5, 0, 0)]
    with pytest.raises(HoldEnded):
        books.capture(1)


# -- suspended wallets ------------------------------------------------------------------------


def test_from_a_suspended_wallet_nothing_goes_out_and_everything_may_come_in(books: Books) -> None:
    books.grant(9, "a")
    spent = books.spend(2)
    books.hold(3)
    books.suspend()
    for taking in (books.spend, lambda credits: books.hold(credits, key="other")):
        with pytest.raises(WalletSuspended):
            taking(1)
    assert books.balance() == Balance(available=0, held=3, frozen=4)
    books.undo(spent)
    books.grant(1, "b")
    books.release()
    assert books.balance() == Balance(available=0, frozen=10)
    books.suspend(resumes=True)
    assert books.spend(10).balance_after == 0


def test_suspended_credits_expire_like_others(books: Books) -> None:
    books.grant(9, "a", lasts=10)
    books.suspend()
    books.turn(10)
    assert books.balance() == Balance(available=0)


@pytest.mark.parametrize(("overage", "used", "debt"), [("take", 3, 0), ("debt", 10, 1)])
def test_work_that_is_done_is_captured_from_a_suspended_wallet(
    books: Books, overage: str, used: int, debt: int
) -> None:
    """What is held was set aside before; and a debt would be worse than what is there."""
    books.grant(9, "a")
    books.hold(3, overage=overage)
    books.suspend()
    entry = books.capture(10)
    assert (ledger.legs_of(entry)["usage"], entry.debt_after) == (used, debt)
    assert entry.balance_after == 9 - used + debt
