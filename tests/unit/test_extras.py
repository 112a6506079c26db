"""A module that needs an extra says which one."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("adapters.celery", "celery", "celery"),
        ("adapters.fastapi", "fastapi", "fastapi"),
        ("adapters.flask", "flask", "flask"),
        ("adapters.opentelemetry", "opentelemetry", "metrics"),
        ("adapters.prometheus", "prometheus_client", "metrics"),
        ("testing.contracts", "pytest", "test"),
        ("testing.contracts.rows", "pytest", "test"),
        ("testing.strategies", "hypothesis", "test"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    module: str, package: str, extra: str
) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"try:\n    import credit_payments.{module}\n"
        "except ImportError as error:\n    print(type(error).__name__, error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert told.startswith("ImportError credit_payments.")
    assert f"pip install 'credit-payments[{extra}]'" in told
