"""connect(): the one place where adapters are chosen and joined."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import IO, Self

import attrs

from credit_payments import moving, personal_data, verifying
from credit_payments.adapters.ciphers import open_cipher
from credit_payments.adapters.databases import Opening, open_storage
from credit_payments.adapters.environment import Environment
from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.secret_files import SecretFiles
from credit_payments.adapters.stripe_gateway import StripeGateway
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.client import PaymentsClient
from credit_payments.config import Settings, load_settings
from credit_payments.domain import audit, checks, notices, reports, seals
from credit_payments.domain.credits import CreditCalculator
from credit_payments.domain.records import Entry, Notification, Purchase
from credit_payments.errors import InvalidRequest
from credit_payments.intake import Handlers
from credit_payments.notifications import H, Notifications, Telling
from credit_payments.ports.clock import Clock
from credit_payments.ports.encryption import FieldCipher
from credit_payments.ports.jobs import Jobs
from credit_payments.ports.notifications import Notifier
from credit_payments.ports.storage import Storage
from credit_payments.ports.telemetry import Silent, Telemetry
from credit_payments.ports.users import Users
from credit_payments.posting import PostingQueue
from credit_payments.wallets import Wallets
from credit_payments.webhooks import WebhookProcessor
from credit_payments.worker import Worker

_DEFAULT_RATES = {"usd": 10}
SETTLED_AFTER = timedelta(minutes=1)
"""Longer than a write may wait for its commit."""


class System:
    """Everything that `connect` joined; also a context manager that closes it.

    Attributes:
        payments: selling credits.
        webhooks: what Stripe reports.
        wallets: what users hold.
        calculator: what an amount buys.
        notifications: what the host is told.
        queue: the database queue that all of them write through.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        storage: Storage,
        clock: Clock,
        users: Users | None = None,
        notifier: Notifier | None = None,
        cipher: FieldCipher | None = None,
        jobs: Jobs | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._clock = clock
        self._cipher = cipher
        self._telemetry = telemetry or Silent()
        self._handlers = Handlers()
        self.calculator = CreditCalculator(
            rates=settings.rates if settings.rates is not None else _DEFAULT_RATES,
            tiers=settings.tiers,
            packages=settings.packages,
            bonuses=settings.bonuses,
        )
        telling = Telling(_wanted(settings, notifier), low_credits=settings.low_credits)
        self.queue = PostingQueue(
            storage,
            clock,
            observer=telling,
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
            policies=settings.policies,
            users=users,
            cipher=cipher,
            expires_seconds=settings.purchase_expires_seconds,
        )
        self.webhooks = WebhookProcessor(
            self.queue,
            clock,
            secrets=settings.webhook_secrets,
            tolerance_seconds=settings.webhook_tolerance_seconds,
            body_bytes_max=settings.webhook_body_bytes_max,
            policies=settings.policies,
            mode=settings.webhook_mode,
            livemode=settings.livemode,
            connect_accounts=settings.connect_accounts,
            cipher=cipher,
            handlers=self._handlers,
            jobs=jobs,
            telemetry=self._telemetry,
        )
        self.wallets = Wallets(storage, self.queue, clock, users=users)
        self.notifications = Notifications(
            self.queue,
            telling,
            notifier=notifier,
            in_background=settings.deliver_notifications,
            watch=lambda wake: storage.watch(Notification, wake),
        )

    def on(self, kind: str) -> Callable[[H], H]:
        """Have a function called with each notification of a type, at least once.

        It is called by a thread of this process, unless `deliver_notifications` is off, soon after
        what it tells of was committed. If it raises, it is called again later.

        Raises:
            InvalidRequest: there is no such type.

        Example:
            >>> import threading
            >>> told = threading.Event()
            >>> with connect(database="memory://") as system:
            ...     @system.on("credits.granted")
            ...     def greet(notification):
            ...         told.set()
            ...     _ = system.wallets.grant("ada", 5, key="welcome", reason="welcome")
            ...     told.wait(10)
            True
        """
        return self.notifications.on(kind)

    def worker(self) -> Worker:
        """Somebody who applies stored events, delivers notifications, and posts what is due.

        Start as many as you like, in any process and on any machine: `run()` works until `stop()`
        is called, `drain()` does what is due now. Close the system only when they have ended.

        Example:
            >>> with connect(database="memory://") as system:
            ...     system.worker().drain()
            Work(events=0, notifications=0, postings=0)
        """
        return Worker(
            self._storage,
            self.queue,
            self._clock,
            gateway=self._gateway,
            handlers=self._handlers,
            policies=self._settings.policies,
            notifications=self.notifications,
            lease_seconds=self._settings.worker_lease_seconds,
            telemetry=self._telemetry,
        )

    def verify(self) -> audit.VerificationReport:
        """Recompute every wallet from its entries, at one instant.

        Reads the whole ledger; the report names what does not fit.

        Raises:
            StorageUnavailable: the database failed.
        """
        with self._storage.snapshot() as reader:
            return verifying.verify(reader)

    def seal(self, *, through: datetime | None = None) -> seals.Seal:
        """One digest over all entries before an instant, to be kept elsewhere.

        The clocks of all machines that write must agree within the minute: an entry that comes
        later, and is dated earlier by a clock that is slow, breaks the seal.

        Args:
            through: the instant, exclusive; a minute ago when left out, because what is decided
                now may be committed a moment later. Later ones are refused for the same reason.

        Raises:
            InvalidRequest: not a datetime with a time zone, or less than a minute ago.
            StorageUnavailable: the database failed.
        """
        settled = self._clock.now() - SETTLED_AFTER
        at = settled if through is None else through
        text = checks.instant(at, param="through")
        if at > settled:
            raise InvalidRequest("through must be a minute ago or earlier", param="through")
        with self._storage.snapshot() as reader:
            return seals.seal(reader.scan(Entry, order=audit.ORDERS[Entry]), text)

    def check_seal(self, seal: seals.Seal) -> audit.VerificationReport:
        """Verify the ledger, and whether it still holds what was sealed.

        Raises:
            StorageUnavailable: the database failed.
        """
        report = self.verify()
        with self._storage.snapshot() as reader:
            found = seals.seal(reader.scan(Entry, order=audit.ORDERS[Entry]), seal.through)
        if seal.matches(found):
            return report
        broken = audit.Problem(
            user_id="*",
            transaction_id=None,
            message=f"the seal through {seal.through} is broken: {seal.entries} entries in "
            f"{seal.wallets} wallets were sealed, {found.entries} in {found.wallets} are there",
        )
        return attrs.evolve(report, problems=(broken, *report.problems))

    def report(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> reports.Report:
        """What happened from one instant (inclusive) to another (exclusive), for the books.

        Reads the whole ledger. An expiry counts on the day on which it was posted, which may be
        later than the instant itself; see `Wallets.post_due`.

        Args:
            since: the first instant; the beginning of the ledger when left out.
            until: the instant after the last; everything so far when left out.

        Raises:
            InvalidRequest: not datetimes with a time zone, or `until` is before `since`.
            Conflict: the ledger is broken; `verify` tells where.
            StorageUnavailable: the database failed.
        """
        first = None if since is None else checks.instant(since, param="since")
        last = None if until is None else checks.instant(until, param="until")
        with self._storage.snapshot() as reader:
            return reports.report(
                reader.scan(Entry, order=audit.ORDERS[Entry]),
                reader.scan(Purchase, order=audit.ORDERS[Purchase]),
                since=first,
                until=last,
            )

    def rotate_encryption(self, *, dry_run: bool = False) -> personal_data.RotationReport:
        """Encrypt personal data anew that is not under the primary key, or not found by its index.

        Reads every customer, and writes a hundred in one transaction. May be interrupted and run
        again, also while others write; of a customer that somebody changed at that moment the
        change stays, and the report counts it.

        Args:
            dry_run: only say what would be done.

        Raises:
            NotConfigured: there are no encryption keys.
            TryAgain: the database failed.
        """
        cipher = personal_data.needed(self._cipher)
        return personal_data.rotate(self._storage, self.queue, cipher, dry_run=dry_run)

    def export(self, file: IO[bytes]) -> moving.Moved:
        """Write everything, as of one instant, to a file of JSON lines, and verify the ledger.

        For another database (see `import_dump`), or as a copy that can be read without one.
        Personal fields stay encrypted.

        Raises:
            Conflict: the ledger is broken, and nothing was written; `verify` tells where.
            StorageUnavailable: the database failed.

        Example:
            >>> import io
            >>> file = io.BytesIO()
            >>> with connect(database="memory://") as system:
            ...     _ = system.wallets.grant("ada", 5, key="welcome", reason="welcome")
            ...     _ = system.export(file)
            >>> _ = file.seek(0)
            >>> with connect(database="memory://") as other:
            ...     _ = other.import_dump(file)
            ...     other.wallets.balance("ada").available
            5
        """
        return moving.export(self._storage, self._clock, file)

    def import_dump(self, file: IO[bytes], *, resume: bool = False) -> moving.Moved:
        """Write everything that a file of `export` holds to this blank database, and verify it.

        The file is checked to its end before the first row is written. Nobody else may write to
        the database meanwhile.

        Args:
            file: one that can be sought.
            resume: go on where an import of the same file was interrupted.

        Raises:
            InvalidRequest: no such file, or not as it was written; nothing was imported.
            Conflict: the database has other rows; or the ledger in it does not fit.
            StorageUnavailable: the database failed; import again with `resume`.
        """
        return moving.import_dump(self._storage, file, resume=resume)

    def close(self) -> None:
        """Finish what waits, then release connections and database; safe to call twice."""
        self.notifications.close()
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


def connect(
    *,
    clock: Clock | None = None,
    users: Users | None = None,
    notifier: Notifier | None = None,
    jobs: Jobs | None = None,
    telemetry: Telemetry | None = None,
    **settings: object,
) -> System:
    """Build a system from settings; what is not given comes from the chain.

    The chain is the secret files in `/secrets`, then the environment: `STRIPE_SECRET_KEY`,
    `STRIPE_PUBLISHABLE_KEY`, `STRIPE_WEBHOOK_SECRET`, `STRIPE_API_VERSION`, `STRIPE_API_BASE`,
    `CREDIT_PAYMENTS_DATABASE_URL` and what encryption needs (see the configuration).

    Args:
        clock: tells the time; the system's clock when left out.
        users: tells which users there are; when left out, every id is one.
        notifier: takes the notifications on, to a queue of the host for example.
        jobs: tells workers of stored events, by way of Celery for example; when left out, the
            database itself wakes them.
        telemetry: takes counts and timings.
        settings: any field of `Settings` by name.

    Raises:
        ConfigurationError: settings that cannot be used, all of them in one message.

    Example:
        >>> with connect(database="memory://") as system:
        ...     system.wallets.grant("ada", 5, key="welcome", reason="welcome").balance_after
        5
    """
    loaded = load_settings(settings, [SecretFiles(), Environment()])
    cipher = open_cipher(loaded)
    storage = open_storage(
        loaded.database, Opening(create=loaded.create_database, livemode=bool(loaded.livemode))
    )
    try:
        return System(
            loaded,
            storage=storage,
            clock=clock or SystemClock(),
            users=users,
            notifier=notifier,
            cipher=cipher,
            jobs=jobs,
            telemetry=telemetry,
        )
    except BaseException:
        storage.close()
        raise


def _wanted(settings: Settings, notifier: Notifier | None) -> Sequence[str]:
    """The types that are recorded whether or not this process has a handler for them."""
    if settings.notifications is not None:
        return settings.notifications
    return () if notifier is None else notices.TYPES
