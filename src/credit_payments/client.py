"""PaymentsClient: selling credits, from the quote to the receipt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from credit_payments.customers import CustomersClient, no_such
from credit_payments.domain import answers, cursors, ids, ledger, money, payment, reversal, values
from credit_payments.domain.clawback import Policies
from credit_payments.domain.credits import CreditCalculator
from credit_payments.domain.packages import CreditPackage
from credit_payments.domain.quoting import (
    Asked,
    KeepQuote,
    LinkIntent,
    check_repetition,
    intent_metadata,
    make_quote,
)
from credit_payments.domain.records import Payment, Purchase, Quote
from credit_payments.domain.stripe_facts import (
    PaymentIntentFacts,
    ref_id,
)
from credit_payments.errors import (
    CardDeclined,
    Conflict,
    InvalidAmount,
    InvalidRequest,
    NotFound,
    PaymentNotSuccessful,
)
from credit_payments.ports.encryption import FieldCipher
from credit_payments.ports.gateway import PaymentGateway
from credit_payments.ports.storage import Storage
from credit_payments.ports.users import Users
from credit_payments.posting import PostingQueue
from credit_payments.settlement import ReportPayment, ReportRefund

REFUND_REASONS = ("duplicate", "fraudulent", "requested_by_customer")
"""https://docs.stripe.com/api/refunds/create#create_refund-reason"""

_PURCHASES_ORDER = ("sequence",)


class PaymentsClient(CustomersClient):
    """Payment intents, their confirmation, customers, payment methods and refunds.

    The methods that read something of a user take `owner`: with it, what belongs to another user
    is answered exactly as what does not exist. Leave it out only where the caller may see all.

    Args:
        gateway: Stripe.
        storage: where records are read.
        queue: through which changes are written.
        calculator: what an amount buys.
        new_id: draws a fresh random name.
        policies: what becomes of credits that are to be taken back and are spent already.
        users: who may be sold something.
        cipher: encrypts what is personal; without one it stays with Stripe alone.
        expires_seconds: how long purchased credits last; for ever when None.
    """

    def __init__(
        self,
        gateway: PaymentGateway,
        storage: Storage,
        queue: PostingQueue,
        calculator: CreditCalculator,
        *,
        new_id: Callable[[], str],
        policies: Policies | None = None,
        users: Users | None = None,
        cipher: FieldCipher | None = None,
        expires_seconds: int | None = None,
    ) -> None:
        super().__init__(gateway, storage, queue, users=users, cipher=cipher)
        self._calculator = calculator
        self._new_id = new_id
        self._policies = policies or Policies()
        self._expires_seconds = expires_seconds

    def create_payment_intent(
        self,
        user_id: str,
        amount: money.Amount | None = None,
        currency: str = "usd",
        *,
        package_id: str | None = None,
        customer_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> values.PaymentIntent:
        """Offer credits for an amount; what it buys is kept before Stripe hears of it.

        Args:
            user_id: who gets the credits.
            amount: major units: 10, "10.00" or Decimal("10.00") dollars. May be left out with
                `package_id`, and must be the package's price otherwise.
            currency: an ISO 4217 code that credits are sold in.
            package_id: one of `credit_packages()`.
            customer_id: the user's Stripe customer, for saved payment methods.
            idempotency_key: names the call: repeating it gives the same intent.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it, nothing was kept.
            NotFound: the customer is not one of the user's, or the host knows no such user.
            IdempotencyConflict: the key was used with other arguments.
            NotConfigured: there is no Stripe key.
            TryAgain: Stripe or the database did not answer; with an idempotency key the same
                call is safe to repeat.
        """
        asked = Asked.read(user_id, amount, currency, package_id, customer_id)
        quote_id, kept = self._named_quote(asked, idempotency_key)
        if customer_id is not None:
            self._check_customer(customer_id, owner=user_id)
        if kept is None:
            self._check_user(user_id)
            quote = make_quote(
                self._calculator,
                asked,
                quote_id=quote_id,
                expires_seconds=self._expires_seconds,
            )
            kept = self._queue.submit(KeepQuote(quote=quote))
        if kept.payment_intent_id is not None:
            facts = self._gateway.retrieve_payment_intent(kept.payment_intent_id)
        else:
            facts = self._gateway.create_payment_intent(
                amount_minor=kept.amount_minor,
                currency=kept.currency,
                metadata=intent_metadata(kept),
                customer=kept.customer_id,
                description=f"{kept.credits} credits",
                idempotency_key=f"intent:{kept.quote_id}",
            )
            self._queue.submit(LinkIntent(quote_id=kept.quote_id, facts=facts))
        return values.PaymentIntent(
            client_secret=facts.client_secret or "",
            payment_intent_id=facts.id,
            amount=money.to_decimal(kept.amount_minor, kept.currency),
            currency=kept.currency,
            credits=kept.credits,
        )

    def confirm_payment(
        self, payment_intent_id: str, *, owner: str | None = None
    ) -> values.Receipt:
        """Ask Stripe whether an intent was paid, and credit it if so; as often as you like.

        An intent that only waits for its confirmation is confirmed. A payment that a webhook has
        credited already gives the same receipt.

        Raises:
            InvalidRequest: the id is not a string.
            NotFound: no such intent.
            CardDeclined: the last attempt to pay was declined.
            PaymentNotSuccessful: no money has arrived (yet); `status` tells where it is.
            Conflict: money has arrived that does not match its quote (`code` is
                `payment_quarantined`); it is kept for a person to decide.
            NotConfigured: there is no Stripe key.
            TryAgain: Stripe or the database did not answer.
        """
        ids.check_stripe_id(payment_intent_id, "pi_", param="payment_intent_id")
        known = self._owned_payment(payment_intent_id, owner)
        if known is not None and known.credited:
            return answers.receipt(known)
        facts = self._intent(payment_intent_id)
        if facts.status == payment.REQUIRES_CONFIRMATION:
            facts = self._confirm(facts)
        settlement = self._queue.submit(ReportPayment(facts=facts, policies=self._policies))
        if settlement.outcome == "quarantined":
            raise Conflict(
                f"The payment is not credited, a person has to decide: {settlement.reason}.",
                code="payment_quarantined",
            )
        if settlement.payment is not None and settlement.payment.credited:
            return answers.receipt(settlement.payment)
        raise _not_successful(facts)

    def credit_packages(self) -> list[CreditPackage]:
        """The packages that are sold, in the order of the configuration."""
        return list(self._calculator.packages)

    def payment_status(
        self, payment_intent_id: str, *, owner: str | None = None
    ) -> values.PaymentStatus:
        """Where a payment is, as Stripe says now.

        Raises:
            InvalidRequest: the id is not a string.
            NotFound: no such intent.
            NotConfigured: there is no Stripe key.
            TryAgain: Stripe or the database did not answer.
        """
        ids.check_stripe_id(payment_intent_id, "pi_", param="payment_intent_id")
        self._owned_payment(payment_intent_id, owner)
        facts = self._intent(payment_intent_id)
        return values.PaymentStatus(
            status=facts.status,
            amount=money.to_decimal(facts.amount, facts.currency),
            currency=facts.currency,
            created=facts.created,
        )

    def client_secret(self, payment_intent_id: str, *, owner: str | None = None) -> str:
        """What the customer's browser needs to pay an intent, once more: it is kept at Stripe only.

        Raises:
            InvalidRequest: the id is not a string.
            NotFound: no such intent.
            NotConfigured: there is no Stripe key.
            TryAgain: Stripe or the database did not answer.
        """
        ids.check_stripe_id(payment_intent_id, "pi_", param="payment_intent_id")
        self._owned_payment(payment_intent_id, owner)
        return self._intent(payment_intent_id).client_secret or ""

    def purchases(
        self, user_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> values.Page[values.Purchase]:
        """What a user has bought, newest first, page by page.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            StorageUnavailable: the database failed.
        """
        ids.check_user_id(user_id)
        cursors.check_limit(limit)
        rows = self._storage.page(
            Purchase,
            {"user_id": user_id},
            order=_PURCHASES_ORDER,
            after=cursors.decode(cursor, [int]),
            limit=limit + 1,
            descending=True,
        )
        shown, following = cursors.split(rows, limit, _PURCHASES_ORDER)
        return values.Page(items=tuple(map(answers.purchase, shown)), cursor=following)

    def refund(
        self,
        payment_intent_id: str,
        amount: money.Amount | None = None,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> values.Refund:
        """Give money back, and take the credits it bought; what is spent already becomes debt.

        Args:
            payment_intent_id: the payment.
            amount: major units of the payment's currency; all that is left when None.
            reason: one of `REFUND_REASONS`.
            idempotency_key: names the refund: repeating the call refunds once, for as long as
                Stripe keeps the key (at least 24 hours). Without one, another call with the same
                amount is taken for a repetition, and answers with the first refund: give a key to
                refund the same amount twice.

        Raises:
            InvalidRequest: an argument cannot be right, or more than is left to refund.
            NotFound: no such payment.
            PaymentNotSuccessful: nothing was paid that could be refunded.
            IdempotencyConflict: the key was used with other arguments.
            TryAgain: Stripe or the database did not answer.
        """
        ids.check_stripe_id(payment_intent_id, "pi_", param="payment_intent_id")
        if reason is not None and reason not in REFUND_REASONS:
            raise InvalidRequest(f"reason must be one of {REFUND_REASONS}", param="reason")
        known = self._storage.get(Payment, payment_intent_id)
        if known is None:
            raise no_such("payment_intent_id")
        minor = None if amount is None else money.parse_amount(amount, known.currency)
        if not known.received_minor:
            raise PaymentNotSuccessful(known.status)
        if minor is not None and minor > known.received_minor:
            raise InvalidAmount("More than was paid cannot be refunded.", param="amount")
        facts = self._gateway.create_refund(
            payment_intent_id=payment_intent_id,
            amount_minor=minor,
            reason=reason,
            metadata={"user_id": known.user_id},
            idempotency_key=_refund_key(known, minor, idempotency_key),
        )
        settlement = self._queue.submit(
            ReportRefund(facts=facts, payment_intent_id=payment_intent_id, policies=self._policies)
        )
        settled = settlement.payment or known
        return values.Refund(
            refund_id=facts.id,
            payment_intent_id=payment_intent_id,
            amount=money.to_decimal(facts.amount, facts.currency),
            currency=facts.currency,
            status=facts.status or "pending",
            credits_reversed=payment.reversed_credits(settled),
        )

    def _named_quote(self, asked: Asked, idempotency_key: str | None) -> tuple[str, Quote | None]:
        """The quote's id, and the quote if this call was made before: its price holds."""
        if idempotency_key is None:
            return f"quote_{self._new_id()}", None
        ids.check_key(idempotency_key, param="idempotency_key")
        quote_id = f"quote_{ledger.fingerprint('quote', asked.user_id, idempotency_key)}"
        kept = self._storage.get(Quote, quote_id)
        if kept is not None:
            check_repetition(kept, asked.fingerprint())
        return quote_id, kept

    def _confirm(self, facts: PaymentIntentFacts) -> PaymentIntentFacts:
        """Confirm once for each attempt; a decline is told by the intent itself."""
        attempt = ":".join(
            ref_id(reference) or "none" for reference in (facts.latest_charge, facts.payment_method)
        )
        try:
            return self._gateway.confirm_payment_intent(
                facts.id, idempotency_key=f"confirm:{facts.id}:{attempt}"
            )
        except (CardDeclined, InvalidRequest):
            # Declined; or Stripe wants what only the browser can give, a return URL for one. What
            # the intent says of itself is the answer either way.
            return self._gateway.retrieve_payment_intent(facts.id)

    def _intent(self, payment_intent_id: str) -> PaymentIntentFacts:
        try:
            return self._gateway.retrieve_payment_intent(payment_intent_id)
        except NotFound as error:
            raise no_such("payment_intent_id") from error

    def _owned_payment(self, payment_intent_id: str, owner: str | None) -> Payment | None:
        known = self._storage.get(Payment, payment_intent_id)
        if owner is not None and (known is None or known.user_id != owner):
            raise no_such("payment_intent_id")
        return known


def _not_successful(facts: PaymentIntentFacts) -> CardDeclined | PaymentNotSuccessful:
    error = facts.last_payment_error
    if facts.status == payment.REQUIRES_PAYMENT_METHOD and error and error.type == "card_error":
        return CardDeclined(
            error.message,
            decline_code=error.decline_code,
            code=error.code,
            status=facts.status,
        )
    return PaymentNotSuccessful(facts.status)


def _refund_key(known: Payment, minor: int | None, key: str | None) -> str:
    """The caller's name for the refund, or what makes the same call the same refund.

    Without a key that is the amount, and how many refunds failed before: what the webhook of the
    refund itself changes must not be in it, for it may come between a lost reply and the retry.
    """
    if key is not None:
        name = f"key:{ids.check_key(key, param='idempotency_key')}"
    else:
        failed = reversal.failed_refunds(known.refunds)
        name = f"{'all' if minor is None else minor}:{failed}"
    return f"refund:{known.payment_intent_id}:{hashlib.sha256(name.encode()).hexdigest()[:32]}"
