"""What the fuzzers begin with: inputs that are right, and the words that matter in them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tests.support import hostile
from tests.support.every_event import signed, story
from tests.support.payment_story import NOW, SECRET

from credit_payments.http import ROUTES

OLD_SECRET = "whsec_test_old"
SECRETS = (SECRET, OLD_SECRET)
TOLERANCE_SECONDS = 300
BODY = b'{"id":"evt_1","object":"event","type":"x.y","created":1,"data":{"object":{}}}'
SEPARATOR = b"\x1e"
"""Between the events of one input, as RFC 7464 has it: no JSON text holds it unescaped."""


def headers() -> list[bytes]:
    new, old = (signed(BODY, secret).partition("v1=")[2] for secret in SECRETS)
    late = signed(BODY, timestamp=NOW + TOLERANCE_SECONDS)
    later = signed(BODY, timestamp=NOW + TOLERANCE_SECONDS + 1)
    texts = [
        f"t={NOW},v1={new}",
        f"t={NOW},v1={old}",
        f"t={NOW},v1={old},v1={new}",
        f"t={NOW},v1={'0' * 64},v1={new},v0={'6' * 64}",
        f"v0={'6' * 64},v1={new},t={NOW}",
        f"t={NOW},v1=," + "v1=x," * 14 + f"v1={new}",
        f"t={NOW},t={NOW},v1={new}",
        f"t=0{NOW},v1={new.upper()}",
        f"t={NOW}, v1={new}",
        late,
        later,
        "t=,v1=",
        "",
    ]
    return [text.encode() for text in texts]


def bodies() -> list[bytes]:
    """Each event alone, and some of them together."""
    events = [json.dumps(event, separators=(",", ":")).encode() for event in story().events]
    pairs = [SEPARATOR.join(pair) for pair in pairwise(events)]
    return [*events, *pairs]


def requests() -> list[bytes]:
    """Of each route one that is right, as far as that can be without Stripe."""
    body = b'{"user_id": "ada", "email": "ada@example.com"}'
    buy = b'{"user_id": "ada", "amount": 10.0, "currency": "usd"}'
    cursor = base64.urlsafe_b64encode(b"[5]")
    page = b"limit=2&cursor=" + cursor.rstrip(b"=")
    given = [(b"pi_1", page, text, b"order-1") for text in (b"{}", body, buy)]
    return [
        bytes([number]) + SEPARATOR.join(parts) for number in range(len(ROUTES)) for parts in given
    ]


HEADER_WORDS = ("t=", "v1=", "v0=", ",", "=", str(NOW), "1704067", "\u0661", "0" * 64)
BODY_WORDS = tuple(
    json.dumps(word)
    for word in (*hostile.NAMES, *hostile.VALUES)
    if isinstance(word, str | int | None) and len(str(word)) < 64
)


REQUEST_WORDS = (
    *BODY_WORDS,
    *(f"{name}=" for name in ("limit", "cursor", "user_id", "type", "customer_id")),
    *("&", "+", "%00", "%ff", "%ed%a0%80", "1e999999", "NaN", "\\ud800", "pi_", "pm_", "\x1e"),
)


def write(folder: Path, inputs: Iterable[bytes], words: Iterable[str]) -> tuple[Path, Path]:
    """The folder that a fuzzer begins with, and the dictionary that it takes words from.

    https://llvm.org/docs/LibFuzzer.html#dictionaries
    """
    corpus, dictionary = folder / "corpus", folder / "words.dict"
    corpus.mkdir()
    for number, data in enumerate(inputs):
        (corpus / f"{number:03}").write_bytes(data)
    lines = ["".join(f"\\x{byte:02x}" for byte in word.encode()) for word in words]
    dictionary.write_text("".join(f'"{line}"\n' for line in lines if line))
    return corpus, dictionary
