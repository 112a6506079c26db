"""A signed webhook of which one bit is changed, or more, on its way: nobody takes it.

Where a flip leaves what was signed as it was, such as in a scheme that is not ours, the webhook is
taken, and it is said here which flips these are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import attrs
import pytest
import stripe
from tests.support.every_event import promised, rows, signed, story
from tests.support.office import Office
from tests.support.payment_story import NOW, SECRET

from credit_payments.adapters.memory import MemoryStorage
from credit_payments.errors import InvalidSignature
from credit_payments.webhooks import WebhookProcessor

OLD_SECRET = "whsec_test_old"
PAID, REFUNDED = (
    json.dumps(story().of_type(kind)).encode()
    for kind in ("payment_intent.succeeded", "refund.created")
)
HEADER = signed(PAID)
SIGNATURE = HEADER.partition("v1=")[2]


@attrs.define
class Door:
    """A shop's only way in, and all that lies behind it."""

    office: Office
    inline: WebhookProcessor
    queued: WebhookProcessor

    @classmethod
    def open(cls, *secrets: str) -> Door:
        office = promised(MemoryStorage())
        inline, queued = (
            WebhookProcessor(office.queue, office.clock, secrets=secrets, mode=mode)
            for mode in ("inline", "queued")
        )
        return cls(office, inline, queued)

    def refuses(self, deliveries: Iterable[tuple[bytes, str]]) -> int:
        """How many were refused: all, with the one error, and nothing was written."""
        before = rows(self.office.storage)
        number = 0
        for body, header in deliveries:
            for webhooks in (self.inline, self.queued):
                with pytest.raises(InvalidSignature):
                    webhooks.receive(body, header)
            number += 1
        assert rows(self.office.storage) == before
        return number

    def takes(self, body: bytes, header: str) -> bool:
        """Whether it comes in; and if so, that the bytes are those that were signed."""
        try:
            delivery = self.inline.receive(body, header)
        except InvalidSignature:
            return False
        assert (body, delivery.event_id) == (PAID, json.loads(PAID)["id"])
        # Stripe's own library is the witness.
        stripe.WebhookSignature.verify_header(body.decode(), header, SECRET, tolerance=None)
        return True


@pytest.fixture(params=[(SECRET,), (OLD_SECRET, SECRET), (SECRET, OLD_SECRET)], ids="/".join)
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """With one secret, and in the middle of a rotation."""
    opened = Door.open(*request.param)
    yield opened
    # What was refused would have been taken: nothing else about it was wrong.
    assert opened.inline.receive(PAID, HEADER).outcome == "applied"
    assert opened.office.balance() == 100
    opened.office.queue.close()


@pytest.fixture
def single() -> Iterator[Door]:
    opened = Door.open(SECRET)
    yield opened
    opened.office.queue.close()


def flips(raw: bytes) -> Iterator[bytes]:
    """All that differ from it in one bit."""
    changed = bytearray(raw)
    for place in range(len(raw)):
        for bit in range(8):
            changed[place] ^= 1 << bit
            yield bytes(changed)
            changed[place] ^= 1 << bit


def header_flips(header: str) -> Iterator[str]:
    # As WSGI and ASGI decode headers: each byte is a character.
    return (flipped.decode("latin-1") for flipped in flips(header.encode()))


# -- what is signed ---------------------------------------------------------------------------


def test_no_flipped_bit_of_a_body_is_accepted(single: Door) -> None:
    refused = single.refuses((flipped, HEADER) for flipped in flips(PAID))
    assert refused == 8 * len(PAID) > 10_000
    assert single.takes(PAID, HEADER)


def test_no_flipped_bit_of_a_header_is_accepted(door: Door) -> None:
    """Timestamp, signature, and what stands between them, upper-case digits included."""
    refused = door.refuses((PAID, flipped) for flipped in header_flips(HEADER))
    assert refused == 8 * len(HEADER)


def test_no_flipped_bit_is_accepted_while_two_secrets_are_current(door: Door) -> None:
    small = b'{"id":"evt_1","type":"x.y","created":1,"data":{"object":{}}}'
    header = signed(small, OLD_SECRET)
    assert door.refuses((flipped, header) for flipped in flips(small)) == 8 * len(small)


def test_no_part_of_a_body_and_nothing_longer_is_accepted(door: Door) -> None:
    def changed() -> Iterator[bytes]:
        for length in range(len(PAID)):
            yield PAID[:length]
            yield PAID[-length:] if length else b" "
        for byte in range(256):
            yield PAID + bytes([byte])
            yield bytes([byte]) + PAID
        yield PAID * 2
        # The same to a parser of JSON, other bytes to who signs.
        yield json.dumps(json.loads(PAID), indent=1).encode()
        yield json.dumps(json.loads(PAID), separators=(",", ":")).encode()
        yield b"\xef\xbb\xbf" + PAID
        yield PAID.decode().encode("utf-16")

    door.refuses((body, HEADER) for body in changed())


def test_no_other_time_is_accepted_with_the_signature_of_this_one(door: Door) -> None:
    times = [str(second) for second in range(NOW - 400, NOW + 400) if second != NOW]
    times += [f"0{NOW}", f"{NOW}0", f"+{NOW}", f" {NOW}", f"{NOW} ", f"{NOW}.0", f"{NOW}."]
    times += ["", "0", "-1", "1e9", f"{NOW:_}", f"{NOW:x}", str(NOW)[:-1], "\u0661", "9" * 500]
    door.refuses((PAID, f"t={time},v1={SIGNATURE}") for time in times)


def test_bodies_that_change_places_are_not_accepted(door: Door) -> None:
    other = signed(REFUNDED)
    later = signed(PAID, timestamp=NOW + 1)
    door.refuses(
        [
            (REFUNDED, HEADER),
            (PAID, other),
            (PAID, f"t={NOW},v1={later.partition('v1=')[2]}"),
            (PAID, f"t={NOW + 1},v1={SIGNATURE}"),
            # What was signed begins with the time: not even its end may move.
            (f"{NOW}.".encode() + PAID, f"t=,v1={SIGNATURE}"),
            (f".{PAID.decode()}".encode(), f"t={NOW},v1={SIGNATURE}"),
            (PAID[1:], f"t={NOW}.{{,v1={SIGNATURE}"),
        ]
    )


def test_no_part_of_a_signature_is_accepted(door: Door) -> None:
    shorter = [SIGNATURE[:length] for length in range(len(SIGNATURE))]
    longer = [SIGNATURE + more for more in ("0", " ", "\0", "\n", SIGNATURE)]
    others = [SIGNATURE.upper(), f" {SIGNATURE}", SIGNATURE[::-1], "0" * 64, "f" * 64]
    door.refuses((PAID, f"t={NOW},v1={given}") for given in shorter + longer + others)


@pytest.mark.parametrize(
    "header",
    [
        "t={t}",
        "v1={s}",
        "t={t};v1={s}",
        "t={t},v0={s}",
        "t={t},V1={s}",
        "T={t},v1={s}",
        "t={t}, v1={s}",
        "t={t},v1 ={s}",
        "t={t},v1=={s}",
        "t={t},v10={s}",
        "t={t},t={t},v1={s}",
        "t=0,t={t},v1={s}",
        "t={t},v1={s},t=0",
        'stripe t="{t}",v1="{s}"',
        "\ufeff" + "t={t},v1={s}",
        "t={t},v1={s}," + "v1=0," * 16,
        "t={t},v1={s}," + "x" * 2_048,
    ],
)
def test_what_is_written_in_another_way_is_not_accepted(door: Door, header: str) -> None:
    door.refuses([(PAID, header.format(t=NOW, s=SIGNATURE))])


# -- what is not ------------------------------------------------------------------------------


def accepted_flips(door: Door, header: str) -> list[tuple[int, int]]:
    """Place and bit of the flips with which the webhook still comes in."""
    taken = [door.takes(PAID, flipped) for flipped in header_flips(header)]
    return [divmod(number, 8) for number, is_taken in enumerate(taken) if is_taken]


def everywhere_in(header: str, part: str) -> list[tuple[int, int]]:
    """All flips in a part of a header that leave it in ASCII."""
    start = header.index(part)
    return [(place, bit) for place in range(start, start + len(part)) for bit in range(7)]


def test_flips_in_a_scheme_that_is_not_ours_change_nothing(single: Door) -> None:
    ignored = f"v0={'6' * 64}"
    for header in (f"{HEADER},{ignored}", f"{ignored},{HEADER}"):
        assert accepted_flips(single, header) == everywhere_in(header, ignored)


def test_of_two_signatures_one_is_enough_whatever_becomes_of_the_other(single: Door) -> None:
    """While a secret is rolled, Stripe signs with both, and who receives may know one of them."""
    other = f"v1={signed(PAID, OLD_SECRET).partition('v1=')[2]}"
    for header in (f"t={NOW},v1={SIGNATURE},{other}", f"t={NOW},{other},v1={SIGNATURE}"):
        assert accepted_flips(single, header) == everywhere_in(header, other)


def test_where_both_secrets_are_known_a_flip_is_accepted_by_the_signature_that_it_left() -> None:
    door = Door.open(SECRET, OLD_SECRET)
    parts = [f"v1={signed(PAID, secret).partition('v1=')[2]}" for secret in (SECRET, OLD_SECRET)]
    header = f"t={NOW},{parts[0]},{parts[1]}"

    def takes(flipped: str) -> bool:
        try:
            return bool(door.inline.receive(PAID, flipped))
        except InvalidSignature:
            return False

    taken = [divmod(at, 8) for at, flipped in enumerate(header_flips(header)) if takes(flipped)]
    assert taken == everywhere_in(header, parts[0]) + everywhere_in(header, parts[1])
    door.office.queue.close()
