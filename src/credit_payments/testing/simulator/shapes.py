"""Parameters and small objects that several resources share."""

from __future__ import annotations

from ._types import Json
from .params import Reader, clearable, hash_of, string

__all__ = ["ADDRESS_FIELDS", "BILLING_DETAILS", "SHIPPING", "address", "billing_details"]

ADDRESS_FIELDS = ("city", "country", "line1", "line2", "postal_code", "state")

_TEXT = clearable(string())
_ADDRESS_READERS: dict[str, Reader] = dict.fromkeys(ADDRESS_FIELDS, _TEXT)

ADDRESS = clearable(hash_of(**_ADDRESS_READERS))
SHIPPING = clearable(
    hash_of("address name", address=ADDRESS, name=string(), phone=_TEXT, carrier=_TEXT,
            tracking_number=_TEXT)
)  # fmt: skip
BILLING_DETAILS = hash_of(address=ADDRESS, email=_TEXT, name=_TEXT, phone=_TEXT, tax_id=_TEXT)


def address(given: Json | None) -> Json:
    """Return an address with every field, the missing ones ``None``."""
    return {**dict.fromkeys(ADDRESS_FIELDS), **(given or {})}


def billing_details(given: Json | None, current: Json | None = None) -> Json:
    """Return billing details with every field, after an update of the current ones."""
    details = {"email": None, "name": None, "phone": None, "tax_id": None}
    details.update(current or {})
    details.update(given or {})
    return {**details, "address": address(details.get("address"))}
