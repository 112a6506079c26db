"""The public face: a Stripe account on a loopback port, with webhooks, clock and faults."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

from . import inprocess
from ._types import Json
from .account import Account
from .api import Api, Keys
from .clock import SimulatedClock
from .control import Control
from .delivery import Attempt
from .faults import Faults
from .hands import Hands
from .rendering import encoded, with_objects
from .signing import signature_header
from .versions import existed, shown
from .webhook_endpoints import new_endpoint
from .webhooks import Webhooks
from .wire import HttpServer, Request, Response

__all__ = ["StripeSimulator"]

API_VERSION = "2026-10-28.endive"
_RETRY_DELAYS = (0.05, 0.2, 1.0)
_NOWHERE = "http://127.0.0.1"
"""What links lead to while nothing listens."""


class StripeSimulator(Hands):
    """A stateful Stripe on ``127.0.0.1`` for the unmodified official SDK.

    Args:
        seed: determines every id and every shuffle.
        port: 0 takes a free one.
        webhook_url: registers an endpoint for every type of event; more can be created through
            the API.
        webhook_secret: that endpoint's signing secret, and the default of :meth:`sign`.
        secret_key: the account's secret key.
        publishable_key: the account's publishable key.
        any_test_key: accept every other ``sk_test_…`` and ``pk_test_…`` too.
        api_version: the account's default API version, which events carry.
        start_time: where the clock stands still at first; without it the clock follows the
            machine's.
        signature_time: ``"clock"`` signs webhooks with the simulated time, ``"wall"`` with the
            machine's even when the simulated clock was moved.
        retry_delays: real seconds between the attempts of a webhook delivery.
        webhook_timeout: real seconds that a webhook receiver has to answer.
        webhook_workers: how many deliveries run at once; one keeps them in order.

    Example:
        >>> import stripe
        >>> with StripeSimulator(seed=0) as simulator:
        ...     client = stripe.StripeClient(
        ...         simulator.secret_key, base_addresses={"api": simulator.url}
        ...     )
        ...     intent = client.v1.payment_intents.create({"amount": 500, "currency": "usd"})
        ...     simulator.pay(intent.id)["status"]
        'succeeded'
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        port: int = 0,
        webhook_url: str | None = None,
        webhook_secret: str = "whsec_simulator",  # noqa: S107
        secret_key: str = "sk_test_simulator",  # noqa: S107
        publishable_key: str = "pk_test_simulator",
        any_test_key: bool = True,
        api_version: str = API_VERSION,
        start_time: int | datetime | None = None,
        signature_time: Literal["clock", "wall"] = "clock",
        retry_delays: Sequence[float] = _RETRY_DELAYS,
        webhook_timeout: float = 10.0,
        webhook_workers: int = 1,
    ) -> None:
        if not 1 <= webhook_workers <= 64:  # noqa: PLR2004
            raise ValueError("webhook_workers must be between 1 and 64")
        self.secret_key = secret_key
        self.publishable_key = publishable_key
        self.webhook_secret = webhook_secret
        self.clock = SimulatedClock(start_time)
        self.faults = Faults()
        self._port = port
        self._webhook_url = webhook_url
        self._signature_time = signature_time
        self._server: HttpServer | None = None
        super().__init__(
            Account(seed=seed, clock=self.clock, api_version=api_version),
            origin=lambda: self.url if self._server is not None else _NOWHERE,
        )
        self.webhooks = Webhooks(
            self._account,
            signature_time=self._signed_at,
            retry_delays=retry_delays,
            timeout=webhook_timeout,
            workers=webhook_workers,
            seed=seed,
            secret=webhook_secret,
        )
        self._account.publish = self.webhooks.publish
        keys = Keys(secret_key, publishable_key, any_test_key)
        self._api = Api(self._account, keys, self.faults, origin=self._origin)
        self._control = Control(self)
        self._register_endpoint()

    # --- running ------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen, and deliver webhooks in the background.

        Raises:
            RuntimeError: if it runs already.
            OSError: if the port is taken.
        """
        if self._server is not None:
            raise RuntimeError("the simulator is already running")
        self.faults.stopping.clear()
        self._server = HttpServer(self._answer, self._port)
        self.webhooks.start()
        return self

    def stop(self) -> None:
        """Stop listening and delivering; the state stays and :meth:`start` goes on with it."""
        if self._server is None:
            return
        self.faults.stopping.set()
        server, self._server = self._server, None
        self.webhooks.stop()
        server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base address for ``base_addresses={"api": …}``.

        Raises:
            RuntimeError: if the simulator does not run.
        """
        if self._server is None:
            raise RuntimeError("the simulator is not running")
        return f"http://127.0.0.1:{self._server.port}"

    def reset(self) -> None:
        """Forget everything: objects, events, keys, faults, deliveries, time. Ids start again."""
        with self._account.lock:
            self.faults.clear()
            self.clock.reset()
            self._api.idempotency.clear()
            self.webhooks.reset()
            self._account.clear()
            self._register_endpoint()

    # --- the API in this process --------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        stripe_version: str | None = None,
    ) -> Json:
        """Make an API request without HTTP; the simulator need not even be started.

        Keys, faults, parameters and answers are the same as over HTTP.

        Args:
            method: ``GET``, ``POST`` or ``DELETE``.
            path: such as ``/v1/refunds``.
            params: as a Stripe SDK takes them; ``None`` as a value unsets a field.
            idempotency_key: the request's, for a POST.
            stripe_version: the request's API version; the account's unless given.

        Raises:
            Problem: what Stripe answers with an error status; its ``envelope()`` is the body.
            ConnectionError: if a planned fault lost the answer.

        Example:
            >>> simulator = StripeSimulator()
            >>> simulator.call("POST", "/v1/customers", {"name": "Ada"})["name"]
            'Ada'
        """
        headers = {"authorization": f"Bearer {self.secret_key}"}
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        if stripe_version is not None:
            headers["stripe-version"] = stripe_version
        return inprocess.call(self._api, method, path, params or {}, headers)

    # --- webhooks -----------------------------------------------------------------------------

    @property
    def deliveries(self) -> tuple[Attempt, ...]:
        """Every webhook attempt so far, oldest first."""
        return self.webhooks.attempts

    def wait_for_deliveries(self, timeout: float = 10.0) -> None:
        """Block until no delivery is queued, in flight or waiting for a retry.

        What is held back by ``webhooks.hold()`` does not count.

        Raises:
            TimeoutError: after ``timeout`` real seconds.
        """
        self.webhooks.wait(timeout)

    def sign(self, payload: bytes, secret: str | None = None, timestamp: int | None = None) -> str:
        """Return a ``Stripe-Signature`` header for these exact bytes."""
        return signature_header(
            payload,
            secret=self.webhook_secret if secret is None else secret,
            timestamp=self._signed_at() if timestamp is None else timestamp,
        )

    def build_event(
        self,
        event_type: str,
        subject: Any,
        previous_attributes: Json | None = None,
        *,
        api_version: str | None = None,
        expand: Sequence[str] = (),
        account: str | None = None,
        livemode: bool = False,
    ) -> bytes:
        """Return the bytes of an event that never happened, to sign and post by hand.

        Args:
            event_type: such as ``payment_intent.succeeded``.
            subject: what becomes ``data.object``: anything JSON can tell.
            previous_attributes: what becomes ``data.previous_attributes``.
            api_version: whose shape the event has; the account's unless given.
            expand: references in ``subject`` that come as objects, such as ``["charge"]``.
            account: the connected account that it is from, such as ``acct_…``.
            livemode: whether the event, and an object that says it, is from live mode.

        Raises:
            ValueError: if receivers of that version are never sent such an event.
            Problem: if a name in ``expand`` cannot be expanded.
        """
        if livemode and isinstance(subject, dict) and "livemode" in subject:
            subject = {**subject, "livemode": True}
        with self._account.lock:
            event = self._account.build_event(event_type, subject, previous_attributes)
            if expand:
                event = with_objects(self._account, event, subject, expand)
        event["livemode"] = livemode
        if account is not None:
            event["account"] = account
        version = api_version or self._account.api_version
        if not existed(event, version):
            raise ValueError(f"{event_type} was not sent for this object by version {version}")
        return encoded(shown(event, version))

    # --- inside -------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Response:
        if request.path.startswith("/_simulator"):
            return self._control.answer(request)
        return self._api.answer(request)

    def _signed_at(self) -> int:
        return int(time.time()) if self._signature_time == "wall" else self.clock.now()

    def _register_endpoint(self) -> None:
        if self._webhook_url is not None:
            new_endpoint(
                self._account,
                url=self._webhook_url,
                enabled_events=["*"],
                secret=self.webhook_secret,
            )
