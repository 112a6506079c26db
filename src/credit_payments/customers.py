"""Customers at Stripe, their payment methods, and what of them is kept here, encrypted."""

from __future__ import annotations

import re

from credit_payments import personal_data
from credit_payments.domain import answers, cursors, ids, ledger, values
from credit_payments.domain.customers import NOTHING, KeepCustomer, Reseal, Sealed
from credit_payments.domain.records import StripeCustomer
from credit_payments.domain.stripe_facts import CustomerFacts, PaymentMethodFacts, ref_id
from credit_payments.errors import InvalidRequest, NotFound
from credit_payments.ports.encryption import FieldCipher
from credit_payments.ports.gateway import PaymentGateway
from credit_payments.ports.storage import Storage
from credit_payments.ports.users import AnyUser, Users
from credit_payments.posting import PostingQueue

_ORDER = ("created_at", "stripe_customer_id")
_EMAIL = re.compile(r"[^@\s]{1,256}@[^@\s]{1,255}")
EMAIL_CHARACTERS_MAX = 512
PHONE_CHARACTERS_MAX = 20
NAME_CHARACTERS_MAX = 256
_NOBODYS = "cus_"
"""No customer's id (`ids.check_stripe_id`)."""


class CustomersClient:
    """The part of `PaymentsClient` that moves no money.

    Args:
        gateway: Stripe.
        storage: where records are read.
        queue: through which changes are written.
        users: who may become a customer.
        cipher: encrypts what is personal; without one it stays with Stripe alone.
    """

    def __init__(
        self,
        gateway: PaymentGateway,
        storage: Storage,
        queue: PostingQueue,
        *,
        users: Users | None = None,
        cipher: FieldCipher | None = None,
    ) -> None:
        self._gateway = gateway
        self._storage = storage
        self._queue = queue
        self._users = users or AnyUser()
        self._cipher = cipher

    def create_customer(
        self, user_id: str, email: str, name: str | None = None, phone: str | None = None
    ) -> values.Customer:
        """Create a Stripe customer for a user.

        The same call again gives the same customer, for as long as Stripe keeps the idempotency
        key that is derived from it (at least 24 hours).

        The customer's id is kept here. So are the e-mail address, name and phone number, encrypted,
        where encryption keys are configured; otherwise they stay with Stripe.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            NotConfigured: there is no Stripe key.
            TryAgain: Stripe or the database did not answer.
        """
        ids.check_user_id(user_id)
        _check_email(email)
        ids.check_text(name, param="name", characters_max=NAME_CHARACTERS_MAX)
        ids.check_text(phone, param="phone", characters_max=PHONE_CHARACTERS_MAX)
        self._check_user(user_id)
        facts = self._gateway.create_customer(
            email=email,
            name=name,
            phone=phone,
            metadata={"user_id": user_id, "source": "credit_system"},
            idempotency_key=f"customer:{ledger.fingerprint(user_id, email, name, phone)}",
        )
        sealed = NOTHING if self._cipher is None else _seal(self._cipher, facts)
        self._queue.submit(KeepCustomer(customer_id=facts.id, user_id=user_id, sealed=sealed))
        return answers.customer(facts)

    def get_customer(self, customer_id: str, *, owner: str | None = None) -> values.Customer:
        """A customer, as Stripe has it now.

        Raises:
            InvalidRequest: the id is not a string.
            NotFound: no such customer.
            NotConfigured: there is no Stripe key.
            TryAgain: Stripe or the database did not answer.
        """
        return answers.customer(self._customer(customer_id, owner))

    def refresh_customer(self, customer_id: str) -> values.Customer:
        """Keep, encrypted, what Stripe says of a customer now.

        For customers that were changed at Stripe, or created before there were encryption keys.

        Raises:
            InvalidRequest: the id is not a string.
            NotFound: no such customer, or none that was created through this library.
            NotConfigured: there are no encryption keys, or no Stripe key.
            TryAgain: Stripe or the database did not answer.
        """
        cipher = personal_data.needed(self._cipher)
        self._check_known(customer_id)
        facts = self._customer(customer_id, None)
        self._queue.submit(Reseal(customer_id=customer_id, sealed=_seal(cipher, facts)))
        return answers.customer(facts)

    def forget_customer(self, customer_id: str) -> None:
        """Keep nothing personal about a customer any more, only whose it is.

        This does not reach Stripe, where the customer has to be deleted, too, nor backups.

        Raises:
            InvalidRequest: the id is not a string.
            NotFound: no such customer.
            TryAgain: the database did not answer.
        """
        self._check_known(customer_id)
        self._queue.submit(Reseal(customer_id=customer_id, sealed=NOTHING))

    def customers_by_email(
        self, email: str, *, limit: int = 50, cursor: str | None = None
    ) -> values.Page[values.KeptCustomer]:
        """The customers with an e-mail address, newest first, page by page.

        They are found by a keyed hash, so the database learns nothing of the address. Case does
        not matter, nor how accents are composed; everything else does. A few characters are one
        without their case (`ß` and `ss`), so a match does not prove who somebody is. What is found
        is what was kept: customers without a copy here are not.

        Raises:
            InvalidRequest: an argument cannot be right; `param` names it.
            NotConfigured: there are no encryption keys.
            DecryptionFailed: one of them cannot be read.
            StorageUnavailable: the database failed.
        """
        _check_email(email)
        cursors.check_limit(limit)
        cipher = personal_data.needed(self._cipher)
        rows = self._storage.page(
            StripeCustomer,
            {"email_index": personal_data.index(cipher, email)},
            order=_ORDER,
            after=cursors.decode(cursor, [str, str]),
            limit=limit + 1,
            descending=True,
        )
        shown, following = cursors.split(rows, limit, _ORDER)
        found = tuple(personal_data.kept(cipher, row) for row in shown)
        return values.Page(items=found, cursor=following)

    def list_payment_methods(
        self, customer_id: str, *, owner: str | None = None
    ) -> list[values.PaymentMethod]:
        """A customer's saved payment methods, newest first, at most 100.

        Raises:
            InvalidRequest: the id is not a string.
            NotFound: no such customer.
            NotConfigured: there is no Stripe key.
            TryAgain: Stripe or the database did not answer.
        """
        self._check_customer(customer_id, owner)
        try:
            methods = self._gateway.list_payment_methods(customer_id)
        except NotFound as error:
            raise no_such("customer_id") from error
        return [answers.payment_method(facts) for facts in methods]

    def get_payment_method(
        self, payment_method_id: str, *, owner: str | None = None
    ) -> values.PaymentMethod:
        """A payment method, as Stripe has it now.

        Raises:
            InvalidRequest: the id is not a string.
            NotFound: no such payment method.
            NotConfigured: there is no Stripe key.
            TryAgain: Stripe or the database did not answer.
        """
        ids.check_stripe_id(payment_method_id, "pm_", param="payment_method_id")
        facts: PaymentMethodFacts | None
        try:
            facts = self._gateway.retrieve_payment_method(payment_method_id)
        except NotFound:
            facts = None
        customer = facts and ref_id(facts.customer)
        # Looked up also where there is nothing to look up: a database that does not answer must
        # not tell what is another user's from what does not exist.
        is_owners = owner is None or self._owns_customer(customer or _NOBODYS, owner)
        if facts is None or not is_owners:
            raise no_such("payment_method_id")
        return answers.payment_method(facts)

    def _customer(self, customer_id: str, owner: str | None) -> CustomerFacts:
        self._check_customer(customer_id, owner)
        try:
            return self._gateway.retrieve_customer(customer_id)
        except NotFound as error:
            raise no_such("customer_id") from error

    def _check_customer(self, customer_id: str, owner: str | None) -> None:
        """Accept the id of any customer where nobody in particular asks."""
        ids.check_stripe_id(customer_id, "cus_", param="customer_id")
        if owner is not None and not self._owns_customer(customer_id, owner):
            raise no_such("customer_id")

    def _check_known(self, customer_id: str) -> None:
        ids.check_stripe_id(customer_id, "cus_", param="customer_id")
        if self._storage.get(StripeCustomer, customer_id) is None:
            raise no_such("customer_id")

    def _owns_customer(self, customer_id: str, owner: str) -> bool:
        known = self._storage.get(StripeCustomer, customer_id)
        return known is not None and known.user_id == owner

    def _check_user(self, user_id: str) -> None:
        if not self._users.exists(user_id):
            raise NotFound("No such user", param="user_id")


def no_such(param: str) -> NotFound:
    """The same words for what is missing and for what is another user's."""
    return NotFound(f"No such {param}", param=param)


def _seal(cipher: FieldCipher, facts: CustomerFacts) -> Sealed:
    return personal_data.seal(
        cipher, facts.id, email=facts.email, name=facts.name, phone=facts.phone
    )


def _check_email(email: object) -> None:
    text = ids.check_text(email, param="email", characters_max=EMAIL_CHARACTERS_MAX)
    if text is None or not _EMAIL.fullmatch(text):
        raise InvalidRequest("email must be an e-mail address", param="email")
