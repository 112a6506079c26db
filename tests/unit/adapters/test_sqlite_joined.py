"""A host's sqlite3 connection: what is made of its ways, and what is refused."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import credit_payments as cp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def system(path: Path) -> Iterator[cp.System]:
    with cp.connect(database=f"sqlite:///{path}") as system:
        system.wallets.grant("ada", 10, key="opening", reason="opening")
        with closing(sqlite3.connect(path)) as host:
            host.execute("CREATE TABLE jobs (name TEXT)")
        yield system


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip([column[0] for column in cursor.description], row, strict=True))


@pytest.mark.parametrize("factory", [sqlite3.Row, _as_dict, lambda cursor, row: None])
def test_rows_may_be_made_into_anything(system: cp.System, path: Path, factory: Any) -> None:
    with closing(sqlite3.connect(path)) as host:
        host.row_factory = factory
        assert system.wallets.within(host).spend("ada", 3, key="job").balance_after == 7
        host.commit()
    assert system.wallets.balance("ada").available == 7


@pytest.mark.parametrize("level", ["DEFERRED", "IMMEDIATE", "EXCLUSIVE", ""])
def test_every_isolation_level_that_begins_by_itself_works(
    system: cp.System, path: Path, level: Any
) -> None:
    with closing(sqlite3.connect(path, isolation_level=level)) as host:
        system.wallets.within(host).spend("ada", 3, key="job")
        host.execute("INSERT INTO jobs VALUES ('job')")
        host.rollback()
        assert host.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    assert system.wallets.balance("ada").available == 10


def test_a_connection_that_never_begins_has_to_be_told(system: cp.System, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as host:
        with pytest.raises(cp.InvalidRequest, match="begin a transaction first"):
            system.wallets.within(host).spend("ada", 3, key="job")
        host.execute("BEGIN")
        system.wallets.within(host).spend("ada", 3, key="job")
        host.execute("COMMIT")
    assert system.wallets.balance("ada").available == 7


@pytest.mark.skipif(sys.version_info < (3, 12), reason="autocommit came with Python 3.12")
def test_a_connection_in_autocommit_has_to_begin_too(system: cp.System, path: Path) -> None:
    host = sqlite3.connect(path, autocommit=True)  # type: ignore[call-overload, unused-ignore]
    with closing(host), pytest.raises(cp.InvalidRequest, match="begin a transaction first"):
        system.wallets.within(host).spend("ada", 3, key="job")


@pytest.mark.parametrize(
    "call",
    [
        lambda wallets: wallets.balance("ada"),
        lambda wallets: wallets.history("ada"),
        lambda wallets: wallets.spend("ada", 11, key="too much"),
        lambda wallets: wallets.spend("ada", 10, key="opening"),
    ],
    ids=["balance", "history", "refused", "spent all"],
)
def test_who_only_reads_or_is_refused_holds_no_lock(
    system: cp.System, path: Path, call: Callable[[cp.Wallets], object]
) -> None:
    with closing(sqlite3.connect(path)) as host:
        try:
            call(system.wallets.within(host))
        except cp.InsufficientCredits:
            pass
        else:
            host.rollback()
        assert not host.in_transaction
        assert system.wallets.grant("bob", 1, key="other", reason="other").balance_after == 1


def test_what_is_due_is_not_posted_by_a_call_that_is_refused(system: cp.System, path: Path) -> None:
    system.wallets.hold("ada", 4, key="work", ttl=0.001)
    time.sleep(0.01)
    with closing(sqlite3.connect(path)) as host:
        with pytest.raises(cp.InsufficientCredits):
            system.wallets.within(host).spend("ada", 11, key="too much")
        assert not host.in_transaction
    assert [entry.kind for entry in system.wallets.history("ada").items] == ["hold", "grant"]


def _lower_synchronous(host: sqlite3.Connection) -> None:
    host.execute("PRAGMA synchronous=NORMAL")


def _shadow(host: sqlite3.Connection) -> None:
    host.execute("CREATE TEMP TABLE wallets AS SELECT * FROM main.wallets")


def _read_bytes(host: sqlite3.Connection) -> None:
    host.text_factory = bytes


@pytest.mark.parametrize("spoil", [_lower_synchronous, _shadow, _read_bytes])
def test_what_would_part_the_answer_from_what_is_kept_is_refused(
    system: cp.System, path: Path, spoil: Callable[[sqlite3.Connection], None]
) -> None:
    with closing(sqlite3.connect(path)) as host:
        spoil(host)
        host.commit()
        with pytest.raises(cp.InvalidRequest) as caught:
            system.wallets.within(host).spend("ada", 3, key="job")
        assert caught.value.param == "connection"
        assert not host.in_transaction


def test_converters_that_read_no_numbers_are_refused(system: cp.System, path: Path) -> None:
    sqlite3.register_converter("INTEGER", float)
    try:
        with (
            closing(sqlite3.connect(path, detect_types=sqlite3.PARSE_DECLTYPES)) as host,
            pytest.raises(cp.InvalidRequest),
        ):
            system.wallets.within(host).spend("ada", 3, key="job")
    finally:
        sqlite3.register_converter("INTEGER", int)
    assert system.verify().ok


def test_another_file_is_refused_and_a_link_to_the_file_is_not(
    system: cp.System, path: Path, tmp_path: Path
) -> None:
    link, other = tmp_path / "link.db", tmp_path / "other.db"
    link.symlink_to(path)
    cp.connect(database=f"sqlite:///{other}").close()
    with closing(sqlite3.connect(other)) as host, pytest.raises(cp.InvalidRequest, match="another"):
        system.wallets.within(host).spend("ada", 3, key="job")
    with closing(sqlite3.connect(link)) as host:
        system.wallets.within(host).spend("ada", 3, key="job")
        host.commit()
    assert system.wallets.balance("ada").available == 7


def test_a_savepoint_of_the_host_is_its_own(system: cp.System, path: Path) -> None:
    with closing(sqlite3.connect(path)) as host:
        host.execute("INSERT INTO jobs VALUES ('job')")
        host.execute("SAVEPOINT credit_payments")
        system.wallets.within(host).spend("ada", 3, key="job")
        host.execute("ROLLBACK TO credit_payments")
        host.commit()
        assert host.execute("SELECT name FROM jobs").fetchall() == [("job",)]
    assert system.wallets.balance("ada").available == 10


def test_a_hold_that_is_left_by_an_error_shows_that_error(system: cp.System, path: Path) -> None:
    with closing(sqlite3.connect(path)) as host:

        def work() -> None:
            with system.wallets.within(host).hold("ada", 5, key="work", ttl=60):
                host.rollback()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            work()
    assert system.wallets.balance("ada").held == 0
