"""Of webhooks: the secret, the endpoint that is registered with Stripe, and its events."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit, urlunsplit

from credit_payments.domain import events
from credit_payments.domain.diagnosis import Finding, ok, problem, warning
from credit_payments.domain.findings.stripe import of_endpoint_version
from credit_payments.domain.stripe_facts import ChargeFacts, DisputeFacts, RefundFacts
from credit_payments.domain.traits import Access, StripeTraits, WebhookEndpoint

_EVERY = "*"
_MOVE_MONEY = {
    kind
    for kind, facts in events.READ.items()
    if kind == "payment_intent.succeeded" or facts in (ChargeFacts, DisputeFacts, RefundFacts)
}


def of_secret(secrets: int) -> Finding:
    """Whether signatures can be checked, by how many secrets."""
    if secrets:
        return ok("webhooks.secret", f"{secrets} {'is' if secrets == 1 else 'are'} accepted")
    return problem(
        "webhooks.secret",
        "there is none: every webhook is refused",
        "set stripe_webhook_secret to the endpoint's signing secret (whsec_…), which the "
        "dashboard shows, and `stripe listen` prints",
    )


def of_endpoints(
    traits: StripeTraits, *, url: str | None, types: Sequence[str], livemode: bool
) -> Iterator[Finding]:
    """Whether events are sent to us, which ones, and in which version.

    Args:
        traits: what Stripe says is registered.
        url: ours; None takes the endpoint that has most of our events.
        types: those that are wanted.
        livemode: which of Stripe's modes.
    """
    if traits.webhooks != "granted":
        yield _of_silence(traits.webhooks, types)
        return
    ours = [found for found in traits.endpoints if found.livemode == livemode]
    if url is not None:
        ours = [found for found in ours if found.url == url]
    enabled = [found for found in ours if found.is_enabled and _covered(found, types)]
    if url is not None and not enabled:
        enabled = [found for found in ours if found.is_enabled]
    if not enabled:
        yield _of_none(ours, url, types, livemode=livemode)
        return
    best = max(enabled, key=lambda found: len(_covered(found, types)))
    yield ok("webhooks.endpoint", f"{shown(best.url)} is registered and enabled")
    yield _of_events(best, types)
    yield of_endpoint_version(best.api_version)


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password, query and fragment.

    >>> shown("https://ada:secret@shop.example/stripe/webhook?token=secret")
    'https://shop.example/stripe/webhook'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be read"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _covered(found: WebhookEndpoint, types: Sequence[str]) -> list[str]:
    if _EVERY in found.enabled_events:
        return list(types)
    return [kind for kind in types if kind in found.enabled_events]


def _of_silence(access: Access, types: Sequence[str]) -> Finding:
    """Stripe did not tell: somebody has to look."""
    said, ask = "Stripe did not say which endpoints are registered", "ask again"
    if access == "forbidden":
        said = "the key may not read which endpoints are registered"
        ask = "give it the permission to read Webhook Endpoints"
    return warning(
        "webhooks.endpoint",
        said,
        f"{ask}, or look at https://dashboard.stripe.com/webhooks: the endpoint has to be enabled, "
        f"with {', '.join(types)}",
    )


def _of_none(
    ours: Sequence[WebhookEndpoint], url: str | None, types: Sequence[str], *, livemode: bool
) -> Finding:
    """No endpoint is sent our events; it may be there, and disabled."""
    disabled = [found for found in ours if not found.is_enabled]
    if url is None:  # others' may be among them
        disabled = [found for found in disabled if _covered(found, types)]
    if disabled:
        return problem(
            "webhooks.endpoint",
            f"{shown(disabled[0].url)} is registered, and disabled: no event is sent",
            _update(disabled[0], "disabled=false"),
        )
    mode = "live" if livemode else "test"
    # What is left out of a URL would be missing in the endpoint, too: its owner puts it there.
    whole = url if url is not None and shown(url) == url else "https://…/stripe/webhook"
    create = (
        f"register it, and set stripe_webhook_secret to its signing secret:\n"
        f"stripe webhook_endpoints create{_live(livemode=livemode)} "
        f"--url {shlex.quote(whole)} {_enabling(types)}"
    )
    if url is not None:
        return problem(
            "webhooks.endpoint", f"{shown(url)} is not registered in {mode} mode", create
        )
    said = f"none is registered in {mode} mode for our events"
    if livemode:
        return problem("webhooks.endpoint", said, create)
    return warning(
        "webhooks.endpoint", said, f"`stripe listen` needs none; for anything else {create}"
    )


def _of_events(found: WebhookEndpoint, types: Sequence[str]) -> Finding:
    covered = _covered(found, types)
    missing = [kind for kind in types if kind not in covered]
    if not missing:
        return ok("webhooks.events", f"all {len(types)} that are wanted are enabled")
    judge = problem if _MOVE_MONEY.intersection(missing) else warning
    return judge(
        "webhooks.events",
        f"not enabled: {', '.join(missing)}",
        _update(found, *_as_options((*found.enabled_events, *missing))),
    )


def _update(found: WebhookEndpoint, *options: str) -> str:
    data = " ".join(f"-d {shlex.quote(option)}" for option in options)
    command = f"stripe webhook_endpoints update{_live(livemode=found.livemode)}"
    return f"{command} {shlex.quote(found.endpoint_id)} {data}"


def _enabling(types: Sequence[str]) -> str:
    return " ".join(f"-d {shlex.quote(option)}" for option in _as_options(types))


def _as_options(types: Sequence[str]) -> list[str]:
    """As Stripe takes a list: what is given replaces what was there."""
    return [f"enabled_events[{place}]={kind}" for place, kind in enumerate(types)]


def _live(*, livemode: bool) -> str:
    return " --live" if livemode else ""
