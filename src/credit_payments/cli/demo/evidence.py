"""What Stripe says was paid, and what the shop's database says was credited: taken apart.

The two accounts share nothing: Stripe's comes through its HTTP API, the shop's is read from the
database file after the shop has closed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

import credit_payments as cp
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.cli.demo.stage import Network, Stripe
from credit_payments.domain.records import Event, FailedPayment, Incident, Purchase, Wallet

_TOLD_OF: Final = ("payment_intent.succeeded", "payment_intent.payment_failed")
_PAGES_MAX: Final = 100


@attrs.frozen(kw_only=True)
class Paid:
    """A payment that Stripe took; `credits` is what the shop had noted on it."""

    payment_intent_id: str
    user_id: str
    amount_minor: int
    credits: int


@attrs.frozen(kw_only=True)
class StripeAccount:
    """Stripe's view.

    Attributes:
        paid: the payments that succeeded.
        failed_attempts: `<payment intent>:<charge>` for each declined charge.
        events: the types of the events that tell of either, by id.
        delivered: how often each event was delivered, by id.
        refused: events that the shop never took, by id.
    """

    paid: tuple[Paid, ...]
    failed_attempts: frozenset[str]
    events: Mapping[str, str]
    delivered: Mapping[str, int]
    refused: frozenset[str]

    def bought(self) -> Counter[str]:
        """The credits that each user has paid for."""
        credits = Counter[str]()
        for paid in self.paid:
            credits[paid.user_id] += paid.credits
        return credits


@attrs.frozen(kw_only=True)
class ShopBooks:
    """The database's view."""

    report: cp.VerificationReport
    balances: Mapping[str, cp.Balance]
    entries: tuple[cp.Entry, ...]
    purchases: tuple[Purchase, ...]
    failed_payments: tuple[FailedPayment, ...]
    events: tuple[Event, ...]
    quarantine: tuple[Incident, ...]


def read_stripe(stripe: Stripe, network: Network) -> StripeAccount:
    """Ask Stripe for everything, page by page."""
    attempts = network.deliveries()
    taken = [a["event_id"] for a in attempts if 200 <= (a["status"] or 0) < 300]  # noqa: PLR2004
    return StripeAccount(
        paid=tuple(
            Paid(
                payment_intent_id=intent["id"],
                user_id=intent["metadata"]["user_id"],
                amount_minor=intent["amount_received"],
                credits=int(intent["metadata"]["credits"]),
            )
            for intent in stripe.listed("payment_intents")
            if intent["status"] == "succeeded"
        ),
        failed_attempts=frozenset(
            f"{charge['payment_intent']}:{charge['id']}"
            for charge in stripe.listed("charges")
            if charge["status"] == "failed"
        ),
        events={
            event["id"]: event["type"]
            for kind in _TOLD_OF
            for event in stripe.listed("events", type=kind)
        },
        delivered={event_id: taken.count(event_id) for event_id in taken},
        refused=frozenset(a["event_id"] for a in attempts) - set(taken),
    )


def read_books(database: Path) -> ShopBooks:
    """Open the database that the shop has left, and read all of it."""
    with cp.connect(
        database=database_url(database),
        stripe_secret_key=None,
        stripe_publishable_key=None,
        stripe_webhook_secret=None,
        stripe_api_version=None,
        stripe_api_base=None,
    ) as system:
        storage = SqliteStorage(database)
        try:
            users = [wallet.user_id for wallet in storage.scan(Wallet, order=("user_id",))]
            entries = [entry for user in users for entry in _history(system.wallets, user)]
            return ShopBooks(
                report=system.verify(),
                balances={user: system.wallets.balance(user) for user in users},
                entries=tuple(sorted(entries, key=lambda entry: entry.created_at)),
                purchases=tuple(storage.scan(Purchase, order=("payment_intent_id",))),
                failed_payments=tuple(storage.scan(FailedPayment, order=("failure_id",))),
                events=tuple(storage.scan(Event, order=("event_id",))),
                quarantine=tuple(storage.scan(Incident, order=("incident_id",))),
            )
        finally:
            storage.close()


def database_url(database: Path) -> str:
    """The file as `connect` wants it."""
    return f"sqlite:///{database}"


def _history(wallets: cp.Wallets, user: str) -> Iterable[cp.Entry]:
    cursor = None
    entries: list[cp.Entry] = []
    for _ in range(_PAGES_MAX):
        page = wallets.history(user, cursor=cursor)
        entries += page
        cursor = page.cursor
        if cursor is None:
            break
    return reversed(entries)
