"""The demo's invariants, against a database that somebody has tampered with."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from pathlib import Path

import attrs
import pytest

import credit_payments as cp
from credit_payments.cli.demo import evidence
from credit_payments.cli.demo.checks import check
from credit_payments.cli.demo.stage import Network, Order, Stripe
from credit_payments.testing.simulator import StripeSimulator

FORGED = "evt_forged"


@attrs.frozen
class Played:
    """A shop that has sold: its database, what Stripe says, and what was promised."""

    database: Path
    account: evidence.StripeAccount
    orders: dict[str, Order]

    def broken(self, database: Path | None = None) -> set[str]:
        books = evidence.read_books(database or self.database)
        checks = check(self.account, books, self.orders, [FORGED])
        assert all(each.holds or each.problems for each in checks)
        return {each.name for each in checks if not each.holds}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    database = tmp_path_factory.mktemp("shop") / "shop.db"
    orders = {}
    chance = random.Random(7)
    with (
        StripeSimulator() as simulator,
        cp.connect(
            database=evidence.database_url(database),
            stripe_secret_key=simulator.secret_key,
            stripe_webhook_secret=simulator.webhook_secret,
            stripe_api_base=simulator.url,
        ) as system,
    ):
        for user, card in (
            ("ann", "pm_card_visa"),
            ("ann", "pm_card_visa"),
            ("bob", "pm_card_visa"),
            ("cat", "pm_card_chargeDeclined"),
        ):
            dollars = chance.randint(1, 50)
            intent = system.payments.create_payment_intent(user, dollars)
            orders[intent.payment_intent_id] = Order(
                user_id=user,
                payment_intent_id=intent.payment_intent_id,
                client_secret=intent.client_secret,
                amount_minor=dollars * 100,
                credits=dollars * 10,
            )
            simulator.pay(intent.payment_intent_id, card)
        stripe = Stripe(simulator.url, simulator.secret_key)
        for event in stripe.listed("events"):
            body = json.dumps(event).encode()
            system.webhooks.receive(body, simulator.sign(body))
        account = evidence.read_stripe(stripe, Network(simulator.url))
    return Played(database, account, orders)


def tampered(played: Played, tmp_path: Path, statement: str) -> set[str]:
    """What is broken once somebody has run a statement in the database behind the library."""
    copy = tmp_path / "copy.db"
    shutil.copy(played.database, copy)
    connection = sqlite3.connect(copy)
    with connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()
    return played.broken(copy)


def test_an_honest_database_breaks_nothing(played: Played) -> None:
    assert len(played.account.paid) == 3
    assert len(played.account.failed_attempts) == 1
    assert played.broken() == set()


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("UPDATE wallets SET available = available + 1 WHERE user_id = 'ann'", "ledger wallets"),
        ("UPDATE entries SET credits = credits + 1 WHERE user_id = 'bob'", "ledger"),
        ("DELETE FROM entries WHERE user_id = 'bob'", "ledger entries"),
        ("DELETE FROM wallets WHERE user_id = 'bob'", "ledger wallets entries"),
        ("DELETE FROM credit_purchases WHERE user_id = 'bob'", "ledger purchases"),
        ("UPDATE credit_purchases SET amount_minor = amount_minor - 1", "ledger purchases"),
        ("DELETE FROM failed_payments", "failed_payments"),
        ("UPDATE failed_payments SET failure_id = failure_id || 'x'", "failed_payments"),
        ("DELETE FROM events WHERE type = 'payment_intent.payment_failed'", "webhooks"),
        ("UPDATE events SET outcome = 'quarantined'", "webhooks"),
        (
            "INSERT INTO quarantine VALUES ('payment:pi', 'open', 'odd', NULL, '{}', '24', NULL)",
            "quarantine",
        ),
        (
            (
                "INSERT INTO events (event_id, type, subject, outcome, received_at) "
                f"VALUES ('{FORGED}', 'x', 'pi_x', 'applied', '2024')"
            ),
            "forgeries",
        ),
    ],
)
def test_tampering_breaks_exactly_the_invariants_it_touches(
    played: Played, tmp_path: Path, statement: str, names: str
) -> None:
    assert tampered(played, tmp_path, statement) == set(names.split())


def test_a_payment_that_nobody_ordered_breaks_the_promises(played: Played) -> None:
    first = played.account.paid[0].payment_intent_id
    others = {name: order for name, order in played.orders.items() if name != first}
    assert attrs.evolve(played, orders=others).broken() == {"promises"}


def test_a_payment_of_another_amount_than_promised_breaks_the_promises(played: Played) -> None:
    first = played.account.paid[0].payment_intent_id
    cheaper = attrs.evolve(played.orders[first], amount_minor=1)
    assert attrs.evolve(played, orders=played.orders | {first: cheaper}).broken() == {"promises"}


def test_a_payment_at_stripe_that_the_shop_never_heard_of_is_missed(played: Played) -> None:
    more = attrs.evolve(played.account.paid[0], payment_intent_id="pi_lost")
    account = attrs.evolve(played.account, paid=(*played.account.paid, more))
    assert attrs.evolve(played, account=account).broken() == {
        "wallets",
        "promises",
        "purchases",
        "entries",
    }


def test_an_event_that_the_shop_never_took_is_missed(played: Played) -> None:
    account = attrs.evolve(played.account, refused=frozenset({"evt_1"}))
    assert attrs.evolve(played, account=account).broken() == {"webhooks"}
