"""Everything from any database to any other, and back to what it was."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from tests.contracts.conftest import DATABASES
from tests.support.filled import everything, fill, verified
from tests.support.payment_story import PAID, Books, Case

import credit_payments as cp
from credit_payments.adapters.databases import Opening, open_storage
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.domain.clawback import Policies, Policy
from credit_payments.domain.records import Wallet
from credit_payments.errors import StorageUnavailable
from credit_payments.moving import export, import_dump


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Another new database, of the kind that the test asks for."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'target.db'}"
    url: str = request.getfixturevalue(f"another_{request.param}_database")
    return url


@pytest.fixture
def dump() -> io.BytesIO:
    """A filled ledger, exported from memory."""
    storage, file = MemoryStorage(), io.BytesIO()
    fill(storage)
    export(storage, SystemClock(), file)
    file.seek(0)
    return file


@pytest.mark.parametrize("target", DATABASES, indirect=True)
def test_what_is_moved_is_the_same_on_the_other_side(database: str, target: str) -> None:
    source = open_storage(database, Opening())
    fill(source)
    with source.snapshot() as reader:
        before = everything(reader)
    source.close()
    assert all(before.values()), [table for table, rows in before.items() if not rows]
    file = io.BytesIO()
    with cp.connect(database=database) as system:
        exported = system.export(file)
    file.seek(0)
    with cp.connect(database=target) as system:
        imported = system.import_dump(file)
    assert exported == imported
    assert exported.rows == sum(map(len, before.values()))
    moved = open_storage(target, Opening())
    with moved.snapshot() as reader:
        assert everything(reader) == before
    moved.close()
    assert verified(target) == verified(database) == exported.verification
    with cp.connect(database=target) as system:  # and life goes on there, under the same keys
        assert system.wallets.spend("bob", 5, key="job 2").credits == -5
        with pytest.raises(cp.IdempotencyConflict):
            system.wallets.grant("bob", 51, key="with end", reason="another")


def test_an_import_that_broke_off_goes_on(dump: io.BytesIO, database: str) -> None:
    storage = open_storage(database, Opening())
    left = [3]
    whole = storage.transaction

    def failing() -> object:
        left[0] -= 1
        if left[0] < 0:
            raise StorageUnavailable("gone")
        return whole()

    storage.transaction = failing  # type: ignore[method-assign, assignment]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("credit_payments.moving.ROWS_AT_ONCE", 5)
        with pytest.raises(StorageUnavailable):
            import_dump(storage, dump)
    storage.transaction = whole  # type: ignore[method-assign]
    dump.seek(0)
    with pytest.raises(cp.Conflict, match="blank"):
        import_dump(storage, dump)
    dump.seek(0)
    moved = import_dump(storage, dump, resume=True)
    assert moved.verification.ok
    storage.close()


def test_a_database_with_other_rows_is_refused(dump: io.BytesIO, database: str) -> None:
    with cp.connect(database=database) as system:
        system.wallets.grant("eve", 1, key="mine", reason="mine")
        with pytest.raises(cp.Conflict, match="blank"):
            system.import_dump(dump)
        dump.seek(0)
        with pytest.raises(cp.Conflict, match="not in the file"):
            system.import_dump(dump, resume=True)
        system.wallets.grant("bob", 1, key="work", reason="mine")
        dump.seek(0)
        with pytest.raises(cp.Conflict, match="another row"):
            system.import_dump(dump, resume=True)


def test_a_broken_ledger_is_not_exported() -> None:
    storage, file = MemoryStorage(), io.BytesIO()
    fill(storage)
    with storage.transaction() as transaction:
        row = transaction.load([(Wallet, "bob")])[Wallet, "bob"]
        assert isinstance(row, Wallet)
        transaction.write([], [Wallet("bob", available=row.available + 1)])
    with pytest.raises(cp.Conflict, match="Nothing was exported"):
        export(storage, SystemClock(), file)
    assert file.getvalue() == b""


def test_every_line_that_is_changed_dropped_or_doubled_is_noticed(dump: io.BytesIO) -> None:
    lines = dump.getvalue().splitlines(keepends=True)
    changed = [
        b"".join([*lines[:n], *middle, *lines[n + 1 :]])
        for n, line in enumerate(lines)
        for middle in ([], [line, line], [line.replace(b"1", b"2", 1)], [line[:-2]])
        if middle != [line]
    ]
    changed += [dump.getvalue()[:-1], b"", b"{}\n", dump.getvalue() + b"{}\n"]
    storage = MemoryStorage()
    for text in changed:
        with pytest.raises(cp.InvalidRequest) as caught:
            import_dump(storage, io.BytesIO(text))
        assert caught.value.param == "file"
    with storage.snapshot() as reader:
        assert not any(everything(reader).values())


def test_a_dump_of_a_release_with_other_tables_is_read(dump: io.BytesIO) -> None:
    lines = dump.getvalue().splitlines(keepends=True)
    tail = json.loads(lines[-1])
    tail["rows"] |= {"a_table_to_come": 0}
    text = b"".join([*lines[:-1], json.dumps(tail).encode() + b"\n"])
    assert import_dump(MemoryStorage(), io.BytesIO(text)).verification.ok


def test_a_dump_of_the_fourth_schema_keeps_what_was_written_off() -> None:
    books = Books(Case(policies=Policies(refund=Policy.CLAMP)))
    books.pay(spent=100)
    books.refund("re_1", PAID)
    file, digest, lines = io.BytesIO(), hashlib.sha256(), []
    export(books.storage, SystemClock(), file)
    for line in map(json.loads, file.getvalue().splitlines()):
        if line.get("table") == "lots":
            del line["row"]["covered_by"]
        if line.get("table") == "payments":
            line["row"]["clawback"] = '{"written_off":100}'
        if "sha256" in line:
            line["sha256"] = digest.hexdigest()
        lines.append(json.dumps(line).encode() + b"\n")
        digest.update(lines[-1])
    moved = Books(Case(linked=False), storage=MemoryStorage(), quoted=False)
    assert import_dump(moved.storage, io.BytesIO(b"".join(lines))).verification.ok
    moved.wallets.reverse("spend:spent")
    moved.check()  # nothing is there: what came back was the shop's
    assert moved.state()["written off"] == 0


@pytest.mark.parametrize(
    "row",
    [
        b'{"table":"wallets","row":{"user_id":"\xff"}}',
        b'{"table":"wallets","row":{"user_id":"ada","available":9223372036854775808}}',
        b'{"table":"wallets","row":{"user_id":"ada","available":true}}',
        b'{"table":"wallets","row":{"user_id":"ada","available":1.0}}',
        b'{"table":"wallets","row":{"user_id":null}}',
        b'{"table":"wallets","row":{"user_id":"ada","colour":"red"}}',
        b'{"table":"wallets","row":{"user_id":"ada\\u0000"}}',
        b'{"table":"wallets","row":{}}',
        b'{"table":"secrets","row":{}}',
        b"[]",
    ],
)
def test_a_line_that_is_no_row_is_refused_and_not_quoted(dump: io.BytesIO, row: bytes) -> None:
    head, *rest = dump.getvalue().splitlines(keepends=True)
    storage = MemoryStorage()
    with pytest.raises(cp.InvalidRequest) as caught:
        import_dump(storage, io.BytesIO(b"".join([head, row + b"\n", *rest])))
    assert caught.value.__cause__ is None
    assert "ada" not in str(caught.value)
    with storage.snapshot() as reader:
        assert not any(everything(reader).values())
