"""Of Stripe: the key and what it may do, the clock, and the version that is spoken."""

from __future__ import annotations

from datetime import timedelta

from credit_payments.domain.diagnosis import Finding, ok, problem, warning
from credit_payments.domain.traits import Access, ClockReading

SKEW_SECONDS_MAX = 30.0
"""How far this machine's clock may be off before somebody should know."""
VERSIONS = ("2023-10-16", "2026-10-28")
"""The oldest and the newest version of Stripe's API that this release is tested with."""

_ASKED_EARLIEST = timedelta(seconds=1)
"""A date has whole seconds, cut: what it was said at may be as much later."""
_RIGHTS = (
    "give the restricted key these permissions: write for Customers, PaymentIntents and Refunds; "
    "read for PaymentMethods, Disputes and Events"
)


def of_mode(livemode: bool | None, server: str | None) -> Finding:  # noqa: FBT001 - as settings
    """Which money the key moves; `server` is another one than Stripe's, such as the simulator."""
    if livemode is None:
        return warning(
            "stripe.mode",
            "Stripe is not configured: wallets work, nothing can be sold",
            "set stripe_secret_key: in Vault, in /secrets, or as STRIPE_SECRET_KEY",
        )
    mode = "live: real money moves" if livemode else "test: no real money moves"
    return ok("stripe.mode", mode if server is None else f"{mode}, and {server} stands for Stripe")


def of_key(
    access: Access,
    livemode: bool | None,  # noqa: FBT001 - as settings
    server: str | None = None,
) -> Finding:
    """Whether Stripe accepts the key, and lets it read payments; `server` as above."""
    key = f"the {'live' if livemode else 'test'} key"
    if access == "granted":
        return ok("stripe.key", f"Stripe accepts {key}")
    if access == "forbidden":
        return problem("stripe.key", f"{key} may not read payment intents", _RIGHTS)
    if access == "refused":
        return problem(
            "stripe.key",
            f"Stripe refuses {key}: it is wrong, expired or revoked",
            "copy it again from https://dashboard.stripe.com/apikeys",
        )
    if access == "rejected":
        return problem(
            "stripe.key",
            "Stripe does not understand a plain request",
            "see that stripe_api_version is one of https://docs.stripe.com/changelog, and that "
            "stripe_api_base names Stripe or a simulator",
        )
    return problem(
        "stripe.key",
        "no usable answer from Stripe",
        f"see whether {server or 'https://api.stripe.com'} can be reached from here, and "
        "https://status.stripe.com; what was paid meanwhile comes by webhook or reconciliation",
    )


def of_clock(reading: ClockReading, *, tolerance_seconds: float) -> Finding:
    """How far this machine's clock is from Stripe's.

    The answer is taken to have been given half-way between question and answer; what cannot be
    known better, half of the round trip and half of a second, is not held against the clock.
    """
    earliest = (reading.asked_at - reading.said - _ASKED_EARLIEST).total_seconds()
    latest = (reading.answered_at - reading.said).total_seconds()
    ahead = (earliest + latest) / 2
    at_least = abs(ahead) - (latest - earliest) / 2
    if at_least <= SKEW_SECONDS_MAX:
        return ok("stripe.clock", "this machine's clock agrees with Stripe's")
    way = "ahead of" if ahead > 0 else "behind"
    said = f"this machine's clock is {abs(ahead):.0f} seconds {way} Stripe's"
    advice = "set it by NTP, and see that the service runs: `timedatectl` on Linux"
    if at_least > tolerance_seconds:
        return problem("stripe.clock", f"{said}: webhooks are refused for their time", advice)
    return warning("stripe.clock", said, advice)


def of_version(version: str, *, is_pinned: bool) -> Finding:
    """In which version of the API requests are made."""
    said = f"{version}, {'pinned by stripe_api_version' if is_pinned else 'that of the SDK'}"
    return _of_age("stripe.api_version", version, said, "pin another one with stripe_api_version")


def of_endpoint_version(version: str | None) -> Finding:
    """In which version events come."""
    name = "webhooks.api_version"
    if version is None:
        return ok(name, "that of the Stripe account")
    return _of_age(name, version, version, "register an endpoint anew, with another api_version")


def _of_age(name: str, version: str, said: str, advice: str) -> Finding:
    # The date decides; the name of the release behind it says no more.
    day = version[: len(VERSIONS[0])]
    oldest, newest = VERSIONS
    if day < oldest:
        return warning(name, f"{said}: older than any that is tested", advice)
    if day > newest:
        return warning(
            name, f"{said}: newer than any that is tested", f"upgrade credit-payments, or {advice}"
        )
    return ok(name, f"{said}; all from {oldest} to {newest} are understood")
