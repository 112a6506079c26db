"""A database in which something of everything has happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.support.payment_story import OPENED, REFUND_1, SUCCESS, WITHDRAWN, Books, Case

import credit_payments as cp
from credit_payments.domain.records import (
    RECORDS,
    Checkpoint,
    FailedPayment,
    KeptRequest,
    Notification,
    Record,
    StripeCustomer,
)
from credit_payments.ports.storage import Reader, Storage

ODD = 'zoë 🎈 "quoted" \\ %s {} \'; --'


def fill(storage: Storage) -> None:
    """Payments, a refund, a dispute, holds, expiries, debts, and rows of every other kind."""
    books = Books(Case(spent=60), storage=storage)
    books.tell(SUCCESS)
    books.tell(SUCCESS, copy=2)
    books.wallets.spend("ada", 60, key="spent", metadata={"model": ODD + "\u2028\0"})
    for message in (REFUND_1, OPENED, WITHDRAWN):
        books.tell(message)
    books.deliver("payment_intent.succeeded", _foreign_payment())
    _use_wallets(books)
    with storage.transaction() as transaction:
        transaction.write(_others(), [])
    books.queue.close()


def _foreign_payment() -> dict[str, object]:
    """Money that nobody ordered: it is filed."""
    return {
        "id": "pi_foreign",
        "object": "payment_intent",
        "amount": 500,
        "amount_received": 500,
        "currency": "jpy",
        "created": 1_704_067_200,
        "metadata": {},
        "status": "succeeded",
    }


def _use_wallets(books: Books) -> None:
    wallets = books.wallets
    soon = datetime.now(UTC) + timedelta(days=10_000)
    wallets.grant("bob", 50, key="with end", reason=ODD, expires_at=soon, priority=-5)
    wallets.grant("bob", 2**53 - 1_000, key="large", reason="large", actor="root")
    wallets.grant(ODD, 9, key=ODD, reason="odd")
    wallets.hold("bob", 30, key="running", ttl=3_600)
    with wallets.hold("bob", 20, key="work", ttl=60) as hold:
        hold.capture(12)
    wallets.spend("bob", 7, key="job")
    wallets.reverse("spend:job", reason="mistaken", actor="root")
    wallets.suspend(ODD, key="stop", reason="odd", actor="root")


def _others() -> list[Record]:
    return [
        FailedPayment("fail_1", "ada", "pi_9", "failed", ODD, None, "2024-01-01T00:00:00.000000Z"),
        StripeCustomer("cus_1", "ada", None, None, "2024-01-01T00:00:00.000000Z"),
        Notification("n_1", "credits.granted", "ada", "{}", "due", 0, "2024", "", "2024"),
        Checkpoint("reconcile", "{}", "2024-01-01T00:00:00.000000Z"),
        KeptRequest("r_1", "f", "in_flight", "me", "2024", None, None, "2024"),
        KeptRequest("r_2", "f", "answered", "", "2024", 200, f'{{"odd": "{ODD}"}}', "2024"),
    ]


def everything(reader: Reader) -> dict[str, list[Record]]:
    """All rows, by table, in the order of their keys."""
    return {kind.TABLE: list(reader.scan(kind, order=(kind.KEY,))) for kind in RECORDS}


def verified(url: str) -> cp.VerificationReport:
    with cp.connect(database=url) as system:
        report = system.verify()
    assert report.ok, report.problems
    return report
