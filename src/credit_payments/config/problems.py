"""What can be wrong with settings: each with its remedy, and no secret quoted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from credit_payments.config import vault
from credit_payments.config.forms import matches as _matches
from credit_payments.config.forms import url_remedy as _url_remedy
from credit_payments.domain import key_ring
from credit_payments.domain.clawback import Policy
from credit_payments.domain.notices import TYPES
from credit_payments.domain.records import CREDITS_MAX

if TYPE_CHECKING:
    from credit_payments.config.settings import Settings

STRIPE_API_BASE = "https://api.stripe.com"

_SECRET_KEY = re.compile(r"(?:sk|rk)_(test|live)_[A-Za-z0-9_]{1,240}", re.ASCII)
_PUBLISHABLE_KEY = re.compile(r"pk_(test|live)_[A-Za-z0-9_]{1,240}", re.ASCII)
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]{1,240}", re.ASCII)
_ACCOUNT = re.compile(r"acct_[A-Za-z0-9]{1,240}", re.ASCII)
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(?:\.[a-z]+)?", re.ASCII)
_DATABASE = re.compile(r"[a-z][a-z0-9+]*://.*", re.ASCII)

_BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "stripe_timeout_seconds": (0.1, 300, "seconds"),
    "stripe_attempts_max": (1, 10, "attempts"),
    "stripe_wait_seconds_max": (0, 60, "seconds"),
    "queue_commands_max": (1, 1_000_000, "commands"),
    "queue_wait_seconds_max": (1, 300, "seconds"),
    "batch_commands_max": (1, 10_000, "commands"),
    "purchase_expires_seconds": (1, 100 * 366 * 24 * 3600, "whole seconds"),
    "low_credits": (1, CREDITS_MAX, "credits"),
    "webhook_tolerance_seconds": (1, 3_600, "seconds"),
    "webhook_body_bytes_max": (1_024, 16 * 1024 * 1024, "bytes"),
    "worker_lease_seconds": (1, 3_600, "seconds"),
    "secrets_refresh_seconds": (1, 24 * 3_600, "seconds"),
    "webhook_secret_overlap_seconds": (0, 30 * 24 * 3_600, "seconds"),
}

_MAY_BE_NONE = {"low_credits", "purchase_expires_seconds", "secrets_refresh_seconds"}


def problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each setting at fault with what to do; no value of a secret is ever quoted."""
    yield from _database_problems(settings.database)
    yield from _key_problems(settings.stripe_secret_key, settings.stripe_publishable_key)
    yield from _webhook_secret_problems(settings.stripe_webhook_secret)
    yield from _intake_problems(settings)
    version = settings.stripe_api_version
    if version is not None and not _matches(_API_VERSION, version):
        yield "stripe_api_version", "write it as Stripe does, such as 2023-10-16, or leave it out"
    yield from _api_base_problems(settings.stripe_api_base, settings.stripe_secret_key)
    yield from _encryption_problems(settings)
    yield from vault.problems(settings)
    yield from _bounds_problems(settings)
    yield from _policy_problems(settings)
    yield from _notification_problems(settings)
    yield from _switch_problems(settings)


def _database_problems(database: object) -> Iterator[tuple[str, str]]:
    if isinstance(database, str) and database != database.strip():
        # Behind sqlite:/// it would be another file: a new one, and empty.
        yield "database", "remove the white space around it"
    elif not _matches(_DATABASE, database):
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


def _intake_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.webhook_mode not in ("inline", "queued"):
        yield "webhook_mode", 'choose "inline" or "queued"'
    accounts: Any = settings.connect_accounts
    if not isinstance(accounts, tuple) or not all(_matches(_ACCOUNT, one) for one in accounts):
        yield "connect_accounts", "list the ids of connected accounts: acct_…"


def _api_base_problems(base: object, secret: object) -> Iterator[tuple[str, str]]:
    if base is None or base == STRIPE_API_BASE:
        return
    remedy = _url_remedy(base, example="http://127.0.0.1:12111")
    if remedy:
        yield "stripe_api_base", remedy
    if _mode(_SECRET_KEY, secret) == "live":
        yield "stripe_api_base", f"a live key goes to {STRIPE_API_BASE} only: leave this out"


def _encryption_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    yield from key_ring.problems(
        settings.encryption_keys,
        settings.encryption_index_key,
        wrapped=settings.encryption_vault_transit_key is not None,
    )


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
        if getattr(settings, name) not in tuple(Policy):
            yield name, f"choose one of {', '.join(Policy)}"


def _notification_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    given: Any = settings.notifications
    if given is not None and (isinstance(given, str) or any(one not in TYPES for one in given)):
        yield "notifications", f"list some of {', '.join(TYPES)}"


def _switch_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in ("create_database", "deliver_notifications", "vault_required"):
        if not isinstance(getattr(settings, name), bool):
            yield name, "give True or False"


def mode(secret_key: object) -> str | None:
    """`test` or `live`, as a secret key of Stripe tells; None for no such key."""
    return _mode(_SECRET_KEY, secret_key)


def _mode(form: re.Pattern[str], key: object) -> str | None:
    match = form.fullmatch(key) if isinstance(key, str) else None
    return match.group(1) if match else None
