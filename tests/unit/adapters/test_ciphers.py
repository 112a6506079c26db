"""The settings choose the cipher, and what it needs is imported only then."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from credit_payments.adapters.ciphers import open_cipher
from credit_payments.config import Settings
from credit_payments.domain.key_ring import encode

KEYS: dict[str, Any] = {
    "encryption_keys": {"new": encode(b"n" * 32)},
    "encryption_index_key": encode(b"i" * 32),
}
WRAPPED: dict[str, Any] = {
    "encryption_keys": {"new": "vault:v1:AbC="},
    "encryption_index_key": "vault:v1:AbC=",
    "encryption_vault_transit_key": "credits",
    "vault_url": "http://127.0.0.1:9",
    "vault_token": "t",
}


def test_without_keys_there_is_no_cipher() -> None:
    assert open_cipher(Settings()) is None


def test_keys_make_one() -> None:
    cipher = open_cipher(Settings(**KEYS))
    assert cipher is not None
    envelope = cipher.encrypt("text", record="t/1", field="f")
    assert cipher.decrypt(envelope, record="t/1", field="f") == "text"


def connect_without(package: str, settings: dict[str, Any]) -> str:
    """The last line that a process without a package writes."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"import credit_payments as cp; cp.connect(database='memory://', **{settings!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("settings", "package", "extra"),
    [(KEYS, "cryptography", "encryption"), (WRAPPED, "hvac", "vault")],
    ids=["keys", "wrapped keys"],
)
def test_an_extra_that_is_missing_is_named(
    settings: dict[str, Any], package: str, extra: str
) -> None:
    told = connect_without(package, settings)
    assert told.startswith("credit_payments.errors.ConfigurationError: ")
    assert f"pip install 'credit-payments[{extra}]'" in told


def test_a_package_that_is_broken_is_not_taken_for_a_missing_one() -> None:
    assert connect_without("requests", WRAPPED).startswith("ModuleNotFoundError: ")


def test_neither_package_is_loaded_without_need() -> None:
    code = (
        "import sys, credit_payments as cp\n"
        "with cp.connect(database='memory://') as system:\n"
        "    print([name for name in ('cryptography', 'hvac') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "[]"
