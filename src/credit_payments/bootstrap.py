"""connect(): the one place where adapters are chosen and joined."""

from __future__ import annotations

from contextlib import closing
from typing import TypedDict, Unpack

from credit_payments.adapters.ciphers import open_cipher
from credit_payments.adapters.databases import Opening, open_storage, schema_version
from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.secret_chain import open_chain
from credit_payments.adapters.stripe_gateway import StripeGateway
from credit_payments.adapters.system_clock import SystemClock
from credit_payments.config import LiveSecrets, Settings
from credit_payments.doctor import Doctor
from credit_payments.domain.diagnosis import Diagnosis
from credit_payments.domain.findings import configuration
from credit_payments.errors import CreditPaymentsError
from credit_payments.ports.clock import Clock
from credit_payments.ports.encryption import FieldCipher
from credit_payments.ports.jobs import Jobs
from credit_payments.ports.notifications import Notifier
from credit_payments.ports.secrets import CurrentSecrets
from credit_payments.ports.storage import Storage
from credit_payments.ports.telemetry import Telemetry
from credit_payments.ports.users import Users
from credit_payments.system import System


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

    The chain is Vault where it is configured, then the secret files in `/secrets`, then the
    environment: `STRIPE_SECRET_KEY`, `STRIPE_WEBHOOK_SECRET`, `CREDIT_PAYMENTS_DATABASE_URL` and
    others (see the configuration). Keys and webhook secrets that come from it are replaced while
    the system runs.

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
        TryAgain: the database, or Vault where it is required, did not answer.

    Example:
        >>> with connect(database="memory://") as system:
        ...     system.wallets.grant("ada", 5, key="welcome", reason="welcome").balance_after
        5
    """
    clock = clock or SystemClock()
    return _joined(
        LiveSecrets(settings, open_chain(settings), clock),
        clock=clock,
        users=users,
        notifier=notifier,
        jobs=jobs,
        telemetry=telemetry,
    )


def diagnose(*, webhook_url: str | None = None, **settings: object) -> Diagnosis:
    """What `System.diagnose` finds, also where no system can be built: it then says why.

    Nothing is created, unless `create_database` says so.

    Args:
        webhook_url: see there.
        settings: any field of `Settings` by name, as in `connect`.
    """
    clock = SystemClock()
    settings = {"create_database": False, "deliver_notifications": False, **settings}
    try:
        secrets = LiveSecrets(settings, open_chain(settings), clock)
    except CreditPaymentsError as error:
        return Diagnosis(tuple(configuration.of_error(error)))
    try:
        system = _joined(secrets, clock=clock)
    except (CreditPaymentsError, OSError) as error:
        with closing(_gateway(secrets.settings, secrets)) as gateway:
            doctor = Doctor(secrets.settings, secrets, gateway, clock)
            return doctor.examine_without(error, webhook_url=webhook_url)
    with system:
        return system.diagnose(webhook_url=webhook_url)


class _Parts(TypedDict, total=False):
    """What `System` takes as it is given, and can do without."""

    users: Users | None
    notifier: Notifier | None
    jobs: Jobs | None
    telemetry: Telemetry | None


def _joined(secrets: LiveSecrets, *, clock: Clock, **parts: Unpack[_Parts]) -> System:
    """The system of settings that were loaded."""
    loaded = secrets.settings
    cipher = open_cipher(loaded)
    storage = open_storage(
        loaded.database, Opening(create=loaded.create_database, livemode=bool(loaded.livemode))
    )
    try:
        return over(storage, loaded, clock=clock, cipher=cipher, secrets=secrets, **parts)
    except BaseException:
        storage.close()
        raise


def over(
    storage: Storage,
    settings: Settings,
    *,
    clock: Clock | None = None,
    cipher: FieldCipher | None = None,
    secrets: CurrentSecrets | None = None,
    **parts: Unpack[_Parts],
) -> System:
    """A system over a storage that is open, a third party's for example; it closes it.

    The settings' `database` is not opened. What else there is to give, `System` says.
    """
    secrets = secrets or settings.fixed_secrets()
    return System(
        settings,
        storage=storage,
        gateway=_gateway(settings, secrets),
        clock=clock or SystemClock(),
        secrets=secrets,
        schema_version=schema_version(settings.database),
        cipher=cipher,
        **parts,
    )


def _gateway(settings: Settings, secrets: CurrentSecrets) -> StripeGateway:
    return StripeGateway(
        secrets,
        api_version=settings.stripe_api_version,
        api_base=settings.stripe_api_base,
        timeout_seconds=settings.stripe_timeout_seconds,
        retry=RetryPolicy(
            attempts=settings.stripe_attempts_max,
            wait_seconds_max=settings.stripe_wait_seconds_max,
        ),
    )
