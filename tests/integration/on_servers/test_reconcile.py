"""Reconciliation on databases that are servers; see conftest.py."""

from __future__ import annotations

from tests.support.reconciled import found, of_payments, open_beside
from tests.unit.test_reconcile import (  # noqa: F401 - its tests and fixtures
    here,
    test_a_checkpoint_that_cannot_be_read_begins_anew,
    test_a_database_that_is_down_ends_the_run_which_goes_on_later,
    test_a_refund_that_is_of_another_payment_at_stripe_is_extra,
    test_a_report_that_cannot_be_decided_is_told_and_ends_nothing,
    test_a_second_run_asks_for_pages_and_for_nothing_one_by_one,
)


def test_what_was_lost_is_found_and_posted_once(database_url: str) -> None:
    with open_beside(database_url) as beside:
        _, kept, reversed_ = (beside.sell("ada") for _ in range(3))
        refund = beside.refund(reversed_, 300)
        dispute = beside.simulator.open_dispute(kept)["id"]
        types = ("charge.refund*", "refund.*", "*.dispute.*")
        beside.tell(lose=of_payments([reversed_, kept], *types))
        beside.wait()
        expected = {("missing_reversal", refund): True, ("missing_reversal", dispute): True}
        assert found(beside.reconcile()) == dict.fromkeys(expected, False)
        assert found(beside.reconcile(repair=True)) == expected
        assert beside.reconcile().ok
        assert beside.system.wallets.balance("ada").available == 170
        assert beside.system.verify().ok
