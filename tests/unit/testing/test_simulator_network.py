"""The seeded network: an event's fate, and the rates that a thousand of them add up to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_payments.testing.simulator.network import Network

IDS = [f"evt_{number}" for number in range(2_000)]


@given(st.integers(), st.text(max_size=20), st.text(max_size=20))
def test_a_fate_depends_on_the_seed_and_the_ids_alone(seed: int, event: str, endpoint: str) -> None:
    rates = {"drop": 0.3, "duplicate": 0.5, "delay_seconds": 60.0, "outdated": 0.5}
    one, other = Network(seed=seed, **rates), Network(seed=seed, **rates)
    other.fate("evt_between", endpoint)
    assert one.fate(event, endpoint) == other.fate(event, endpoint)


def test_the_rates_are_kept() -> None:
    network = Network(seed=3, drop=0.1, duplicate=0.2, delay_seconds=100, outdated=0.4, expanded=1)
    fates = [network.fate(event_id, "we_1") for event_id in IDS]
    lost = sum(not fate.delays for fate in fates)
    repeated = sum(len(fate.delays) > 1 for fate in fates)
    delays = [late for fate in fates for late in fate.delays]
    # Two thousand draws of a fixed seed: the bounds are those of the rates, not of chance.
    assert 150 < lost < 250
    assert 300 < repeated < 420
    assert max(len(fate.delays) for fate in fates) <= 5
    assert 0 <= min(delays) < 5
    assert 95 < max(delays) < 100
    assert 740 < sum(fate.outdated for fate in fates) < 860
    assert all(fate.expanded for fate in fates)


def test_another_seed_or_endpoint_is_another_fate() -> None:
    network = Network(seed=1, drop=0.5)
    fates = [network.fate(event_id, "we_1") for event_id in IDS]
    assert fates != [network.fate(event_id, "we_2") for event_id in IDS]
    assert fates != [Network(seed=2, drop=0.5).fate(event_id, "we_1") for event_id in IDS]


def test_one_rate_moves_no_fate_but_its_own() -> None:
    calm, wild = Network(seed=1, drop=0.2), Network(seed=1, drop=0.2, outdated=1, expanded=1)
    for event_id in IDS:
        assert wild.fate(event_id, "").delays == calm.fate(event_id, "").delays


def test_a_network_that_does_nothing_brings_everything_once_and_at_once() -> None:
    assert all(Network(seed=9).fate(event_id, "").delays == (0.0,) for event_id in IDS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"drop": -0.1},
        {"drop": 1.1},
        {"duplicate": 2},
        {"outdated": float("nan")},
        {"expanded": -1},
        {"delay_seconds": -1},
        {"delay_seconds": float("inf")},
        {"delay_seconds": float("nan")},
    ],
)
def test_what_is_no_probability_or_no_delay_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"probability|delay"):
        Network(**wrong)
