"""What the gateway observes of Stripe: what the key may do, the clock, the webhook endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import msgspec

from credit_payments.adapters.stripe_listing import OBJECTS_MAX, Page, read_page, reader
from credit_payments.domain.traits import Access, ClockReading, StripeTraits, WebhookEndpoint
from credit_payments.errors import CreditPaymentsError, NotConfigured, StripeRefusedKey, TryAgain
from credit_payments.ports.gateway import Listed

if TYPE_CHECKING:
    from stripe import StripeClient, StripeObject

T = TypeVar("T")

PAGES_MAX = 3
"""An account has 16 endpoints at most (https://docs.stripe.com/webhooks): one page, really."""
_FORBIDDEN = 403

_Text = Annotated[str, msgspec.Meta(max_length=5_000)]
_EventTypes = Annotated[list[_Text], msgspec.Meta(max_length=1_000)]


class _Endpoint(msgspec.Struct, frozen=True, tag_field="object", tag="webhook_endpoint"):
    """https://docs.stripe.com/api/webhook_endpoints/object."""

    id: _Text
    url: _Text
    status: _Text
    enabled_events: _EventTypes
    livemode: bool = False
    api_version: _Text | None = None


_endpoint = reader(_Endpoint)


class Fetch(Protocol):
    """Makes a request and reads its answer; raises our errors and nothing else."""

    def __call__(
        self, request: Callable[[StripeClient], StripeObject], read: Callable[[dict[str, Any]], T]
    ) -> T:
        """What `read` makes of the answer."""
        ...


def inspected(fetch: Fetch, now: Callable[[], datetime]) -> StripeTraits:
    """What was observed, in two requests as a rule; see the port."""
    observer = _Observer(fetch, now)
    payments, _ = observer.look(
        lambda client: client.v1.payment_intents.list({"limit": 1}), _check_is_list
    )
    # Where Stripe does not even answer, it is not waited for once more.
    can_ask = payments in ("granted", "forbidden")
    webhooks, endpoints = _endpoints(observer) if can_ask else (payments, ())
    return StripeTraits(
        payments=payments,
        webhooks=webhooks,
        endpoints=endpoints,
        clock=observer.clock,
        api_version=observer.api_version,
    )


def _endpoints(observer: _Observer) -> tuple[Access, tuple[WebhookEndpoint, ...]]:
    found: list[WebhookEndpoint] = []
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        access, page = _page(observer, cursor)
        if page is None:
            return access, ()
        found += map(_of_stripe, page.items)
        cursor = page.cursor
        if cursor is None:
            break
    return "granted", tuple(found)


def _page(observer: _Observer, cursor: str | None) -> tuple[Access, Listed[_Endpoint] | None]:
    params: Any = {"limit": OBJECTS_MAX}
    if cursor is not None:
        params["starting_after"] = cursor
    return observer.look(
        lambda client: client.v1.webhook_endpoints.list(params),
        lambda answer: read_page(msgspec.convert(answer, type=Page), _endpoint, cursor),
    )


def _of_stripe(found: _Endpoint) -> WebhookEndpoint:
    return WebhookEndpoint(
        endpoint_id=found.id,
        url=found.url,
        is_enabled=found.status == "enabled",
        enabled_events=tuple(found.enabled_events),
        api_version=found.api_version,
        livemode=found.livemode,
    )


class _Observer:
    """Asks, and keeps what the headers of every answer tell, also of one that is an error."""

    def __init__(self, fetch: Fetch, now: Callable[[], datetime]) -> None:
        self._fetch = fetch
        self._now = now
        self._status: int | None = None
        self.clock: ClockReading | None = None
        self.api_version: str | None = None

    def look(
        self, request: Callable[[StripeClient], StripeObject], read: Callable[[dict[str, Any]], T]
    ) -> tuple[Access, T | None]:
        """Whether Stripe lets us look, and what was read then."""
        try:
            return "granted", self._fetch(lambda client: self._observed(request, client), read)
        except NotConfigured:
            raise
        except StripeRefusedKey:
            return ("forbidden" if self._status == _FORBIDDEN else "refused"), None
        except TryAgain:
            return "unavailable", None
        except CreditPaymentsError:
            return "rejected", None

    def _observed(
        self, request: Callable[[StripeClient], StripeObject], client: StripeClient
    ) -> StripeObject:
        """One attempt. Those that are repeated are timed one by one, without the pauses."""
        import stripe  # noqa: PLC0415 - it is loaded already, or there would be no client

        self._status = None
        asked_at = self._now()
        try:
            answer = request(client)
        except stripe.StripeError as error:
            self._status = error.http_status
            self._note(error.headers, asked_at)
            raise
        if answer.last_response is not None:
            self._note(answer.last_response.headers, asked_at)
        return answer

    def _note(self, headers: Mapping[str, str] | None, asked_at: datetime) -> None:
        answered_at = self._now()
        named = {name.lower(): value for name, value in (headers or {}).items()}
        self.api_version = named.get("stripe-version") or self.api_version
        said = _instant(named.get("date", ""))
        if said is None:
            return
        reading = ClockReading(said=said, asked_at=asked_at, answered_at=answered_at)
        # Of several answers the fastest tells most, as its instant is known best.
        if self.clock is None or _seconds(reading) < _seconds(self.clock):
            self.clock = reading


def _seconds(reading: ClockReading) -> float:
    return (reading.answered_at - reading.asked_at).total_seconds()


def _instant(date: str) -> datetime | None:
    """What an HTTP date says (RFC 9110, section 5.6.7); None for none."""
    try:
        found = parsedate_to_datetime(date)
        # Without a zone it is in UTC, which is all that HTTP has.
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def _check_is_list(answer: dict[str, Any]) -> None:
    msgspec.convert(answer, type=Page)
