"""Errors that several routes answer with, as examples of what callers see."""

from __future__ import annotations

from typing import Final

from credit_payments import errors
from credit_payments.errors import CreditPaymentsError

Errors = tuple[CreditPaymentsError, ...]

READS: Final[Errors] = (errors.StorageUnavailable(), errors.SchemaMismatch())
"""The database does not answer, or has the schema of another release."""

WRITES: Final[Errors] = (*READS, errors.QueueFull())

STRIPE: Final[Errors] = (
    errors.NotConfigured(),
    errors.StripeRefusedKey(),
    errors.StripeUnavailable(),
)

UNPAID: Final = errors.PaymentNotSuccessful("processing")
DECLINED: Final = errors.CardDeclined(
    decline_code="insufficient_funds", status="requires_payment_method"
)
QUARANTINED: Final = errors.Conflict(
    "The payment is not credited, a person has to decide.", code="payment_quarantined"
)
REFUNDED: Final = errors.Conflict(
    "The payment was refunded before.", code="charge_already_refunded"
)
