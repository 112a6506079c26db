"""connect(): the one place where adapters are chosen and joined."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from credit_payments.adapters.environment import Environment
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.secret_files import SecretFiles
from credit_payments.adapters.sqlite import SqliteStorage
from credit_payments.adapters.stripe_gateway import StripeGateway
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.client import PaymentsClient
from credit_payments.config import Settings, load_settings
from credit_payments.domain import audit
from credit_payments.domain.credits import CreditCalculator
from credit_payments.domain.records import Entry, Wallet
from credit_payments.errors import ConfigurationError
from credit_payments.ports.clock import Clock
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue
from credit_payments.wallets import Wallets
from credit_payments.webhooks import WebhookProcessor

_DEFAULT_RATES = {"usd": 10}


class System:
    """Everything that `connect` joined; also a context manager that closes it.

    Attributes:
        payments: selling credits.
        webhooks: what Stripe reports.
        wallets: what users hold.
        calculator: what an amount buys.
        queue: the database queue that all of them write through.
    """

    def __init__(self, settings: Settings, *, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self.calculator = CreditCalculator(
            rates=settings.rates if settings.rates is not None else _DEFAULT_RATES,
            tiers=settings.tiers,
            packages=settings.packages,
            bonuses=settings.bonuses,
        )
        self.queue = PostingQueue(
            storage,
            clock,
            commands_max=settings.queue_commands_max,
            batch_max=settings.batch_commands_max,
        )
        self._gateway = StripeGateway(
            settings.stripe_secret_key,
            api_version=settings.stripe_api_version,
            api_base=settings.stripe_api_base,
            timeout_seconds=settings.stripe_timeout_seconds,
            retry=RetryPolicy(
                attempts=settings.stripe_attempts_max,
                wait_seconds_max=settings.stripe_wait_seconds_max,
            ),
        )
        self.payments = PaymentsClient(
            self._gateway,
            storage,
            self.queue,
            self.calculator,
            new_id=lambda: os.urandom(16).hex(),
        )
        self.webhooks = WebhookProcessor(
            self.queue,
            clock,
            secrets=settings.webhook_secrets,
            tolerance_seconds=settings.webhook_tolerance_seconds,
            body_bytes_max=settings.webhook_body_bytes_max,
        )
        self.wallets = Wallets(storage, self.queue)

    def verify(self) -> audit.VerificationReport:
        """Recompute every wallet from its entries, at one instant.

        Reads the whole ledger; the report names what does not fit.

        Raises:
            StorageUnavailable: the database failed.
        """
        with self._storage.snapshot() as reader:
            return audit.verify(
                reader.scan(Wallet, order=("user_id",)),
                reader.scan(Entry, order=("user_id", "sequence")),
            )

    def close(self) -> None:
        """Finish what waits, then release connections and database; safe to call twice."""
        self.queue.close()
        self._gateway.close()
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def connect(*, clock: Clock | None = None, **settings: object) -> System:
    """Build a system from settings; what is not given comes from the chain.

    The chain is the secret files in `/secrets`, then the environment: `STRIPE_SECRET_KEY`,
    `STRIPE_PUBLISHABLE_KEY`, `STRIPE_WEBHOOK_SECRET`, `STRIPE_API_VERSION`, `STRIPE_API_BASE` and
    `CREDIT_PAYMENTS_DATABASE_URL`.

    Args:
        clock: tells the time; the system's clock when left out.
        settings: any field of `Settings` by name.

    Raises:
        ConfigurationError: settings that cannot be used, all of them in one message.

    Example:
        >>> with connect(database="memory://") as system:
        ...     system.wallets.grant("ada", 5, key="welcome", reason="welcome").balance_after
        5
    """
    loaded = load_settings(settings, [SecretFiles(), Environment()])
    storage = _open_storage(loaded.database)
    try:
        return System(loaded, storage=storage, clock=clock or SystemClock())
    except BaseException:
        storage.close()
        raise


def _open_storage(url: str) -> Storage:
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryStorage()
    if parts.scheme == "sqlite":
        # As SQLAlchemy writes it: three slashes for a relative path, four for an absolute one.
        path = unquote(parts.path).removeprefix("/")
        if parts.netloc or not path or path == ":memory:":
            raise ConfigurationError(
                "Write sqlite:///file.db, sqlite:////absolute/file.db, or memory://.",
                param="database",
            )
        return SqliteStorage(path)
    raise ConfigurationError(
        f"No storage for {parts.scheme}:// URLs; use sqlite:///file.db or memory://.",
        param="database",
    )
