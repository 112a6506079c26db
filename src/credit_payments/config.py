"""The settings of one system, checked together, and the chain in which they are looked for.

Nothing is read at import. `load_settings` takes what the application gives by name; what it does
not give comes from the secret sources, in their order, value by value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, cast

import attrs

from credit_payments.domain.clawback import Policies, Policy
from credit_payments.domain.notices import TYPES
from credit_payments.domain.packages import DEFAULT_PACKAGES, CreditPackage
from credit_payments.domain.pricing import Bonus, Rate, Tier, TierSchedule
from credit_payments.domain.records import CREDITS_MAX
from credit_payments.errors import ConfigurationError
from credit_payments.ports.secrets import SecretSource

__all__ = ["NAMES_IN_SOURCES", "Settings", "load_settings"]

NAMES_IN_SOURCES: Mapping[str, str] = {
    "database": "credit_payments_database_url",
    "stripe_secret_key": "stripe_secret_key",
    "stripe_publishable_key": "stripe_publishable_key",
    "stripe_webhook_secret": "stripe_webhook_secret",
    "stripe_api_version": "stripe_api_version",
    "stripe_api_base": "stripe_api_base",
}
"""The settings that a source may hold, and the name it is asked for; all others are code."""

STRIPE_API_BASE = "https://api.stripe.com"

_SECRET_KEY = re.compile(r"(?:sk|rk)_(test|live)_[A-Za-z0-9_]{1,240}", re.ASCII)
_PUBLISHABLE_KEY = re.compile(r"pk_(test|live)_[A-Za-z0-9_]{1,240}", re.ASCII)
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]{1,240}", re.ASCII)
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(?:\.[a-z]+)?", re.ASCII)
_DATABASE = re.compile(r"[a-z][a-z0-9+]*://.*", re.ASCII)
_LOOPBACK_HOST = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1", re.ASCII)

_BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "stripe_timeout_seconds": (0.1, 300, "seconds"),
    "stripe_attempts_max": (1, 10, "attempts"),
    "stripe_wait_seconds_max": (0, 60, "seconds"),
    "queue_commands_max": (1, 1_000_000, "commands"),
    "batch_commands_max": (1, 10_000, "commands"),
    "purchase_expires_seconds": (1, 100 * 366 * 24 * 3600, "whole seconds"),
    "low_credits": (1, CREDITS_MAX, "credits"),
    "webhook_tolerance_seconds": (1, 3_600, "seconds"),
    "webhook_body_bytes_max": (1_024, 16 * 1024 * 1024, "bytes"),
}

_MAY_BE_NONE = {"low_credits", "purchase_expires_seconds"}


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


def _to_tuple(given: Sequence[Any]) -> Sequence[Any]:
    try:
        return tuple(given)
    except TypeError as error:
        raise ConfigurationError("Give packages, bonuses and several secrets as lists.") from error


def _without_slash(url: str | None) -> str | None:
    return url.rstrip("/") if isinstance(url, str) else url


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be configured. Immutable, and wrong as a whole or not at all.

    All that is wrong is said in one error, each point with its remedy. Secrets appear in no
    `repr`, no error and no pickle. A missing Stripe key is no error here: the parts that need
    none (credits, wallets) work without one, the others raise `NotConfigured` when called.

    Args:
        database: `sqlite:///credits.db` (four slashes for an absolute path) or `memory://`.
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
    batch_commands_max: int = 128
    purchase_expires_seconds: int | None = None
    refund_policy: str = "debt"
    dispute_policy: str = "debt"
    notifications: Sequence[str] | None = None
    low_credits: int | None = None
    deliver_notifications: bool = True
    webhook_tolerance_seconds: int = 300
    webhook_body_bytes_max: int = 1024 * 1024

    def __attrs_post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            lines = "".join(f"\n  - {name}: {what}" for name, what in problems)
            raise ConfigurationError(
                f"The settings cannot be used; to mend:{lines}", param=problems[0][0]
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("Settings hold secrets and are not pickled: load them where they are used")

    @property
    def livemode(self) -> bool | None:
        """Whether the secret key moves real money; None without a key."""
        key = self.stripe_secret_key
        return None if key is None else _mode(_SECRET_KEY, key) == "live"

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


def load_settings(overrides: Mapping[str, object], sources: Sequence[SecretSource]) -> Settings:
    """The settings from what the application gives and what the sources hold.

    A name that `overrides` holds is given, even with None: no source is then asked for it. For
    each other name of `NAMES_IN_SOURCES` the first source that has a value decides, so a secret
    may come from a vault and the database URL from the environment.

    Args:
        overrides: fields of `Settings` by name.
        sources: where to look, first to last.

    Raises:
        ConfigurationError: a name that does not exist (close ones are named), a source that
            cannot be read, or settings that cannot be used.

    Example:
        >>> load_settings({"database": "memory://"}, sources=[]).database
        'memory://'
    """
    known = [field.name for field in attrs.fields(Settings)]
    unknown = [name for name in overrides if name not in known]
    if unknown:
        lines = "".join(f"\n  - {name}{_close_to(name, known)}" for name in unknown)
        raise ConfigurationError(f"There is no such setting:{lines}", param=unknown[0])
    values = dict(overrides)
    for name, name_in_source in NAMES_IN_SOURCES.items():
        if name not in values:
            found = (source.get(name_in_source) for source in sources)
            value = next((value for value in found if value is not None), None)
            if value is not None:
                values[name] = value
    return Settings(**cast("dict[str, Any]", values))


def _close_to(name: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 - only a misspelt name needs it

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each setting at fault with what to do; no value of a secret is ever quoted."""
    yield from _database_problems(settings.database)
    yield from _key_problems(settings.stripe_secret_key, settings.stripe_publishable_key)
    yield from _webhook_secret_problems(settings.stripe_webhook_secret)
    version = settings.stripe_api_version
    if version is not None and not _matches(_API_VERSION, version):
        yield "stripe_api_version", "write it as Stripe does, such as 2023-10-16, or leave it out"
    yield from _api_base_problems(settings.stripe_api_base, settings.stripe_secret_key)
    yield from _bounds_problems(settings)
    yield from _policy_problems(settings)
    yield from _notification_problems(settings)
    yield from _switch_problems(settings)


def _database_problems(database: object) -> Iterator[tuple[str, str]]:
    if not _matches(_DATABASE, database):
        yield (
            "database",
            "give a URL, such as sqlite:///credits.db or memory://",
        )


def _key_problems(secret: object, publishable: object) -> Iterator[tuple[str, str]]:
    if secret is not None and not _matches(_SECRET_KEY, secret):
        yield "stripe_secret_key", _key_remedy(secret, "sk_test_… or sk_live_… (or rk_…)")
    if publishable is not None and not _matches(_PUBLISHABLE_KEY, publishable):
        yield "stripe_publishable_key", _key_remedy(publishable, "pk_test_… or pk_live_…")
    modes = {_mode(_SECRET_KEY, secret), _mode(_PUBLISHABLE_KEY, publishable)}
    if modes == {"test", "live"}:
        yield (
            "stripe_publishable_key",
            "take both keys from the same mode: one is live, one is test",
        )


def _key_remedy(given: object, form: str) -> str:
    if not isinstance(given, str):
        return f"give text of the form {form}"
    if not given.strip():
        return f"it is empty: give {form}, or leave it out"
    if given != given.strip():
        return "remove the white space around it"
    kind = {"pk_": "a publishable key", "sk_": "a secret key", "rk_": "a restricted secret key"}
    mixed_up = kind.get(given[:3])
    if mixed_up and given[:3] not in form:
        return f"it holds {mixed_up}; this one has the form {form}"
    if given.startswith("whsec_"):
        return f"it holds a webhook secret; this one has the form {form}"
    return f"copy it again from Stripe's dashboard; it has the form {form}"


def _webhook_secret_problems(given: object) -> Iterator[tuple[str, str]]:
    if given is None:
        return
    secrets = given if isinstance(given, tuple) else (given,)
    if not secrets:
        # An empty list must not come to mean "any signature will do", nor pass unnoticed.
        yield "stripe_webhook_secret", "the list is empty: give whsec_…, or leave it out"
    for secret in secrets:
        if not _matches(_WEBHOOK_SECRET, secret):
            yield "stripe_webhook_secret", _webhook_remedy(secret)


def _webhook_remedy(given: object) -> str:
    if isinstance(given, str) and not given.strip():
        return "it is empty: give whsec_…, or leave it out"
    if isinstance(given, str) and given != given.strip():
        return "remove the white space around it"
    return "copy the signing secret of the endpoint from Stripe's dashboard; its form is whsec_…"


def _api_base_problems(base: object, secret: object) -> Iterator[tuple[str, str]]:
    if base is None or base == STRIPE_API_BASE:
        return
    remedy = _url_remedy(base)
    if remedy:
        yield "stripe_api_base", remedy
    if _mode(_SECRET_KEY, secret) == "live":
        yield "stripe_api_base", f"a live key goes to {STRIPE_API_BASE} only: leave this out"


def _url_remedy(base: object) -> str | None:
    from urllib.parse import urlsplit  # noqa: PLC0415 - few processes configure a base

    form = "give scheme, host and port only, such as http://127.0.0.1:12111"
    if not isinstance(base, str) or not base.isascii() or not base.isprintable():
        return form
    try:
        url = urlsplit(base)
        host, _ = url.hostname, url.port
    except ValueError:
        return form
    bare = not (url.path or url.query or url.fragment or "@" in url.netloc)
    if url.scheme not in ("http", "https") or not host or not bare or " " in base:
        return form
    if url.scheme == "http" and not _matches(_LOOPBACK_HOST, host):
        return "use https: http would send the key in the clear, and is for loopback only"
    return None


def _bounds_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, (least, most, unit) in _BOUNDS.items():
        value = getattr(settings, name)
        kinds = (int, float) if unit == "seconds" else (int,)
        if value is None and name in _MAY_BE_NONE:
            continue
        # `not least <= value`, so that NaN is out of bounds too.
        if type(value) not in kinds or not least <= value <= most:
            yield name, f"give a number of {unit} from {least} to {most}"


def _policy_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in ("refund_policy", "dispute_policy"):
        if getattr(settings, name) not in set(Policy):
            yield name, f"choose one of {', '.join(Policy)}"


def _notification_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    given: Any = settings.notifications
    if given is not None and (isinstance(given, str) or not set(given) <= set(TYPES)):
        yield "notifications", f"list some of {', '.join(TYPES)}"


def _switch_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in ("create_database", "deliver_notifications"):
        if not isinstance(getattr(settings, name), bool):
            yield name, "give True or False"


def _matches(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _mode(form: re.Pattern[str], key: object) -> str | None:
    match = form.fullmatch(key) if isinstance(key, str) else None
    return match.group(1) if match else None
