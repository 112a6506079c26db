"""System: everything that a host works with, joined from ports."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import IO, NoReturn, Self

from credit_payments import moving, personal_data
from credit_payments.auditing import Auditor
from credit_payments.client import PaymentsClient
from credit_payments.config import Settings
from credit_payments.doctor import Doctor
from credit_payments.domain import notices, vitals
from credit_payments.domain.credits import CreditCalculator
from credit_payments.domain.diagnosis import Diagnosis
from credit_payments.domain.differences import Progress, ReconciliationReport
from credit_payments.health import HealthCheck
from credit_payments.inbox import Inbox
from credit_payments.intake import Handlers
from credit_payments.notifications import H, Notifications, Telling
from credit_payments.ports.clock import Clock
from credit_payments.ports.encryption import FieldCipher
from credit_payments.ports.gateway import PaymentGateway
from credit_payments.ports.jobs import Jobs
from credit_payments.ports.notifications import Notifier
from credit_payments.ports.secrets import CurrentSecrets
from credit_payments.ports.storage import Storage
from credit_payments.ports.telemetry import Guarded, Silent, Telemetry
from credit_payments.ports.users import Users
from credit_payments.posting import PostingQueue
from credit_payments.reconcile import Reconciler
from credit_payments.requests import KeptRequests
from credit_payments.wallets import Wallets
from credit_payments.webhooks import WebhookProcessor
from credit_payments.worker import Worker

_DEFAULT_RATES = {"usd": 10}


class System(Auditor):
    """Everything that `connect` joined; also a context manager that closes it.

    Args:
        settings: all of them.
        storage: the database.
        gateway: to Stripe.
        clock: tells the time.
        secrets: the keys and webhook secrets that hold now.
        schema_version: the version of the database's schema, which was checked; None where it has
            none.
        users: tells which users there are; every id is one when left out.
        notifier: takes notifications on.
        cipher: encrypts what is personal; without one it stays with Stripe alone.
        jobs: tells workers of stored events.
        telemetry: takes counts and timings.

    Attributes:
        payments: selling credits.
        webhooks: what Stripe reports.
        wallets: what users hold.
        events: dead letters and the quarantine, for people to decide.
        calculator: what an amount buys.
        notifications: what the host is told.
        requests: what callers have asked over HTTP under keys of their own.
        queue: the database queue that all of them write through.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        storage: Storage,
        gateway: PaymentGateway,
        clock: Clock,
        secrets: CurrentSecrets,
        schema_version: int | None = None,
        users: Users | None = None,
        notifier: Notifier | None = None,
        cipher: FieldCipher | None = None,
        jobs: Jobs | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        super().__init__(storage, clock)
        self._settings = settings
        self._secrets = secrets
        self._gateway = gateway
        self._cipher = cipher
        self._telemetry = Silent() if telemetry is None else Guarded(telemetry)
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
            wait_seconds_max=settings.queue_wait_seconds_max,
            telemetry=None if telemetry is None else self._telemetry,
        )
        self.payments = PaymentsClient(
            self._gateway,
            storage,
            self.queue,
            self.calculator,
            new_id=_new_id,
            policies=settings.policies,
            users=users,
            cipher=cipher,
            expires_seconds=settings.purchase_expires_seconds,
        )
        self.webhooks = WebhookProcessor(
            self.queue,
            clock,
            secrets=self._secrets,
            tolerance_seconds=settings.webhook_tolerance_seconds,
            body_bytes_max=settings.webhook_body_bytes_max,
            policies=settings.policies,
            mode=settings.webhook_mode,
            connect_accounts=settings.connect_accounts,
            cipher=cipher,
            handlers=self._handlers,
            jobs=jobs,
            telemetry=self._telemetry,
        )
        self.requests = KeptRequests(self.queue, new_id=_new_id)
        self.wallets = Wallets(storage, self.queue, clock, users=users)
        self.events = Inbox(
            storage,
            self.queue,
            clock,
            self.calculator,
            users=users,
            policies=settings.policies,
            expires_seconds=settings.purchase_expires_seconds,
            jobs=jobs,
        )
        self._health = HealthCheck(
            storage,
            self.queue,
            clock,
            stripe=self._setup,
            commands_max=settings.queue_commands_max,
            database=settings.database.partition("://")[0],
            schema_version=schema_version,
        )
        # The last, as it may start a thread: where anything else fails, none is left behind.
        self.notifications = Notifications(
            storage,
            self.queue,
            clock,
            telling,
            notifier=notifier,
            in_background=settings.deliver_notifications,
        )

    def on(self, kind: str) -> Callable[[H], H]:
        """Have a function called with each notification of a type, at least once.

        It is called by a thread of this process, unless `deliver_notifications` is off, soon after
        what it tells of was committed. If it raises, it is called again later.

        Raises:
            InvalidRequest: there is no such type.

        Example:
            >>> import threading
            >>> import credit_payments as cp
            >>> told = threading.Event()
            >>> with cp.connect(database="memory://") as system:
            ...     @system.on("credits.granted")
            ...     def greet(notification):
            ...         told.set()
            ...     _ = system.wallets.grant("ada", 5, key="welcome", reason="welcome")
            ...     told.wait(10)
            True
        """
        return self.notifications.on(kind)

    @property
    def origins(self) -> Mapping[str, str]:
        """Which source gave each setting that was not left at its default; never a value."""
        return self._secrets.origins

    @property
    def livemode(self) -> bool | None:
        """Whether Stripe's secret key moves real money, as it is now; None without one."""
        return self._secrets.livemode

    def worker(self) -> Worker:
        """Somebody who applies stored events, delivers notifications, and posts what is due.

        Start as many as you like, in any process and on any machine: `run()` works until `stop()`
        is called, `drain()` does what is due now. Close the system only when they have ended.

        Example:
            >>> import credit_payments as cp
            >>> with cp.connect(database="memory://") as system:
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

    def health(self) -> vitals.Health:
        """How the system is now: what waits, what a person should look at, how late events come.

        A few bounded reads. It raises nothing where the database does not answer: the health says
        so, once the driver has given up.

        Example:
            >>> import credit_payments as cp
            >>> with cp.connect(database="memory://") as system:
            ...     system.health().status
            'ok'
        """
        return self._health.run()

    def diagnose(self, *, webhook_url: str | None = None) -> Diagnosis:
        """What a person should do for this system to lose nothing, and all that is well.

        Looks at the settings and where they came from, the database, Stripe, the webhook endpoint
        and what waits; see `credit-payments doctor`. It changes nothing, and raises nothing where
        the database or Stripe does not answer: the diagnosis says so.

        Args:
            webhook_url: the endpoint that has to be registered with Stripe, exactly; when left out,
                one that is sent the library's events.

        Example:
            >>> import credit_payments as cp
            >>> with cp.connect(database="memory://") as system:
            ...     found = system.diagnose()
            >>> found.level
            'warning'
            >>> next(one.said for one in found.findings if one.name == "database")
            'memory is for development only: all is gone with the process'
        """
        doctor = Doctor(
            self._settings,
            self._secrets,
            self._gateway,
            self._clock,
            types=self._handlers.types,
        )
        return doctor.examine(self._storage, self.health, webhook_url=webhook_url)

    def reconcile(
        self,
        *,
        since: datetime,
        until: datetime | None = None,
        repair: bool = False,
        restart: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> ReconciliationReport:
        """Hold what Stripe has against the ledger, and post what is missing where that is wanted.

        Walks the payment intents, refunds and disputes that Stripe created in that time, its events
        (of 30 days at most: https://docs.stripe.com/api/events), and our own payments. What is here
        and not at Stripe is reported, and never taken back. Others may write meanwhile, and any
        number of runs may be under way. A run that broke off goes on with the next call for the
        same `since` and `repair` within a day.

        Args:
            since: the first instant.
            until: the instant after the last; ten minutes ago when left out, because younger
                events may be on their way.
            repair: post what is missing, by the same commands that a webhook runs.
            restart: begin anew, also where a run broke off.
            progress: called after each page.

        Raises:
            InvalidRequest: no datetimes with a time zone, or none in that order.
            NotConfigured: there is no Stripe key.
            TryAgain: Stripe or the database did not answer; the same call goes on.
        """
        reconciler = Reconciler(
            self._storage,
            self.queue,
            self._clock,
            self._gateway,
            policies=self._settings.policies,
            cipher=self._cipher,
        )
        return reconciler.run(
            since=since, until=until, repair=repair, restart=restart, progress=progress
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
            >>> import credit_payments as cp
            >>> file = io.BytesIO()
            >>> with cp.connect(database="memory://") as system:
            ...     _ = system.wallets.grant("ada", 5, key="welcome", reason="welcome")
            ...     _ = system.export(file)
            >>> _ = file.seek(0)
            >>> with cp.connect(database="memory://") as other:
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
        with ExitStack() as parts:  # the others also where one raises; the last is closed first
            parts.callback(self._storage.close)
            parts.callback(self._gateway.close)
            parts.callback(self.queue.close)
            parts.callback(self.notifications.close)

    def _setup(self) -> vitals.StripeSetup:
        return vitals.StripeSetup(
            configured=self._secrets.secret_key() is not None,
            livemode=self._secrets.livemode,
            webhooks_configured=bool(self._secrets.signing_secrets()),
            webhook_mode=self._settings.webhook_mode,
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("A system holds secrets and connections, and is not pickled: connect anew")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _new_id() -> str:
    return os.urandom(16).hex()


def _wanted(settings: Settings, notifier: Notifier | None) -> Sequence[str]:
    """The types that are recorded whether or not this process has a handler for them."""
    if settings.notifications is not None:
        return settings.notifications
    return () if notifier is None else notices.TYPES
