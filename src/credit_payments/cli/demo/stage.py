"""Who meets in the demo, each over HTTP alone: the shop, the browser, Stripe and the network."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from credit_payments.cli.demo.exchange import Answer, send, send_form, send_json
from credit_payments.cli.demo.hosting import USER_HEADER

CREDITS_PER_DOLLAR: Final = 10
_OK: Final = 200
_PAGE_SIZE: Final = 100
_PAGES_MAX: Final = 50
_DELIVERY_SECONDS_MAX: Final = 12  # less than a request may take


class Unexpected(Exception):
    """Somebody answered other than documented."""


def expect(answer: Answer, http_status: int = _OK, /, **fields: object) -> Any:
    """The answer's JSON, if its HTTP status and these fields are as documented.

    Raises:
        Unexpected: they are not.
    """
    told = answer.data
    seen = {name: told.get(name) for name in fields}
    if answer.status != http_status or seen != fields:
        # Only what tells why: an answer may hold a client secret.
        seen |= {name: told[name] for name in ("error", "message") if name in told}
        raise Unexpected(
            f"expected {_in_words(http_status, fields)}, got {_in_words(answer.status, seen)}"
        )
    return told


def _in_words(http_status: int, fields: Mapping[str, object]) -> str:
    return " ".join([str(http_status), *(f"{name}={value}" for name, value in fields.items())])


@attrs.frozen(kw_only=True)
class Order:
    """A payment intent that the shop created, and what it is to bring its customer."""

    user_id: str
    payment_intent_id: str
    client_secret: str = attrs.field(repr=False)
    amount_minor: int
    credits: int


@attrs.frozen
class Shop:
    """The shop's pages and endpoints, as its customers reach them."""

    url: str
    webhook_secret: str = attrs.field(repr=False)

    def get(self, path: str, user: str | None = None) -> Answer:
        """Open a page, as that user."""
        return send("GET", self.url + path, headers=_as(user))

    def post(self, path: str, fields: object, user: str | None = None) -> Answer:
        """Send JSON, as that user."""
        return send_json("POST", self.url + path, fields, _as(user))

    def balance(self, user: str) -> int:
        """The credits that the shop shows the user."""
        return int(expect(self.get("/balance", user))["credits"])

    def confirm(self, order: Order) -> Answer:
        """Come back from paying."""
        named = {"payment_intent_id": order.payment_intent_id}
        return self.post("/stripe/confirm-payment", named, order.user_id)

    def deliver(self, event: bytes, secret: str | None = None, age_seconds: int = 0) -> Answer:
        """Post an event as Stripe does, signed now unless told otherwise."""
        timestamp = str(int(time.time()) - age_seconds)
        key = (self.webhook_secret if secret is None else secret).encode()
        signed = hmac.new(key, f"{timestamp}.".encode() + event, hashlib.sha256).hexdigest()
        headers = {"Stripe-Signature": f"t={timestamp},v1={signed}"}
        return send("POST", f"{self.url}/stripe/webhook", event, headers)


def _as(user: str | None) -> dict[str, str]:
    return {} if user is None else {USER_HEADER: user}


@attrs.frozen
class Browser:
    """What Stripe.js does in a customer's browser: it knows the publishable key only."""

    stripe_url: str
    publishable_key: str

    def pay(self, order: Order, card: str = "pm_card_visa", *, save: bool = False) -> Answer:
        """Pay an order by card; `save` keeps the card for the next time."""
        fields = {
            "key": self.publishable_key,
            "client_secret": order.client_secret,
            "payment_method": card,
            "return_url": "http://127.0.0.1/thanks",
        }
        if save:
            fields["setup_future_usage"] = "off_session"
        path = f"/v1/payment_intents/{order.payment_intent_id}/confirm"
        return send_form("POST", self.stripe_url + path, fields)

    def authenticate(self, intent: Mapping[str, Any]) -> None:
        """Follow the intent to the bank's page and say yes there."""
        page = str(intent["next_action"]["redirect_to_url"]["url"])
        if send("GET", page).status != _OK:
            raise Unexpected(f"the bank's page {page} does not open")
        expect(send_form("POST", page, {"result": "complete"}), 303)


@attrs.frozen
class Stripe:
    """Stripe's API as the shop's owner uses it, with the secret key."""

    url: str
    secret_key: str = attrs.field(repr=False)

    def register_webhook(self, url: str) -> str:
        """Have all events sent to an address; the secret that will sign them."""
        fields = {"url": url, "enabled_events[0]": "*"}
        path = f"{self.url}/v1/webhook_endpoints"
        return str(expect(send_form("POST", path, fields, self._key()))["secret"])

    def listed(self, collection: str, **params: str) -> list[dict[str, Any]]:
        """Everything in a collection, newest first, page after page.

        Raises:
            Unexpected: Stripe does not answer as documented, or there is no end to it.
        """
        rows: list[dict[str, Any]] = []
        for _ in range(_PAGES_MAX):
            after = {"starting_after": rows[-1]["id"]} if rows else {}
            query = urlencode({"limit": str(_PAGE_SIZE), **params, **after})
            answer = send("GET", f"{self.url}/v1/{collection}?{query}", headers=self._key())
            page = expect(answer)
            rows += page["data"]
            if not page["has_more"]:
                return rows
        raise Unexpected(f"more than {_PAGES_MAX} pages of {collection}")

    def event_about(self, order: Order, event_type: str) -> bytes:
        """The bytes of the event that tells of an order."""
        for event in self.listed("events", type=event_type):
            if event["data"]["object"]["id"] == order.payment_intent_id:
                return json.dumps(event).encode()
        raise Unexpected(f"no {event_type} about {order.payment_intent_id}")

    def _key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret_key}"}


@attrs.frozen
class Network:
    """What lies between Stripe and the shop, and may repeat, delay and reorder."""

    url: str

    def do(self, trick: str, **arguments: object) -> Any:
        """Play one of the simulator's tricks on webhooks."""
        return expect(send_json("POST", f"{self.url}/_simulator/webhooks/{trick}", arguments))

    def settle(self) -> None:
        """Wait until every webhook has been delivered."""
        path = f"{self.url}/_simulator/deliveries/wait"
        expect(send_json("POST", path, {"timeout": _DELIVERY_SECONDS_MAX}))

    def deliveries(self) -> list[dict[str, Any]]:
        """Every attempt to deliver an event, oldest first."""
        return list(expect(send("GET", f"{self.url}/_simulator/deliveries"))["data"])


@attrs.define
class Stage:
    """Everybody, and what the demo itself remembers of the play.

    Attributes:
        orders: every order that a customer made, by payment intent.
        forged: ids of events that nobody at Stripe sent.
        races: how many payments were told of by two at once.
        by_hand: how many genuine events the demo delivered itself.
    """

    shop: Shop
    browser: Browser
    stripe: Stripe
    network: Network
    chance: random.Random
    orders: dict[str, Order] = attrs.field(factory=dict)
    forged: set[str] = attrs.field(factory=set)
    races: int = 0
    by_hand: int = 0

    def order(
        self,
        user: str,
        dollars: str | None = None,
        *,
        package: Mapping[str, Any] | None = None,
        customer: str | None = None,
    ) -> Order:
        """Put credits into the basket: an amount of dollars, or a package."""
        price = Decimal(dollars) if dollars is not None else Decimal((package or {})["price_usd"])
        minor = int(price * 100)
        fields: dict[str, object] = {"user_id": user, "amount": price, "currency": "usd"}
        fields |= {"package_id": package["id"]} if package else {}
        fields |= {"customer_id": customer} if customer else {}
        told = expect(self.shop.post("/stripe/create-payment-intent", fields, user), amount=price)
        order = Order(
            user_id=user,
            payment_intent_id=told["payment_intent_id"],
            client_secret=told["client_secret"],
            amount_minor=minor,
            credits=int(package["credits"]) if package else minor * CREDITS_PER_DOLLAR // 100,
        )
        self.orders[order.payment_intent_id] = order
        return order

    def pay(self, order: Order, card: str = "pm_card_visa", *, save: bool = False) -> None:
        """Pay an order with a card that pays at once."""
        expect(self.browser.pay(order, card, save=save), status="succeeded")

    def collect(self, order: Order) -> dict[str, Any]:
        """Confirm a paid order; the receipt, which must bring what was promised."""
        receipt = expect(self.shop.confirm(order))["data"]
        if receipt["credits_purchased"] != order.credits:
            raise Unexpected(f"{order.credits} credits were promised, the receipt says {receipt}")
        return dict(receipt)

    def expect_balance(self, user: str, credits: int) -> None:
        """See on the shop's page what the user holds.

        Raises:
            Unexpected: it is another number of credits.
        """
        shown = self.shop.balance(user)
        if shown != credits:
            raise Unexpected(f"{user} should hold {credits} credits, the shop shows {shown}")
