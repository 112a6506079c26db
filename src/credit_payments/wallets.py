"""Wallets: what users hold, and how it changes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from credit_payments.domain import answers, cursors, ids, ledger, values
from credit_payments.domain.records import CREDITS_MAX, Entry, Wallet
from credit_payments.domain.spending import Move
from credit_payments.errors import InvalidRequest
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue

METADATA_BYTES_MAX = 4_096
_HISTORY_ORDER = ("sequence",)


class Wallets:
    """Balances, grants, spends and their history.

    Args:
        storage: where balances and history are read.
        queue: through which changes are written.
    """

    def __init__(self, storage: Storage, queue: PostingQueue) -> None:
        self._storage = storage
        self._queue = queue

    def balance(self, user_id: str) -> values.Balance:
        """What a user holds; a user who never had credits holds none.

        Raises:
            InvalidRequest: not a user id.
            StorageUnavailable: the database failed.
        """
        wallet = self._storage.get(Wallet, ids.check_user_id(user_id))
        if wallet is None:
            return values.Balance(available=0)
        return values.Balance(available=wallet.available, debt=wallet.debt)

    def grant(self, user_id: str, credits: int, *, key: str, reason: str) -> values.Entry:
        """Give credits that nobody paid for; a debt is repaid first.

        Args:
            user_id: who gets them.
            credits: how many, at least 1.
            key: names the grant: the same key and arguments post once and get the same entry.
            reason: why, for whoever reads the history.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            IdempotencyConflict: the key was used with other arguments.
            TryAgain: the database is busy or down.
        """
        if reason is None:
            raise InvalidRequest("a grant needs a reason", param="reason")
        return self._move(ledger.Kind.GRANT, user_id, credits, key, reason, None)

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
            InvalidRequest: an argument cannot be right; `param` names it.
            IdempotencyConflict: the key was used with other arguments.
            TryAgain: the database is busy or down.
        """
        return self._move(ledger.Kind.SPEND, user_id, credits, key, reason, metadata)

    def history(
        self, user_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> values.Page[values.Entry]:
        """A user's entries, newest first, page by page.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            StorageUnavailable: the database failed.
        """
        ids.check_user_id(user_id)
        cursors.check_limit(limit)
        rows = self._storage.page(
            Entry,
            {"user_id": user_id},
            order=_HISTORY_ORDER,
            after=cursors.decode(cursor, [int]),
            limit=limit + 1,
            descending=True,
        )
        shown, following = cursors.split(rows, limit, _HISTORY_ORDER)
        return values.Page(items=tuple(map(answers.entry, shown)), cursor=following)

    def _move(
        self,
        kind: ledger.Kind,
        user_id: str,
        credits: int,
        key: str,
        reason: str | None,
        metadata: Mapping[str, object] | None,
    ) -> values.Entry:
        command = Move(
            user_id=ids.check_user_id(user_id),
            credits=_check_credits(credits),
            key=ids.check_key(key),
            kind=kind,
            reason=ids.check_text(reason, param="reason"),
            metadata=_metadata_text(metadata),
        )
        return answers.entry(self._queue.submit(command))


def _check_credits(credits: object) -> int:
    if type(credits) is not int or not 1 <= credits <= CREDITS_MAX:
        raise InvalidRequest(f"credits must be an integer from 1 to {CREDITS_MAX}", param="credits")
    return credits


def _metadata_text(metadata: Mapping[str, object] | None) -> str | None:
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidRequest("metadata must be a mapping", param="metadata")
    try:
        text = msgspec.json.encode(dict(metadata), order="deterministic")
        kept_whole = msgspec.json.decode(text) == dict(metadata)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        kept_whole = False
    if not kept_whole:  # NaN, for one, would come back as null
        raise InvalidRequest("metadata must be what JSON can hold", param="metadata")
    if len(text) > METADATA_BYTES_MAX:
        raise InvalidRequest(
            f"metadata must be at most {METADATA_BYTES_MAX} bytes of JSON", param="metadata"
        )
    return text.decode()
