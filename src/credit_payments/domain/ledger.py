"""Posting: how a wallet changes, as double entry linked into the wallet's hash chain.

A user's accounts are `wallet:<user>` (what is available), `held:<user>`, `frozen:<user>` and
`debt:<user>`, against the contra accounts of `Contra`. A leg is signed from the account's view of
credits: a purchase of 100 is `wallet:u +100, purchases -100`. The legs of an entry sum to zero.
What a wallet owes stands as a negative sum on `debt:<user>`; credits that come in repay it first.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import NamedTuple

import msgspec

from credit_payments.domain.records import CREDITS_MAX, Entry, Wallet

GENESIS = ""
"""What the first entry of a wallet names as the hash before it."""


class Contra(StrEnum):
    """The other side of a posting: where credits come from or go to."""

    PURCHASES = "purchases"
    PROMOTIONS = "promotions"
    USAGE = "usage"
    EXPIRED = "expired"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    WRITTEN_OFF = "written_off"


class Kind(StrEnum):
    """What an entry is about; also the first word of its cause."""

    PAYMENT = "payment"
    GRANT = "grant"
    SPEND = "spend"
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    LAPSE = "lapse"
    EXPIRY = "expiry"
    REVERSAL = "reversal"
    UNDO = "undo"
    FREEZE = "freeze"
    SUSPEND = "suspend"
    RESUME = "resume"


class LotChange(NamedTuple):
    """By how much an entry changes what a lot has in each state.

    `written_off` is what was to be taken back from the lot, was missing, and was forgiven.
    """

    lot_id: str
    available: int = 0
    held: int = 0
    frozen: int = 0
    expired: int = 0
    written_off: int = 0

    @property
    def net(self) -> int:
        """What came into the lot, or (negative) went out of it for good."""
        return self.available + self.held + self.frozen + self.expired


class Effect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a wallet changes: what its entry says besides the numbers.

    `arguments` is the `fingerprint` of the call, where the caller chose the cause's name;
    `metadata` is JSON text.
    """

    kind: Kind
    cause: str
    arguments: str = ""
    actor: str | None = None
    reason: str | None = None
    metadata: str | None = None


class Draft:
    """An entry before it is posted: why, and what it does to lots, debt, and contra accounts.

    What it moves on the user's own accounts is the sum over the lots, so that the two cannot part.

    Attributes:
        effect: why.
        debt: by how much more the wallet owes after it; negative when a debt is repaid.
        contra: the legs on the other side.
    """

    __slots__ = ("_lots", "contra", "debt", "effect")

    def __init__(self, effect: Effect) -> None:
        self.effect = effect
        self._lots: dict[str, LotChange] = {}
        self.debt = 0
        self.contra: dict[Contra, int] = {}

    def move(
        self,
        lot_id: str,
        available: int = 0,
        held: int = 0,
        frozen: int = 0,
        expired: int = 0,
        written_off: int = 0,
    ) -> None:
        """Change what a lot has in its states."""
        known = self._lots.get(lot_id)
        if known is not None:
            available += known.available
            held += known.held
            frozen += known.frozen
            expired += known.expired
            written_off += known.written_off
        self._lots[lot_id] = LotChange(lot_id, available, held, frozen, expired, written_off)

    def leg(self, account: Contra, credits: int) -> None:
        """Add to a contra account."""
        self.contra[account] = self.contra.get(account, 0) + credits

    def of(self, lot_id: str) -> LotChange:
        """What it does to a lot so far."""
        return self._lots.get(lot_id) or LotChange(lot_id)

    def lots(self) -> list[LotChange]:
        """Which lots it changes."""
        return [change for change in self._lots.values() if any(change[1:])]

    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.lots() or self.debt or any(self.contra.values()))


_encode = msgspec.json.Encoder().encode
_lot_decoder = msgspec.json.Decoder(list[LotChange])
_leg_decoder = msgspec.json.Decoder(dict[str, int])


def transaction_id(cause: str) -> str:
    """The public name of the one entry that a cause can post: 128 bits of its SHA-256.

    Derived rather than drawn, so that whoever posts a cause, in whichever process, or only asks
    what it would be called, comes to the same name.

    >>> transaction_id("payment:pi_1")
    'txn_0f4447e58a9c28e4b5256a7501c85636'
    """
    return "txn_" + hashlib.sha256(cause.encode()).hexdigest()[:32]


def fingerprint(*arguments: object) -> str:
    """Tells calls under one idempotency key apart by their arguments."""
    return hashlib.sha256(_encode(arguments)).hexdigest()[:32]


def fits(wallet: Wallet | None, credits: int) -> bool:
    """Whether a wallet can hold that many credits more."""
    if wallet is None:
        return credits <= CREDITS_MAX
    return wallet.available + wallet.held + wallet.frozen + credits <= CREDITS_MAX


def post(wallet: Wallet, draft: Draft, now: str) -> tuple[Entry, list[LotChange]]:
    """The entry that follows on what a wallet holds, and the lots that it changes.

    Raises:
        AssertionError: its legs do not sum to zero, which no decision may ask for.
    """
    user, effect = wallet.user_id, draft.effect
    lots = draft.lots()
    available = held = frozen = 0
    for _, to_available, to_held, to_frozen, _, _ in lots:
        available += to_available
        held += to_held
        frozen += to_frozen
    legs = {str(account): credits for account, credits in draft.contra.items() if credits}
    if available:
        legs[f"wallet:{user}"] = available
    if held:
        legs[f"held:{user}"] = held
    if frozen:
        legs[f"frozen:{user}"] = frozen
    if draft.debt:
        legs[f"debt:{user}"] = -draft.debt
    if sum(legs.values()):
        raise AssertionError(f"the legs of {effect.cause} do not sum to zero")
    # All fields of an entry but its hash, in their order.
    fields = (
        transaction_id(effect.cause), user, wallet.entries + 1, str(effect.kind), effect.cause,
        effect.arguments, available, wallet.available + available, wallet.held + held,
        wallet.frozen + frozen, wallet.debt + draft.debt, _encode(legs).decode(),
        _encode(lots).decode(), effect.actor, effect.reason, effect.metadata, now, wallet.head,
    )  # fmt: skip
    return Entry(*fields, hash=_hash(fields)), lots


def chain_hash(entry: Entry) -> str:
    """SHA-256 over every field of an entry but the hash itself, the previous hash included."""
    return _hash(msgspec.structs.astuple(entry)[:-1])


def _hash(fields: tuple[object, ...]) -> str:
    return hashlib.sha256(_encode(fields)).hexdigest()


def legs_of(entry: Entry) -> dict[str, int]:
    """The legs of a stored entry."""
    return _leg_decoder.decode(entry.legs)


def lots_of(entry: Entry) -> list[LotChange]:
    """Which lots a stored entry changed."""
    return _lot_decoder.decode(entry.lots)
