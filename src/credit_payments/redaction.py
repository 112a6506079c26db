r"""Takes out of a text what has the shape of a secret: the last line, behind not writing it at all.

Each pattern begins with fixed text and goes on with runs that give nothing back, so that no
character is tried by many matches: the work grows with the text and not faster, whoever wrote it.

Sources:
    https://docs.stripe.com/keys, https://docs.stripe.com/webhooks (`whsec_`),
    https://docs.stripe.com/api/payment_intents/object (`client_secret`);
    https://developer.hashicorp.com/vault/docs/concepts/tokens#token-prefixes;
    RFC 3986, section 3.2.1 (user information in URLs); RFC 9110, section 11.6.2 (Authorization).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

MASK: Final = "***"
"""What stands for a secret; no pattern takes it for another one."""

# None of them wants a boundary in front: in a repr the n of \n comes before.
_KEY: Final = re.compile(r"((?:[sr]k_(?:live|test|org)|ek_(?:live|test))_)[A-Za-z0-9_]++")
_WEBHOOK_SECRET: Final = re.compile(r"(whsec_)[A-Za-z0-9+/=_%-]++")
# `_secret_` is looked for in the word that was found: a pattern for both would try each `pi_` up to
# the word's end. Ids alone stay, and so does webhook_secret_overlap_seconds. Those of Checkout are
# quoted as in URLs, with %.
_OBJECT: Final = re.compile(r"(?:pi|seti|cs|src|vs|fcsess|cuss|accs)_[A-Za-z0-9_%]++")
_VAULT_TOKEN: Final = re.compile(r"(hv[sbr]\.)[A-Za-z0-9_.-]++")
_OLD_VAULT_TOKEN: Final = re.compile(
    r"((?:(?<![A-Za-z0-9_.])|(?<=\\[nrt]))[sbr]\.)[A-Za-z0-9]{24}[A-Za-z0-9_.-]*+"
)
# 32 bytes in base64: a key to encrypt with. Digests are written in hexadecimal here. With a value
# behind it, which may be masked by now, it is a name.
_KEY_BYTES: Final = re.compile(
    r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{43}(?:=|%3[Dd])(?![=A-Za-z0-9]|\*\*\*)"
)
# Up to the last @, for a password that was not escaped may hold one itself. Some write / as \/ in
# JSON (RFC 8259, section 7).
_URL: Final = re.compile(r"(:(?:\\{0,4}/){2})(\S++)")
_QUOTED_URL: Final = re.compile(r"(%3A%2F%2F)([^\s&]++)", re.IGNORECASE)
_NAMES: Final = (
    "password|passwd|passphrase|pwd|secret[_-]?key|secret[_-]?id|role[_-]?id|client[_-]?secret"
    "|webhook[_-]?secret|encryption[_-]?keys?|index[_-]?key|api[_-]?key"
    "|(?:client|access|refresh|id)[_-]?token"
)
_HEADERS: Final = "authorization|vault[-_]?token|api-key"
_NAME: Final = re.compile(rf"(?:{_NAMES}|{_HEADERS})\Z", re.IGNORECASE)
_NAME_CHARACTERS: Final = 32
"""More than the longest of these names has."""
# As connection strings and queries have it: password=…, or with spaces as libpq allows.
_ASSIGNED: Final = re.compile(
    rf"((?:{_NAMES}|vault_token)[ \t]{{0,4}}(?:=|%3D)[ \t]{{0,4}})(?=[^\s&])"
    r"(?:'(?:[^'\\]|\\.)*+'?|\"(?:[^\"\\]|\\.)*+\"?)?[^\s&]*+",
    re.IGNORECASE | re.DOTALL,
)
# As JSON and reprs have it, also one in the other, and headers as pairs: "password": "…".
_QUOTED: Final = re.compile(
    rf"((?:(?:{_NAMES})\\{{0,4}}[\"']\s{{0,4}}:|(?:{_HEADERS})\\{{0,4}}[\"']\s{{0,4}}[:,])"
    r"\s{0,4}b?\\{0,4}([\"']))(?:(?!\2)[^\\]|\\.)*+",
    re.IGNORECASE | re.DOTALL,
)
_CREDENTIALS: Final = re.compile(
    r"((?:bearer|basic)[ \t]{1,4})[A-Za-z0-9+/=_.~-]{16,}+", re.IGNORECASE
)
# Only as headers are spelled: "vault_token: give the token" is a sentence of ours.
_HEADER: Final = re.compile(
    r"((?:authorization|vault-token|api-key)[ \t]{0,4}:[ \t]{0,4}"
    r"(?:(?:basic|bearer|digest|negotiate|token)[ \t]{1,4})?)[^\s'\"]++",
    re.IGNORECASE,
)


def _mask_client_secret(match: re.Match[str]) -> str:
    word = match[0]
    shown, secret, rest = word.partition("_secret_")
    return f"{shown}{secret}{MASK}" if rest else word


def _mask_user_information(match: re.Match[str]) -> str:
    _, at, rest = match[2].rpartition("%40" if match[1].startswith("%") else "@")
    return f"{match[1]}{MASK}{at}{rest}" if at else match[0]


_NAMED: Final = ("pass", "pwd", "secret", "role", "key", "token")

# What a text in small letters must hold, one of it, for a pattern to be tried at all: most texts
# hold none of it, and looking for that is ten times faster.
_RULES: Final[
    tuple[tuple[tuple[str, ...], re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]
] = (
    (("://", ":\\"), _URL, _mask_user_information),
    (("%3a%2f%2f",), _QUOTED_URL, _mask_user_information),
    ((*_NAMED, "authorization"), _QUOTED, rf"\1{MASK}"),
    (_NAMED, _ASSIGNED, rf"\1{MASK}"),
    (("bearer", "basic"), _CREDENTIALS, rf"\1{MASK}"),
    (("authorization", "token", "api-key"), _HEADER, rf"\1{MASK}"),
    (("k_live", "k_test", "k_org"), _KEY, rf"\1{MASK}"),
    (("whsec_",), _WEBHOOK_SECRET, rf"\1{MASK}"),
    (("_secret_",), _OBJECT, _mask_client_secret),
    (("hvs.", "hvb.", "hvr."), _VAULT_TOKEN, rf"\1{MASK}"),
    (("s.", "b.", "r."), _OLD_VAULT_TOKEN, rf"\1{MASK}"),
    (("=", "%3d"), _KEY_BYTES, MASK),
)


def names_secret(name: str) -> bool:
    """Whether what goes by that name, a field's or a header's, is a secret whatever its shape.

    >>> names_secret("X-Vault-Token"), names_secret("idempotency_key")
    (True, False)
    """
    return _NAME.search(name[-_NAME_CHARACTERS:]) is not None


def redact(text: str) -> str:
    """The text without what looks like a secret in it.

    Found by their shape are keys of Stripe (not publishable ones), webhook secrets, client secrets,
    tokens of Vault, keys of 32 bytes in base64, what stands before the `@` of a URL, and the values
    of passwords, tokens and credentials where their name stands before them. Ids stay.

    >>> redact("sk_test_simulator asked for pi_1_secret_2 of pi_1")
    'sk_test_*** asked for pi_1_secret_*** of pi_1'
    >>> redact("postgresql://shop:pass@word@db.example.com/credits?sslpassword=letmein&a=1")
    'postgresql://***@db.example.com/credits?sslpassword=***&a=1'
    """
    lowered = text.lower()
    for needles, pattern, replacement in _RULES:
        for needle in needles:
            if needle in lowered:
                text = pattern.sub(replacement, text)
                break
    return text
