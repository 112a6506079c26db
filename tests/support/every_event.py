"""An event of each type that the library applies, made by the simulator, in both generations.

The office that they are told to has sold all the intents that they are about.
"""

from __future__ import annotations

import hmac
import json
from functools import cache
from typing import Any

import attrs
from tests.support.filled import everything
from tests.support.office import PAID, Office
from tests.support.payment_story import NOW, OLD, SECRET, Json

from credit_payments.domain import events
from credit_payments.domain.customers import KeepCustomer, Sealed
from credit_payments.ports.storage import Storage
from credit_payments.testing.simulator import StripeSimulator
from credit_payments.testing.simulator.versions import existed

USER = "ada"
_PAGE = 100


@attrs.frozen
class Story:
    """What has happened at Stripe.

    Attributes:
        intents: the ids of all intents, each for `PAID` minor units.
        paid: those of them that succeeded.
        customer: who paid.
        events: what Stripe told of it, oldest first; those of one generation, then the other.
    """

    intents: tuple[str, ...]
    paid: tuple[str, ...]
    customer: str
    events: tuple[Json, ...]

    def of_type(self, kind: str) -> Json:
        """The first event of a type."""
        return next(event for event in self.events if event["type"] == kind)


@cache
def story() -> Story:
    """Payments that succeed, fail, wait and are given back, in every way that there is."""
    stripe = StripeSimulator(start_time=NOW)
    customer = stripe.call("POST", "/v1/customers", {"name": "Ada", "email": "a@example.com"})
    intents = [_intent(stripe, customer["id"]) for _ in range(6)]
    paid, refused, asked, debited, refunded, canceled = intents
    stripe.pay(paid)
    stripe.pay(refused, "pm_card_chargeDeclined")
    stripe.pay(asked, "pm_card_authenticationRequired")
    stripe.pay(debited, "pm_usBankAccount_success")
    stripe.pay(refunded, "pm_card_refundFail")
    stripe.call("POST", f"/v1/payment_intents/{canceled}/cancel")
    stripe.call("POST", "/v1/refunds", {"payment_intent": paid, "amount": 333})
    stripe.call("POST", "/v1/refunds", {"payment_intent": refunded})
    disputed = stripe.open_dispute(paid, amount=400, withdraw=False)["id"]
    stripe.call("POST", f"/v1/disputes/{disputed}", {"metadata": {"case": "7"}})
    stripe.withdraw_dispute_funds(disputed)
    stripe.close_dispute(disputed, won=True)
    stripe.warn_of_fraud(paid)
    stripe.call("POST", f"/v1/customers/{customer['id']}", {"name": "Ada L."})
    stripe.call("DELETE", f"/v1/customers/{customer['id']}")
    told = [event for event in _events(stripe) if event["type"] in events.READ]
    older = [_older(stripe, event) for event in told if existed(event, OLD)]
    assert {event["type"] for event in told} == set(events.READ)
    return Story(tuple(intents), (paid, refunded), customer["id"], (*told, *older))


def _intent(stripe: StripeSimulator, customer: str) -> str:
    given = {
        "amount": PAID,
        "currency": "usd",
        "customer": customer,
        "payment_method_types": ["card", "us_bank_account"],
    }
    name: str = stripe.call("POST", "/v1/payment_intents", given)["id"]
    metadata = {"user_id": USER, "quote_id": f"quote_{name}"}
    stripe.call("POST", f"/v1/payment_intents/{name}", {"metadata": metadata})
    return name


def _events(stripe: StripeSimulator) -> list[Json]:
    found: list[Json] = []
    after: Json = {}
    while True:
        page = stripe.call("GET", "/v1/events", {"limit": _PAGE, **after})
        found += page["data"]
        if not page["has_more"]:
            return found[::-1]
        after = {"starting_after": found[-1]["id"]}


def _older(stripe: StripeSimulator, event: Json) -> Json:
    data = event["data"]
    previous = data.get("previous_attributes")
    body = stripe.build_event(event["type"], data["object"], previous, api_version=OLD)
    older: Json = json.loads(body)
    return older | {"created": event["created"]}


# -- whom they are told to --------------------------------------------------------------------


def signed(body: bytes, secret: str = SECRET, timestamp: int = NOW) -> str:
    """The header with which Stripe would deliver these bytes, by its own description."""
    digest = hmac.new(secret.encode(), b"%d." % timestamp + body, "sha256").hexdigest()
    return f"t={timestamp},v1={digest}"


def promised(storage: Storage) -> Office:
    """Everything is sold and nothing paid; two of the intents are known by their quote alone."""
    told = story()
    office = Office(storage)
    for number, name in enumerate(told.intents):
        office.sell(name, USER, linked=number % 3 > 0)
    known = Sealed(email=None, name=None, email_index=None)
    office.queue.submit(KeepCustomer(customer_id=told.customer, user_id=USER, sealed=known))
    return office


def settled(storage: Storage) -> Office:
    """What was sold is paid as well, and a little was spent of it."""
    office = promised(storage)
    for name in story().paid:
        office.tell(f"evt_{name}", "payment_intent.succeeded", office.intent(name), mode="inline")
    office.wallets.spend(USER, 7, key="spent")
    return office


def rows(storage: Storage) -> dict[str, list[Any]]:
    """All that is kept, by table."""
    with storage.snapshot() as reader:
        return {**everything(reader)}
