"""Reconciliation under attack: what is old, cannot be read, or comes in another currency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from msgspec.structs import replace
from tests.support.reconciled import Beside, found, of_payments, open_beside, url_of

from credit_payments.adapters import stripe_listing
from credit_payments.domain.records import Payment
from credit_payments.errors import StripeUnavailable
from credit_payments.settlement import ReportPayment

DAYS = 24 * 3_600


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    with open_beside(url_of(tmp_path)) as opened:
        yield opened
        assert opened.system.verify().ok


@attrs.define
class Gateway:
    """The real one, but for what a test puts in its way."""

    real: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


# -- older than the span, and than Stripe's events --------------------------------------------


def test_what_was_under_way_is_looked_at_however_old_it_is(beside: Beside) -> None:
    """Its object is older than the span, and the event that told of its end is gone."""
    simulator = beside.simulator
    disputed = beside.sell("ada")
    dispute = simulator.open_dispute(disputed)["id"]
    inquired = beside.sell("bob")
    inquiry = simulator.open_dispute(inquired, inquiry=True)["id"]
    lost = beside.sell("carl")
    simulator.close_dispute(simulator.open_dispute(lost)["id"], won=False)
    beside.tell()
    beside.wait(40 * DAYS)
    since = beside.clock.now()
    beside.wait()
    simulator.close_dispute(dispute, won=True)
    simulator.close_dispute(inquiry, won=True)
    beside.wait(31 * DAYS)
    assert simulator.call("GET", "/v1/events")["data"] == []

    expected = {("missing_return", dispute), ("missing_return", inquiry)}
    asked: list[str] = []

    class Listening(Gateway):
        def retrieve_dispute(self, name: str) -> Any:
            asked.append(name)
            return self.real.retrieve_dispute(name)

    assert set(found(beside.reconcile(Listening(beside.system._gateway), since=since))) == expected
    assert set(asked) == {dispute, inquiry}, "what has come to its end is not asked for"
    assert found(beside.reconcile(since=since, repair=True)) == dict.fromkeys(expected, True)
    assert beside.system.wallets.balance("ada").available == 100
    assert beside.system.wallets.balance("bob").frozen == 0
    assert beside.reconcile(since=since).ok


def test_a_payment_that_was_on_its_way_is_looked_at_however_old_it_is(beside: Beside) -> None:
    intent = beside.offer("ada")
    abandoned = beside.offer("bob")
    beside.tell()
    processing = beside.system._gateway.retrieve_payment_intent(intent)
    facts = replace(processing, status="processing")
    beside.system.queue.submit(ReportPayment(facts=facts))
    beside.wait(40 * DAYS)
    since = beside.clock.now()
    beside.wait()
    beside.simulator.pay(intent)
    beside.wait(31 * DAYS)
    asked: list[str] = []

    class Listening(Gateway):
        def retrieve_payment_intent(self, name: str) -> Any:
            asked.append(name)
            return self.real.retrieve_payment_intent(name)

    gateway = Listening(beside.system._gateway)
    assert found(beside.reconcile(gateway, since=since)) == {("missing_payment", intent): False}
    assert abandoned not in asked
    assert beside.reconcile(since=since, repair=True).ok
    assert beside.system.wallets.balance("ada").available == 100


def test_an_old_dispute_in_another_currency_is_found_by_its_events(beside: Beside) -> None:
    """Nothing of it reaches the payment's row: it is filed, if somebody tells of it."""
    intent = beside.sell("ada")
    dispute = beside.simulator.open_dispute(intent)["id"]
    beside.tell(lose=of_payments([intent], "charge.dispute.*"))
    beside.wait(10 * DAYS)
    since = beside.clock.now()
    beside.wait()
    beside.simulator.close_dispute(dispute, won=False)
    beside.wait()

    class Abroad(Gateway):
        def retrieve_dispute(self, name: str) -> Any:
            return replace(self.real.retrieve_dispute(name), currency="eur")

        def list_events(self, **asked: Any) -> Any:
            page = self.real.list_events(**asked)
            items = [
                replace(one, facts=replace(one.facts, currency="eur"))
                if "dispute" in one.type
                else one
                for one in page.items
            ]
            return attrs.evolve(page, items=items)

    report = beside.reconcile(Abroad(beside.system._gateway), since=since)
    assert found(report) == {("unattributed", dispute): False}


# -- refunds of which only their charge has told ----------------------------------------------


@pytest.fixture
def by_charge(tmp_path: Path) -> Iterator[Beside]:
    """Webhooks as an older version sends them: of a refund, only `charge.refunded` tells."""
    with open_beside(url_of(tmp_path), version="2023-10-16") as opened:
        yield opened
        assert opened.system.verify().ok


def refunded(beside: Beside, intent: str) -> int:
    known = beside.system._storage.get(Payment, intent)
    assert known
    return known.refunded_credits


def test_a_lost_refund_is_found_beside_an_older_one_that_its_charge_has_told_of(
    by_charge: Beside,
) -> None:
    """The charge told of 30 credits then; 20 more do not exceed that, unless both are summed up."""
    beside, intent = by_charge, by_charge.sell("ada")
    beside.refund(intent, 300)
    beside.tell()
    beside.wait(10 * DAYS)
    since = beside.clock.now()
    beside.wait()
    lost = beside.refund(intent, 200)
    beside.wait()
    expected = ("missing_reversal", lost)
    assert found(beside.reconcile(since=since)) == {expected: False}
    assert refunded(beside, intent) == 30
    assert found(beside.reconcile(since=since, repair=True)) == {expected: True}
    assert refunded(beside, intent) == 50
    assert beside.reconcile(since=since).ok
    beside.tell_all_again()
    assert refunded(beside, intent) == 50


def test_an_old_refund_that_failed_takes_nothing_off_what_is_refunded_otherwise(
    by_charge: Beside,
) -> None:
    """It was never told of, so that what the charge has told is all of the other refund."""
    beside, intent = by_charge, by_charge.sell("ada")
    failing = beside.refund(intent, 300)
    beside.tell(lose=of_payments([intent], "charge.refunded"))
    beside.wait(10 * DAYS)
    since = beside.clock.now()
    beside.wait()
    beside.simulator.fail_refund(failing)
    beside.refund(intent, 1_000)
    beside.tell(lose=of_payments([intent], "charge.refund.updated"))
    beside.wait()
    assert refunded(beside, intent) == 100
    assert beside.reconcile(since=since, repair=True).ok
    assert refunded(beside, intent) == 100


def test_a_refund_behind_the_span_counts_with_those_in_it(by_charge: Beside) -> None:
    beside, intent = by_charge, by_charge.sell("ada")
    failing = beside.refund(intent, 300)
    beside.simulator.fail_refund(failing)
    beside.wait(2 * DAYS)
    until = beside.clock.now()
    beside.wait()
    beside.refund(intent, 1_000)
    beside.tell(lose=of_payments([intent], "charge.refund.updated"))
    beside.wait()
    assert beside.reconcile(until=until, repair=True).ok
    assert refunded(beside, intent) == 100


def test_a_missing_payment_of_before_is_posted_with_all_that_was_refunded_of_it(
    beside: Beside,
) -> None:
    """Its later refund leads to it; no walk meets the one from before the span."""
    intent = beside.sell("ada")
    beside.refund(intent, 300)
    beside.tell(lose=of_payments([intent], "*"))
    beside.wait(40 * DAYS)
    since = beside.clock.now()
    beside.wait()
    beside.refund(intent, 200)
    beside.wait()
    report = beside.reconcile(since=since, repair=True)
    assert found(report) == {("missing_payment", intent): True}
    assert beside.system.wallets.balance("ada").available == 50


def test_a_run_that_broke_off_among_the_events_still_sums_up_all_refunds(
    by_charge: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one page has put by is looked at behind the last."""
    monkeypatch.setattr(stripe_listing, "OBJECTS_MAX", 2)
    beside, intent = by_charge, by_charge.sell("ada")
    failing = beside.refund(intent, 300)
    beside.tell()
    beside.wait(10 * DAYS)
    since = beside.clock.now()
    beside.wait()
    beside.sell("bob")
    beside.sell("carl")
    beside.tell()
    beside.simulator.fail_refund(failing)
    beside.wait()

    class Breaking(Gateway):
        def list_events(self, **asked: Any) -> Any:
            page = self.real.list_events(**asked)
            if page.cursor is None:
                raise StripeUnavailable
            return page

    with pytest.raises(StripeUnavailable):
        beside.reconcile(Breaking(beside.system._gateway), since=since)
    assert found(beside.reconcile(since=since)) == {("missing_return", failing): False}


# -- what cannot be read ----------------------------------------------------------------------


def test_a_credited_payment_that_cannot_be_read_ends_no_run(beside: Beside) -> None:
    """Asked for by its name it cannot be read either, and no later run would get past it."""
    intent = beside.sell("ada")
    unknown = beside.sell("bob")
    beside.tell(lose=of_payments([unknown], "*"))
    refund = beside.refund(unknown, 300)
    beside.wait()

    class Garbled(Gateway):
        def list_payment_intents(self, **asked: Any) -> Any:
            page = self.real.list_payment_intents(**asked)
            return attrs.evolve(page, items=(), unreadable=[one.id for one in page.items])

        def retrieve_payment_intent(self, name: str) -> Any:
            raise StripeUnavailable("Stripe's answer could not be understood.")

    report = beside.reconcile(Garbled(beside.system._gateway))
    assert found(report) == {("unreadable", intent): False, ("unreadable", unknown): False}
    assert refund
