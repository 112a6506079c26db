"""Sell prepaid credits through Stripe, and never lose, double or misplace one.

>>> import credit_payments as cp
>>> with cp.connect(database="memory://") as system:
...     system.calculator.credits_for("10.00")
100
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credit_payments.bootstrap import connect
    from credit_payments.client import PaymentsClient
    from credit_payments.config import Settings
    from credit_payments.domain.audit import Problem, VerificationReport
    from credit_payments.domain.credits import Conversion, CreditCalculator
    from credit_payments.domain.diagnosis import Diagnosis, Finding
    from credit_payments.domain.differences import Difference, Progress, ReconciliationReport
    from credit_payments.domain.packages import DEFAULT_PACKAGES, CreditPackage
    from credit_payments.domain.pricing import Bonus, Tier, TierSchedule
    from credit_payments.domain.reports import DayRow, Holdings, MoneyRow, Report, Worth
    from credit_payments.domain.seals import Seal
    from credit_payments.domain.values import (
        Balance,
        Card,
        Customer,
        Delivery,
        Entry,
        KeptCustomer,
        KeptEvent,
        Lot,
        Notification,
        Page,
        PaymentIntent,
        PaymentMethod,
        PaymentStatus,
        Purchase,
        Quarantined,
        Receipt,
        Refund,
        StripeEvent,
    )
    from credit_payments.domain.vitals import Health
    from credit_payments.errors import (
        CardDeclined,
        ConfigurationError,
        Conflict,
        CreditPaymentsError,
        CustomerError,
        DecryptionFailed,
        HandlerFailed,
        HoldEnded,
        IdempotencyConflict,
        InsufficientCredits,
        InvalidAmount,
        InvalidCurrency,
        InvalidPayload,
        InvalidRequest,
        InvalidSignature,
        NotAllowed,
        NotAuthenticated,
        NotConfigured,
        NotFound,
        PaymentNotSuccessful,
        QueueFull,
        RequestInProgress,
        SchemaMismatch,
        StorageUnavailable,
        StripeRefusedKey,
        StripeUnavailable,
        TryAgain,
        VaultUnavailable,
        WalletSuspended,
    )
    from credit_payments.holds import Hold
    from credit_payments.inbox import Inbox
    from credit_payments.logs import RedactingFilter
    from credit_payments.moving import Moved
    from credit_payments.notifications import Notifications
    from credit_payments.personal_data import RotationReport
    from credit_payments.system import System
    from credit_payments.wallets import Wallets
    from credit_payments.webhooks import WebhookProcessor
    from credit_payments.worker import Work, Worker

__version__ = "0.1.0.dev0"

__all__ = [
    "DEFAULT_PACKAGES",
    "Balance",
    "Bonus",
    "Card",
    "CardDeclined",
    "ConfigurationError",
    "Conflict",
    "Conversion",
    "CreditCalculator",
    "CreditPackage",
    "CreditPaymentsError",
    "Customer",
    "CustomerError",
    "DayRow",
    "DecryptionFailed",
    "Delivery",
    "Diagnosis",
    "Difference",
    "Entry",
    "Finding",
    "HandlerFailed",
    "Health",
    "Hold",
    "HoldEnded",
    "Holdings",
    "IdempotencyConflict",
    "Inbox",
    "InsufficientCredits",
    "InvalidAmount",
    "InvalidCurrency",
    "InvalidPayload",
    "InvalidRequest",
    "InvalidSignature",
    "KeptCustomer",
    "KeptEvent",
    "Lot",
    "MoneyRow",
    "Moved",
    "NotAllowed",
    "NotAuthenticated",
    "NotConfigured",
    "NotFound",
    "Notification",
    "Notifications",
    "Page",
    "PaymentIntent",
    "PaymentMethod",
    "PaymentNotSuccessful",
    "PaymentStatus",
    "PaymentsClient",
    "Problem",
    "Progress",
    "Purchase",
    "Quarantined",
    "QueueFull",
    "Receipt",
    "ReconciliationReport",
    "RedactingFilter",
    "Refund",
    "Report",
    "RequestInProgress",
    "RotationReport",
    "SchemaMismatch",
    "Seal",
    "Settings",
    "StorageUnavailable",
    "StripeEvent",
    "StripeRefusedKey",
    "StripeUnavailable",
    "System",
    "Tier",
    "TierSchedule",
    "TryAgain",
    "VaultUnavailable",
    "VerificationReport",
    "WalletSuspended",
    "Wallets",
    "WebhookProcessor",
    "Work",
    "Worker",
    "Worth",
    "connect",
]

_MODULES: dict[str, tuple[str, ...]] = {
    "domain.reports": (
        "DayRow",
        "Holdings",
        "MoneyRow",
        "Report",
        "Worth",
    ),
    "domain.seals": ("Seal",),
    "moving": ("Moved",),
    "notifications": ("Notifications",),
    "personal_data": ("RotationReport",),
    "holds": ("Hold",),
    "inbox": ("Inbox",),
    "logs": ("RedactingFilter",),
    "bootstrap": ("connect",),
    "system": ("System",),
    "client": ("PaymentsClient",),
    "config": ("Settings",),
    "domain.audit": (
        "Problem",
        "VerificationReport",
    ),
    "domain.credits": (
        "Conversion",
        "CreditCalculator",
    ),
    "domain.diagnosis": (
        "Diagnosis",
        "Finding",
    ),
    "domain.differences": (
        "Difference",
        "Progress",
        "ReconciliationReport",
    ),
    "domain.packages": (
        "DEFAULT_PACKAGES",
        "CreditPackage",
    ),
    "domain.pricing": (
        "Bonus",
        "Tier",
        "TierSchedule",
    ),
    "domain.values": (
        "Balance",
        "Card",
        "Customer",
        "Delivery",
        "Entry",
        "KeptCustomer",
        "KeptEvent",
        "Lot",
        "Notification",
        "Page",
        "PaymentIntent",
        "PaymentMethod",
        "PaymentStatus",
        "Purchase",
        "Quarantined",
        "Receipt",
        "Refund",
        "StripeEvent",
    ),
    "domain.vitals": ("Health",),
    "errors": (
        "CardDeclined",
        "ConfigurationError",
        "Conflict",
        "CreditPaymentsError",
        "CustomerError",
        "DecryptionFailed",
        "HandlerFailed",
        "HoldEnded",
        "IdempotencyConflict",
        "InsufficientCredits",
        "InvalidAmount",
        "InvalidCurrency",
        "InvalidPayload",
        "InvalidRequest",
        "InvalidSignature",
        "NotAllowed",
        "NotAuthenticated",
        "NotConfigured",
        "NotFound",
        "PaymentNotSuccessful",
        "QueueFull",
        "RequestInProgress",
        "SchemaMismatch",
        "StorageUnavailable",
        "StripeRefusedKey",
        "StripeUnavailable",
        "TryAgain",
        "VaultUnavailable",
        "WalletSuspended",
    ),
    "wallets": ("Wallets",),
    "webhooks": ("WebhookProcessor",),
    "worker": (
        "Work",
        "Worker",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for (PEP 562).

    Importing the package alone costs a few milliseconds, so that a command line or a function in
    the cloud that sells nothing this time does not pay for it.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
