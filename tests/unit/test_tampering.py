"""Whatever is changed behind the ledger's back is found: by `verify`, or with a seal of before.

`verify` recomputes; so it finds any change of an entry, and of what other rows say again. Who
recomputes all hashes after a change is found by a seal that was kept elsewhere.
"""

from __future__ import annotations

import hmac
import itertools
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from tests.conftest import WEBHOOK_SECRET, TurnableClock

import credit_payments as cp
from credit_payments.domain import audit, ledger, seals
from credit_payments.domain.clawback import Policies, Policy
from credit_payments.domain.ledger import Kind
from credit_payments.domain.quoting import KeepQuote
from credit_payments.domain.records import (
    CREDITS_MAX,
    Entry,
    Hold,
    Lot,
    Payment,
    Purchase,
    Quote,
    Record,
    Wallet,
    key_of,
)

pytestmark = pytest.mark.long

Json = dict[str, Any]
Shop = Any

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
USERS = ("ada", "bob", "zoë")


class Intruder(Protocol):
    """Who can write the database without the library."""

    def rows(self, kind: type[Any]) -> list[Any]:
        """All rows of a kind, in the order of `audit.ORDERS`."""
        ...

    def change(self, row: Record, **fields: Any) -> None:
        """Change fields of a row; also its key."""
        ...

    def remove(self, row: Record) -> None: ...

    def insert(self, row: Record) -> None: ...


class InMemory:
    """Writes into the tables of `MemoryStorage`."""

    def __init__(self, system: cp.System) -> None:
        storage: Any = system._storage
        self._tables: dict[type[Record], dict[str, Record]] = storage._rows.tables

    def rows(self, kind: type[Any]) -> list[Any]:
        return sorted(
            self._tables[kind].values(),
            key=lambda row: [getattr(row, column) for column in audit.ORDERS[kind]],
        )

    def change(self, row: Record, **fields: Any) -> None:
        changed = msgspec.structs.replace(row, **fields)
        del self._tables[type(row)][key_of(row)[1]]
        self._tables[type(row)][key_of(changed)[1]] = changed

    def remove(self, row: Record) -> None:
        del self._tables[type(row)][key_of(row)[1]]

    def insert(self, row: Record) -> None:
        self._tables[type(row)][key_of(row)[1]] = row


class OnDisk:
    """Writes into the file of `SqliteStorage`."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous=OFF")

    def rows(self, kind: type[Any]) -> list[Any]:
        order = ", ".join(audit.ORDERS[kind])
        columns = ", ".join(kind.__struct_fields__)
        found = self._connection.execute(f"SELECT {columns} FROM {kind.TABLE} ORDER BY {order}")
        return [kind(*row) for row in found]

    def change(self, row: Record, **fields: Any) -> None:
        columns = ", ".join(f"{name} = ?" for name in fields)
        self._run(f"UPDATE {row.TABLE} SET {columns} WHERE {row.KEY} = ?", *fields.values(),
                  key_of(row)[1])  # fmt: skip

    def remove(self, row: Record) -> None:
        self._run(f"DELETE FROM {row.TABLE} WHERE {row.KEY} = ?", key_of(row)[1])

    def insert(self, row: Record) -> None:
        places = ", ".join("?" * len(row.__struct_fields__))
        self._run(f"INSERT INTO {row.TABLE} VALUES ({places})", *msgspec.structs.astuple(row))

    def close(self) -> None:
        self._connection.close()

    def _run(self, statement: str, *values: Any) -> None:
        assert self._connection.execute(statement, values).rowcount == 1


Filled = tuple[Path, datetime]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """A database that was filled once, to be copied; and the time it was then."""
    path = tmp_path_factory.mktemp("filled") / "credits.db"
    clock = TurnableClock()
    with cp.connect(
        database=f"sqlite:///{path}", clock=clock, stripe_webhook_secret=WEBHOOK_SECRET
    ) as system:
        fill(system, clock)
    return path, clock.instant


@pytest.fixture(params=["memory", "sqlite"])
def place(
    request: pytest.FixtureRequest,
    open_shop: Callable[[str], Shop],
    filled: Filled,
    tmp_path: Path,
) -> Iterator[tuple[cp.System, Intruder]]:
    """A ledger with every kind of entry, and somebody who can write into it."""
    if request.param == "memory":
        shop = open_shop("memory://")
        fill(shop.system, shop.clock)
        yield shop.system, InMemory(shop.system)
        return
    path = tmp_path / "credits.db"
    shutil.copy(filled[0], path)
    shop = open_shop(f"sqlite:///{path}")
    shop.clock.instant = filled[1]
    intruder = OnDisk(path)
    yield shop.system, intruder
    intruder.close()


@pytest.fixture
def memory_place(open_shop: Callable[[str], Shop]) -> tuple[cp.System, Intruder]:
    """The same in memory alone: for what is tried a thousand times."""
    shop = open_shop("memory://")
    fill(shop.system, shop.clock, USERS[:2])
    return shop.system, InMemory(shop.system)


def fill(system: cp.System, clock: TurnableClock, users: Sequence[str] = USERS) -> None:
    """Every kind of entry, for several users; each thing happens a minute after the last."""
    wallets = system.wallets
    for user in users:
        wallets.grant(user, 50, key=f"{user} gift", reason="welcome", actor="eve",
                      expires_at=BEGIN + timedelta(days=1))  # fmt: skip
        clock.turn(60)
        _buy(system, clock, user)
        spent = wallets.spend(user, 70, key=f"{user} spent", metadata={"n": 1, "m": [2, "x"]})
        clock.turn(60)
        wallets.reverse(spent, reason="failed", actor="eve")
        wallets.hold(user, 20, key=f"{user} captured", ttl=3_600).capture(15)
        wallets.hold(user, 10, key=f"{user} released", ttl=3_600).release()
        wallets.hold(user, 5, key=f"{user} lapsed", ttl=30)
        clock.turn(60)
        wallets.post_due(user)
        wallets.hold(user, 7, key=f"{user} held", ttl=20 * 24 * 3_600)
        wallets.suspend(user, key=f"{user} stop", reason="strange", actor="eve")
        clock.turn(60)
        wallets.resume(user, key=f"{user} go", reason="explained", actor="eve")
    clock.turn(2 * 24 * 3_600)
    for user in users:
        wallets.post_due(user)
        wallets.spend(user, 60, key=f"{user} more")
    late = wallets.hold("ada", 4, key="ada late", ttl=60, overage="debt").capture(45)
    wallets.grant("ada", 5, key="ada is helped", reason="sorry")  # repays the debt
    wallets.reverse(late)  # makes a lot of its own
    _refund(system, clock, "ada", 1_000)  # leaves a debt
    _refund(system, clock, "bob", 300)
    clock.turn(60)
    wallets.grant("ada", 5, key="ada repays", reason="sorry")
    _write_off_and_stop(system, clock)
    _buy(system, clock, "bob", "disputed")
    _dispute(system, clock, "disputed")  # freezes, and locks the lot
    wallets.grant("bob", 9, key="bob repays", reason="sorry", priority=-5)
    clock.turn(3_600)
    kinds = {entry.kind for user in users for entry in wallets.history(user, limit=100).items}
    assert kinds == {str(kind) for kind in Kind}
    states = {name for row in _lots(system) for name in LOT_STATES if getattr(row, name)}
    assert states == set(LOT_STATES)


LOT_STATES = ("available", "held", "frozen", "expired", "written_off", "locked", "expiries")


def _lots(system: cp.System) -> list[Lot]:
    return list(system._storage.scan(Lot, order=audit.ORDERS[Lot]))


def _write_off_and_stop(system: cp.System, clock: TurnableClock) -> None:
    """What the other policies leave behind: a write-off, and an entry that stopped a wallet."""
    wallets = system.wallets
    for name in ("forgiven", "stopped"):
        _buy(system, clock, "ada", name)
        wallets.spend("ada", wallets.balance("ada").available - 2, key=f"ada {name}")
        clock.turn(60)
    _refund(system, clock, "ada", 1_000, "forgiven", Policies(refund=Policy.CLAMP))
    withdrawn = [{"id": "txn_1", "object": "balance_transaction", "amount": -1_000}]
    _dispute(
        system, clock, "stopped", Policies(dispute=Policy.FREEZE), balance_transactions=withdrawn
    )
    wallets.resume("ada", key="ada goes on", reason="explained", actor="eve")


def _buy(system: cp.System, clock: TurnableClock, user: str, name: str = "") -> None:
    name = name or str(USERS.index(user))
    quote = Quote(
        quote_id=f"quote_{name}", user_id=user, amount_minor=1_000, currency="usd", credits=100,
        package_id=None, customer_id=None, rule="rate", expires_seconds=None, fingerprint="f",
        payment_intent_id=None, created_at="",
    )  # fmt: skip
    system.queue.submit(KeepQuote(quote=quote))
    paid = {
        "id": f"pi_{name}",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 1_000,
        "amount_received": 1_000,
        "currency": "usd",
        "created": 1_700_000_000,
        "metadata": {"user_id": user, "quote_id": f"quote_{name}"},
    }
    _deliver(system, clock, "payment_intent.succeeded", paid)


def _refund(
    system: cp.System,
    clock: TurnableClock,
    user: str,
    amount: int,
    name: str = "",
    policies: Policies | None = None,
) -> None:
    name = name or str(USERS.index(user))
    refund = {"id": f"re_{name}", "object": "refund", "amount": amount, "currency": "usd",
              "status": "succeeded", "payment_intent": f"pi_{name}"}  # fmt: skip
    _deliver(system, clock, "refund.created", refund, policies)


def _dispute(
    system: cp.System,
    clock: TurnableClock,
    name: str,
    policies: Policies | None = None,
    **given: Any,
) -> None:
    dispute = {"id": f"dp_{name}", "object": "dispute", "amount": 1_000, "currency": "usd",
               "status": "needs_response", "reason": "general", "created": 1_700_000_000,
               "payment_intent": f"pi_{name}"}  # fmt: skip
    _deliver(system, clock, "charge.dispute.created", dispute | given, policies)


def _deliver(
    system: cp.System,
    clock: TurnableClock,
    event_type: str,
    fields: Json,
    policies: Policies | None = None,
) -> None:
    webhooks = cp.WebhookProcessor(
        system.queue, clock, secrets=[WEBHOOK_SECRET], policies=policies or Policies()
    )
    seconds = int(clock.now().timestamp())
    event = {"id": f"evt_{fields['id']}", "type": event_type, "created": seconds,
             "data": {"object": fields}}  # fmt: skip
    body = json.dumps(event).encode()
    digest = hmac.new(WEBHOOK_SECRET.encode(), b"%d." % seconds + body, "sha256").hexdigest()
    assert webhooks.receive(body, f"t={seconds},v1={digest}").outcome == "applied"


def named(report: audit.VerificationReport) -> set[str | None]:
    return {problem.transaction_id for problem in report.problems}


def accused(report: audit.VerificationReport) -> set[str]:
    return {problem.user_id for problem in report.problems}


def following(entries: Iterable[Entry], entry: Entry) -> str | None:
    """The entry after one, in the same wallet; None after the last."""
    return next(
        (
            other.transaction_id
            for other in entries
            if other.user_id == entry.user_id and other.sequence == entry.sequence + 1
        ),
        None,
    )


# -- one field of one entry -------------------------------------------------------------------


def other_values(row: Any, name: str, rows: Iterable[Any]) -> list[Any]:
    """What somebody might write there instead."""
    value = getattr(row, name)
    elsewhere = list(dict.fromkeys(getattr(other, name) for other in rows))
    found: list[Any] = [one for one in elsewhere if one is not None][:2]
    if isinstance(value, int):
        found += [0, value + 1, value - 1, -value, CREDITS_MAX]
    elif value is None:
        found += ["", "x", "null"]
    else:
        found += ["", f"{value}x", value[:-1], value[::-1], value.swapcase(), f" {value}"]
    if name in {"actor", "reason", "metadata"}:
        found.append(None)
    if name == "user_id":
        found += [*USERS, "nobody"]
    if name in {"legs", "lots", "metadata"} and value:
        found += other_json(json.loads(value))
    if name.endswith("_at"):
        found += ["2020-01-01T00:00:00.000000Z", "2030-01-01T00:00:00.000000Z"]
    return [one for one in dict.fromkeys(found) if one != value]


def other_json(content: Any) -> Iterator[str]:
    """The same with one number changed, two numbers changed in balance, or written otherwise."""
    yield json.dumps(content, indent=1)
    yield json.dumps(content, separators=(",", ":"), sort_keys=True)
    yield json.dumps([content])
    numbers = [path for path, value in leaves(content) if isinstance(value, int)]
    for path in numbers:
        for change in (1, -1_000):
            yield compact(shifted(content, {path: change}))
    for first, second in itertools.pairwise(numbers):
        yield compact(shifted(content, {first: 3, second: -3}))
    if isinstance(content, dict):
        for name in content:
            yield compact({k: v for k, v in content.items() if k != name})
            yield compact({k.replace(name, f"{name}x"): v for k, v in content.items()})
        yield compact({**content, "usage": 1, "expired": -1})
    elif content:
        yield compact(content[1:])
        yield compact([*content, content[0]])
        yield compact([["grant:ada gift", *content[0][1:]]])


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for name, value in pairs:
            yield from leaves(value, (*path, name))
    else:
        yield path, content


def shifted(content: Any, changes: dict[tuple[Any, ...], int]) -> Any:
    copy = json.loads(json.dumps(content))
    for path, change in changes.items():
        place = copy
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] += change
    return copy


def compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def test_any_other_value_in_any_field_of_any_entry_is_found_and_the_entry_named(
    memory_place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = memory_place
    entries = intruder.rows(Entry)
    tried = 0
    for entry in entries:
        for name in Entry.__struct_fields__:
            for value in other_values(entry, name, entries):
                taken = name == "cause" and any(other.cause == value for other in entries)
                if taken:
                    continue  # no database keeps two of one key
                intruder.change(entry, **{name: value})
                report = system.verify()
                called = value if name == "transaction_id" else entry.transaction_id
                assert called in named(report), (entry.cause, name, value, report.problems)
                changed = msgspec.structs.replace(entry, **{name: value})
                intruder.change(changed, **{name: getattr(entry, name)})
                tried += 1
    assert system.verify().ok
    assert tried > 5_000


def test_a_change_of_any_field_of_any_entry_in_the_database_is_found(
    place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = place
    entries = intruder.rows(Entry)
    for entry in entries:
        for name in Entry.__struct_fields__:
            old = getattr(entry, name)
            new: Any = old + 1_000 if isinstance(old, int) else f"{old or ''}x"
            intruder.change(entry, **{name: new})
            called = new if name == "transaction_id" else entry.transaction_id
            assert called in named(system.verify()), (entry.cause, name)
            intruder.change(msgspec.structs.replace(entry, **{name: new}), **{name: old})
    assert system.verify().ok


def test_a_value_swapped_between_two_entries_is_found_and_both_are_named(
    memory_place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = memory_place
    entries = intruder.rows(Entry)
    for one, other in itertools.chain(
        itertools.pairwise(entries), zip(entries, entries[5:], strict=False)
    ):
        for name in ("credits", "balance_after", "legs", "lots", "reason", "created_at", "hash"):
            first, second = getattr(one, name), getattr(other, name)
            if first == second:
                continue
            intruder.change(one, **{name: second})
            intruder.change(other, **{name: first})
            report = system.verify()
            assert {one.transaction_id, other.transaction_id} <= named(report), (one, other, name)
            intruder.change(one, **{name: first})
            intruder.change(other, **{name: second})
    assert system.verify().ok


def test_a_change_that_fits_in_itself_is_found_by_the_hash(
    place: tuple[cp.System, Intruder],
) -> None:
    """Credits, legs, lots, balances and rows all say the same, only the hash is the old one."""
    system, intruder = place
    rows = {kind: intruder.rows(kind) for kind in (Wallet, Lot)}
    entry = next(entry for entry in intruder.rows(Entry) if entry.cause == "grant:bob repays")
    assert ledger.legs_of(entry) == {"promotions": -9, "wallet:bob": 9}
    lot = next(lot for lot in rows[Lot] if lot.lot_id == entry.cause)
    wallet = next(wallet for wallet in rows[Wallet] if wallet.user_id == "bob")
    intruder.change(
        entry,
        credits=1_009,
        balance_after=entry.balance_after + 1_000,
        legs='{"promotions":-1009,"wallet:bob":1009}',
        lots='[["grant:bob repays",1009,0,0,0,0]]',
        fingerprint=ledger.fingerprint("bob", 1_009, "sorry", lot.expires_at, -5, None),
    )
    intruder.change(lot, credits=1_009, available=1_009)
    intruder.change(wallet, available=wallet.available + 1_000)
    report = system.verify()
    assert [(p.transaction_id, p.message) for p in report.problems] == [
        (entry.transaction_id, "the entry was changed after it was posted")
    ]


def test_a_changed_entry_whose_own_hash_was_recomputed_breaks_the_chain_behind_it(
    memory_place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = memory_place
    entries = intruder.rows(Entry)
    for entry in entries:
        forged = msgspec.structs.replace(entry, reason="forged")
        forged = msgspec.structs.replace(forged, hash=ledger.chain_hash(forged))
        intruder.change(entry, reason=forged.reason, hash=forged.hash)
        report = system.verify()
        assert accused(report) == {entry.user_id}
        # The wallet's row, after the last; and a lot names what was said when it was granted.
        also = {None} if entry.kind == "grant" else set()
        assert named(report) == {following(entries, entry), *also}
        intruder.change(forged, reason=entry.reason, hash=entry.hash)
    assert system.verify().ok


# -- rows removed, added, moved ---------------------------------------------------------------


def test_any_entry_that_was_removed_is_missed(place: tuple[cp.System, Intruder]) -> None:
    system, intruder = place
    entries = intruder.rows(Entry)
    for entry in entries:
        intruder.remove(entry)
        report = system.verify()
        assert accused(report) == {entry.user_id}, entry
        assert following(entries, entry) in named(report), entry
        intruder.insert(entry)
    assert system.verify().ok


def test_a_whole_history_that_was_removed_is_missed(place: tuple[cp.System, Intruder]) -> None:
    system, intruder = place
    for entry in intruder.rows(Entry):
        if entry.user_id == "bob":
            intruder.remove(entry)
    assert accused(system.verify()) == {"bob"}


@pytest.mark.parametrize("rehashed", [False, True], ids=["old hash", "new hash"])
def test_a_copy_of_any_entry_is_found_wherever_it_is_put(
    memory_place: tuple[cp.System, Intruder], rehashed: bool
) -> None:
    system, intruder = memory_place
    entries = intruder.rows(Entry)
    for entry in entries:
        last = max(other.sequence for other in entries if other.user_id == entry.user_id)
        for sequence in (0, entry.sequence, last + 1, last + 2):
            copy = msgspec.structs.replace(
                entry,
                cause=f"{entry.cause}:copy",
                transaction_id=ledger.transaction_id(f"{entry.cause}:copy"),
                sequence=sequence,
            )
            if rehashed:
                copy = msgspec.structs.replace(copy, hash=ledger.chain_hash(copy))
            intruder.insert(copy)
            report = system.verify()
            assert copy.transaction_id in named(report), (entry.cause, sequence)
            intruder.remove(copy)
    assert system.verify().ok


def test_an_entry_appended_with_a_valid_hash_is_found_by_the_rows_it_did_not_change(
    place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = place
    for user in USERS:
        forged = appended(intruder, user, 1_000)
        intruder.insert(forged)
        report = system.verify()
        assert accused(report) == {user}
        assert {problem.message for problem in report.problems} >= {
            f"the lot {forged.cause} is missing",
        }
        intruder.remove(forged)
    assert system.verify().ok


def appended(intruder: Intruder, user: str, credits: int, cause: str = "grant:forged") -> Entry:
    """A grant that follows on a wallet's last entry, with all that an entry must have."""
    last = [entry for entry in intruder.rows(Entry) if entry.user_id == user][-1]
    repaid = min(last.debt_after, credits)
    left = credits - repaid
    legs = {"promotions": -credits, f"wallet:{user}": left, f"debt:{user}": repaid}
    forged = msgspec.structs.replace(
        last,
        transaction_id=ledger.transaction_id(cause),
        sequence=last.sequence + 1,
        kind="grant",
        cause=cause,
        credits=left,
        balance_after=last.balance_after + left,
        debt_after=last.debt_after - repaid,
        legs=compact({account: amount for account, amount in legs.items() if amount}),
        lots=compact([[cause, left, 0, 0, 0, 0]] if left else []),
        previous_hash=last.hash,
    )
    chained: Entry = msgspec.structs.replace(forged, hash=ledger.chain_hash(forged))
    return chained


@pytest.mark.parametrize("rehashed", [False, True], ids=["old hashes", "new hashes"])
def test_any_two_entries_of_a_wallet_that_changed_places_are_found(
    memory_place: tuple[cp.System, Intruder], rehashed: bool
) -> None:
    system, intruder = memory_place
    entries = intruder.rows(Entry)
    for one, other in itertools.combinations(entries, 2):
        if one.user_id != other.user_id:
            continue
        moved = []
        for entry, sequence in ((one, other.sequence), (other, one.sequence)):
            there = msgspec.structs.replace(entry, sequence=sequence)
            if rehashed:
                there = msgspec.structs.replace(there, hash=ledger.chain_hash(there))
            intruder.change(entry, sequence=there.sequence, hash=there.hash)
            moved.append(there)
        report = system.verify()
        assert accused(report) == {one.user_id}
        assert {one.transaction_id, other.transaction_id} <= named(report)
        for there, entry in zip(moved, (one, other), strict=True):
            intruder.change(there, sequence=entry.sequence, hash=entry.hash)
    assert system.verify().ok


def test_an_entry_given_to_another_user_is_found_in_both_histories(
    place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = place
    entries = intruder.rows(Entry)
    entry = next(entry for entry in entries if entry.cause == "grant:bob repays")
    last = max(other.sequence for other in entries if other.user_id == "ada")
    intruder.change(entry, user_id="ada", sequence=last + 1)
    report = system.verify()
    assert accused(report) == {"ada", "bob"}
    assert entry.transaction_id in named(report)


# -- the other rows -----------------------------------------------------------------------------

NOT_RECOMPUTED: dict[type[Record], dict[str, str]] = {
    Wallet: {},
    Lot: {
        "source": "only shown",
        "created_at": "only shown",
        "covered_by": "no entry says it: what comes back to the lot goes where it says; only what "
        "cannot be is noticed",
    },
    Hold: {
        "hold_id": "the name alone; what is held is found under another key then",
        "status": "only shown; `open` is what counts",
        "captured": "only shown",
        "overage": "no entry says it: allows a capture of more than was held",
        "fingerprint": "tells repetitions apart",
        "lapses_at": "no entry says it: only one that is due too early is noticed",
        "created_at": "only shown",
    },
    Purchase: {
        "amount_usd": "only shown",
        "status": "only shown",
        "payment_method": "only shown",
        "stripe_payment_intent": "only shown; the key says the same",
        "created_at": "only shown",
    },
    Payment: {
        "quote_id": "only shown",
        "status": "decides nothing any more once the payment is credited",
        "quarantined": "at most an incident stays open that was settled",
        "amount_minor": "what was asked for; what was paid is another field",
        "credits": "what was promised; what was credited is another field",
        "expires_seconds": "the lot says when",
        "refunds": "no entry says it: the next report is settled with what stands there",
        "disputes": "no entry says it: the next report is settled with what stands there",
        "clawback": "no entry says it: credits that are given back go where it says",
        "created_at": "only shown",
        "updated_at": "only shown",
    },
}
"""Fields of which `verify` finds no, or not every, change; and why, or what comes of it."""


@pytest.mark.parametrize(
    "standing",
    [
        [["payment:pi_0", 60]],
        [["grant:nobody", 60]],
        [["grant:bob repays", 60]],
        [["debt", 5], ["undo:capture:ada late", 55]],
        [["debt", 55], ["debt", 5]],
        [["debt", 61], ["written_off", -1]],
        [["debt", 55], ["written_off", 5]],
        [["undo:capture:ada late", 60]],
        [["debt", 1_000]],
        [["debt"]],
        "nothing of the kind",
    ],
    ids=str,
)
def test_nothing_else_stands_in_for_a_lot_than_what_can(
    memory_place: tuple[cp.System, Intruder], standing: object
) -> None:
    """What does, no entry says: so it must at least be possible."""
    system, intruder = memory_place
    row = next(row for row in intruder.rows(Lot) if row.covered_by and row.user_id == "ada")
    assert json.loads(row.covered_by) == [["undo:capture:ada late", 5], ["debt", 55]]
    intruder.change(row, covered_by=json.dumps(standing))
    assert accused(system.verify()) == {"ada"}


def test_a_grant_for_which_something_stands_in_is_found(
    memory_place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = memory_place
    row = next(row for row in intruder.rows(Lot) if row.source == "grant")
    intruder.change(row, covered_by='[["debt",1]]')
    assert accused(system.verify()) == {row.user_id}


@pytest.mark.parametrize("kind", list(NOT_RECOMPUTED), ids=lambda kind: str(kind.TABLE))
def test_any_other_value_in_a_field_that_verify_recomputes_is_found(
    memory_place: tuple[cp.System, Intruder], kind: type[Any]
) -> None:
    system, intruder = memory_place
    rows = intruder.rows(kind)
    for row in rows:
        is_over = isinstance(row, Hold) and not row.open  # it holds nothing any more
        names = {"open"} if is_over else set(kind.__struct_fields__) - set(NOT_RECOMPUTED[kind])
        for name in names:
            values = other_values(row, name, rows)
            if name == kind.KEY:
                values = [f"{getattr(row, name)}x", "nobody"]
            for value in _that_matter(row, name, values):
                intruder.change(row, **{name: value})
                report = system.verify()
                assert accused(report) & {row.user_id, value}, (row, name, value)
                changed = msgspec.structs.replace(row, **{name: value})
                intruder.change(changed, **{name: getattr(row, name)})
    assert system.verify().ok


def _that_matter(row: Any, name: str, values: list[Any]) -> list[Any]:
    if isinstance(row, Wallet) and name == "due_at":
        # Looking too early costs a little time; looking too late lets something live on.
        return [value for value in values if value > row.due_at]
    if isinstance(row, Hold) and name == "open":
        return [1 - row.open]
    if isinstance(row, Hold) and name == "taken":
        return [*UNREADABLE, "[]", *other_takes(row.taken)]
    return values


UNREADABLE = ["", "x", "{}", "null", "[1]", '[["a"]]', '[["a",1.5]]']


def other_takes(taken: str) -> Iterator[str]:
    content = json.loads(taken)
    for number, (lot_id, credits) in enumerate(content):
        for change in (1, -1, 1_000):
            yield compact(shifted(content, {(number, 1): change}))
        yield compact([*content, [lot_id, 1], [lot_id, -2]])
        for other in ("payment:pi_0", "payment:pi_1", "grant:bob repays", "grant:other"):
            if other != lot_id:
                yield compact([*content[:number], [other, credits], *content[number + 1 :]])
                yield compact([*content, [other, -1], [lot_id, 1]])


@pytest.mark.parametrize("kind", list(NOT_RECOMPUTED), ids=lambda kind: str(kind.TABLE))
def test_a_changed_field_in_the_database_is_found_unless_it_is_known_not_to_be(
    place: tuple[cp.System, Intruder], kind: type[Any]
) -> None:
    system, intruder = place
    missed = set()
    for row in intruder.rows(kind):
        if isinstance(row, Hold) and not row.open:
            continue
        for name in kind.__struct_fields__:
            old = getattr(row, name)
            new: Any = 1 - old if name == "open" else old + 7 if isinstance(old, int) else None
            if new is None:
                others = {"taken": "[]", "expires_seconds": 7, "clawback": "{}", "covered_by": ""}
                new = others.get(name, f"{old}x")
            intruder.change(row, **{name: new})
            if system.verify().ok:
                missed.add(name)
            intruder.change(msgspec.structs.replace(row, **{name: new}), **{name: old})
    assert missed == set(NOT_RECOMPUTED[kind])
    assert system.verify().ok


@pytest.mark.parametrize("kind", list(NOT_RECOMPUTED), ids=lambda kind: str(kind.TABLE))
def test_a_removed_row_is_missed_and_an_added_one_is_found(
    place: tuple[cp.System, Intruder], kind: type[Any]
) -> None:
    system, intruder = place
    for row in intruder.rows(kind):
        if isinstance(row, Hold) and not row.open:
            continue  # it holds nothing any more
        intruder.remove(row)
        assert accused(system.verify()) == {row.user_id}, row
        intruder.insert(row)
        name = "mallory" if kind is Wallet else f"{key_of(row)[1]} again"
        copy = msgspec.structs.replace(row, **{kind.KEY: name})
        intruder.insert(copy)
        assert accused(system.verify()) == {copy.user_id}, row
        intruder.remove(copy)
    assert system.verify().ok


def test_a_lot_or_a_hold_given_to_another_user_is_found(
    place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = place
    for kind in (Lot, Hold):
        row = next(row for row in intruder.rows(kind) if row.user_id == "bob" and row.open)
        intruder.change(row, user_id="ada")
        assert accused(system.verify()) == {"ada", "bob"}
        intruder.change(msgspec.structs.replace(row, user_id="ada"), user_id="bob")
    assert system.verify().ok


@pytest.mark.parametrize("taken", UNREADABLE)
def test_a_hold_that_cannot_be_read_is_a_problem_and_no_crash(
    place: tuple[cp.System, Intruder], taken: str
) -> None:
    system, intruder = place
    hold = next(hold for hold in intruder.rows(Hold) if hold.open)
    intruder.change(hold, taken=taken)
    assert accused(system.verify()) == {hold.user_id}


def test_a_hold_that_names_another_lot_is_found(place: tuple[cp.System, Intruder]) -> None:
    system, intruder = place
    hold = next(hold for hold in intruder.rows(Hold) if hold.open)
    intruder.change(hold, taken=compact([["grant:other", hold.credits]]))
    problems = system.verify().problems
    assert {problem.user_id for problem in problems} == {hold.user_id}
    (lot_id, _), *_ = json.loads(hold.taken)
    assert {problem.message for problem in problems} == {
        "the lot grant:other is missing",
        f"the lot {lot_id} is not what the open holds took of it",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"locked": 1},
        {"priority": -100},
        {"expires_at": "2030-01-01T00:00:00.000000Z"},
        {"expiries": 9},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_a_lot_that_lives_on_is_locked_or_goes_first_is_found(
    place: tuple[cp.System, Intruder], change: Json
) -> None:
    system, intruder = place
    lot = next(lot for lot in intruder.rows(Lot) if lot.lot_id == "grant:bob repays")
    assert lot.open
    intruder.change(lot, **change)
    assert accused(system.verify()) == {"bob"}


def test_a_lock_on_a_lot_that_has_nothing_is_found(place: tuple[cp.System, Intruder]) -> None:
    """What comes back into it would be frozen for ever, or set free while a dispute is open."""
    system, intruder = place
    empty = [lot for lot in intruder.rows(Lot) if not (lot.available or lot.frozen)]
    assert {lot.source for lot in empty} == {"purchase", "grant", "correction"}
    for lot in empty:
        intruder.change(lot, locked=1)
        problems = system.verify().problems
        assert {(problem.user_id, lot.lot_id in problem.message) for problem in problems} == {
            (lot.user_id, True)
        }
        intruder.change(msgspec.structs.replace(lot, locked=1), locked=0)
    assert system.verify().ok


@pytest.mark.parametrize(
    ("name", "value"),
    [("credited", 0), ("credited", 101), ("refunded_credits", 0), ("disputed_credits", 100),
     ("reversals", 0), ("received_minor", 1), ("currency", "jpy"), ("locked", 1)],
)  # fmt: skip
def test_a_payment_that_says_anything_else_than_its_entries_is_named(
    place: tuple[cp.System, Intruder], name: str, value: int | str
) -> None:
    """It would be credited or taken back once more, at another share, or not at all."""
    system, intruder = place
    paid = next(row for row in intruder.rows(Payment) if row.payment_intent_id == "pi_0")
    intruder.change(paid, **{name: value})
    assert [(problem.user_id, problem.message) for problem in system.verify().problems] == [
        ("ada", "the record of payment:pi_0 is not what its entries say")
    ]


def test_a_payment_given_to_another_user_is_missed_by_its_own(
    place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = place
    for user, others in (("bob", {"bob"}), ("nobody", {"nobody"})):
        paid = next(row for row in intruder.rows(Payment) if row.payment_intent_id == "pi_0")
        intruder.change(paid, user_id=user)
        assert accused(system.verify()) == {"ada", *others}
        intruder.change(msgspec.structs.replace(paid, user_id=user), user_id="ada")
    assert system.verify().ok


# -- who recomputes everything, and seals -----------------------------------------------------

HALF = BEGIN + timedelta(days=1)


def rewrite(intruder: Intruder, user: str, edit: Callable[[list[Entry]], list[Entry]]) -> None:
    """Edit a history, and recompute all that `verify` looks at: nothing is left to see."""
    before = [entry for entry in intruder.rows(Entry) if entry.user_id == user]
    wallet = next(row for row in intruder.rows(Wallet) if row.user_id == user)
    chain: list[Entry] = []
    held, head = [0, 0, 0, 0], ""
    states: dict[str, list[int]] = {}
    lots = [lot for lot in intruder.rows(Lot) if lot.user_id == user]
    terms = {lot.lot_id: (lot.expires_at, lot.priority) for lot in lots}
    default = (lots[0].expires_at, lots[0].priority)
    for number, entry in enumerate(edit(before), 1):
        legs = ledger.legs_of(entry)
        own = [legs.get(f"{name}:{user}", 0) for name in ("wallet", "held", "frozen", "debt")]
        own[3] = -own[3]
        held = [a + b for a, b in zip(held, own, strict=True)]
        fields: Json = dict(zip(("balance_after", "held_after", "frozen_after", "debt_after"),
                                held, strict=True))  # fmt: skip
        if entry.kind == "grant":
            fields["fingerprint"] = ledger.fingerprint(
                user,
                -legs["promotions"],
                entry.reason,
                *terms.get(entry.cause, default),
                entry.actor,
            )
        forged = msgspec.structs.replace(
            entry, sequence=number, credits=own[0], previous_hash=head, **fields
        )
        head = ledger.chain_hash(forged)
        chain.append(msgspec.structs.replace(forged, hash=head))
        if entry.kind in {"grant", "payment"}:
            states.setdefault(entry.cause, [0, 0, 0, 0, 0])
        for change in ledger.lots_of(entry):
            state = states.setdefault(change.lot_id, [0, 0, 0, 0, 0])
            states[change.lot_id] = [a + b for a, b in zip(state, change[1:], strict=True)]
    for entry in before:
        intruder.remove(entry)
    for entry in chain:
        intruder.insert(entry)
    _rewrite_lots(intruder, user, chain, states)
    sequences = {entry.cause: entry.sequence for entry in chain}
    for sale in intruder.rows(Purchase):
        if sale.user_id == user:
            sequence = sequences[f"payment:{sale.payment_intent_id}"]
            intruder.change(sale, sequence=sequence)
    intruder.change(
        wallet, available=held[0], held=held[1], frozen=held[2], debt=held[3],
        entries=len(chain), head=head, due_at="", updated_at=chain[-1].created_at,
    )  # fmt: skip


def _rewrite_lots(
    intruder: Intruder, user: str, chain: list[Entry], states: dict[str, list[int]]
) -> None:
    opened = {entry.cause: entry for entry in chain}
    templates = [lot for lot in intruder.rows(Lot) if lot.user_id == user]
    for lot in templates:
        intruder.remove(lot)
    for lot_id, (available, held, frozen, expired, written_off) in states.items():
        entry = opened[lot_id]
        legs = ledger.legs_of(entry)
        template = next((lot for lot in templates if lot.lot_id == lot_id), templates[0])
        expiries = [other for other in chain if other.kind == "expiry" and lot_id in other.lots]
        intruder.insert(
            msgspec.structs.replace(
                template, lot_id=lot_id, sequence=entry.sequence,
                credits=-legs.get("purchases", legs.get("promotions", -template.credits)),
                open=int(available > 0), available=available, held=held, frozen=frozen,
                expired=expired, written_off=written_off, expiries=len(expiries),
            )
        )  # fmt: skip


def give_more(entries: list[Entry]) -> list[Entry]:
    """The gift was ten times as large."""
    first = entries[0]
    assert first.kind == "grant"
    forged = msgspec.structs.replace(
        first,
        legs=first.legs.replace("50", "500"),
        lots=first.lots.replace("50", "500"),
    )
    return [forged, *entries[1:]]


def reason_otherwise(entries: list[Entry]) -> list[Entry]:
    """Only a word is another."""
    return [msgspec.structs.replace(entries[0], reason="thanks"), *entries[1:]]


def leave_out(entries: list[Entry]) -> list[Entry]:
    """Nothing was ever suspended."""
    return [entry for entry in entries if entry.kind not in {"suspend", "resume"}]


def put_in(entries: list[Entry]) -> list[Entry]:
    """There was another gift, at the same time as the first."""
    user = entries[0].user_id
    forged = msgspec.structs.replace(
        entries[0],
        cause="grant:forged",
        transaction_id=ledger.transaction_id("grant:forged"),
        legs=compact({"promotions": -7, f"wallet:{user}": 7}),
        lots='[["grant:forged",7,0,0,0,0]]',
    )
    return [entries[0], forged, *entries[1:]]


def change_places(entries: list[Entry]) -> list[Entry]:
    """Gift and purchase came the other way round."""
    first, second = entries[:2]
    assert second.kind == "payment"
    return [
        msgspec.structs.replace(second, created_at=first.created_at),
        msgspec.structs.replace(first, created_at=second.created_at),
        *entries[2:],
    ]


def date_otherwise(entries: list[Entry]) -> list[Entry]:
    """The gift came a second earlier."""
    return [
        msgspec.structs.replace(entries[0], created_at="2023-12-31T23:59:59.000000Z"),
        *entries[1:],
    ]


EDITS = (give_more, reason_otherwise, leave_out, put_in, change_places, date_otherwise)


@pytest.mark.parametrize("user", ["bob", "zoë"])
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: str(edit.__name__))
def test_a_history_that_was_rewritten_whole_passes_verify_and_is_found_by_a_seal(
    place: tuple[cp.System, Intruder], edit: Callable[[list[Entry]], list[Entry]], user: str
) -> None:
    system, intruder = place
    seal = system.seal(through=HALF)
    assert system.check_seal(seal).ok
    rewrite(intruder, user, lambda entries: entries)
    assert system.check_seal(seal).ok, "a rewriting that changes nothing is no change"
    rewrite(intruder, user, edit)
    assert system.verify().ok, system.verify().problems
    report = system.check_seal(seal)
    assert [problem.user_id for problem in report.problems] == ["*"]
    assert "seal" in report.problems[0].message


def test_a_user_whose_rows_are_all_gone_is_missed_by_a_seal_alone(
    place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = place
    seal = system.seal(through=HALF)
    for kind in audit.ORDERS:
        for row in intruder.rows(kind):
            if row.user_id == "zoë":
                intruder.remove(row)
    assert system.verify().ok
    assert not system.check_seal(seal).ok


def test_an_entry_that_was_changed_without_more_ado_is_found_when_a_seal_is_checked(
    place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = place
    seal = system.seal(through=HALF)
    entry = intruder.rows(Entry)[2]
    intruder.change(entry, reason="forged")
    assert named(system.check_seal(seal)) == {entry.transaction_id}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: str(edit.__name__))
def test_what_is_rewritten_after_a_seal_was_made_leaves_that_seal_alone(
    place: tuple[cp.System, Intruder], edit: Callable[[list[Entry]], list[Entry]]
) -> None:
    system, intruder = place
    early = system.seal(through=BEGIN)
    assert (early.entries, early.wallets) == (0, 0)
    if edit is date_otherwise:
        return  # that dates an entry back to before the seal
    rewrite(intruder, "bob", edit)
    assert system.check_seal(early).ok


def test_an_entry_dated_back_to_before_a_seal_breaks_it(
    place: tuple[cp.System, Intruder],
) -> None:
    system, intruder = place
    early = system.seal(through=BEGIN)
    rewrite(intruder, "bob", date_otherwise)
    assert system.verify().ok
    assert not system.check_seal(early).ok


def test_a_seal_is_not_touched_by_what_is_posted_later(place: tuple[cp.System, Intruder]) -> None:
    system, _ = place
    half, whole = system.seal(through=HALF), system.seal()
    assert half.entries < whole.entries == system.verify().entries
    assert whole.wallets == len(USERS)
    for user in (*USERS, "new"):
        system.wallets.grant(user, 1_000, key=f"{user} later", reason="later")
        system.wallets.spend(user, 1, key=f"{user} later")
    assert system.check_seal(half).ok
    assert system.check_seal(whole).ok
    assert system.seal(through=HALF) == half


def test_a_seal_is_the_same_in_every_database(
    open_shop: Callable[[str], Shop], filled: Filled
) -> None:
    sealed = []
    for url in ("memory://", f"sqlite:///{filled[0]}"):
        shop = open_shop(url)
        if url == "memory://":
            fill(shop.system, shop.clock)
        shop.clock.instant = filled[1]
        sealed.append(shop.system.seal(through=HALF))
    assert sealed[0] == sealed[1]
    assert sealed[0].entries > 30


def test_a_seal_that_was_written_down_is_read_back(place: tuple[cp.System, Intruder]) -> None:
    system, _ = place
    seal = system.seal(through=HALF)
    text = seal.to_json()
    assert seals.Seal.from_json(text) == seal
    assert seals.Seal.from_json(text.encode()) == seal
    assert system.check_seal(seals.Seal.from_json(text)).ok


@pytest.mark.parametrize("name", ["through", "wallets", "entries", "digest"])
def test_a_seal_that_says_anything_else_does_not_match(
    place: tuple[cp.System, Intruder], name: str
) -> None:
    system, _ = place
    content = json.loads(system.seal(through=HALF).to_json())
    value = content[name]
    content[name] = value + 1 if isinstance(value, int) else value.replace(value[5], "7", 1)
    if content[name] == value:
        content[name] = value.replace(value[5], "8", 1)
    assert not system.check_seal(seals.Seal.from_json(json.dumps(content))).ok


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "{}", "null", b"\xff", '{"version":1}',
     '{"version":2,"through":"t","wallets":0,"entries":0,"digest":"00"}',
     '{"version":1,"through":"t","wallets":"0","entries":0,"digest":"00"}',
     '{"version":1,"through":"t","wallets":0,"entries":0,"digest":"00","more":1}'],
)  # fmt: skip
def test_what_is_no_seal_is_refused(text: str | bytes) -> None:
    with pytest.raises(cp.InvalidRequest) as caught:
        seals.Seal.from_json(text)
    assert caught.value.param == "seal"


def test_what_may_still_change_cannot_be_sealed(place: tuple[cp.System, Intruder]) -> None:
    system, _ = place
    now = system._clock.now()
    assert system.seal(through=now - timedelta(minutes=1)) == system.seal()
    for through in (now, now - timedelta(seconds=59), now + timedelta(days=1)):
        with pytest.raises(cp.InvalidRequest):
            system.seal(through=through)
    with pytest.raises(cp.InvalidRequest):
        system.seal(through=datetime(2024, 1, 1))  # noqa: DTZ001 - that is the point


def test_a_seal_with_a_strange_digest_does_not_match(place: tuple[cp.System, Intruder]) -> None:
    system, _ = place
    content = json.loads(system.seal(through=HALF).to_json())
    content["digest"] = "\N{SNOWMAN}"
    assert not system.check_seal(seals.Seal.from_json(json.dumps(content))).ok
