"""What is encrypted comes back in its place and nowhere else, and shows nowhere."""

from __future__ import annotations

import base64
import copy
import hmac
import itertools
import pickle
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from credit_payments.adapters.encryption import (
    ENVELOPE_CHARACTERS_MAX,
    AesGcmCipher,
)
from credit_payments.domain.key_ring import KeyRing
from credit_payments.errors import DecryptionFailed

NEW, OLD, INDEX = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
RECORD, FIELD = "stripe_customers/cus_1", "email"
CANARY = "canary-7f3a@example.com"

cipher = AesGcmCipher(KeyRing({"new": NEW, "old": OLD}, INDEX))
old_cipher = AesGcmCipher(KeyRing({"old": OLD}, INDEX))

texts = st.text(st.characters()) | st.text(st.characters(categories=["Cs", "Lu"]))


def seal(text: str = CANARY, by: AesGcmCipher = cipher) -> str:
    return by.encrypt(text, record=RECORD, field=FIELD)


def read(envelope: str, by: AesGcmCipher = cipher) -> str:
    return by.decrypt(envelope, record=RECORD, field=FIELD)


@given(texts, st.text(max_size=20), st.text(max_size=20))
def test_every_text_comes_back_in_its_place(text: str, record: str, field: str) -> None:
    envelope = cipher.encrypt(text, record=record, field=field)
    assert cipher.decrypt(envelope, record=record, field=field) == text
    assert envelope.isascii()
    assert cipher.is_current(envelope)


@given(texts)
def test_equal_texts_make_different_envelopes(text: str) -> None:
    assert seal(text) != seal(text)


@given(st.data())
def test_an_envelope_in_which_any_bit_is_flipped_is_refused(data: st.DataObject) -> None:
    envelope = seal().encode()
    position = data.draw(st.integers(0, len(envelope) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(envelope)
    changed[position] ^= 1 << bit
    with pytest.raises(DecryptionFailed):
        read(changed.decode("latin-1"))


@given(st.data())
def test_an_envelope_that_is_cut_or_grown_is_refused(data: st.DataObject) -> None:
    envelope = seal()
    cut = data.draw(st.integers(0, len(envelope) - 1))
    grown = data.draw(st.text(min_size=1, max_size=5))
    for changed in (envelope[:cut], envelope[cut + 1 :], envelope + grown, grown + envelope):
        with pytest.raises(DecryptionFailed):
            read(changed)


places = st.tuples(st.sampled_from(["t/1", "t/2", "t/12"]), st.sampled_from(["2email", "email"]))


@given(places, places)
def test_an_envelope_in_another_row_or_column_is_refused(
    made: tuple[str, str], put: tuple[str, str]
) -> None:
    envelope = cipher.encrypt(CANARY, record=made[0], field=made[1])
    if made == put:
        assert cipher.decrypt(envelope, record=put[0], field=put[1]) == CANARY
        return
    with pytest.raises(DecryptionFailed, match="changed or moved"):
        cipher.decrypt(envelope, record=put[0], field=put[1])


@pytest.mark.parametrize(
    "envelope",
    [
        "",
        CANARY,
        "v1",
        "v1.new",
        "v1.new.",
        "v1..AAAA",
        "v1.new.AAAA",
        "v2.new." + "A" * 64,
        "v1.NEW." + "A" * 64,
        "v1.new." + "A" * 64 + "\n",
        "v1.new." + "A" * 63 + "+",
        "v1.new." + "A" * 65,
        "v1.new." + "A" * ENVELOPE_CHARACTERS_MAX,
        "v1.new." + "é" * 64,
        "v1.new." + "\ud800" * 64,
    ],
)
def test_what_is_no_envelope_is_refused_and_not_quoted(envelope: str) -> None:
    with pytest.raises(DecryptionFailed, match="is not an envelope") as caught:
        read(envelope)
    assert "canary" not in str(caught.value)
    assert not cipher.is_current(envelope)


def test_a_key_that_is_missing_is_named_with_the_remedy() -> None:
    with pytest.raises(DecryptionFailed, match="add it to encryption_keys") as caught:
        read(seal(), by=old_cipher)
    assert "'new'" in caught.value.message
    assert caught.value.param == "encryption_keys"


def test_another_key_under_the_same_id_is_refused() -> None:
    impostor = AesGcmCipher(KeyRing({"new": OLD}, INDEX))
    with pytest.raises(DecryptionFailed, match="another key"):
        read(seal(), by=impostor)


def test_an_envelope_is_bound_to_the_id_of_its_key() -> None:
    twins = AesGcmCipher(KeyRing({"a": NEW, "b": NEW}, INDEX))
    with pytest.raises(DecryptionFailed):
        read(seal(by=twins).replace("v1.a.", "v1.b."), by=twins)


def test_after_a_rotation_old_envelopes_are_read_and_new_ones_are_under_the_new_key() -> None:
    before = seal(by=old_cipher)
    assert read(before) == CANARY
    assert not cipher.is_current(before)
    assert seal().startswith("v1.new.")


def to_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def test_an_envelope_is_aes_256_gcm_with_its_place_as_associated_data() -> None:
    nonce = bytes(12)
    fixed = AesGcmCipher(KeyRing({"new": NEW}, INDEX), random_bytes=bytes)
    place = b'["v1","new","stripe_customers/cus_1","email"]'
    sealed = AESGCM(NEW).encrypt(nonce, CANARY.encode(), place)
    assert seal(by=fixed) == f"v1.new.{to_base64(nonce + sealed)}"


@given(texts)
def test_the_index_is_stable_for_a_text_and_does_not_depend_on_the_keys(text: str) -> None:
    assert cipher.blind(text, field=FIELD) == old_cipher.blind(text, field=FIELD)


@given(texts, texts)
def test_only_equal_texts_have_equal_indexes(one: str, other: str) -> None:
    equal = cipher.blind(one, field=FIELD) == cipher.blind(other, field=FIELD)
    assert equal is (one == other)


def test_indexes_of_two_fields_or_under_two_keys_cannot_be_linked() -> None:
    other = AesGcmCipher(KeyRing({"new": NEW}, bytes(reversed(INDEX))))
    indexes = {
        by.blind(CANARY, field=field)
        for by, field in itertools.product([cipher, other], ["email", "name", "phone"])
    }
    assert len(indexes) == 6


def test_an_index_is_hmac_sha256_under_a_key_derived_by_hkdf() -> None:
    """Computed with the standard library alone (RFC 5869, sections 2.2 and 2.3)."""
    secret = hmac.digest(bytes(32), INDEX, "sha256")
    key = hmac.digest(secret, b"credit-payments/blind-index/v1/email\x01", "sha256")
    expected = hmac.digest(key, CANARY.encode(), "sha256")
    assert cipher.blind(CANARY, field="email") == to_base64(expected)


def _missing_key() -> object:
    return read(seal(), by=old_cipher)


def _moved() -> object:
    return cipher.decrypt(seal(), record=RECORD, field="name")


def _no_envelope() -> object:
    return read(CANARY)


@pytest.mark.parametrize("fail", [_missing_key, _moved, _no_envelope])
def test_an_error_shows_neither_text_nor_key(fail: Callable[[], object]) -> None:
    with pytest.raises(DecryptionFailed) as caught:
        fail()
    told = "".join(traceback.format_exception(caught.value))
    for text in (repr(caught.value), told, repr(pickle.dumps(caught.value))):
        assert "canary-7f3a" not in text
        assert NEW.hex() not in text


def test_a_cipher_shows_ids_only_and_is_not_pickled() -> None:
    assert repr(cipher) == str(cipher) == "AesGcmCipher(KeyRing(new, old))"
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            duplicate(cipher)


def test_many_threads_share_a_cipher() -> None:
    def round_trip(number: int) -> bool:
        return read(seal(f"{number}")) == f"{number}"

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trip, range(2_000)))
