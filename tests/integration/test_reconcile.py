"""Stripe against the ledger: a simulated Stripe over HTTP, and webhooks that get lost."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec
import pytest
from tests.support.reconciled import (
    DAY,
    START,
    Beside,
    Found,
    found,
    of_payments,
    open_beside,
    url_of,
)

import credit_payments as cp
from credit_payments.adapters import stripe_listing
from credit_payments.domain import key_ring
from credit_payments.domain.records import Checkpoint, Entry, Event, Incident, Payment, Record
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.errors import NotFound, StripeUnavailable
from credit_payments.reconcile import checkpoints, phases
from credit_payments.settlement import ReportPayment

R = TypeVar("R", bound=Record)
Loses = Callable[[str, str], bool]
EACH = 4
"""How many of each kind of discrepancy there are."""
MENDED = {
    "missing_payment",
    "missing_reversal",
    "missing_return",
    "missing_event",
    "missing_record",
    "unattributed",
}


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    with open_beside(url_of(tmp_path)) as opened:
        yield opened
        assert opened.system.verify().ok


def change(path: Path, statement: str, *values: object) -> None:
    """Past the library, as somebody with a database client would."""
    with closing(sqlite3.connect(path / "credits.db", timeout=10)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def rows(beside: Beside, kind: type[R]) -> list[R]:
    return [*beside.system._storage.scan(kind, order=(kind.KEY,))]


# -- the seeded world -------------------------------------------------------------------------


@attrs.define
class World:
    """Some hundred payments, and what is wrong with some of them."""

    beside: Beside
    path: Path
    expected: Found = attrs.field(factory=dict)
    losses: list[Loses] = attrs.field(factory=list)
    chance: random.Random = attrs.field(factory=lambda: random.Random(7))

    def lose(self, intent: str, *types: str) -> None:
        self.losses.append(of_payments([intent], *types))

    def expect(self, kind: str, subject: str) -> None:
        self.expected[kind, subject] = kind in MENDED

    def user(self) -> str:
        return f"user-{self.chance.randrange(40)}"

    def tell(self) -> None:
        self.beside.tell(lose=lambda kind, about: any(one(kind, about) for one in self.losses))
        self.losses = []

    def sell_well(self, count: int) -> None:
        """Payments whose every event is told, with all that can come after one."""
        beside, simulator = self.beside, self.beside.simulator
        for number in range(count):
            intent = beside.sell(self.user(), str(self.chance.randrange(1, 50)))
            match number % 10:
                case 0:
                    beside.refund(intent)
                case 1:
                    beside.refund(intent, 33)
                    beside.refund(intent, 44)
                case 2:
                    simulator.fail_refund(beside.refund(intent, 50))
                case 3:
                    dispute = simulator.open_dispute(intent)
                    simulator.close_dispute(dispute["id"], won=True)
                case 4:
                    dispute = simulator.open_dispute(intent)
                    simulator.close_dispute(dispute["id"], won=False)
                case 5:
                    simulator.open_dispute(intent, inquiry=True)
                case 6:
                    simulator.warn_of_fraud(intent)
                case 7:
                    failed = beside.offer(self.user())
                    simulator.pay(failed, "pm_card_chargeDeclined")
                    simulator.call("POST", f"/v1/payment_intents/{failed}/cancel")
                case _:
                    pass
            beside.wait(self.chance.randrange(3))
        self.tell()


def lose_payments(world: World) -> None:
    intent = world.beside.sell(world.user())
    world.beside.refund(intent, 100)  # one with its payment, and not told apart
    world.lose(intent, "*")
    world.expect("missing_payment", intent)


def lose_refunds(world: World) -> None:
    intent = world.beside.sell(world.user())
    world.expect("missing_reversal", world.beside.refund(intent, 300))
    world.lose(intent, "refund.*", "charge.refunded", "charge.refund.*")


def lose_second_refunds(world: World) -> None:
    intent = world.beside.sell(world.user())
    world.beside.refund(intent, 300)
    world.tell()
    world.beside.wait(1)
    world.expect("missing_reversal", world.beside.refund(intent, 200))
    world.lose(intent, "refund.*", "charge.refunded", "charge.refund.*")


def lose_disputes(world: World) -> None:
    intent = world.beside.sell(world.user())
    world.expect("missing_reversal", world.beside.simulator.open_dispute(intent)["id"])
    world.lose(intent, "charge.dispute.*")


def lose_failed_refunds(world: World) -> None:
    intent = world.beside.sell(world.user())
    refund = world.beside.refund(intent, 300)
    world.beside.simulator.fail_refund(refund)
    world.expect("missing_return", refund)
    world.lose(intent, "refund.failed", "refund.updated", "charge.refund.updated")


def lose_won_disputes(world: World) -> None:
    intent = world.beside.sell(world.user())
    dispute = world.beside.simulator.open_dispute(intent)["id"]
    world.beside.simulator.close_dispute(dispute, won=True)
    world.expect("missing_return", dispute)
    world.lose(intent, "charge.dispute.updated", "charge.dispute.closed", "*.funds_reinstated")


def lose_failed_attempts(world: World) -> None:
    """Of an intent that was paid at the second attempt: only the event tells of the first."""
    intent = world.beside.offer(world.user())
    error = world.beside.simulator.pay(intent, "pm_card_chargeDeclined")["last_payment_error"]
    world.beside.simulator.pay(intent)
    world.expect("missing_event", error["charge"])
    world.lose(intent, "payment_intent.payment_failed")


def lose_cancellations(world: World) -> None:
    intent = world.beside.offer(world.user())
    world.beside.simulator.call("POST", f"/v1/payment_intents/{intent}/cancel")
    world.expect("missing_event", intent)
    world.lose(intent, "payment_intent.canceled")


def lose_intents(world: World) -> None:
    """As when a process dies between Stripe's answer and the next row."""
    quote = f"quote_lost_{len(world.expected)}"
    world.beside.keep_quote("ada", quote)
    world.expect("missing_record", world.beside.create(1_000, user_id="ada", quote_id=quote)["id"])


def lose_money_of_nobody(world: World) -> None:
    intent = world.beside.sell_elsewhere(user_id="ada", quote_id="quote_unknown")
    world.expect("unattributed", intent)
    world.lose(intent, "*")


def quarantine(world: World) -> None:
    intent = world.beside.sell_elsewhere(user_id="ada", quote_id="quote_unknown")
    world.expect("quarantined", intent)


def credit_without_money(world: World) -> None:
    name = f"made{len(world.expected)}up"
    world.expect("extra_payment", world.beside.credit_without_stripe(world.user(), name))


def reverse_without_money(world: World) -> None:
    intent = world.beside.sell(world.user())
    world.tell()
    name = f"re_made{len(world.expected)}up"
    world.beside.report_refund(intent, name, 200)
    world.expect("extra_reversal", name)


def record_another_refund(world: World) -> None:
    intent = world.beside.sell(world.user())
    refund = world.beside.refund(intent, 300)
    world.lose(intent, "refund.*", "charge.refunded", "charge.refund.*")
    world.tell()
    world.beside.report_refund(intent, refund, 200)
    world.expect("differing_amount", refund)


def quote_other_credits(world: World) -> None:
    intent = world.beside.sell(world.user())
    world.tell()
    known = world.beside.system._storage.get(Payment, intent)
    assert known
    change(world.path, "UPDATE quotes SET credits = credits + 1 WHERE quote_id = ?", known.quote_id)
    world.expect("differing_credits", intent)


SEEDS = (
    lose_payments,
    lose_refunds,
    lose_second_refunds,
    lose_disputes,
    lose_failed_refunds,
    lose_won_disputes,
    lose_failed_attempts,
    lose_cancellations,
    lose_intents,
    lose_money_of_nobody,
    quarantine,
    credit_without_money,
    reverse_without_money,
    record_another_refund,
    quote_other_credits,
)


def seeded(beside: Beside, path: Path, good: int = 200, each: int = EACH) -> World:
    """The world, an hour after the last of it."""
    world = World(beside, path)
    seeds = [seed for seed in SEEDS for _ in range(each)]
    world.chance.shuffle(seeds)
    some = good // len(seeds) + 1
    for seed in seeds:
        world.sell_well(some)
        seed(world)
        world.tell()
    for _ in range(each):
        foreign = beside.sell_elsewhere(order="of another shop in the same account")
        beside.refund(foreign, 100)
        beside.simulator.open_dispute(foreign)
    # Nobody tells of these: a webhook would file them.
    beside.wait()
    return world


@pytest.fixture(params=[None, "2023-10-16"])
def told_in_a_version(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Beside]:
    """In the older one, refunds are told of by their charge."""
    with open_beside(url_of(tmp_path), version=request.param) as opened:
        yield opened
        assert opened.system.verify().ok


@pytest.mark.long
def test_every_seeded_discrepancy_is_found_and_nothing_else(
    tmp_path: Path, told_in_a_version: Beside
) -> None:
    beside = told_in_a_version
    world = seeded(beside, tmp_path)
    assert len(world.expected) == EACH * len(SEEDS) >= 50
    assert len({kind for kind, _ in world.expected}) >= 10
    is_old = beside.endpoint_id is not None
    assert is_old != ("refund.created" in {row.type for row in rows(beside, Event)})

    looked = beside.reconcile()
    assert found(looked) == dict.fromkeys(world.expected, False)
    assert not looked.ok
    assert looked.payment_intents > 200
    assert looked.foreign == 3 * EACH
    for one in looked.differences:
        assert one.user_id or one.kind in ("unattributed", "quarantined")
        assert one.detail

    repaired = beside.reconcile(repair=True)
    assert found(repaired) == world.expected
    assert not repaired.ok, "what a person has to look at stays"
    assert beside.system.verify().ok

    after = found(beside.reconcile())
    filed = [name for kind, name in world.expected if kind == "unattributed"]
    stays = {key: False for key, mended in world.expected.items() if not mended}
    assert after == stays | {("quarantined", name): False for name in filed}

    entries = {row.cause for row in rows(beside, Entry)}
    beside.tell_all_again()
    late = {row.cause for row in rows(beside, Entry)} - entries
    differing = [one for one in looked.differences if one.kind == "differing_amount"]
    assert late == {f"reversal:{one.payment_intent_id}:2" for one in differing}, (
        "what comes late is known by now, but for refunds that were known wrongly"
    )


# -- runs that break off ----------------------------------------------------------------------


@attrs.define
class Gateway:
    """The real one, which fails at one request, and counts."""

    real: Any
    fails_at: int = 0
    error: Exception = attrs.field(factory=lambda: StripeUnavailable("The line is down."))
    requests: int = 0
    names: list[str] = attrs.field(factory=list)

    def __getattr__(self, name: str) -> Any:
        def request(*arguments: Any, **named: Any) -> Any:
            self.requests += 1
            self.names.append(name)
            if self.requests == self.fails_at:
                raise self.error
            return getattr(self.real, name)(*arguments, **named)

        return request


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_listing, "OBJECTS_MAX", 7)
    monkeypatch.setattr(phases, "ROWS", 7)


@pytest.mark.long
@pytest.mark.usefixtures("short_pages")
def test_a_run_that_breaks_off_at_any_request_goes_on_to_the_same_report(
    tmp_path: Path, beside: Beside
) -> None:
    seeded(beside, tmp_path, good=20, each=1)
    whole = Gateway(beside.system._gateway)
    expected = beside.reconcile(whole)
    assert whole.requests > 20
    for fails_at in range(1, whole.requests + 1):
        breaking = Gateway(whole.real, fails_at)
        with pytest.raises(StripeUnavailable):
            beside.reconcile(breaking, restart=True)
        assert beside.reconcile(whole) == expected, breaking.names


@pytest.mark.usefixtures("short_pages")
def test_a_repair_that_breaks_off_goes_on_with_what_is_left(tmp_path: Path, beside: Beside) -> None:
    world = seeded(beside, tmp_path, good=20, each=1)
    whole = Gateway(beside.system._gateway)
    for fails_at in range(3, 60, 4):
        try:
            report = beside.reconcile(Gateway(whole.real, fails_at), repair=True)
        except StripeUnavailable:
            continue
        break
    assert found(report) == world.expected
    assert beside.reconcile(repair=True).repaired == 0


@pytest.mark.usefixtures("short_pages")
def test_a_cursor_that_stripe_lost_begins_the_phase_anew(tmp_path: Path, beside: Beside) -> None:
    world = seeded(beside, tmp_path, good=20, each=1)
    expected = beside.reconcile()
    lost = NotFound("No such payment intent", param="starting_after")
    assert beside.reconcile(Gateway(beside.system._gateway, 6, lost)) == expected
    assert found(expected) == dict.fromkeys(world.expected, False)

    class Forgetful(Gateway):
        def list_payment_intents(self, *, cursor: str | None, **named: Any) -> Any:
            if cursor is not None:
                raise lost
            return self.real.list_payment_intents(cursor=cursor, **named)

    with pytest.raises(NotFound):
        beside.reconcile(Forgetful(beside.system._gateway))


def test_a_run_that_broke_off_keeps_its_end_until_it_is_told_otherwise(beside: Beside) -> None:
    beside.sell("ada")
    beside.tell()
    beside.wait()
    down = Gateway(beside.system._gateway, 2)
    with pytest.raises(StripeUnavailable):
        beside.reconcile(down)
    first = beside.clock.now() - timedelta(minutes=10)
    beside.wait()
    assert beside.reconcile().until == first
    assert beside.reconcile().until == first + timedelta(hours=1), "that one had ended"

    for given in ({"restart": True}, {"until": beside.clock.now()}):
        with pytest.raises(StripeUnavailable):
            beside.reconcile(Gateway(down.real, 2))
        beside.wait()
        assert beside.reconcile(**given).until > first + timedelta(hours=1)
    with pytest.raises(StripeUnavailable):
        beside.reconcile(Gateway(down.real, 2))
    beside.simulator.clock.advance(int(2 * DAY.total_seconds()))
    assert beside.reconcile().until == beside.clock.now() - timedelta(minutes=10)


def test_a_run_that_has_ended_leaves_a_summary(beside: Beside) -> None:
    intent = beside.sell("ada")
    beside.tell(lose=of_payments([intent], "*"))
    beside.wait()
    beside.reconcile()
    row, last = rows(beside, Checkpoint)
    state = msgspec.json.decode(row.state)
    assert row.name == "reconcile:2025-12-31T00:00:00.000000Z:look"
    assert state["ended_at"] == last.state == "2026-01-01T01:00:00.000000Z"
    assert state["until"] == "2026-01-01T00:50:00.000000Z"
    assert (state["found"], state["repaired"]) == ({"missing_payment": 1}, 0)
    assert state["differences"] == []


def test_health_tells_when_the_last_one_ended_also_while_another_is_under_way(
    beside: Beside,
) -> None:
    beside.wait()
    beside.reconcile()
    beside.wait()
    with pytest.raises(StripeUnavailable):
        beside.reconcile(Gateway(beside.system._gateway, 2))
    last = beside.system.health().last_reconciliation
    assert last is not None
    assert last.ended_at == "2026-01-01T01:00:00.000000Z"
    assert last.seconds_ago == 3_600


def test_progress_is_told_after_each_page_and_ends_at_one(beside: Beside) -> None:
    beside.sell("ada")
    beside.tell()
    beside.wait()
    told: list[cp.Progress] = []
    beside.reconcile(progress=told.append)
    assert [one.phase for one in told] == [
        "payment_intents",
        "refunds",
        "disputes",
        "events",
        "payments",
    ]
    assert [one.share for one in told] == sorted(one.share for one in told)
    assert [one.share for one in told] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


# -- while others write -----------------------------------------------------------------------


def test_webhooks_and_two_runs_at_once_raise_no_alarm_and_double_nothing(
    tmp_path: Path, beside: Beside
) -> None:
    world = seeded(beside, tmp_path, good=20, each=1)
    ended = threading.Event()
    reports: list[cp.ReconciliationReport] = []
    errors: list[Exception] = []

    def sell() -> None:
        """Webhooks come late: a page may be read between what happened and its telling."""
        intents = [beside.sell("eve") for _ in range(10)]
        beside.tell()
        while not ended.is_set():
            for intent in intents:
                beside.refund(intent, 10)
            dispute = beside.simulator.open_dispute(beside.sell("eve"))["id"]
            beside.tell()
            beside.simulator.close_dispute(dispute, won=True)
            intents = [beside.sell("eve") for _ in range(3)]

    def reconcile() -> None:
        reports.extend(beside.reconcile(repair=True) for _ in range(4))

    def kept(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told by the test
                errors.append(error)

        return run

    selling = threading.Thread(target=kept(sell))
    runs = [threading.Thread(target=kept(reconcile)) for _ in range(2)]
    for thread in (selling, *runs):
        thread.start()
    for thread in runs:
        thread.join(120)
    ended.set()
    selling.join(60)
    assert not errors
    keys = {key for report in reports for key in found(report)}
    filed = {("quarantined", name) for kind, name in world.expected if kind == "unattributed"}
    assert keys == set(world.expected) | filed
    assert beside.system.verify().ok
    beside.tell()
    beside.wait()
    assert beside.reconcile(repair=True).repaired == 0


def test_what_is_young_is_left_to_its_webhook(beside: Beside) -> None:
    old = beside.sell("ada")
    beside.tell()
    beside.wait(600 * 3)
    young = beside.sell("ada")
    refund = beside.refund(old, 300)
    beside.wait(599)
    assert beside.reconcile().ok
    now = beside.clock.now() + timedelta(seconds=1)
    assert found(beside.reconcile(until=now)) == {
        ("missing_payment", young): False,
        ("missing_reversal", refund): False,
    }
    beside.wait(2)
    assert set(found(beside.reconcile())) == {
        ("missing_payment", young),
        ("missing_reversal", refund),
    }


def test_what_has_changed_just_now_is_left_to_its_webhook_however_old_it_is(
    beside: Beside,
) -> None:
    intent = beside.sell("ada")
    refund = beside.refund(intent, 300)
    dispute = beside.simulator.open_dispute(beside.sell("ada"))["id"]
    beside.tell()
    beside.wait()
    beside.simulator.fail_refund(refund)
    beside.simulator.close_dispute(dispute, won=True)
    assert beside.reconcile().ok, "their webhooks are on their way"
    beside.wait(601)
    assert set(found(beside.reconcile())) == {
        ("missing_return", refund),
        ("missing_return", dispute),
    }
    beside.tell()
    assert beside.reconcile().ok


def test_what_has_changed_since_a_time_long_ago_is_told_as_it_is_now(beside: Beside) -> None:
    refund = beside.refund(beside.sell("ada"), 300)
    beside.tell()
    beside.wait()
    until = beside.clock.now()
    beside.simulator.fail_refund(refund)
    assert beside.reconcile(until=until).ok, "it is young"
    beside.wait()
    assert set(found(beside.reconcile(until=until))) == {("missing_return", refund)}


# -- long ago ---------------------------------------------------------------------------------


def test_a_purchase_of_long_ago_is_found_by_its_object(beside: Beside) -> None:
    intent = beside.sell("ada")
    refund = beside.refund(beside.sell("bob"), 500)
    beside.tell(lose=lambda kind, about: about == intent or "refund" in kind)
    beside.wait(60 * 24 * 3600)
    assert beside.simulator.call("GET", "/v1/events")["data"] == []
    assert found(beside.reconcile(repair=True)) == {
        ("missing_payment", intent): True,
        ("missing_reversal", refund): True,
    }
    assert beside.system.wallets.balance("ada").available == 100
    assert beside.system.wallets.balance("bob").available == 50


def test_what_happens_to_objects_of_before_is_found_by_its_events(beside: Beside) -> None:
    paid, unpaid = beside.sell("ada"), beside.offer("ada")
    failing = beside.refund(paid, 300)
    disputed = beside.sell("bob")
    dispute = beside.simulator.open_dispute(disputed)["id"]
    untold = beside.sell("carl")
    beside.tell(lose=of_payments([untold], "*"))
    beside.wait(10 * 24 * 3600)
    since = beside.clock.now()
    beside.wait()
    beside.simulator.fail_refund(failing)
    beside.simulator.close_dispute(dispute, won=True)
    beside.simulator.pay(unpaid)
    late = beside.refund(untold, 100)
    beside.wait()
    expected = {
        ("missing_return", failing): True,
        ("missing_return", dispute): True,
        ("missing_payment", unpaid): True,
        ("missing_payment", untold): True,
    }
    assert found(beside.reconcile(since=since)) == dict.fromkeys(expected, False)
    assert found(beside.reconcile(since=since, repair=True)) == expected
    known = beside.system._storage.get(Payment, untold)
    assert known
    assert late in known.refunds, "what belongs to a payment is posted with it"
    assert beside.system.wallets.balance("carl").available == 90
    assert beside.reconcile(since=since).ok


# -- one by one -------------------------------------------------------------------------------


def test_what_only_events_tell_is_found(tmp_path: Path) -> None:
    keys = {
        "encryption_keys": f"2026:{key_ring.encode(bytes(32))}",
        "encryption_index_key": key_ring.encode(bytes(range(32))),
    }
    with open_beside(url_of(tmp_path), **keys) as beside:
        customer = beside.system.payments.create_customer("ada", "ada@example.com").id
        gone = beside.system.payments.create_customer("bob", "bob@example.com").id
        warned = beside.sell("ada")
        beside.tell()
        beside.wait()
        call = beside.simulator.call
        call("POST", f"/v1/customers/{customer}", {"email": "new@example.com"})
        call("DELETE", f"/v1/customers/{gone}")
        beside.simulator.warn_of_fraud(warned)
        foreign = beside.sell_elsewhere()
        beside.simulator.warn_of_fraud(foreign)
        beside.wait()
        report = beside.reconcile()
        assert {
            (str(one.kind), one.user_id, one.payment_intent_id) for one in report.differences
        } == {
            ("missing_event", "ada", None),
            ("missing_event", "bob", None),
            ("missing_event", "ada", warned),
        }
        events = {one.subject for one in report.differences}
        assert all(name.startswith("evt_") for name in events)
        assert beside.reconcile(repair=True).repaired == 3
        assert beside.system.payments.customers_by_email("new@example.com")
        assert not beside.system.payments.customers_by_email("bob@example.com")
        [filed] = rows(beside, Incident)
        assert filed.incident_id.startswith("fraud:")
        assert beside.reconcile().ok
        known = [beside.system._storage.get(Event, name) for name in events]
        assert all(known), "so that a late delivery is a duplicate"


def test_an_early_reversal_of_a_quarantined_payment_is_kept_for_the_person_who_decides(
    beside: Beside,
) -> None:
    intent = beside.sell_elsewhere(user_id="ada", quote_id="quote_unknown")
    refund = beside.refund(intent, 250)
    beside.tell(lose=of_payments([intent], "refund.*", "charge.refund*"))
    beside.wait()
    report = beside.reconcile(repair=True)
    assert found(report) == {("quarantined", intent): False}
    early = beside.system._storage.get(Incident, f"reversals:{intent}")
    assert early
    assert refund in early.facts


def test_a_payment_that_a_person_has_decided_differs_in_nothing(beside: Beside) -> None:
    intent = beside.sell_elsewhere(user_id="ada", quote_id="quote_unknown")
    dismissed = beside.sell_elsewhere(user_id="ada", quote_id="quote_unknown")
    beside.tell()
    inbox = beside.system.events
    inbox.resolve(intent, user_id="bob", credits=77, actor="eve", reason="she asked")
    inbox.dismiss(f"payment:{dismissed}", actor="eve", reason="not ours")
    beside.wait()
    assert beside.reconcile().differences == ()


def test_credits_for_an_intent_that_has_not_succeeded_are_extra(beside: Beside) -> None:
    intent = beside.offer("ada")
    known = beside.system._storage.get(Payment, intent)
    assert known
    metadata = {"user_id": "ada", "quote_id": known.quote_id}
    facts = PaymentIntentFacts(intent, "succeeded", 1_000, "usd", START, 1_000, metadata=metadata)
    beside.system.queue.submit(ReportPayment(facts=facts))
    beside.wait()
    assert found(beside.reconcile(repair=True)) == {("extra_payment", intent): False}


def test_rows_that_somebody_has_changed_are_told_and_nothing_is_posted_twice(
    tmp_path: Path,
) -> None:
    with open_beside(url_of(tmp_path)) as beside:
        sold, gone, less, taken = (beside.sell("ada") for _ in range(4))
        refund = beside.refund(taken, 500)
        beside.tell()
        change(tmp_path, "UPDATE payments SET credited = 0 WHERE payment_intent_id = ?", sold)
        change(tmp_path, "DELETE FROM credit_purchases WHERE payment_intent_id = ?", gone)
        change(
            tmp_path, "UPDATE payments SET received_minor = 900 WHERE payment_intent_id = ?", less
        )
        change(
            tmp_path, "UPDATE payments SET refunded_credits = 0 WHERE payment_intent_id = ?", taken
        )
        beside.wait()
        before = rows(beside, Entry)
        assert found(beside.reconcile(repair=True)) == {
            ("differing_credits", sold): False,
            ("missing_record", gone): False,
            ("differing_amount", less): False,
            ("differing_credits", taken): False,
        }
        assert rows(beside, Entry) == before
        assert refund


def test_an_object_that_cannot_be_read_is_told_and_ends_nothing(beside: Beside) -> None:
    intent = beside.sell("ada")
    beside.wait()

    class Garbled(Gateway):
        def list_payment_intents(self, **named: Any) -> Any:
            page = self.real.list_payment_intents(**named)
            return attrs.evolve(page, items=(), unreadable=[one.id for one in page.items])

    report = beside.reconcile(Garbled(beside.system._gateway))
    assert found(report) == {("unreadable", intent): False}
    assert report.payment_intents == 1


def test_more_differences_than_are_told_are_counted(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "DIFFERENCES_MAX", 2)
    for _ in range(3):
        beside.sell("ada")
    beside.wait()
    report = beside.reconcile(repair=True)
    assert (len(report.differences), report.found, report.repaired) == (
        2,
        {"missing_payment": 3},
        3,
    )
    assert report.ok
    assert not report.complete


def test_the_system_reconciles_with_its_own_gateway(beside: Beside) -> None:
    intent = beside.sell("ada")
    beside.wait()
    report = beside.system.reconcile(since=beside.clock.now() - DAY, repair=True)
    assert found(report) == {("missing_payment", intent): True}
    assert beside.system.payments.purchases("ada").items[0].credits_purchased == 100
