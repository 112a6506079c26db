"""Writing within a transaction of the host's own, so that both commit or neither."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from credit_payments.domain import instants
from credit_payments.domain.decision import Command
from credit_payments.domain.records import Record
from credit_payments.errors import StorageUnavailable
from credit_payments.ports.clock import Clock
from credit_payments.ports.reads import SingleReads
from credit_payments.ports.storage import Reader, Storage, WriteConflict
from credit_payments.posting import batch as batches
from credit_payments.posting.batch import Observer
from credit_payments.posting.line import Ticket

A = TypeVar("A")
R = TypeVar("R", bound=Record)

ATTEMPTS_MAX = 3


class Poster(Protocol):
    """Who runs commands: the queue, or a host's transaction."""

    def submit(self, command: Command[A]) -> A:
        """Run one, and answer what it decided."""
        ...

    def within(self, connection: Any) -> HostTransaction:
        """Run commands inside of a transaction of the host's instead."""
        ...


class HostTransaction(SingleReads):
    """Runs commands one by one inside of a transaction that the host began and will end.

    It passes by the queue: the locks that it takes are the host's, until the host's end. Reads see
    what the transaction has written.

    Args:
        storage: where the rows are.
        connection: the host's connection or session.
        clock: gives each command its instant.
        observer: adds rows to what the commands change.
    """

    def __init__(
        self, storage: Storage, connection: Any, clock: Clock, observer: Observer | None
    ) -> None:
        self._storage = storage
        self._connection = connection
        self._clock = clock
        self._observer = observer

    def submit(self, command: Command[A]) -> A:
        """Run a command; its changes are durable once the host has committed.

        Raises:
            InvalidRequest: the connection is none to this database, or has no transaction.
            StorageUnavailable: the database failed, or another writer was first; roll back, and run
                the whole transaction again.
            CreditPaymentsError: whatever the command was rejected with; nothing of it was written,
                and the host's transaction may go on.
        """
        for _ in range(ATTEMPTS_MAX):
            try:
                return self._transact(command)
            except WriteConflict:
                # Where the database could undo the attempt, the next one sees who was first.
                continue
        raise StorageUnavailable(
            "Another writer was first: roll back, and run the whole transaction again."
        )

    def within(self, connection: Any) -> HostTransaction:
        """See the protocol."""
        return HostTransaction(self._storage, connection, self._clock, self._observer)

    def snapshot(self) -> AbstractContextManager[Reader]:
        """Reads within the transaction."""
        return self._storage.joined(self._connection)

    def _reading(self) -> AbstractContextManager[Reader]:
        return self.snapshot()

    def _transact(self, command: Command[A]) -> A:
        now = instants.to_text(self._clock.now())
        ticket = Ticket(command)
        with self._storage.joined(self._connection) as transaction:
            view = batches.load(transaction, [command], now)
            outcome = batches.decide([ticket], view, self._observer)
            _, answer, rejection = outcome.answers[0]
            if rejection is not None:
                raise rejection  # also what was due anyway is left to whoever comes next
            if outcome.new or outcome.replaced:
                transaction.write([*outcome.new.values()], [*outcome.replaced.values()])
        return answer  # type: ignore[no-any-return]
