"""What looks like a secret goes out of a text; everything else stays, and it takes linear time."""

from __future__ import annotations

import re
from re import _constants, _parser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from credit_payments import redaction
from credit_payments.redaction import MASK, names_secret, redact

C = "cAnAry123"
KEY_BYTES = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="

SECRETS = {
    f"sk_live_{C}": "sk_live_***",
    f"sk_test_{C}_{C}": "sk_test_***",
    f"rk_live_{C}": "rk_live_***",
    f"sk_org_{C}": "sk_org_***",
    f"ek_test_{C}": "ek_test_***",
    rf"b'\nsk_live_{C}'": r"b'\nsk_live_***'",
    f"whsec_{C}+/=": "whsec_***",
    f"pi_3Nq_secret_{C}": "pi_3Nq_secret_***",
    f"seti_1_secret_{C}": "seti_1_secret_***",
    f"cs_test_a1_secret_{C}": "cs_test_a1_secret_***",
    f"hvs.{C}-_x.{C}": "hvs.***",
    f"hvb.{C}": "hvb.***",
    f"s.{C}{C}{C}": "s.***",
    rf"\ns.{C}{C}{C}": r"\ns.***",
    f"postgresql://shop:{C}@db/credits": "postgresql://***@db/credits",
    f"mongodb+srv://shop:a@b/{C}?x@db/credits": "mongodb+srv://***@db/credits",
    f"redis://:{C}@[::1]:6379/0": "redis://***@[::1]:6379/0",
    f"https://{C}@git.example.com/x": "https://***@git.example.com/x",
    f"postgresql://db/credits?user=a&password={C}&x=1": (
        "postgresql://db/credits?user=a&password=***&x=1"
    ),
    f"?sslpassword={C}": "?sslpassword=***",
    f"host=db password={C} dbname=credits": "host=db password=*** dbname=credits",
    f"host=db password='a b\\'{C}' dbname=credits": "host=db password=*** dbname=credits",
    f"Authorization: Bearer {C}": "Authorization: Bearer ***",
    f"authorization: Basic {C}== and on": "authorization: Basic *** and on",
    f"Authorization: {C}": "Authorization: ***",
    f"with Bearer {C}{C}": "with Bearer ***",
    f"{{'Authorization': 'Bearer {C}', 'a': 1}}": "{'Authorization': '***', 'a': 1}",
    f"[('X-Vault-Token', '{C}')]": "[('X-Vault-Token', '***')]",
    f"X-Vault-Token: {C}": "X-Vault-Token: ***",
    f'{{"secret_id": "a\\"{C}", "a": 1}}': '{"secret_id": "***", "a": 1}',
    f'"{{\\"client_token\\": \\"{C}\\"}}"': '"{\\"client_token\\": \\"***"',
    f"k1:{KEY_BYTES},k2:{KEY_BYTES}": "k1:***,k2:***",
    f"encryption_keys='k1:{C}'": "encryption_keys=***",
    f"cs_test_a1_secret_fid%2F{C}": "cs_test_a1_secret_***",
    f"host=db password = '{C}' dbname=credits": "host=db password = *** dbname=credits",
    f"secret-key={C}": "secret-key=***",
    f"redis:\\/\\/:{C}@db\\/0": "redis:\\/\\/***@db\\/0",
    f"?to=postgresql%3A%2F%2Fshop%3A{C}%40db&by=a%40b": "?to=postgresql%3A%2F%2F***%40db&by=a%40b",
    KEY_BYTES.replace("=", "%3D"): "***",
}

PLAIN = [
    "",
    "payment_intent.succeeded evt_1ABC: applied",
    "pi_3Nq cus_1 evt_1 re_1 ch_1 pm_1 seti_1 cs_test_a1 acct_1",
    "pk_live_abc and pk_test_abc may be known",
    "it has the form sk_test_… or sk_live_… (or rk_…), and whsec_…",
    "webhook_secret_overlap_seconds, stripe_secret_key: give text",
    "vault_secret_id: give the secret id, without white space",
    "vault_token: give the token, without white space",
    "http://127.0.0.1:12111/v1/payment_intents?limit=1",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "password authentication failed",
    "this.attribute.of_something.else",
]

PIECES = st.sampled_from([
    *SECRETS, *PLAIN, "://", "@", "'", '"', "\\", "password", "authorization", "=", ":", " ", ",",
    "bearer ", "basic ", "sk_live_", "pi_", "_secret_", "whsec_", "s.", "hvs.", "\n", "%3D", "***",
    "A" * 24, "A" * 43, "\ud800", "\x00", "é",
])  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@pytest.mark.parametrize(("text", "expected"), SECRETS.items())
def test_a_secret_is_taken_out_by_its_shape(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert C not in redact(f"before {text} behind")
    assert KEY_BYTES not in redact(f"before {text} behind")


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("name", ["password", "X-Vault-Token", "stripe_secret_key", "API-Key"])
def test_a_name_may_tell_of_a_secret(name: str) -> None:
    assert names_secret(name)
    assert names_secret("of_" * 1_000 + name)


@pytest.mark.parametrize("name", ["idempotency_key", "key_id", "secret_keys_max", "user", ""])
def test_most_names_do_not(name: str) -> None:
    assert not names_secret(name)


@given(TEXTS)
@example(2 * f"{43 * '0'}=")
@example(2 * f"{43 * '0'}%3D")
def test_any_text_can_be_redacted_and_twice_is_as_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    assert len(once) <= 2 * len(text) + len(MASK)


@given(TEXTS)
def test_no_pattern_is_left_out_that_would_have_found_something(text: str) -> None:
    found = text
    for _, pattern, replacement in redaction._RULES:
        found = pattern.sub(replacement, found)
    assert redact(text) == found


@given(st.lists(PIECES, max_size=6), st.lists(PIECES, max_size=6))
def test_no_surroundings_hide_a_key(before: list[str], after: list[str]) -> None:
    text = " ".join([*before, f"sk_live_{'Q7' * 9}", *after])
    assert "Q7" not in redact(text)


def repeats(tree: Any) -> list[tuple[int, int, int]]:
    """Each repetition in a pattern: its kind, how often at least, how often at most."""
    found = []
    for kind, argument in tree:
        parts = argument if isinstance(argument, tuple) else (argument,)
        if kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT):
            found.append((kind, parts[0], parts[1]))
        for part in parts:
            for branch in part if isinstance(part, list) else [part]:
                if isinstance(branch, _parser.SubPattern):
                    found += repeats(branch)
    return found


@pytest.mark.parametrize("pattern", dict.fromkeys(rule[1] for rule in redaction._RULES))
def test_no_pattern_tries_a_character_more_than_a_few_times(pattern: re.Pattern[str]) -> None:
    """The form that makes it linear: what has no end gives nothing back, and cannot fail after it.

    A run without an end is possessive; and behind the first one that needs a character nothing
    needs another, so that no match that was begun is given up after a long run.
    """
    tree = _parser.parse(pattern.pattern, pattern.flags)
    ends = [(kind, least, most) for kind, least, most in repeats(tree)]
    for kind, _, most in ends:
        if most > 64:
            assert kind == _constants.POSSESSIVE_REPEAT
    behind = False
    for kind, argument in tree:
        endless = kind == _constants.POSSESSIVE_REPEAT and argument[1] > 64
        if behind:
            optional = (
                kind in (_constants.POSSESSIVE_REPEAT, _constants.MAX_REPEAT) and argument[0] == 0
            )
            assert optional
        behind = behind or endless


@pytest.mark.parametrize("piece", [*[*SECRETS][::3], "sk_live_", "pi_", "://", "A", "s."])
def test_a_megabyte_of_anything_is_read_through(piece: str) -> None:
    hostile = (piece * (1_000_000 // len(piece) + 1))[:1_000_000]
    assert len(redact(hostile)) <= 2 * len(hostile)
