"""Refunds and disputes in every order: what a wallet ends with follows from what is known.

Orders that begin alike share their beginning: the rows are kept at each step and put back, so that
every step of a walk is one more order that was tried.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.payment_story import (
    CHARGES,
    CLOSED,
    CURRENT,
    DISPUTE,
    FAILURE,
    LINK,
    OLD,
    OPENED,
    PAID,
    REFUND_1,
    REFUND_2,
    REFUND_2_PENDING,
    REFUNDS,
    SPARSE,
    SUCCESS,
    UPDATED,
    WITHDRAWN,
    Books,
    Case,
    delivery,
    expected,
)

from credit_payments import intake
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.domain import events, instants
from credit_payments.domain.clawback import Policies, Policy
from credit_payments.posting import batch
from credit_payments.posting.line import Ticket

pytestmark = pytest.mark.long

# -- every order ------------------------------------------------------------------------------


class Walk:
    """Every order of up to so many of the messages, each ending where the set of them says.

    After each message one that was told before is told again, in turn as the same event and as
    another one: nothing may come of it.
    """

    def __init__(self, case: Case, messages: Sequence[str], *, depth: int) -> None:
        self._books = Books(case)
        self._messages = messages
        self._depth = depth
        self._facts: dict[frozenset[str], Any] = {}
        self.orders = 0

    def run(self) -> int:
        """How many orders were tried."""
        told: tuple[str, ...] = ()
        if self._books.case.spent:
            self._books.pay(spent=self._books.case.spent)
            told = (SUCCESS,)
        self._go_on(told, len(told) + self._depth)
        return self.orders

    def _go_on(self, told: tuple[str, ...], depth: int) -> None:
        before = self._books.save()
        for message in self._messages:
            if message not in told:
                order = (*told, message)
                self._tell(order)
                if len(order) < depth:
                    self._go_on(order, depth)
                self._books.put_back(before)

    def _tell(self, order: tuple[str, ...]) -> None:
        self.orders += 1
        books, last = self._books, order[-1]
        is_recorded = expected(books.case, frozenset(order))["payments"]
        outcome = books.tell(last)
        assert outcome != "ignored", order
        assert (outcome == "quarantined") == (not is_recorded), order
        self._check(order)
        books.verify()
        again = order[self.orders % len(order)]
        if again != LINK:
            copy = 1 + self.orders // 3 % 2
            assert books.tell(again, copy) in {"duplicate", "quarantined"}, (order, again, copy)
            self._check((*order, again))

    def _check(self, order: tuple[str, ...]) -> None:
        told = frozenset(order)
        self._books.check_state(told, order)
        facts = self._books.facts()
        assert facts == self._facts.setdefault(told, facts), order


def orders_of(messages: int, depth: int) -> int:
    return sum(len(list(itertools.permutations(range(messages), n + 1))) for n in range(depth))


STORY = (SUCCESS, FAILURE, *REFUNDS, *DISPUTE)
EVERY_CASE = [
    Case(
        end=end,
        closes_first=closes_first,
        disputed=disputed,
        linked=linked,
        generation=CURRENT if linked else OLD,
    )
    for end in ("won", "lost")
    for closes_first in (False, True)
    for disputed in (PAID, 400)
    for linked in (True, False)
]


def name_of(case: Case) -> str:
    return "-".join(
        [
            case.end,
            "closed first" if case.closes_first else "reinstated first",
            "partial" if case.disputed < PAID else "all",
            "recorded" if case.linked else "quoted",
        ]
    )


def test_every_order_of_up_to_five_messages_ends_as_their_set_says() -> None:
    assert Walk(Case(linked=False), STORY, depth=5).run() == orders_of(9, 5) == 18_729


@pytest.mark.parametrize(
    "case", [case for case in EVERY_CASE if case.linked == (case.disputed == PAID)], ids=name_of
)
def test_every_order_of_three_messages_complete_sparse_or_both_ends_the_same(case: Case) -> None:
    assert Walk(case, (*STORY, *SPARSE), depth=3).run() == orders_of(13, 3) == 1_885


@pytest.mark.torture
@pytest.mark.parametrize("case", EVERY_CASE, ids=name_of)
def test_every_order_of_up_to_five_messages_of_every_kind_ends_the_same(case: Case) -> None:
    messages = (*STORY, REFUND_2_PENDING, *SPARSE)
    assert Walk(case, messages, depth=5).run() == orders_of(14, 5) == 266_644


@pytest.mark.parametrize("messages", [DISPUTE, SPARSE], ids=["complete", "sparse"])
@pytest.mark.parametrize("end", ["won", "lost"])
def test_every_order_of_a_whole_dispute_beside_a_refund_ends_the_same(
    end: str, messages: tuple[str, ...]
) -> None:
    case = Case(end=end, disputed=800, closes_first=True, linked=False, generation=OLD)
    Walk(case, (SUCCESS, REFUND_1, *messages), depth=6).run()


@pytest.mark.parametrize("linked", [False, True], ids=["quoted", "recorded"])
def test_the_payment_may_be_recorded_at_any_moment(linked: bool) -> None:
    case = Case(linked=linked, end="lost")
    Walk(case, (LINK, SUCCESS, FAILURE, REFUND_1, OPENED, CLOSED), depth=5).run()


@pytest.mark.parametrize("linked", [False, True], ids=["quoted", "recorded"])
def test_a_refund_may_be_told_of_by_itself_or_by_its_charge_in_any_order(linked: bool) -> None:
    case = Case(linked=linked, generation=OLD)
    assert Walk(case, (SUCCESS, *REFUNDS, *CHARGES), depth=6).run() == orders_of(6, 6) == 1_956


@pytest.mark.parametrize("closes_first", [False, True], ids=["reinstated first", "closed first"])
@pytest.mark.parametrize("back", [900, 940])
def test_every_order_of_a_dispute_won_at_another_rate_ends_the_same(
    back: int, closes_first: bool
) -> None:
    case = Case(moved=(920, back), closes_first=closes_first, disputed=500)
    Walk(case, (SUCCESS, REFUND_1, *DISPUTE, *SPARSE), depth=3).run()


POLICIES = list(itertools.product(Policy, Policy))


@pytest.mark.parametrize("end", ["won", "lost"])
@pytest.mark.parametrize(("refund", "dispute"), POLICIES, ids=[f"{r}-{d}" for r, d in POLICIES])
def test_every_order_ends_the_same_when_the_credits_are_spent(
    refund: Policy, dispute: Policy, end: str
) -> None:
    case = Case(end=end, spent=60, policies=Policies(refund=refund, dispute=dispute))
    Walk(case, (*REFUNDS, *DISPUTE), depth=4).run()


# -- long stories, sampled --------------------------------------------------------------------


def sampled(number: int) -> tuple[Case, list[tuple[str, int]]]:
    """A story of up to fourteen messages, each up to three times, in some order."""
    drawn = random.Random(number)
    case = drawn.choice(EVERY_CASE)
    messages = [
        drawn.choice((message, f"{message}, sparse")) if message.startswith("dispute") else message
        for message in (*STORY, REFUND_2_PENDING, *CHARGES, UPDATED, LINK)
        if drawn.random() < 0.8
    ]
    order = [(message, copy) for message in messages for copy in range(drawn.randint(1, 3))]
    drawn.shuffle(order)
    return case, order


def play(numbers: range) -> None:
    for number in numbers:
        case, order = sampled(number)
        books = Books(case)
        for message, copy in order:
            books.tell(message, copy)
        told = frozenset(message for message, _ in order)
        books.check_state(told, (number, case, order))
        books.verify()


def test_long_stories_end_as_the_set_of_their_messages_says() -> None:
    play(range(2_000))


@pytest.mark.torture
def test_many_long_stories_end_as_the_set_of_their_messages_says() -> None:
    play(range(2_000, 200_000))


# -- one after the other, and at once ---------------------------------------------------------


def command(event: events.Event, case: Case) -> Any:
    facts = intake.kept_facts(event, None)
    assert facts is not None
    return intake.command_of(facts, intake.messenger_of(event), case.policies)


@pytest.mark.parametrize("case", [Case(), Case(end="lost", linked=False)], ids=name_of)
def test_messages_that_share_one_transaction_end_as_they_do_one_by_one(case: Case) -> None:
    messages = (SUCCESS, REFUND_1, REFUND_2, WITHDRAWN, CLOSED)
    for order in itertools.permutations(messages):
        books = Books(case)
        commands: list[Any] = [
            command(books.webhooks.verify(*delivery(case, message, 0)), case) for message in order
        ]
        tickets = [Ticket(command) for command in commands]
        with books.storage.transaction() as transaction:
            view = batch.load(transaction, commands, instants.to_text(books.clock.now()))
            outcome = batch.decide(tickets, view)
            transaction.write([*outcome.new.values()], [*outcome.replaced.values()])
        for stray in outcome.strays:  # the queue runs them again, alone
            books.queue.submit(stray.command)
        books.check_state(frozenset(messages), order)
        books.verify()


@pytest.mark.parametrize("number", range(8))
def test_long_stories_end_the_same_on_sqlite(number: int, tmp_path: Path) -> None:
    case, order = sampled(number)
    storage = SqliteStorage(tmp_path / "credits.db")
    try:
        books = Books(case, storage=storage)
        for message, copy in order:
            books.tell(message, copy)
        books.check_state(frozenset(message for message, _ in order), (case, order))
        books.verify()
    finally:
        storage.close()


@pytest.mark.parametrize("number", range(8, 14))
def test_messages_told_by_many_threads_at_once_end_as_their_set_says(
    number: int, tmp_path: Path
) -> None:
    case, order = sampled(number)
    storage = SqliteStorage(tmp_path / "credits.db")
    try:
        books = Books(case, storage=storage)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda told: books.tell(*told), order, timeout=60))
        books.check_state(frozenset(message for message, _ in order), (case, order))
        books.verify()
    finally:
        storage.close()
