"""Recomputing everything that a reader sees."""

from __future__ import annotations

from credit_payments.domain import audit
from credit_payments.domain.records import Entry, Hold, Lot, Payment, Purchase, Wallet
from credit_payments.ports.storage import Reader


def verify(reader: Reader) -> audit.VerificationReport:
    """Recompute wallets, lots, holds, purchases and payments from the entries."""
    return audit.verify(
        reader.scan(Wallet, order=audit.ORDERS[Wallet]),
        reader.scan(Lot, order=audit.ORDERS[Lot]),
        reader.scan(Hold, order=audit.ORDERS[Hold]),
        reader.scan(Entry, order=audit.ORDERS[Entry]),
        reader.scan(Purchase, order=audit.ORDERS[Purchase]),
        reader.scan(Payment, order=audit.ORDERS[Payment]),
    )
