"""What holds for every test: how many examples are tried, and what CI insists on.

`HYPOTHESIS_PROFILE` chooses a profile (`make check` takes `quick`); without it, `CI` means `ci`,
and nothing means `dev`.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

MISSING = ("server missing", "fuzzer missing")
"""How the reason of a skip begins where a test wants a part that is not there."""

_IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

# No deadlines: a machine that is busy with something else is no bug.
settings.register_profile("dev", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "torture",
    deadline=None,
    max_examples=20_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
_PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if _IN_CI else "dev")
settings.load_profile(_PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under the `torture` profile every property is a campaign of its own."""
    for item in items if _PROFILE == "torture" else ():
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("torture")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped for want of a part."""
    report = yield
    if _lacks_a_part(call):
        report.outcome = "failed"
        report.longrepr = f"{_reason(call)}: in CI this is a failure"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that was skipped as a whole for want of a part."""
    report = yield
    if _lacks_a_part(report.call):
        report.outcome = "failed"
        report.longrepr = f"{_reason(report.call)}: in CI this is a failure"
    return report


def _lacks_a_part(call: pytest.CallInfo[object] | None) -> bool:
    return _IN_CI and _reason(call).startswith(MISSING)


def _reason(call: pytest.CallInfo[object] | None) -> str:
    error = call.excinfo.value if call is not None and call.excinfo is not None else None
    return str(error.msg) if isinstance(error, pytest.skip.Exception) else ""
