"""Which steps are left, and which databases are refused."""

from __future__ import annotations

import pytest

from credit_payments.domain.migrations import Applied, Migration, check_current, pending
from credit_payments.errors import SchemaMismatch

KNOWN = [Migration(1, "one", "a"), Migration(2, "two", "b"), Migration(3, "three", "c")]


def _taken(*steps: Migration) -> list[Applied]:
    return [Applied(step.version, step.name, step.checksum, "2024") for step in steps]


@pytest.mark.parametrize("count", range(4))
def test_what_was_not_taken_is_left_in_order(count: int) -> None:
    assert pending(KNOWN, _taken(*KNOWN[:count][::-1])) == KNOWN[count:]


def test_only_a_database_with_every_step_is_current() -> None:
    check_current(KNOWN, _taken(*KNOWN))
    with pytest.raises(SchemaMismatch, match=r"no schema yet.*credit-payments migrate"):
        check_current(KNOWN, [])
    with pytest.raises(SchemaMismatch, match=r"version 2, this release needs 3.*migrate"):
        check_current(KNOWN, _taken(*KNOWN[:2]))


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        pytest.param([*KNOWN, Migration(4, "four", "d")], "version 4.*newer", id="newer"),
        pytest.param([Migration(1, "one", "A")], "another migration 1", id="altered"),
        pytest.param(
            [KNOWN[0], Migration(2, "two", "B"), KNOWN[2]],
            "another migration 2",
            id="altered within",
        ),
        pytest.param([KNOWN[0], KNOWN[2]], "not taken migration 2", id="left out"),
        pytest.param([KNOWN[1]], "not taken migration 1", id="first left out"),
    ],
)
def test_a_database_with_another_past_is_refused(taken: list[Migration], message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message) as caught:
        pending(KNOWN, _taken(*taken))
    assert caught.value.http_status == 503
