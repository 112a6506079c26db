"""The signature scheme, against Stripe's description and its own library."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_payments.domain.signature import SigningSecret, sign, verify
from credit_payments.errors import InvalidSignature

SECRET = SigningSecret("whsec_test_only")


@given(st.binary(max_size=9_000), st.text(min_size=1, max_size=50))
def test_the_digest_is_hmac_sha256_over_timestamp_dot_body(body: bytes, secret: str) -> None:
    try:
        key = secret.encode()
    except UnicodeEncodeError:
        return
    expected = hmac.new(key, b"1700000000." + body, hashlib.sha256).hexdigest()
    assert sign(body, secret=SigningSecret(secret), timestamp=1_700_000_000) == (
        f"t=1700000000,v1={expected}"
    )


@pytest.mark.parametrize("size", [0, 1, 1_999, 2_000, 2_001, 4_000, 100_000])
def test_bodies_of_every_size_verify_and_change_the_digest(size: int) -> None:
    body = b"a" * size
    header = sign(body, secret=SECRET, timestamp=100)
    verify(body, header, secrets=[SECRET], now_seconds=100.9, tolerance_seconds=1)
    with pytest.raises(InvalidSignature):
        verify(body + b"a", header, secrets=[SECRET], now_seconds=100, tolerance_seconds=1)


def test_without_secrets_nothing_verifies() -> None:
    header = sign(b"", secret=SECRET, timestamp=100)
    with pytest.raises(InvalidSignature):
        verify(b"", header, secrets=[], now_seconds=100, tolerance_seconds=1)


@given(st.text(max_size=100))
def test_any_other_header_is_refused_with_the_one_error(header: str) -> None:
    with pytest.raises(InvalidSignature):
        verify(b"{}", header, secrets=[SECRET], now_seconds=100, tolerance_seconds=1)


def test_a_secret_stays_out_of_its_repr() -> None:
    assert "whsec" not in repr(SECRET)
    assert not hasattr(SECRET, "__dict__")
