"""Every error that the library raises, in one tree cut by what the caller should do next.

::

    CreditPaymentsError
    ├── ConfigurationError          fix the configuration
    │   ├── NotConfigured               what this needs has no key here                 503
    │   ├── StripeRefusedKey            Stripe does not accept the key                  503
    │   ├── SchemaMismatch              the database has another schema: migrate it     503
    │   └── DecryptionFailed            a key is missing, or an envelope was changed    503
    ├── InvalidRequest              fix the call                                        400
    │   ├── InvalidAmount               not an amount that can be charged               400
    │   ├── InvalidCurrency             not a currency that is sold                     400
    │   ├── InvalidSignature            a webhook that Stripe did not sign              400
    │   ├── InvalidPayload              signed, but not an event that can be read       400
    │   ├── NotAuthenticated            the host knows no caller for this request       401
    │   ├── NotAllowed                  the caller may not do this                      403
    │   ├── NotFound                    missing, or somebody else's                     404
    │   └── Conflict                    the state of things does not allow it           409
    │       ├── IdempotencyConflict         the key was used with other arguments       422
    │       ├── PaymentNotSuccessful        no money has arrived (yet)                  409
    │       └── HoldEnded                   the hold was ended, or its time is over     409
    ├── CustomerError               show it to the customer                             402
    │   ├── CardDeclined                the bank said no; see decline_code              402
    │   ├── InsufficientCredits         the wallet holds fewer credits than asked       402
    │   └── WalletSuspended             nothing may be spent from the wallet now        402
    └── TryAgain                    retry later; nothing was lost                       503
        ├── StripeUnavailable           no usable answer from Stripe                    503
        ├── QueueFull                   more writes wait than may                       503
        ├── StorageUnavailable          the database did not answer, or is busy         503
        ├── HandlerFailed               the host's own handler of an event raised       503
        ├── RequestInProgress           a request with the same key is being worked on  409
        └── VaultUnavailable            no usable answer from Vault                     503

``code`` is stable and meant for programs, the message is meant for people, ``param`` names the
argument at fault where there is one, ``http_status`` is what the prebuilt routes answer and
``retryable`` tells whether the same call may succeed later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

__all__ = [
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
]


class CreditPaymentsError(Exception):
    """The root of the tree: catching it catches everything the library raises on purpose.

    Args:
        message: one sentence for a person; never holds a secret or personal data.
        param: the name of the argument or setting at fault.
        code: replaces the class's own ``code`` where Stripe has a more precise one.
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    title: ClassVar[str] = "Error"

    def __init__(
        self, message: str | None = None, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message or self.title)
        self.param = param
        self.error_code = code or self.code

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls the class with the message alone, which subclasses with
        # other arguments cannot take; job queues and process pools pickle what they catch.
        return _rebuild, (type(self), self.args, self.__dict__)

    @property
    def message(self) -> str:
        """The sentence for a person."""
        return str(self.args[0])


def _rebuild(
    kind: type[CreditPaymentsError], args: tuple[Any, ...], state: dict[str, Any]
) -> CreditPaymentsError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigurationError(CreditPaymentsError):
    """The settings are wrong or incomplete; the message says how to mend them.

    ``problems`` names each setting at fault, with its remedy, where several were checked at once.
    """

    code = "configuration_invalid"
    http_status = 503
    title = "Configuration error"

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        problems: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.problems = tuple(problems)


class NotConfigured(ConfigurationError):
    """What was asked for needs a key that is not configured: Stripe's, or one to encrypt with."""

    code = "stripe_not_configured"
    title = "Stripe is not configured"


class StripeRefusedKey(ConfigurationError):
    """Stripe answered 401 or 403: the key is wrong, revoked or lacks a permission."""

    code = "stripe_key_refused"
    title = "Stripe refused the API key"


class SchemaMismatch(ConfigurationError):
    """The database has an older or a newer schema; the message says what to do."""

    code = "schema_mismatch"
    title = "The database has another schema"


class DecryptionFailed(ConfigurationError):
    """What is kept encrypted cannot be read: its key is missing, or it was changed or moved."""

    code = "decryption_failed"
    title = "Encrypted data cannot be read"


class InvalidRequest(CreditPaymentsError, ValueError):
    """An argument cannot be right whatever the state of things; ``param`` names it."""

    code = "parameter_invalid"
    http_status = 400
    title = "Invalid request parameters"


class InvalidAmount(InvalidRequest):
    """An amount of the wrong type, sign, size or precision."""

    code = "parameter_invalid"


class InvalidCurrency(InvalidRequest):
    """A currency that Stripe does not charge in, or for which no price is configured."""

    code = "parameter_invalid"


class InvalidSignature(InvalidRequest):
    """A webhook whose signature is wrong, missing, too old or from the future."""

    code = "signature_invalid"
    title = "Invalid Stripe signature"


class InvalidPayload(InvalidRequest):
    """A webhook body that is signed but too large, too deep, or not an event."""

    code = "payload_invalid"
    title = "Invalid webhook payload"


class NotAuthenticated(InvalidRequest):
    """The host's identity callable found no caller."""

    code = "not_authenticated"
    http_status = 401
    title = "Authentication required"


class NotAllowed(InvalidRequest):
    """The caller is known, and may not act for the user named in the request."""

    code = "not_allowed"
    http_status = 403
    title = "Not allowed"


class NotFound(InvalidRequest):
    """Nothing of that name, or it belongs to somebody else: the two are not told apart."""

    code = "resource_missing"
    http_status = 404
    title = "Not found"


class Conflict(InvalidRequest):
    """The call is well formed, and the present state does not allow it."""

    code = "conflict"
    http_status = 409
    title = "Conflict"


class IdempotencyConflict(Conflict):
    """An idempotency key was used before with other arguments.

    The status is that of section 2.7 of
    https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/.
    """

    code = "idempotency_key_in_use"
    http_status = 422
    title = "Idempotency key used with other arguments"


class PaymentNotSuccessful(Conflict):
    """The payment intent has not succeeded; ``status`` is Stripe's word for where it is."""

    code = "payment_intent_unexpected_state"
    title = "Payment not successful"

    def __init__(self, status: str) -> None:
        super().__init__(f"Payment not successful. Status: {status}")
        self.status = status


class HoldEnded(Conflict):
    """The hold holds nothing any more; ``status`` is `captured`, `released` or `lapsed`."""

    code = "hold_ended"
    title = "The hold has ended"

    def __init__(self, status: str) -> None:
        super().__init__(f"The hold has {'lapsed' if status == 'lapsed' else 'been ' + status}.")
        self.status = status


class CustomerError(CreditPaymentsError):
    """Something the customer can act on: show the message."""

    code = "customer_error"
    http_status = 402
    title = "Payment required"


class CardDeclined(CustomerError):
    """The card was refused; ``decline_code`` is the bank's reason.

    See https://docs.stripe.com/declines/codes.
    """

    code = "card_declined"
    title = "Card declined"

    def __init__(
        self,
        message: str | None = None,
        *,
        decline_code: str | None = None,
        code: str | None = None,
        param: str | None = None,
        status: str | None = None,
    ) -> None:
        super().__init__(message or "Your card was declined.", code=code, param=param)
        self.decline_code = decline_code
        self.status = status


class InsufficientCredits(CustomerError):
    """The wallet holds fewer credits than the call wants; nothing was changed."""

    code = "insufficient_credits"
    title = "Insufficient credits"

    def __init__(self, *, available: int, required: int) -> None:
        super().__init__(f"Insufficient credits: {required} required, {available} available.")
        self.available = available
        self.required = required


class WalletSuspended(CustomerError):
    """Nothing may be spent from the wallet until somebody resumes it; nothing was changed."""

    code = "wallet_suspended"
    title = "The wallet is suspended"


class TryAgain(CreditPaymentsError):
    """Nothing was lost and nothing is half done: the same call may be made again."""

    code = "try_again"
    http_status = 503
    retryable = True
    title = "Temporarily unavailable"


class StripeUnavailable(TryAgain):
    """Stripe could not be reached, was too slow, or answered 409, 429 or 5xx to every try."""

    code = "stripe_unavailable"
    title = "Stripe is unavailable"


class QueueFull(TryAgain):
    """The database queue holds as many commands as it may, or one waited too long for its turn."""

    code = "queue_full"
    title = "Too many writes are waiting"


class StorageUnavailable(TryAgain):
    """The database could not be reached, was locked for too long, or failed."""

    code = "storage_unavailable"
    title = "The database is unavailable"


class HandlerFailed(TryAgain):
    """The host's own handler of an event raised; the event is kept, and tried again."""

    code = "handler_failed"
    title = "The event's handler failed"


class RequestInProgress(TryAgain):
    """A request with the same idempotency key has been begun, and has no answer yet."""

    code = "request_in_progress"
    http_status = 409
    title = "A request with this key is in progress"


class VaultUnavailable(TryAgain):
    """Vault could not be reached, is sealed, or did not answer in time."""

    code = "vault_unavailable"
    title = "Vault is unavailable"
