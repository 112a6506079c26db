"""Requests under a key on each database: done once, whatever dies, gets lost or comes twice."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.conftest import TurnableClock
from tests.contracts.asker import SALE, STEPS, ask, die_at
from tests.support.dumped import dump_of

import credit_payments as cp
from credit_payments.domain.records import KeptRequest, Quote, Record
from credit_payments.domain.requests import LEASE_SECONDS
from credit_payments.errors import StorageUnavailable
from credit_payments.http import Identity, Response
from credit_payments.testing.simulator import StripeSimulator

ASKER = Path(__file__).with_name("asker.py")
EMAIL, KEY = "canary-7e10@example.com", "canary-7e10-key"
OLGA = Identity("olga", operator=True)
AT_STRIPE = {
    "create_payment_intent": "/v1/payment_intents",
    "create_customer": "/v1/customers",
    "refund": "/v1/refunds",
}


@pytest.fixture
def stripe() -> Iterator[StripeSimulator]:
    with StripeSimulator() as simulator:
        yield simulator


@attrs.frozen
class Shop:
    """A system over a database; each `open()` is another process, as far as it can tell."""

    database: str
    stripe: StripeSimulator
    clock: TurnableClock

    @contextmanager
    def open(self) -> Iterator[cp.System]:
        with cp.connect(
            database=self.database,
            clock=self.clock,
            stripe_secret_key=self.stripe.secret_key,
            stripe_api_base=self.stripe.url,
            stripe_wait_seconds_max=0.0,
        ) as system:
            yield system

    def made(self, name: str = "create_payment_intent") -> int:
        """How many of what a route makes there are at Stripe."""
        return len(self.stripe.call("GET", AT_STRIPE[name], {"limit": 100})["data"])

    def payment(self, system: cp.System) -> str:
        """The id of a payment that can be refunded."""
        intent = system.payments.create_payment_intent("ada", 10)
        self.stripe.pay(intent.payment_intent_id)
        return system.payments.confirm_payment(intent.payment_intent_id).payment_intent_id


@pytest.fixture
def shop(database: str, stripe: StripeSimulator, clock: TurnableClock) -> Shop:
    return Shop(database, stripe, clock)


def rows(system: cp.System, kind: type[Record]) -> list[Any]:
    with system._storage.snapshot() as reader:
        return list(reader.scan(kind, order=(kind.KEY,)))


def is_replayed(answer: Response) -> bool:
    return answer.headers.get("Idempotent-Replayed") == "true"


def test_an_answer_outlives_its_process_and_shows_nothing_that_is_secret(shop: Shop) -> None:
    with shop.open() as system:
        payment = shop.payment(system)
        asked: list[tuple[str, dict[str, Any], Any]] = [
            ("create_payment_intent", SALE, "ada"),
            ("create_customer", {"user_id": "ada", "email": EMAIL, "name": "Zoë"}, "ada"),
            ("refund", {"payment_intent_id": payment, "amount": 3.5}, OLGA),
        ]
        first = [ask(system, name, body, key=KEY, caller=who) for name, body, who in asked]
        assert [answer.status for answer in first] == [200] * 3
        assert not any(map(is_replayed, first))
    with shop.open() as system:
        again = [ask(system, name, body, key=KEY, caller=who) for name, body, who in asked]
        assert [answer.body for answer in again] == [answer.body for answer in first]
        assert all(map(is_replayed, again))
        assert b'"amount":3.50' in again[2].body
    assert [shop.made(name) for name in AT_STRIPE] == [2, 1, 1]
    kept = dump_of(shop.database)
    secret = json.loads(first[0].body)["client_secret"]
    assert secret.partition("_secret_")[0] in kept, "the dump is one"
    for canary in (secret, secret.partition("_secret_")[2], EMAIL, KEY, "olga"):
        assert canary not in kept


class Died(BaseException):
    """The end of a process, as far as its database and Stripe can tell."""


@pytest.mark.parametrize("name", AT_STRIPE)
def test_wherever_its_process_dies_a_request_is_done_once(shop: Shop, name: str) -> None:
    def die() -> None:
        raise Died

    for number, step in enumerate(STEPS, 1):
        caller: Any = "ada"
        body: dict[str, Any] = SALE
        with shop.open() as system:
            if name == "create_customer":
                body = {"user_id": "ada", "email": f"{number}@example.com"}
            if name == "refund":
                caller, body = OLGA, {"payment_intent_id": shop.payment(system)}
            die_at(system, step, die)
            with pytest.raises(Died):
                ask(system, name, body, key=step.replace(" ", "-"), caller=caller)
        with shop.open() as system:
            at_once = ask(system, name, body, key=step.replace(" ", "-"), caller=caller)
            assert at_once.status == (200 if step in (STEPS[0], STEPS[-1]) else 409), step
            assert is_replayed(at_once) is (step == STEPS[-1])
            shop.clock.turn(LEASE_SECONDS)
            later = ask(system, name, body, key=step.replace(" ", "-"), caller=caller)
            again = ask(system, name, body, key=step.replace(" ", "-"), caller=caller)
            assert (later.status, is_replayed(again)) == (200, True)
            assert later.body == again.body
            if at_once.status == 200:
                assert at_once.body == later.body
        made = shop.made(name)
        assert made == number, step


def test_a_refund_without_an_answer_is_not_made_again_once_stripe_has_forgotten_it(
    shop: Shop,
) -> None:
    def die() -> None:
        raise Died

    with shop.open() as system:
        refund = {"payment_intent_id": shop.payment(system), "amount": 3}
        die_at(system, "after stripe", die)
        with pytest.raises(Died):
            ask(system, "refund", refund, key="r-1", caller=OLGA)
    shop.clock.turn(24 * 3600)
    shop.stripe.clock.advance(24 * 3600)
    with shop.open() as system:
        for _ in range(2):
            answer = ask(system, "refund", refund, key="r-1", caller=OLGA)
            assert (answer.status, answer.headers.get("Retry-After")) == (409, None)
            assert json.loads(answer.body)["error_code"] == "request_outcome_unknown"
        assert shop.made("refund") == 1
        assert ask(system, "refund", refund, key="r-2", caller=OLGA).status == 200
        assert shop.made("refund") == 2


@pytest.mark.long
def test_processes_that_are_killed_leave_a_request_to_the_next(shop: Shop) -> None:
    with shop.open():
        pass
    steps = ["after begin", "after stripe", "after finish"]
    keys = [step.replace(" ", "-") for step in steps]
    _ask_from_processes(shop, [(key, 1, step) for key, step in zip(keys, steps, strict=True)], -9)
    assert shop.made() == 2
    shop.clock.instant = datetime.now(UTC)  # theirs was the system's clock
    shop.clock.turn(LEASE_SECONDS + 60)  # and the slowness of this machine
    with shop.open() as system:
        answers = [ask(system, key=key) for key in keys]
        assert [answer.status for answer in answers] == [200] * 3
        assert [is_replayed(answer) for answer in answers] == [False, False, True]
        assert [ask(system, key=key).body for key in keys] == [answer.body for answer in answers]
        assert (shop.made(), len(rows(system, Quote))) == (3, 3)


@pytest.mark.long
def test_two_processes_of_many_threads_make_one_intent(shop: Shop) -> None:
    with shop.open():
        pass
    said = _ask_from_processes(shop, [("order-1", 16, ""), ("order-1", 16, "")], 0)
    answers = [(status, body) for line in said for status, body in json.loads(line)]
    assert len(answers) == 32
    assert {status for status, _ in answers} <= {200, 409}
    given = {body for status, body in answers if status == 200}
    assert len(given) == 1
    for status, body in answers:
        assert status == 200 or json.loads(body)["error_code"] == "request_in_progress"
    with shop.open() as system:
        assert ask(system, key="order-1").body.decode() in given
        assert (shop.made(), len(rows(system, Quote)), len(rows(system, KeptRequest))) == (1, 1, 1)


def _ask_from_processes(shop: Shop, asked: list[tuple[str, int, str]], code: int) -> list[str]:
    started = [
        subprocess.Popen(
            [sys.executable, str(ASKER), shop.database, shop.stripe.url, key, str(threads), step],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for key, threads, step in asked
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = []
    for process in started:
        answer, complaint = process.communicate(timeout=60)
        assert process.returncode == code, complaint
        said.append(answer)
    return said


# -- replies that get lost ------------------------------------------------------------------------


class Losing:
    """Fails some of a storage's transactions: before the commit, or after it (a lost reply)."""

    def __init__(self, storage: Any, number: int, place: str, times: int = 1) -> None:
        self._storage = storage
        self._left = number
        self._place = place
        self._times = times

    @contextmanager
    def transaction(self, *, patient: bool = True) -> Iterator[Any]:
        self._left -= 1
        hit = -self._times <= self._left < 0
        with self._storage.transaction(patient=patient) as transaction:
            yield transaction
            if hit and self._place == "commit":
                raise StorageUnavailable("The commit was lost.")
        if hit and self._place == "reply":
            raise StorageUnavailable("The reply to the commit was lost.")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


TRANSACTIONS = ("begin", "quote", "link", "finish")


def test_a_commit_or_its_reply_may_be_lost_anywhere(shop: Shop) -> None:
    with shop.open() as system:
        storage: Any = system._storage
        for number, place in itertools.product(range(len(TRANSACTIONS)), ("commit", "reply")):
            key = f"{place}-{number}"
            system.queue._storage = Losing(storage, number, place)
            first, again = (ask(system, key=key) for _ in range(2))
            assert (first.status, is_replayed(first)) == (200, False)
            assert (again.status, is_replayed(again)) == (200, True)
            assert again.body == first.body
        assert shop.made() == len(rows(system, Quote)) == len(rows(system, KeptRequest)) == 8


@pytest.mark.parametrize("place", ["commit", "reply"])
@pytest.mark.parametrize("transaction", [0, 3], ids=["begin", "finish"])
def test_a_database_that_is_lost_for_longer_leaves_the_request_to_be_repeated(
    shop: Shop, transaction: int, place: str
) -> None:
    with shop.open() as system:
        storage: Any = system._storage
        system.queue._sleep = lambda _: None
        losing = Losing(storage, transaction, place, times=5)
        system.queue._storage = losing
        lost = ask(system, key="order-1")
        assert (lost.status, json.loads(lost.body)["error_code"]) == (503, "storage_unavailable")
        assert b"client_secret" not in lost.body
        shop.clock.turn(LEASE_SECONDS)
        assert ask(system, key="order-1").status == 200
        assert (shop.made(), len(rows(system, Quote))) == (1, 1)


# -- longer than a lease --------------------------------------------------------------------------


def _meanwhile(system: Any, act: Any) -> None:
    """Do something while Stripe's first answer is on its way."""
    create = system._gateway.create_payment_intent
    calls = itertools.count()

    def slow(**kwargs: Any) -> Any:
        facts = create(**kwargs)
        if next(calls) == 0:
            act()
        return facts

    system._gateway.create_payment_intent = slow


def test_who_takes_longer_than_the_lease_gives_the_answer_of_who_followed(shop: Shop) -> None:
    followed: list[Response] = []
    with shop.open() as slow, shop.open() as quick:

        def follow() -> None:
            assert ask(quick, key="order-1").status == 409
            shop.clock.turn(LEASE_SECONDS)
            followed.append(ask(quick, key="order-1"))

        _meanwhile(slow, follow)
        late = ask(slow, key="order-1")
        [quicker] = followed
        assert (quicker.status, late.status) == (200, 200)
        assert late.body == quicker.body == ask(quick, key="order-1").body
        assert (shop.made(), len(rows(quick, Quote))) == (1, 1)


def test_who_takes_longer_than_the_lease_waits_for_who_is_at_it_now(shop: Shop) -> None:
    late: list[Response] = []
    with shop.open() as slow, shop.open() as quick:
        begun = slow.requests.begin("create_payment_intent", "ada", "order-1", SALE)
        slow.requests.begin = lambda *_: begun  # type: ignore[method-assign]
        shop.clock.turn(LEASE_SECONDS)
        requests: Any = quick.requests
        finish = requests.finish

        def finish_after_the_slow_one(*args: Any) -> Any:
            late.append(ask(slow, key="order-1"))
            return finish(*args)

        requests.finish = finish_after_the_slow_one
        quicker = ask(quick, key="order-1")
        assert quicker.status == 200
        assert [answer.status for answer in late] == [409]
        assert ask(quick, key="order-1").body == quicker.body
        assert (shop.made(), len(rows(quick, Quote))) == (1, 1)


# -- whose key it is ------------------------------------------------------------------------------


def test_the_key_of_another_caller_names_another_request(shop: Shop) -> None:
    with shop.open() as system:
        of_ada = ask(system, key="1")
        of_bob = ask(system, body={"user_id": "bob", "amount": 10}, key="1", caller="bob")
        assert (
            json.loads(of_ada.body)["payment_intent_id"]
            != (json.loads(of_bob.body)["payment_intent_id"])
        )
        assert ask(system, body={"user_id": "bob", "amount": 10}, key="1").status == 403
        assert shop.made() == 2


def test_a_client_secret_is_told_to_whose_payment_it_is(shop: Shop) -> None:
    with shop.open() as system:
        made = system.payments.create_payment_intent("ada", 10)
        for owner in ("ada", None):
            told = system.payments.client_secret(made.payment_intent_id, owner=owner)
            assert told == made.client_secret
        for name in (made.payment_intent_id, "pi_unknown", "cus_1"):
            with pytest.raises(cp.NotFound, match="No such payment_intent_id"):
                system.payments.client_secret(name, owner="bob")


def test_an_operators_key_names_one_refund_of_each_payment(shop: Shop) -> None:
    with shop.open() as system:
        payments = [shop.payment(system) for _ in range(2)]
        bodies = [{"payment_intent_id": name, "amount": 1} for name in payments]
        first = ask(system, "refund", bodies[0], key="1", caller=OLGA)
        assert first.status == 200
        assert ask(system, "refund", bodies[1], key="1", caller=OLGA).status == 422
        otto = Identity("otto", operator=True)
        assert ask(system, "refund", bodies[1], key="1", caller=otto).status == 200
        assert shop.made("refund") == 2
