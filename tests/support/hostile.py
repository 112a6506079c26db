"""Signed events that Stripe would never send: what is changed in them, and what must hold after.

Whoever holds an endpoint's secret could sign these, and so could Stripe in a version to come.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import attrs
from tests.support.every_event import signed, story
from tests.support.office import CREDITS, PAID, Office
from tests.support.payment_story import Json

from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain import audit, events, inbox
from credit_payments.domain.records import CREDITS_MAX, Event, Payment, Quote, Wallet
from credit_payments.errors import InvalidPayload
from credit_payments.ports.storage import Storage
from credit_payments.webhooks import WebhookProcessor

Path = tuple[str | int, ...]

# -- what is changed --------------------------------------------------------------------------


@attrs.frozen
class Raw:
    """A value as it is written in JSON, or in what only resembles it."""

    text: str


_NOISE = "".join(random.Random(0).choices(string.ascii_letters + string.digits, k=100_000))
"""Nothing makes it shorter: no index takes it."""
_TEXTS = (
    "", " ", "0", "1000", "-1", "usd", "USD", "eur", "jpy", "xxx", "us\0d", "\u212aRW", "bitcoin",
    "succeeded", "processing", "canceled", "requires_capture", "pending", "failed", "SUCCEEDED",
    "needs_response", "warning_closed", "won", "lost", "charge", "withdrawn", "new_in_2030",
    "payment_intent", "refund", "dispute", "customer", "radar.early_fraud_warning", "event",
    "pi_1", "re_1", "ch_1", "dp_1", "cus_1", "issfr_1", "evt_1", "txn_1", "pi_", "_", "pi_é",
    "quote_", "pi_1\n", "pi_1 ", "PI_1", "pi_" + "x" * 240, "pi_" + "x" * 241, "ada", "eve",
    "ada ", "*", "\0", "a\0b", "\u202e", "e\u0301", "\U0001f4b3", "\ud800", "\udfff\ud800",
    "\ufeff", "\x7f\x1b[2J", "$gt", '{"$gt": ""}', "' OR 1=1 --", "%s%n", "../../etc",
    "<script>",
    "x" * 255, "x" * 256, "x" * 100_000, "\u00e9" * 50_000, "\0" * 1_000, _NOISE[:255],
    _NOISE[:3_000], _NOISE,
)  # fmt: skip
_NUMBERS = (
    0, 1, -1, 333, 999, 1_000, 1_001, 2**31, 2**32, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64,
    -(2**53), -(2**63), -(2**63) - 1, 10**30, 10**400, 253_402_300_799, 253_402_300_800, 0.0, -0.0,
    0.5, 1_000.5, 1e15, 1e30, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
_RAWS = tuple(
    Raw(text)
    for text in (
        "1000.0", "1e3", "1E+3", "-0", "1e999999", "-1e999999", "1e-999999", "9" * 5_000, "01",
        "+1", ".5", "1.", "0x10", "1_000", "undefined", "'a'", "tru", "", "{", "]", '"\\x"',
        '"\\ud800"', '"\\u0000"', '"\t"', '{"id": 1, "id": 2}', '"a" "b"', "/**/1", "[1,]", '"\\',
        "\ufeff1",
    )
)  # fmt: skip
_NESTED: tuple[Any, ...] = (
    [], {}, [[]], [{}], [None], {"": ""}, {"id": None}, {"id": "pi_1"}, {"id": ["pi_1"]}, ["pi_1"],
    {"id": "pi_1", "object": "payment_intent", "metadata": {"user_id": "eve"}},
    {"object": "charge"}, {"user_id": "eve"}, {"user_id": "ada", "quote_id": "quote_pi_1"},
    {"user_id": ""}, {"user_id": "x" * 300, "quote_id": "y" * 300},
    {"user_id": "a\0da", "quote_id": "\0"},
    {"quote_id": "\ud800"}, {"user_id": 1}, {"message": None}, {"charge": "ch_\0", "message": "\0"},
    {"message": "\u2028\x1b" * 400, "code": "x" * 1_000, "decline_code": "\0" * 9}, {"type": 5},
    [{"id": "txn_1", "amount": -400}], [{"id": "txn_1", "amount": -(2**53) + 1}] * 3,
    [{"id": "txn_1", "amount": 2**53 - 1}], [{"id": f"txn_{n}", "amount": -9} for n in range(101)],
    [{"id": f"txn_{n}", "amount": 2**53 - 1} for n in range(100)], [{"id": "\0", "amount": -1}],
    [{"id": "withdrawn", "amount": -400}], [{"id": "x" * 255, "amount": 0}, "txn_2"],
    ["txn_1"] * 99, {f"key{n}": "v" * 500 for n in range(100)},
    [[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]],
)  # fmt: skip
DEEP = Raw('{"a":' * 200 + "1" + "}" * 200)
VALUES: tuple[Any, ...] = (
    None, True, False, *_TEXTS, *_NUMBERS, *_RAWS, *_NESTED, DEEP, Raw("[" * 100_000),
)  # fmt: skip
NAMES = (
    "id", "type", "created", "livemode", "account", "data", "object", "amount", "amount_received",
    "amount_refunded", "currency", "status", "metadata", "payment_intent", "charge", "user_id",
    "quote_id", "last_payment_error", "latest_charge", "balance_transactions", "reason", "deleted",
    "email", "client_secret", "fraud_type", "actionable", "customer", "", "\0", "\ud800", "$where",
)  # fmt: skip
"""Of fields: those that are read, and some that no database would like."""

_DECIDING = set(NAMES)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where everything stands in an event."""
    if path:
        yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            yield from paths(inner, (*path, name))


def deciding(event: Json) -> list[Path]:
    """Where those things stand that may be read."""
    return [path for path in paths(event) if path[-1] in _DECIDING]


def put(event: Json, path: Path, value: Any) -> None:
    """Replace what stands there, or add it; nothing where there is no such place any more."""
    where, name = _inside(event, path)
    if _has_room(where, name):
        where[name] = value


def take_out(event: Json, path: Path) -> None:
    """Leave out what stands there."""
    where, name = _inside(event, path)
    if isinstance(where, dict) and isinstance(name, str):
        where.pop(name, None)
    elif isinstance(where, list) and isinstance(name, int):
        del where[name : name + 1]


def expand(event: Json, path: Path) -> None:
    """Have an object where a reference stands, or a longer one."""
    found = _at(event, path)
    put(event, path, {"id": found, "object": "charge", "payment_intent": {"id": found}})


def twice(event: Json, path: Path, value: Any) -> None:
    """Have the same name stand there a second time, with another value."""
    where, name = _inside(event, path)
    if isinstance(where, dict) and isinstance(name, str) and name in where:
        both = f"{text_of(where[name])}, {json.dumps(name)}: {text_of(value)}"
        put(event, path, Raw(both))


def _inside(event: Json, path: Path) -> tuple[Any, str | int]:
    return _at(event, path[:-1]), path[-1]


def _at(event: Any, path: Path) -> Any:
    for name in path:
        if not _has_room(event, name) or (isinstance(event, dict) and name not in event):
            return None
        event = event[name]
    return event


def _has_room(where: Any, name: str | int) -> bool:
    """Whether there can be something of this name, or in this place."""
    if isinstance(where, dict):
        return isinstance(name, str)
    return isinstance(where, list) and isinstance(name, int) and name < len(where)


def body_of(event: Json) -> bytes:
    """The event as JSON, or as what resembles it."""
    return text_of(event).encode("utf-8", "surrogatepass")


def text_of(value: Any) -> str:
    raws: dict[str, str] = {}

    def as_marker(raw: Any) -> str:
        marker = f"@raw{len(raws)}@"
        raws[json.dumps(marker)] = raw.text
        return marker

    text = json.dumps(value, default=as_marker)
    for marker, raw in raws.items():
        text = text.replace(marker, raw)
    return text


Edit = Callable[[Json, Path, Any], None]
EDITS: tuple[Edit, ...] = (
    put,
    put,
    put,
    lambda event, path, _: take_out(event, path),
    lambda event, path, _: expand(event, path),
    lambda event, path, _: put(event, path, [deepcopy(_at(event, path))]),
    lambda event, path, value: put(event, (*path[:-1], NAMES[len(str(value)) % len(NAMES)]), value),
    twice,
)
"""Each changes an event in one place."""


def values_at(event: Json, path: Path) -> tuple[Any, ...]:
    """Those of the same type as what stands there: they get past the types."""
    kind = type(_at(event, path))
    return tuple(value for value in VALUES if type(value) is kind) or VALUES


def changed(chance: random.Random, event: Json) -> Json:
    """The event with one to three things changed in it."""
    event = deepcopy(event)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        found = (chance.random() < 0.9 and deciding(event)) or [*paths(event)]
        if not found:
            break
        path = chance.choice(found)
        values = values_at(event, path) if chance.random() < 0.6 else VALUES
        chance.choice(EDITS)(event, path, deepcopy(chance.choice(values)))
    return event


# -- what must hold ---------------------------------------------------------------------------


def outcome_of(webhooks: WebhookProcessor, body: bytes) -> str:
    """What became of a signed body; any error but the one for bad payloads goes through."""
    try:
        return webhooks.receive(body, signed(body)).outcome
    except InvalidPayload:
        return "invalid"


def id_of(body: bytes) -> str | bytes:
    """The id of the event, or of what cannot be read the whole."""
    try:
        return events.read_event(body).id
    except InvalidPayload:
        return body


def drain(office: Office) -> None:
    """Apply what waits: all of it ends, and well."""
    office.worker().drain(rounds_max=100)
    for event in office.events():
        assert event.status == inbox.DONE, event
        assert event.problem is None, event


def check(office: Office) -> None:
    """The ledger is sound, nobody owns less than nothing, and what was credited was promised."""
    kinds: Any = audit.ORDERS.items()
    report = audit.verify(*(office.storage.scan(kind, order=order) for kind, order in kinds))
    assert report.ok, report.problems
    for wallet in office.storage.scan(Wallet, order=("user_id",)):
        for part in (wallet.available, wallet.held, wallet.frozen, wallet.debt):
            assert 0 <= part <= CREDITS_MAX, wallet
    check_credited(office.storage)


def check_credited(storage: Storage) -> None:
    """Credits were posted for the quotes of paid intents, and for nothing else."""
    credited = 0
    for payment in storage.scan(Payment, order=("payment_intent_id",)):
        quote = storage.get(Quote, payment.quote_id)
        assert quote is not None, payment
        assert (payment.user_id, payment.currency) == (quote.user_id, quote.currency)
        if payment.credited:
            assert (payment.credited, payment.received_minor) == (CREDITS, PAID), payment
            credited += CREDITS
    for wallet in storage.scan(Wallet, order=("user_id",)):
        holds = wallet.available + wallet.held + wallet.frozen
        assert holds <= credited, wallet


# -- an attack --------------------------------------------------------------------------------


def attack(office: Office, *, seed: int, number: int, mode: str) -> list[str]:
    """Tell so many changed events, one after the other; what became of each."""
    chance = random.Random(seed)
    webhooks = office.inline if mode == "inline" else office.queued
    outcomes: list[str] = []
    for at in range(number):
        event = dict(chance.choice(story().events), id=f"evt_attack{at}")
        outcomes.append(outcome_of(webhooks, body_of(changed(chance, event))))
        if at % 20 == 0:
            drain(office)
    drain(office)
    check(office)
    return outcomes


class Saved:
    """A storage in memory that can be put back to what it held."""

    def __init__(self, storage: Storage) -> None:
        assert isinstance(storage, MemoryStorage)
        self._storage = storage
        self._tables = {kind: dict(table) for kind, table in self._now().items()}
        self._unique = set(storage._unique)

    def put_back(self) -> None:
        """Forget all that came after."""
        self._storage._rows.tables = {kind: dict(table) for kind, table in self._tables.items()}
        self._storage._unique = set(self._unique)

    def is_untouched(self) -> bool:
        """Whether everything is as it was."""
        return bool(self._now() == self._tables)

    def effects(self) -> dict[type[Any], Any]:
        """All that is kept, but how it was told."""
        return {kind: table for kind, table in self._now().items() if kind is not Event}

    def _now(self) -> Any:
        return self._storage._rows.tables


class Twins:
    """Two offices that are alike: one is told at once, one through its inbox."""

    def __init__(self, make: Callable[[Storage], Office]) -> None:
        self._inline, self._queued = make(MemoryStorage()), make(MemoryStorage())
        self._saved = [Saved(office.storage) for office in (self._inline, self._queued)]

    def tell(self, bodies: Sequence[bytes]) -> list[str]:
        """Tell the same to both, from where they began: they end alike, and as they should.

        Returns what became of each where it was applied at once.
        """
        for saved in self._saved:
            saved.put_back()
        outcomes = []
        for body in bodies:
            outcomes.append(outcome_of(self._inline.inline, body))
            later = outcome_of(self._queued.queued, body)
            drain(self._queued)
            assert (outcomes[-1] == "invalid") == (later == "invalid"), (outcomes, later)
        if {*outcomes} == {"invalid"}:
            assert all(saved.is_untouched() for saved in self._saved)
            return outcomes
        drain(self._inline)
        for office in (self._inline, self._queued):
            check(office)
        if len({*bodies}) == len({*map(id_of, bodies)}):  # else one event says different things
            assert self._saved[0].effects() == self._saved[1].effects()
        return outcomes

    def close(self) -> None:
        for office in (self._inline, self._queued):
            office.queue.close()
