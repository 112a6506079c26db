"""Places in requests where an id of somebody stands, and two users whose ids they are."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import attrs
from tests.support.two_users import ADA, Answer, Person, Shop


@attrs.frozen
class TwoUsers:
    shop: Shop
    ada: Person
    bob: Person

    def check_tells_nothing(self, answer: Answer, *told: str) -> None:
        """No failure of ours, nothing of Bob that was not said first, no header made up."""
        assert answer.status < 500, answer
        assert self.bob.is_in(answer.text, told=told) == []
        for name, value in answer.headers:
            assert name != "x-injected"
            assert "\r" not in value
            assert "\n" not in value


@attrs.frozen
class Slot:
    """A place in a request where an id of somebody stands."""

    line: str
    """With `{}` where the id stands in a URL; the value is quoted."""
    attribute: str
    """Which id of a person belongs there."""
    field: str | None = None
    """Where the id stands in the body; then the line has no place for it."""
    body: dict[str, Any] | None = None

    def send(self, shop: Shop, value: object, caller: str) -> tuple[Answer, list[str]]:
        if self.field is None:
            return self.send_raw(shop, quote(str(value), safe="", errors="surrogatepass"), caller)
        return shop.overhear(self.line, (self.body or {}) | {self.field: value}, caller)

    def send_raw(self, shop: Shop, value: str, caller: str) -> tuple[Answer, list[str]]:
        return shop.overhear(self.line.format(value), None, caller)


BUY = {"user_id": ADA.user_id, "amount": 10}
URLS = {
    "status": Slot("GET /payment-status/{}", "paid_intent_id"),
    "customer": Slot("GET /customers/{}", "customer_id"),
    "methods": Slot("GET /payment-methods?customer_id={}", "customer_id"),
    "method": Slot("GET /payment-methods/{}", "payment_method_id"),
    "balance": Slot("GET /balance?user_id={}", "user_id"),
    "history": Slot("GET /transactions?user_id={}", "user_id"),
}
SLOTS = URLS | {
    "buyer": Slot("POST /create-payment-intent", "user_id", "user_id", {"amount": 10}),
    "payer": Slot("POST /create-payment-intent", "customer_id", "customer_id", BUY),
    "confirmation": Slot("POST /confirm-payment", "paid_intent_id", "payment_intent_id"),
    "new customer": Slot("POST /customers", "user_id", "user_id", {"email": "eve@example.com"}),
    "refund": Slot("POST /refunds", "paid_intent_id", "payment_intent_id"),
}
