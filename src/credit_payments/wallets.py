"""Wallets: what users hold, and how it changes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from credit_payments.domain import (
    answers,
    checks,
    cursors,
    holding,
    ids,
    instants,
    looking,
    values,
)
from credit_payments.domain.holding import Overage, PlaceHold
from credit_payments.domain.ledger import Kind
from credit_payments.domain.records import Entry, Lot, Wallet
from credit_payments.domain.records import Hold as HoldRow
from credit_payments.domain.spending import Grant, PostDue, Spend, Suspend, Undo
from credit_payments.errors import InvalidRequest, NotFound
from credit_payments.holds import Hold
from credit_payments.ports.clock import Clock
from credit_payments.ports.storage import Storage
from credit_payments.ports.users import AnyUser, Users
from credit_payments.posting import HostTransaction, Poster, reading

P = ParamSpec("P")
T = TypeVar("T")

_HISTORY_ORDER = ("sequence",)
_LOTS_ORDER = ("priority", "expires_at", "sequence")


class Wallets:
    """Balances, grants, spends, holds and their history.

    Args:
        storage: where balances and history are read.
        queue: through which changes are written.
        clock: tells what has expired, where a balance is only read.
        users: who may be granted something.
    """

    def __init__(
        self,
        storage: Storage | HostTransaction,
        queue: Poster,
        clock: Clock,
        *,
        users: Users | None = None,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._clock = clock
        self._users = users or AnyUser()

    def within(self, connection: Any) -> Wallets:
        """The same wallets, inside of a transaction of your own.

        What is granted or spent through them commits or rolls back together with what you write on
        that connection, and is durable only once you have committed. Locks on the wallets are held
        until then: keep the transaction short (well under a minute, which `System.seal` counts on),
        and use nothing else of the system before its end, which would wait for those locks.

        Args:
            connection: a `sqlite3.Connection` or a `psycopg.Connection` to the same database, or a
                `pymongo` session in a transaction. SQLite and PostgreSQL begin one where there is
                none. A call that fails is undone alone; in MongoDB, and wherever
                `StorageUnavailable` is raised, roll back and run the whole transaction again.

        Raises:
            InvalidRequest: each call, if the connection cannot be used.

        Example:
            >>> import sqlite3
            >>> from credit_payments import connect
            >>> with connect(database="sqlite:///shop.db") as system:
            ...     _ = system.wallets.grant("ada", 10, key="welcome", reason="welcome")
            ...     mine = sqlite3.connect("shop.db")
            ...     _ = mine.execute("CREATE TABLE jobs (name TEXT)")
            ...     _ = mine.execute("INSERT INTO jobs VALUES ('render')")
            ...     _ = system.wallets.within(mine).spend("ada", 3, key="render")
            ...     mine.rollback()
            ...     mine.close()
            ...     system.wallets.balance("ada").available
            10
        """
        host = self._queue.within(connection)
        return Wallets(host, host, self._clock, users=self._users)

    def balance(self, user_id: str) -> values.Balance:
        """What a user holds now; a user who never had credits holds none.

        What has expired or lapsed by now does not count, whether or not that was posted yet.

        Raises:
            InvalidRequest: not a user id.
            StorageUnavailable: the database failed.
        """
        wallet = self._storage.get(Wallet, ids.check_user_id(user_id))
        if wallet is None:
            return values.Balance(available=0)
        if looking.is_timeless(wallet):  # nothing of it expires or lapses: no need to look further
            return looking.balance(wallet, None)
        now = instants.to_text(self._clock.now())
        with self._storage.snapshot() as reader:
            return reading.answer(reader, looking.Look(user_id=user_id), now)

    def grant(
        self,
        user_id: str,
        credits: int,
        *,
        key: str,
        reason: str,
        expires_at: datetime | None = None,
        priority: int = 0,
        actor: str | None = None,
    ) -> values.Entry:
        """Give credits that nobody paid for; a debt is repaid first.

        Args:
            user_id: who gets them.
            credits: how many, at least 1.
            key: names the grant: the same key and arguments post once and get the same entry.
            reason: why, for whoever reads the history.
            expires_at: from when on they cannot be spent; never when left out.
            priority: from -100 to 100; lots of a lower number are spent first, then those that
                expire first, then the oldest.
            actor: who decided it, where a person did.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            NotFound: the host knows no such user.
            IdempotencyConflict: the key was used with other arguments.
            TryAgain: the database is busy or down.
        """
        command = Grant(
            user_id=ids.check_user_id(user_id),
            credits=checks.credits(credits),
            key=ids.check_key(key),
            reason=ids.check_required_text(reason, param="reason"),
            expires_at=checks.expires_at(expires_at),
            priority=checks.priority(priority),
            actor=ids.check_text(actor, param="actor"),
        )
        if not self._users.exists(user_id):
            raise NotFound("No such user", param="user_id")
        return answers.entry(self._queue.submit(command))

    def spend(
        self,
        user_id: str,
        credits: int,
        *,
        key: str,
        reason: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> values.Entry:
        """Take credits for something the user got.

        Args:
            user_id: who pays.
            credits: how many, at least 1.
            key: names the spend: the same key and arguments post once and get the same entry.
            reason: what for, for whoever reads the history.
            metadata: anything JSON can hold, kept with the entry; at most 4 KiB.

        Raises:
            InsufficientCredits: fewer are available; nothing was changed.
            WalletSuspended: nothing may be spent from the wallet; nothing was changed.
            InvalidRequest: an argument cannot be right; `param` names it.
            IdempotencyConflict: the key was used with other arguments.
            TryAgain: the database is busy or down.
        """
        command = Spend(
            user_id=ids.check_user_id(user_id),
            credits=checks.credits(credits),
            key=ids.check_key(key),
            reason=ids.check_text(reason, param="reason"),
            metadata=checks.metadata(metadata),
        )
        return answers.entry(self._queue.submit(command))

    def reverse(
        self, entry: values.Entry | str, *, reason: str | None = None, actor: str | None = None
    ) -> values.Entry:
        """Undo a spend or the capture of a hold: its credits go back to the lots they came from.

        That happens once: a repetition gets the same entry. A debt is repaid first, and what goes
        back into a lot that has expired since expires at once.

        Args:
            entry: the entry, or its cause (`spend:<key>`).
            reason: why, for whoever reads the history.
            actor: who decided it, where a person did.

        Raises:
            NotFound: there is no such entry.
            Conflict: the entry used no credits.
            InvalidRequest: an argument cannot be right; `param` names it.
            TryAgain: the database is busy or down.
        """
        cause = entry.cause if isinstance(entry, values.Entry) else entry
        command = Undo(
            cause=ids.check_cause(cause, param="entry"),
            reason=ids.check_text(reason, param="reason"),
            actor=ids.check_text(actor, param="actor"),
        )
        return answers.entry(self._queue.submit(command))

    def hold(
        self,
        user_id: str,
        credits: int,
        *,
        key: str,
        ttl: float | timedelta,
        overage: str = "refuse",
        reason: str | None = None,
    ) -> Hold:
        """Set credits aside for work whose price is known only afterwards.

        Args:
            user_id: who pays.
            credits: how many, at least 1.
            key: names the hold: the same key and arguments get the same hold, as it is then.
            ttl: for how long, in seconds or as a timedelta, at most 30 days; see `Hold.extend`.
            overage: what a capture of more than is held does: `"refuse"`, `"take"` what is
                available and no more, or let what is missing become a `"debt"`.
            reason: what for, for whoever reads the history.

        Raises:
            InsufficientCredits: fewer are available; nothing was changed.
            WalletSuspended: nothing may be spent from the wallet; nothing was changed.
            InvalidRequest: an argument cannot be right; `param` names it.
            IdempotencyConflict: the key was used with other arguments.
            TryAgain: the database is busy or down.
        """
        if overage not in set(Overage):
            raise InvalidRequest(f"overage must be one of {[*Overage]}", param="overage")
        command = PlaceHold(
            user_id=ids.check_user_id(user_id),
            credits=checks.credits(credits),
            key=ids.check_key(key),
            ttl_seconds=checks.ttl(ttl),
            overage=Overage(overage),
            reason=ids.check_text(reason, param="reason"),
        )
        return Hold(self._queue, self._queue.submit(command))

    def get_hold(self, key: str) -> Hold:
        """A hold that was placed before, perhaps by another process.

        Raises:
            NotFound: there is none of that key.
            InvalidRequest: not a key.
            StorageUnavailable: the database failed.
        """
        row = self._storage.get(HoldRow, f"{Kind.HOLD}:{ids.check_key(key)}")
        if row is None:
            raise NotFound("No such hold", param="key")
        return Hold(self._queue, holding.as_of(row, instants.to_text(self._clock.now())))

    def with_hold(
        self,
        credits: int,
        *,
        key: Callable[P, str],
        ttl: float | timedelta,
        overage: str = "refuse",
    ) -> Callable[[Callable[Concatenate[Hold, P], T]], Callable[P, T]]:
        """Decorate a function that works on a hold: it is called with one as its first argument.

        The function has a parameter `user_id`, which says whose credits are held. What it does
        not capture is released when it returns or raises. A repetition under the key of a hold that
        was released, or has lapsed and refuses an overage, raises `HoldEnded`, and the function is
        not called: a key names one attempt.

        Args:
            credits: how many are held for each call.
            key: names the hold, from the same arguments as the function.
            ttl: for how long, in seconds or as a timedelta.
            overage: see `hold`.

        Example:
            >>> import credit_payments as cp
            >>> system = cp.connect(database="memory://")
            >>> @system.wallets.with_hold(100, key=lambda user_id, job: job, ttl=60)
            ... def render(hold, user_id, job):
            ...     return hold.capture(70).credits
            >>> _ = system.wallets.grant("ada", 150, key="welcome", reason="welcome")
            >>> render("ada", "job-1")
            30
            >>> system.wallets.balance("ada").available
            80
            >>> system.close()
        """

        def decorate(function: Callable[Concatenate[Hold, P], T]) -> Callable[P, T]:
            signature = inspect.signature(function)
            if "user_id" not in signature.parameters:
                raise TypeError("a function that holds credits needs a parameter user_id")

            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> T:
                bound: Any = signature.bind(None, *args, **kwargs)
                bound.apply_defaults()
                user_id = bound.arguments["user_id"]
                name = key(*args, **kwargs)
                with self.hold(user_id, credits, key=name, ttl=ttl, overage=overage) as hold:
                    return function(hold, *args, **kwargs)

            return call

        return decorate

    def suspend(self, user_id: str, *, key: str, reason: str, actor: str) -> values.Entry:
        """Forbid spending from a wallet, until `resume`; what it holds stays.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            IdempotencyConflict: the key was used with other arguments.
            TryAgain: the database is busy or down.
        """
        return self._suspend(user_id, key, reason, actor, resumes=False)

    def resume(self, user_id: str, *, key: str, reason: str, actor: str) -> values.Entry:
        """Allow spending again.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            IdempotencyConflict: the key was used with other arguments.
            TryAgain: the database is busy or down.
        """
        return self._suspend(user_id, key, reason, actor, resumes=True)

    def post_due(self, user_id: str) -> int:
        """Post what has expired or lapsed in a wallet; how many entries that made.

        Nobody has to call it: whatever touches a wallet does the same first.

        Raises:
            InvalidRequest: not a user id.
            TryAgain: the database is busy or down.
        """
        return self._queue.submit(PostDue(user_id=ids.check_user_id(user_id)))

    def lots(
        self, user_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> values.Page[values.Lot]:
        """A user's lots with something available, in the order in which they are spent.

        One that has expired may be among them until that is posted; see `expires_at`.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            StorageUnavailable: the database failed.
        """
        ids.check_user_id(user_id)
        cursors.check_limit(limit)
        rows = self._storage.page(
            Lot,
            {"user_id": user_id, "open": 1},
            order=_LOTS_ORDER,
            after=cursors.decode(cursor, [int, str, int]),
            limit=limit + 1,
        )
        shown, following = cursors.split(rows, limit, _LOTS_ORDER)
        return values.Page(items=tuple(map(answers.lot, shown)), cursor=following)

    def history(
        self,
        user_id: str,
        *,
        limit: int = 50,
        cursor: str | None = None,
        oldest_first: bool = False,
        kinds: Collection[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> values.Page[values.Entry]:
        """A user's entries, newest first unless told otherwise, page by page.

        With a filter, a page may hold fewer items than `limit` although more follow: the
        `cursor` says whether they do.

        Args:
            user_id: whose.
            limit: how many at most, from 1 to 100.
            cursor: that of the page before, asked for with the same arguments.
            oldest_first: the other direction.
            kinds: only entries of these kinds (`"spend"`, `"payment"`, …).
            since: only entries from this instant on.
            until: only entries before this instant.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            StorageUnavailable: the database failed.
        """
        ids.check_user_id(user_id)
        cursors.check_limit(limit)
        asked = looking.Filter(
            kinds=looking.check_kinds(kinds),
            since=checks.instant(since, param="since") if since is not None else None,
            until=checks.instant(until, param="until") if until is not None else None,
        )
        after = cursors.decode(cursor, [int])
        rows: list[Entry] = []
        for _ in range(looking.PAGES_MAX):
            found = self._storage.page(
                Entry,
                {"user_id": user_id},
                order=_HISTORY_ORDER,
                after=after,
                limit=limit + 1,
                descending=not oldest_first,
            )
            page = found[:limit]
            passed, taken = asked.pass_through(page, limit - len(rows), oldest_first=oldest_first)
            rows += taken
            is_end = len(passed) == len(page) and len(found) <= limit
            if is_end or asked.is_over(passed, oldest_first=oldest_first):
                return values.Page(items=tuple(map(answers.entry, rows)), cursor=None)
            after = [passed[-1].sequence]
            if len(rows) == limit:
                break
        following = cursors.of_position(after or [])
        return values.Page(items=tuple(map(answers.entry, rows)), cursor=following)

    def _suspend(
        self, user_id: str, key: str, reason: str, actor: str, *, resumes: bool
    ) -> values.Entry:
        command = Suspend(
            user_id=ids.check_user_id(user_id),
            key=ids.check_key(key),
            reason=ids.check_required_text(reason, param="reason"),
            actor=ids.check_required_text(actor, param="actor"),
            resumes=resumes,
        )
        return answers.entry(self._queue.submit(command))
