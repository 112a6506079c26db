"""The hands that move an account from outside the API: its customers', and their banks'."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from . import disputes, early_fraud_warnings, payment_intents, payments, refunds
from ._types import Json
from .account import Account, Cause
from .endpoint import Call
from .problems import CardProblem

__all__ = ["Hands"]


class Hands:
    """What customers and banks do to one account; every method returns a copy of the object.

    Args:
        account: what they act on.
        origin: returns where the simulator is reached, for the links that it hands out.
    """

    def __init__(self, account: Account, origin: Callable[[], str]) -> None:
        self._account = account
        self._origin = origin

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
            call = Call(params, (payment_intent_id,), publishable=True, origin=self._origin())
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

    def warn_of_fraud(self, payment_intent_id: str, fraud_type: str = "misc") -> Json:
        """Let the card's issuer suspect fraud: ``radar.early_fraud_warning.created``.

        Args:
            payment_intent_id: the payment; it must have succeeded.
            fraud_type: one of Stripe's, such as ``made_with_stolen_card``.

        Raises:
            ValueError: if nothing was paid, or there is no such type.
        """
        return self._do(lambda: early_fraud_warnings.warn(
            self._account, payment_intent_id, fraud_type))  # fmt: skip

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

    # --- inside -------------------------------------------------------------------------------

    def _do(self, action: Callable[[], Json]) -> Json:
        with self._account.caused_by(Cause()):
            return self._snapshot(action())

    def _snapshot(self, subject: Json) -> Json:
        """Copy an object, so that a caller cannot reach into the account."""
        copied: Json = msgspec.json.decode(msgspec.json.encode(subject))
        return copied
