"""The one identity that trusts what a request says of itself: for a demo on one's own machine.

It is nobody's default: a host has to write its name. What keeps others out is not a sign-in but
that nobody else can be asking, and that nothing of value is there: this machine only, by its own
name, with no proxy and no other web site in between, and no key that moves real money.

Sources:
    RFC 7239 (`Forwarded`) and RFC 9110, section 7.6.3 (`Via`): what proxies say of themselves.
    RFC 6454, section 7, and https://www.w3.org/TR/fetch-metadata/: what browsers say of the page
    that asks.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from credit_payments import logs
from credit_payments.errors import ConfigurationError, NotAllowed
from credit_payments.http.identity import Identity
from credit_payments.http.messages import Request
from credit_payments.http.system import System

_logger: Final = logs.logger("credit_payments.http")

_DEMO: Final = Identity("demo", operator=True)

_LOCAL: Final = r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
_HOST: Final = re.compile(_LOCAL, re.IGNORECASE | re.ASCII)
_ORIGIN: Final = re.compile(rf"https?://{_LOCAL}", re.IGNORECASE | re.ASCII)

# `same-site` is another port of this machine, `none` what somebody typed or opened.
_SITES: Final = frozenset({"same-origin", "same-site", "none"})

_PROXY_PREFIXES: Final = ("x-forwarded", "x-original-", "x-envoy-", "x-amzn-", "cf-")
_PROXY_SUFFIX: Final = "client-ip"
_PROXY_HEADERS: Final = frozenset({"forwarded", "via", "cdn-loop", "x-real-ip"})


class LocalDemo:
    """The type of `LOCAL_DEMO`, which is called where any other identity callable is."""

    def __call__(self) -> LocalDemo:
        """Itself: who may ask is decided where the request is seen."""
        return self

    def __repr__(self) -> str:
        return "LOCAL_DEMO"


LOCAL_DEMO: Final = LocalDemo()
"""Takes every caller on this machine for an operator named `demo`, who may act for any user.

Give it as `current_user`, and only to try things out. It refuses to be mounted over a live key, and
answers 403 to what does not come straight from this machine: another peer than loopback, a name of
the host that is none of `localhost`, `127.0.0.1` and `[::1]` (a web site may let its own name lead
here), whatever a proxy sends along, and another site's page in a browser. A proxy on this machine
that hides itself is not seen.
"""


def check_mount(current_user: object, system: System) -> None:
    """Let `LOCAL_DEMO` be mounted only where no real money is, and say once that it is there.

    Raises:
        ConfigurationError: it stands before a live key.
    """
    if not isinstance(current_user, LocalDemo):
        return
    if system.livemode:
        raise ConfigurationError(
            "LOCAL_DEMO takes everybody for an operator and refuses a live key: "
            "give a current_user that knows its callers",
            param="current_user",
        )
    _logger.warning(
        "LOCAL_DEMO is mounted: every caller on this machine acts as an operator. "
        "It is for demos only."
    )


def admit(caller: object, request: Request, system: System) -> object:
    """The operator `demo` in place of `LOCAL_DEMO`; every other caller as the host gave it.

    Raises:
        NotAllowed: the request does not come straight from this machine, or the key is a live one
            by now.
    """
    if not isinstance(caller, LocalDemo):
        return caller
    # Asked at each request: a key may be replaced while the process runs.
    if system.livemode:
        raise NotAllowed("LOCAL_DEMO refuses a live key")
    # Headers first: where a server has put in the peer that a proxy names, they say the reason.
    _check_headers(request.headers)
    if not _is_loopback(request.peer):
        raise NotAllowed("LOCAL_DEMO answers this machine only, and the peer is another one")
    return _DEMO


def _is_loopback(peer: str | None) -> bool:
    """127.0.0.0/8 and `::1`, also as an IPv6 socket shows IPv4; what is unknown is not."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _check_headers(headers: Mapping[str, str]) -> None:
    if any(map(_is_of_a_proxy, headers)):
        raise NotAllowed("LOCAL_DEMO refuses what came through a proxy")
    if not _HOST.fullmatch(headers.get("host", "")):
        raise NotAllowed("LOCAL_DEMO answers to localhost, 127.0.0.1 and [::1] only", param="Host")
    if not _ORIGIN.fullmatch(headers.get("origin", "http://localhost")):
        raise NotAllowed("LOCAL_DEMO refuses pages of other sites", param="Origin")
    if headers.get("sec-fetch-site", "none").strip().lower() not in _SITES:
        raise NotAllowed("LOCAL_DEMO refuses pages of other sites", param="Sec-Fetch-Site")


def _is_of_a_proxy(header: str) -> bool:
    name = header.replace("_", "-")  # some servers take the one for the other
    return (
        name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIXES) or name.endswith(_PROXY_SUFFIX)
    )
