"""The public face: a Stripe account on a loopback port, and the hands that move it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from . import disputes, payment_intents, payments, refunds
from ._types import Json
from .account import Account, Cause
from .api import Api, Keys
from .clock import SimulatedClock
from .control import Control
from .delivery import Attempt
from .endpoint import Call
from .faults import Faults
from .problems import CardProblem
from .signing import signature_header
from .webhook_endpoints import new_endpoint
from .webhooks import Webhooks
from .wire import HttpServer, Request, Response

__all__ = ["StripeSimulator"]

API_VERSION = "2026-10-28.endive"
_RETRY_DELAYS = (0.05, 0.2, 1.0)


class StripeSimulator:
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
        self._account = Account(seed=seed, clock=self.clock, api_version=api_version)
        self.webhooks = Webhooks(
            self._account,
            signature_time=self._signed_at,
            retry_delays=retry_delays,
            timeout=webhook_timeout,
            workers=webhook_workers,
            seed=seed,
        )
        self._account.publish = self.webhooks.publish
        keys = Keys(secret_key, publishable_key, any_test_key)
        self._api = Api(self._account, keys, self.faults, origin=lambda: self.url)
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

    # --- the customer -------------------------------------------------------------------------

    def pay(self, payment_intent_id: str, payment_method: str = "pm_card_visa") -> Json:
        """Confirm an intent as the customer's browser does; return it as it stands then.

        A decline is no exception here: look at ``status`` and ``last_payment_error``.

        Args:
            payment_intent_id: the intent to pay.
            payment_method: a test name such as ``pm_card_visa``, or the id of a payment method.

        Raises:
            Problem: if the intent is unknown or cannot be confirmed.
        """
        with self._account.caused_by(Cause()):
            intent = self._account.payment_intents.get(payment_intent_id, "intent")
            params = {"payment_method": payment_method, "client_secret": intent["client_secret"]}
            call = Call(params, (payment_intent_id,), publishable=True, origin=self.url)
            try:
                payment_intents.confirm(self._account, call)
            except CardProblem:
                return self._snapshot(intent)
            return self._snapshot(intent)

    def complete_authentication(self, payment_intent_id: str) -> Json:
        """Pass 3-D Secure for an intent that requires action, and attempt the payment.

        Raises:
            ValueError: if the intent does not wait for it.
        """
        return self._do(lambda: payments.authenticate(
            self._account, payment_intent_id, succeeds=True))  # fmt: skip

    def fail_authentication(self, payment_intent_id: str) -> Json:
        """Fail 3-D Secure for an intent that requires action.

        Raises:
            ValueError: if the intent does not wait for it.
        """
        return self._do(lambda: payments.authenticate(
            self._account, payment_intent_id, succeeds=False))  # fmt: skip

    # --- the bank -----------------------------------------------------------------------------

    def settle_payment(self, payment_intent_id: str, *, succeeds: bool = True) -> Json:
        """End the processing of a bank debit.

        Raises:
            ValueError: if the intent is not processing.
        """
        return self._do(lambda: payments.settle(
            self._account, payment_intent_id, succeeds=succeeds))  # fmt: skip

    def settle_refund(self, refund_id: str) -> Json:
        """Let a pending refund succeed.

        Raises:
            ValueError: if it is not pending.
        """
        return self._do(lambda: refunds.settle(self._account, refund_id))

    def fail_refund(self, refund_id: str, *, reason: str = "unknown") -> Json:
        """Let a refund fail after all: its money returns to the account.

        Raises:
            ValueError: if it has failed or was canceled already.
        """
        return self._do(lambda: refunds.fail(self._account, refund_id, reason))

    def open_dispute(
        self,
        payment_intent_id: str,
        *,
        reason: str = "fraudulent",
        amount: int | None = None,
        withdraw: bool = True,
        inquiry: bool = False,
    ) -> Json:
        """Dispute a payment: ``charge.dispute.created``, then the funds are withdrawn.

        Args:
            payment_intent_id: the payment; it must have succeeded.
            reason: what the cardholder says.
            amount: minor units; all that was captured unless given.
            withdraw: ``False`` leaves that to :meth:`withdraw_dispute_funds`.
            inquiry: open an inquiry, which moves no money.

        Raises:
            ValueError: if nothing was captured, or less than ``amount``.
        """
        return self._do(lambda: disputes.open_dispute(
            self._account, payment_intent_id, reason=reason, amount=amount, withdraw=withdraw,
            inquiry=inquiry))  # fmt: skip

    def withdraw_dispute_funds(self, dispute_id: str) -> Json:
        """Withdraw a dispute's funds as a step of its own.

        Raises:
            ValueError: if they are withdrawn already.
        """
        return self._do(lambda: disputes.withdraw_funds(self._account, dispute_id))

    def reinstate_dispute_funds(self, dispute_id: str) -> Json:
        """Give a dispute's funds back as a step of its own.

        Raises:
            ValueError: if none are withdrawn.
        """
        return self._do(lambda: disputes.reinstate_funds(self._account, dispute_id))

    def close_dispute(self, dispute_id: str, *, won: bool, reinstate: bool = True) -> Json:
        """Decide a dispute; if it was won its funds are reinstated, then it is closed.

        Args:
            dispute_id: the dispute; an inquiry that is won ends as ``warning_closed``.
            won: in favour of the merchant.
            reinstate: ``False`` leaves the money to :meth:`reinstate_dispute_funds`.

        Raises:
            ValueError: if it is decided already.
        """

        def decide() -> Json:
            inquiry = self._account.disputes.get(dispute_id)["status"].startswith("warning_")
            outcome: disputes.Outcome = "lost"
            if won:
                outcome = "warning_closed" if inquiry else "won"
            return disputes.close_dispute(self._account, dispute_id, outcome, reinstate=reinstate)

        return self._do(decide)

    def peek(self, collection: str, object_id: str) -> Json:
        """Return a copy of an object without an API call, so that no fault or key is involved.

        Args:
            collection: as in the API's paths, such as ``payment_intents``.
            object_id: the object's id.

        Raises:
            ValueError: if there is no such collection.
            Problem: if there is no such object.
        """
        with self._account.lock:
            return self._snapshot(self._account.table(collection).get(object_id))

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
        self, event_type: str, subject: Any, previous_attributes: Json | None = None
    ) -> bytes:
        """Return the bytes of an event that never happened, to sign and post by hand.

        Args:
            event_type: such as ``payment_intent.succeeded``.
            subject: what becomes ``data.object``: anything JSON can tell.
            previous_attributes: what becomes ``data.previous_attributes``.
        """
        with self._account.lock:
            event = self._account.build_event(event_type, subject, previous_attributes)
        return msgspec.json.format(msgspec.json.encode(event), indent=2)

    # --- inside -------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Response:
        if request.path.startswith("/_simulator"):
            return self._control.answer(request)
        return self._api.answer(request)

    def _do(self, action: Any) -> Json:
        with self._account.caused_by(Cause()):
            return self._snapshot(action())

    def _snapshot(self, subject: Json) -> Json:
        """Copy an object, so that a caller cannot reach into the account."""
        copied: Json = msgspec.json.decode(msgspec.json.encode(subject))
        return copied

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
