"""The public strategies keep what their names promise."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_payments.domain import ids, money
from credit_payments.domain.credits import CreditCalculator
from credit_payments.domain.packages import CreditPackage
from credit_payments.domain.pricing import Bonus, Rate, TierSchedule, read_rate
from credit_payments.errors import CreditPaymentsError
from credit_payments.testing import strategies

pytestmark = pytest.mark.long

some = settings(max_examples=200, deadline=None)


@some
@given(st.data(), strategies.currencies())
def test_amounts_can_be_charged_in_their_currency(
    data: st.DataObject, unit: money.Currency
) -> None:
    money.check_chargeable(data.draw(strategies.amounts_minor(unit)), unit)
    amount = data.draw(strategies.amounts(unit))
    money.check_chargeable(money.parse_amount(amount, unit), unit)


@some
@given(strategies.bad_amounts())
def test_bad_amounts_are_refused_as_themselves(value: Any) -> None:
    with pytest.raises(CreditPaymentsError):
        money.parse_amount(value, "idr")


@some
@given(strategies.rates())
def test_rates_can_be_configured(rate: Rate) -> None:
    assert read_rate(rate, param="rates") > 0


@some
@given(st.data(), strategies.currencies())
def test_schedules_bonuses_packages_and_calculators_are_of_their_currency(
    data: st.DataObject, unit: money.Currency
) -> None:
    schedule: TierSchedule = data.draw(strategies.tier_schedules(unit))
    rewards: tuple[Bonus, ...] = data.draw(strategies.bonuses(unit))
    package: CreditPackage = data.draw(strategies.packages(unit))
    calculator: CreditCalculator = data.draw(strategies.calculators(unit))
    codes = {schedule.currency, package.currency, *calculator.rates}
    assert codes | {bonus.currency for bonus in rewards} == {unit.code}


@some
@given(strategies.payment_intent_ids())
def test_payment_intent_ids_look_like_those_of_stripe(payment_intent_id: str) -> None:
    assert re.fullmatch(r"pi_[A-Za-z0-9]{14,30}", payment_intent_id)
    assert ids.check_stripe_id(payment_intent_id, "pi_", param="payment_intent_id")


@some
@given(strategies.user_ids())
def test_user_ids_are_accepted_whatever_their_script(user_id: str) -> None:
    assert ids.check_user_id(user_id) == user_id


def test_the_domain_does_not_need_hypothesis() -> None:
    program = "import sys, credit_payments.domain.credits; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
