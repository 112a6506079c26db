"""A diagnosis as a whole: its level, its numbers, its form as data."""

from __future__ import annotations

import json

import pytest

from credit_payments.domain.diagnosis import Diagnosis, Finding, ok, problem, warning

FINE = ok("database", "it answers")
ODD = warning("queue", "it is long", "wait")
BAD = problem("stripe.key", "it is refused", "copy it again")


@pytest.mark.parametrize(
    ("findings", "level"),
    [
        ((), "ok"),
        ((FINE,), "ok"),
        ((FINE, ODD, FINE), "warning"),
        ((ODD, BAD, FINE), "problem"),
    ],
)
def test_the_level_is_that_of_the_worst(findings: tuple[Finding, ...], level: str) -> None:
    assert Diagnosis(findings).level == level


def test_findings_are_counted_by_level() -> None:
    found = Diagnosis((FINE, FINE, ODD))
    assert (found.count("ok"), found.count("warning"), found.count("problem")) == (2, 1, 0)


def test_as_data_it_is_json_in_the_order_of_looking() -> None:
    found = json.loads(json.dumps(Diagnosis((ODD, FINE)).as_dict()))
    assert found == {
        "level": "warning",
        "findings": [
            {"name": "queue", "level": "warning", "said": "it is long", "advice": "wait"},
            {"name": "database", "level": "ok", "said": "it answers", "advice": None},
        ],
    }
