"""Reports, a person's decisions and refunds of one payment, in any order: one credit at most."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.conftest import WEBHOOK_SECRET, Shop, TurnableClock
from tests.unit.test_inbox import CREDITS, PAID, facts, intent, link, promise, refund, succeed

import credit_payments as cp
from credit_payments.domain.records import Payment
from credit_payments.settlement import ReportPayment

pytestmark = pytest.mark.long

REPORT, AGAIN, CONFIRM, OLDER, PROMISE, LINK = (
    "report", "again", "confirm", "older", "promise", "link"
)  # fmt: skip
RESOLVE, OTHER, DISMISS, REFUND = "resolve", "other decision", "dismiss", "refund"
STEPS = (REPORT, AGAIN, CONFIRM, OLDER, PROMISE, LINK, RESOLVE, OTHER, DISMISS, REFUND)
PAYMENTS: dict[str, dict[str, Any]] = {
    "as quoted": {},
    "less": {"amount_received": 900},
    "euros": {"currency": "eur"},
    "eve's": {"metadata": {"user_id": "eve", "quote_id": "quote_1"}},
}


def run(kind: str, steps: Sequence[str]) -> None:
    clock = TurnableClock()
    with cp.connect(
        database="memory://", clock=clock, stripe_webhook_secret=WEBHOOK_SECRET
    ) as system:
        shop = Shop(system, clock)
        told = intent()
        told.update(PAYMENTS[kind])
        promised = False
        decided: list[tuple[str, int]] = []
        for step in steps:
            before = _credited(system)
            promised = promised or step in (PROMISE, LINK)
            credits = _take(shop, step, told)
            after = _credited(system)
            assert before is None or after == before, "what was credited once is not touched"
            if credits is not None:
                assert after is not None
                decided.append((after[0], credits))
            if step == DISMISS and before is None:
                assert after is None
            assert system.verify().ok
        _check(system, told, decided, promised=promised, was_refunded=REFUND in steps)


def _take(shop: Shop, step: str, told: dict[str, Any]) -> int | None:
    """One step; how many credits a person has given with it."""
    events = shop.system.events
    if step == REPORT:
        succeed(shop, told, "evt_1")
    elif step == AGAIN:
        succeed(shop, told)
    elif step == CONFIRM:
        shop.system.queue.submit(ReportPayment(facts=facts(told)))
    elif step == OLDER:
        older = {**told, "status": "processing", "amount_received": 0}
        shop.deliver("payment_intent.processing", older)
    elif step == PROMISE:
        promise(shop)
    elif step == LINK:
        promise(shop)
        link(shop)
    elif step == REFUND:
        shop.deliver("refund.created", refund("re_1", PAID // 2, currency=told["currency"]))
    else:
        try:
            if step == DISMISS:
                events.dismiss("payment:pi_1", actor="kim", reason="no")
                return None
            number = 70 if step == RESOLVE else 30
            events.resolve("pi_1", user_id=f"by {step}", credits=number, actor="kim", reason="r")
        except (cp.Conflict, cp.NotFound):
            return None
        return number
    return None


def _credited(system: cp.System) -> tuple[str, int] | None:
    paid = system._storage.get(Payment, "pi_1")
    return (paid.user_id, paid.credited) if paid and paid.credited else None


def _check(
    system: cp.System,
    told: dict[str, Any],
    decided: Sequence[tuple[str, int]],
    *,
    promised: bool,
    was_refunded: bool,
) -> None:
    credited = _credited(system)
    assert len(set(decided)) <= 1
    if decided:
        assert credited == decided[0]
    elif credited is not None:
        assert (promised, credited) == (True, ("ada", CREDITS))
        assert told == intent()
    waits = [filed.incident_id for filed in system.events.quarantine()]
    assert credited is None or "payment:pi_1" not in waits
    if credited is None:
        assert system.verify().entries == 0
        return
    user_id, credits = credited
    kinds = [entry.kind for entry in system.wallets.history(user_id)]
    assert kinds.count("payment") == 1
    paid = system._storage.get(Payment, "pi_1")
    assert paid is not None
    if was_refunded and "refund:re_1" not in waits:
        assert paid.refunded_credits == credits * min(PAID // 2, paid.received_minor) // (
            paid.received_minor
        )
        assert system.wallets.balance(user_id).available == credits - paid.refunded_credits


@given(st.sampled_from(sorted(PAYMENTS)), st.lists(st.sampled_from(STEPS), max_size=12))
@settings(max_examples=300, deadline=None)
@example("as quoted", [REPORT, DISMISS, LINK, AGAIN, RESOLVE, REPORT])
@example("as quoted", [REPORT, PROMISE, OLDER, AGAIN])
@example("as quoted", [REPORT, DISMISS, PROMISE, OLDER, AGAIN, OTHER])
@example("euros", [LINK, REPORT, REFUND, RESOLVE, REFUND, CONFIRM])
def test_any_steps_in_any_order_and_number_credit_once_at_most(kind: str, steps: list[str]) -> None:
    run(kind, steps)


def test_every_order_of_the_essential_steps_credits_once_at_most() -> None:
    for order in itertools.permutations((REPORT, AGAIN, LINK, RESOLVE, DISMISS, REFUND)):
        run("less", order)


def test_another_name_beside_a_decision_than_its_entry_has_is_found() -> None:
    clock = TurnableClock()
    with cp.connect(
        database="memory://", clock=clock, stripe_webhook_secret=WEBHOOK_SECRET
    ) as system:
        shop = Shop(system, clock)
        succeed(shop, intent())
        system.events.resolve("pi_1", user_id="ada", credits=7, actor="kim", reason="r")
        storage = system._storage
        paid = storage.get(Payment, "pi_1")
        assert paid is not None
        with storage.transaction() as transaction:
            transaction.load([(Payment, "pi_1")])
            transaction.write([], [msgspec.structs.replace(paid, decided_by="lee")])
        [problem] = system.verify().problems
        assert problem.message == "the record of payment:pi_1 is not what its entries say"
