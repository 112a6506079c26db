"""What can be wrong with the settings for Vault.

VAULT_ADDR and VAULT_TOKEN may be there for another program. So what is wrong with them is an error
only where this system says that it cannot do without Vault; else the chain warns, and goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from credit_payments.config.forms import HEADER, MOUNT, matches, url_remedy

if TYPE_CHECKING:
    from credit_payments.config.settings import Settings

_TRANSIT_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}", re.ASCII)
# No segment of dots alone: the path becomes part of a URL.
_PATH = re.compile(
    r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}){0,15}"
)


def is_asked(settings: Settings) -> bool:
    """Whether settings are looked for in Vault: its URL, a path and a way to log in are known."""
    return (
        settings.vault_url is not None and settings.vault_path is not None and _can_log_in(settings)
    )


def problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each setting for Vault at fault with what to do; no value of a secret is ever quoted."""
    yield from _form_problems(settings)
    if settings.encryption_vault_transit_key is not None:
        yield from _transit_problems(settings)
    if settings.vault_required is True and settings.vault_path is None:
        yield "vault_path", "name the secret's path, because Vault is required"
    if settings.vault_required is True or settings.encryption_vault_transit_key is not None:
        yield from access_problems(settings)


def access_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """What keeps this system from asking Vault anything."""
    if remedy := url_remedy(settings.vault_url, example="https://vault.example.com:8200"):
        yield "vault_url", remedy
    if not _can_log_in(settings):
        yield (
            "vault_token",
            "give the token, without white space (or vault_role_id, or vault_kubernetes_role)",
        )
    optional = {
        "vault_token": "give the token, without white space",
        "vault_namespace": "give the namespace's path, without white space, or leave it out",
        "vault_role_id": "give the role's id, without white space, or leave it out",
        "vault_secret_id": "give the secret id, without white space, or leave it out",
        "vault_kubernetes_role": "give the role's name, without white space, or leave it out",
    }
    for name, remedy in optional.items():
        value = getattr(settings, name)
        if value is not None and not matches(HEADER, value):
            yield name, remedy
    if settings.vault_role_id is not None and settings.vault_kubernetes_role is not None:
        yield "vault_kubernetes_role", "choose one way to log in: AppRole, or Kubernetes"


def _can_log_in(settings: Settings) -> bool:
    ways = (settings.vault_token, settings.vault_role_id, settings.vault_kubernetes_role)
    return any(way is not None for way in ways)


def _form_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    if not matches(MOUNT, settings.vault_mount):
        yield "vault_mount", 'give the path that the KV engine is mounted at, such as "secret"'
    if settings.vault_path is not None and not matches(_PATH, settings.vault_path):
        yield "vault_path", 'give the secret\'s path, such as "flask-app/stripe", or "none"'
    if settings.vault_kv_version not in (None, 1, 2) or settings.vault_kv_version is True:
        yield "vault_kv_version", "give 1 or 2, or leave it out: Vault is asked then"
    if settings.vault_auth_mount is not None and not matches(MOUNT, settings.vault_auth_mount):
        yield "vault_auth_mount", 'give the path of the auth method, such as "approle"'
    for name in ("vault_ca", "vault_kubernetes_token_path"):
        value = getattr(settings, name)
        if not (value is None and name == "vault_ca") and not (
            isinstance(value, str) and value.strip() and "\0" not in value
        ):
            yield name, "give the path of a file"


def _transit_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    if not matches(_TRANSIT_KEY, settings.encryption_vault_transit_key):
        yield "encryption_vault_transit_key", "give the name of a key of Vault's transit engine"
    if not matches(MOUNT, settings.vault_transit_mount):
        yield (
            "vault_transit_mount",
            'give the path that the engine is mounted at, such as "transit"',
        )
