"""Any header beside one body: it is refused with the one error, or it says what Stripe signed."""

from __future__ import annotations

import hmac
import random
import re

import atheris
from tests.fuzz import harness

with harness.instrumented():
    from credit_payments.domain.signature import SigningSecret, verify
    from credit_payments.errors import InvalidSignature

from tests.fuzz import seeds
from tests.fuzz.seeds import BODY, SECRETS, TOLERANCE_SECONDS
from tests.support.payment_story import NOW

_ITEMS = b",".join(seeds.headers()).split(b",")
_SIGNERS = [SigningSecret(secret) for secret in SECRETS]


def is_signed(header: str) -> bool:
    """Whether a header proves that Stripe signed the body, by a second opinion.

    https://docs.stripe.com/webhooks/signature, and of what could be read in two ways nothing.
    """
    items = header.split(",")
    times = [item[2:] for item in items if item.startswith("t=")]
    if len(times) != 1 or not re.fullmatch(r"[0-9]{1,10}", times[0]):
        return False
    if abs(int(times[0]) - NOW) > TOLERANCE_SECONDS:
        return False
    signed = times[0].encode() + b"." + BODY
    expected = {hmac.new(secret.encode(), signed, "sha256").hexdigest() for secret in SECRETS}
    return any(item[3:] in expected for item in items if item.startswith("v1="))


def headers(data: bytes) -> list[object]:
    """What frameworks make of these bytes, and what no framework should hand on."""
    return [data.decode("latin-1"), data.decode("utf-8", "surrogateescape"), data, None]


def one(data: bytes) -> set[str]:
    met: set[str] = set()
    for header in headers(data):
        try:
            verify(
                BODY,
                header,
                secrets=_SIGNERS,
                now_seconds=NOW,
                tolerance_seconds=TOLERANCE_SECONDS,
            )
        except InvalidSignature:
            met.add("refused")
            continue
        assert isinstance(header, str)
        assert is_signed(header), header
        met.add("accepted")
    return met


def mutated(data: bytes, length_max: int, seed: int) -> bytes:
    """Half of the time what stands between the commas changes places, or comes twice."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        changed = _changed(data.split(b","), chance)
        if len(changed) <= length_max:
            return changed
    return atheris.Mutate(data, length_max)


def _changed(items: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(items))
    match chance.randrange(4):
        case 0:
            chance.shuffle(items)
        case 1:
            items.insert(at, chance.choice(_ITEMS))
        case 2:
            items[at] = chance.choice(_ITEMS)
        case _:
            del items[at]
    return b",".join(items)


if __name__ == "__main__":
    harness.run(one, mutated)
