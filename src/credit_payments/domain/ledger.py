"""Posting: how a wallet changes, as double entry linked into the wallet's hash chain.

Accounts are `wallet:<user>` and `debt:<user>` against the contra accounts of `Contra`. A leg is
signed from the account's view of credits: a purchase of 100 is `wallet:u +100, purchases -100`.
The legs of an entry sum to zero. What a wallet owes stands as a negative sum on `debt:<user>`;
credits that come in repay it first.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from credit_payments.domain.records import CREDITS_MAX, Entry, Wallet
from credit_payments.errors import InsufficientCredits, InvalidRequest

GENESIS = ""
"""What the first entry of a wallet names as the hash before it."""


class Contra(StrEnum):
    """The other side of a posting: where credits come from or go to."""

    PURCHASES = "purchases"
    PROMOTIONS = "promotions"
    USAGE = "usage"
    REFUNDS = "refunds"


class Kind(StrEnum):
    """What an entry is about; also the first word of its cause."""

    PAYMENT = "payment"
    GRANT = "grant"
    SPEND = "spend"
    REVERSAL = "reversal"


_encode = msgspec.json.Encoder().encode


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


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Why a wallet changes: what its entry says besides the numbers.

    `arguments` is the `fingerprint` of the call, where the caller chose the cause's name;
    `metadata` is JSON text.
    """

    user_id: str
    kind: Kind
    cause: str
    contra: Contra
    now: str
    arguments: str = ""
    reason: str | None = None
    metadata: str | None = None


def add(wallet: Wallet | None, credits: int, effect: Effect) -> tuple[Wallet, Entry]:
    """Bring credits in: a debt is repaid first, the rest becomes available.

    Raises:
        InvalidRequest: the wallet would hold more than `CREDITS_MAX`.
    """
    if not fits(wallet, credits):
        raise InvalidRequest(f"A wallet holds at most {CREDITS_MAX} credits", param="credits")
    repaid = min(wallet.debt, credits) if wallet else 0
    return _post(wallet, effect, credits - repaid, repaid)


def fits(wallet: Wallet | None, credits: int) -> bool:
    """Whether a wallet can hold that many credits more."""
    return (wallet.available if wallet else 0) + credits <= CREDITS_MAX


def take(
    wallet: Wallet | None, credits: int, effect: Effect, *, into_debt: bool = False
) -> tuple[Wallet, Entry]:
    """Take credits out; what is missing becomes debt where `into_debt` allows it.

    Raises:
        InsufficientCredits: more than is available was asked for, without `into_debt`.
    """
    available = wallet.available if wallet else 0
    if credits > available and not into_debt:
        raise InsufficientCredits(available=available, required=credits)
    taken = min(available, credits)
    return _post(wallet, effect, -taken, taken - credits)


def chain_hash(entry: Entry) -> str:
    """SHA-256 over every field of an entry but the hash itself, the previous hash included."""
    return _hash(msgspec.structs.astuple(entry)[:-1])


def _hash(fields: tuple[object, ...]) -> str:
    return hashlib.sha256(_encode(fields)).hexdigest()


def legs_of(entry: Entry) -> dict[str, int]:
    """The legs of a stored entry."""
    return msgspec.json.decode(entry.legs, type=dict[str, int])


def _post(
    wallet: Wallet | None, effect: Effect, to_wallet: int, to_debt: int
) -> tuple[Wallet, Entry]:
    """Write the entry whose legs on the user's two accounts are given, and the wallet after it."""
    user = effect.user_id
    if wallet is None:
        wallet = Wallet(user, 0, 0, 0, GENESIS, effect.now)
    legs: dict[str, int] = {effect.contra.value: -to_wallet - to_debt}
    if to_wallet:
        legs[f"wallet:{user}"] = to_wallet
    if to_debt:
        legs[f"debt:{user}"] = to_debt
    available, debt = wallet.available + to_wallet, wallet.debt - to_debt
    # All fields of an entry but its hash, in their order.
    fields = (
        transaction_id(effect.cause), user, wallet.entries + 1, effect.kind.value, effect.cause,
        effect.arguments, to_wallet, available, debt, _encode(legs).decode(), effect.reason,
        effect.metadata, effect.now, wallet.head,
    )  # fmt: skip
    entry = Entry(*fields, hash=_hash(fields))
    after = Wallet(
        user, entry.balance_after, entry.debt_after, entry.sequence, entry.hash, effect.now
    )
    return after, entry
