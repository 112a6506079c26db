"""A seal: one digest over the whole ledger as it was, to be kept where nobody edits both.

The hash chains show a change of an entry only to who recomputes them, and who can write the
database can recompute them too. A digest that was written down elsewhere cannot follow.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

import attrs
import msgspec

from credit_payments.domain.records import Entry
from credit_payments.errors import InvalidRequest

VERSION = 1
_encode = msgspec.json.Encoder().encode


@attrs.frozen(kw_only=True)
class Seal:
    """The digest over the last entry of every wallet before an instant.

    Attributes:
        through: entries before this instant are sealed, as text (ISO 8601, UTC).
        wallets: how many wallets had entries then.
        entries: how many entries there were.
        digest: SHA-256, in hexadecimal, over user, sequence and hash of each wallet's last entry.
    """

    through: str
    wallets: int
    entries: int
    digest: str

    def to_json(self) -> str:
        """As one line of JSON, for a file kept elsewhere.

        >>> seal = Seal(through="2024-01-01T00:00:00.000000Z", wallets=0, entries=0, digest="00")
        >>> Seal.from_json(seal.to_json()) == seal
        True
        """
        return msgspec.json.encode({"version": VERSION, **attrs.asdict(self)}).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Seal:
        """The seal in such a line.

        Raises:
            InvalidRequest: not a seal, or one of another version.
        """
        try:
            read = msgspec.json.decode(text, type=_Written)
        except (msgspec.MsgspecError, UnicodeError):
            raise InvalidRequest("This is not a seal.", param="seal") from None
        if read.version != VERSION:
            raise InvalidRequest(f"This is a seal of version {read.version}.", param="seal")
        return cls(
            through=read.through, wallets=read.wallets, entries=read.entries, digest=read.digest
        )

    def matches(self, other: Seal) -> bool:
        """Whether another one, made through the same instant, found the same."""
        same = (self.through, self.wallets, self.entries) == (
            other.through,
            other.wallets,
            other.entries,
        )
        return same and hmac.compare_digest(self.digest.encode(), other.digest.encode())


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    through: str
    wallets: int
    entries: int
    digest: str


def seal(entries: Iterable[Entry], through: str) -> Seal:
    """Seal the entries before an instant; they come ordered by user and sequence."""
    digest = hashlib.sha256(_encode([VERSION, through]))
    wallets = count = 0
    for user_id, group in groupby(entries, key=attrgetter("user_id")):
        last = None
        for entry in group:
            if entry.created_at < through:
                last = entry
                count += 1
        if last is not None:
            wallets += 1
            digest.update(_encode([user_id, last.sequence, last.hash]) + b"\n")
    return Seal(through=through, wallets=wallets, entries=count, digest=digest.hexdigest())
