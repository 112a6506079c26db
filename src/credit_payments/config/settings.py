"""The settings, what each means, and what the sources call those that they may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import attrs

from credit_payments.config.fixed import FixedSecrets
from credit_payments.config.problems import mode, problems
from credit_payments.domain import key_ring
from credit_payments.domain.clawback import Policies, Policy
from credit_payments.domain.packages import DEFAULT_PACKAGES, CreditPackage
from credit_payments.domain.pricing import Bonus, Rate, Tier, TierSchedule
from credit_payments.errors import ConfigurationError

NAMES_IN_SOURCES: Mapping[str, str] = {
    "database": "credit_payments_database_url",
    "stripe_secret_key": "stripe_secret_key",
    "stripe_publishable_key": "stripe_publishable_key",
    "stripe_webhook_secret": "stripe_webhook_secret",
    "stripe_api_version": "stripe_api_version",
    "stripe_api_base": "stripe_api_base",
    "purchase_expires_seconds": "credit_payments_purchase_expires_seconds",
    "refund_policy": "credit_payments_refund_policy",
    "dispute_policy": "credit_payments_dispute_policy",
    "notifications": "credit_payments_notifications",
    "low_credits": "credit_payments_low_credits",
    "connect_accounts": "credit_payments_connect_accounts",
    "encryption_keys": "credit_payments_encryption_keys",
    "encryption_index_key": "credit_payments_encryption_index_key",
    "encryption_vault_transit_key": "credit_payments_encryption_vault_transit_key",
    "vault_url": "vault_addr",
    "vault_token": "vault_token",
    "vault_namespace": "vault_namespace",
    "vault_ca": "vault_cacert",
    "vault_role_id": "vault_role_id",
    "vault_secret_id": "vault_secret_id",
    "vault_kubernetes_role": "credit_payments_vault_kubernetes_role",
    "vault_auth_mount": "credit_payments_vault_auth_mount",
    "vault_mount": "credit_payments_vault_mount",
    "vault_path": "credit_payments_vault_path",
    "vault_kv_version": "credit_payments_vault_kv_version",
    "vault_required": "credit_payments_vault_required",
}
"""The settings that a source may hold, and the name it is asked for; all others are code."""


_DIGITS_MAX = 20

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105
"""Where Kubernetes mounts the token of a pod's service account."""


def _without_password(url: object) -> str:
    """A database URL for people: without user, password and query, which may hold either."""
    if not isinstance(url, str):
        return "?"
    # Up to the last `@`, wherever it is: a password that was not escaped may hold / and ? itself.
    return repr(re.sub(r"(?<=://).*@", "***@", url, flags=re.DOTALL).partition("?")[0])


def _split_secrets(given: str | Sequence[str] | None) -> str | Sequence[str] | None:
    """One secret, several in a row, or one text with commas, as an environment variable has it."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",")) if "," in given else given
    return None if given is None else _to_tuple(given)


def _split_names(given: str | Sequence[str] | None) -> Sequence[str] | None:
    """Names in a row, or one text with commas; one that is empty is an accident, and stays."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",")) if given.strip() else given
    return None if given is None else _to_tuple(given)


def _to_tuple(given: Sequence[Any]) -> Sequence[Any]:
    try:
        return tuple(given)
    except TypeError as error:
        raise ConfigurationError(
            "Give packages, bonuses, accounts and several secrets as lists."
        ) from error


def _without_slash(url: str | None) -> str | None:
    return url.rstrip("/") if isinstance(url, str) else url


def _none_in_words(given: Any) -> Any:
    """`none` for None: an environment has no other way to say it, and empty is an accident."""
    return None if given == "none" else given


def _number_in_words(given: Any) -> Any:
    is_number = isinstance(given, str) and given.isascii() and given.isdecimal()
    return int(given) if is_number and len(given) <= _DIGITS_MAX else given


def _switch_in_words(given: Any) -> Any:
    return {"true": True, "false": False}.get(given, given) if isinstance(given, str) else given


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be configured. Immutable, and wrong as a whole or not at all.

    All that is wrong is said in one error, each point with its remedy. Secrets appear in no
    `repr`, no error and no pickle. A missing Stripe key is no error here: the parts that need
    none (credits, wallets) work without one, the others raise `NotConfigured` when called.

    Args:
        database: `sqlite:///credits.db` (four slashes for an absolute path), `postgresql://…`,
            `mongodb://…` or `memory://`.
        create_database: whether a database that is not there is created.
        stripe_secret_key: `sk_…` or a restricted `rk_…`.
        stripe_publishable_key: `pk_…`, of the same mode.
        stripe_webhook_secret: `whsec_…`, or several while one is being rotated (a sequence, or
            one text with commas between them).
        stripe_api_version: pins Stripe's API version: `2023-10-16`; None takes the SDK's.
        stripe_api_base: another server than Stripe's, such as the simulator: https, or http on
            the loopback interface; never with a live key.
        packages: what is sold at prices of its own; the calculator checks it, and the next three.
        tiers: prices that depend on the amount; None for none.
        rates: credits per major unit, by currency; None takes the calculator's default.
        bonuses: credits on top from an amount on.
        stripe_timeout_seconds: how long one request may wait for an answer.
        stripe_attempts_max: how often one request is made, the first time included.
        stripe_wait_seconds_max: the longest pause between two attempts; **0 in tests**, which
            then run through all attempts without waiting.
        queue_commands_max: writes that may wait; one more raises `QueueFull`.
        queue_wait_seconds_max: how long writes wait, and whoever asked for them, behind one that
            the database does not answer; then they raise `TryAgain`. That one itself is given up
            by the bounds of its driver.
        batch_commands_max: writes that share one database transaction, at most.
        purchase_expires_seconds: how long purchased credits last; None for ever. What a payment
            buys is fixed when its intent is created, this included.
        refund_policy: what becomes of refunded credits that are spent already: the wallet owes
            them (`"debt"`), they are written off (`"clamp"`), or it owes them and nothing can be
            spent until somebody resumes it (`"freeze"`).
        dispute_policy: the same for disputes.
        notifications: the types of notifications that are recorded, besides those that a handler
            of this process was registered for; all of them when left out and a notifier is given.
        low_credits: below how many available credits `credits.low` is told; None for never.
        deliver_notifications: whether a thread of this process delivers them, once it has a handler
            or a notifier; otherwise call `system.notifications.deliver()`.
        webhook_tolerance_seconds: how far a webhook's timestamp may be off, both ways.
        webhook_body_bytes_max: the largest webhook body that is read.
        webhook_mode: whether a webhook is applied before it is answered (`"inline"`), or only
            stored, and applied by a worker (`"queued"`).
        connect_accounts: the ids of connected accounts (`acct_…`) whose events are taken, too; of
            others they are refused.
        worker_lease_seconds: how long a worker that died is waited for.
        encryption_keys: what personal data is encrypted with: `id:key`, or several while keys are
            rotated, of which the first encrypts (one text with commas or white space between them,
            a sequence, or a mapping). A key is 32 random bytes in base64. None keeps no personal
            data.
        encryption_index_key: what customers are found by their e-mail address with: another such
            key, without an id.
        encryption_vault_transit_key: the key of Vault's transit engine that has encrypted the two
            settings before this one; None where they are the keys themselves.
        vault_url: Vault's server: https, or http on the loopback interface. With it and a way to
            log in, Vault is the first link of the chain (see `vault_path`).
        vault_token: may read the secret, decrypt with the transit key, or both.
        vault_namespace: for servers that have them.
        vault_transit_mount: where the transit engine is mounted.
        vault_ca: the file with the authority of Vault's certificate.
        vault_role_id: logs in with AppRole instead of a token.
        vault_secret_id: the AppRole's, unless the role needs none.
        vault_kubernetes_role: logs in with the pod's service account instead of a token.
        vault_kubernetes_token_path: the file with the service account's token.
        vault_auth_mount: where the auth method is mounted; `approle` or `kubernetes` when left out.
        vault_mount: where the KV engine is mounted.
        vault_path: the secret that holds settings; None, or `none` in an environment, looks for
            none in Vault.
        vault_kv_version: 1 or 2; when left out Vault is asked.
        vault_required: whether a system refuses to start while Vault cannot be read, instead of
            going on with the other sources (`true` or `false` in an environment).
        secrets_refresh_seconds: how old keys and webhook secrets that came from a source may become
            before it is asked again; None keeps those of the start.
        webhook_secret_overlap_seconds: how long a webhook secret is accepted after the source held
            it last, once another has replaced it.

    Raises:
        ConfigurationError: naming every problem, and in `param` the first setting at fault.

    Example:
        >>> settings = Settings(database="memory://", stripe_secret_key="sk_test_simulator")
        >>> settings.livemode
        False
        >>> "sk_test" in repr(settings)
        False
    """

    database: str = attrs.field(default="sqlite:///credits.db", repr=_without_password)
    create_database: bool = True
    stripe_secret_key: str | None = attrs.field(default=None, repr=False)
    stripe_publishable_key: str | None = None
    stripe_webhook_secret: str | Sequence[str] | None = attrs.field(
        default=None, repr=False, converter=_split_secrets
    )
    stripe_api_version: str | None = None
    stripe_api_base: str | None = attrs.field(default=None, converter=_without_slash)
    packages: Sequence[CreditPackage] = attrs.field(default=DEFAULT_PACKAGES, converter=_to_tuple)
    tiers: TierSchedule | Sequence[TierSchedule] | Sequence[Tier] | None = None
    rates: Mapping[str, Rate] | None = None
    bonuses: Sequence[Bonus] = attrs.field(default=(), converter=_to_tuple)
    stripe_timeout_seconds: float = 30.0
    stripe_attempts_max: int = 3
    stripe_wait_seconds_max: float = 8.0
    queue_commands_max: int = 10_000
    queue_wait_seconds_max: float = 30.0
    batch_commands_max: int = 128
    purchase_expires_seconds: int | None = attrs.field(default=None, converter=_number_in_words)
    refund_policy: str = "debt"
    dispute_policy: str = "debt"
    notifications: Sequence[str] | None = attrs.field(default=None, converter=_split_names)
    low_credits: int | None = attrs.field(default=None, converter=_number_in_words)
    deliver_notifications: bool = True
    webhook_tolerance_seconds: int = 300
    webhook_body_bytes_max: int = 1024 * 1024
    webhook_mode: str = "inline"
    connect_accounts: Sequence[str] = attrs.field(default=(), converter=_split_names)
    worker_lease_seconds: float = 60.0
    encryption_keys: key_ring.KeyTexts | None = attrs.field(
        default=None, repr=False, converter=key_ring.split
    )
    encryption_index_key: str | None = attrs.field(default=None, repr=False)
    encryption_vault_transit_key: str | None = None
    vault_url: str | None = attrs.field(default=None, repr=False, converter=_without_slash)
    vault_token: str | None = attrs.field(default=None, repr=False)
    vault_namespace: str | None = None
    vault_transit_mount: str = "transit"
    vault_ca: str | None = None
    vault_role_id: str | None = attrs.field(default=None, repr=False)
    vault_secret_id: str | None = attrs.field(default=None, repr=False)
    vault_kubernetes_role: str | None = None
    vault_kubernetes_token_path: str = SERVICE_ACCOUNT_TOKEN
    vault_auth_mount: str | None = None
    vault_mount: str = "secret"
    vault_path: str | None = attrs.field(default="flask-app/stripe", converter=_none_in_words)
    vault_kv_version: int | None = attrs.field(default=None, converter=_number_in_words)
    vault_required: bool = attrs.field(default=False, converter=_switch_in_words)
    secrets_refresh_seconds: float | None = 60.0
    webhook_secret_overlap_seconds: float = 86_400.0

    def __attrs_post_init__(self) -> None:
        found = list(problems(self))
        if found:
            lines = "".join(f"\n  - {name}: {what}" for name, what in found)
            raise ConfigurationError(
                f"The settings cannot be used; to mend:{lines}",
                param=found[0][0],
                problems=found,
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("Settings hold secrets and are not pickled: load them where they are used")

    @property
    def livemode(self) -> bool | None:
        """Whether the secret key moves real money; None without a key."""
        key = self.stripe_secret_key
        return None if key is None else mode(key) == "live"

    @property
    def policies(self) -> Policies:
        """What becomes of credits that are to be taken back and are spent already."""
        return Policies(refund=Policy(self.refund_policy), dispute=Policy(self.dispute_policy))

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Every webhook secret that is valid now; empty where webhooks are not configured."""
        given = self.stripe_webhook_secret
        if given is None:
            return ()
        return (given,) if isinstance(given, str) else tuple(given)

    def fixed_secrets(self) -> FixedSecrets:
        """The keys and secrets of these settings, for who has no sources to look at again."""
        return FixedSecrets(
            secret_key=self.stripe_secret_key,
            webhook_secrets=self.webhook_secrets,
            livemode=self.livemode,
        )
