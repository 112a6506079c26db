"""What the core asks of a database: load rows, write rows, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

from credit_payments.domain.decision import Range
from credit_payments.domain.records import Key, Record
from credit_payments.domain.traits import DatabaseTraits

R = TypeVar("R", bound=Record)


class WriteConflict(Exception):
    """Another writer was first; the database queue runs the batch again.

    Raised by an adapter from inside or at the end of a transaction, which is then rolled back
    whole. It never reaches a caller of the library.
    """


class Reader(Protocol):
    """Reads of committed rows."""

    def get(self, kind: type[R], key: str) -> R | None:
        """The row of that key, or None."""
        ...

    def page(
        self,
        kind: type[R],
        where: Mapping[str, str | int],
        *,
        order: Sequence[str],
        after: Sequence[str | int] | None = None,
        limit: int,
        descending: bool = False,
        ending: str | None = None,
    ) -> list[R]:
        """At most `limit` rows whose columns equal `where`, ordered by the columns `order`.

        `after` holds the `order` columns of the last row already seen; rows strictly behind it
        are answered, so that rows added meanwhile neither repeat nor hide any. With `ending`, only
        rows for which the instant in that column ever comes, as in a `Series`.

        One of the kind's `INDEXES` or `UNIQUE` (or the `SPARSE` one of `ending`) starts with the
        columns of `where`, if there are any, and then `order`; or `where` is empty and `order` is
        the key alone.
        """
        ...

    def count(
        self,
        kind: type[Record],
        where: Mapping[str, str | int],
        *,
        limit: int,
        ending: str | None = None,
    ) -> int:
        """How many rows have columns that equal `where`, counted no further than `limit`.

        So it costs no more than `limit` rows do, which is at least 1, however many there are; the
        answer `limit` means as many or more. With `ending`, only rows for which the instant in that
        column ever comes, as in a `Series`.

        One of the kind's `INDEXES` or `UNIQUE` (or the `SPARSE` one of `ending`) starts with the
        columns of `where`.
        """
        ...

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        """The first rows of each series, in its order, as many as its limit allows.

        One of the kind's `INDEXES` (or `SPARSE`, for a series with `ending`) starts with the
        group's column, the columns that equal, and the order.
        """
        ...

    def scan(self, kind: type[R], *, order: Sequence[str]) -> Iterator[R]:
        """Every row in that order, streamed."""
        ...


class Loaded(NamedTuple):
    """What a loader has found."""

    rows: Mapping[Key, Record]
    series: Mapping[Range, Sequence[Record]]


class Loader(Protocol):
    """Loading the rows that commands name."""

    def load(self, keys: Iterable[Key]) -> Mapping[Key, Record]:
        """The rows that exist, locked against other writers until the end, in one fixed order.

        Where a database does not lock what is read, it lets only one of two transactions commit
        that have loaded a row and write it. A kind that is `GUARDED` is locked also where it has no
        such row: of two transactions that both found none, and of which one adds it, the other
        waits, or fails.
        """
        ...

    def first(self, ranges: Sequence[Range]) -> Mapping[Range, Sequence[Record]]:
        """The first rows of each series, as `Reader.first` has them.

        They are locked as those of `load` are, and so is the series: no other writer adds a row
        to it, or takes one out, before the end. (Where a database cannot lock what is not there,
        the row of the group's owner, loaded before, stands for it: who changes a user's lots
        changes the wallet, too.)
        """
        ...

    def load_both(self, keys: Iterable[Key], ranges: Sequence[Range]) -> Loaded:
        """As `load` and then `first`, in one round trip where the database can do so."""
        ...


class Transaction(Loader, Protocol):
    """One database transaction: used by one thread, ended by the storage."""

    def write(self, inserts: Sequence[Record], updates: Sequence[Record]) -> None:
        """Add new rows and replace loaded ones, in bulk.

        A key (or a `UNIQUE` of the kind) that exists already raises `WriteConflict`. Updates are
        of rows that this transaction has loaded, and change their `MUTABLE` fields only.
        """
        ...


class Joined(Reader, Transaction, Protocol):
    """Part of a transaction that the host began: it sees what that has written."""


class Watch(Protocol):
    """Somebody who is told of new rows."""

    def close(self) -> None:
        """Tell no more; safe to call twice."""
        ...


class Storage(Reader, Protocol):
    """A database that keeps what it acknowledged.

    Holds under concurrency and failure: a transaction is atomic and serialisable against others
    that name the same keys, from any thread and any process; after its block ends without an
    exception the changes survive `kill -9` and power loss; after an exception none of them is
    there. A lost reply to the commit raises `StorageUnavailable`: the changes may or may not be
    there, and the queue finds out by running the commands again under their keys.

    Raises `StorageUnavailable` when the database cannot be reached in time or fails, and
    `WriteConflict` when another writer was first. Connections are not shared across a fork.
    """

    def transaction(self, *, patient: bool = True) -> AbstractContextManager[Transaction]:
        """Begin; commit when the block ends, roll back when it raises.

        Args:
            patient: whether to wait for rows that others have locked, for a moment; without that,
                one that is locked is a `WriteConflict` at once, where the database can tell.
        """
        ...

    def snapshot(self) -> AbstractContextManager[Reader]:
        """Reads that all see the same instant."""
        ...

    def joined(self, connection: Any) -> AbstractContextManager[Joined]:
        """Take part in the transaction of a connection, or a session, that the host hands in.

        Nothing is committed or rolled back: the host does that, and only then is anything durable.
        When the block raises, what it has written is undone where the database can do so within a
        transaction; otherwise the host has to roll back. Locks are held until the host's end.

        Raises:
            InvalidRequest: not a connection to this database, or one without a transaction where
                none can be begun.
            WriteConflict: as in a transaction; in some databases the host's whole transaction is
                lost with it.
        """
        ...

    def watch(self, kind: type[Record], wake: Callable[[], None]) -> Watch | None:
        """Have a function called soon after anybody, in any process, has added an `AWAITED` row.

        A hint and no more: a call may be lost with the connection, so whoever waits also looks
        from time to time. None where the database cannot tell, and looking is all there is.
        """
        ...

    def inspect(self) -> DatabaseTraits:
        """What of the database the promises rest on, as it is now, by a few reads.

        What it is and whether it takes writes; the settings that durability rests on, as they are
        in force where this storage writes; what the records need and is not there. Raises
        `StorageUnavailable`, and `ConfigurationError` where the user may not even look.
        """
        ...

    def close(self) -> None:
        """Release the connections; safe to call twice. Any use after it: `StorageUnavailable`."""
        ...
