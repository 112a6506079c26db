"""The doctor: looks at all that a system rests on, and says what is amiss and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from credit_payments.config import Settings
from credit_payments.config.loading import GIVEN
from credit_payments.domain import events
from credit_payments.domain.diagnosis import Diagnosis, Finding
from credit_payments.domain.findings import backlog, configuration, database, stripe, webhooks
from credit_payments.domain.vitals import Health
from credit_payments.errors import (
    ConfigurationError,
    CreditPaymentsError,
    NotConfigured,
    SchemaMismatch,
    StorageUnavailable,
)
from credit_payments.ports.clock import Clock
from credit_payments.ports.gateway import PaymentGateway
from credit_payments.ports.secrets import CurrentSecrets
from credit_payments.ports.storage import Storage


class Doctor:
    """Looks, a bounded number of times, and changes nothing.

    Args:
        settings: those that the system was built with.
        secrets: the keys and secrets that hold now, and where they came from.
        gateway: to Stripe.
        clock: this machine's, which is held against Stripe's.
        types: the event types that the host handles, besides those that the library does.
    """

    def __init__(
        self,
        settings: Settings,
        secrets: CurrentSecrets,
        gateway: PaymentGateway,
        clock: Clock,
        *,
        types: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._gateway = gateway
        self._clock = clock
        self._types = (*events.READ, *types)

    def examine(
        self, storage: Storage, health: Callable[[], Health], *, webhook_url: str | None
    ) -> Diagnosis:
        """Look at everything."""
        return self._told(self._of_database(storage, health), webhook_url)

    def examine_without(self, error: Exception, *, webhook_url: str | None) -> Diagnosis:
        """Look at everything but the database; the error is why there is no system."""
        return self._told(of_opening(error), webhook_url)

    def _told(self, found: Iterable[Finding], webhook_url: str | None) -> Diagnosis:
        return Diagnosis(
            tuple(chain(self._of_configuration(), found, self._of_stripe(webhook_url)))
        )

    def _of_configuration(self) -> Iterator[Finding]:
        origins = self._secrets.origins
        yield from configuration.of_origins(
            {"database": "left at its default"}
            | {
                name: "given in code" if origin == GIVEN else f"from {origin}"
                for name, origin in origins.items()
            }
        )
        yield from configuration.of_troubles(self._secrets.troubles)
        yield configuration.of_encryption(is_configured=bool(self._settings.encryption_keys))

    def _of_database(self, storage: Storage, health: Callable[[], Health]) -> Iterator[Finding]:
        try:
            traits = storage.inspect()
        except CreditPaymentsError as error:
            yield database.of_error(error)
            return
        found = health()
        yield from database.of_traits(
            traits,
            is_live=bool(self._secrets.livemode),
            schema_version=found.database.schema_version,
        )
        yield from backlog.of_health(found)

    def _of_stripe(self, webhook_url: str | None) -> Iterator[Finding]:
        livemode = self._secrets.livemode
        yield stripe.of_mode(livemode, self._settings.stripe_api_base)
        secrets = len(self._secrets.signing_secrets())
        if livemode is None:
            if secrets:
                yield webhooks.of_secret(secrets)
            return
        yield from self._of_answers(webhook_url, livemode=livemode)
        yield webhooks.of_secret(secrets)

    def _of_answers(self, webhook_url: str | None, *, livemode: bool) -> Iterator[Finding]:
        try:
            traits = self._gateway.inspect(self._clock.now)
        except NotConfigured:  # the source has just lost it
            yield stripe.of_mode(None, None)
            return
        yield stripe.of_key(traits.payments, livemode, self._settings.stripe_api_base)
        if traits.clock is not None:
            tolerance = self._settings.webhook_tolerance_seconds
            yield stripe.of_clock(traits.clock, tolerance_seconds=tolerance)
        if traits.api_version is not None:
            is_pinned = self._settings.stripe_api_version is not None
            yield stripe.of_version(traits.api_version, is_pinned=is_pinned)
        if traits.payments in ("granted", "forbidden"):  # or that has been said already
            yield from webhooks.of_endpoints(
                traits, url=webhook_url, types=self._types, livemode=livemode
            )


def of_opening(error: Exception) -> Iterable[Finding]:
    """Why there is no system: mostly the database, but keys and prices may be wrong, too."""
    if not isinstance(error, CreditPaymentsError):  # a file system's, which may name any path
        reason = getattr(error, "strerror", None) or type(error).__name__
        error = ConfigurationError(f"It cannot be opened: {reason}.", param="database")
    if isinstance(error, SchemaMismatch | StorageUnavailable) or error.param == "database":
        return (database.of_error(error),)
    return configuration.of_error(error)
