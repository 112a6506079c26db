"""What the payment intent endpoints accept."""

from __future__ import annotations

import re
from typing import Any

from .params import (
    LIST,
    Reader,
    Schema,
    anything,
    boolean,
    clearable,
    hash_of,
    integer,
    list_of,
    metadata,
    one_of,
    string,
    time_range,
)
from .payment_methods import DATA, TYPES
from .problems import BadParameter
from .shapes import SHIPPING

__all__ = [
    "ALWAYS_UPDATABLE",
    "CANCEL",
    "CAPTURE",
    "CONFIRM",
    "COPIED",
    "CREATE",
    "LIST_INTENTS",
    "RETRIEVE",
    "UPDATE",
]

_DESCRIPTOR_CHARACTERS_MAX = 22
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def _email(raw: Any, name: str) -> str:
    text: str = string(800)(raw, name)
    if not _EMAIL.fullmatch(text):
        raise BadParameter(f"Invalid email address: {text}", code="email_invalid", param=name)
    return text


def _descriptor(raw: Any, name: str) -> str:
    text: str = string(_DESCRIPTOR_CHARACTERS_MAX)(raw, name)
    if re.search(r"[<>\\'\"*]", text) or not re.search(r"[A-Za-z]", text):
        raise BadParameter(
            "A statement descriptor needs a letter, and none of the characters < > \\ ' \" *.",
            param=name,
        )
    return text


def _off_session(raw: Any, name: str) -> Any:
    return raw if raw in ("one_off", "recurring") else boolean()(raw, name)


_CAPTURE_METHOD = one_of("automatic", "automatic_async", "manual")
_USAGE = clearable(one_of("on_session", "off_session"))
_TYPES = list_of(one_of(*TYPES))

_DESCRIBING: dict[str, Reader] = {
    "amount": integer(1),
    "currency": string(3),
    "customer": string(),
    "description": clearable(string(1_000)),
    "metadata": metadata(),
    "payment_method_types": _TYPES,
    "statement_descriptor": clearable(_descriptor),
    "statement_descriptor_suffix": clearable(_descriptor),
    "transfer_group": string(),
}
_PAYING: dict[str, Reader] = {
    "capture_method": _CAPTURE_METHOD,
    "payment_method": string(),
    "payment_method_data": DATA,
    "payment_method_options": anything(),
    "receipt_email": clearable(_email),
    "setup_future_usage": _USAGE,
    "shipping": SHIPPING,
}
_CONFIRMING: dict[str, Reader] = {
    "error_on_requires_action": boolean(),
    "mandate_data": clearable(anything()),
    "off_session": _off_session,
    "return_url": string(),
    "use_stripe_sdk": boolean(),
}

COPIED = frozenset(
    {
        "capture_method", "customer", "description", "payment_method_types", "receipt_email",
        "setup_future_usage", "shipping", "statement_descriptor", "statement_descriptor_suffix",
        "transfer_group",
    }
)  # fmt: skip
"""Parameters that go into the intent as they are."""

ALWAYS_UPDATABLE = frozenset(
    {"metadata", "description", "receipt_email", "transfer_group", "expand"}
)
"""What may still change once the money has moved."""

CREATE = Schema(
    "amount currency",
    allowed_payment_method_types=_TYPES,
    automatic_payment_methods=hash_of(
        "enabled", enabled=boolean(), allow_redirects=one_of("always", "never")
    ),
    confirm=boolean(),
    confirmation_method=one_of("automatic", "manual"),
    **_DESCRIBING,
    **_PAYING,
    **_CONFIRMING,
)
UPDATE = Schema(**_DESCRIBING, **_PAYING)
CONFIRM = Schema(client_secret=string(), **_PAYING, **_CONFIRMING)
RETRIEVE = Schema(client_secret=string())
CAPTURE = Schema(amount_to_capture=integer(1), final_capture=boolean(), metadata=metadata())
CANCEL = Schema(
    cancellation_reason=one_of("duplicate", "fraudulent", "requested_by_customer", "abandoned")
)
LIST_INTENTS = Schema(customer=string(), created=time_range(), **LIST)
