"""Of settings: where each came from, what is wrong with them, and which source is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from credit_payments.domain.diagnosis import Finding, ok, problem, warning
from credit_payments.errors import ConfigurationError, CreditPaymentsError, VaultUnavailable


def of_origins(origins: Mapping[str, str]) -> Iterator[Finding]:
    """Where each setting came from that was not left at its default; never its value."""
    for name, origin in sorted(origins.items()):
        yield ok(f"setting.{name}", origin)


def of_troubles(troubles: Mapping[str, str]) -> Iterator[Finding]:
    """Sources that could not be read, and were passed over."""
    for name, message in troubles.items():
        yield warning(
            "source",
            f"{name} cannot be read, and is passed over: {message}",
            "mend it, or what it holds comes from the next source, or is missing; a system that "
            "must not start without Vault has vault_required=True",
        )


def of_error(error: CreditPaymentsError) -> Iterator[Finding]:
    """Why there is no configuration that can be used: each setting at fault by itself."""
    if isinstance(error, ConfigurationError) and error.problems:
        for name, remedy in error.problems:
            yield problem(f"setting.{name}", "it cannot be used", remedy)
    elif isinstance(error, VaultUnavailable):
        yield problem(
            "source",
            error.message,
            "start or unseal it, or mend vault_url; with vault_required=False a system starts "
            "without it",
        )
    elif error.param is not None:
        yield problem(f"setting.{error.param}", error.message, f"mend the setting {error.param}")
    else:
        yield problem("settings", error.message, "mend the settings")


def of_encryption(*, is_configured: bool) -> Finding:
    """Whether personal data is kept, encrypted, or left with Stripe."""
    if is_configured:
        return ok("encryption", "personal data of customers is kept, encrypted")
    return ok("encryption", "no keys: personal data of customers stays with Stripe alone")
