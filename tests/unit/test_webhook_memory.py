"""What one webhook takes of the memory: a multiple of its length, whatever it holds."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
from tests.support import hostile
from tests.support.every_event import promised, signed, story
from tests.support.office import HOSTS, Office

from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain.signature import HEADER_CHARACTERS_MAX
from credit_payments.errors import CreditPaymentsError
from credit_payments.webhooks import BODY_BYTES_MAX

pytestmark = pytest.mark.long

MULTIPLE_MAX = 32
"""Of the longest body. Most is taken by small things that are many: a list of empty texts, of which
each is an object of its own while the nesting is looked at, and while names that come twice are."""
REFUSED_BYTES_MAX = 512 * 1024
"""For what is refused unread."""

SOME_BYTES = BODY_BYTES_MAX // 8
"""Long enough for the multiple to show."""

PAID, FAILED = "payment_intent.succeeded", "payment_intent.payment_failed"
DISPUTED, WARNED = "charge.dispute.created", "radar.early_fraud_warning.created"
HOSTS_EVENT = b'{"id":"evt_1","type":"%s","created":1,"data":{"object":' % HOSTS.encode()

Take = Callable[[bytes, str], int]
Parts = tuple[bytes, bytes, bytes]
"""How a body begins, what comes in it again and again, and how it ends."""


def inside(kind: str, name: str, start: bytes, piece: bytes, end: bytes) -> Parts:
    """An event in which one field takes all the room."""
    event = deepcopy(story().of_type(kind))
    hostile.put(event, ("data", "object", name), "@")
    before, after = json.dumps(event).encode().split(b'"@"')
    return before + start, piece, end + after


def full(parts: Parts, length: int) -> bytes:
    """As many pieces as there is room for."""
    start, piece, end = parts
    room = length - len(start) - len(end)
    number = room // len(piece)
    return start + piece * number + end + b" " * (room - number * len(piece))


BODIES: dict[str, Parts] = {
    "a text that nobody reads": inside(PAID, "other", b'"', b"a", b'"'),
    "escapes that nobody reads": inside(PAID, "other", b'"', b"\\u00e9", b'"'),
    "objects that nobody reads": inside(PAID, "other", b"[", b"{},", b"0]"),
    "texts that nobody reads": inside(PAID, "other", b"[" + b"[]," * 80, b'"",', b"0]"),
    "digits": inside(PAID, "amount", b"", b"9", b""),
    "a status": inside(PAID, "status", b'"', b"a", b'"'),
    "a status of four bytes each": inside(PAID, "status", '"\U0001f4b3'.encode(), b"a", b'"'),
    "control characters": inside(PAID, "currency", b'"', b"\\u0000", b'"'),
    "metadata": inside(PAID, "metadata", b"{", b'"":"",', b'"a":""}'),
    "a message": inside(FAILED, "last_payment_error", b'{"message":"', b"\x7f", b'"}'),
    "movements": inside(DISPUTED, "balance_transactions", b"[", b'{"id":"","amount":1},', b"0]"),
    "a reason": inside(DISPUTED, "reason", b'"', b"\\u0001", b'"'),
    "a kind of fraud": inside(WARNED, "fraud_type", b'"', b"\\n", b'"'),
    "an e-mail address": inside("customer.updated", "email", b'"', b"\\u2028", b'"'),
    "brackets": (b"", b"[", b""),
    "objects in objects": (b"", b'{"a":', b""),
    "a list for a handler": (HOSTS_EVENT + b"[", b'[""],', b"0]}}"),
    "a name that comes twice": (HOSTS_EVENT + b"{", b'"a":1,', b'"b":2}}}'),
    "no UTF-8": (b"", b"\xe9", b""),
}


@pytest.fixture(params=["inline", "queued"])
def take(request: pytest.FixtureRequest) -> Iterator[Take]:
    """Delivers, and returns how many bytes that took at most at once."""
    office: Office = promised(MemoryStorage())
    office.handlers.on(HOSTS)(lambda event: None)
    webhooks = office.inline if request.param == "inline" else office.queued

    def delivered(body: bytes, header: str) -> int:
        tracemalloc.start()
        try:
            webhooks.receive(body, header)
        except CreditPaymentsError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak

    yield delivered
    office.queue.close()


@pytest.mark.parametrize("name", BODIES)
def test_a_long_body_takes_a_small_multiple_of_its_length(take: Take, name: str) -> None:
    check_multiple(take, full(BODIES[name], SOME_BYTES))


@pytest.mark.torture
@pytest.mark.parametrize("name", BODIES)
def test_the_longest_body_takes_a_small_multiple_of_its_length(take: Take, name: str) -> None:
    check_multiple(take, full(BODIES[name], BODY_BYTES_MAX))


def check_multiple(take: Take, body: bytes) -> None:
    assert take(body, signed(body)) <= MULTIPLE_MAX * len(body)


@pytest.mark.parametrize(
    "header",
    [
        "t=1704067200,v1=" + "0" * 1_000_000,
        "," * HEADER_CHARACTERS_MAX,
        "v1=," * (HEADER_CHARACTERS_MAX // 4),
        "t=" + "9" * (HEADER_CHARACTERS_MAX - 2),
        "\u0661" * 1_000_000,
    ],
    ids=lambda header: f"{header[:4]!a}",
)
def test_a_header_takes_little_however_long_it_is(take: Take, header: str) -> None:
    assert take(b"{}", header) <= REFUSED_BYTES_MAX


def test_a_body_that_is_longer_takes_nothing(take: Take) -> None:
    body = b"[" * (BODY_BYTES_MAX + 1)
    assert take(body, "t=1704067200,v1=00") <= REFUSED_BYTES_MAX


def test_a_body_that_nobody_signed_is_not_read(take: Take) -> None:
    body = full(BODIES["a list for a handler"], BODY_BYTES_MAX)
    assert take(body, signed(body, "whsec_other")) <= REFUSED_BYTES_MAX
