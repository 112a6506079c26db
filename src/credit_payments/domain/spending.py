"""Granting and spending credits, as commands of the database queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from credit_payments.domain import ledger
from credit_payments.domain.decision import Decision, View
from credit_payments.domain.records import Entry, Key, Wallet
from credit_payments.errors import IdempotencyConflict


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Credits into a wallet (a grant) or out of it (a spend), named by the caller's key."""

    user_id: str
    credits: int
    key: str
    kind: ledger.Kind
    reason: str | None = None
    metadata: str | None = None

    def keys(self) -> Iterator[Key]:
        """The wallet, and the entry that an earlier call under the same key posted."""
        yield Wallet, self.user_id
        yield Entry, self._cause()

    def keys_after(self, view: View) -> Iterable[Key]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[Entry]:
        """Post once; a repetition gets the first entry.

        Raises:
            IdempotencyConflict: the key named a call with other arguments.
            InsufficientCredits: the wallet holds fewer credits than a spend wants.
            InvalidRequest: a grant would fill the wallet beyond its bound.
        """
        arguments = ledger.fingerprint(self.user_id, self.credits, self.reason, self.metadata)
        posted = view.get(Entry, self._cause())
        if posted is not None:
            if posted.fingerprint != arguments:
                raise IdempotencyConflict(
                    "The key was used before with other arguments.", param="key"
                )
            return Decision(posted)
        grants = self.kind is ledger.Kind.GRANT
        effect = ledger.Effect(
            user_id=self.user_id,
            kind=self.kind,
            cause=self._cause(),
            contra=ledger.Contra.PROMOTIONS if grants else ledger.Contra.USAGE,
            now=now,
            arguments=arguments,
            reason=self.reason,
            metadata=self.metadata,
        )
        move = ledger.add if grants else ledger.take
        wallet, entry = move(view.get(Wallet, self.user_id), self.credits, effect)
        return Decision(entry, (wallet, entry))

    def _cause(self) -> str:
        return f"{self.kind}:{self.key}"
