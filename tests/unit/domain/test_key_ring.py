"""Keys are read in every form that people write them in, and what is wrong is told unquoted."""

from __future__ import annotations

import base64
import copy
import pickle
from typing import Any

import pytest

from credit_payments.domain import key_ring
from credit_payments.domain.key_ring import KEYS_MAX, KeyRing
from credit_payments.errors import ConfigurationError

NEW, OLD, INDEX = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
NEW_TEXT, OLD_TEXT, INDEX_TEXT = map(key_ring.encode, (NEW, OLD, INDEX))


@pytest.mark.parametrize(
    "given",
    [
        f"new:{NEW_TEXT},old:{OLD_TEXT}",
        f"new:{NEW_TEXT}, old:{OLD_TEXT}",
        f"new:{NEW_TEXT}\nold:{OLD_TEXT}",
        [f"new:{NEW_TEXT}", f"old:{OLD_TEXT}"],
        [("new", NEW_TEXT), ("old", OLD_TEXT)],
        {"new": NEW_TEXT, "old": OLD_TEXT},
    ],
)
def test_a_ring_is_read_in_each_form_with_the_primary_first(given: Any) -> None:
    keys = key_ring.split(given)
    assert keys is not None
    ring = KeyRing.read(keys, INDEX_TEXT)
    assert ring.keys == {"new": NEW, "old": OLD}
    assert (ring.primary, ring.index_key) == ("new", INDEX)


@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padding", ["", "="])
def test_both_alphabets_of_base64_are_read_with_and_without_padding(
    alphabet: Any, padding: str
) -> None:
    key = b"\xfb\xff" * 16
    written = alphabet(key).decode().rstrip("=") + padding
    assert KeyRing.read((("k", written),), INDEX_TEXT).keys == {"k": key}


def test_a_wrapped_key_keeps_its_colons() -> None:
    assert key_ring.split("new:vault:v1:AbC=") == (("new", "vault:v1:AbC="),)


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [
        ("", "write key 1 as id:key"),
        ([], "the list is empty"),
        (5, "write key 1 as id:key"),
        ([5], "write key 1 as id:key"),
        (NEW_TEXT, "write key 1 as id:key"),
        (f"new:{NEW_TEXT},", "write key 2 as id:key"),
        (f"New:{NEW_TEXT}", "write key 1 as id:key"),
        (f"{'n' * 33}:{NEW_TEXT}", "write key 1 as id:key"),
        (f"n.1:{NEW_TEXT}", "write key 1 as id:key"),
        (f"new:{NEW_TEXT},new:{OLD_TEXT}", "an id of its own"),
        ("new:", "key 1: give 32 random bytes"),
        (f"new:{key_ring.encode(NEW[:31])}", "key 1: give 32 random bytes"),
        (f"new:{key_ring.encode(NEW + b'x')}", "key 1: give 32 random bytes"),
        (f"new:{NEW.hex()}", "key 1: give 32 random bytes"),
        ("new:vault:v1:AbC=", "set encryption_vault_transit_key"),
        ({f"k{n}": key_ring.encode(bytes([n]) * 32) for n in range(KEYS_MAX + 1)}, "at most 16"),
    ],
)
def test_a_ring_that_cannot_be_used_is_refused_with_a_remedy(keys: Any, remedy: str) -> None:
    found = list(key_ring.problems(key_ring.split(keys), INDEX_TEXT, wrapped=False))
    assert {name for name, _ in found} == {"encryption_keys"}
    assert remedy in "\n".join(what for _, what in found)
    told = str(found)
    assert not any(secret in told for secret in (NEW_TEXT[:-1], NEW.hex(), "AbC"))


def test_a_full_ring_is_taken() -> None:
    keys = key_ring.split({f"k{n}": key_ring.encode(bytes([n]) * 32) for n in range(KEYS_MAX)})
    assert list(key_ring.problems(keys, INDEX_TEXT, wrapped=False)) == []


@pytest.mark.parametrize(
    ("index", "remedy"),
    [
        (None, "need it beside them"),
        ("", "give 32 random bytes"),
        (b"bytes", "give 32 random bytes"),
        ("vault:v1:AbC=", "set encryption_vault_transit_key"),
        (NEW_TEXT, "a key of its own"),
        (NEW_TEXT.rstrip("="), "a key of its own"),
    ],
)
def test_an_index_key_that_cannot_be_used_is_refused_with_a_remedy(
    index: object, remedy: str
) -> None:
    [(name, what)] = key_ring.problems((("new", NEW_TEXT),), index, wrapped=False)
    assert name == "encryption_index_key"
    assert remedy in what


def test_an_index_key_without_keys_is_refused() -> None:
    [(name, _)] = key_ring.problems(None, INDEX_TEXT, wrapped=False)
    assert name == "encryption_keys"
    assert list(key_ring.problems(None, None, wrapped=False)) == []


def test_wrapped_keys_have_the_form_that_vault_gives_them() -> None:
    wrapped = "vault:v12:AbC/+="
    assert list(key_ring.problems((("new", wrapped),), wrapped, wrapped=True)) == []
    found = list(key_ring.problems((("new", NEW_TEXT),), INDEX_TEXT, wrapped=True))
    assert [name for name, _ in found] == ["encryption_keys", "encryption_index_key"]
    assert all("as Vault has encrypted it" in what for _, what in found)


@pytest.mark.parametrize(
    ("keys", "index"), [({}, INDEX), ({"new": NEW[:16]}, INDEX), ({"new": NEW}, NEW)]
)
def test_a_ring_made_by_hand_is_checked_as_well(keys: dict[str, bytes], index: bytes) -> None:
    with pytest.raises(ConfigurationError, match="to mend"):
        KeyRing(keys, index)


def test_no_key_shows_and_none_is_pickled() -> None:
    canary = b"canary" * 5 + b"xx"
    ring = KeyRing({"new": canary}, INDEX)
    shown = repr(ring) + str(ring) + f"{ring}"
    assert "canary" not in shown
    assert key_ring.encode(canary) not in shown
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            duplicate(ring)
