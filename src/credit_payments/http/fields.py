"""What the routes read, named once: with the bounds that the core keeps, and an example."""

from __future__ import annotations

from typing import Final

from credit_payments import customers
from credit_payments.client import REFUND_REASONS
from credit_payments.domain import cursors, ids
from credit_payments.domain.ledger import Kind
from credit_payments.http.parsing import IDEMPOTENCY_KEY, Field

_USER_ID_BOUNDS: Final = {"maxLength": ids.USER_ID_CHARACTERS_MAX}


def _stripe_id(prefix: str) -> dict[str, str]:
    return {"pattern": f"^{prefix}_{ids.STRIPE_ID_AFTER_PREFIX}$"}


USER_ID: Final = Field(
    "user_id",
    required=True,
    description="The caller's own id; operators may name any user.",
    bounds=_USER_ID_BOUNDS,
    example="user123",
)
WHOSE: Final = Field(
    "user_id",
    description="The caller's own if left out; for operators.",
    bounds=_USER_ID_BOUNDS,
)
AMOUNT: Final = Field(
    "amount",
    "amount",
    description="In major units, read exactly; required without package_id.",
    example=10.0,
)
CURRENCY: Final = Field(
    "currency",
    description="An ISO 4217 code, usd when left out.",
    bounds={"pattern": "^[A-Za-z]{3}$"},
    example="usd",
)
PACKAGE_ID: Final = Field("package_id", description="Buys a package at its own price.")
INTENTS_CUSTOMER: Final = Field(
    "customer_id", description="A Stripe customer of the same user.", bounds=_stripe_id("cus")
)
PAYMENT_INTENT_ID: Final = Field(
    "payment_intent_id", required=True, bounds=_stripe_id("pi"), example="pi_3Example"
)
CUSTOMER_ID: Final = Field(
    "customer_id", required=True, bounds=_stripe_id("cus"), example="cus_Example"
)
PAYMENT_METHOD_ID: Final = Field(
    "payment_method_id", required=True, bounds=_stripe_id("pm"), example="pm_1Example"
)
EMAIL: Final = Field(
    "email",
    required=True,
    bounds={"maxLength": customers.EMAIL_CHARACTERS_MAX},
    example="user@example.com",
)
NAME: Final = Field(
    "name", bounds={"maxLength": customers.NAME_CHARACTERS_MAX}, example="Ada Lovelace"
)
PHONE: Final = Field(
    "phone", bounds={"maxLength": customers.PHONE_CHARACTERS_MAX}, example="+15550100"
)
REFUNDED: Final = Field(
    "amount",
    "amount",
    description="In major units of the payment's currency; all that is left if left out.",
    example=10.0,
)
REASON: Final = Field(
    "reason",
    description="One of Stripe's reasons for a refund.",
    bounds={"enum": list(REFUND_REASONS)},
    example="requested_by_customer",
)
LIMIT: Final = Field(
    "limit",
    "integer",
    description="How many at most.",
    bounds={"minimum": 1, "maximum": cursors.LIMIT_MAX, "default": 50},
)
CURSOR: Final = Field("cursor", description="The next_cursor of the page before.")
TYPE: Final = Field(
    "type",
    description="Only transactions of this type.",
    bounds={"enum": [str(kind) for kind in Kind]},
)

KEY_HEADER: Final = Field(
    "Idempotency-Key",
    description=(
        "The caller's name for what is asked: repeated under the same key, it is done once and "
        "gets the first answer again."
    ),
    bounds={"pattern": f"^{IDEMPOTENCY_KEY.pattern}$"},
    example="order-1",
)
SIGNATURE_HEADER: Final = Field(
    "Stripe-Signature",
    required=True,
    description="Stripe's, over the bytes of the body: https://docs.stripe.com/webhooks/signature.",
    example="t=1893456000,v1=00ff",
)
